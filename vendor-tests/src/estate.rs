//! A small site around the calling thread's namespace, which is its gateway: a LAN whose devices have leases of DHCP,
//! servers, and an Internet with any number of addresses, each in a network namespace. What serves is real as far as
//! packages have it: dnsmasq, busybox's web server and DHCP client, pyftpdlib.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with, sockopt};

use crate::lab::Namespace;
use crate::netns::sh;
use crate::temp::Folder;
use crate::wait::{bound, until_true};

/// The gateway's addresses.
pub const LAN: &str = "192.168.10.1";
/// That of the Internet's side.
pub const WAN: &str = "203.0.113.2";
/// The web server, for the LAN and published.
pub const WEB: &str = "192.168.20.80";
/// The server with everything else.
pub const FILES: &str = "192.168.20.10";
/// A device with a fixed address.
pub const ADMIN: &str = "192.168.10.5";

/// How long an attempt may take. Those that are expected to fail take as long.
const PATIENCE: Duration = Duration::from_millis(500);

/// What udhcpc(8) does with a lease.
const LEASED: &str = r#"#!/bin/sh
[ "$1" = bound ] || exit 0
ip addr replace "$ip/24" dev eth0
ip route replace default via 192.168.10.1
echo "$ip" >"$LEASE"
"#;

/// What is missing for it, if anything is.
pub fn lacking() -> Option<&'static str> {
    let works = |program: &str, args: &[&str]| {
        let output = Command::new(program).args(args).output();
        output.is_ok_and(|output| output.status.success())
    };
    if !works("dnsmasq", &["--version"]) {
        return Some("dnsmasq is not installed");
    }
    if !works("/usr/bin/python3", &["-c", "import pyftpdlib"]) {
        return Some("python3-pyftpdlib is not installed");
    }
    let applets = Command::new("busybox").arg("--list").output();
    let has = |name: &str| {
        { applets.as_ref().ok() }.is_some_and(|it| {
            String::from_utf8_lossy(&it.stdout)
                .lines()
                .any(|it| it == name)
        })
    };
    (!has("udhcpc") || !has("httpd")).then_some("busybox has no udhcpc and httpd")
}

/// The namespaces, and what serves in them.
#[derive(Debug)]
pub struct Estate {
    /// Devices, each an address of one network card.
    pub lan: Namespace,
    /// 192.168.20.0/24.
    pub servers: Namespace,
    /// 203.0.113.1, and all of 198.18.0.0/15.
    pub internet: Namespace,
    folder: Folder,
    daemons: Vec<Child>,
}

