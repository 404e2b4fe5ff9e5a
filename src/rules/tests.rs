//! Plans against an independent model: the set of flows that were seen, one by one.

mod generated;
mod model;
mod origins;

use proptest::prelude::*;

use super::block::Family;
use super::by_hand::{ByHand, End, Given, Wanted};
use super::direction::Chain;
use super::group::Matching;
use super::*;
use crate::model::capture::Capture;
use crate::model::record::{Identity, Protocol, Record, SourcePort};
use crate::model::tuple::Tuple;

use generated::{capture, neighbours, records};
use model::Model;

/// Around some of the addresses, all of one family, and one within another.
const NETWORKS: [&str; 6] = [
    "10.0.0.0/28",
    "10.0.0.8/29",
    "10.0.1.16/29",
    "0.0.0.0/0",
    "fd00::/64",
    "fd00:0:0:1::/124",
];

fn check(records: &[Record], options: &Options) -> Result<(), TestCaseError> {
    let plan = plan(&[capture()], records, options);
    let model = Model::new(records, options.include_unconfirmed);
    for record in records {
        if record.confirmed || options.include_unconfirmed {
            prop_assert!(
                plan.admits(&record.identity).is_some(),
                "{:?} is refused",
                record.identity
            );
        }
        for probe in neighbours(&record.identity) {
            let admitted = plan.admits(&probe).is_some();
            let expected = model.has_seen(&probe);
            prop_assert!(admitted || !expected, "{probe:?} is refused");
            let listed = plan.lists_as_extra(&probe);
            prop_assert!(
                expected || admitted == listed,
                "{probe:?} is admitted: {admitted}"
            );
            // A rule may list a host that was seen from some only of the rule's source ports.
            let mut listing = plan.listing(&probe).filter(|_| expected);
            prop_assert!(
                listing.all(|rule| !model.has_seen_from_all(&probe, rule)),
                "{probe:?} is listed"
            );
            prop_assert!(
                options.widen > 0 || !options.by_hand.0.is_empty() || admitted == expected,
                "{probe:?} is admitted"
            );
        }
    }
    let carried = plan.carried().flows + plan.missing().flows;
    prop_assert_eq!(carried, records.len() as u64);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_was_seen_is_accepted_and_nothing_else(records in records(), include_unconfirmed: bool) {
        check(&records, &Options { include_unconfirmed, ..Options::default() })?;
    }

    #[test]
    fn what_widening_admits_is_listed(records in records(), widen in 1_u8..100) {
        check(&records, &Options { widen, ..Options::default() })?;
    }

    #[test]
    fn what_networks_of_clients_admit_is_listed(
        records in records(),
        clients in prop::sample::subsequence(NETWORKS.to_vec(), 1..=3),
        widen in prop_oneof![2 => Just(0_u8), 1 => 1_u8..60],
    ) {
        let clients = clients.into_iter().map(|net| net.parse().unwrap()).collect();
        check(&records, &Options { widen, by_hand: ByHand::clients(clients), ..Options::default() })?;
    }

    #[test]
    fn what_is_given_by_hand_for_some_services_admits_is_listed(
        records in records(),
        given in prop::collection::vec((
            any::<bool>(), prop::sample::select(vec![None, Some((None, 443)), Some((None, 81)), Some((Some(Protocol::UDP), 443))]),
            prop::sample::subsequence(NETWORKS.to_vec(), 1..=2),
        ), 1..4),
        widen in prop_oneof![2 => Just(0_u8), 1 => 1_u8..60],
    ) {
        let given = given.into_iter().map(|(clients, service, networks)| Given {
            end: if clients { End::Clients } else { End::Servers },
            services: service.into_iter().map(|(protocol, port)| Wanted::Port(protocol, port)).collect(),
            networks: networks.into_iter().map(|net| net.parse().unwrap()).collect(),
            text: String::new(),
        });
        let by_hand = ByHand(given.collect());
        check(&records, &Options { widen, by_hand, ..Options::default() })?;
    }

    #[test]
    fn the_order_of_the_flows_does_not_matter(mut records in records(), widen in prop_oneof![Just(0_u8), Just(30)]) {
        let options = Options { widen, ..Options::default() };
        let text = |records: &[Record]| {
            let plan = plan(&[capture()], records, &options);
            let mut text = Vec::new();
            nft::write(&plan, nft::TABLE, &mut text).unwrap();
            iptables::write(&plan, iptables::Families::Both, &mut text).unwrap();
            report::write(&plan, &mut text).unwrap();
            String::from_utf8(text).unwrap()
        };
        let before = text(&records);
        records.reverse();
        prop_assert_eq!(before, text(&records));
    }

    #[test]
    fn no_two_elements_of_a_list_overlap(
        records in prop::collection::vec(records(), 3),
        widen in 0_u8..60,
        clients in prop::sample::subsequence(NETWORKS.to_vec(), 0..=3),
    ) {
        let records: Vec<Record> = records.into_iter().flatten().collect();
        let plan = plan(&[capture()], &records, &Options { widen, by_hand: ByHand::clients(clients.into_iter().map(|net| net.parse().unwrap()).collect()), ..Options::default() });
        for rule in &plan.rules {
            let Matching::Listed(elements) = &rule.matching else { continue };
            for pair in elements.windows(2) {
                let same = |element: &group::Element| (element.service, element.destination, element.sports);
                prop_assert!(pair[0] < pair[1]);
                prop_assert!(same(&pair[0]) != same(&pair[1]) || pair[0].source.last() < pair[1].source.first());
            }
        }
    }
}

