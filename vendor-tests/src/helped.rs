//! Connections that a connection tracking helper expects: real ones, by the words that the kernel's helpers look for.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_reuseaddr, set_socket_timeout};
use rustix::net::{AddressFamily, SocketType, bind, connect, socket};

use crate::lab::{Lab, Namespace};
use crate::netns::sh;
use crate::wait::{LONG, bound};

const CLIENT: &str = "10.1.0.2";
const SERVER: &str = "10.2.0.2";

/// Has the gateway of a lab assign helpers for FTP and TFTP.
pub fn assign() {
    sh("nft 'table inet helped {
            ct helper f { type \"ftp\" protocol tcp; }
            ct helper t { type \"tftp\" protocol udp; }
            chain prerouting { type filter hook prerouting priority 0;
                tcp dport 21 ct helper set \"f\"; udp dport 69 ct helper set \"t\"; }
        }'");
}

fn endpoint(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(address.parse().expect("an address"), port)
}

/// Whether a connection comes about.
fn connects(place: &Namespace, from: SocketAddr, to: SocketAddr) -> bool {
    place.run(move || {
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None).expect("one");
        set_socket_reuseaddr(&socket, true).expect("set");
        set_socket_timeout(&socket, Timeout::Send, Some(Duration::from_millis(1500))).expect("set");
        bind(&socket, &from).expect("bound");
        connect(&socket, &to).is_ok()
    })
}

/// Opens a data connection as FTP's commands say, to port 40000 of the server or to port 40001 of the client, and whether
/// it came about. The helper reads the commands only.
pub fn ftp(lab: &Lab, passive: bool) -> bool {
    let to = endpoint(SERVER, 21);
    let listener = lab.server.run(move || bound(|| TcpListener::bind(to)));
    let client = lab
        .client
        .run(move || TcpStream::connect_timeout(&to, LONG).expect("open"));
    let (server, _) = listener.accept().expect("the connection is there");
    let say = |mut from: &TcpStream, mut to: &TcpStream, line: &str| {
        to.set_read_timeout(Some(LONG)).expect("a timeout");
        from.write_all(line.as_bytes()).expect("said");
        to.read_exact(&mut vec![0; line.len()]).expect("heard");
    };
    // The helper looks at lines whose beginning it has seen: not at the first of each side (`find_nl_seq`,
    // net/netfilter/nf_conntrack_ftp.c).
    say(&server, &client, "220 ready\r\n");
    say(&client, &server, "USER ftp\r\n");
    if passive {
        say(&client, &server, "PASV\r\n");
        say(
            &server,
            &client,
            "227 Entering Passive Mode (10,2,0,2,156,64).\r\n",
        );
        let to = endpoint(SERVER, 40_000);
        let _waits = lab.server.run(move || bound(|| TcpListener::bind(to)));
        connects(&lab.client, endpoint(CLIENT, 0), to)
    } else {
        say(&client, &server, "PORT 10,1,0,2,156,65\r\n");
        let to = endpoint(CLIENT, 40_001);
        let _waits = lab.client.run(move || bound(|| TcpListener::bind(to)));
        connects(&lab.server, endpoint(SERVER, 20), to)
    }
}

/// Asks for a file by TFTP (RFC 1350), and has it come from another port than was asked.
pub fn tftp(lab: &Lab) {
    let (from, to) = (endpoint(CLIENT, 40_069), endpoint(SERVER, 69));
    let socket = move |address: SocketAddr| {
        let socket = bound(|| UdpSocket::bind(address));
        socket.set_read_timeout(Some(LONG)).expect("a timeout");
        socket
    };
    let asked = lab.server.run(move || socket(to));
    let client = lab.client.run(move || socket(from));
    client.send_to(b"\0\x01file\0octet\0", to).expect("sent");
    asked.recv(&mut [0; 64]).expect("asked");
    let answers = lab.server.run(move || socket(endpoint(SERVER, 40_070)));
    answers.send_to(b"\0\x03\0\x01data", from).expect("sent");
    let (_, back) = client.recv_from(&mut [0; 64]).expect("data");
    client.send_to(b"\0\x04\0\x01", back).expect("sent");
    answers.recv(&mut [0; 64]).expect("acknowledged");
}
