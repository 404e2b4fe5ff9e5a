//! Generalized rules as a whole, of captures of some days.

use super::*;
use crate::model::capture::{Interface, Route};
use crate::model::record::Identity;
use crate::model::timestamp::Timestamp;
use crate::model::tuple::Tuple;
use crate::rules::nft;

const DAY_US: u64 = 86_400_000_000;

fn captures(days: u64) -> Vec<Capture> {
    let interface = |name: &str, addresses: &[&str]| Interface {
        name: name.to_owned(),
        addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
        ..Interface::default()
    };
    let route = |to: &str| Route {
        destination: to.parse().unwrap(),
        gateway: None,
        interface: "wan0".to_owned(),
    };
    let capture = |day: u64| Capture {
        start: Timestamp::from_us(1 + day * DAY_US),
        end: Timestamp::from_us(day * DAY_US + DAY_US),
        interfaces: vec![
            interface("lan0", &["10.1.0.1/24", "fe80::1/64", "fd01::1/64"]),
            interface("wan0", &["203.0.113.2/30", "fe80::2/64"]),
        ],
        routes: vec![route("0.0.0.0/0"), route("::/0")],
        ..Capture::default()
    };
    (0..days).map(capture).collect()
}

fn record(source: &str, destination: &str, port: u16, days: (u64, u64)) -> Record {
    let time = |day: u64| Timestamp::from_us(1 + day * DAY_US + DAY_US / 2);
    Record {
        connections: 1,
        first_seen: time(days.0),
        last_seen: time(days.1),
        ..Record::new(Identity::of(&Tuple::tcp(source, destination, port)), true)
    }
}

/// Clients that all went to one server, a new one each day.
fn clients(days: u64, contradictory: bool) -> Vec<Record> {
    let record = |client: u64| {
        let day = client % days;
        let until = if contradictory && day > 0 { 0 } else { day };
        record(
            &format!("10.1.0.{}", 20 + client),
            "198.51.100.9",
            443,
            (day, until),
        )
    };
    (0..days * 2).map(record).collect()
}

fn plan_of(captures: &[Capture], records: &[Record]) -> Plan {
    generalize(captures, records, &Options::default(), &Aim::default())
}

fn ruleset(plan: &Plan) -> String {
    let mut text = Vec::new();
    nft::write(plan, "t", &mut text).unwrap();
    String::from_utf8(text).unwrap()
}

#[test]
fn times_that_can_not_be_are_named_and_speak_for_nobody() {
    let plan = plan_of(&captures(7), &clients(7, false));
    let warns = |plan: &Plan, words: &str| plan.warnings.iter().any(|one| one.contains(words));
    assert!(!warns(&plan, "last time") && !warns(&plan, "ends at"));
    assert!(
        ruleset(&plan)
            .contains("iifname \"lan0\" oifname \"wan0\" ip daddr 198.51.100.9 tcp dport 443")
    );
    let records = clients(7, true);
    let plan = plan_of(&captures(7), &records);
    assert!(
        warns(&plan, "12 flows were seen first after the last time"),
        "{:?}",
        plan.warnings
    );
    let text = ruleset(&plan);
    // Each has a rule all the same, and its network has none.
    assert!(
        !text.contains("oifname \"wan0\" ip daddr 198.51.100.9"),
        "{text}"
    );
    let host = plan.host();
    let general = plan.general.as_ref().unwrap();
    let filter = Filter::new(general, &plan.options.by_hand);
    let (_, accepted, _) = Flows::sort_out(&records, host, &plan.options, true);
    assert_eq!(accepted.len(), records.len());
    for (seen, _, index) in &accepted {
        assert!(filter.accepts(seen, &records[*index]), "{seen:?}");
    }
    let mut turned = captures(7);
    let (start, end) = (turned[3].start, turned[3].end);
    (turned[3].start, turned[3].end) = (end, start);
    let plan = plan_of(&turned, &clients(7, false));
    assert!(
        warns(&plan, "a capture ends at 1970-01-04"),
        "{:?}",
        plan.warnings
    );
}