fn tcp(source: &str, destination: &str, port: u16) -> Record {
    Record {
        connections: 1,
        ..Record::new(Identity::of(&Tuple::tcp(source, destination, port)), true)
    }
}

#[test]
fn clients_of_one_service_share_a_rule() {
    let clients = (16..32).map(|host| tcp(&format!("10.0.0.{host}"), "10.2.0.2", 443));
    let plan = plan(
        &[capture()],
        &clients.collect::<Vec<_>>(),
        &Options::default(),
    );
    let [rule] = plan.rules.as_slice() else {
        panic!("{:?}", plan.rules);
    };
    let Matching::Product { sources, .. } = &rule.matching else {
        panic!("{rule:?}");
    };
    assert_eq!(sources.len(), 1);
    assert_eq!(sources[0].show(Family::V4).to_string(), "10.0.0.16/28");
}

#[test]
fn scattered_flows_make_few_rules() {
    let flows: Vec<Record> = (0..20_000_u32)
        .map(|i| {
            let mixed = i.wrapping_mul(2_654_435_761);
            let source = format!("10.1.{}.{}", mixed >> 24, mixed >> 16 & 255);
            let destination = format!("192.0.{}.{}", mixed >> 8 & 255, i % 251);
            tcp(
                &source,
                &destination,
                [443, 80, 22, (i % 1000) as u16 + 1][i as usize % 4],
            )
        })
        .collect();
    let plan = plan(&[capture()], &flows, &Options::default());
    assert!(plan.rules.len() < 300, "{}", plan.rules.len());
    assert_eq!(plan.carried().flows, 20_000);
}

#[test]
fn without_local_addresses_only_forward_is_filtered() {
    let plan = plan(&[], &[tcp("10.0.0.2", "10.0.0.1", 22)], &Options::default());
    assert_eq!(plan.chains, [Chain::Forward]);
    assert!(
        plan.warnings
            .iter()
            .any(|warning| warning.contains("--local"))
    );
}

