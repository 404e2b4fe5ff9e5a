//! What a capture makes of connections whose entries do not tell the truth by themselves: opened before they were
//! tracked, expected by a helper, or from random privileged ports; and that the rules of it let new ones through.

use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};

use serde_json::Value;
use vendor_tests::attempts::{Place, tcp_opens};
use vendor_tests::capture::{Capture, Launch, Outcome};
use vendor_tests::helped;
use vendor_tests::lab::{Lab, Namespace};
use vendor_tests::netns::{self, sh};
use vendor_tests::temp::Folder;
use vendor_tests::wait::{LONG, bound};

/// Client and server of each family.
const PAIRS: [(&str, &str); 2] = [("10.1.0.2", "10.2.0.2"), ("fd01::2", "fd02::2")];

/// A connection, its client's side first.
type Pair = (TcpStream, TcpStream);

/// Opens a connection; its sockets belong to their namespaces, wherever they are used.
fn open(client: &Namespace, server: Place<'_>, address: &str, port: u16) -> Pair {
    let address = SocketAddr::new(address.parse().expect("an address"), port);
    let listener = server.run(move || bound(|| TcpListener::bind(address)));
    let client = client.run(move || TcpStream::connect_timeout(&address, LONG).expect("open"));
    let (server, _) = listener.accept().expect("the connection is there");
    for stream in [&client, &server] {
        stream.set_read_timeout(Some(LONG)).expect("a timeout");
    }
    (client, server)
}

/// One says something, and the other hears it and answers.
fn speak(mut first: &TcpStream, mut second: &TcpStream) {
    first.write_all(b"tick").expect("sent");
    second.read_exact(&mut [0; 4]).expect("heard");
    second.write_all(b"tock").expect("answered");
    first.read_exact(&mut [0; 4]).expect("heard");
}

fn capture(folder: &Folder, args: &[&str]) -> Capture {
    let path = folder.join("gw.json");
    let path = path.to_str().expect("text");
    let usual = ["--all-protocols", "--format", "json", "-o", path];
    Launch::new([&usual, args].concat()).start()
}

/// The lines of the capture.
fn lines(folder: &Folder) -> Vec<Value> {
    let text = fs::read_to_string(folder.join("gw.json")).expect("a list");
    let lines = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"));
    lines.collect()
}

fn flows(folder: &Folder) -> Vec<Value> {
    let lines = lines(folder).into_iter();
    lines.filter(|line| line["type"] == "flow").collect()
}

/// The flows to a port.
fn to_port(folder: &Folder, port: u16) -> Vec<Value> {
    let flows = flows(folder).into_iter();
    flows.filter(|flow| flow["dst_port"] == port).collect()
}

/// Writes the rules of the capture.
fn rules(folder: &Folder) -> (String, Outcome) {
    let path = folder.join("gw.nft");
    let paths = [folder.join("gw.json"), path.clone()];
    let [json, nft] = paths.each_ref().map(|path| path.to_str().expect("text"));
    let outcome = Launch::new(["rules", json, "-o", nft]).run();
    let text = fs::read_to_string(path).unwrap_or_default();
    (text, outcome)
}

/// Loads the rules; what is open goes on as a new connection would.
fn load(folder: &Folder) {
    let path = folder.join("gw.nft");
    sh(&format!(
        "nft -f {} && conntrack -F 2>/dev/null",
        path.display()
    ));
}