#[test]
fn flows_that_the_rules_would_stop_are_named_before_anything_else() {
    let records = clients(7, false);
    let mut plan = plan_of(&captures(7), &records);
    let general = plan.general.as_mut().unwrap();
    general.rules.clear();
    let (_, accepted, _) = Flows::sort_out(&records, plan.host(), &plan.options, true);
    let accepted: Vec<_> = accepted
        .into_iter()
        .map(|(seen, _, at)| (seen, at))
        .collect();
    let general = plan.general.as_ref().unwrap();
    let warning = stopped(general, &plan.options, &accepted, &records).unwrap();
    assert!(
        warning.starts_with("these rules would stop 14 flows that they were made of"),
        "{warning}"
    );
    assert!(
        warning.contains("forward: 10.1.0.20 to 198.51.100.9, tcp port 443"),
        "{warning}"
    );
    let open = Options {
        policies: crate::rules::Policies([Policy::Accept; 3]),
        ..Options::default()
    };
    assert_eq!(stopped(general, &open, &accepted, &records), None);
}

#[test]
fn what_is_for_link_local_clients_is_for_none_on_the_internet_side() {
    let mut records: Vec<Record> = (0..8)
        .map(|client| {
            record(
                &format!("fe80::{client:x}00"),
                "fe80::1",
                853,
                (client % 7, 6),
            )
        })
        .collect();
    records.push(record("10.1.0.9", "198.51.100.9", 443, (0, 6)));
    let text = ruleset(&plan_of(&captures(7), &records));
    let lines: Vec<&str> = text.lines().filter(|line| line.contains("853")).collect();
    assert!(
        !lines.is_empty()
            && lines
                .iter()
                .all(|line| line.contains("iifname != \"wan0\" ")),
        "{text}"
    );
    // A host with one interface has no other.
    let mut single = captures(7);
    for capture in &mut single {
        capture.interfaces.remove(0);
        capture.interfaces[0]
            .addresses
            .push("fe80::1/64".parse().unwrap());
    }
    let text = ruleset(&plan_of(&single, &records));
    assert!(
        text.contains("853") && !text.contains("iifname !="),
        "{text}"
    );
}

/// Some clients that go to another site each day and client, and what else they do.
fn browsing(also: impl Fn(u64, &str) -> Vec<Record>) -> Vec<Record> {
    let mut records = Vec::new();
    for day in 0..7 {
        for client in 0..4 {
            let source = format!("10.1.0.{}", 20 + client);
            for site in 0..3 {
                let site = format!("{}.{day}.{site}.9", 20 + client * 31);
                records.push(record(&source, &site, 443, (day, day)));
            }
            records.extend(also(day, &source));
        }
    }
    records
}

#[test]
fn whoever_uses_the_encrypted_web_everywhere_may_use_the_plain_one() {
    let plain = |day: u64, source: &str| match (day, source) {
        (4, "10.1.0.20") => vec![record(source, "77.1.1.1", 80, (4, 4))],
        (5, "10.1.0.21") => vec![record(source, "88.1.1.1", 80, (5, 5))],
        (6, "10.1.0.21") => vec![record(source, "99.1.1.1", 80, (6, 6))],
        _ => Vec::new(),
    };
    let both = browsing(plain);
    let alone: Vec<Record> = { both.iter() }
        .filter(|record| record.identity.service != Service::Port(443))
        .cloned()
        .collect();
    let text = ruleset(&plan_of(&captures(7), &both));
    assert!(
        text.contains("oifname \"wan0\" meta nfproto ipv4 tcp dport 80 accept"),
        "{text}"
    );
    let text = ruleset(&plan_of(&captures(7), &alone));
    assert!(!text.contains("ipv4 tcp dport 80 accept"), "{text}");
    assert!(text.contains("99.1.1.1"), "{text}");
}

#[test]
fn leased_addresses_are_no_condition_of_what_may_go_everywhere() {
    let none = browsing(|_, _| Vec::new());
    let leases = browsing(|day, source| {
        let asked = Tuple {
            protocol: Protocol::UDP,
            ..Tuple::tcp(source, "10.1.0.1", 67)
        };
        vec![Record {
            identity: Identity::of(&asked),
            ..record(source, "10.1.0.1", 67, (day, day))
        }]
    });
    let text = ruleset(&plan_of(&captures(7), &leases));
    assert!(
        text.contains("oifname \"wan0\" meta nfproto ipv4 tcp dport 443 accept"),
        "{text}"
    );
    let text = ruleset(&plan_of(&captures(7), &none));
    assert!(
        text.contains("oifname \"wan0\" ip saddr 10.1.0.20/30 tcp dport 443 accept"),
        "{text}"
    );
}
