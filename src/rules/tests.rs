//! Plans against an independent model: the set of flows that were seen, one by one.

use std::collections::HashMap;
use std::net::IpAddr;

use proptest::prelude::*;

use super::block::Family;
use super::direction::Chain;
use super::group::Matching;
use super::*;
use crate::capture::{Capture, Interface};
use crate::record::{Dnat, Identity, Protocol, Record, Service, SourcePort, Translation};

fn capture() -> Capture {
    let interface = |name: &str, addresses: &[&str]| Interface {
        name: name.to_owned(),
        addresses: addresses
            .iter()
            .map(|address| address.parse().unwrap())
            .collect(),
    };
    Capture {
        interfaces: vec![
            interface("lo", &["127.0.0.1/8", "::1/128"]),
            interface("lan", &["10.0.0.1/24", "fd00::1/64"]),
        ],
        ..Capture::default()
    }
}

/// Addresses close to each other, the gateway's own among them, so that blocks and their neighbours come up.
fn address(v4: bool) -> impl Strategy<Value = IpAddr> {
    (0_u8..2, 0_u8..24).prop_map(move |(net, host)| {
        if v4 {
            IpAddr::from([10, 0, net, host])
        } else {
            IpAddr::from([0xfd00, 0, 0, u16::from(net), 0, 0, 0, u16::from(host)])
        }
    })
}

fn identity() -> impl Strategy<Value = Identity> {
    let protocol = prop_oneof![
        6 => Just(Protocol::TCP), 3 => Just(Protocol::UDP), 1 => Just(Protocol::ICMP),
        1 => Just(Protocol::GRE), 1 => Just(Protocol::SCTP),
    ];
    let sport = prop_oneof![
        8 => Just(SourcePort::Ephemeral), 1 => (120_u16..125).prop_map(SourcePort::Exact),
        1 => (1020_u16..1030).prop_map(SourcePort::Exact),
    ];
    let port = prop_oneof![3 => Just(443_u16), 2 => 80_u16..84, 1 => 1_u16..200];
    (any::<bool>(), protocol, sport, port, any::<u8>()).prop_flat_map(
        |(v4, protocol, sport, port, dice)| {
            (address(v4), address(v4), address(v4)).prop_map(
                move |(source, destination, translated)| {
                    let protocol = match protocol {
                        Protocol::ICMP if !v4 => Protocol::ICMPV6,
                        protocol => protocol,
                    };
                    let ports = protocol.has_ports();
                    let echo = if v4 { 8 } else { 128 };
                    let service = match protocol {
                        _ if ports => Service::Port(port),
                        Protocol::ICMP | Protocol::ICMPV6 if port > 443 => {
                            Service::Icmp(echo + 5, 0)
                        }
                        Protocol::ICMP | Protocol::ICMPV6 => Service::Icmp(echo, 0),
                        _ => Service::None,
                    };
                    Identity {
                        source,
                        destination,
                        protocol,
                        service,
                        source_port: if ports { sport } else { SourcePort::None },
                        zone: if dice == 7 { 3 } else { 0 },
                        netns: None,
                        translation: (dice < 20).then(|| {
                            Box::new(Translation {
                                dnat: Some(Dnat {
                                    address: translated,
                                    port: (ports && dice < 10).then_some(8080),
                                }),
                                snat: None,
                            })
                        }),
                    }
                },
            )
        },
    )
}

fn records() -> impl Strategy<Value = Vec<Record>> {
    let record = (identity(), prop::bool::weighted(0.8), 0_u64..9).prop_map(
        |(identity, confirmed, connections)| Record {
            identity,
            confirmed,
            connections,
            first_seen: None,
            last_seen: None,
            classic: Record::usual_classic(confirmed),
        },
    );
    let record = record.boxed();
    prop_oneof![
        prop::collection::vec(record.clone(), 0..60),
        prop::collection::vec(record, 150..300),
    ]
}

/// What the filter can tell of a packet, worked out by hand and slowly.
type Sight = (Chain, u8, u16, IpAddr, IpAddr, Service);

/// None for what goes over `lo`.
fn sight(identity: &Identity) -> Option<Sight> {
    let own = ["10.0.0.1", "fd00::1"].map(|address| address.parse::<IpAddr>().unwrap());
    let (mut destination, mut service) = (identity.destination, identity.service);
    if let Some(dnat) = identity.dnat() {
        destination = dnat.address;
        if let (Service::Port(_), Some(port)) = (service, dnat.port) {
            service = Service::Port(port);
        }
    }
    let broadcast = |address: IpAddr| address == "10.0.0.255".parse::<IpAddr>().unwrap();
    let chain = if own.contains(&identity.source) {
        if own.contains(&identity.destination) {
            return None;
        }
        Chain::Output
    } else if own.contains(&destination) || broadcast(destination) {
        Chain::Input
    } else {
        Chain::Forward
    };
    let protocol = identity.protocol.0;
    Some((
        chain,
        protocol,
        identity.zone,
        identity.source,
        destination,
        service,
    ))
}

