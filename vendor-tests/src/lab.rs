//! A client, a gateway and a server, each in a network namespace, and traffic between them.
//!
//! The calling thread's namespace, made by [`crate::netns::run`], is the gateway. The others belong to
//! threads as well, so nothing is left of them however a test ends.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::num::NonZeroU32;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::net::{
    AddressFamily, Protocol, SendFlags, SocketFlags, SocketType, bind, connect, sendto, socket,
    socket_with,
};

use crate::netns::sh;
use crate::wait::{LONG, bound};

type Job = Box<dyn FnOnce() + Send>;

/// A network namespace with a thread in it.
#[derive(Debug)]
pub struct Namespace {
    thread: Option<JoinHandle<()>>,
    thread_id: i32,
    jobs: Option<Sender<Job>>,
}

impl Namespace {
    /// Makes one, with `lo` up.
    ///
    /// Panics: if the privilege is missing: only to be called where [`crate::netns::run`] has it.
    pub fn new() -> Self {
        let (jobs, todo) = channel::<Job>();
        let (tell, told) = channel();
        let thread = thread::spawn(move || {
            // SAFETY: takes flags only; CLONE_NEWNET concerns this thread.
            let result = unsafe { libc::unshare(libc::CLONE_NEWNET) };
            assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
            sh("ip link set lo up");
            tell.send(rustix::thread::gettid().as_raw_nonzero().get())
                .expect("the maker waits");
            for job in todo {
                job();
            }
        });
        let thread_id = told.recv().expect("the namespace can be made");
        Self {
            thread: Some(thread),
            thread_id,
            jobs: Some(jobs),
        }
    }

    /// The thread in it, which stands for the namespace in `ip link … netns`.
    pub const fn thread_id(&self) -> i32 {
        self.thread_id
    }

    /// Runs something in it.
    ///
    /// Panics: if that panics.
    pub fn run<T: Send + 'static>(&self, body: impl FnOnce() -> T + Send + 'static) -> T {
        let (tell, told) = channel();
        let job = Box::new(move || {
            let result = catch_unwind(AssertUnwindSafe(body));
            // The receiver waits below.
            let _ = tell.send(result);
        });
        self.jobs
            .as_ref()
            .expect("there until dropped")
            .send(job)
            .expect("the thread is there");
        match told.recv().expect("the thread answers") {
            Ok(result) => result,
            Err(panic) => resume_unwind(panic),
        }
    }

    /// Runs a shell command in it.
    pub fn sh(&self, command: &str) {
        let command = command.to_owned();
        self.run(move || sh(&command));
    }
}

impl Default for Namespace {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            // It panics nowhere that was not told of.
            let _ = thread.join();
        }
    }
}

/// The three namespaces, connected.
#[derive(Debug)]
pub struct Lab {
    /// 10.1.0.2 and fd01::2.
    pub client: Namespace,
    /// 10.2.0.2 and fd02::2.
    pub server: Namespace,
}

/// Where nothing listens.
const REFUSED_PORT: u16 = 81;
/// What the server drops without a word.
const SILENT_PORT: u16 = 9;
/// An address that the gateway translates to the server's.
const TRANSLATED: &str = "10.2.0.99";
const SERVERS: [&str; 2] = ["10.2.0.2", "fd02::2"];
const CLIENTS: [&str; 2] = ["10.1.0.2", "fd01::2"];

impl Lab {
    /// Builds it around the calling thread's namespace, where connections are not tracked yet.
    pub fn new() -> Self {
        let (client, server) = (Namespace::new(), Namespace::new());
        // Addresses are usable at once where nobody looks for others that have them.
        let no_dad = "echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad";
        sh(no_dad);
        client.sh(no_dad);
        server.sh(no_dad);
        for (side, namespace) in [(1, &client), (2, &server)] {
            sh(&format!(
                "ip link add side{side} type veth peer name eth0 netns {id}
                 ip link set side{side} up
                 ip addr add 10.{side}.0.1/24 dev side{side}
                 ip addr add fd0{side}::1/64 dev side{side} nodad",
                id = namespace.thread_id
            ));
            namespace.sh(&format!(
                "ip link set eth0 up
                 ip addr add 10.{side}.0.2/24 dev eth0
                 ip addr add fd0{side}::2/64 dev eth0 nodad
                 ip route add default via 10.{side}.0.1
                 ip route add default via fd0{side}::1"
            ));
        }
        sh(
            "echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding",
        );
        server.sh(&format!(
            "nft 'table inet silence {{ chain input {{ type filter hook input priority 0; \
             meta l4proto {{ tcp, udp }} th dport {SILENT_PORT} drop; }}; }}'"
        ));
        // A link carries nothing in its first moments (`linkwatch_event`, net/core/link_watch.c).
        for address in SERVERS {
            let ping = format!("ping -n -q -c 1 -W 1 {address}");
            client.sh(&format!(
                "{ping} || {ping} || {ping} || {ping} || {ping} || {ping}"
            ));
        }
        Self { client, server }
    }

