//! What ended connections have carried: as the kernel counts it, by real traffic of known sizes, with conntrack(8) as the
//! witness.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::net::UdpSocket;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use vendor_tests::capture::{Capture, Launch};
use vendor_tests::lab::Lab;
use vendor_tests::netns::{self, sh};
use vendor_tests::program::run;
use vendor_tests::temp::Folder;
use vendor_tests::wait::{bound, until_true};
use vendor_tests::witness::insert;

/// The ways of receiving that this user may try: loading a BPF program takes root.
fn sources() -> Vec<&'static str> {
    let status = fs::read_to_string("/proc/self/status").expect("proc is mounted");
    let root = status
        .lines()
        .any(|line| line.split_whitespace().take(2).eq(["Uid:", "0"]));
    if root {
        vec!["kernel", "batch", "callback"]
    } else {
        vendor_tests::skipped!("usage by the kernel source: loading BPF programs takes root");
        vec!["batch", "callback"]
    }
}

fn start(source: &str, more: &[&str]) -> Capture {
    let words = ["--source", source, "--reliable", "--format", "json"];
    Launch::new(words.iter().chain(more)).start()
}

/// Has the kernel count, or not, in the calling thread's namespace.
fn account(name: &str, on: bool) {
    let path = format!("/proc/sys/net/netfilter/nf_conntrack_{name}");
    fs::write(path, if on { "1" } else { "0" }).expect("a setting of this namespace");
}