impl Estate {
    /// Builds it.
    ///
    /// Panics: if something is missing.
    pub fn new() -> Self {
        let mut estate = Self {
            lan: Namespace::new(),
            servers: Namespace::new(),
            internet: Namespace::new(),
            folder: Folder::new(),
            daemons: Vec::new(),
        };
        for (device, address, namespace) in [
            ("lan0", LAN, &estate.lan),
            ("srv0", "192.168.20.1", &estate.servers),
            ("wan0", WAN, &estate.internet),
        ] {
            sh(&format!(
                "ip link add {device} type veth peer name eth0 netns {}
                 ip link set {device} up; ip addr add {address}/24 dev {device}",
                namespace.thread_id()
            ));
            namespace.sh("ip link set eth0 up");
        }
        estate.lan.sh(&format!(
            "ip addr add {ADMIN}/24 dev eth0; ip route add default via {LAN}"
        ));
        estate.servers.sh(&format!(
            "ip addr add {WEB}/24 dev eth0; ip addr add {FILES}/24 dev eth0
             ip route add default via 192.168.20.1"
        ));
        // Whoever attacks knows the way to the inner networks.
        estate.internet.sh(&format!(
            "ip addr add 203.0.113.1/24 dev eth0; ip route add local 198.18.0.0/15 dev lo
             ip route add 192.168.0.0/16 via {WAN}"
        ));
        sh(&format!(
            "echo 1 > /proc/sys/net/ipv4/ip_forward; ip route add default via 203.0.113.1
             nft 'table inet tracking {{
                ct helper ftp {{ type \"ftp\" protocol tcp; }}
                chain prerouting {{ type filter hook prerouting priority -150;
                    ct state new; tcp dport 21 ct helper set \"ftp\"; }}
                chain output {{ type filter hook output priority -150; ct state new; }}
             }}
             table ip translation {{
                chain prerouting {{ type nat hook prerouting priority dstnat;
                    ip daddr {WAN} tcp dport 443 dnat to {WEB}; }}
                chain postrouting {{ type nat hook postrouting priority srcnat; oifname wan0 masquerade; }}
             }}'"
        ));
        estate.serve();
        estate
    }

    fn serve(&mut self) {
        let folder = self.folder.path().display().to_string();
        sh(&format!(
            "mkdir {folder}/pages; echo hello > {folder}/pages/index.html"
        ));
        let script = self.folder.join("leased");
        std::fs::write(&script, LEASED).expect("the folder can be written");
        sh(&format!("chmod 755 {}", script.display()));
        let dnsmasq = "exec dnsmasq --keep-in-foreground --user=root --conf-file=/dev/null --pid-file= --no-hosts \
                       --no-resolv --log-facility=-";
        let lines = [
            (
                None,
                format!(
                    "{dnsmasq} --interface=lan0 --except-interface=lo --bind-interfaces --no-ping --server=198.18.53.53 \
                     --dhcp-authoritative --dhcp-range=192.168.10.20,192.168.10.250,12h --dhcp-leasefile={folder}/leases"
                ),
            ),
            (
                Some(&self.internet),
                format!(
                    "{dnsmasq} --listen-address=198.18.53.53 --bind-interfaces --address=/#/198.18.7.7"
                ),
            ),
            (
                Some(&self.internet),
                format!("exec busybox httpd -f -p 443 -h {folder}/pages"),
            ),
            (
                Some(&self.servers),
                format!("exec busybox httpd -f -p 443 -h {folder}/pages"),
            ),
            (
                Some(&self.servers),
                format!(
                    "exec /usr/bin/python3 -m pyftpdlib -p 21 -d {folder}/pages -r 50000-50099"
                ),
            ),
        ];
        for (namespace, line) in lines {
            let start = move || {
                let mut command = Command::new("/bin/sh");
                command.args(["-c", &line]);
                command.stdin(Stdio::null()).stdout(Stdio::null());
                command
                    .stderr(Stdio::null())
                    .spawn()
                    .expect("/bin/sh is there")
            };
            let child = match namespace {
                Some(namespace) => namespace.run(start),
                None => start(),
            };
            self.daemons.push(child);
        }
        for (namespace, port) in [
            (Some(&self.servers), 22),
            (Some(&self.servers), 2049),
            (Some(&self.servers), 3389),
            (Some(&self.lan), 445),
            (Some(&self.internet), 25),
            (Some(&self.internet), 6667),
            (None, 22),
        ] {
            let listen = move || accept_all(port);
            match namespace {
                Some(namespace) => namespace.run(listen),
                None => listen(),
            }
        }
        for (namespace, address) in [
            (&self.internet, "198.18.0.1:443"),
            (&self.servers, "192.168.20.80:443"),
            (&self.servers, "192.168.20.10:21"),
        ] {
            until_true(address, || {
                let address: SocketAddr = address.parse().expect("an address");
                namespace.run(move || TcpStream::connect_timeout(&address, PATIENCE).is_ok())
            });
        }
    }

    /// A lease for a device, by udhcpc(8); `None` if there is none to be had.
    pub fn lease(&self, device: u32) -> Option<IpAddr> {
        let folder = self.folder.path().display().to_string();
        let lease = self.folder.join("lease");
        let _ = std::fs::remove_file(&lease);
        let command = format!(
            "LEASE={folder}/lease busybox udhcpc -i eth0 -f -n -q -t 4 -T 1 -s {folder}/leased -x 0x3d:01{device:012x} \
             >/dev/null 2>&1"
        );
        self.lan.run(move || {
            // It says with its status that there is none.
            let _ = Command::new("/bin/sh").args(["-c", &command]).status();
        });
        std::fs::read_to_string(&lease).ok()?.trim().parse().ok()
    }

    /// All leases are given back without a word, as when devices are switched off.
    pub fn forget_leases(&self) {
        self.lan.sh(&format!(
            "ip addr flush dev eth0; ip addr add {ADMIN}/24 dev eth0; ip route replace default via {LAN}"
        ));
    }

    /// Whether a question by mDNS reaches the gateway and its answer the devices, both to all of the link (RFC 6762).
    ///
    /// Panics: if they can't be sent.
    pub fn mdns_is_answered(&self, device: IpAddr) -> bool {
        const GROUP: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(224, 0, 0, 251), 5353);
        // Members of the group, by the address of the network card.
        let joined = |card: &str| {
            let card = card.parse().expect("an address");
            let socket = bound(|| UdpSocket::bind(GROUP));
            socket
                .join_multicast_v4(GROUP.ip(), &card)
                .expect("a group");
            socket.set_read_timeout(Some(PATIENCE)).expect("an option");
            socket
        };
        let gateway = joined(LAN);
        let device = SocketAddr::new(device, 5353);
        let devices = self.lan.run(move || {
            let devices = joined(ADMIN);
            let near = bound(|| UdpSocket::bind(device));
            near.set_multicast_loop_v4(false).expect("an option");
            near.send_to(b"?", GROUP).expect("a way there");
            devices
        });
        if gateway.recv_from(&mut [0; 1]).is_err() {
            return false;
        }
        let answers = bound(|| UdpSocket::bind((LAN, 5353)));
        answers.set_multicast_loop_v4(false).expect("an option");
        // Multicast goes where the address it comes from is, not by the default route.
        let on_lan: Ipv4Addr = LAN.parse().expect("an address");
        sockopt::set_ip_multicast_if(&answers, &on_lan).expect("an option");
        // Where the output chain drops it, it is refused at once.
        let _ = answers.send_to(b"!", GROUP);
        devices.recv_from(&mut [0; 1]).is_ok()
    }

    /// Fetches a file by FTP from the device.
    pub fn ftp(&self, device: IpAddr, passive: bool) -> bool {
        let passive = if passive { "True" } else { "False" };
        let program = format!(
            "import ftplib\n\
             f = ftplib.FTP('{FILES}', timeout=3, source_address=('{device}', 0))\n\
             f.login(); f.set_pasv({passive}); assert f.nlst() == ['index.html']; f.quit()"
        );
        self.lan.run(move || {
            let mut python = Command::new("/usr/bin/python3");
            let output = python
                .args(["-c", &program])
                .output()
                .expect("python is there");
            output.status.success()
        })
    }
}

impl Default for Estate {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Estate {
    fn drop(&mut self) {
        for daemon in &mut self.daemons {
            // Those that have ended by themselves are gone.
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }
}

/// Takes every connection to a port of the calling thread's namespace until the process ends.
fn accept_all(port: u16) {
    let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
    let listener = bound(|| TcpListener::bind(any));
    thread::spawn(move || listener.incoming().for_each(drop));
}

/// Opens a connection from an address of the calling thread's namespace, and from a port of it unless that is 0.
pub fn opens(from: IpAddr, port: u16, to: SocketAddr) -> Option<TcpStream> {
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None).ok()?;
    sockopt::set_socket_reuseaddr(&socket, true).ok()?;
    bind(&socket, &SocketAddr::new(from, port)).ok()?;
    // connect(2) waits for as long as a send may take (socket(7), SO_SNDTIMEO).
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(PATIENCE)).ok()?;
    connect(&socket, &to).ok()?;
    Some(socket.into())
}

/// Whether a page can be fetched.
pub fn browses(from: IpAddr, to: SocketAddr) -> bool {
    let Some(mut stream) = opens(from, 0, to) else {
        return false;
    };
    let mut answer = String::new();
    let asked = stream.write_all(b"GET / HTTP/1.0\r\n\r\n").is_ok()
        && stream.set_read_timeout(Some(4 * PATIENCE)).is_ok();
    asked && stream.read_to_string(&mut answer).is_ok() && answer.contains("hello")
}

/// Whether a name is answered: a question for the address of `a.test` (RFC 1035, section 4).
pub fn resolves(from: IpAddr, server: &str) -> bool {
    const QUESTION: &[u8] = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x01a\x04test\0\0\x01\0\x01";
    let Ok(socket) = UdpSocket::bind(SocketAddr::new(from, 0)) else {
        return false;
    };
    let server: Ipv4Addr = server.parse().expect("an address");
    let mut answer = [0; 512];
    socket
        .set_read_timeout(Some(4 * PATIENCE))
        .expect("an option");
    // Where the output chain drops it, it is refused at once.
    let _ = socket.send_to(QUESTION, SocketAddrV4::new(server, 53));
    socket
        .recv_from(&mut answer)
        .is_ok_and(|(length, _)| length > QUESTION.len())
}
