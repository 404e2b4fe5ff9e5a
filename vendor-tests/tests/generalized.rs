//! `conntracker rules --generalize`: what it writes of a week lets the next days through and keeps out what nobody wants,
//! as the kernel judges it by `check`.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use vendor_tests::capture::{Launch, Outcome};
use vendor_tests::netns;
use vendor_tests::temp::Folder;

/// The gateway of a made-up office: clients with addresses that change, servers, the Internet.
const GATEWAY: &str = r#""interfaces":[{"name":"lo","addresses":["127.0.0.1/8"]},{"name":"lan0","addresses":["192.168.10.1/24"]},{"name":"dmz0","addresses":["192.168.20.1/24"]},{"name":"iot0","addresses":["192.168.40.1/24"]},{"name":"wan0","addresses":["203.0.113.1/24"]}],"routes":[{"destination":"0.0.0.0/0","gateway":"203.0.113.254","interface":"wan0"}]"#;

/// A generator of numbers that are the same each time: xorshift (Marsaglia, 2003).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// A flow: protocol, source, destination, port, where DNAT sends it.
type Flow = (&'static str, String, String, u16, Option<&'static str>);

/// The flows of a day.
fn day(number: u64) -> Vec<Flow> {
    let mut numbers = Numbers(0x9e37_79b9 + number * 7919);
    let mut flows: Vec<Flow> = Vec::new();
    let to = |destination: &str| destination.to_owned();
    for client in 0..30 {
        // Leases go round within the pool.
        let source = format!("192.168.10.{}", 20 + (client + number * 11) % 90);
        flows.push(("udp", source.clone(), to("192.168.20.53"), 53, None));
        flows.push(("tcp", source.clone(), to("192.168.20.80"), 443, None));
        for _ in 0..12 {
            let server = format!("198.18.{}.{}", numbers.below(200), 1 + numbers.below(250));
            flows.push(("tcp", source.clone(), server, 443, None));
        }
        flows.push(("udp", source, to("192.168.10.1"), 123, None));
    }
    // The administrator has a fixed lease.
    flows.push(("tcp", to("192.168.10.5"), to("192.168.20.80"), 22, None));
    flows.push(("tcp", to("192.168.10.5"), to("192.168.10.1"), 22, None));
    for thing in 2..8 {
        let source = format!("192.168.40.{thing}");
        flows.push(("tcp", source, to("198.51.100.9"), 8883, None));
    }
    for _ in 0..60 {
        let client = format!(
            "198.{}.7.{}",
            20 + numbers.below(200),
            1 + numbers.below(250)
        );
        flows.push(("tcp", client, to("203.0.113.1"), 443, Some("192.168.20.80")));
    }
    for _ in 0..20 {
        let server = format!("100.{}.7.{}", 1 + numbers.below(60), 1 + numbers.below(250));
        flows.push(("tcp", to("192.168.20.25"), server, 25, None));
    }
    flows.push(("udp", to("203.0.113.1"), to("198.51.100.53"), 53, None));
    flows
}

/// What must not pass, though each has a port that something else uses.
fn attacks() -> Vec<Flow> {
    let flow = |source: &str, destination: &str, port| {
        ("tcp", source.to_owned(), destination.to_owned(), port, None)
    };
    vec![
        flow("192.168.10.40", "192.168.20.80", 22),
        flow("192.168.10.40", "192.168.10.1", 22),
        flow("192.168.10.40", "192.168.20.25", 443),
        flow("192.168.10.40", "198.51.100.7", 25),
        flow("192.168.40.3", "192.168.20.80", 443),
        flow("192.168.40.3", "192.168.10.40", 443),
        flow("192.168.40.3", "203.0.113.1", 22),
        flow("192.168.20.80", "192.168.10.40", 443),
        flow("198.51.100.7", "203.0.113.1", 22),
        flow("198.51.100.7", "192.168.20.80", 443),
        flow("198.51.100.7", "192.168.20.80", 22),
        flow("198.51.100.7", "192.168.10.40", 443),
    ]
}

