//! The system calls that have no safe wrapper elsewhere: of sockets, a TUN device's file and namespaces.
//! With the C library's wrapper, this is the only place with `unsafe`.
#![allow(unsafe_code)]

use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd};

use crate::thin::Instruction;

/// Datagrams taken with one system call.
pub const BATCH_LEN: usize = 64;
/// Longest datagram taken whole. The kernel sends each event in a datagram of its own of 150 to 400
/// bytes; with labels, a helper's name and a security context it stays below this.
const DATAGRAM_MAX: usize = 4096;
/// Distance of two datagrams in memory: not a power of two, because their first bytes would all share
/// one set of the first-level cache.
const STRIDE: usize = DATAGRAM_MAX + 192;

/// `NETLINK_BROADCAST_ERROR` of `include/uapi/linux/netlink.h`: the sender is told that this socket was
/// full, so that conntrack keeps the event for a later packet (`ctnetlink_conntrack_event`).
pub const NETLINK_BROADCAST_ERROR: libc::c_int = 4;
/// `NETLINK_NO_ENOBUFS`: an overrun only moves the drop counter, instead of failing the next receive
/// and dropping all that comes until the queue is empty.
pub const NETLINK_NO_ENOBUFS: libc::c_int = 5;

/// `SO_MEMINFO` fields of `include/uapi/linux/sock_diag.h`.
const SK_MEMINFO_RMEM_ALLOC: usize = 0;
const SK_MEMINFO_RCVBUF: usize = 1;
const SK_MEMINFO_DROPS: usize = 8;

/// How full a socket's receive buffer is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Bytes charged for what is queued.
    pub queued_bytes: u32,
    /// The limit on them.
    pub limit_bytes: u32,
    /// Messages dropped since the socket was opened, because the limit was reached. Wraps.
    pub drops: u32,
}

