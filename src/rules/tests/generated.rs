//! Captures and flows made up, and the neighbours of a flow.

use std::net::IpAddr;

use proptest::prelude::*;

use crate::model::capture::{Capture, Interface};
use crate::model::record::{Dnat, Identity, Protocol, Record, Service, SourcePort, Translation};
use crate::model::selection::SourcePorts;

pub(super) fn capture() -> Capture {
    let interface = |name: &str, addresses: &[&str]| Interface {
        name: name.to_owned(),
        addresses: addresses
            .iter()
            .map(|address| address.parse().unwrap())
            .collect(),
        ..Interface::default()
    };
    Capture {
        interfaces: vec![
            interface("lo", &["127.0.0.1/8", "::1/128"]),
            interface("lan", &["10.0.0.1/24", "fd00::1/64"]),
        ],
        // Privileged source ports are what they are.
        options: vec![SourcePorts::KEPT.to_owned()],
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

pub(super) fn records() -> impl Strategy<Value = Vec<Record>> {
    let record = (identity(), prop::bool::weighted(0.8), 0_u64..9).prop_map(
        |(identity, confirmed, connections)| Record {
            connections,
            ..Record::new(identity, confirmed)
        },
    );
    let record = record.boxed();
    prop_oneof![
        prop::collection::vec(record.clone(), 0..60),
        prop::collection::vec(record, 150..300),
    ]
}

/// A flow and its neighbours: another host just beside, another port, protocol, direction, source port.
pub(super) fn neighbours(identity: &Identity) -> Vec<Identity> {
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
