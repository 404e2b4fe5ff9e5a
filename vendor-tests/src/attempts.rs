//! Attempts to get through, which may fail.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::time::Duration;

use crate::lab::Namespace;
use crate::wait::bound;

/// How long to wait. Most attempts are expected to fail, so this is short: the others are to be made again.
const PATIENCE: Duration = Duration::from_millis(300);

/// A place in the lab.
#[derive(Clone, Copy, Debug)]
pub enum Place<'a> {
    /// One of its namespaces.
    At(&'a Namespace),
    /// The calling thread's.
    Gateway,
}

impl Place<'_> {
    /// Runs something there.
    pub fn run<T: Send + 'static>(self, body: impl FnOnce() -> T + Send + 'static) -> T {
        match self {
            Self::At(namespace) => namespace.run(body),
            Self::Gateway => body(),
        }
    }
}

/// Whether a TCP connection can be opened.
///
/// Panics: if the lab is not as it should be.
pub fn tcp_opens(from: Place<'_>, to: Place<'_>, address: &str) -> bool {
    let address: SocketAddr = address.parse().expect("an address");
    let listener = to.run(move || bound(|| TcpListener::bind(address)));
    let opened = from
        .run(move || TcpStream::connect_timeout(&address, PATIENCE))
        .is_ok();
    drop(listener);
    opened
}

/// Whether a datagram arrives.
///
/// Panics: if the lab is not as it should be.
pub fn udp_arrives(from: Place<'_>, to: Place<'_>, address: &str) -> bool {
    let address: SocketAddr = address.parse().expect("an address");
    let socket = to.run(move || bound(|| UdpSocket::bind(address)));
    socket.set_read_timeout(Some(PATIENCE)).expect("an option");
    from.run(move || {
        let near = bound(|| UdpSocket::bind(any(address)));
        // It may be refused at once where the output chain drops it.
        let _ = near.send_to(b"?", address);
    });
    socket.recv_from(&mut [0; 1]).is_ok()
}

/// Whether a datagram arrives, and the answer to it.
///
/// Panics: if the lab is not as it should be.
pub fn udp_is_answered(from: Place<'_>, to: Place<'_>, address: &str) -> bool {
    let address: SocketAddr = address.parse().expect("an address");
    let far = to.run(move || bound(|| UdpSocket::bind(address)));
    let near = from.run(move || bound(|| UdpSocket::bind(any(address))));
    for socket in [&near, &far] {
        socket.set_read_timeout(Some(PATIENCE)).expect("an option");
    }
    let _ = near.send_to(b"?", address);
    let Ok((_, back)) = far.recv_from(&mut [0; 1]) else {
        return false;
    };
    let _ = far.send_to(b"!", back);
    near.recv_from(&mut [0; 1]).is_ok()
}

/// Whether a ping is answered.
///
/// Panics: if ping(8) is not installed.
pub fn ping_is_answered(from: Place<'_>, address: &str) -> bool {
    let address = address.to_owned();
    from.run(move || {
        let mut ping = Command::new("ping");
        ping.args(["-n", "-q", "-c", "1", "-W", "1", &address]);
        ping.output().expect("ping is installed").status.success()
    })
}

const fn any(like: SocketAddr) -> SocketAddr {
    let address = match like {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    SocketAddr::new(address, 0)
}
