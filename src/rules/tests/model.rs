//! What was seen, one flow by one.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::model::record::{Identity, Record, Service, SourcePort};
use crate::rules::direction::Chain;
use crate::rules::rule::Rule;

/// What the filter can tell of a packet, worked out by hand and slowly.
type Sight = (Chain, u8, u16, IpAddr, IpAddr, Service, bool);

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
        identity.dnat().is_some(),
    ))
}

/// Source ports that were seen of each.
#[derive(Default)]
pub(super) struct Model {
    ports: HashMap<Sight, Vec<(u16, u16)>>,
    zoned: bool,
}

impl Model {
    pub(super) fn new(records: &[Record], include_unconfirmed: bool) -> Self {
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

    /// Whether it was seen from each of the rule's ports too, with which it shares all else, and translated if the rule is
    /// for translated flows.
    pub(super) fn has_seen_from_all(&self, identity: &Identity, rule: &Rule) -> bool {
        if rule.sports.is_empty() {
            return self.has_seen_so(identity, &[rule.translated]);
        }
        let mut ports = rule
            .sports
            .iter()
            .flat_map(|range| range.first..=range.last);
        ports.all(|port| {
            let identity = Identity {
                source_port: SourcePort::Exact(port),
                ..identity.clone()
            };
            self.has_seen_so(&identity, &[rule.translated])
        })
    }

    pub(super) fn has_seen(&self, identity: &Identity) -> bool {
        // What came to the same place without translation may come there with it; not the other way round.
        match identity.dnat() {
            None => self.has_seen_so(identity, &[false]),
            Some(_) => self.has_seen_so(identity, &[false, true]),
        }
    }

    /// Whether it was seen, translated or not.
    fn has_seen_so(&self, identity: &Identity, translated: &[bool]) -> bool {
        let Some(sight) = sight(identity) else {
            return true;
        };
        let sport = match identity.source_port {
            SourcePort::None => 0,
            SourcePort::Exact(port) => port,
            SourcePort::Ephemeral => panic!("probes have a port"),
        };
        let zone = if self.zoned { sight.2 } else { 0 };
        let ranges = translated.iter().flat_map(|&translated| {
            let sight = (
                sight.0, sight.1, zone, sight.3, sight.4, sight.5, translated,
            );
            self.ports.get(&sight).into_iter().flatten()
        });
        ranges
            .into_iter()
            .any(|(first, last)| (first..=last).contains(&&sport))
    }
}
