//! The host's own end of its flows: raw sockets that send as its processes do, and the netfilter log of
//! what gets to them.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::sockopt::{
    set_ip_multicast_if_with_ifindex, set_socket_broadcast, set_socket_recv_buffer_size,
    set_socket_recv_buffer_size_force,
};
use rustix::net::{
    AddressFamily, Protocol, SendFlags, SocketFlags, SocketType, sendto, socket_with,
};

use crate::check::guard::{GROUP, MARK, PREFIX};
use crate::netlink::framing::{NFGENMSG_LEN, attributes, messages};
use crate::netlink::nflog;
use crate::netlink::request::{Family, open};
use crate::netlink::uapi::{
    NFNL_SUBSYS_ULOG, NFULA_CFG_NLBUFSIZ, NFULA_PAYLOAD, NFULA_PREFIX, NFULNL_MSG_PACKET,
};
use crate::os::socket::{Batch, set_mark};

/// Bytes asked for receive buffers; what is granted is enough as well.
pub const BUFFER: usize = 8 << 20;

/// Asks for a large receive buffer, by force where that is allowed.
pub fn enlarge(socket: impl AsFd) {
    if set_socket_recv_buffer_size_force(&socket, BUFFER).is_err() {
        // Less room only means less is under way at once.
        let _ = set_socket_recv_buffer_size(&socket, BUFFER);
    }
}

/// Sends packets with whatever header from this host.
#[derive(Debug)]
pub struct Sender {
    ipv4: OwnedFd,
    /// Missing where the kernel has no IPv6.
    ipv6: Option<OwnedFd>,
}

impl Sender {
    /// Opens the sockets in the calling thread's namespace.
    ///
    /// Errors: those of socket(2) and setsockopt(2).
    pub fn new() -> io::Result<Self> {
        let make = |family| -> io::Result<OwnedFd> {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            // IPPROTO_RAW: headers come with the packets (raw(7)).
            let protocol = Protocol::from_raw(std::num::NonZeroU32::new(255).expect("not 0"));
            let socket = socket_with(family, SocketType::RAW, flags, Some(protocol))?;
            set_mark(&socket, MARK)?;
            Ok(socket)
        };
        let ipv4 = make(AddressFamily::INET)?;
        set_socket_broadcast(&ipv4, true)?;
        Ok(Self {
            ipv4,
            ipv6: make(AddressFamily::INET6).ok(),
        })
    }

    /// Sends a packet. `scope` is the index of the device that a link-local destination or a multicast
    /// group lies behind, or 0.
    ///
    /// Errors: those of sendto(2): `PermissionDenied` if a rule drops it on its way out.
    pub fn send(&self, packet: &[u8], destination: IpAddr, scope: u32) -> io::Result<()> {
        if destination.is_ipv4() && destination.is_multicast() {
            let any = Ipv4Addr::UNSPECIFIED;
            set_ip_multicast_if_with_ifindex(&self.ipv4, &any, &any, scope)?;
        }
        let (socket, to): (_, SocketAddr) = match destination {
            IpAddr::V4(address) => (&self.ipv4, SocketAddrV4::new(address, 0).into()),
            IpAddr::V6(address) => (
                self.ipv6.as_ref().ok_or(io::ErrorKind::Unsupported)?,
                SocketAddrV6::new(address, 0, 0, scope).into(),
            ),
        };
        sendto(socket, packet, SendFlags::DONTWAIT, &to)?;
        Ok(())
    }
}

// include/uapi/linux/netfilter/nfnetlink_log.h
/// Bytes of a packet that the log keeps: more than ours have.
const COPIED: u32 = 256;

/// Receives what the guard's last rule of the input hook has logged: packets that every rule let pass.
#[derive(Debug)]
pub struct Log {
    socket: OwnedFd,
    batch: Batch,
}

impl Log {
    /// Opens it in the calling thread's namespace.
    ///
    /// Errors: a kernel without `nfnetlink_log`.
    pub fn new() -> io::Result<Self> {
        let socket = open(Family::Netfilter, 0)?;
        enlarge(&socket);
        // Small messages cost the buffer less.
        nflog::bind(&socket, GROUP, COPIED, |body| {
            body.word_be(NFULA_CFG_NLBUFSIZ, 1024)
        })?;
        Ok(Self {
            socket,
            batch: Batch::new(),
        })
    }

    /// Takes what is there, and hands over each packet with the number of the doubt that logged it, if one did. Returns
    /// whether nothing is missing.
    ///
    /// Errors: those of recvmmsg(2). `ENOBUFS` is none: a packet that is missing is asked about again.
    pub fn drain(&mut self, mut packet: impl FnMut(Option<usize>, &[u8])) -> io::Result<bool> {
        let mut whole = true;
        loop {
            let received = match self.batch.receive(&self.socket) {
                Ok(0) => return Ok(whole),
                Ok(received) => received,
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    whole = false;
                    continue;
                }
                Err(error) => return Err(error),
            };
            for datagram in self.batch.datagrams(received) {
                for message in messages(datagram.bytes).flatten() {
                    if message.kind == NFNL_SUBSYS_ULOG << 8 | NFULNL_MSG_PACKET {
                        if let Some((doubt, bytes)) = logged(message.payload) {
                            packet(doubt, bytes);
                        }
                    }
                }
            }
        }
    }
}

/// The packet in a message, if a rule of ours has logged it, and the number of the doubt that has: rules under test may log
/// to the same group.
fn logged(payload: &[u8]) -> Option<(Option<usize>, &[u8])> {
    let body = payload.get(NFGENMSG_LEN..)?;
    let find = |wanted| {
        attributes(body)
            .find(|(kind, _)| *kind == wanted)
            .map(|(_, value)| value)
    };
    let prefix = find(NFULA_PREFIX)?;
    let prefix = prefix.strip_suffix(&[0]).unwrap_or(prefix);
    let rest = prefix.strip_prefix(PREFIX.as_bytes())?;
    let doubt = match rest.strip_prefix(b":") {
        Some(number) => Some(std::str::from_utf8(number).ok()?.parse().ok()?),
        None if rest.is_empty() => None,
        None => return None,
    };
    Some((doubt, find(NFULA_PAYLOAD)?))
}

impl AsFd for Log {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