/// A capture of some flows, all on one day of January.
fn capture(day: u64, flows: &[Flow]) -> String {
    let mut text = format!(
        r#"{{"type":"capture","schema":1,"host":"gw1","program":"conntracker 1.0.0","source":"batch","options":["--existing","--all-protocols"],"verdict":"complete","marks_picked_up":true,"start":"2026-01-{day:02}T00:00:00.000000Z","end":"2026-01-{day:02}T23:59:59.000000Z",{GATEWAY}}}"#
    );
    text.push('\n');
    for (index, (protocol, source, destination, port, dnat)) in flows.iter().enumerate() {
        let number = if *protocol == "tcp" { 6 } else { 17 };
        let time = format!("2026-01-{day:02}T{:02}:30:00.000000Z", 6 + index % 12);
        let dnat = dnat.map_or(String::new(), |address| {
            format!(r#","dnat":{{"address":"{address}","port":{port}}}"#)
        });
        let _ = writeln!(
            text,
            r#"{{"type":"flow","family":"ipv4","protocol":"{protocol}","protocol_number":{number},"src":"{source}","src_port":1024,"src_port_collapsed":true,"dst":"{destination}","dst_port":{port},"confirmed":true,"connections":1,"first_seen":"{time}","last_seen":"{time}"{dnat}}}"#
        );
    }
    text
}

fn text(path: &Path) -> &str {
    path.to_str().expect("test paths are text")
}

/// Captures of some days.
fn days(folder: &Folder, days: std::ops::RangeInclusive<u64>) -> Vec<PathBuf> {
    days.map(|number| {
        let path = folder.join(&format!("day{number}.json"));
        fs::write(&path, capture(number, &day(number))).expect("a file");
        path
    })
    .collect()
}

fn generalize(captures: &[PathBuf], more: &[&str]) -> Outcome {
    let mut args = vec!["rules", "--generalize"];
    args.extend(more);
    args.extend(captures.iter().map(|path| text(path)));
    Launch::new(&args).run()
}

/// How many flows pass a ruleset, and how many do not, as the kernel has it.
fn judged(rules: &Path, flows: &Path) -> (usize, usize) {
    let outcome = Launch::new(["check", "--format", "json", text(rules), text(flows)]).run();
    let lines = outcome.text();
    let verdicts: Vec<String> = { lines.lines() }
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|line| line["type"] == "verdict")
        .map(|line| line["verdict"].as_str().unwrap_or("none").to_owned())
        .collect();
    let passed = verdicts
        .iter()
        .filter(|verdict| *verdict == "accepted")
        .count();
    (passed, verdicts.len() - passed)
}

#[test]
fn the_rules_of_a_week_hold_on_the_next_days() {
    netns::run("the_rules_of_a_week_hold_on_the_next_days", || {
        let folder = Folder::new();
        let (rules, report) = (folder.join("week.nft"), folder.join("week.report"));
        let files = ["-o", text(&rules), "--report", text(&report)];
        let outcome = generalize(&days(&folder, 1..=7), &files);
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
        let ruleset = fs::read_to_string(&rules).expect("it was written");
        assert!(ruleset.lines().count() < 120, "{ruleset}");
        let accepted = ruleset
            .lines()
            .filter(|line| line.contains(" accept "))
            .count();
        assert!(accepted < 25, "{ruleset}");
        for number in [8, 9] {
            let path = folder.join("next.json");
            let flows = day(number);
            fs::write(&path, capture(number, &flows)).expect("a file");
            let (passed, stopped) = judged(&rules, &path);
            assert!(passed > 400, "{passed} passed, {stopped} stopped");
            assert!(
                stopped <= 1,
                "{stopped} of day {number} were stopped by\n{ruleset}"
            );
        }
        let path = folder.join("attacks.json");
        fs::write(&path, capture(8, &attacks())).expect("a file");
        assert_eq!(judged(&rules, &path), (0, attacks().len()), "{ruleset}");
        let report = fs::read_to_string(report).expect("it was written");
        for words in ["; expect about", "sensitive", "-> addresses to addresses"] {
            assert!(report.contains(words), "{words}: {report}");
        }
    });
}

