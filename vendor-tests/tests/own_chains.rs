//! `conntracker rules --for iptables`: chains of our own, beside those of Docker, fail2ban and VPNs, exact and generalized.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::Value;
use vendor_tests::capture::Launch;
use vendor_tests::netns::{self, sh};
use vendor_tests::temp::Folder;

/// A gateway with clients whose addresses change, a published server, and the Internet.
const GATEWAY: &str = r#""interfaces":[{"name":"lo","addresses":["127.0.0.1/8"]},{"name":"lan0","addresses":["10.1.0.1/24","fd01::1/64"]},{"name":"dmz0","addresses":["10.2.0.1/24"]},{"name":"wan0","addresses":["203.0.113.1/24"]}],"routes":[{"destination":"0.0.0.0/0","gateway":"203.0.113.254","interface":"wan0"},{"destination":"::/0","interface":"wan0"}]"#;

/// A flow: protocol, source, destination, port, where DNAT sends it.
type Flow = (&'static str, String, String, u16, Option<&'static str>);

fn flow(protocol: &'static str, source: &str, destination: &str, port: u16) -> Flow {
    (
        protocol,
        source.to_owned(),
        destination.to_owned(),
        port,
        None,
    )
}

/// The flows of a day.
fn day(number: u16) -> Vec<Flow> {
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

fn attacks() -> Vec<Flow> {
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

fn capture(day: u16, flows: &[Flow]) -> String {
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
        let what = match *protocol {
            "icmp" => format!(r#""protocol_number":1,"icmp_type":{port},"icmp_code":0"#),
            "tcp" => format!(
                r#""protocol_number":6,"src_port":1024,"src_port_collapsed":true,"dst_port":{port}"#
            ),
            _ => format!(
                r#""protocol_number":17,"src_port":1024,"src_port_collapsed":true,"dst_port":{port}"#
            ),
        };
        let _ = writeln!(
            text,
            r#"{{"type":"flow","family":"{family}","protocol":"{protocol}",{what},"src":"{source}","dst":"{destination}","confirmed":true,"connections":1,"first_seen":"{time}","last_seen":"{time}"{dnat}}}"#
        );
    }
    text
}

fn text(path: &Path) -> &str {
    path.to_str().expect("test paths are text")
}

/// Rules for iptables of some days.
fn rules(
    folder: &Folder,
    days: std::ops::RangeInclusive<u16>,
    more: &[&str],
) -> std::path::PathBuf {
    let path = folder.join("gw.rules");
    let files: Vec<_> = days
        .map(|number| {
            let file = folder.join(&format!("day{number}.json"));
            fs::write(&file, capture(number, &day(number))).expect("a file");
            file
        })
        .collect();
    let mut args = vec!["rules", "--for", "iptables", "-o", text(&path)];
    args.extend(more);
    args.extend(files.iter().map(|file| text(file)));
    let outcome = Launch::new(&args).run();
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    path
}

/// How many flows pass, and how many do not, as the kernel has it.
fn judged(folder: &Folder, rules: &Path, flows: &[Flow]) -> (usize, usize) {
    let path = folder.join("flows.json");
    fs::write(&path, capture(9, flows)).expect("a file");
    let outcome = Launch::new(["check", "--format", "json", text(rules), text(&path)]).run();
    let report = outcome.text();
    let verdicts: Vec<Value> = { report.lines() }
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|line| line["type"] == "verdict")
        .collect();
    assert!(!verdicts.is_empty(), "{outcome:?}");
    let accepted = verdicts.iter().filter(|line| line["verdict"] == "accepted");
    let accepted = accepted.count();
    for line in verdicts.iter().filter(|line| line["verdict"] != "accepted") {
        println!("not accepted: {line}");
    }
    (accepted, verdicts.len() - accepted)
}

#[test]
fn a_week_holds_on_the_next_day_with_iptables_too() {
    netns::run("a_week_holds_on_the_next_day_with_iptables_too", || {
        let folder = Folder::new();
        let rules = rules(&folder, 1..=7, &["--generalize", "--log-denied"]);
        let ruleset = fs::read_to_string(&rules).expect("it was written");
        let (passed, stopped) = judged(&folder, &rules, &day(8));
        assert!(
            passed > 200 && stopped <= 2,
            "{passed}, {stopped}: {ruleset}"
        );
        assert_eq!(
            judged(&folder, &rules, &attacks()),
            (0, attacks().len()),
            "{ruleset}"
        );
        assert!(ruleset.contains("--nflog-group 5"), "{ruleset}");
        assert!(ruleset.lines().count() < 120, "{ruleset}");
    });
}

#[test]
fn chains_of_other_programs_stay_and_loading_twice_gives_the_same() {
    netns::run(
        "chains_of_other_programs_stay_and_loading_twice_gives_the_same",
        || {
            let folder = Folder::new();
            for more in [&[][..], &["--generalize"]] {
                let rules = rules(&folder, 1..=2, more);
                let seen: Vec<Flow> = [day(1), day(2)].concat();
                let (passed, stopped) = judged(&folder, &rules, &seen);
                assert!(passed > 200 && stopped == 0, "{passed}, {stopped}");
                assert_eq!(judged(&folder, &rules, &attacks()), (0, attacks().len()));
                let rules = text(&rules);
                for program in ["iptables", "ip6tables"] {
                    sh(&format!(
                    "{program} -N f2b-sshd; {program} -I INPUT -p tcp --dport 22 -j f2b-sshd; {program} -A f2b-sshd -j RETURN
                     {program} -t nat -N DOCKER; {program} -t nat -A PREROUTING -j DOCKER
                     {program} -P FORWARD DROP; {program} -N DOCKER-USER; {program} -A FORWARD -j DOCKER-USER"
                ));
                }
                let saved = |program: &str, table: &str| {
                    let file = folder.join("saved");
                    sh(&format!(
                        "{program}-save -t {table} | grep -v '^#' > {}",
                        text(&file)
                    ));
                    fs::read_to_string(file).expect("it was written")
                };
                for program in ["iptables", "ip6tables"] {
                    let others = || [saved(program, "filter"), saved(program, "nat")];
                    let before = others();
                    sh(&format!("{program}-restore --noflush {rules}"));
                    let first = saved(program, "security");
                    sh(&format!("{program}-restore --noflush {rules}"));
                    assert_eq!(saved(program, "security"), first);
                    sh(&format!("{program}-restore {rules}"));
                    assert_eq!(saved(program, "security"), first);
                    assert_eq!(others(), before);
                    for jump in [
                        "-A INPUT -j conntracker-input",
                        "-A FORWARD -j conntracker-forward",
                    ] {
                        assert!(first.contains(jump), "{first}");
                    }
                    // The way back, as the head has it.
                    sh(&format!(
                        "grep -q '{program} -t security -F' {rules} && {program} -t security -F"
                    ));
                    assert!(!saved(program, "security").contains("-A "));
                    sh(&format!(
                        "{program} -F; {program} -X; {program} -t nat -F; {program} -t nat -X"
                    ));
                }
            }
        },
    );
}
