//! Names that clients asked for, learnt from DNS that passes: dnsmasq answers the resolver of the C library, and a hostile
//! server answers whatever it likes.

use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use vendor_tests::capture::{Launch, Outcome};
use vendor_tests::checking::text;
use vendor_tests::lab::{Lab, Namespace};
use vendor_tests::netns::{self, sh};
use vendor_tests::skipped;
use vendor_tests::temp::Folder;
use vendor_tests::wait::{LONG, bound};

const WEB: &str = "10.2.0.2";

/// Opens a TCP connection, which the server refuses: a flow that was answered.
fn connect(namespace: &Namespace, from: &'static str) {
    namespace.run(move || connect_from(from));
}

fn connect_from(from: &str) {
    let outcome = Command::new("python3")
        .args(["-c", "import socket, sys; s = socket.socket(); s.bind((sys.argv[1], 0)); s.connect_ex((sys.argv[2], 443))"])
        .args([from, WEB])
        .status();
    assert!(outcome.expect("python3 is there").success());
}

/// Asks the resolver of the C library for a name, with this name server, in the calling thread's network namespace.
fn ask(folder: &str, server: &str, database: &str, name: &str) {
    sh(&format!(
        "unshare -m sh -ec 'echo nameserver {server} > {folder}/resolv.conf
         echo \"hosts: dns\" > {folder}/nsswitch.conf
         mount --bind {folder}/resolv.conf /etc/resolv.conf
         mount --bind {folder}/nsswitch.conf /etc/nsswitch.conf
         getent {database} {name}'"
    ));
}

fn flows(outcome: &Outcome) -> Vec<Value> {
    let list = outcome.text();
    vendor_tests::schema::assert_holds(&list);
    let objects = list
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"));
    objects
        .filter(|object: &Value| object["type"] == "flow")
        .collect()
}

fn to_web<'a>(flows: &'a [Value], source: &str) -> &'a Value {
    let found = { flows.iter() }
        .find(|flow| flow["src"] == source && flow["dst"] == WEB && flow["dst_port"] == 443);
    found.unwrap_or_else(|| panic!("{source}: {flows:?}"))
}