/// Reads `SO_MEMINFO` (Linux 4.12 and later).
///
/// # Errors
///
/// Those of getsockopt(2).
pub fn memory(socket: impl AsFd) -> io::Result<Memory> {
    let mut fields = [0_u32; 9];
    let mut len = mem::size_of_val(&fields) as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` bytes, the size of `fields`, and both outlive the call.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            fields.as_mut_ptr().cast(),
            &raw mut len,
        )
    };
    check(result)?;
    Ok(Memory {
        queued_bytes: fields[SK_MEMINFO_RMEM_ALLOC],
        limit_bytes: fields[SK_MEMINFO_RCVBUF],
        drops: fields[SK_MEMINFO_DROPS],
    })
}

/// Switches a `SOL_NETLINK` option on.
///
/// # Errors
///
/// Those of setsockopt(2).
pub fn enable_netlink_option(socket: impl AsFd, option: libc::c_int) -> io::Result<()> {
    set_netlink_option(socket, option, 1)
}

/// Sets a `SOL_NETLINK` option of integer type.
///
/// # Errors
///
/// Those of setsockopt(2).
pub fn set_netlink_option(
    socket: impl AsFd,
    option: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    // SAFETY: the kernel reads `size_of::<c_int>()` bytes of `value`, which outlives the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_NETLINK,
            option,
            (&raw const value).cast(),
            mem::size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    check(result)
}

/// Attaches a classic BPF program as the socket's filter, in place of the one it has.
///
/// # Errors
///
/// Those of setsockopt(2): `EINVAL` for a program the kernel refuses.
pub fn attach_filter(socket: impl AsFd, program: &[Instruction]) -> io::Result<()> {
    let mut filter: Vec<libc::sock_filter> = program
        .iter()
        .map(|i| libc::sock_filter {
            code: i.code,
            jt: i.jump_true,
            jf: i.jump_false,
            k: i.operand,
        })
        .collect();
    let fprog = libc::sock_fprog {
        len: u16::try_from(filter.len()).map_err(|_| io::ErrorKind::InvalidInput)?,
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: `fprog` points to `len` instructions in `filter`; the kernel copies them during the call,
    // which both outlive.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const fprog).cast(),
            mem::size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    };
    check(result)
}

/// Sets the mark of the packets that the socket sends (`SO_MARK`).
///
/// # Errors
///
/// Those of setsockopt(2).
pub fn set_mark(socket: impl AsFd, mark: u32) -> io::Result<()> {
    // SAFETY: the kernel reads `size_of::<u32>()` bytes of `mark`, which outlives the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MARK,
            (&raw const mark).cast(),
            mem::size_of::<u32>() as libc::socklen_t,
        )
    };
    check(result)
}

/// Makes an open `/dev/net/tun` the only queue of a new device of IP packets, in the network namespace
/// that the file was opened in.
///
/// # Errors
///
/// Those of the ioctl `TUNSETIFF`; `InvalidInput` for a name that is too long.
pub fn make_tun(file: impl AsFd, name: &str) -> io::Result<()> {
    // SAFETY: ifreq is plain data for which zeros are valid.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    // The last byte stays 0.
    if name.len() >= request.ifr_name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
    // SAFETY: TUNSETIFF reads and writes one ifreq (`tun_chr_ioctl`, drivers/net/tun.c), which `request`
    // is, for the call.
    let result = unsafe {
        libc::ioctl(
            file.as_fd().as_raw_fd(),
            libc::TUNSETIFF,
            (&raw mut request),
        )
    };
    check(result)
}

/// Moves the calling thread to a new network namespace, and with it the threads and processes that it
/// starts from here on.
///
/// # Errors
///
/// Those of unshare(2).
pub fn leave_network_namespace() -> io::Result<()> {
    // SAFETY: takes flags only. A network namespace has no memory or descriptors in it that others share.
    check(unsafe { libc::unshare(libc::CLONE_NEWNET) })
}

/// Moves the process to a new user namespace, where it has all capabilities. It must not have other
/// threads.
///
/// # Errors
///
/// Those of unshare(2); `EINVAL` if there are other threads.
pub fn leave_user_namespace() -> io::Result<()> {
    // SAFETY: takes flags only. A user namespace has no memory or descriptors in it; the kernel refuses
    // it to a process with threads that would not follow.
    check(unsafe { libc::unshare(libc::CLONE_NEWUSER) })
}

/// Reads an option of any form into `value`, which for some holds a question to begin with. Returns how many
/// bytes of it were written.
///
/// # Errors
///
/// Those of getsockopt(2).
pub fn read_option(
    socket: impl AsFd,
    level: libc::c_int,
    option: libc::c_int,
    value: &mut [u8],
) -> io::Result<usize> {
    let mut len =
        libc::socklen_t::try_from(value.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: the kernel reads and writes at most `len` bytes, the size of `value`, and both outlive the call.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            option,
            value.as_mut_ptr().cast(),
            &raw mut len,
        )
    };
    check(result)?;
    Ok(len as usize)
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

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

/// `NETLINK_LISTEN_ALL_NSID` of `include/uapi/linux/netlink.h`: events of every namespace that has an id here.
pub const NETLINK_LISTEN_ALL_NSID: libc::c_int = 8;

/// Room for the ancillary message that tells a namespace's id: a header, and an `int` with its padding.
#[derive(Clone, Copy)]
#[repr(C)]
struct Control {
    header: libc::cmsghdr,
    namespace_id: libc::c_int,
    padding: libc::c_int,
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
        let told = used >= mem::offset_of!(Self, padding)
            && self.header.cmsg_level == libc::SOL_NETLINK
            && self.header.cmsg_type == NETLINK_LISTEN_ALL_NSID;
        told.then_some(self.namespace_id)
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
}

impl Default for Batch {
    fn default() -> Self {
        Self::new()
    }
}

impl Batch {
    /// Allocates the buffers.
    #[must_use]
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

    /// Buffers that also take the ids of namespaces, from a socket with [`NETLINK_LISTEN_ALL_NSID`].
    #[must_use]
    pub fn with_namespaces() -> Self {
        let mut batch = Self::new();
        // SAFETY: cmsghdr and integers are plain data for which zeros are valid.
        let empty: Control = unsafe { mem::zeroed() };
        batch.controls = vec![empty; BATCH_LEN].into_boxed_slice();
        for (header, control) in batch.headers.iter_mut().zip(&mut batch.controls) {
            header.msg_hdr.msg_control = (&raw mut *control).cast();
        }
        batch
    }

    /// Takes what is queued, at most [`BATCH_LEN`] datagrams, without waiting. 0 if nothing is.
    ///
    /// # Errors
    ///
    /// Those of recvmmsg(2), `ENOBUFS` among them.
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
            .map(|(at, (header, chunk))| Datagram {
                bytes: &chunk[..(header.msg_len as usize).min(DATAGRAM_MAX)],
                truncated: header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
                namespace_id: self
                    .controls
                    .get(at)
                    .and_then(|control| control.namespace_id(header.msg_hdr.msg_controllen)),
            })
    }
}
