//! Records that the `kernel` source keeps, on a running kernel: the same as those of `batch`, and none lost or counted
//! twice.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::thread;
use std::time::Duration;

use rustix::net::sockopt::set_socket_reuseaddr;
use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
use rustix::process::Signal;
use serde_json::Value;
use vendor_tests::capture::{Capture, Launch, Outcome};
use vendor_tests::flooding::Flood;
use vendor_tests::helped::{assign, ftp, tftp};
use vendor_tests::lab::{Lab, close};
use vendor_tests::netns;
use vendor_tests::room::Room;
use vendor_tests::temp::Folder;
use vendor_tests::wait::{bound, until_true};
use vendor_tests::witness::insert;

/// Runs a test in a namespace of its own, where BPF programs can be loaded.
fn with_bpf(test: &str, body: impl FnOnce() + Send) {
    // A user namespace of one's own does not give the right.
    let status = fs::read_to_string("/proc/self/status").expect("proc is mounted");
    let root = status
        .lines()
        .any(|line| line.split_whitespace().take(2).eq(["Uid:", "0"]));
    if root {
        netns::run(test, body);
    } else {
        vendor_tests::skipped!("{test}: loading BPF programs takes root");
    }
}

/// So many entries, or what `CONNTRACKER_ENTRIES` says (`make soak`).
fn entries(usual: u64) -> u64 {
    let more = std::env::var("CONNTRACKER_ENTRIES").ok();
    more.map_or(usual, |more| more.parse().expect("a number of entries"))
}

fn capture(source: &str, more: &[&str]) -> Capture {
    let first = ["--source", source, "--format", "json"];
    Launch::new(first.iter().chain(more)).start()
}

