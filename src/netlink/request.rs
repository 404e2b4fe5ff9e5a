//! Requests to the kernel's netfilter over netlink, and its answers.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, sendto, socket_with,
};

use super::messages;

// include/uapi/linux/netlink.h
const NLMSG_ERROR: u16 = 2;
/// `NLM_F_REQUEST`.
pub const NLM_F_REQUEST: u16 = 0x1;
/// `NLM_F_ACK`.
pub const NLM_F_ACK: u16 = 0x4;

/// Opens a netfilter socket that belongs to these multicast groups (bit 0 is group 1).
///
/// # Errors
///
/// Those of socket(2) and bind(2).
pub fn open(groups: u32) -> io::Result<OwnedFd> {
    let socket = socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        Some(netlink::NETFILTER),
    )?;
    bind(&socket, &SocketAddrNetlink::new(0, groups))?;
    Ok(socket)
}

/// Sends messages of which `requests` have asked for an answer, and waits for all of these.
///
/// # Errors
///
/// The kernel's, or those of the socket.
pub fn transact(socket: impl AsFd, bytes: &[u8], requests: usize) -> io::Result<()> {
    let kernel = SocketAddrNetlink::new(0, 0);
    sendto(&socket, bytes, SendFlags::empty(), &kernel)?;
    // One answer for each request, also when an earlier one failed.
    let mut answered = 0;
    let mut buffer = vec![0; 32 * 1024];
    while answered < requests {
        let (received, _) = recv(&socket, &mut buffer[..], RecvFlags::empty())?;
        for message in messages(&buffer[..received]).flatten() {
            if message.kind != NLMSG_ERROR {
                continue;
            }
            answered += 1;
            match message
                .payload
                .first_chunk()
                .map(|errno| i32::from_ne_bytes(*errno))
            {
                Some(0) => {}
                Some(errno) => return Err(io::Error::from_raw_os_error(-errno)),
                None => return Err(io::ErrorKind::InvalidData.into()),
            }
        }
    }
    Ok(())
}
