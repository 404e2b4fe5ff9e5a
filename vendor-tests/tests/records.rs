//! Live captures with records: what they say of real connections.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;
use vendor_tests::capture::{Launch, Outcome};
use vendor_tests::lab::Lab;
use vendor_tests::netns;
use vendor_tests::schema;
use vendor_tests::wait::until;
use vendor_tests::witness::insert;

/// The lines of a list in JSON: the capture, and its flows.
fn lines(outcome: &Outcome) -> (Value, Vec<Value>) {
    let list = outcome.list();
    schema::assert_holds(&list);
    let mut lines = list
        .lines()
        .map(|line| serde_json::from_str(line).expect("an object a line"));
    let capture = lines.next().expect("a capture");
    let mut flows: Vec<Value> = lines.collect();
    let end = flows.pop().expect("an end");
    assert_eq!(
        (&end["type"], &end["flows"]),
        (&"end".into(), &flows.len().into())
    );
    (capture, flows)
}

/// The flows to a destination and service.
fn to<'a>(flows: &'a [Value], destination: &str, port: u64) -> Vec<&'a Value> {
    let found = flows
        .iter()
        .filter(|flow| flow["dst"] == destination && flow["dst_port"] == port);
    found.collect()
}

fn now() -> humantime::Rfc3339Timestamp {
    humantime::format_rfc3339_micros(SystemTime::now().max(UNIX_EPOCH))
}

/// Ways to receive that have to tell the same.
const WAYS: [&[&str]; 3] = [
    &[],
    &["--source", "callback"],
    &["--workers", "2", "--source", "batch"],
];

#[test]
fn records_tell_of_connections_times_and_translation() {
    netns::run("records_tell_of_connections_times_and_translation", || {
        let lab = Lab::new();
        lab.track();
        let before = now().to_string();
        let captures = WAYS.map(|way| {
            let args = way.iter().chain(&["--format", "json", "--all-protocols"]);
            Launch::new(args).start()
        });
        lab.traffic();
        for capture in captures {
            capture.drained();
            let outcome = capture.finish();
            let (capture, flows) = lines(&outcome);
            let after = now().to_string();

            assert_eq!(capture["verdict"], "complete");
            assert_eq!(capture["options"][0], "--all-protocols");
            let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
            assert_eq!(capture["host"], host.trim());
            let text = capture.to_string();
            for address in ["10.1.0.1/24", "10.2.0.1/24", "fd01::1/64", "fd02::1/64"] {
                assert!(text.contains(address), "{address} is not in {text}");
            }
            let route = r#"{"destination":"10.1.0.0/24","interface":"side1"}"#;
            assert!(text.contains(route), "{text}");
            assert!(capture["start"].as_str() >= Some(&*before));
            assert!(capture["end"].as_str() <= Some(&*after));

            // Ports 1024, 1025 and 65535 are one; 1023 is another.
            let web = to(&flows, "10.2.0.2", 443);
            let ports: Vec<_> = web.iter().map(|flow| &flow["src_port"]).collect();
            assert_eq!(ports, [1023, 1024], "{web:?}");
            assert_eq!(web[0]["connections"], 1);
            assert_eq!(web[1]["connections"], 3);
            assert_eq!(web[1]["src_port_collapsed"], true);
            assert_eq!(web[1]["confirmed"], true);
            assert_eq!(web[1].get("dnat"), None);
            let refused = to(&flows, "10.2.0.2", 9);
            assert!(refused.iter().all(|flow| flow["confirmed"] == false));

            let translated = to(&flows, "10.2.0.99", 8080);
            assert_eq!(translated.len(), 1);
            assert_eq!(translated[0]["dnat"]["address"], "10.2.0.2");
            assert_eq!(translated[0]["dnat"]["port"], 443);
            assert_eq!(translated[0].get("snat"), None);

            let ping = flows
                .iter()
                .find(|flow| flow["protocol"] == "icmpv6" && flow["icmp_type"] == 128);
            assert_eq!(ping.expect("a ping")["icmp_name"], "echo-request");
            assert!(flows.iter().any(|flow| flow["protocol_number"] == 253));

            for flow in &flows {
                let (first, last) = (flow["first_seen"].as_str(), flow["last_seen"].as_str());
                assert!(Some(&*before) <= first && first <= last && last <= Some(&*after));
            }
        }
    });
}