#[test]
fn connections_that_were_open_are_recorded_as_their_clients_opened_them() {
    let test = "connections_that_were_open_are_recorded_as_their_clients_opened_them";
    netns::run(test, || {
        for server_first in [true, false] {
            let folder = Folder::new();
            let lab = Lab::new();
            let server = Place::At(&lab.server);
            let mut open_before: Vec<Pair> = Vec::new();
            for (_, address) in PAIRS {
                // A service that is known, and one that is not.
                open_before
                    .extend([5222, 7777].map(|port| open(&lab.client, server, address, port)));
            }
            // One that waits on the gateway itself.
            open_before.push(open(&lab.client, Place::Gateway, "10.1.0.1", 7022));
            let waits = bound(|| TcpListener::bind("10.1.0.1:7022"));
            let running = capture(&folder, &["--track"]);
            for (client, server) in &open_before {
                match server_first {
                    true => speak(server, client),
                    false => speak(client, server),
                }
            }
            running.drained();
            let outcome = running.finish();
            assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
            drop(waits);
            for (client, address) in PAIRS {
                let found = to_port(&folder, 5222);
                let mut found = found.iter().filter(|flow| flow["dst"] == address);
                let flow = found.next().expect("a flow to the service");
                assert_eq!(flow["src"], client, "{flow}");
                assert_eq!(
                    (&flow["picked_up"], &flow["turned"]),
                    (&Value::from(true), &Value::from(server_first)),
                    "{flow}"
                );
            }
            let own = &to_port(&folder, 7022)[0];
            assert_eq!(
                (&own["src"], &own["turned"]),
                (&"10.1.0.2".into(), &server_first.into())
            );
            let (text, outcome) = rules(&folder);
            // The one that nobody can place is left out, and said.
            assert!(outcome.stderr.contains("port 7777"), "{}", outcome.stderr);
            assert!(
                !text.contains("dport 7777") && text.contains("WARNING: 2 connections were open"),
                "{text}"
            );
            load(&folder);
            for (_, address) in PAIRS {
                let address = SocketAddr::new(address.parse().expect("an address"), 5222);
                let client = Place::At(&lab.client);
                assert!(tcp_opens(client, server, &address.to_string()), "{text}");
                let back = SocketAddr::new(
                    if address.is_ipv4() {
                        "10.1.0.2"
                    } else {
                        "fd01::2"
                    }
                    .parse::<IpAddr>()
                    .expect("one"),
                    5222,
                );
                assert!(!tcp_opens(server, client, &back.to_string()), "{text}");
            }
            assert!(
                tcp_opens(Place::At(&lab.client), Place::Gateway, "10.1.0.1:7022"),
                "{text}"
            );
            sh("nft flush ruleset; ip link del side1; ip link del side2");
        }
    });
}

#[test]
fn entries_that_are_made_again_by_the_server_are_known_by_the_first() {
    let test = "entries_that_are_made_again_by_the_server_are_known_by_the_first";
    netns::run(test, || {
        let folder = Folder::new();
        let lab = Lab::new();
        lab.track();
        let running = capture(&folder, &[]);
        let (client, server) = open(&lab.client, Place::At(&lab.server), "10.2.0.2", 7777);
        let [udp_server, udp_client] = [
            (&lab.server, "10.2.0.2:7000"),
            (&lab.client, "10.1.0.2:45000"),
        ]
        .map(|(namespace, address)| namespace.run(move || bound(|| UdpSocket::bind(address))));
        for socket in [&udp_server, &udp_client] {
            socket.set_read_timeout(Some(LONG)).expect("a timeout");
        }
        let (mut buffer, to_server) = ([0; 9], "10.2.0.2:7000");
        udp_client.send_to(b"ask", to_server).expect("sent");
        let (_, from) = udp_server.recv_from(&mut buffer).expect("heard");
        udp_server.send_to(b"say", from).expect("sent");
        udp_client.recv_from(&mut buffer).expect("heard");
        running.drained();
        sh("conntrack -F 2>/dev/null");
        speak(&server, &client);
        udp_server.send_to(b"more", from).expect("sent");
        udp_client.recv_from(&mut buffer).expect("heard");
        udp_client.send_to(b"ask", to_server).expect("sent");
        udp_server.recv_from(&mut buffer).expect("heard");
        running.drained();
        let outcome = running.finish();
        assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
        for port in [7777, 7000] {
            let found = to_port(&folder, port);
            assert_eq!(found.len(), 2, "{found:?}");
            assert!(
                found.iter().all(|flow| flow["src"] == "10.1.0.2"),
                "{found:?}"
            );
            let turned = found.iter().filter(|flow| flow["turned"] == true);
            assert_eq!(turned.count(), 1, "{found:?}");
            // Kept apart, so that none is counted twice.
            assert!(
                found.iter().all(|flow| flow["connections"] == 1),
                "{found:?}"
            );
        }
        let (text, outcome) = rules(&folder);
        assert!(
            !text.contains("open before") && !outcome.stderr.contains("open before"),
            "{text}"
        );
        assert!(!text.contains("45000"), "{text}");
    });
}