#[test]
fn a_name_stands_beside_the_flow_of_the_client_that_asked_for_it() {
    if Command::new("dnsmasq").arg("--version").output().is_err() {
        skipped!("dnsmasq is not installed");
    }
    netns::run(
        "a_name_stands_beside_the_flow_of_the_client_that_asked_for_it",
        || {
            let lab = Lab::new();
            let folder = Folder::new();
            let pid = folder.join("dnsmasq.pid");
            lab.server.sh(&format!(
            "dnsmasq --conf-file=/dev/null --pid-file={} --no-hosts --no-resolv --listen-address={WEB} \
             --listen-address=fd02::2 --bind-interfaces --user=root --host-record=www.example.com,{WEB},fd02::2 \
             --cname=alias.example.com,www.example.com --host-record=own.example.com,{WEB}",
            text(&pid)
        ));
            lab.client.sh("ip addr add 10.1.0.3/24 dev eth0");
            // As gateways to the Internet do.
            sh(
                "nft 'table ip nat { chain post { type nat hook postrouting priority 100; oifname side2 masquerade; }; }'",
            );
            let capture =
                Launch::new(["--track", "--learn-names", "-v", "--format", "json"]).start();
            let own = text(folder.path()).to_owned();
            // Both servers, by IPv4 and IPv6, before the connections and, once, after one.
            let path = own.clone();
            lab.client.run(move || {
                ask(&path, WEB, "ahostsv4", "www.example.com");
                ask(&path, WEB, "ahostsv4", "ALIAS.example.com");
                ask(&path, "fd02::2", "ahostsv6", "www.example.com");
            });
            ask(&own, WEB, "ahostsv4", "own.example.com");
            connect(&lab.client, "10.1.0.2");
            connect(&lab.client, "10.1.0.3");
            connect_from("10.2.0.1");
            lab.client.sh("ping -n -q -c 1 fd02::2");
            let outcome = capture.finish();
            let server = std::fs::read_to_string(&pid).expect("dnsmasq has written it");
            sh(&format!("kill {}", server.trim()));
            assert_eq!(outcome.code, Some(0), "{}", outcome.said);
            assert!(
                outcome
                    .said
                    .contains("names: 4 learnt; DNS: 4 answers used\n"),
                "{}",
                outcome.said
            );

            let all = flows(&outcome);
            let asked = to_web(&all, "10.1.0.2");
            assert_eq!(
                asked["dst_names"],
                json!(["alias.example.com", "www.example.com"])
            );
            for learnt in asked["learnt_names"].as_array().expect("names") {
                let time = |field: &str| learnt[field].as_str().expect("a time").to_owned();
                assert!(time("first") <= time("last"), "{learnt}");
                assert!(
                    asked["last_seen"].as_str().expect("a time") >= &*time("first"),
                    "{asked}"
                );
            }
            // Another client, which did not ask, and the gateway, whose address the questions were given.
            assert!(to_web(&all, "10.1.0.3").get("dst_names").is_none());
            assert_eq!(
                to_web(&all, "10.2.0.1")["dst_names"],
                json!(["own.example.com"])
            );
            let six = all.iter().find(|flow| {
                flow["dst"] == "fd02::2" && flow["src"] == "fd01::2" && flow["protocol"] == "icmpv6"
            });
            assert_eq!(
                six.expect("the ping")["dst_names"],
                json!(["www.example.com"])
            );

            // What was learnt stays with the capture.
            let file = folder.join("day.json");
            std::fs::write(&file, &outcome.stdout).expect("the folder can be written");
            let show = |args: &[&str]| Launch::new(["show", text(&file)].iter().chain(args)).run();
            let named = |outcome: &Outcome| {
                let list = flows(outcome);
                list.iter()
                    .filter(|flow| flow.get("learnt_names").is_some())
                    .count()
            };
            let again = show(&["--format", "json"]);
            assert_eq!(named(&again), named(&outcome));
            let twice = Launch::new(["merge", "--format", "json", text(&file), text(&file)]).run();
            assert_eq!(
                to_web(&flows(&twice), "10.1.0.2")["learnt_names"],
                asked["learnt_names"]
            );
            let filtered = show(&["--dst-name", "ALIAS.*", "--format", "json"]);
            let sources: Vec<Value> = flows(&filtered)
                .iter()
                .map(|flow| flow["src"].clone())
                .collect();
            assert!(
                !sources.is_empty() && sources.iter().all(|source| source == "10.1.0.2"),
                "{sources:?}"
            );
            let table = show(&["--dport", "443"]).text();
            assert!(table.contains("10.2.0.2 alias.example.com (+1)"), "{table}");
            let csv = show(&["--format", "csv", "--dport", "443"]).text();
            assert!(
                csv.lines()
                    .next()
                    .expect("a header")
                    .ends_with(",src_name,dst_names"),
                "{csv}"
            );
            assert!(
                csv.contains(",alias.example.com www.example.com\r\n"),
                "{csv}"
            );
            let list = folder.join("day.csv");
            std::fs::write(&list, csv).expect("the folder can be written");
            assert_eq!(Launch::new(["show", text(&list)]).run().code, Some(0));
        },
    );
}

/// A question for the address of a name, with this number.
fn question(id: u16, name: &[u8]) -> Vec<u8> {
    let mut message = id.to_be_bytes().to_vec();
    message.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    message.extend(name);
    message.extend([0, 1, 0, 1]);
    message
}

/// An answer to it that gives the server's address, for `owner`.
fn answer(question: &[u8], owner: &[u8]) -> Vec<u8> {
    let mut message = question.to_vec();
    (message[2], message[3], message[7]) = (0x81, 0x80, 1);
    message.extend(owner);
    message.extend([0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 10, 2, 0, 2]);
    message
}