#[test]
fn flows_with_other_translations_or_zones_are_other_records_and_one_classic_line() {
    netns::run(
        "flows_with_other_translations_or_zones_are_other_records_and_one_classic_line",
        || {
            let listed = Launch::new(["--source", "batch"]).start();
            let recorded = Launch::new(["--format", "json"]).start();
            let kept = Launch::new(["--format", "json", "--source-ports", "keep"]).start();
            let udp = "-p udp -s 10.0.0.1 -d 10.0.0.2 --dport 53 -t 60";
            let masqueraded = "--reply-src 10.0.0.2 --reply-dst 192.0.2.1 --reply-port-src 53";
            insert(&format!("{udp} --sport 5000"));
            insert(&format!("{udp} --sport 5001 --zone 7"));
            insert(&format!("{udp} --sport 5002 --dst-nat 10.9.0.1"));
            insert(&format!("{udp} --sport 5003 --dst-nat 10.9.0.2:5353"));
            insert(&format!(
                "{udp} --sport 5004 {masqueraded} --reply-port-dst 60000"
            ));
            insert(&format!(
                "{udp} --sport 5005 {masqueraded} --reply-port-dst 60001"
            ));
            let (_, flows) = lines(&recorded.finish());
            let kinds: Vec<String> = flows
                .iter()
                .map(|flow| {
                    format!(
                        "{} {} {} {}",
                        flow["zone"], flow["dnat"], flow["snat"], flow["connections"]
                    )
                })
                .collect();
            assert_eq!(
                kinds,
                [
                    "null null null 1",
                    r#"null null {"address":"192.0.2.1","port":1024,"port_collapsed":true} 2"#,
                    r#"null {"address":"10.9.0.1","port":53} null 1"#,
                    r#"null {"address":"10.9.0.2","port":5353} null 1"#,
                    "7 null null 1",
                ]
            );
            let (capture, flows) = lines(&kept.finish());
            let [options, filters] = ["options", "filters"].map(|key| capture[key].to_string());
            assert_eq!(
                [&*options, &filters],
                [r#"["--source-ports=keep"]"#, "null"]
            );
            assert_eq!(flows.len(), 6);
            let ports: Vec<_> = flows.iter().map(|flow| &flow["src_port"]).collect();
            assert_eq!(ports, [5000, 5001, 5002, 5003, 5004, 5005]);
            assert_eq!(flows[4]["snat"]["port"], 60000);
            assert_eq!(listed.finish().list().lines().count(), 1);
        },
    );
}

#[test]
fn a_flow_older_than_the_capture_is_recorded_though_the_classic_list_has_it_not() {
    netns::run(
        "a_flow_older_than_the_capture_is_recorded_though_the_classic_list_has_it_not",
        || {
            // An entry that nobody listened to when it was made never makes an event.
            let _witness = vendor_tests::witness::Witness::start();
            insert("-p udp -s 10.0.0.1 -d 10.0.0.2 --sport 5000 --dport 53 -t 60");
            let recorded = Launch::new(["--format", "json"]).start();
            let existing = Launch::new(["--format", "json", "--existing"]).start();
            vendor_tests::program::run(
                "conntrack",
                "-U -p udp -s 10.0.0.1 -d 10.0.0.2 --sport 5000 --dport 53 -u SEEN_REPLY"
                    .split(' '),
            );
            let (_, flows) = lines(&recorded.finish());
            assert_eq!(flows.len(), 1);
            assert_eq!(flows[0]["connections"], 0);
            assert_eq!(flows[0]["confirmed"], true);
            assert_eq!(flows[0]["classic"], "absent");
            let (_, flows) = lines(&existing.finish());
            assert_eq!(flows.len(), 1);
            assert_eq!(flows[0].get("classic"), None);
        },
    );
}

#[test]
fn other_protocols_are_recorded_whether_the_kernel_knows_their_ports_or_not() {
    netns::run(
        "other_protocols_are_recorded_whether_the_kernel_knows_their_ports_or_not",
        || {
            vendor_tests::netns::sh(
                "nft 'table inet t { chain output { type filter hook output priority 0; ct state new; }; }'",
            );
            let captures = ["batch", "callback"].map(|source| {
                let args = ["--source", source, "--format", "json", "--all-protocols"];
                Launch::new(args).start()
            });
            // SCTP, DCCP and GRE, with a source and a destination port where the first two have theirs.
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
            for capture in captures {
                capture.drained();
                let (head, flows) = lines(&capture.finish());
                assert_eq!(head["verdict"], "complete");
                let dccp = flows.iter().find(|flow| flow["protocol"] == "dccp");
                assert!(dccp.expect("a flow")["dst_port"].is_u64());
                let gre = flows.iter().find(|flow| flow["protocol"] == "gre");
                assert_eq!(gre.expect("a flow").get("dst_port"), None);
            }
        },
    );
}

#[test]
fn filters_hold_for_what_comes_in_and_for_what_was_open() {
    netns::run(
        "filters_hold_for_what_comes_in_and_for_what_was_open",
        || {
            let udp = |source: &str, port: u16| {
                insert(&format!(
                    "-p udp -s {source} -d 10.0.0.2 --sport 5000 --dport {port} -t 60"
                ));
            };
            udp("10.0.0.1", 53);
            udp("10.0.0.3", 53);
            let args = [
                "--existing",
                "--format",
                "json",
                "--src",
                "!10.0.0.3",
                "--dport",
                "50-60",
            ];
            let capture = Launch::new(args).start();
            udp("10.0.0.1", 60);
            udp("10.0.0.1", 61);
            udp("10.0.0.3", 60);
            insert(
                "-p sctp -s 10.0.0.1 -d 10.0.0.2 --sport 5000 --dport 55 -t 60 --state COOKIE_WAIT \
                --orig-vtag 1 --reply-vtag 2",
            );
            let (capture, flows) = lines(&capture.finish());
            let ports: Vec<_> = flows.iter().map(|flow| &flow["dst_port"]).collect();
            assert_eq!(ports, [53, 60]);
            assert_eq!(
                capture["filters"].to_string(),
                r#"["--src=!10.0.0.3","--dport=50-60"]"#
            );
        },
    );
}

#[test]
fn sigusr1_writes_a_list_that_the_last_one_goes_on_from() {
    netns::run(
        "sigusr1_writes_a_list_that_the_last_one_goes_on_from",
        || {
            let folder = vendor_tests::temp::Folder::new();
            let file = folder.join("flows.json");
            let path = file.to_str().expect("a plain name");
            let capture = Launch::new(["--format", "json", "-o", path]).start();
            insert("-p udp -s 10.0.0.1 -d 10.0.0.2 --sport 5000 --dport 53 -t 60");
            capture.drained();
            capture.signal(rustix::process::Signal::USR1);
            let first = until("a list", vendor_tests::wait::LONG, || {
                let list = std::fs::read_to_string(&file).ok()?;
                (list.lines().count() == 3).then_some(list)
            });
            insert("-p udp -s 10.0.0.1 -d 10.0.0.2 --sport 5001 --dport 53 -t 60");
            let outcome = capture.finish();
            assert_eq!(outcome.list(), "");
            let last = std::fs::read_to_string(&file).expect("a list");
            let value = |list: &str, line: usize, name: &str| {
                let line = list.lines().nth(line).expect("a line");
                serde_json::from_str::<Value>(line).expect("an object")[name].clone()
            };
            assert_eq!(value(&first, 0, "start"), value(&last, 0, "start"));
            assert!(value(&first, 0, "end").as_str() < value(&last, 0, "end").as_str());
            assert_eq!(value(&first, 1, "connections"), 1);
            assert_eq!(value(&last, 1, "connections"), 2);
            assert_eq!(
                value(&first, 1, "first_seen"),
                value(&last, 1, "first_seen")
            );
        },
    );
}
