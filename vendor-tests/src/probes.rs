//! Real packets through a gateway: which flows get through it, and which answers come back.

use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with, sockopt};
use rustix::time::Timespec;

use crate::lab::Lab;
use crate::netns::sh;
use crate::wait::bound;

/// Ports that every host listens at.
pub const PORTS: [u16; 6] = [22, 53, 80, 443, 1000, 8080];
/// The addresses of each host, in both families: client, gateway towards it, gateway towards the server, server.
pub const HOSTS: [[&str; 2]; 4] = [
    ["10.1.0.2", "fd01::2"],
    ["10.1.0.1", "fd01::1"],
    ["10.2.0.1", "fd02::1"],
    ["10.2.0.2", "fd02::2"],
];
/// The mark that the gateway's own programs give to some of their packets.
pub const MARK: u32 = 5;

/// A flow to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Probe {
    /// Host of [`HOSTS`] that begins.
    pub from: usize,
    /// Where it goes to.
    pub to: SocketAddr,
    /// TCP, else UDP.
    pub tcp: bool,
    /// Whether the sender marks its packets, which works on the gateway only.
    pub marked: bool,
}

/// What became of one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fate {
    /// The first packet has come to a host that listens; of TCP only known if it was answered.
    pub arrived: bool,
    /// The answer has come back.
    pub answered: bool,
}

/// Hosts that listen.
#[derive(Debug)]
pub struct Listeners {
    udp: Vec<UdpSocket>,
    tcp: Vec<TcpListener>,
}

impl Listeners {
    /// Has all hosts of the lab listen, and know each other without asking: rules may stop them from that.
    pub fn new(lab: &Lab) -> Self {
        for (side, host) in [(1, &lab.client), (2, &lab.server)] {
            let name = format!("side{side}");
            let far = host.run(|| address_of("eth0"));
            let near = address_of(&name);
            for (net, end) in [(format!("10.{side}.0"), '.'), (format!("fd0{side}:"), ':')] {
                sh(&format!(
                    "ip neigh replace {net}{end}2 lladdr {far} dev {name} nud permanent"
                ));
                host.sh(&format!(
                    "ip neigh replace {net}{end}1 lladdr {near} dev eth0 nud permanent"
                ));
            }
        }
        let mut listeners = Self {
            udp: Vec::new(),
            tcp: Vec::new(),
        };
        for (number, addresses) in HOSTS.into_iter().enumerate() {
            let listen = move || {
                let ends = addresses.into_iter().flat_map(|address| {
                    PORTS.map(|port| SocketAddr::new(address.parse().expect("an address"), port))
                });
                let ends: Vec<SocketAddr> = ends.collect();
                let udp: Vec<UdpSocket> = ends
                    .iter()
                    .map(|end| bound(|| UdpSocket::bind(end)))
                    .collect();
                let tcp: Vec<TcpListener> = ends
                    .iter()
                    .map(|end| bound(|| TcpListener::bind(end)))
                    .collect();
                udp.iter()
                    .for_each(|socket| socket.set_nonblocking(true).expect("an option"));
                tcp.iter()
                    .for_each(|socket| socket.set_nonblocking(true).expect("an option"));
                (udp, tcp)
            };
            let (udp, tcp) = on(lab, number, listen);
            listeners.udp.extend(udp);
            listeners.tcp.extend(tcp);
        }
        listeners
    }