/// Source ports that were seen of each.
#[derive(Default)]
struct Model {
    ports: HashMap<Sight, Vec<(u16, u16)>>,
    zoned: bool,
}

impl Model {
    fn new(records: &[Record], include_unconfirmed: bool) -> Self {
        let mut model = Self {
            zoned: records.iter().any(|record| record.identity.zone != 0),
            ..Self::default()
        };
        for record in records
            .iter()
            .filter(|record| record.confirmed || include_unconfirmed)
        {
            let Some(sight) = sight(&record.identity) else {
                continue;
            };
            let ports = model.ports.entry(sight).or_default();
            match record.identity.source_port {
                SourcePort::None => ports.push((0, 0)),
                SourcePort::Exact(port) => ports.push((port, port)),
                SourcePort::Ephemeral => ports.push((1024, u16::MAX)),
            }
        }
        model
    }

    fn has_seen(&self, identity: &Identity) -> bool {
        let Some(sight) = sight(identity) else {
            return true;
        };
        let sport = match identity.source_port {
            SourcePort::None => 0,
            SourcePort::Exact(port) => port,
            SourcePort::Ephemeral => panic!("probes have a port"),
        };
        let zone = if self.zoned { sight.2 } else { 0 };
        let sight = (sight.0, sight.1, zone, sight.3, sight.4, sight.5);
        let ranges = self.ports.get(&sight).into_iter().flatten();
        ranges
            .into_iter()
            .any(|(first, last)| (first..=last).contains(&&sport))
    }
}

/// A flow and its neighbours: another host just beside, another port, protocol, direction, source port.
fn neighbours(identity: &Identity) -> Vec<Identity> {
    let mut all = Vec::new();
    let mut push = |change: &dyn Fn(&mut Identity)| {
        let mut probe = identity.clone();
        if probe.source_port == SourcePort::Ephemeral {
            probe.source_port = SourcePort::Exact(40_000);
        }
        change(&mut probe);
        all.push(probe);
    };
    let step = |address: IpAddr, by: i128| match address {
        IpAddr::V4(v4) => IpAddr::from((v4.to_bits().wrapping_add(by as u32)).to_be_bytes()),
        IpAddr::V6(v6) => IpAddr::from((v6.to_bits().wrapping_add(by as u128)).to_be_bytes()),
    };
    push(&|_| {});
    for by in [-16, -2, -1, 1, 2, 16] {
        push(&|probe| probe.source = step(probe.source, by));
        push(&|probe| {
            probe.translation = None;
            probe.destination = step(probe.destination, by);
        });
        push(&|probe| {
            if let Service::Port(port) = &mut probe.service {
                *port = port.wrapping_add(by as u16);
            }
        });
    }
    push(&|probe| probe.translation = None);
    push(&|probe| probe.zone = 9);
    push(&|probe| {
        probe.translation = None;
        std::mem::swap(&mut probe.source, &mut probe.destination);
    });
    for port in [122, 1023, 1024, 1025, u16::MAX] {
        push(&|probe| {
            if probe.protocol.has_ports() {
                probe.source_port = SourcePort::Exact(port);
            }
        });
    }
    push(&|probe| match probe.protocol {
        Protocol::TCP => probe.protocol = Protocol::UDP,
        Protocol::UDP | Protocol::SCTP => probe.protocol = Protocol::TCP,
        Protocol::GRE => probe.protocol = Protocol(50),
        _ => probe.service = Service::Icmp(15, 0),
    });
    all
}

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
            // Where several rules hold a source port, one may list what another has seen.
            let shared = matches!(probe.source_port, SourcePort::Exact(1024..1030));
            prop_assert!(!expected || !listed || shared, "{probe:?} is listed");
            prop_assert!(
                options.widen > 0 || admitted == expected,
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
    fn no_two_elements_of_a_list_overlap(records in prop::collection::vec(records(), 3), widen in 0_u8..60) {
        let records: Vec<Record> = records.into_iter().flatten().collect();
        let plan = plan(&[capture()], &records, &Options { widen, ..Options::default() });
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
        identity: Identity {
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
            protocol: Protocol::TCP,
            service: Service::Port(port),
            source_port: SourcePort::Ephemeral,
            zone: 0,
            netns: None,
            translation: None,
        },
        confirmed: true,
        connections: 1,
        first_seen: None,
        last_seen: None,
        classic: Record::usual_classic(true),
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
        services: crate::services::Services::parse("a\"b 443/tcp\n"),
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
