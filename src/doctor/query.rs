//! Questions to netfilter's subsystems, answered at once or not at all.

use std::io;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, sendto, socket_with,
};

use crate::netlink::{HEADER_LEN, NFGENMSG_LEN, messages};

// include/uapi/linux/netlink.h
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_DUMP: u16 = 0x300;

/// How long an answer may take, all of it. It suffices for some ten thousands of rules, beyond which the kernel
/// takes ever longer for each piece: it walks over all that it has sent before (`__nf_tables_dump_rules`,
/// net/netfilter/nf_tables_api.c).
const PATIENCE: Duration = Duration::from_millis(900);

/// Asks for all objects of a kind, and hands each one's family and attributes to `each`, until that breaks.
/// Returns whether the answer was complete.
///
/// # Errors
///
/// `EPERM` without CAP_NET_ADMIN, `EINVAL` for a subsystem that is not there, `EAGAIN` without an answer.
pub fn dump(kind: u16, mut each: impl FnMut(u8, &[u8]) -> ControlFlow<()>) -> io::Result<bool> {
    exchange(kind, NLM_F_DUMP, |family, attributes| {
        each(family, attributes)
    })
}

/// Asks whether a request is understood at all.
///
/// # Errors
///
/// As [`dump`].
pub fn ask(kind: u16) -> io::Result<()> {
    exchange(kind, NLM_F_ACK, |_, _| ControlFlow::Continue(())).map(drop)
}

fn exchange(
    kind: u16,
    flags: u16,
    mut each: impl FnMut(u8, &[u8]) -> ControlFlow<()>,
) -> io::Result<bool> {
    let deadline = Instant::now() + PATIENCE;
    let socket = socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        Some(netlink::NETFILTER),
    )?;
    set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
    bind(&socket, &SocketAddrNetlink::new(0, 0))?;
    sendto(
        &socket,
        &request(kind, flags),
        SendFlags::empty(),
        &SocketAddrNetlink::new(0, 0),
    )?;
    // The kernel fills what it is given, up to 32 KiB (`netlink_dump`, net/netlink/af_netlink.c).
    let mut buffer = vec![0; 64 * 1024];
    while Instant::now() < deadline {
        let (received, _) = recv(&socket, &mut buffer[..], RecvFlags::empty())?;
        for message in messages(&buffer[..received]).flatten() {
            match message.kind {
                NLMSG_DONE | NLMSG_ERROR => {
                    let errno = message.payload.first_chunk();
                    return match errno.map(|errno| i32::from_ne_bytes(*errno)) {
                        Some(errno @ ..0) => Err(io::Error::from_raw_os_error(-errno)),
                        _ => Ok(true),
                    };
                }
                _ => {
                    let Some((header, attributes)) =
                        message.payload.split_first_chunk::<NFGENMSG_LEN>()
                    else {
                        continue;
                    };
                    if each(header[0], attributes).is_break() {
                        return Ok(false);
                    }
                }
            }
        }
    }
    Ok(false)
}

/// A header and a `struct nfgenmsg` of zeros: any family.
fn request(kind: u16, flags: u16) -> [u8; HEADER_LEN + NFGENMSG_LEN] {
    let mut bytes = [0; HEADER_LEN + NFGENMSG_LEN];
    bytes[0..4].copy_from_slice(&((HEADER_LEN + NFGENMSG_LEN) as u32).to_ne_bytes());
    bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
    bytes[6..8].copy_from_slice(&(NLM_F_REQUEST | flags).to_ne_bytes());
    bytes
}
