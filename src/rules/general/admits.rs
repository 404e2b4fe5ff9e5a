//! Whether rules accept what they were made of, rule by rule as the kernel would: a flow that was seen and would be stopped
//! is a fault of the evidence or of this program, and the administrator has to know of it before the rules are loaded.

use std::collections::HashMap;

use super::General;
use super::accept::{Accept, Match};
use super::evidence::{Kind, Target, asked};
use super::links::{Links, ZoneId};
use crate::model::record::{Protocol, Record, Service, SourcePort};
use crate::rules::baseline::Baseline;
use crate::rules::block::{Block, Family, contain, number};
use crate::rules::by_hand::ByHand;
use crate::rules::direction::Chain;
use crate::rules::seen::{Class, Seen};

/// The first packet of a flow as the filter sees it.
#[derive(Clone, Copy, Debug)]
struct Packet {
    class: Class,
    from: Option<ZoneId>,
    to: Option<ZoneId>,
    source: u128,
    destination: u128,
    service: Service,
    /// What was asked for, where the host has translated it.
    asked: Option<(u128, Service)>,
    source_port: SourcePort,
}

/// Rules, by chain and family, to be asked whether they accept.
pub struct Filter<'a> {
    general: &'a General,
    by_hand: &'a ByHand,
    rules: HashMap<(Chain, Family), Vec<&'a Accept>>,
    /// Inner networks, and what of them lies on the Internet side.
    local: [(Vec<Block>, Vec<Block>); 2],
}

impl<'a> Filter<'a> {
    /// That of generalized rules.
    pub fn new(general: &'a General, by_hand: &'a ByHand) -> Self {
        let mut rules: HashMap<_, Vec<&Accept>> = HashMap::new();
        for rule in &general.rules {
            for family in [Family::V4, Family::V6] {
                if rule.place.key.family == family || rule.place.both_families {
                    let of = rules.entry((rule.place.key.chain, family)).or_default();
                    of.push(rule);
                }
            }
        }
        let links = &general.links;
        let local = [Family::V4, Family::V6].map(|family| {
            let local = links.local(family);
            let there = { links.internet(family).into_iter() }
                .flat_map(|zone| links.of_zone(zone, family))
                .map(|net| net.block);
            let mut there: Vec<Block> = there.collect();
            there.sort_unstable_by_key(|block| (block.first(), u128::MAX - block.last()));
            there.dedup_by(|inner, outer| outer.contains(inner.first()));
            (local, there)
        });
        Self {
            general,
            by_hand,
            rules,
            local,
        }
    }

    /// Whether a flow that was seen passes.
    pub fn accepts(&self, seen: &Seen, record: &Record) -> bool {
        let class = seen.class;
        let links = &self.general.links;
        let zone = |address: u128| {
            let network = links.network(class.family.address(address))?;
            Some(links.networks[network].zone)
        };
        let packet = Packet {
            class,
            from: (class.chain != Chain::Output)
                .then(|| zone(seen.source))
                .flatten(),
            to: (class.chain != Chain::Input)
                .then(|| zone(seen.destination))
                .flatten(),
            source: seen.source,
            destination: seen.destination,
            service: seen.service,
            asked: { record.identity.dnat() }
                .map(|_| (number(record.identity.destination), asked(seen, record))),
            source_port: record.identity.source_port,
        };
        if is_standing(&packet) {
            return true;
        }
        let rules = self.rules.get(&(class.chain, class.family));
        let mut rules = rules.into_iter().flatten();
        !self.is_astray(&packet) && rules.any(|rule| self.matches(rule, &packet))
    }