#[test]
fn a_network_of_clients_gets_rules_as_a_whole() {
    let records: Vec<Record> = (5..9)
        .map(|host| tcp(&format!("10.0.0.{host}"), "192.0.2.1", 443))
        .chain([
            tcp("10.0.0.77", "192.0.2.2", 443),
            tcp("10.0.0.77", "10.0.0.1", 22),
            tcp("10.0.7.1", "192.0.2.1", 443),
            tcp("10.0.0.1", "192.0.2.9", 53),
        ])
        .collect();
    let options = Options {
        by_hand: ByHand::clients(vec!["10.0.0.0/24".parse().unwrap()]),
        ..Options::default()
    };
    let plan = plan(&[capture()], &records, &options);
    let admits = |source: &str, destination: &str, port: u16| {
        plan.admits(&tcp(source, destination, port).identity)
            .is_some()
    };
    assert!(admits("10.0.0.200", "192.0.2.1", 443) && admits("10.0.0.200", "192.0.2.2", 443));
    assert!(admits("10.0.0.200", "10.0.0.1", 22));
    assert!(!admits("10.0.0.200", "192.0.2.1", 80) && !admits("10.0.1.5", "192.0.2.1", 443));
    assert!(admits("10.0.7.1", "192.0.2.1", 443) && !admits("10.0.7.2", "192.0.2.1", 443));
    let mut text = Vec::new();
    report::write(&plan, &mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    for listed in [
        "forward: tcp port 443, 10.0.0.0/24 except 10.0.0.5, 10.0.0.6/31, 10.0.0.8 to 192.0.2.1",
        "input: tcp port 22, 10.0.0.0/24 except 10.0.0.77 to 10.0.0.1",
    ] {
        assert!(text.contains(listed), "{text}");
    }
    // The gateway's own address stands for nobody else.
    assert!(!text.contains("output: tcp port 53, 10.0.0.0"), "{text}");
}

#[test]
fn a_client_of_another_rule_is_not_listed_as_unseen() {
    let mut privileged = tcp("10.0.0.9", "192.0.2.1", 443);
    privileged.identity.source_port = SourcePort::Exact(700);
    let both = tcp("10.0.0.9", "192.0.2.1", 443);
    let other = tcp("10.0.0.5", "192.0.2.1", 443);
    let mut elsewhere = privileged.clone();
    elsewhere.identity.source = "10.0.0.6".parse().unwrap();
    let options = Options {
        by_hand: ByHand::clients(vec!["10.0.0.0/28".parse().unwrap()]),
        ..Options::default()
    };
    let plan = plan(
        &[capture()],
        &[privileged, both, other, elsewhere],
        &options,
    );
    let mut text = Vec::new();
    report::write(&plan, &mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    let lists = |except: &str| {
        let line = format!("tcp port 443, 10.0.0.0/28 except {except} to 192.0.2.1\n");
        text.contains(&line)
    };
    // From port 700, from unprivileged ones, and from both.
    for except in ["10.0.0.6, 10.0.0.9", "10.0.0.5, 10.0.0.9", "10.0.0.9"] {
        assert!(lists(except), "{except}: {text}");
    }
}

#[test]
fn a_gateway_that_would_be_cut_off_is_warned_of() {
    let warned = |records: &[Record], of: &str| {
        let warnings = plan(&[capture()], records, &Options::default()).warnings;
        warnings.iter().any(|warning| warning.contains(of))
    };
    let [to, from] = [
        "no flow to the gateway itself",
        "no flow from the gateway itself",
    ];
    let through = tcp("10.0.0.2", "192.0.2.1", 443);
    assert!(
        [to, from]
            .iter()
            .all(|of| warned(std::slice::from_ref(&through), of))
    );
    let administered = [tcp("10.0.0.2", "10.0.0.1", 22)];
    assert!(!warned(&administered, to) && warned(&administered, from));
    let asking = [tcp("10.0.0.1", "192.0.2.1", 53)];
    assert!(warned(&asking, to) && !warned(&asking, from));
}

#[test]
fn requests_to_all_hosts_are_accepted_if_asked_for() {
    let mut request = tcp("0.0.0.0", "255.255.255.255", 67);
    request.identity.protocol = Protocol::UDP;
    request.confirmed = false;
    let rules = |include_multicast| {
        let options = Options {
            include_multicast,
            ..Options::default()
        };
        plan(&[capture()], std::slice::from_ref(&request), &options).rules
    };
    assert!(rules(false).is_empty());
    let [rule] = &rules(true)[..] else {
        panic!("one rule");
    };
    assert_eq!(rule.chain, Chain::Input);
}

#[test]
fn ports_that_the_kernel_does_not_know_are_no_condition() {
    let mut record = tcp("10.0.0.2", "10.2.0.2", 0);
    record.identity.protocol = Protocol::DCCP;
    record.identity.source_port = SourcePort::Exact(0);
    let plan = plan(&[capture()], &[record], &Options::default());
    let mut text = Vec::new();
    nft::write(&plan, nft::TABLE, &mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    let rule = "ip saddr 10.0.0.2 ip daddr 10.2.0.2 meta l4proto 33 accept";
    assert!(text.contains(rule), "{text}");
}

#[test]
fn flows_of_other_namespaces_are_left_out() {
    let mut record = tcp("10.0.0.2", "10.2.0.2", 443);
    record.identity.netns = Some("blue".into());
    let plan = plan(&[capture()], &[record], &Options::default());
    assert!(plan.rules.is_empty());
    assert_eq!(plan.missing().flows, 1);
}

#[test]
fn kept_source_ports_do_not_multiply_rules() {
    let flows: Vec<Record> = (0..3000_u16)
        .map(|i| {
            let mut record = tcp(&format!("10.0.0.{}", 2 + i % 50), "10.2.0.2", 443);
            record.identity.source_port = SourcePort::Exact(20_000 + i * 7 % 9973);
            record
        })
        .collect();
    let plan = plan(&[capture()], &flows, &Options::default());
    assert!(plan.rules.len() < 100, "{}", plan.rules.len());
}

#[test]
fn nothing_from_a_capture_escapes_its_comment() {
    let capture = Capture {
        host: Some("gw\"; } }\nflush ruleset\n\\".into()),
        filters: vec!["--net=\u{7}\n-A INPUT -j ACCEPT".into()],
        ..capture()
    };
    let options = Options {
        services: crate::model::services::Services::parse("a\"b 443/tcp\n"),
        ..Options::default()
    };
    let plan = plan(&[capture], &[tcp("10.0.0.2", "10.2.0.2", 443)], &options);
    let mut text = Vec::new();
    nft::write(&plan, nft::TABLE, &mut text).unwrap();
    iptables::write(&plan, iptables::Families::Both, &mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    assert!(
        text.bytes()
            .all(|byte| byte == b'\n' || byte == b'\t' || (b' '..=b'~').contains(&byte))
    );
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        assert!(
            !line.contains("flush") && !line.starts_with("-A INPUT -j ACCEPT"),
            "{line}"
        );
    }
}
