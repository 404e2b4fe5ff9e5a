//! What a flow's packets may look like to a rule: addresses and ports before and after translation.

use std::net::IpAddr;

use super::stage::{Seen, Stage};
use crate::check::shape::{Condition, Field, Shape, Values, number_of};
use crate::check::verdict::Verdict;
use crate::model::record::{Protocol, Record, Service, SourcePort};

/// Packets of one direction of a flow.
#[derive(Clone, Debug)]
pub(super) struct Sight {
    protocol: Protocol,
    sources: Vec<IpAddr>,
    destinations: Vec<IpAddr>,
    /// Ports, as ranges: of clients it is often not known which one they had. Empty where there are none.
    source_ports: Vec<(u128, u128)>,
    destination_ports: Vec<(u128, u128)>,
    icmp: Option<u128>,
}

impl Sight {
    /// That of the first direction, or of answers, as a chain of this stage sees it.
    pub fn new(record: &Record, verdict: Option<&Verdict>, answer: bool, stage: Stage) -> Self {
        let identity = &record.identity;
        let port = |port: u16| (u128::from(port), u128::from(port));
        let any = (0, u128::from(u16::MAX));
        let mut icmp = None;
        let (source_port, destination_port) = match identity.service {
            Service::Port(number) => {
                let source_port = match identity.source_port {
                    SourcePort::Exact(number) => port(number),
                    _ => any,
                };
                (Some(source_port), Some(port(number)))
            }
            Service::Icmp(kind, _) => {
                icmp = Some(u128::from(kind));
                (None, None)
            }
            Service::None => (None, None),
        };
        let before = [
            (identity.source, source_port),
            (identity.destination, destination_port),
        ];
        let has_ports = identity.protocol.has_ports();
        let exit = verdict.and_then(|verdict| verdict.exit.as_ref());
        let after = match exit.map(|exit| exit.translated.as_deref()) {
            // It is known what became of the packets.
            Some(None) => before,
            Some(Some(tuple)) => [
                (tuple.source, has_ports.then_some(any)),
                (
                    tuple.destination,
                    has_ports.then(|| port(tuple.destination_port)),
                ),
            ],
            None => [
                identity
                    .snat()
                    .map_or(before[0], |snat| (snat.address, has_ports.then_some(any))),
                identity.dnat().map_or(before[1], |dnat| {
                    (dnat.address, dnat.port.map(port).or(destination_port))
                }),
            ],
        };
        let ends = [0, 1].map(|end| {
            let both = [before[end], after[end]];
            match [stage.source, stage.destination][end] {
                Seen::Before => both[..1].to_vec(),
                Seen::After => both[1..].to_vec(),
                Seen::Either if both[0] == both[1] => both[..1].to_vec(),
                Seen::Either => both.to_vec(),
            }
        });
        let addresses = |end: &[(IpAddr, _)]| end.iter().map(|(address, _)| *address).collect();
        let ports =
            |end: &[(_, Option<(u128, u128)>)]| end.iter().filter_map(|(_, port)| *port).collect();
        let [mut sources, mut destinations]: [Vec<IpAddr>; 2] =
            ends.each_ref().map(|end| addresses(end));
        let [mut source_ports, mut destination_ports]: [Vec<_>; 2] =
            ends.each_ref().map(|end| ports(end));
        if answer {
            std::mem::swap(&mut sources, &mut destinations);
            std::mem::swap(&mut source_ports, &mut destination_ports);
            // The kinds of answers (`invmap`, net/netfilter/nf_conntrack_proto_icmp.c and nf_conntrack_proto_icmpv6.c).
            icmp = icmp.map(|kind| match kind {
                8 => 0,
                13 | 15 | 17 | 128 | 139 => kind + 1,
                other => other,
            });
        }
        Self {
            protocol: identity.protocol,
            sources,
            destinations,
            source_ports,
            destination_ports,
            icmp,
        }
    }

    /// The values of a field, as ranges; `None` if nothing is known of it.
    pub fn values(&self, field: Field) -> Option<Vec<(u128, u128)>> {
        let addresses = |list: &[IpAddr], v4: bool| {
            let same = list.iter().filter(|address| address.is_ipv4() == v4);
            same.map(|address| (number_of(*address), number_of(*address)))
                .collect()
        };
        let one = |number: u128| vec![(number, number)];
        Some(match field {
            Field::Family => one(if self.sources[0].is_ipv4() { 4 } else { 6 }),
            Field::Source4 => addresses(&self.sources, true),
            Field::Source6 => addresses(&self.sources, false),
            Field::Destination4 => addresses(&self.destinations, true),
            Field::Destination6 => addresses(&self.destinations, false),
            Field::Protocol => one(self.protocol.0.into()),
            Field::SourcePort => self.source_ports.clone(),
            Field::DestinationPort => self.destination_ports.clone(),
            Field::Icmp4 | Field::Icmp6 => self.icmp.map(one).unwrap_or_default(),
            Field::State | Field::In | Field::Out => return None,
        })
    }

    /// Whether such a packet may meet a condition.
    pub fn may_be(&self, condition: &Condition) -> bool {
        let Values::Numbers(ranges) = &condition.values else {
            return true;
        };
        let Some(values) = self.values(condition.field) else {
            return true;
        };
        values.iter().any(|(first, last)| {
            ranges
                .iter()
                .any(|(begin, end)| begin <= *last && *first <= end)
        })
    }

    /// Whether such a packet may meet all that is known of what a rule asks for.
    pub fn may_meet(&self, shape: &Shape) -> bool {
        shape
            .conditions
            .iter()
            .all(|condition| self.may_be(condition))
            && { shape.branches.iter() }
                .any(|(conditions, _)| conditions.iter().all(|condition| self.may_be(condition)))
    }
}