/// The lines of the last list, as objects: its head first.
fn objects(list: &str) -> Vec<Value> {
    let last = list.rfind(r#"{"type":"capture""#).expect("a capture");
    let lines = list[last..].lines();
    lines
        .map(|line| serde_json::from_str(line).expect("an object a line"))
        .collect()
}

/// The flows of the last list, without times.
fn flows(list: &str) -> Vec<Value> {
    let flows = objects(list)
        .into_iter()
        .filter(|object| object["type"] == "flow");
    flows
        .map(|mut flow| {
            let known = flow.as_object_mut().expect("an object");
            known.remove("first_seen").expect("a time");
            known.remove("last_seen").expect("a time");
            flow
        })
        .collect()
}

/// How many connections began, by all flows of a list.
fn connections(flows: &[Value]) -> u64 {
    let counts = flows.iter().map(|flow| &flow["connections"]);
    counts.map(|count| count.as_u64().expect("a number")).sum()
}

/// Both sources with the same options list the same, and say that it is complete.
fn agree(options: &[&str], kernel: &Outcome, batch: &Outcome) -> usize {
    let (kernel, batch) = (kernel.list(), batch.list());
    let heads = [&kernel, &batch].map(|list| objects(list).swap_remove(0));
    assert_eq!(heads[0]["source"], "kernel");
    for head in &heads {
        assert_eq!(head["verdict"], "complete");
        assert_eq!(head["loss"]["recovered"], heads[1]["loss"]["recovered"]);
    }
    let (found, wanted) = (flows(&kernel), flows(&batch));
    for (found, wanted) in found.iter().zip(&wanted) {
        assert_eq!(found, wanted, "{options:?}");
    }
    assert_eq!(found.len(), wanted.len(), "{options:?}");
    found.len()
}

const OPTIONS: [&[&str]; 8] = [
    &[],
    &["--all-protocols"],
    &["--source-ports", "keep"],
    &["--existing", "--reliable"],
    &["--sport", "40000-50000"],
    &["--dport", "443", "--confirmed"],
    &["--zone", "7"],
    &["--interval", "1s", "--forget", "1h"],
];

#[test]
fn real_traffic_gives_the_records_of_batch_whatever_is_asked_for() {
    with_bpf(
        "real_traffic_gives_the_records_of_batch_whatever_is_asked_for",
        || {
            let lab = Lab::new();
            // Open before anything is tracked, and so picked up in the middle.
            let old = lab.open_tcp(50_000, 444);
            let older = lab.open_tcp(50_001, 8080);
            lab.track();
            netns::sh(
                "nft 'table ip more {
                    chain zones { type filter hook prerouting priority raw;
                        udp dport 53 udp sport 40001 ct zone set 7; };
                    chain marks { type filter hook prerouting priority mangle;
                        tcp dport 443 ct mark set 5; };
                    chain out { type nat hook postrouting priority srcnat;
                        ip saddr 10.1.0.2 tcp sport 1025 masquerade; };
                }'",
            );
            assign();
            let captures: Vec<_> = OPTIONS
                .iter()
                .map(|options| (capture("kernel", options), capture("batch", options)))
                .collect();
            lab.traffic();
            // Control connections, which helpers follow, and those that they expect.
            assert!(ftp(&lab, true) && ftp(&lab, false));
            tftp(&lab);
            // The same ports again: of entries that are there still, and of new ones.
            lab.traffic();
            for (near, far) in [old, older] {
                close(near, far);
            }
            let entry = "-p udp -s 10.9.0.1 -d 10.9.0.2 --dport 53 -t 60";
            insert(&format!("{entry} --sport 5000 --zone 7"));
            insert(&format!("{entry} --sport 5001 --zone 8"));
            insert(&format!("{entry} --sport 5002 --dst-nat 10.9.0.3:5353"));
            insert("-p udp -s 10.9.0.1 -d 10.9.0.2 --sport 5060 --dport 5060 -t 60");
            insert("-p udp -s 10.9.0.2 -d 10.9.0.1 --sport 51820 --dport 40000 -t 60");
            insert(
                "-p tcp -s 10.9.0.1 -d 10.9.0.2 --sport 5000 --dport 80 -t 60 --state ESTABLISHED -u SEEN_REPLY",
            );
            vendor_tests::program::run(
                "python3",
                [
                    "-c",
                    "import socket
for protocol in 132, 33, 136, 47:
    packet = bytes([0x12, 0x34, 0, 80]) + bytes(12)
    socket.socket(socket.AF_INET, socket.SOCK_RAW, protocol).sendto(packet, ('127.0.0.1', 0))",
                ],
            );
            for (options, (kernel, batch)) in OPTIONS.iter().zip(captures) {
                batch.drained();
                kernel.signal(Signal::USR1);
                thread::sleep(Duration::from_millis(300));
                let batch = batch.finish();
                if options.is_empty() {
                    let flows = flows(&batch.list());
                    let helped = |field: &str, port: u64| {
                        let found = flows.iter().find(|flow| flow["dst_port"] == port);
                        found.is_some_and(|flow| !flow[field].is_null())
                    };
                    for port in [21, 69] {
                        assert!(helped("helper", port), "{port}: {flows:?}");
                    }
                    for port in [40_000, 40_001, 40_069] {
                        assert!(helped("expected_by", port), "{port}: {flows:?}");
                    }
                }
                let count = agree(options, &kernel.finish(), &batch);
                assert!(count > 1, "{options:?}: {count} flows");
            }
        },
    );
}

/// A list in that format, without what differs from run to run: times, and remarks.
fn plain(format: &str, list: &str) -> Vec<String> {
    if format != "csv" {
        let lines = list.lines().filter(|line| !line.starts_with('#'));
        return lines.map(str::to_owned).collect();
    }
    let mut reader = csv::Reader::from_reader(list.as_bytes());
    let names = reader.headers().expect("names").clone();
    let rows = reader.records().map(|row| row.expect("a row"));
    rows.map(|row| {
        let cells = names.iter().zip(&row);
        let cells = cells.filter(|(name, _)| !name.ends_with("_seen"));
        cells.map(|(_, cell)| cell).collect::<Vec<_>>().join(",")
    })
    .collect()
}