/// Has loopback's connections tracked.
fn track_loopback() {
    sh("ip link set lo up
        for name in timeout timeout_stream; do echo 600 > /proc/sys/net/netfilter/nf_conntrack_udp_$name; done
        nft 'table inet tracking { chain output { type filter hook output priority 0; ct state new; }; }'");
}

/// Ends all connections.
fn end_all() {
    sh("conntrack -D -f ipv4 || true; conntrack -D -f ipv6 || true");
}

/// The flows of the last list.
fn flows(list: &str) -> Vec<Value> {
    let last = list.rfind(r#"{"type":"capture""#).expect("a capture");
    let lines = list[last..].lines();
    let objects = lines.map(|line| serde_json::from_str::<Value>(line).expect("an object a line"));
    objects.filter(|one| one["type"] == "flow").collect()
}

/// What a flow is told apart by here, and the numbers of it: connections that have ended, then packets and bytes of
/// both directions.
type Sums = BTreeMap<String, [u64; 5]>;

const NUMBERS: [&str; 5] = ["ended", "packets", "bytes", "reply_packets", "reply_bytes"];

/// What a list says.
fn sums(flows: &[Value]) -> Sums {
    let mut sums = Sums::new();
    for flow in flows.iter().filter(|flow| !flow["ended"].is_null()) {
        let port = match (flow["src_port"].as_u64(), &flow["dnat"]["address"]) {
            (port, Value::Null) => format!("{port:?} to {}", flow["dst_port"]),
            (port, to) => format!("{port:?} to {} at {to}", flow["dst_port"]),
        };
        let key = format!(
            "{} {} {} {port}",
            flow["protocol"].as_str().expect("a name"),
            flow["src"].as_str().expect("an address"),
            flow["dst"].as_str().expect("an address"),
        );
        let numbers = NUMBERS.map(|name| flow[name].as_u64().expect("a number"));
        assert_eq!(sums.insert(key, numbers), None);
    }
    sums
}

/// The same by the words of `conntrack -E -e DESTROY`.
fn witnessed(lines: &str) -> Sums {
    let mut sums = Sums::new();
    for line in lines.lines().filter(|line| line.contains("[DESTROY]")) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let protocol = words[words
            .iter()
            .position(|word| *word == "[DESTROY]")
            .expect("it")
            + 1];
        let all = |name: &str| -> Vec<&str> {
            let values = words.iter().filter_map(|word| word.split_once('='));
            values
                .filter_map(|(known, value)| (known == name).then_some(value))
                .collect()
        };
        let port = |name| {
            all(name)
                .first()
                .map(|port| port.parse::<u64>().expect("a port"))
        };
        let source_port = port("sport").map(|port| port.min(1024));
        let service = port("dport").map_or_else(|| "null".to_owned(), |port| port.to_string());
        let (sources, destinations) = (all("src"), all("dst"));
        let translated = if sources[1] == destinations[0] {
            String::new()
        } else {
            format!(" at \"{}\"", sources[1])
        };
        let key = format!(
            "{protocol} {} {} {source_port:?} to {service}{translated}",
            sources[0], destinations[0]
        );
        let (packets, bytes) = (all("packets"), all("bytes"));
        let number = |text: &str| text.parse::<u64>().expect("a number");
        let seen = [
            1,
            number(packets[0]),
            number(bytes[0]),
            number(packets[1]),
            number(bytes[1]),
        ];
        let known = sums.entry(key).or_default();
        known
            .iter_mut()
            .zip(seen)
            .for_each(|(sum, more)| *sum += more);
    }
    sums
}

#[test]
fn each_source_says_what_conntrack_says() {
    netns::run("each_source_says_what_conntrack_says", || {
        let lab = Lab::new();
        // Picked up in the middle, some of them the wrong way round.
        let old = [lab.open_tcp(50_000, 444), lab.open_tcp(50_001, 8080)];
        lab.track();
        account("acct", true);
        let captures: Vec<_> = sources()
            .into_iter()
            .map(|source| {
                let plain = start(source, &[]);
                let keep = start(source, &["--source-ports", "keep", "--interval", "1s"]);
                (source, plain, keep)
            })
            .collect();
        let folder = Folder::new();
        let path = folder.join("ends");
        let file = fs::File::create_new(&path).expect("a new folder");
        let witness = Launch::of("conntrack", ["-E", "-e", "NEW,DESTROY"])
            .stdout(file)
            .start();
        lab.traffic();
        for (mut near, far) in old {
            near.write_all(&[7; 3000]).expect("an open connection");
            drop((near, far));
        }
        end_all();
        lab.traffic();
        end_all();
        insert("-p udp -s 192.0.2.1 -d 192.0.2.2 --sport 5 --dport 53 -t 600");
        end_all();
        let told = || fs::read_to_string(&path).expect("a file of ours");
        until_true("conntrack to tell of the last end", || {
            let told = told();
            let whole = &told[..told.rfind('\n').map_or(0, |end| end + 1)];
            { whole.lines() }
                .any(|line| line.contains("[DESTROY]") && line.contains("src=192.0.2.1"))
        });
        drop(witness.finish());
        // Of the classic list's protocols, as all of these captures.
        let told = told();
        let told: Vec<String> = { told.lines() }
            .filter(|line| {
                ["tcp", "udp", "icmp"]
                    .iter()
                    .any(|name| line.contains(&format!("{name} ")))
                    || line.contains("icmpv6")
            })
            .map(|line| line.replace("ipv6-icmp", "icmpv6"))
            .collect();
        let mut expected = witnessed(&told.join("\n"));
        assert!(expected.len() > 20, "{expected:#?}");
        let mut of_all = Vec::new();
        for (source, plain, keep) in captures {
            plain.drained();
            keep.drained();
            let list = plain.finish().list();
            let mut found = sums(&flows(&list));
            // Which way round those go that were picked up is not what conntrack says.
            for sums in [&mut found, &mut expected] {
                sums.retain(|key, _| {
                    let ends = ["to 444", "to 8080", "to 50000", "to 50001"];
                    !ends.iter().any(|end| key.ends_with(end))
                });
            }
            assert_eq!(found, expected, "{source}");
            let key = |flow: &Value| flow["bytes"].as_u64();
            let total = |flows: &[Value]| flows.iter().filter_map(key).sum::<u64>();
            let (plain, keep) = (flows(&list), flows(&keep.finish().list()));
            assert_eq!(total(&plain), total(&keep), "{source}");
            of_all.push((source, plain));
        }
        for (source, flows) in &of_all[1..] {
            let without_times = |flows: &[Value]| -> Vec<Value> {
                let mut flows = flows.to_vec();
                for flow in &mut flows {
                    let fields = flow.as_object_mut().expect("an object");
                    fields.remove("first_seen");
                    fields.remove("last_seen");
                }
                flows
            };
            let (first, first_flows) = &of_all[0];
            assert_eq!(
                without_times(first_flows),
                without_times(flows),
                "{first}, {source}"
            );
        }
    });
}

/// Sends datagrams of these lengths from one port to another and back.
fn exchange(ports: (u16, u16), there: &[usize], back: &[usize]) {
    let [near, far] = [ports.0, ports.1].map(|port| bound(|| UdpSocket::bind(("127.0.0.1", port))));
    for (from, to, lengths) in [(&near, &far, there), (&far, &near, back)] {
        for length in lengths {
            let address = to.local_addr().expect("bound");
            from.send_to(&vec![1; *length], address)
                .expect("a way there");
            to.recv(&mut [0; 2000]).expect("a datagram");
        }
    }
}

#[test]
fn bytes_are_those_that_were_sent_with_their_headers() {
    netns::run("bytes_are_those_that_were_sent_with_their_headers", || {
        track_loopback();
        account("acct", true);
        // Open before, and so of no flow that is seen to begin. The end of such a connection makes an event only with 1,
        // unless somebody listened when it began (`nf_ct_ecache_ext_add`, net/netfilter/nf_conntrack_ecache.c, Linux 5.19).
        sh("sysctl -q -w net.netfilter.nf_conntrack_events=1");
        exchange((700, 53), &[999], &[]);
        let captures: Vec<_> = { sources().into_iter() }
            .map(|source| (source, start(source, &[]), start(source, &["--existing"])))
            .collect();
        exchange((5000, 53), &[100, 200], &[1000]);
        exchange((5001, 53), &[10], &[]);
        exchange((900, 69), &[5], &[6]);
        sh(
            "conntrack -D -p udp --sport 5000; conntrack -D -p udp --sport 5001; conntrack -D -p udp --sport 700",
        );
        // The same flow as before, whose end nobody has heard.
        exchange((5002, 53), &[400], &[]);
        for (source, plain, existing) in captures {
            plain.drained();
            existing.drained();
            let list = plain.finish().list();
            let numbers = |flow: &Value| NUMBERS.map(|name| flow[name].as_u64());
            // Headers of IP and UDP are 28 bytes.
            let domain = [2, 3, 310 + 3 * 28, 1, 1000 + 28].map(Some);
            let found = flows(&list);
            let ends: Vec<_> = found
                .iter()
                .map(|flow| (flow["dst_port"].as_u64(), numbers(flow)))
                .collect();
            assert_eq!(
                ends,
                [(Some(69), [None; 5]), (Some(53), domain)]
                    .into_iter()
                    .rev()
                    .collect::<Vec<_>>(),
                "{source}: {list}"
            );
            assert_eq!(
                found
                    .iter()
                    .map(|flow| flow["duration_us"].clone())
                    .collect::<Vec<_>>(),
                [Value::Null, Value::Null]
            );
            // What was open before is in that list, and what it carried before counts.
            let old = { flows(&existing.finish().text()).into_iter() }
                .find(|flow| flow["src_port"] == 700)
                .expect("a flow");
            assert_eq!(numbers(&old), [1, 1, 999 + 28, 0, 0].map(Some), "{source}");
        }
    });
}

#[test]
fn how_long_connections_were_there_is_known_with_timestamps() {
    netns::run(
        "how_long_connections_were_there_is_known_with_timestamps",
        || {
            track_loopback();
            account("acct", true);
            account("timestamp", true);
            let captures: Vec<_> = { sources().into_iter() }
                .map(|source| (source, start(source, &[])))
                .collect();
            let before = Instant::now();
            exchange((5000, 53), &[100], &[]);
            exchange((5001, 53), &[100], &[]);
            let there = Duration::from_millis(300);
            thread::sleep(there);
            end_all();
            let at_most = 2 * before.elapsed().as_micros() as u64;
            // Of this one it is not known, so that there is no sum of all.
            account("timestamp", false);
            exchange((5002, 69), &[100], &[]);
            account("timestamp", true);
            exchange((5003, 69), &[100], &[]);
            end_all();
            for (source, capture) in captures {
                capture.drained();
                let found = flows(&capture.finish().list());
                let of = |port| {
                    found
                        .iter()
                        .find(|flow| flow["dst_port"] == port)
                        .expect("a flow")
                };
                let duration_us = of(53)["duration_us"].as_u64().expect("a time");
                let at_least = 2 * there.as_micros() as u64;
                assert!(
                    (at_least..=at_most).contains(&duration_us),
                    "{source}: {duration_us}"
                );
                assert_eq!(
                    (&of(69)["ended"], &of(69)["duration_us"]),
                    (&Value::from(2), &Value::Null),
                    "{source}"
                );
            }
        },
    );
}

#[test]
fn what_is_not_counted_is_not_told_and_the_rest_goes_through_every_format() {
    netns::run(
        "what_is_not_counted_is_not_told_and_the_rest_goes_through_every_format",
        || {
            track_loopback();
            account("acct", false);
            let folder = Folder::new();
            let state = folder.join("state").display().to_string();
            let first = start("batch", &["--state", &state]);
            exchange((5000, 53), &[100], &[]);
            end_all();
            first.drained();
            let list = first.finish().list();
            assert!(!list.contains("ended") && !list.contains("bytes"), "{list}");
            account("acct", true);
            let second = start("batch", &["--state", &state]);
            exchange((5000, 53), &[100], &[50]);
            exchange((5001, 69), &[70], &[]);
            end_all();
            second.drained();
            assert_eq!(second.finish().code, Some(0));
            // A state goes on with it.
            let third = start("batch", &["--state", &state]);
            exchange((5000, 53), &[1], &[]);
            end_all();
            third.drained();
            let json = folder.join("flows.json");
            fs::write(&json, third.finish().text()).expect("a file of ours");
            let expected: Sums = [
                (
                    "udp 127.0.0.1 127.0.0.1 Some(1024) to 53".to_owned(),
                    [2, 2, 101 + 56, 1, 50 + 28],
                ),
                (
                    "udp 127.0.0.1 127.0.0.1 Some(1024) to 69".to_owned(),
                    [1, 1, 98, 0, 0],
                ),
            ]
            .into();
            assert_eq!(
                sums(&flows(&fs::read_to_string(&json).expect("a list"))),
                expected
            );
            formats(&folder, &json, &expected);
        },
    );
}

/// The list in other forms, read back, and its groups.
fn formats(folder: &Folder, json: &Path, expected: &Sums) {
    let program = vendor_tests::program::conntracker();
    let show = |words: &[&str]| {
        let words = ["show"].iter().chain(words).map(|word| (*word).to_owned());
        run(program, words)
    };
    let name = json.display().to_string();
    let csv = folder.join("flows.csv");
    fs::write(&csv, show(&["--format", "csv", &name])).expect("a file of ours");
    let csv = csv.display().to_string();
    for file in [&name, &csv] {
        assert_eq!(
            &sums(&flows(&show(&["--format", "json", file]))),
            expected,
            "{file}"
        );
    }
    // The same twice is the same, and of another host it is as much again.
    let other =
        fs::read_to_string(json)
            .expect("a list")
            .replacen("\"host\":\"", "\"host\":\"x", 1);
    let other_name = folder.join("other.json");
    fs::write(&other_name, other).expect("a file of ours");
    let other_name = other_name.display().to_string();
    let merge = |files: &[&str]| {
        let words = ["merge", "--format", "json"]
            .iter()
            .chain(files)
            .map(|word| (*word).to_owned());
        run(program, words)
    };
    assert_eq!(&sums(&flows(&merge(&[&name, &name]))), expected);
    let twice: Sums = expected
        .iter()
        .map(|(key, sums)| (key.clone(), sums.map(|sum| 2 * sum)))
        .collect();
    let both = merge(&[&name, &other_name]);
    assert_eq!(sums(&flows(&both)), twice);
    let merged = folder.join("merged.json");
    fs::write(&merged, &both).expect("a file of ours");
    let merged = merged.display().to_string();
    assert_eq!(sums(&flows(&merge(&[&merged, &name, &other_name]))), twice);
    let table = show(&["--format", "table", &name]);
    assert!(table.contains("  ENDED  BYTES  REPLY BYTES"), "{table}");
    let groups = show(&["--format", "json", "--group", "src", &name]);
    let group: Value = serde_json::from_str(&groups).expect("one group");
    assert_eq!(
        NUMBERS.map(|name| group[name].as_u64().expect("a number")),
        [3, 3, 255, 1, 78]
    );
    let groups = show(&["--format", "csv", "--group", "src", &name]);
    let heading = groups.lines().next().expect("a heading");
    assert!(
        heading.ends_with(",ended,packets,bytes,reply_packets,reply_bytes,duration_us"),
        "{heading}"
    );
    let groups = show(&["--group", "src", &name]);
    assert!(groups.contains("REPLY BYTES"), "{groups}");
}