#[test]
fn two_days_do_not_tell_and_nothing_climbs() {
    let folder = Folder::new();
    let outcome = generalize(&days(&folder, 1..=2), &[]);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let (rules, said) = (outcome.text(), format!("{outcome:?}"));
    assert!(said.contains("Captures of 2 days can't tell"), "{said}");
    assert!(rules.contains("# Captures of 2 days can't tell"), "{rules}");
    assert!(!rules.contains("ip saddr 192.168.10.0/24"), "{rules}");
    // Each rule for clients of the LAN says which.
    for line in rules
        .lines()
        .filter(|line| line.contains("iifname \"lan0\""))
    {
        assert!(line.contains("ip saddr"), "{line}");
    }
}

#[test]
fn two_weeks_of_the_same_services_have_the_same_rules() {
    let folder = Folder::new();
    let rules = |week: std::ops::RangeInclusive<u64>| {
        let outcome = generalize(&days(&folder, week), &[]);
        let list = outcome.text();
        let at = list.find("\ntable inet").expect("there is a table");
        list[at..].to_owned()
    };
    assert_eq!(rules(1..=7), rules(9..=15));
}

#[test]
fn what_is_sensitive_is_for_the_user_to_say() {
    let folder = Folder::new();
    let captures = days(&folder, 1..=7);
    let web = "iifname \"lan0\" oifname \"wan0\" ip saddr";
    assert!(!generalize(&captures, &[]).text().contains(web));
    let table = folder.join("mine");
    fs::write(&table, "443/tcp  the web is dangerous\n").expect("a file");
    let outcome = generalize(&captures, &["--sensitive", text(&table)]);
    assert!(outcome.text().contains(web), "{outcome:?}");
    fs::write(&table, "443\n").expect("a file");
    let outcome = generalize(&captures, &["--sensitive", text(&table)]);
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert!(format!("{outcome:?}").contains("line 1: "), "{outcome:?}");
}

#[test]
fn options_that_contradict_it_are_refused() {
    let folder = Folder::new();
    let captures = days(&folder, 1..=1);
    let outcome = generalize(&captures, &["--widen", "10%"]);
    assert_eq!(outcome.code, Some(2), "{outcome:?}");
    assert!(
        format!("{outcome:?}").contains("--generalize"),
        "{outcome:?}"
    );
}

#[test]
fn coverage_is_told_without_rules() {
    let folder = Folder::new();
    let mut args = vec!["show", "--coverage"];
    let captures = days(&folder, 1..=7);
    args.extend(captures.iter().map(|path| text(path)));
    let outcome = Launch::new(&args).run();
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let said = outcome.text();
    for words in [
        "conntracker rules --generalize",
        "; expect about",
        "came on one day only, of 7",
        "What comes less often than once in 7 days may not have been seen",
        "end of a month",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    let outcome = Launch::new(["show", "--coverage", text(&captures[0])]).run();
    let said = outcome.text();
    assert!(said.contains("Captures of 1 day can't tell"), "{said}");
}

#[test]
fn rules_for_an_audit_count_and_log() {
    netns::run("rules_for_an_audit_count_and_log", || {
        let folder = Folder::new();
        let rules = folder.join("audit.nft");
        let more = [
            "--counter",
            "--log-denied",
            "--max-rules=8",
            "-o",
            text(&rules),
        ];
        let outcome = generalize(&days(&folder, 1..=7), &more);
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
        assert!(
            format!("{outcome:?}").contains("in 8 rules: there are"),
            "{outcome:?}"
        );
        let ruleset = fs::read_to_string(&rules).expect("it was written");
        assert!(ruleset.contains(" counter accept "), "{ruleset}");
        netns::sh(&format!(
            "nft -f {} && nft list ruleset | grep -q 'group 5'",
            text(&rules)
        ));
    });
}
