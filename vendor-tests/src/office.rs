//! An office: workstations, a gateway with NAT for IPv4 and without for IPv6, servers, a printer and the Internet.
//!
//! ```text
//!   lan 192.168.10.0/24 ── lan0 ┐           ┌ wan0 203.0.113.0/24 ── inet 198.51.100.0/24
//!                               ├ gateway ──┤
//!   dmz 192.168.20.0/24 ── dmz0 ┘           └ prn0 192.168.30.0/24 ── the printer, in dmz
//! ```
//!
//! The gateway is the calling thread's namespace, made by [`crate::netns::run`].

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::net::{SocketFlags, SocketType, socket_with, sockopt};

use crate::attempts::Place;
use crate::lab::Namespace;
use crate::netns::sh;
use crate::wait::bound;

/// How long an attempt waits for its answer.
const PATIENCE: Duration = Duration::from_millis(700);
/// How often a server looks whether it is to end.
const LOOK: Duration = Duration::from_millis(50);

/// The namespaces around the gateway.
#[derive(Debug)]
pub struct Office {
    /// Workstations.
    pub lan: Namespace,
    /// Servers, and the printer.
    pub dmz: Namespace,
    /// Everybody else.
    pub internet: Namespace,
    ended: Arc<AtomicBool>,
}

/// Where somebody is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Site {
    /// Among the workstations.
    Lan,
    /// Among the servers.
    Dmz,
    /// Outside.
    Internet,
    /// On the gateway.
    Gateway,
}

/// One connection that somebody opens: protocol, from where, source, destination, port, and the source port where the
/// program insists on one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt(
    pub &'static str,
    pub Site,
    pub &'static str,
    pub &'static str,
    pub u16,
    pub Option<u16>,
);

