//! A made-up gateway, its days and what attackers try, for tests of rules in several firewalls' languages.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::capture::Launch;
use crate::temp::Folder;

/// A gateway with clients whose addresses change, a published server, and the Internet.
const GATEWAY: &str = r#""interfaces":[{"name":"lo","addresses":["127.0.0.1/8"]},{"name":"lan0","addresses":["10.1.0.1/24","fd01::1/64"]},{"name":"dmz0","addresses":["10.2.0.1/24"]},{"name":"wan0","addresses":["203.0.113.1/24"]}],"routes":[{"destination":"0.0.0.0/0","gateway":"203.0.113.254","interface":"wan0"},{"destination":"::/0","interface":"wan0"}]"#;

/// A flow: protocol, source, destination, port, where DNAT sends it.
pub type Flow = (&'static str, String, String, u16, Option<&'static str>);

/// A flow without translation.
pub fn flow(protocol: &'static str, source: &str, destination: &str, port: u16) -> Flow {
    (
        protocol,
        source.to_owned(),
        destination.to_owned(),
        port,
        None,
    )
}

/// The flows of a day.
pub fn day(number: u16) -> Vec<Flow> {
    let mut flows = Vec::new();
    for client in 0..12_u16 {
        let source = format!("10.1.0.{}", 20 + (client + number * 5) % 90);
        flows.push(flow("udp", &source, "10.1.0.1", 53));
        flows.push(flow("tcp", &source, "10.2.0.80", 443));
        let source6 = format!("fd01::{:x}:{number:x}", client + 16);
        for site in 0..8_u16 {
            let mixed = u32::from(client * 8 + site + 1) * 2_654_435 + u32::from(number) * 40_503;
            let server = format!("{}.{}.7.9", 20 + mixed % 80, mixed / 80 % 250);
            flows.push(flow("tcp", &source, &server, 443));
            flows.push(flow(
                "tcp",
                &source6,
                &format!("2600:{:x}::9", mixed % 60_000),
                443,
            ));
        }
    }
    for visitor in 0..30_u16 {
        let source = format!("{}.{}.3.4", 130 + visitor, number * 7 + visitor);
        let mut published = flow("tcp", &source, "203.0.113.1", 8443);
        published.4 = Some("10.2.0.80");
        flows.push(published);
    }
    flows.push(flow("tcp", "10.1.0.5", "10.2.0.80", 22));
    flows.push(flow("icmp", "10.1.0.5", "10.2.0.80", 8));
    flows.push(flow("udp", "203.0.113.1", "198.51.100.53", 53));
    flows
}

/// Flows of every kind that rules have words for: several ports and protocols of one server, ports of both sides that are
/// the same (`peers`), types of ICMP, protocols without ports.
pub fn odd() -> Vec<Flow> {
    let mut flows = Vec::new();
    for client in ["10.1.0.20", "10.1.0.21", "10.1.0.40"] {
        flows.extend(
            [53, 8000, 8001, 8002, 8443].map(|port| flow("tcp", client, "10.2.0.53", port)),
        );
        flows.push(flow("udp", client, "10.2.0.53", 53));
        flows.extend((0..20).map(|number| flow("tcp", client, "10.2.0.60", 3000 + number * 7)));
        flows.extend([8, 13].map(|icmp_type| flow("icmp", client, "10.2.0.53", icmp_type)));
        flows.push(flow("icmp", client, "10.1.0.1", 8));
        flows.push(flow("udp", client, "10.1.0.1", 53));
    }
    flows.push(flow("peers", "10.1.0.20", "198.51.100.123", 123));
    flows.push(flow("gre", "10.1.0.20", "198.51.100.47", 0));
    flows.push(flow("sctp", "10.1.0.20", "10.2.0.38", 3868));
    flows.push(flow("peers", "203.0.113.1", "198.51.100.123", 123));
    flows.push(flow("icmp", "203.0.113.1", "198.51.100.53", 8));
    flows.push(flow("gre", "203.0.113.1", "198.51.100.47", 0));
    flows
}

/// The flows between the same that were not seen, and the same services between others.
pub fn others(seen: &[Flow]) -> Vec<Flow> {
    let mut others = Vec::new();
    for (protocol, source, destination, port, dnat) in seen {
        if dnat.is_none() && !matches!(*protocol, "icmp" | "gre") {
            others.push(flow(protocol, source, destination, port + 2));
            others.push(flow(protocol, destination, source, *port));
            others.push(flow(protocol, "10.1.0.99", destination, *port));
        }
    }
    let is_seen = |one: &Flow| seen.iter().any(|seen| seen == one);
    others.retain(|one| !is_seen(one));
    others
}

/// What no rules of these days may let pass.
pub fn attacks() -> Vec<Flow> {
    vec![
        flow("tcp", "10.1.0.40", "10.2.0.80", 22),
        flow("tcp", "10.2.0.80", "10.1.0.40", 443),
        flow("tcp", "10.1.0.40", "10.1.0.1", 22),
        flow("tcp", "198.51.100.7", "10.2.0.80", 443),
        flow("tcp", "198.51.100.7", "203.0.113.1", 22),
        flow("udp", "198.51.100.7", "203.0.113.1", 53),
        flow("tcp", "2600:7::7", "fd01::17", 443),
        flow("tcp", "10.1.0.40", "198.51.100.7", 25),
    ]
}

