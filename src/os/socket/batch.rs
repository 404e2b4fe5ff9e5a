//! Many datagrams by one system call.

use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use super::NETLINK_LISTEN_ALL_NSID;

/// Datagrams taken with one system call.
pub const BATCH_LEN: usize = 64;
/// Longest datagram taken whole. The kernel sends each event in a datagram of its own of 150 to 400
/// bytes; with labels, a helper's name and a security context it stays below this.
const DATAGRAM_MAX: usize = 4096;
/// Distance of two datagrams in memory: not a power of two, because their first bytes would all share
/// one set of the first-level cache.
const STRIDE: usize = DATAGRAM_MAX + 192;

/// Receive buffers for [`BATCH_LEN`] datagrams, used again for every batch.
pub struct Batch {
    bytes: Box<[u8]>,
    /// Points into `bytes`, which is never moved out of its box or resized.
    vectors: Box<[libc::iovec]>,
    /// Points into `vectors`, likewise, and into `controls`.
    headers: Box<[libc::mmsghdr]>,
    /// Room for one ancillary message a datagram, where those are wanted; else empty.
    controls: Box<[Control]>,
}

/// Room for one ancillary message: a header, and a namespace's id or a time.
#[derive(Clone, Copy)]
#[repr(C)]
struct Control {
    header: libc::cmsghdr,
    content: Content,
}

/// What an ancillary message says. Every member is plain data of which any bytes are a value.
#[derive(Clone, Copy)]
#[repr(C)]
union Content {
    namespace_id: libc::c_int,
    time: libc::timespec,
}

// SAFETY: the raw pointers in `vectors` and `headers` only lead to heap memory that this value owns and
// that no other value refers to; moving the value to another thread moves the sole access to it.
unsafe impl Send for Batch {}

impl std::fmt::Debug for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batch").finish_non_exhaustive()
    }
}

impl Control {
    /// The id it tells, if the kernel has written one (`netlink_cmsg_listen_all_nsid`, net/netlink/af_netlink.c,
    /// Linux 6.18).
    fn namespace_id(&self, used: usize) -> Option<i32> {
        let told = used >= mem::offset_of!(Self, content) + mem::size_of::<libc::c_int>()
            && self.header.cmsg_level == libc::SOL_NETLINK
            && self.header.cmsg_type == NETLINK_LISTEN_ALL_NSID;
        // SAFETY: any bytes are an int, and all of the union was initialised with zeros.
        let id = unsafe { self.content.namespace_id };
        told.then_some(id)
    }

    /// When the packet came, if the kernel has written that (`__sock_recv_timestamp`, net/socket.c, Linux 6.18).
    fn time(&self, used: usize) -> Option<Duration> {
        let told = used >= mem::size_of::<Self>()
            && self.header.cmsg_level == libc::SOL_SOCKET
            && self.header.cmsg_type == libc::SCM_TIMESTAMPNS;
        if !told {
            return None;
        }
        // SAFETY: any bytes are a timespec, and all of the union was initialised with zeros.
        let time = unsafe { self.content.time };
        let nanoseconds = u32::try_from(time.tv_nsec).ok()?;
        Some(Duration::new(u64::try_from(time.tv_sec).ok()?, nanoseconds))
    }
}

/// One datagram of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Datagram<'a> {
    /// What was received.
    pub bytes: &'a [u8],
    /// Whether the datagram was longer than what is kept of one.
    pub truncated: bool,
    /// The id of the namespace that it came from, if that is another one and was asked for.
    pub namespace_id: Option<i32>,
    /// When it came, since the epoch, if that was asked for.
    pub time: Option<Duration>,
}

impl Default for Batch {
    fn default() -> Self {
        Self::new()
    }
}

impl Batch {
    /// Allocates the buffers.
    pub fn new() -> Self {
        let mut bytes = vec![0_u8; BATCH_LEN * STRIDE].into_boxed_slice();
        let mut vectors: Box<[_]> = bytes
            .chunks_exact_mut(STRIDE)
            .map(|chunk| libc::iovec {
                iov_base: chunk.as_mut_ptr().cast(),
                iov_len: DATAGRAM_MAX,
            })
            .collect();
        let headers = vectors
            .iter_mut()
            .map(|vector| {
                // SAFETY: mmsghdr is plain data for which zeros are valid: null pointers, no lengths.
                let mut header: libc::mmsghdr = unsafe { mem::zeroed() };
                header.msg_hdr.msg_iov = vector;
                header.msg_hdr.msg_iovlen = 1;
                header
            })
            .collect();
        Self {
            bytes,
            vectors,
            headers,
            controls: Box::default(),
        }
    }

    /// Buffers that also take what the kernel tells beside a datagram: ids of namespaces, from a socket with
    /// [`NETLINK_LISTEN_ALL_NSID`], or times, from one with [`time_packets`](super::time_packets).
    pub fn with_controls() -> Self {
        let mut batch = Self::new();
        // SAFETY: cmsghdr and the members of the union are plain data for which zeros are valid.
        let empty: Control = unsafe { mem::zeroed() };
        batch.controls = vec![empty; BATCH_LEN].into_boxed_slice();
        for (header, control) in batch.headers.iter_mut().zip(&mut batch.controls) {
            header.msg_hdr.msg_control = (&raw mut *control).cast();
        }
        batch
    }

    /// Takes what is queued, at most [`BATCH_LEN`] datagrams, without waiting. 0 if nothing is.
    ///
    /// Errors: those of recvmmsg(2), `ENOBUFS` among them.
    pub fn receive(&mut self, socket: impl AsFd) -> io::Result<usize> {
        debug_assert_eq!(self.vectors.len(), self.headers.len());
        for header in self.headers.iter_mut().take(self.controls.len()) {
            // The kernel leaves there what it has used.
            header.msg_hdr.msg_controllen = mem::size_of::<Control>();
        }
        // SAFETY: each header points to one iovec in `vectors`, that to DATAGRAM_MAX bytes within
        // `bytes`, and to one of `controls` or to none; `self` owns and mutably borrows all of them for the call.
        let received = unsafe {
            libc::recvmmsg(
                socket.as_fd().as_raw_fd(),
                self.headers.as_mut_ptr(),
                BATCH_LEN as libc::c_uint,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        match usize::try_from(received) {
            Ok(received) => Ok(received),
            Err(_) => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
                error => Err(error),
            },
        }
    }

    /// The first `received` datagrams of the last batch.
    pub fn datagrams(&self, received: usize) -> impl Iterator<Item = Datagram<'_>> {
        self.headers[..received]
            .iter()
            .zip(self.bytes.chunks_exact(STRIDE))
            .enumerate()
            .map(|(at, (header, chunk))| {
                let (control, used) = (self.controls.get(at), header.msg_hdr.msg_controllen);
                Datagram {
                    bytes: &chunk[..(header.msg_len as usize).min(DATAGRAM_MAX)],
                    truncated: header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
                    namespace_id: control.and_then(|control| control.namespace_id(used)),
                    time: control.and_then(|control| control.time(used)),
                }
            })
    }
}