#[test]
fn every_format_is_that_of_batch() {
    with_bpf("every_format_is_that_of_batch", || {
        let formats = ["csv", "table", "nft", "classic"];
        let captures = formats.map(|format| {
            ["kernel", "batch"].map(|source| {
                let args = ["--source", source, "--format", format, "--sort", "address"];
                // A ruleset has no order of its own.
                Launch::new(&args[..if format == "nft" { 4 } else { 6 }]).start()
            })
        });
        let udp = "-p udp -d 10.0.0.2 -t 60";
        insert(&format!("{udp} -s 10.0.0.1 --sport 5000 --dport 53"));
        insert(&format!("{udp} -s 10.0.0.1 --sport 5001 --dport 53"));
        insert(&format!("{udp} -s 10.0.0.7 --sport 123 --dport 123"));
        insert("-p tcp -s 10.0.0.1 -d 10.0.0.3 --sport 5000 --dport 443 -t 60 --state SYN_SENT");
        // Rules are for what was answered.
        let answered =
            "conntrack -U -p udp -s 10.0.0.1 -d 10.0.0.2 --sport 5000 --dport 53 -u SEEN_REPLY";
        netns::sh(answered);
        for (format, captures) in formats.into_iter().zip(captures) {
            let [kernel, batch] = captures.map(|capture| {
                let outcome = capture.finish();
                assert_eq!(outcome.code, Some(0), "{format}: {}", outcome.stderr);
                plain(format, &outcome.text())
            });
            assert!(kernel.len() > 2, "{format}: {kernel:?}");
            if format == "table" {
                assert_eq!(kernel.len(), batch.len());
            } else {
                assert_eq!(kernel, batch, "{format}");
            }
        }
    });
}

#[test]
fn a_flood_gives_the_records_of_batch() {
    with_bpf("a_flood_gives_the_records_of_batch", || {
        let (kernel, batch) = (capture("kernel", &[]), capture("batch", &[]));
        Flood::start(
            "--entries 40000 --distinct 9000 --family mixed --replied 30 --privileged 20 --rate 40000",
        )
        .finish();
        batch.drained();
        assert_eq!(agree(&[], &kernel.finish(), &batch.finish()), 9000);
    });
}

#[test]
fn nothing_is_lost_or_counted_twice_while_it_is_stopped_for_ten_seconds() {
    let room = Room::new(entries(300_000));
    with_bpf(
        "nothing_is_lost_or_counted_twice_while_it_is_stopped_for_ten_seconds",
        || {
            // An eighth of this is the kernel's room for IPv6.
            let max_flows = (10 * room.entries).to_string();
            let capture = capture("kernel", &["--max-flows", &max_flows]);
            capture.stop();
            let flood = format!("--entries {} --family mixed", room.entries);
            let expected = Flood::start(&flood).finish();
            thread::sleep(Duration::from_secs(5));
            capture.resume();
            let flows = flows(&capture.finish().list());
            assert_eq!(flows.len(), expected.len());
            assert_eq!(connections(&flows), room.entries);
        },
    );
}

#[test]
fn nothing_is_lost_or_counted_twice_at_full_speed() {
    let room = Room::new(entries(150_000));
    with_bpf("nothing_is_lost_or_counted_twice_at_full_speed", || {
        for options in [&[][..], &["--existing", "--reliable"]] {
            netns::sh("conntrack -F");
            let capture = capture("kernel", options);
            let flood = format!("--entries {} --family mixed", room.entries);
            let expected = Flood::start(&flood).finish();
            let flows = flows(&capture.finish().list());
            assert_eq!(flows.len(), expected.len(), "{options:?}");
            assert_eq!(connections(&flows), room.entries, "{options:?}");
        }
    });
}

#[test]
fn flows_beyond_the_kernels_room_are_decoded() {
    with_bpf("flows_beyond_the_kernels_room_are_decoded", || {
        // Room for 2,048 IPv4 and 1,024 IPv6 flows in the kernel.
        let capture = capture("kernel", &["--max-flows", "4096"]);
        capture.stop();
        let expected = Flood::start("--entries 12000 --distinct 4000 --family mixed").finish();
        capture.resume();
        let flows = flows(&capture.finish().list());
        assert_eq!((flows.len(), connections(&flows)), (expected.len(), 12_000));
    });
}