#[test]
fn what_the_table_had_already_is_placed_by_its_marks() {
    netns::run("what_the_table_had_already_is_placed_by_its_marks", || {
        let folder = Folder::new();
        let lab = Lab::new();
        lab.track();
        let place = Place::At(&lab.server);
        let (picked_up, begun) = (
            open(&lab.client, place, "10.2.0.2", 5222),
            open(&lab.client, place, "10.2.0.2", 5432),
        );
        sh("conntrack -D -p tcp --dport 5222 2>/dev/null");
        speak(&picked_up.1, &picked_up.0);
        speak(&begun.1, &begun.0);
        for source in ["batch", "callback"] {
            let running = capture(&folder, &["--existing", "--source", source]);
            let outcome = running.finish();
            assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
            let [flow] = &to_port(&folder, 5222)[..] else {
                panic!("{:?}", flows(&folder));
            };
            assert_eq!(
                (&flow["src"], &flow["turned"]),
                (&"10.1.0.2".into(), &true.into()),
                "{flow}"
            );
            let honest = &to_port(&folder, 5432)[0];
            assert_eq!(
                (&honest["src"], &honest["picked_up"]),
                (&"10.1.0.2".into(), &Value::Null)
            );
        }
    });
}

#[test]
fn clients_from_random_privileged_ports_get_in_from_any_of_them() {
    let test = "clients_from_random_privileged_ports_get_in_from_any_of_them";
    netns::run(test, || {
        let folder = Folder::new();
        let lab = Lab::new();
        lab.track();
        let listener = lab
            .server
            .run(|| bound(|| TcpListener::bind("10.2.0.2:2049")));
        let from = |port: u16| {
            let connect = format!(
                "timeout 2 python3 -c 'import socket; s = socket.socket(); s.bind((\"10.1.0.2\", {port})); \
                 s.settimeout(1.5); s.connect((\"10.2.0.2\", 2049))' 2>/dev/null && echo yes || echo no"
            );
            let answer = lab.client.run(move || {
                let output = std::process::Command::new("sh")
                    .args(["-c", &connect])
                    .output();
                output.expect("sh runs").stdout
            });
            answer == b"yes\n"
        };
        let running = capture(&folder, &[]);
        for port in [665, 801, 1001] {
            assert!(from(port));
        }
        running.drained();
        assert_eq!(running.finish().code, Some(0));
        let (text, _) = rules(&folder);
        assert!(text.contains("tcp sport 512-1023 tcp dport 2049"), "{text}");
        load(&folder);
        assert!(from(802), "{text}");
        assert!(!from(400), "{text}");
        drop(listener);
    });
}

#[test]
fn data_connections_pass_by_their_helper_and_nothing_else_does() {
    let test = "data_connections_pass_by_their_helper_and_nothing_else_does";
    netns::run(test, || {
        let folder = Folder::new();
        let lab = Lab::new();
        helped::assign();
        let running = capture(&folder, &[]);
        for passive in [true, false] {
            assert!(helped::ftp(&lab, passive));
        }
        running.drained();
        let outcome = running.finish();
        assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
        assert_eq!(to_port(&folder, 21)[0]["helper"], "ftp");
        for port in [40_000, 40_001] {
            let by = &to_port(&folder, port)[0]["expected_by"];
            assert_eq!((&by["helper"], &by["port"]), (&"ftp".into(), &21.into()));
        }
        // On a host that has no other rules.
        sh("nft flush ruleset");
        let (text, _) = rules(&folder);
        assert!(!text.contains("40000") && !text.contains("40001"), "{text}");
        load(&folder);
        for passive in [true, false] {
            assert!(helped::ftp(&lab, passive), "passive: {passive}, {text}");
        }
        let (client, server) = (Place::At(&lab.client), Place::At(&lab.server));
        assert!(!tcp_opens(client, server, "10.2.0.2:40000"), "{text}");
        assert!(!tcp_opens(server, client, "10.1.0.2:40001"), "{text}");
    });
}