    /// Tries flows, all at once, and waits as long as something comes.
    pub fn attempt(&self, lab: &Lab, probes: &[Probe]) -> Vec<Fate> {
        let mut fates = vec![Fate::default(); probes.len()];
        let mut datagrams: Vec<(usize, UdpSocket)> = Vec::new();
        let mut streams: Vec<(usize, TcpStream)> = Vec::new();
        for (number, probe) in probes.iter().enumerate() {
            let Probe {
                from,
                to,
                tcp,
                marked,
            } = *probe;
            let source = HOSTS[from][usize::from(to.is_ipv6())]
                .parse()
                .expect("an address");
            let source = SocketAddr::new(source, 0);
            let opened = on(lab, from, move || open(source, to, tcp, marked));
            if tcp {
                streams.extend(opened.map(|socket| (number, socket.into())));
            } else if let Some(socket) = opened {
                let socket = UdpSocket::from(socket);
                // Rules that drop or reject what is sent show in the error.
                let _ = socket.send(&(number as u32).to_be_bytes());
                datagrams.push((number, socket));
            }
        }
        let mut quiet = 0;
        while quiet < 12 {
            let before = fates.clone();
            self.serve(&mut fates);
            for (number, socket) in &datagrams {
                if matches!(socket.recv(&mut [0; 8]), Ok(4)) {
                    fates[*number].answered = true;
                }
            }
            streams.retain(|(number, stream)| {
                let open = is_open(stream);
                if open == Some(true) {
                    fates[*number] = Fate {
                        arrived: true,
                        answered: true,
                    };
                }
                open.is_none()
            });
            quiet = if fates == before { quiet + 1 } else { 0 };
            std::thread::sleep(Duration::from_millis(2));
        }
        fates
    }

    /// Answers what has come.
    fn serve(&self, fates: &mut [Fate]) {
        for socket in &self.udp {
            let mut bytes = [0; 8];
            while let Ok((length, from)) = socket.recv_from(&mut bytes) {
                let number = bytes.first_chunk().map(|bytes| u32::from_be_bytes(*bytes));
                let fate = number.and_then(|number| fates.get_mut(number as usize));
                if let (Some(fate), 4) = (fate, length) {
                    fate.arrived = true;
                    let _ = socket.send_to(&bytes[..4], from);
                }
            }
        }
        for listener in &self.tcp {
            while let Ok((stream, _)) = listener.accept() {
                drop(stream);
            }
        }
    }
}

/// Runs something on a host.
fn on<T: Send + 'static>(lab: &Lab, host: usize, work: impl FnOnce() -> T + Send + 'static) -> T {
    match host {
        0 => lab.client.run(work),
        3 => lab.server.run(work),
        _ => work(),
    }
}

/// A socket whose packets go there; a connection is begun. `None` if the kernel refuses it at once.
fn open(from: SocketAddr, to: SocketAddr, tcp: bool, marked: bool) -> Option<std::os::fd::OwnedFd> {
    let (family, kind) = (
        if to.is_ipv6() {
            AddressFamily::INET6
        } else {
            AddressFamily::INET
        },
        if tcp {
            SocketType::STREAM
        } else {
            SocketType::DGRAM
        },
    );
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, kind, flags, None).expect("a socket");
    if tcp {
        // Closed by a reset, so that no state of it is left.
        sockopt::set_socket_linger(&socket, Some(Duration::ZERO)).expect("an option");
    }
    if marked {
        conntracker::testing::os::set_mark(&socket, MARK).expect("an option of root's");
    }
    bind(&socket, &from).expect("an address of the host");
    match connect(&socket, &to) {
        Ok(()) | Err(Errno::INPROGRESS) => Some(socket),
        Err(_) => None,
    }
}

/// Whether a connection has been opened, or can't be; `None` as long as that is not known.
fn is_open(stream: &TcpStream) -> Option<bool> {
    let mut ready = [PollFd::from_borrowed_fd(stream.as_fd(), PollFlags::OUT)];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let known = poll(&mut ready, Some(&now)).expect("an open file") > 0;
    // What went wrong is told once. What was reset had been open: rules may stop later packets.
    known.then(|| match stream.take_error() {
        Ok(None) => true,
        Ok(Some(error)) => error.kind() == std::io::ErrorKind::ConnectionReset,
        Err(_) => false,
    })
}

/// The hardware address of a device in the calling thread's namespace.
fn address_of(device: &str) -> String {
    let said = crate::program::run("ip", ["-o", "link", "show", device]);
    let (_, rest) = said.split_once("link/ether ").expect("an Ethernet device");
    rest.split_whitespace()
        .next()
        .expect("an address")
        .to_owned()
}
