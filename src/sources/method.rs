//! Which way of receiving is taken.

use std::io;

use netfilter_conntrack::Handle;

use super::receiver::{Seat, Shared};
use super::tuning::Buffer;
use super::{batch, callback};

/// How events are received, as it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// kernel where it can be loaded and serves, else batch
    Auto,
    /// Each flow once, told apart by a BPF program in the kernel
    Kernel,
    /// Many at a time, decoded in place
    Batch,
    /// One at a time, by the C library
    Callback,
}

/// How events are received, as it turned out.
#[derive(Debug)]
pub enum Method {
    /// See [`batch`].
    Batch,
    /// See [`callback`].
    Callback,
    /// See [`kernel`](super::kernel).
    #[cfg(feature = "ebpf")]
    Kernel(Box<super::kernel::Kernel>),
}

impl Method {
    /// Its name, as the option spells it.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Batch => "batch",
            Self::Callback => "callback",
            #[cfg(feature = "ebpf")]
            Self::Kernel(_) => "kernel",
        }
    }

    /// Receives until told to stop and all queues are empty.
    ///
    /// Errors: those of the socket that no retry helps.
    pub fn receive(
        self,
        mut handle: Handle,
        buffer: Buffer,
        shared: &Shared<'_>,
        seat: &Seat,
    ) -> io::Result<()> {
        match self {
            Self::Batch => batch::receive(&handle, buffer, shared, seat),
            Self::Callback => callback::receive(&mut handle, buffer, shared, seat),
            #[cfg(feature = "ebpf")]
            Self::Kernel(kernel) => super::kernel::receive(&handle, *kernel, buffer, shared, seat),
        }
    }
}