/// The connections of all lists of a folder.
fn in_all(folder: &Path) -> (usize, u64) {
    let files = fs::read_dir(folder).expect("a folder");
    let lists: Vec<u64> = files
        .map(|file| {
            let list = fs::read_to_string(file.expect("a file").path()).expect("a list");
            assert_eq!(objects(&list)[0]["verdict"], "complete");
            connections(&flows(&list))
        })
        .collect();
    (lists.len(), lists.iter().sum())
}

#[test]
fn every_connection_is_of_one_interval() {
    let room = Room::new(entries(90_000));
    with_bpf("every_connection_is_of_one_interval", || {
        let folder = Folder::new();
        let lists = format!("{}/", folder.join("lists").display());
        fs::create_dir(&lists).expect("a new folder");
        let capture = capture("kernel", &["--interval", "100ms", "--reset", "-o", &lists]);
        let flood = format!("--entries {} --distinct 3000 --family mixed", room.entries);
        // As fast as it goes, if they are more than usual.
        let rate = if room.entries > 90_000 {
            ""
        } else {
            " --rate 30000"
        };
        Flood::start(&(flood + rate)).finish();
        let outcome = capture.finish();
        assert_eq!((outcome.code, &*outcome.stderr), (Some(0), ""));
        let (lists, connections) = in_all(Path::new(&lists));
        assert!(lists > 5, "{lists} lists");
        assert_eq!(connections, room.entries);
    });
}

#[test]
fn a_list_that_is_asked_for_has_what_has_just_happened() {
    with_bpf(
        "a_list_that_is_asked_for_has_what_has_just_happened",
        || {
            let capture = capture("kernel", &[]);
            for round in 1..=10 {
                insert(&format!(
                    "-p udp -s 10.0.0.{round} -d 10.0.1.1 --sport 5000 --dport 53 -t 60"
                ));
                let before = capture.stdout().len();
                capture.signal(Signal::USR1);
                until_true("a list", || {
                    capture.stdout()[before..]
                        .windows(12)
                        .any(|bytes| bytes == b"\"type\":\"end\"")
                });
                let list = String::from_utf8(capture.stdout()).expect("text");
                assert_eq!(flows(&list).len(), round, "{list}");
            }
            assert_eq!(capture.finish().code, Some(0));
        },
    );
}

#[test]
fn a_state_goes_on_and_the_classic_list_can_be_filtered() {
    with_bpf(
        "a_state_goes_on_and_the_classic_list_can_be_filtered",
        || {
            let folder = Folder::new();
            let state = folder.join("state").display().to_string();
            let udp = "-p udp -d 10.0.0.2 --dport 53 -t 60";
            for run in 1..=3 {
                let capture = capture("kernel", &["--state", &state]);
                let filtered = Launch::new(["--source", "kernel", "--src", "10.0.0.1"]).start();
                insert(&format!("{udp} -s 10.0.0.1 --sport 500{run}"));
                insert(&format!("{udp} -s 10.0.0.9 --sport 500{run}"));
                let outcome = capture.finish();
                assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
                let flows = flows(&outcome.text());
                assert_eq!((flows.len(), connections(&flows)), (2, 2 * run));
                let list = filtered.finish().list();
                assert!(
                    list.lines().count() == 1 && list.contains("src = 10.0.0.1 "),
                    "{list}"
                );
            }
        },
    );
}

#[test]
fn what_the_table_shows_is_not_recovered_if_it_was_received() {
    with_bpf(
        "what_the_table_shows_is_not_recovered_if_it_was_received",
        || {
            let capture = capture("kernel", &["--existing"]);
            insert("-p udp -s 10.0.0.1 -d 10.0.0.2 --sport 5000 --dport 53 -t 60");
            // The table is read again at the end.
            let list = capture.finish().list();
            assert_eq!(objects(&list)[0]["loss"]["recovered"], 0, "{list}");
            assert_eq!(connections(&flows(&list)), 1);
        },
    );
}