impl Office {
    /// Builds it: links, addresses, routes and the gateway's NAT. Servers wait at once.
    pub fn new() -> Self {
        let no_dad = "echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad";
        sh(no_dad);
        let [lan, dmz, internet] = [(); 3].map(|()| {
            let namespace = Namespace::new();
            namespace.sh(no_dad);
            namespace
        });
        for (device, peer, namespace, addresses) in [
            ("lan0", "eth0", &lan, "192.168.10.1/24 2001:db8:10::1/64"),
            ("dmz0", "eth0", &dmz, "192.168.20.1/24 2001:db8:20::1/64"),
            ("prn0", "eth1", &dmz, "192.168.30.1/24"),
            (
                "wan0",
                "eth0",
                &internet,
                "203.0.113.1/24 2001:db8:ffff::1/64",
            ),
        ] {
            sh(&format!(
                "ip link add {device} type veth peer name {peer} netns {id} && ip link set {device} up
                 for a in {addresses}; do ip addr add $a dev {device}; done",
                id = namespace.thread_id()
            ));
            namespace.sh(&format!("ip link set {peer} up"));
        }
        lan.sh("for i in $(seq 11 16); do
                 ip addr add 192.168.10.$i/24 dev eth0; ip addr add 2001:db8:10::$i/64 dev eth0
             done
             ip route add default via 192.168.10.1; ip route add default via 2001:db8:10::1");
        dmz.sh("for i in 22 25 53 80 123; do
                    ip addr add 192.168.20.$i/24 dev eth0; ip addr add 2001:db8:20::$i/64 dev eth0
                done
                ip addr add 192.168.30.50/24 dev eth1
                ip route add default via 192.168.20.1; ip route add default via 2001:db8:20::1
                ip route add 192.168.10.0/24 via 192.168.30.1 table 30
                ip rule add from 192.168.30.50 table 30");
        internet.sh(
            "ip addr add 203.0.113.254/24 dev eth0; ip addr add 2001:db8:ffff::fe/64 dev eth0
                     for i in 1 2 3 4 5 7 8 9 66; do ip addr add 198.51.100.$i/32 dev lo; done
                     for i in 1 2; do ip addr add 2001:db8:beef::$i/128 dev lo; done
                     ip route add 192.168.20.0/24 via 203.0.113.1
                     ip route add 2001:db8::/32 via 2001:db8:ffff::1",
        );
        sh(
            "ip route add default via 203.0.113.254; ip route add default via 2001:db8:ffff::fe
            echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding
            nft 'table ip nat {
                chain prerouting { type nat hook prerouting priority dstnat;
                    iifname \"wan0\" ip daddr 203.0.113.1 tcp dport { 80, 443 } dnat to 192.168.20.80;
                    iifname \"wan0\" ip daddr 203.0.113.1 tcp dport 25 dnat to 192.168.20.25;
                };
                chain postrouting { type nat hook postrouting priority srcnat; oifname \"wan0\" masquerade; };
            }'",
        );
        let office = Self {
            lan,
            dmz,
            internet,
            ended: Arc::default(),
        };
        office.serve();
        office
    }

    fn place(&self, site: Site) -> Place<'_> {
        match site {
            Site::Lan => Place::At(&self.lan),
            Site::Dmz => Place::At(&self.dmz),
            Site::Internet => Place::At(&self.internet),
            Site::Gateway => Place::Gateway,
        }
    }

    /// Everything that waits for clients, also what nobody is to reach.
    fn serve(&self) {
        let outside = [
            "198.51.100.1",
            "198.51.100.2",
            "198.51.100.3",
            "198.51.100.4",
            "198.51.100.5",
            "198.51.100.7",
            "198.51.100.8",
            "198.51.100.9",
            "2001:db8:beef::1",
            "2001:db8:beef::2",
        ];
        for address in outside {
            self.waits(Site::Internet, address, &[25, 80, 443], &[53, 123, 51820]);
        }
        for host in ["22", "25", "53", "80"] {
            for network in ["192.168.20.", "2001:db8:20::"] {
                let address = format!("{network}{host}");
                let tcp = [22, 25, 53, 80, 443, 445, 587, 993, 5432];
                self.waits(Site::Dmz, &address, &tcp, &[53]);
            }
        }
        self.waits(Site::Dmz, "192.168.30.50", &[631, 9100], &[161]);
        self.waits(Site::Gateway, "192.168.10.1", &[22, 443], &[123]);
        self.waits(Site::Gateway, "203.0.113.1", &[22, 443], &[]);
        self.waits(Site::Lan, "192.168.10.13", &[445], &[]);
    }

    /// Has something wait that answers what it hears.
    fn waits(&self, site: Site, address: &str, tcp: &[u16], udp: &[u16]) {
        let address: IpAddr = address.parse().expect("an address");
        for &port in tcp {
            let at = SocketAddr::new(address, port);
            let listener = { self.place(site) }.run(move || bound(|| TcpListener::bind(at)));
            listener.set_nonblocking(true).expect("an option");
            let ended = Arc::clone(&self.ended);
            thread::spawn(move || {
                while !ended.load(Ordering::Relaxed) {
                    match listener.accept() {
                        Ok((stream, _)) => drop(thread::spawn(|| answer(stream))),
                        Err(_) => thread::sleep(LOOK / 10),
                    }
                }
            });
        }
        for &port in udp {
            let at = SocketAddr::new(address, port);
            let socket = { self.place(site) }.run(move || bound(|| UdpSocket::bind(at)));
            socket.set_read_timeout(Some(LOOK)).expect("an option");
            let ended = Arc::clone(&self.ended);
            thread::spawn(move || {
                let mut text = [0; 64];
                while !ended.load(Ordering::Relaxed) {
                    if let Ok((length, from)) = socket.recv_from(&mut text) {
                        let _ = socket.send_to(&text[..length], from);
                    }
                }
            });
        }
    }

    /// Whether a connection can be opened and is answered.
    pub fn works(&self, attempt: Attempt) -> bool {
        let Attempt(protocol, site, source, destination, port, source_port) = attempt;
        let parse = |text: &str| text.parse::<IpAddr>().expect("an address");
        let from = SocketAddr::new(parse(source), source_port.unwrap_or(0));
        let to = SocketAddr::new(parse(destination), port);
        let is_tcp = protocol == "tcp";
        self.place(site).run(move || match is_tcp {
            true => asks_tcp(from, to),
            false => asks_udp(from, to),
        })
    }
}

impl Default for Office {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Office {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
    }
}

fn answer(mut stream: TcpStream) {
    let mut text = [0; 5];
    let _ = stream.set_nonblocking(false);
    let _ = stream.set_read_timeout(Some(PATIENCE));
    if stream.read_exact(&mut text).is_ok() {
        let _ = stream.write_all(&text);
    }
}

fn asks_tcp(from: SocketAddr, to: SocketAddr) -> bool {
    let family = if from.is_ipv4() {
        rustix::net::AddressFamily::INET
    } else {
        rustix::net::AddressFamily::INET6
    };
    let socket =
        socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None).expect("a socket");
    // That of connect(2), too: tcp(7).
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(PATIENCE)).expect("set");
    bound(|| Ok(rustix::net::bind(&socket, &from)?));
    if rustix::net::connect(&socket, &to).is_err() {
        return false;
    }
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).expect("an option");
    stream.write_all(b"hello").is_ok() && stream.read_exact(&mut [0; 5]).is_ok()
}

fn asks_udp(from: SocketAddr, to: SocketAddr) -> bool {
    let socket = bound(|| UdpSocket::bind(from));
    socket.set_read_timeout(Some(PATIENCE)).expect("an option");
    // Refused at once where a rule of the output hook drops it.
    let sent = socket.connect(to).is_ok() && socket.send(b"hello").is_ok();
    sent && socket.recv(&mut [0; 5]).is_ok()
}