    /// Whether an inner address comes from the Internet side, or lies there, so that it is dropped before all rules.
    fn is_astray(&self, packet: &Packet) -> bool {
        let family = packet.class.family;
        let internet = self.general.links.internet(family);
        let (local, there) = &self.local[usize::from(family == Family::V6)];
        let is_inner = |address| contain(local, address) && !contain(there, address);
        let chain = packet.class.chain;
        let comes = chain != Chain::Output && packet.from.is_some() && packet.from == internet;
        let goes = chain == Chain::Forward && packet.to.is_some() && packet.to == internet;
        comes && is_inner(packet.source) || goes && is_inner(packet.destination)
    }

    fn matches(&self, rule: &Accept, packet: &Packet) -> bool {
        let key = &rule.place.key;
        let links = &self.general.links;
        let side = |blocks: &Match, address| match blocks {
            Match::All => true,
            Match::Blocks(blocks) => contain_any(blocks, address),
        };
        comes_by(links, key.from, packet.from, packet.source)
            && comes_by(links, key.to, packet.to, packet.destination)
            && (key.conntrack_zone == 0 || key.conntrack_zone == packet.class.zone)
            && rule.protocols.contains(&packet.class.protocol)
            && match key.target {
                Target::Group(group) => packet.destination == group,
                Target::Translated(address, _) => packet
                    .asked
                    .is_some_and(|(asked, _)| address.is_none_or(|address| address == asked)),
                Target::Own | Target::Addresses => true,
            }
            && if rule.pairs.is_empty() {
                side(&rule.sources, packet.source)
                    && (key.target != Target::Addresses
                        || side(&rule.destinations, packet.destination))
                    && self.has_service(rule, packet)
            } else {
                rule.pairs.iter().any(|(source, destination, service)| {
                    source.contains(packet.source)
                        && *destination == packet.destination
                        && (*service == packet.service || matches!(key.kind, Kind::High(..)))
                }) && (!matches!(key.kind, Kind::High(..)) || self.has_service(rule, packet))
            }
    }

    fn has_service(&self, rule: &Accept, packet: &Packet) -> bool {
        let key = &rule.place.key;
        let service = match (key.target, packet.asked) {
            (Target::Translated(..), Some((_, service))) => service,
            _ => packet.service,
        };
        match (key.kind, service) {
            (Kind::High(first, last), Service::Port(port)) => {
                let protocol = packet.class.protocol;
                (first..=last).contains(&port)
                    && self
                        .general
                        .aim
                        .sensitive
                        .gives(protocol, service)
                        .is_none()
                    && !self.by_hand.names(protocol, service)
            }
            (Kind::From(from), _) => {
                packet.source_port == SourcePort::Exact(from) && rule.services.contains(&service)
            }
            (_, Service::Icmp(icmp_type, _)) if key.coded.is_none() => { rule.services.iter() }
                .any(|one| matches!(one, Service::Icmp(other, _) if *other == icmp_type)),
            _ => key.coded == packet.class.coded && rule.services.contains(&service),
        }
    }
}

/// Whether blocks, in order and perhaps within one another, hold an address.
fn contain_any(blocks: &[Block], address: u128) -> bool {
    contain(blocks, address) || blocks.iter().any(|block| block.contains(address))
}

/// Whether what lies in one zone matches the interfaces of another: its own are among them.
fn comes_by(links: &Links, rule: Option<ZoneId>, zone: Option<ZoneId>, address: u128) -> bool {
    let Some(rule) = rule else { return true };
    let names = &links.zones[rule].names;
    if names.is_empty() {
        // fe80::/10, on whatever interface.
        return address >> 118 == 0xfe80 >> 6;
    }
    zone.is_some_and(|zone| {
        let own = &links.zones[zone].names;
        !own.is_empty() && own.iter().all(|name| names.contains(name))
    })
}

/// Whether it is of those that every ruleset accepts.
fn is_standing(packet: &Packet) -> bool {
    let Service::Icmp(icmp_type, _) = packet.service else {
        return false;
    };
    let mut standing = Baseline::of(packet.class.chain).iter();
    packet.class.protocol == Protocol::ICMPV6
        && standing.any(|standing| standing.types.contains(&icmp_type))
}