#[test]
fn hostile_answers_name_nothing() {
    netns::run("hostile_answers_name_nothing", || {
        let lab = Lab::new();
        let capture = Launch::new(["--track", "--learn-names", "-v", "--format", "table"]).start();
        let server = lab.server.run(|| bound(|| UdpSocket::bind("10.2.0.2:53")));
        let client = lab
            .client
            .run(|| bound(|| UdpSocket::bind("10.1.0.2:4000")));
        for socket in [&server, &client] {
            socket.set_read_timeout(Some(LONG)).expect("an option");
        }
        let (to_client, to_server): (SocketAddr, SocketAddr) = (
            "10.1.0.2:4000".parse().expect("an address"),
            "10.2.0.2:53".parse().expect("an address"),
        );
        let say = |message: &[u8]| {
            server.send_to(message, to_client).expect("a way there");
            client.recv_from(&mut [0; 5000]).expect("it comes");
        };
        let hear = |message: &[u8]| {
            client.send_to(message, to_server).expect("a way there");
            server.recv_from(&mut [0; 5000]).expect("it comes");
        };
        let good = b"\x04evil\x07example\x00";
        // Nobody asked.
        say(&answer(&question(1, good), b"\xc0\x0c"));
        // Another number, another name, the name of somebody else in the answer.
        hear(&question(2, good));
        say(&answer(&question(3, good), b"\xc0\x0c"));
        say(&answer(
            &question(2, b"\x04bank\x07example\x00"),
            b"\xc0\x0c",
        ));
        say(&answer(&question(2, good), b"\x04bank\x07example\x00"));
        // A name that colours a terminal, and one of labels that have dots in them.
        for name in [
            &b"\x09evil\x1b[31m\x07example\x00"[..],
            b"\x0cevil.example\x00",
        ] {
            hear(&question(4, name));
            say(&answer(&question(4, name), b"\xc0\x0c"));
        }
        // Circles, lies of length and count, messages that end early, and the longest there may be.
        hear(&question(5, good));
        for owner in [
            &b"\xc0\x1e"[..],
            b"\xc0\xff",
            b"\x3fevil",
            b"\xff\xff",
            b"\x80",
        ] {
            say(&answer(&question(5, good), owner));
        }
        let whole = answer(&question(5, good), b"\xc0\x0c");
        for end in [1, 11, 13, 20, 33, whole.len() - 1] {
            say(&whole[..end]);
        }
        let mut many = whole.clone();
        (many[6], many[7]) = (0xff, 0xff);
        say(&many);
        let mut padded = whole.clone();
        padded.resize(4900, 0);
        padded[7] = 200;
        say(&padded);
        let _ = lab.client.run(|| {
            let to = "10.2.0.2:443".parse().expect("an address");
            TcpStream::connect_timeout(&to, Duration::from_secs(2))
        });
        let outcome = capture.finish();
        let table = outcome.text();
        assert_eq!(outcome.code, Some(0), "{}", outcome.said);
        assert!(
            table.contains("443") && !table.contains("example"),
            "{table}"
        );
        assert!(!outcome.said.contains('\x1b') && !table.contains('\x1b'));
        assert!(
            outcome.said.contains("no name was learnt"),
            "{}",
            outcome.said
        );
    });
}

#[test]
fn names_of_a_hostile_file_are_escaped() {
    let folder = Folder::new();
    let file = folder.join("day.json");
    let line = json!({
        "type": "flow", "family": "ipv4", "protocol": "tcp", "protocol_number": 6, "src": "10.0.0.1", "src_port": 1024,
        "src_port_collapsed": true, "dst": "10.0.0.2", "dst_port": 443, "confirmed": true, "connections": 1,
        "learnt_names": [{"name": "a\u{1b}[2J\u{7}", "first": "2026-01-01T00:00:00Z", "last": "2026-01-01T00:00:00Z"}],
    });
    std::fs::write(&file, format!("{line}\n")).expect("the folder can be written");
    for format in ["table", "csv", "json"] {
        let outcome = Launch::new(["show", text(&file), "--format", format]).run();
        assert!(outcome.text().contains("10.0.0.2"), "{}", outcome.said);
        assert!(!outcome.text().contains(['\u{1b}', '\u{7}']), "{format}");
    }
}