#[test]
fn rules_that_exempt_packets_are_named_wherever_it_matters() {
    let test = "rules_that_exempt_packets_are_named_wherever_it_matters";
    netns::run(test, || {
        let cases = [
            (
                "nft 'table inet r { chain p { type filter hook prerouting priority raw; udp dport 53 notrack; }; }'",
                "table inet r, chain p: notrack",
            ),
            (
                "iptables -t raw -A PREROUTING -p udp --dport 53 -j CT --notrack",
                "chain PREROUTING: -j CT --notrack",
            ),
        ];
        for (rule, place) in cases {
            let folder = Folder::new();
            let lab = Lab::new();
            lab.track();
            sh(rule);
            let running = capture(&folder, &[]);
            assert!(tcp_opens(
                Place::At(&lab.client),
                Place::At(&lab.server),
                "10.2.0.2:443"
            ));
            running.drained();
            let outcome = running.finish();
            assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
            assert!(outcome.stderr.contains(place), "{}", outcome.stderr);
            let spots = lines(&folder)[0]["blind_spots"].to_string();
            assert!(spots.contains(place), "{spots}");
            let (text, outcome) = rules(&folder);
            assert!(outcome.stderr.contains(place), "{}", outcome.stderr);
            assert!(
                text.contains("WARNING: the capture could not see flows"),
                "{text}"
            );
            let doctor = Launch::new(["doctor"]).run();
            let found = doctor.text();
            let found = found
                .lines()
                .find(|line| line.split_whitespace().nth(1) == Some("tracking"))
                .expect("a finding");
            assert!(
                found.starts_with("note") && found.contains(place),
                "{found}"
            );
            sh("nft flush ruleset; ip link del side1; ip link del side2");
        }
    });
}

#[test]
fn a_family_that_nothing_tracks_makes_a_capture_incomplete() {
    let test = "a_family_that_nothing_tracks_makes_a_capture_incomplete";
    netns::run(test, || {
        let folder = Folder::new();
        let _lab = Lab::new();
        sh(
            "nft 'table ip nat { chain p { type nat hook postrouting priority srcnat; masquerade; }; }'",
        );
        for (args, code) in [(&[][..], 3), (&["-4"], 0), (&["--track"], 0)] {
            let outcome = capture(&folder, args).finish();
            assert_eq!(outcome.code, Some(code), "{args:?}: {}", outcome.stderr);
            let said = outcome.stderr.contains("IPv6 is in use here");
            assert_eq!(said, code == 3, "{args:?}: {}", outcome.stderr);
        }
    });
}

#[test]
fn a_run_that_had_nothing_to_track_says_so() {
    netns::run("a_run_that_had_nothing_to_track_says_so", || {
        let _lab = Lab::new();
        let outcome = Launch::new::<&str>([]).start().finish();
        assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
        assert!(outcome.said.contains("--track"), "{}", outcome.stderr);
        assert!(outcome.said.contains("no event came"), "{}", outcome.stderr);
    });
}

