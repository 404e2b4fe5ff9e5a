//! The kernel's table is emptied while connections go on (`conntrack -F`), as a reboot does too: each becomes an entry
//! again with the next packet, whoever sends it, and is still the one connection that its client opened.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use serde_json::Value;
use vendor_tests::capture::Launch;
use vendor_tests::lab::{Lab, Namespace};
use vendor_tests::netns::{self, sh};
use vendor_tests::temp::Folder;
use vendor_tests::wait::{LONG, bound};

const PAIRS: [(&str, &str); 2] = [("10.1.0.2", "10.2.0.2"), ("fd01::2", "fd02::2")];

fn open(client: &Namespace, server: &Namespace, address: SocketAddr) -> (TcpStream, TcpStream) {
    let listener = server.run(move || bound(|| TcpListener::bind(address)));
    let near = client.run(move || TcpStream::connect_timeout(&address, LONG).expect("open"));
    let (far, _) = listener.accept().expect("the connection is there");
    for end in [&near, &far] {
        end.set_read_timeout(Some(LONG)).expect("a timeout");
    }
    (near, far)
}

fn speak(mut first: &TcpStream, mut second: &TcpStream) {
    first.write_all(b"tick").expect("sent");
    second.read_exact(&mut [0; 4]).expect("heard");
    second.write_all(b"tock").expect("answered");
    first.read_exact(&mut [0; 4]).expect("heard");
}

#[test]
fn connections_that_outlive_the_table_stay_those_of_their_clients() {
    let test = "connections_that_outlive_the_table_stay_those_of_their_clients";
    netns::run(test, || {
        for server_first in [true, false] {
            let folder = Folder::new();
            let path = folder.join("gw.json");
            let lab = Lab::new();
            lab.track();
            let words = ["--all-protocols", "--format", "json", "-o"];
            let path_text = path.to_str().expect("text");
            let capture = Launch::new(words.iter().chain(&[path_text])).start();
            let pairs = PAIRS.map(|(_, address)| {
                let to = SocketAddr::new(address.parse().expect("an address"), 7777);
                open(&lab.client, &lab.server, to)
            });
            for _ in 0..3 {
                for (near, far) in &pairs {
                    speak(near, far);
                }
                sh("conntrack -F 2>/dev/null");
                for (near, far) in &pairs {
                    match server_first {
                        true => speak(far, near),
                        false => speak(near, far),
                    }
                }
            }
            capture.drained();
            let outcome = capture.finish();
            assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
            let text = fs::read_to_string(&path).expect("a list");
            let lines = text.lines();
            let flows = lines.map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
            let flows: Vec<Value> = flows
                .filter(|line| line["type"] == "flow" && line["protocol"] == "tcp")
                .collect();
            for (client, server) in PAIRS {
                let of_pair = |flow: &&Value| flow["src"] == client || flow["dst"] == client;
                let found: Vec<&Value> = flows.iter().filter(of_pair).collect();
                // It was seen from its beginning on, and what came of it later is known by that.
                assert!(!found.is_empty(), "{text}");
                let from = |flow: &&Value| {
                    (&flow["src"], &flow["dst"], &flow["dst_port"])
                        == (&client.into(), &server.into(), &7777.into())
                };
                let (right, wrong): (Vec<&Value>, Vec<&Value>) = found.into_iter().partition(from);
                assert!(!right.is_empty(), "{text}");
                // What stands beside its flow the other way round is known to be no beginning.
                for flow in wrong {
                    assert_eq!(
                        (&flow["picked_up"], &flow["turned"]),
                        (&true.into(), &Value::Null),
                        "server first: {server_first}, {flow}"
                    );
                }
            }
            // The rules of it have no other direction either.
            let rules = Launch::new(["rules", path_text]).run();
            assert_eq!(rules.code, Some(0), "{}", rules.stderr);
            assert!(
                rules.text().contains("tcp dport 7777") && !rules.text().contains("tcp sport 7777"),
                "{}",
                rules.text()
            );
            sh("nft flush ruleset; ip link del side1; ip link del side2");
        }
    });
}
