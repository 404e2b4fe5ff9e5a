//! Requests to the kernel over netlink, and its answers.

use std::io;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, sendto, socket_with,
};

use super::{Message, messages};

// include/uapi/linux/netlink.h
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// `NLM_F_REQUEST`.
pub const NLM_F_REQUEST: u16 = 0x1;
/// `NLM_F_ACK`.
pub const NLM_F_ACK: u16 = 0x4;
/// `NLM_F_DUMP`.
pub const NLM_F_DUMP: u16 = 0x300;

/// What takes the longest message of an answer: dumps come in pieces of at most 32 KiB (`netlink_dump`,
/// net/netlink/af_netlink.c, Linux 6.18).
const ANSWER_MAX: usize = 64 * 1024;

/// Whom to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Netfilter's subsystems.
    Netfilter,
    /// Interfaces, addresses, routes, namespaces: rtnetlink(7).
    Route,
}

/// Opens a socket that belongs to these multicast groups (bit 0 is group 1).
///
/// # Errors
///
/// Those of socket(2) and bind(2).
pub fn open(family: Family, groups: u32) -> io::Result<OwnedFd> {
    let protocol = match family {
        Family::Netfilter => Some(netlink::NETFILTER),
        // NETLINK_ROUTE is 0.
        Family::Route => None,
    };
    let socket = socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        protocol,
    )?;
    bind(&socket, &SocketAddrNetlink::new(0, groups))?;
    Ok(socket)
}

/// Sends messages to the kernel.
fn send(socket: impl AsFd, bytes: &[u8]) -> io::Result<()> {
    let kernel = SocketAddrNetlink::new(0, 0);
    sendto(socket, bytes, SendFlags::empty(), &kernel)?;
    Ok(())
}

/// What a message says of the request as a whole, if that is what it says.
fn status(message: &Message<'_>) -> Option<io::Result<()>> {
    if message.kind != NLMSG_ERROR && message.kind != NLMSG_DONE {
        return None;
    }
    let errno = message.payload.first_chunk();
    Some(match errno.map(|errno| i32::from_ne_bytes(*errno)) {
        Some(errno @ ..0) => Err(io::Error::from_raw_os_error(-errno)),
        // A dump may end without a word.
        Some(_) => Ok(()),
        None if message.kind == NLMSG_DONE => Ok(()),
        None => Err(io::ErrorKind::InvalidData.into()),
    })
}

/// Sends messages of which `requests` have asked for an answer, and waits for all of these.
///
/// # Errors
///
/// The kernel's, or those of the socket.
pub fn transact(socket: impl AsFd, bytes: &[u8], requests: usize) -> io::Result<()> {
    send(&socket, bytes)?;
    // One answer for each request, also when an earlier one failed.
    let mut answered = 0;
    let mut buffer = vec![0; ANSWER_MAX];
    while answered < requests {
        let (received, _) = recv(&socket, &mut buffer[..], RecvFlags::empty())?;
        for message in messages(&buffer[..received]).flatten() {
            if let Some(status) = status(&message) {
                answered += 1;
                status?;
            }
        }
    }
    Ok(())
}

/// Sends a request, and hands the payloads of its answer to `each`, until that breaks, the answer ends, or it is
/// too late. Returns whether the answer came to its end.
///
/// # Errors
///
/// The kernel's, or those of the socket.
pub fn query(
    socket: impl AsFd,
    request: &[u8],
    deadline: Option<Instant>,
    mut each: impl FnMut(&[u8]) -> ControlFlow<()>,
) -> io::Result<bool> {
    exchange(socket, request, deadline, |message| each(message.payload))
}

/// [`query`], which hands over whole messages.
///
/// # Errors
///
/// The kernel's, or those of the socket.
pub fn exchange(
    socket: impl AsFd,
    request: &[u8],
    deadline: Option<Instant>,
    mut each: impl FnMut(Message<'_>) -> ControlFlow<()>,
) -> io::Result<bool> {
    send(&socket, request)?;
    let mut buffer = vec![0; ANSWER_MAX];
    while deadline.is_none_or(|deadline| Instant::now() < deadline) {
        let (received, _) = recv(&socket, &mut buffer[..], RecvFlags::empty())?;
        for message in messages(&buffer[..received]).flatten() {
            if let Some(status) = status(&message) {
                return status.map(|()| true);
            }
            if each(message).is_break() {
                return Ok(false);
            }
        }
    }
    Ok(false)
}
