//! What a flow's packets may look like to a rule: addresses and ports before and after translation.

use std::net::IpAddr;

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
    /// That of the first direction, or of answers.
    pub fn new(record: &Record, verdict: Option<&Verdict>, answer: bool) -> Self {
        let identity = &record.identity;
        let mut sources = vec![identity.source];
        let mut destinations = vec![identity.destination];
        let port = |port: u16| (u128::from(port), u128::from(port));
        let (mut source_ports, mut destination_ports) = (Vec::new(), Vec::new());
        let mut icmp = None;
        match identity.service {
            Service::Port(number) => {
                destination_ports.push(port(number));
                source_ports.push(match identity.source_port {
                    SourcePort::Exact(number) => port(number),
                    _ => (0, u16::MAX.into()),
                });
            }
            Service::Icmp(kind, _) => icmp = Some(u128::from(kind)),
            Service::None => {}
        }
        if let Some(dnat) = identity.dnat() {
            destinations.push(dnat.address);
            destination_ports.extend(dnat.port.map(port));
        }
        if let Some(snat) = identity.snat() {
            sources.push(snat.address);
            if identity.protocol.has_ports() {
                source_ports.push((0, u16::MAX.into()));
            }
        }
        let exit = verdict.and_then(|verdict| verdict.exit.as_ref());
        if let Some(tuple) = exit.and_then(|exit| exit.translated.as_deref()) {
            sources.push(tuple.source);
            destinations.push(tuple.destination);
            if identity.protocol.has_ports() {
                source_ports.push((0, u16::MAX.into()));
                destination_ports.push(port(tuple.destination_port));
            }
        }
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