/// The capture of a day, as conntracker writes it.
pub fn capture(day: u16, flows: &[Flow]) -> String {
    let mut text = format!(
        r#"{{"type":"capture","schema":1,"host":"gw1","program":"conntracker 1.0.0","source":"batch","options":["--existing","--all-protocols"],"verdict":"complete","marks_picked_up":true,"start":"2026-01-{day:02}T00:00:00.000000Z","end":"2026-01-{day:02}T23:59:59.000000Z",{GATEWAY}}}"#
    );
    text.push('\n');
    for (index, (protocol, source, destination, port, dnat)) in flows.iter().enumerate() {
        let family = if source.contains(':') { "ipv6" } else { "ipv4" };
        let time = format!("2026-01-{day:02}T{:02}:30:00.000000Z", 6 + index % 12);
        let dnat = dnat.map_or(String::new(), |address| {
            format!(r#","dnat":{{"address":"{address}","port":443}}"#)
        });
        let ports = |number: u8, from: &str| {
            format!(r#""protocol_number":{number},"src_port":{from},"dst_port":{port}"#)
        };
        let folded = r#"1024,"src_port_collapsed":true"#;
        let (name, what) = match *protocol {
            "icmp" => (
                "icmp",
                format!(r#""protocol_number":1,"icmp_type":{port},"icmp_code":0"#),
            ),
            "gre" => ("gre", r#""protocol_number":47"#.to_owned()),
            "sctp" => ("sctp", ports(132, folded)),
            "tcp" => ("tcp", ports(6, folded)),
            "peers" => ("udp", ports(17, &port.to_string())),
            _ => ("udp", ports(17, folded)),
        };
        let _ = writeln!(
            text,
            r#"{{"type":"flow","family":"{family}","protocol":"{name}",{what},"src":"{source}","dst":"{destination}","confirmed":true,"connections":1,"first_seen":"{time}","last_seen":"{time}"{dnat}}}"#
        );
    }
    text
}

/// A path as an argument.
///
/// Panics: if it is no text.
pub fn text(path: &Path) -> &str {
    path.to_str().expect("test paths are text")
}

/// The captures of some days.
///
/// Panics: if they can't be written.
pub fn files(folder: &Folder, days: RangeInclusive<u16>) -> Vec<PathBuf> {
    days.map(|number| {
        let file = folder.join(&format!("day{number}.json"));
        fs::write(&file, capture(number, &day(number))).expect("a file");
        file
    })
    .collect()
}

/// Has `conntracker rules` write rules of some captures.
///
/// Returns its exit status.
///
/// Panics: if it was ended by a signal.
pub fn rules_of(files: &[PathBuf], more: &[&str]) -> i32 {
    let mut args = vec!["rules"];
    args.extend(more);
    args.extend(files.iter().map(|file| text(file)));
    let outcome = Launch::new(&args).run();
    println!("{outcome:?}");
    outcome.code.expect("it ended by itself")
}

/// The kernel's verdict on each flow, by rulesets: the first one and those that are given with `--also`.
///
/// Panics: if there is none.
pub fn judged(folder: &Folder, rulesets: &[&str], flows: &[Flow]) -> BTreeMap<String, String> {
    let path = folder.join("flows.json");
    fs::write(&path, capture(9, flows)).expect("a file");
    let mut args = vec!["check", "--format", "json", rulesets[0], text(&path)];
    for also in &rulesets[1..] {
        args.extend(["--also", also]);
    }
    let outcome = Launch::new(&args).run();
    let report = outcome.text();
    let verdicts: Vec<Value> = { report.lines() }
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|line| line["type"] == "verdict")
        .collect();
    assert!(!verdicts.is_empty(), "{outcome:?}");
    for line in verdicts.iter().filter(|line| line["verdict"] != "accepted") {
        println!("not accepted: {line}");
    }
    { verdicts.iter() }
        .map(|line| {
            let flow = &line["flow"];
            let key = ["protocol", "src", "dst", "dst_port", "icmp_type"]
                .map(|key| flow[key].to_string().replace('"', ""));
            (
                key.join(" "),
                line["verdict"].as_str().unwrap_or_default().to_owned(),
            )
        })
        .collect()
}

/// The flows that our own rules accept and others do not, by protocol, port and type of ICMP.
///
/// Panics: if the others accept what ours do not, or have no verdict.
pub fn missed(
    by_others: &BTreeMap<String, String>,
    by_us: &BTreeMap<String, String>,
) -> Vec<String> {
    assert_eq!(by_others.len(), by_us.len());
    let mut missed: Vec<String> = Vec::new();
    for (flow, verdict) in by_us {
        let other = &by_others[flow];
        match (verdict.as_str(), other.as_str()) {
            ("accepted", "dropped") => {
                let words: Vec<&str> = flow.split(' ').collect();
                missed.push(format!("{} {}", words[0], words[3..].join(" ")).replace(" null", ""));
            }
            (verdict, other) => assert_eq!(verdict, other, "{flow}"),
        }
    }
    missed.sort_unstable();
    missed.dedup();
    missed
}
