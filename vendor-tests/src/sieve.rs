//! A socket with one of the program's filters, to see what gets through.

use std::os::unix::net::UnixDatagram;

use conntracker::testing::os::attach_filter;
use conntracker::testing::os::{Instruction, Share, filter};

/// A pair of unix sockets. The kernel runs the filter of the far one on what comes in, by the same
/// function as a netlink socket's (`sk_filter`).
#[derive(Debug)]
pub struct Sieve {
    near: UnixDatagram,
    far: UnixDatagram,
    buffer: Vec<u8>,
}

impl Sieve {
    /// With the filter of a live capture.
    ///
    /// Panics: if the kernel refuses it.
    pub fn new(prefilter: bool, share: Share) -> Self {
        let (near, far) = UnixDatagram::pair().expect("a pair of sockets");
        far.set_nonblocking(true).expect("an option");
        let sieve = Self {
            near,
            far,
            buffer: vec![0; 1 << 18],
        };
        if let Some(program) = filter(prefilter, share) {
            sieve.attach(&program);
        }
        sieve
    }

    /// Puts another filter in its place.
    ///
    /// Panics: if the kernel refuses it.
    pub fn attach(&self, program: &[Instruction]) {
        attach_filter(&self.far, program).expect("the kernel takes the program");
    }

    /// Whether a datagram gets through, whole.
    ///
    /// Panics: if only a part of it does.
    pub fn passes(&mut self, datagram: &[u8]) -> bool {
        self.near.send(datagram).expect("the queue is empty");
        let Ok(len) = self.far.recv(&mut self.buffer) else {
            return false;
        };
        assert!(self.buffer[..len] == *datagram, "a datagram was changed");
        true
    }
}
