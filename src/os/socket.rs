//! The system calls that have no safe wrapper elsewhere: of sockets, a TUN device's file, namespaces, descriptors known
//! by number, filters of system calls, and programs that are about to be started.
//! With the C library's wrapper and `os::bpf`, this is the only place with `unsafe`.
#![allow(unsafe_code)]

mod batch;
mod child;
mod descriptor;
mod seccomp;

use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd};

pub use batch::{BATCH_LEN, Batch};
pub use child::bound;
pub use descriptor::duplicate;
pub use seccomp::restrict_system_calls;

use crate::os::classic_bpf::Instruction;

/// `NETLINK_BROADCAST_ERROR` of `include/uapi/linux/netlink.h`: the sender is told that this socket was
/// full, so that conntrack keeps the event for a later packet (`ctnetlink_conntrack_event`).
pub const NETLINK_BROADCAST_ERROR: libc::c_int = libc::NETLINK_BROADCAST_ERROR;
/// `NETLINK_NO_ENOBUFS`: an overrun only moves the drop counter, instead of failing the next receive
/// and dropping all that comes until the queue is empty.
pub const NETLINK_NO_ENOBUFS: libc::c_int = libc::NETLINK_NO_ENOBUFS;
/// `NETLINK_LISTEN_ALL_NSID` of `include/uapi/linux/netlink.h`: events of every namespace that has an id here.
pub const NETLINK_LISTEN_ALL_NSID: libc::c_int = libc::NETLINK_LISTEN_ALL_NSID;

/// `SO_MEMINFO` fields of `include/uapi/linux/sock_diag.h`.
const SK_MEMINFO_RMEM_ALLOC: usize = libc::SK_MEMINFO_RMEM_ALLOC as usize;
const SK_MEMINFO_RCVBUF: usize = libc::SK_MEMINFO_RCVBUF as usize;
const SK_MEMINFO_DROPS: usize = libc::SK_MEMINFO_DROPS as usize;

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
/// Errors: those of getsockopt(2).
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
/// Errors: those of setsockopt(2).
pub fn enable_netlink_option(socket: impl AsFd, option: libc::c_int) -> io::Result<()> {
    set_netlink_option(socket, option, 1)
}

/// Sets a `SOL_NETLINK` option of integer type.
///
/// Errors: those of setsockopt(2).
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
/// Errors: those of setsockopt(2): `EINVAL` for a program the kernel refuses.
pub fn attach_filter(socket: impl AsFd, program: &[Instruction]) -> io::Result<()> {
    let mut filter: Vec<libc::sock_filter> = program.iter().map(raw).collect();
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

/// Has the kernel tell with each packet when it came (`SO_TIMESTAMPNS`).
///
/// Errors: those of setsockopt(2).
pub fn time_packets(socket: impl AsFd) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the kernel reads `size_of::<c_int>()` bytes of `on`, which outlives the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_TIMESTAMPNS,
            (&raw const on).cast(),
            mem::size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    check(result)
}

/// Sets the mark of the packets that the socket sends (`SO_MARK`).
///
/// Errors: those of setsockopt(2).
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
/// Errors: those of the ioctl `TUNSETIFF`; `InvalidInput` for a name that is too long.
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
/// Errors: those of unshare(2).
pub fn leave_network_namespace() -> io::Result<()> {
    // SAFETY: takes flags only. A network namespace has no memory or descriptors in it that others share.
    check(unsafe { libc::unshare(libc::CLONE_NEWNET) })
}

/// Moves the process to a new user namespace, where it has all capabilities. It must not have other
/// threads.
///
/// Errors: those of unshare(2); `EINVAL` if there are other threads.
pub fn leave_user_namespace() -> io::Result<()> {
    // SAFETY: takes flags only. A user namespace has no memory or descriptors in it; the kernel refuses
    // it to a process with threads that would not follow.
    check(unsafe { libc::unshare(libc::CLONE_NEWUSER) })
}

/// Reads an option of any form into `value`, which for some holds a question to begin with. Returns how many
/// bytes of it were written.
///
/// Errors: those of getsockopt(2).
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

const fn raw(instruction: &Instruction) -> libc::sock_filter {
    libc::sock_filter {
        code: instruction.code,
        jt: instruction.jump_true,
        jf: instruction.jump_false,
        k: instruction.operand,
    }
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