#[test]
fn policy_routing_and_kinds_of_interfaces_are_told() {
    netns::run("policy_routing_and_kinds_of_interfaces_are_told", || {
        let folder = Folder::new();
        let _lab = Lab::new();
        sh("ip link add br0 type bridge; ip link set side1 master br0
            ip rule add priority 100 fwmark 0x1/0xff from 10.1.0.0/24 iif side1 table 100
            ip route add default via 10.2.0.2 table 100
            ip -6 rule add priority 200 not to fd02::/64 unreachable");
        assert_eq!(capture(&folder, &["--track"]).finish().code, Some(0));
        let head = &lines(&folder)[0];
        let rules = head["policy_rules"].as_array().expect("rules");
        let find = |priority: u64| {
            let mut rules = rules.iter();
            rules
                .find(|rule| rule["priority"] == priority)
                .expect("the rule")
        };
        let expected = serde_json::json!({
            "family": "ipv4", "priority": 100, "from": "10.1.0.0/24", "iif": "side1", "mark": 1, "mask": 255,
            "action": "lookup", "table": 100
        });
        assert_eq!(*find(100), expected);
        let expected = serde_json::json!({
            "family": "ipv6", "priority": 200, "not": true, "to": "fd02::/64", "action": "unreachable"
        });
        assert_eq!(*find(200), expected);
        // All of them, since any may have been taken out.
        assert!(
            rules
                .iter()
                .any(|rule| rule["family"] == "ipv4" && rule["table"] == 254)
        );
        let table = serde_json::json!([{
            "table": 100,
            "routes": [{"destination": "0.0.0.0/0", "gateway": "10.2.0.2", "interface": "side2"}]
        }]);
        assert_eq!(head["tables"], table);
        let interfaces = head["interfaces"].as_array().expect("interfaces");
        let named = |name: &str| {
            interfaces
                .iter()
                .find(|one| one["name"] == name)
                .expect("there")
        };
        assert_eq!(named("br0")["kind"], "bridge");
        assert_eq!(named("side1")["master"], "br0");
        assert_eq!(named("side2")["kind"], "veth");
        vendor_tests::schema::assert_holds(
            &fs::read_to_string(folder.join("gw.json")).expect("a list"),
        );
    });
}

/// The server answers past the gateway, which sees half of every connection.
#[test]
fn a_gateway_that_sees_one_direction_is_warned_that_its_rules_break_what_works() {
    let test = "a_gateway_that_sees_one_direction_is_warned_that_its_rules_break_what_works";
    netns::run(test, || {
        let folder = Folder::new();
        let lab = Lab::new();
        lab.track();
        let client = lab.client.thread_id();
        lab.server.sh(&format!(
            "ip link add past type veth peer name past netns /proc/{client}/ns/net; ip link set past up
             ip addr add 10.3.0.2/24 dev past"
        ));
        lab.client
            .sh("ip link set past up; ip addr add 10.3.0.1/24 dev past");
        lab.server
            .sh("ip route add 10.1.0.2/32 via 10.3.0.1 dev past");
        let running = capture(&folder, &[]);
        for port in 7000..7012 {
            let (client, server) = open(&lab.client, Place::At(&lab.server), "10.2.0.2", port);
            speak(&client, &server);
        }
        running.drained();
        assert_eq!(running.finish().code, Some(0));
        assert!(lines(&folder)[0]["invalid_packets"].as_u64() >= Some(12));
        // With one that works, since rules of nothing are not written.
        let outcome = Launch::new([
            "rules",
            folder.join("gw.json").to_str().expect("text"),
            "--include-unconfirmed",
        ])
        .run();
        assert!(
            outcome
                .stderr
                .contains("perhaps this gateway sees one direction only"),
            "{}",
            outcome.stderr
        );
    });
}

/// A tunnel that is opened from its fixed port, and a stranger who sends from the port of a service.
#[test]
fn a_datagram_from_the_port_of_a_service_is_not_taken_for_an_answer_by_that_alone() {
    let test = "a_datagram_from_the_port_of_a_service_is_not_taken_for_an_answer_by_that_alone";
    netns::run(test, || {
        let folder = Folder::new();
        let lab = Lab::new();
        lab.track();
        let running = capture(&folder, &[]);
        let cases = [(51_820, 41_414), (5060, 7060), (53, 27_015), (443, 5000)];
        for (from, to) in cases {
            let address = |address: &str, port| {
                SocketAddr::new(address.parse::<IpAddr>().expect("an address"), port)
            };
            let (near, far) = (address("10.1.0.2", from), address("10.2.0.2", to));
            let far_socket = lab.server.run(move || bound(|| UdpSocket::bind(far)));
            let near_socket = lab.client.run(move || bound(|| UdpSocket::bind(near)));
            for socket in [&near_socket, &far_socket] {
                socket.set_read_timeout(Some(LONG)).expect("a timeout");
            }
            near_socket.send_to(b"tick", far).expect("sent");
            let (_, back) = far_socket.recv_from(&mut [0; 4]).expect("heard");
            far_socket.send_to(b"tock", back).expect("answered");
            near_socket.recv_from(&mut [0; 4]).expect("heard");
        }
        running.drained();
        assert_eq!(running.finish().code, Some(0));
        for (_, to) in cases {
            let found = to_port(&folder, to);
            assert_eq!(found.len(), 1, "{to}: {found:?}");
            assert_eq!(
                (&found[0]["src"], &found[0]["turned"]),
                (&"10.1.0.2".into(), &Value::Null),
                "{}",
                found[0]
            );
        }
    });
}
