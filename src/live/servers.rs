//! The sockets of this host that wait for clients, by sock_diag(7): of a connection between such a port and another one
//! it is known which side opened it.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::ops::{ControlFlow, RangeInclusive};
use std::time::{Duration, Instant};

use crate::model::evidence::Listening;
use crate::model::record::Protocol;
use crate::netlink::build::message;
use crate::netlink::request;
use crate::netlink::uapi::{NLM_F_DUMP, NLM_F_REQUEST, SOCK_DIAG_BY_FAMILY};

/// States by bit (include/net/tcp_states.h): `TCP_LISTEN`, and `TCP_CLOSE`, which UDP sockets without a peer have.
const LISTEN: u32 = 1 << 10;
const UNCONNECTED: u32 = 1 << 7;
/// Bytes of `struct inet_diag_req_v2`, of which the last 48 choose a socket.
const REQUEST: usize = 56;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// The sockets that wait for clients in the namespace of the calling thread, at `addresses`, which are its own.
#[must_use]
pub fn look(addresses: Vec<IpAddr>) -> Listening {
    let mut ports = Vec::new();
    let chosen = local_ports();
    for (protocol, states) in [(Protocol::TCP, LISTEN), (Protocol::UDP, UNCONNECTED)] {
        for family in [libc::AF_INET, libc::AF_INET6] {
            // Of what the kernel does not tell nothing is known, as of other hosts.
            let _ = ask(family as u8, protocol, states, |port| {
                // A datagram socket of a client has a port as well, one that the kernel has chosen.
                if protocol == Protocol::TCP || !chosen.contains(&port) {
                    ports.push((protocol, port));
                }
            });
        }
    }
    Listening::new(ports, addresses)
}

/// The ports that the kernel chooses itself for clients of this namespace.
fn local_ports() -> RangeInclusive<u16> {
    let text = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut words = text.split_whitespace().map(str::parse);
    match (words.next(), words.next()) {
        (Some(Ok(first)), Some(Ok(last))) => first..=last,
        _ => 32_768..=60_999,
    }
}

fn ask(family: u8, protocol: Protocol, states: u32, mut each: impl FnMut(u16)) -> io::Result<()> {
    let socket = request::open(request::Family::SocketDiag, 0)?;
    let mut wanted = [0; REQUEST];
    (wanted[0], wanted[1]) = (family, protocol.0);
    wanted[4..8].copy_from_slice(&states.to_ne_bytes());
    let mut bytes = Vec::new();
    let flags = NLM_F_REQUEST | NLM_F_DUMP;
    message(&mut bytes, SOCK_DIAG_BY_FAMILY, flags, &wanted, |_| {});
    request::query(&socket, &bytes, Some(Instant::now() + PATIENCE), |socket| {
        // `struct inet_diag_msg`: four bytes, then the source port.
        if let Some(&[high, low]) = socket.get(4..6) {
            let port = u16::from_be_bytes([high, low]);
            if port != 0 {
                each(port);
            }
        }
        ControlFlow::Continue(())
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener, UdpSocket};

    use super::*;

    #[test]
    fn sockets_that_wait_are_found() {
        let error = request::open(request::Family::SocketDiag, 0).err();
        // Emulation of a single program has few kinds of netlink sockets (qemu-user 10, linux-user/syscall.c, do_socket).
        if let Some(libc::EPROTONOSUPPORT | libc::EPFNOSUPPORT) =
            error.and_then(|error| error.raw_os_error())
        {
            eprintln!("skipped: no sockets of sock_diag(7) can be made here");
            return;
        }
        let here = IpAddr::from(Ipv4Addr::LOCALHOST);
        let tcp = TcpListener::bind((here, 0)).unwrap();
        let port = tcp.local_addr().unwrap().port();
        // Below what the kernel chooses from.
        let udp = (20_000..20_100).find_map(|port| UdpSocket::bind((here, port)).ok());
        let udp_port = udp.as_ref().unwrap().local_addr().unwrap().port();
        let client = UdpSocket::bind((here, 0)).unwrap();
        let chosen = client.local_addr().unwrap().port();
        let listening = look(vec![here]);
        assert!(listening.has(here, Protocol::TCP, port));
        assert!(listening.has(here, Protocol::UDP, udp_port));
        assert!(!listening.has(here, Protocol::UDP, chosen));
        assert!(!listening.has([10, 0, 0, 1].into(), Protocol::TCP, port));
    }
}
