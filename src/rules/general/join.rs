//! Services that are one to whoever writes rules by hand: TCP and UDP of one port, and many high ports at once.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::evidence::{Key, Kind, Relation, Target};
use super::links::Links;
use super::outlook::span;
use super::sensitive::Sensitive;
use crate::model::record::{Protocol, Service};
use crate::rules::direction::Chain;

/// Ports of services that use TCP and UDP as they like: names, Kerberos, the web (QUIC), TLS for names, SIP, STUN.
const BOTH: [u16; 9] = [53, 88, 443, 464, 853, 3478, 5060, 5061, 5349];
/// The first of the ports that programs choose freely.
const HIGH: u16 = 1024;
/// Fewer ports are services of their own.
const PORTS: usize = 20;
/// So many ports that were not used before, a day.
const NEW_PORTS: usize = 2;
/// Fewer clients do not speak for their network.
const CLIENTS: usize = 3;

/// Makes one service of the two where both were seen.
pub fn protocols(flows: &mut [(Key, Relation)]) {
    let both = |key: &Key| match (key.service, key.protocol) {
        (Service::Port(port), Protocol::TCP | Protocol::UDP)
            if key.kind == Kind::Plain && BOTH.contains(&port) =>
        {
            Some(Key {
                protocol: Protocol::TCP,
                kind: Kind::Both,
                ..*key
            })
        }
        _ => None,
    };
    let mut seen: HashMap<Key, HashSet<Protocol>> = HashMap::new();
    for (key, _) in flows.iter() {
        if let Some(joined) = both(key) {
            seen.entry(joined).or_default().insert(key.protocol);
        }
    }
    for (key, _) in flows.iter_mut() {
        *key = match both(key) {
            Some(joined) if seen[&joined].len() == 2 => joined,
            _ => *key,
        };
    }
}

/// Makes one service of all high ports of a protocol, from an inner zone to the Internet, where the ports do not come to an
/// end: at least twenty were used, by several clients, and new ones come day by day, as with file sharing and games.
pub fn high_ports(flows: &mut [(Key, Relation)], links: &Links, sensitive: &Sensitive, days: u16) {
    let is_internet = |zone: Option<usize>| zone.is_some_and(|zone| links.zones[zone].is_internet);
    let high = |key: &Key| {
        let Service::Port(port) = key.service else {
            return None;
        };
        let fits = key.kind == Kind::Plain
            && key.chain == Chain::Forward
            && key.target == Target::Addresses
            && port >= HIGH
            && matches!(key.protocol, Protocol::TCP | Protocol::UDP)
            && key.from.is_some()
            && !is_internet(key.from)
            && is_internet(key.to)
            && sensitive.gives(key.protocol, key.service).is_none();
        fits.then_some(Key {
            service: Service::Port(HIGH),
            kind: Kind::High,
            ..*key
        })
    };
    // The day on which each port was first used, and the clients of all.
    let mut ports: BTreeMap<Key, (HashMap<Service, u16>, BTreeSet<u128>)> = BTreeMap::new();
    for (key, relation) in flows.iter() {
        if let Some(joined) = high(key) {
            let (firsts, clients) = ports.entry(joined).or_default();
            let first = firsts.entry(key.service).or_insert(relation.first);
            *first = (*first).min(relation.first);
            if clients.len() < CLIENTS {
                clients.insert(relation.source);
            }
        }
    }
    let recent = span(days);
    ports.retain(|_, (firsts, clients)| {
        let since = usize::from(days).saturating_sub(recent);
        let new = firsts
            .values()
            .filter(|first| usize::from(**first) >= since);
        firsts.len() >= PORTS && clients.len() >= CLIENTS && new.count() >= NEW_PORTS * recent
    });
    for (key, _) in flows.iter_mut() {
        *key = high(key)
            .filter(|joined| ports.contains_key(joined))
            .unwrap_or(*key);
    }
}
