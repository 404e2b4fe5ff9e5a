//! What was seen of each service: who used it, whom it went to, and on which day that was new.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use super::busy::{Busy, Place};
use super::days::Days;
use super::join;
use super::links::{Links, NetworkId, ZoneId};
use super::sensitive::Sensitive;
use crate::model::capture::Capture;
use crate::model::record::{Protocol, Record, Service};
use crate::rules::block::{Block, Family, number};
use crate::rules::by_hand::{ByHand, End, Lookup};
use crate::rules::direction::{Chain, Host};
use crate::rules::seen::Seen;

/// What a service's flows go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Target {
    /// Addresses that the ladder is for.
    Addresses,
    /// An address of the gateway's own, whichever it has.
    Own,
    /// This multicast or broadcast address, as a number.
    Group(u128),
    /// What the host makes of this address and port (DNAT). Without an address: of any, where there were many.
    Translated(Option<u128>, Option<u16>),
}

/// How a service is told from others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// By its protocol and port, or type.
    #[default]
    Plain,
    /// By its port, over TCP and UDP alike.
    Both,
    /// All ports from one to another, both of them high, but for sensitive ones.
    High(u16, u16),
    /// By the source port: what answers a request to a group, or asks for an address.
    From(u16),
}

/// What makes a service: the flows of one are for one rule, if they climb together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// The chain that its packets pass.
    pub chain: Chain,
    /// Where the flows come from. `None` if that is not known, or from the gateway itself.
    pub from: Option<ZoneId>,
    /// Where they go to. `None` if that is not known, or to the gateway itself.
    pub to: Option<ZoneId>,
    /// Whether it is for IPv4 or IPv6: no flow is both.
    pub family: Family,
    /// Conntrack zone; 0 unless a rule assigns another (`ct zone` of nft(8)).
    pub conntrack_zone: u16,
    /// Its number in the IP header, by which rules and lists name it.
    pub protocol: Protocol,
    /// ICMP type and code, where the type has several.
    pub coded: Option<(u8, u8)>,
    /// The service: what clients asked for, where it was translated.
    pub service: Service,
    /// What it goes to.
    pub target: Target,
    /// How it is told from others.
    pub kind: Kind,
}

/// A flow of a service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Relation {
    /// The source address as a number; 0 for what the gateway sends itself.
    pub source: u128,
    /// Destination, as the filter sees it; 0 where it is not looked at.
    pub destination: u128,
    /// The day on which it was first seen; the number of days for what is no evidence of any.
    pub first: u16,
    /// The day on which it was last seen.
    pub last: u16,
}

/// A service and its flows.
#[derive(Clone, Debug)]
pub struct Used {
    /// The service that was used.
    pub key: Key,
    /// Its flows, each once, sorted by the day on which they were first seen, source and destination.
    pub relations: Vec<Relation>,
}

/// All services, and how busy the networks are.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// The services, sorted.
    pub services: Vec<Used>,
    /// The number of days.
    pub days: u16,
    /// What was seen of each network.
    pub networks: HashMap<NetworkId, Busy>,
    /// What was given by hand.
    pub by_hand: ByHand,
}

impl Key {
    /// The protocols of the service: two where TCP and UDP were joined.
    pub fn protocols(&self) -> Vec<Protocol> {
        match self.kind {
            Kind::Both => vec![Protocol::TCP, Protocol::UDP],
            _ => vec![self.protocol],
        }
    }
}

/// More published addresses than this, for one port between two zones, are not published: it is a proxy that takes
/// whatever comes.
const PUBLISHED: usize = 64;

impl Evidence {
    /// Sorts flows by service: `accepted` are those that get rules, with the indices of their records; `asides` have been
    /// sorted already. Addresses in a network that was given by hand are the first one of that, so that they are one.
    pub fn gather(
        records: &[Record],
        accepted: &[(Seen, usize)],
        asides: Vec<(Key, Relation)>,
        (host, lasting): (&Host, &Lasting),
        (links, days): (&Links, &Days),
        (sensitive, by_hand): (&Sensitive, &ByHand),
    ) -> Self {
        let mut lookup = Lookup::new(by_hand);
        let mut places: HashMap<(Family, u128), Place> = HashMap::new();
        let mut flows: Vec<(Key, Relation)> = Vec::with_capacity(accepted.len());
        for (seen, index) in accepted {
            let record = &records[*index];
            let class = seen.class;
            let is_evidence = !is_contradictory(record);
            // What has times that can't be is beyond all days, on none of which anything is made of it.
            let (first, last) = if is_evidence {
                let last = record.last_seen.max(record.first_seen);
                (days.of(record.first_seen), days.of(last))
            } else {
                (days.count(), days.count())
            };
            let mut place = |address: u128, is_source: bool| {
                let place = places
                    .entry((class.family, address))
                    .or_insert_with(|| Place {
                        network: links.network(class.family.address(address)),
                        is_source: false,
                        first: u16::MAX,
                        last: 0,
                    });
                if is_evidence {
                    place.is_source |= is_source;
                    place.first = place.first.min(first);
                    place.last = place.last.max(last);
                }
                place.network.map(|network| links.networks[network].zone)
            };
            let destination = class.family.address(seen.destination);
            let target = target(record, seen, host, lasting);
            let from = match class.chain {
                Chain::Output => None,
                _ => place(seen.source, true),
            };
            let to = match (class.chain, target) {
                (Chain::Input, _) | (_, Target::Group(_)) => None,
                _ => place(seen.destination, false),
            };
            let service = asked(seen, record);
            let is_free = target == Target::Addresses && !host.owns(destination);
            let key = Key {
                chain: class.chain,
                from,
                to,
                family: class.family,
                conntrack_zone: class.zone,
                protocol: class.protocol,
                coded: class.coded,
                service,
                target,
                kind: Kind::Plain,
            };
            let ends = lookup.ends(class.family, class.protocol, service);
            let standing = |end: End, address: u128| {
                let network = ends.and_then(|ends| ends.networks(end).of(address));
                network.map_or(address, Block::first)
            };
            let relation = Relation {
                source: if class.chain == Chain::Output {
                    0
                } else {
                    standing(End::Clients, seen.source)
                },
                destination: if is_free {
                    standing(End::Servers, seen.destination)
                } else {
                    0
                },
                first,
                last,
            };
            flows.push((key, relation));
        }
        flows.extend(asides);
        forget_addresses_of_proxies(&mut flows);
        let apart = join::Apart { sensitive, by_hand };
        join::protocols(&mut flows, by_hand);
        join::high_ports(&mut flows, links, &apart, days.count());
        join::calls(&mut flows, links, &apart, days.count());
        let mut evidence = Self {
            services: services(flows, days.count()),
            days: days.count(),
            by_hand: by_hand.clone(),
            ..Self::default()
        };
        evidence.count(&places);
        evidence.find_leases(links);
        evidence
    }
}

