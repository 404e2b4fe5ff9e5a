//! Requests to the kernel over netlink, and its answers.

use std::io;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recvfrom, sendto,
    socket_with,
};

use super::framing::{Message, messages};
use crate::netlink::uapi::{NLM_F_DUMP_INTR, NLMSG_DONE, NLMSG_ERROR};

/// How often a question is asked whose answer was interrupted.
const ATTEMPTS: usize = 4;
/// How long the kernel may take for a piece of its answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// What takes the longest message of an answer: dumps come in pieces of at most 32 KiB (`netlink_dump`,
/// net/netlink/af_netlink.c, Linux 6.18).
const ANSWER_MAX: usize = 64 * 1024;

/// The part of the kernel that a request goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Netfilter: connection tracking and nftables.
    Netfilter,
    /// Interfaces, addresses, routes, namespaces: rtnetlink(7).
    Route,
    /// Sockets of this host: sock_diag(7).
    SocketDiag,
}

/// Opens a socket that belongs to these multicast groups (bit 0 is group 1).
///
/// Errors: those of socket(2) and bind(2).
pub fn open(family: Family, groups: u32) -> io::Result<OwnedFd> {
    let protocol = match family {
        Family::Netfilter => Some(netlink::NETFILTER),
        // NETLINK_ROUTE is 0.
        Family::Route => None,
        Family::SocketDiag => Some(netlink::SOCK_DIAG),
    };
    let socket = socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        protocol,
    )?;
    bind(&socket, &SocketAddrNetlink::new(0, groups))?;
    set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
    Ok(socket)
}

/// Asks again, three times, where the kernel has said that its answer was interrupted. What `ask` collects has to
/// begin anew each time.
///
/// Errors: the first error of another kind, or that even the last answer was interrupted.
pub fn again<T>(mut ask: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    for _ in 1..ATTEMPTS {
        match ask() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
    ask()
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

/// Receives the next datagram of the kernel. Other processes may send to the socket as well, and are not listened to.
fn receive(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<&[u8]> {
    loop {
        let (received, _, sender) =
            recvfrom(&socket, &mut *buffer, RecvFlags::empty()).map_err(|error| match error {
                Errno::AGAIN => {
                    io::Error::new(io::ErrorKind::TimedOut, "the kernel does not answer")
                }
                error => error.into(),
            })?;
        let sender = sender.and_then(|sender| SocketAddrNetlink::try_from(sender).ok());
        if sender.is_none_or(|sender| sender.pid() == 0) {
            return Ok(&buffer[..received]);
        }
    }
}

/// Sends messages of which `requests` have asked for an answer, and waits for all of these.
///
/// Errors: the kernel's, or those of the socket.
pub fn transact(socket: impl AsFd, bytes: &[u8], requests: usize) -> io::Result<()> {
    send(&socket, bytes)?;
    // One answer for each request, also when an earlier one failed.
    let mut answered = 0;
    let mut buffer = vec![0; ANSWER_MAX];
    while answered < requests {
        for message in messages(receive(&socket, &mut buffer)?).flatten() {
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
/// Errors: the kernel's, or those of the socket; `TimedOut` without an answer; `Interrupted` if the answer came to its end, but
/// what it lists changed meanwhile: see [`again`].
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
/// Errors: the kernel's, or those of the socket.
pub fn exchange(
    socket: impl AsFd,
    request: &[u8],
    deadline: Option<Instant>,
    mut each: impl FnMut(Message<'_>) -> ControlFlow<()>,
) -> io::Result<bool> {
    static SEQUENCE: AtomicU32 = AtomicU32::new(1);
    let sequence = SEQUENCE.fetch_add(1, Ordering::Relaxed);
    let mut request = request.to_vec();
    let place = request.get_mut(8..12).ok_or(io::ErrorKind::InvalidInput)?;
    place.copy_from_slice(&sequence.to_ne_bytes());
    send(&socket, &request)?;
    let mut interrupted = false;
    let mut buffer = vec![0; ANSWER_MAX];
    while deadline.is_none_or(|deadline| Instant::now() < deadline) {
        for message in messages(receive(&socket, &mut buffer)?).flatten() {
            // The answer to an earlier question that was given up.
            if message.sequence != sequence {
                continue;
            }
            interrupted |= message.flags & NLM_F_DUMP_INTR != 0;
            if let Some(status) = status(&message) {
                status?;
                if interrupted {
                    return Err(io::Error::new(
                        io::ErrorKind::Interrupted,
                        "the objects changed while the kernel listed them",
                    ));
                }
                return Ok(true);
            }
            if each(message).is_break() {
                return Ok(false);
            }
        }
    }
    Ok(false)
}