#[test]
fn what_is_missing_is_said() {
    netns::run("what_is_missing_is_said", || {
        // Without the right.
        let outcome = Launch::new(["--learn-names", "--format", "json", "--duration", "1s"])
            .under(["setpriv", "--bounding-set", "-net_raw"])
            .run();
        assert_eq!(outcome.code, Some(1), "{}", outcome.said);
        assert!(
            outcome.said.contains("needs CAP_NET_RAW") && outcome.said.contains("setcap"),
            "{}",
            outcome.said
        );
        // Without a place for names, or anything to learn from.
        for args in [
            &["--learn-names"][..],
            &["--learn-names", "--format", "nft"],
        ] {
            let outcome = Launch::new(args.iter()).run();
            assert_eq!(outcome.code, Some(2), "{}", outcome.said);
            assert!(
                outcome.said.contains("--format table, json or csv"),
                "{}",
                outcome.said
            );
        }
        let outcome = Launch::new(["--learn-names", "-r", "x.pcap"]).run();
        assert_eq!(outcome.code, Some(2), "{}", outcome.said);
        let quiet = Launch::new(["--learn-names", "--track", "--format", "json"]).start();
        let outcome = quiet.finish();
        assert!(outcome.said.contains("TLS or HTTPS"), "{}", outcome.said);
        assert!(
            outcome.text().contains("\"--learn-names\""),
            "{}",
            outcome.text()
        );
    });
    let folder = Folder::new();
    let file = folder.join("plain.txt");
    std::fs::write(&file, "").expect("the folder can be written");
    let outcome = Launch::new(["show", text(&file), "--dst-name", "www"]).run();
    assert_eq!(outcome.code, Some(2), "{}", outcome.said);
    assert!(outcome.said.contains("--learn-names"), "{}", outcome.said);
}

#[test]
fn a_daemon_learns_names_once_it_has_given_up_its_rights() {
    if !rustix::process::geteuid().is_root() {
        skipped!("a_daemon_learns_names_once_it_has_given_up_its_rights: needs root");
        return;
    }
    netns::run(
        "a_daemon_learns_names_once_it_has_given_up_its_rights",
        || {
            sh(&format!("ip addr add {WEB}/32 dev lo"));
            let folder = Folder::new();
            let (list, pid) = (folder.join("day.json"), folder.join("pid"));
            let started = Launch::new([
                "-d",
                "--pid-file",
                text(&pid),
                "--track",
                "--learn-names",
                "--format",
                "json",
                "-o",
                text(&list),
            ])
            .run();
            assert_eq!(started.code, Some(0), "{}", started.said);
            let server = bound(|| UdpSocket::bind((WEB, 53)));
            let client = bound(|| UdpSocket::bind((WEB, 4000)));
            let asked = question(7, b"\x03www\x07example\x00");
            client.send_to(&asked, (WEB, 53)).expect("a way there");
            server.recv_from(&mut [0; 500]).expect("it comes");
            let said = answer(&asked, b"\xc0\x0c");
            server.send_to(&said, (WEB, 4000)).expect("a way there");
            client.recv_from(&mut [0; 500]).expect("it comes");
            connect_from(WEB);
            let number = std::fs::read_to_string(&pid).expect("a daemon has written it");
            sh(&format!("kill -INT {}", number.trim()));
            vendor_tests::wait::until_true("the daemon to end", || !pid.exists());
            let written = std::fs::read_to_string(&list).expect("a list");
            let flow = written
                .lines()
                .find(|line| line.contains("\"dst_port\":443"));
            let flow = flow.unwrap_or_else(|| panic!("{written}"));
            assert!(flow.contains("\"dst_names\":[\"www.example\"]"), "{flow}");
        },
    );
}