/// Event masks that a rule may set, and whether a list rests on more. nft has no name for the bit of changed marks
/// (`IPCT_MARK`), which comes without TCP's state.
const MASKS: [(&str, bool); 8] = [
    ("new", true),
    ("destroy", true),
    ("assured", true),
    ("label", true),
    ("reply", true),
    ("128", true),
    ("new,related,reply", false),
    ("new,related,reply,assured,destroy", false),
];

fn set_mask(mask: &str) {
    netns::sh(&format!(
        "nft 'table inet mask {{
            chain p {{ type filter hook prerouting priority -150;
                ct event set {mask}; ct state established ct mark set 2; }};
            chain o {{ type filter hook output priority -150; ct event set {mask}; }};
        }}'"
    ));
}

/// Opens a TCP connection from the server to the client, and closes it.
fn call_back(lab: &Lab, from: u16, to: u16) {
    let to = SocketAddr::from(([10, 1, 0, 2], to));
    let listener = lab.client.run(move || bound(|| TcpListener::bind(to)));
    let near = lab.server.run(move || {
        let from = SocketAddr::from(([10, 2, 0, 2], from));
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None).expect("one");
        set_socket_reuseaddr(&socket, true).expect("set");
        bound(|| Ok(bind(&socket, &from)?));
        connect(&socket, &to).expect("the client listens");
        TcpStream::from(socket)
    });
    let (far, _) = listener.accept().expect("the server has connected");
    close(near, far);
}

#[test]
fn a_rule_that_keeps_events_back_is_told_and_makes_no_difference_to_batch() {
    with_bpf(
        "a_rule_that_keeps_events_back_is_told_and_makes_no_difference_to_batch",
        || {
            let lab = Lab::new();
            lab.track();
            for (round, (mask, has_effects)) in MASKS.into_iter().enumerate() {
                let options: &[&str] = [
                    &[][..],
                    &["--existing", "--reliable"],
                    &["--source-ports", "keep"],
                ][round % 3];
                for from_the_start in [false, true] {
                    let what = format!("{mask}, from the start: {from_the_start}, {options:?}");
                    netns::sh("conntrack -F");
                    if from_the_start {
                        set_mask(mask);
                    }
                    let captures =
                        ["kernel", "auto", "batch"].map(|source| capture(source, options));
                    let (near, far) = lab.open_tcp(50_000, 7777);
                    lab.traffic();
                    if !from_the_start {
                        set_mask(mask);
                    }
                    close(near, far);
                    // By its ports it could be the answer to the one before.
                    call_back(&lab, 7777, 50_001);
                    lab.traffic();
                    captures[2].drained();
                    // In the middle of it: what the maps hold then has been collected.
                    captures[0].signal(Signal::USR1);
                    thread::sleep(Duration::from_millis(300));
                    netns::sh("nft delete table inet mask");
                    let [kernel, auto, batch] = captures.map(Capture::finish);
                    let wanted = flows(&batch.text());
                    assert!(wanted.len() > 1 || from_the_start, "{what}");
                    let ends = options.contains(&"--reliable") && !mask.contains("destroy");
                    let told = has_effects || ends;
                    for outcome in [&kernel, &auto, &batch] {
                        let said = &outcome.stderr;
                        assert_eq!(
                            outcome.code,
                            Some(if told { 3 } else { 0 }),
                            "{what}: {said}"
                        );
                        assert_eq!(
                            said.contains("table inet mask, chain p: ct event set"),
                            told,
                            "{what}: {said}"
                        );
                        let found = flows(&outcome.text());
                        for (found, wanted) in found.iter().zip(&wanted) {
                            assert_eq!(found, wanted, "{what}");
                        }
                        assert_eq!(found.len(), wanted.len(), "{what}");
                    }
                    let source = |outcome: &Outcome| objects(&outcome.text())[0]["source"].clone();
                    assert_eq!(source(&kernel), "kernel", "{what}");
                    let usual = if from_the_start && has_effects {
                        "batch"
                    } else {
                        "kernel"
                    };
                    assert_eq!(source(&auto), usual, "{what}");
                }
            }
        },
    );
}