    /// Has the gateway track connections, and translate an address of its own to the server's.
    pub fn track(&self) {
        sh(&format!(
            "nft 'table inet tracking {{
                chain prerouting {{ type filter hook prerouting priority 0; ct state new; }};
                chain output {{ type filter hook output priority 0; ct state new; }};
            }}
            table ip translation {{
                chain prerouting {{ type nat hook prerouting priority dstnat;
                    ip daddr {TRANSLATED} tcp dport 8080 dnat to {}:443; }};
            }}'",
            SERVERS[0]
        ));
    }

    /// Sends one of everything through the gateway: TCP and UDP over IPv4 and IPv6 from ports on both
    /// sides of 1024, answered, refused and unanswered; a translated address; pings; a protocol that is
    /// not listed. Returns when all of it is over.
    pub fn traffic(&self) {
        for (client, server) in CLIENTS.into_iter().zip(SERVERS) {
            let to = |port| SocketAddr::new(server.parse().expect("an address"), port);
            let from: IpAddr = client.parse().expect("an address");
            let listener = self
                .server
                .run(move || bound(|| TcpListener::bind(to(443))));
            for port in [1023, 1024, 1025, 65535] {
                self.tcp(SocketAddr::new(from, port), to(443), &listener);
            }
            if from.is_ipv4() {
                let address = format!("{TRANSLATED}:8080").parse().expect("an address");
                self.tcp(SocketAddr::new(from, 40000), address, &listener);
            }
            let time = Duration::from_millis(100);
            self.client.run(move || {
                TcpStream::connect_timeout(&to(REFUSED_PORT), Duration::from_secs(2))
                    .expect_err("refused");
                TcpStream::connect_timeout(&to(SILENT_PORT), time).expect_err("unanswered");
            });
            for port in [53, 1024, 40001] {
                self.udp(SocketAddr::new(from, port), to(53));
            }
            self.client.run(move || {
                for port in [REFUSED_PORT, SILENT_PORT] {
                    let socket = bound(|| UdpSocket::bind(SocketAddr::new(from, 0)));
                    socket.send_to(b"?", to(port)).expect("a way there");
                }
            });
            self.client.sh(&format!("ping -n -q -c 1 -W 10 {server}"));
        }
        self.client.sh("! ping -n -q -c 1 -W 0.1 10.2.0.77");
        self.unlisted();
    }

    /// Opens a TCP connection from the client to the server, and has both ends hear of each other.
    ///
    /// Panics: if it can't be opened.
    pub fn open_tcp(&self, source_port: u16, destination_port: u16) -> (TcpStream, TcpStream) {
        let end = |address: &str, port| SocketAddr::new(address.parse().expect("an address"), port);
        let (from, to) = (
            end(CLIENTS[0], source_port),
            end(SERVERS[0], destination_port),
        );
        let listener = self.server.run(move || bound(|| TcpListener::bind(to)));
        self.connect(from, to, &listener)
    }

    fn connect(
        &self,
        from: SocketAddr,
        to: SocketAddr,
        listener: &TcpListener,
    ) -> (TcpStream, TcpStream) {
        let mut near: TcpStream = self.client.run(move || {
            // What is started later must not hold it, or dropping it would not close it.
            let flags = SocketFlags::CLOEXEC;
            let socket =
                socket_with(family(from), SocketType::STREAM, flags, None).expect("a socket");
            rustix::net::sockopt::set_socket_reuseaddr(&socket, true).expect("an option");
            bound(|| Ok(bind(&socket, &from)?));
            connect(&socket, &to).expect("the server listens");
            socket.into()
        });
        let (mut far, _) = listener.accept().expect("the client has connected");
        for end in [&near, &far] {
            end.set_read_timeout(Some(LONG)).expect("an option");
        }
        near.write_all(b"question").expect("an open connection");
        let mut text = [0; 8];
        far.read_exact(&mut text).expect("an open connection");
        far.write_all(b"answer").expect("an open connection");
        near.read_exact(&mut text[..6]).expect("an open connection");
        (near, far)
    }

    /// One TCP connection from its beginning to its end.
    fn tcp(&self, from: SocketAddr, to: SocketAddr, listener: &TcpListener) {
        let (near, far) = self.connect(from, to, listener);
        close(near, far);
    }

    /// One UDP exchange.
    fn udp(&self, from: SocketAddr, to: SocketAddr) {
        let far = self.server.run(move || bound(|| UdpSocket::bind(to)));
        let near = self.client.run(move || bound(|| UdpSocket::bind(from)));
        far.set_read_timeout(Some(LONG)).expect("an option");
        near.set_read_timeout(Some(LONG)).expect("an option");
        near.send_to(b"question", to).expect("a way there");
        let (_, back) = far.recv_from(&mut [0; 8]).expect("a question");
        far.send_to(b"answer", back).expect("a way back");
        near.recv_from(&mut [0; 8]).expect("an answer");
    }

    /// A packet of a protocol for experiments (RFC 3692).
    fn unlisted(&self) {
        self.client.run(|| {
            let number = NonZeroU32::new(253).expect("not 0");
            let socket = socket(
                AddressFamily::INET,
                SocketType::RAW,
                Some(Protocol::from_raw(number)),
            )
            .expect("a raw socket");
            let to: SocketAddr = format!("{}:0", SERVERS[0]).parse().expect("an address");
            sendto(&socket, b"?", SendFlags::empty(), &to).expect("a way there");
        });
    }
}

impl Default for Lab {
    fn default() -> Self {
        Self::new()
    }
}

/// Closes a connection from its near end, and then the far one.
///
/// Panics: if the far end does not hear of it.
pub fn close(near: TcpStream, mut far: TcpStream) {
    drop(near);
    assert_eq!(far.read(&mut [0; 8]).expect("an end"), 0);
}

fn family(address: SocketAddr) -> AddressFamily {
    if address.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    }
}