/// Addresses of the host that it had in all captures. Others, as those of DHCP and PPP, will not be its own tomorrow.
#[derive(Clone, Debug, Default)]
pub struct Lasting(HashSet<IpAddr>);

impl Lasting {
    /// Those of some captures.
    pub fn new(captures: &[Capture]) -> Self {
        let mut telling = captures.iter().filter(|one| !one.interfaces.is_empty());
        let mut lasting: HashSet<IpAddr> = telling
            .next()
            .map_or_else(HashSet::new, |first| first.local_addresses().collect());
        for capture in telling {
            let own: HashSet<IpAddr> = capture.local_addresses().collect();
            lasting.retain(|address| own.contains(address));
        }
        Self(lasting)
    }
}

fn target(record: &Record, seen: &Seen, host: &Host, lasting: &Lasting) -> Target {
    let identity = &record.identity;
    let destination = seen.class.family.address(seen.destination);
    if identity.dnat().is_some() {
        let port = match identity.service {
            Service::Port(port) => Some(port),
            _ => None,
        };
        let asked = identity.destination;
        let lasts = !host.owns(asked) || lasting.0.contains(&asked);
        return Target::Translated(lasts.then(|| number(asked)), port);
    }
    if host.is_group(destination) {
        return Target::Group(seen.destination);
    }
    match seen.class.chain {
        Chain::Input => Target::Own,
        _ => Target::Addresses,
    }
}

/// Whether a flow's times can't be.
pub fn is_contradictory(record: &Record) -> bool {
    matches!((record.first_seen, record.last_seen), (Some(first), Some(last)) if last < first)
}

/// The service that clients ask for, which is another one than the filter sees where the port is translated.
pub fn asked(seen: &Seen, record: &Record) -> Service {
    match (seen.service, record.identity.dnat()) {
        (Service::Port(_), Some(_)) => record.identity.service,
        (service, _) => service,
    }
}

/// Where a port was translated whatever the address was, as for a proxy, the address is no condition.
fn forget_addresses_of_proxies(flows: &mut [(Key, Relation)]) {
    let without = |key: &Key| match key.target {
        Target::Translated(Some(_), port) => Some(Key {
            target: Target::Translated(None, port),
            ..*key
        }),
        _ => None,
    };
    let mut published: HashMap<Key, HashSet<u128>> = HashMap::new();
    for (key, _) in flows.iter() {
        if let (Some(plain), Target::Translated(Some(address), _)) = (without(key), key.target) {
            let addresses = published.entry(plain).or_default();
            if addresses.len() <= PUBLISHED {
                addresses.insert(address);
            }
        }
    }
    published.retain(|_, addresses| addresses.len() > PUBLISHED);
    if published.is_empty() {
        return;
    }
    for (key, _) in flows.iter_mut() {
        if let Some(plain) = without(key).filter(|plain| published.contains_key(plain)) {
            *key = plain;
        }
    }
}

/// Flows by service. Those that differ in what rules do not look at, as source ports, are one.
fn services(mut flows: Vec<(Key, Relation)>, days: u16) -> Vec<Used> {
    flows.sort_unstable_by_key(|(key, relation)| {
        (*key, relation.source, relation.destination, relation.first)
    });
    flows.dedup_by(|again, first| {
        let same = (again.0, again.1.source, again.1.destination)
            == (first.0, first.1.source, first.1.destination);
        // What counts on no day comes last.
        if same && (again.1.first < days || days == 0) {
            first.1.last = first.1.last.max(again.1.last);
        }
        same
    });
    let runs = flows.chunk_by(|(one, _), (other, _)| one == other);
    runs.map(|run| {
        let mut relations: Vec<Relation> = run.iter().map(|(_, relation)| *relation).collect();
        relations.sort_by_key(|relation| relation.first);
        Used {
            key: run[0].0,
            relations,
        }
    })
    .collect()
}
