//! Which way of receiving is taken.

use std::io;

use netfilter_conntrack::Handle;

use super::receiver::{Seat, Shared};
use super::tuning::Buffer;
use super::{batch, callback};
use crate::os::map_memory::MapMemory;

/// How events are received, as it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// kernel where it can be loaded and serves, else batch
    Auto,
    /// Each flow once, or records of flows, by a BPF program in the kernel
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
    /// See [`kernel::records`](super::kernel::records).
    #[cfg(feature = "ebpf")]
    Records(Box<super::kernel::records::Records>),
}

impl Method {
    /// Its name, as the option spells it.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Batch => "batch",
            Self::Callback => "callback",
            #[cfg(feature = "ebpf")]
            Self::Kernel(_) | Self::Records(_) => "kernel",
        }
    }

    /// Whether what was received is kept elsewhere than in the tables until a flush is wanted.
    pub const fn keeps_back(&self) -> bool {
        match self {
            Self::Batch | Self::Callback => false,
            #[cfg(feature = "ebpf")]
            Self::Kernel(_) => false,
            #[cfg(feature = "ebpf")]
            Self::Records(_) => true,
        }
    }

    /// What it takes of the kernel's memory besides the socket's, if anything.
    pub fn memory(&self) -> Option<MapMemory> {
        match self {
            Self::Batch | Self::Callback => None,
            #[cfg(feature = "ebpf")]
            Self::Kernel(kernel) => kernel.program().memory().ok(),
            #[cfg(feature = "ebpf")]
            Self::Records(records) => records.program().memory().ok(),
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
            #[cfg(feature = "ebpf")]
            Self::Records(records) => {
                super::kernel::records::receive(&handle, *records, buffer, shared, seat)
            }
        }
    }
}
