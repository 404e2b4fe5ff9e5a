//! Services that are one to whoever writes rules by hand: TCP and UDP of one port, and many high ports at once.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::evidence::{Key, Kind, Relation, Target};
use super::links::Links;
use super::outlook::span;
use super::sensitive::Sensitive;
use crate::model::record::{Protocol, Service};
use crate::rules::by_hand::ByHand;
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

/// Services that stay by themselves.
#[derive(Clone, Copy, Debug)]
pub struct Apart<'a> {
    /// Sensitive ones.
    pub sensitive: &'a Sensitive,
    /// Those that have values of their own.
    pub by_hand: &'a ByHand,
}

impl Apart<'_> {
    fn has(&self, protocol: Protocol, service: Service) -> bool {
        self.sensitive.gives(protocol, service).is_some() || self.by_hand.names(protocol, service)
    }
}

/// Makes one service of the two where both were seen, unless what was given by hand tells them apart.
pub fn protocols(flows: &mut [(Key, Relation)], by_hand: &ByHand) {
    let is_same = |key: &Key| {
        let ends = |protocol| by_hand.ends(key.family, protocol, key.service);
        by_hand.0.is_empty() || ends(Protocol::TCP) == ends(Protocol::UDP)
    };
    let both = |key: &Key| match (key.service, key.protocol) {
        (Service::Port(port), Protocol::TCP | Protocol::UDP)
            if key.kind == Kind::Plain && BOTH.contains(&port) && is_same(key) =>
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
pub fn high_ports(flows: &mut [(Key, Relation)], links: &Links, apart: &Apart<'_>, days: u16) {
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
            && !apart.has(key.protocol, key.service);
        fits.then_some(Key {
            service: Service::Port(HIGH),
            kind: Kind::High(HIGH, u16::MAX),
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
    ports.retain(|_, (firsts, clients)| clients.len() >= CLIENTS && has_no_end(firsts, days));
    for (key, _) in flows.iter_mut() {
        *key = high(key)
            .filter(|joined| ports.contains_key(joined))
            .unwrap_or(*key);
    }
}

/// Whether there are many ports, and new ones day by day, given the day on which each was first used.
fn has_no_end(firsts: &HashMap<Service, u16>, days: u16) -> bool {
    let recent = span(days);
    let since = usize::from(days).saturating_sub(recent);
    let new = { firsts.values() }.filter(|first| usize::from(**first) >= since);
    firsts.len() >= PORTS && new.count() >= NEW_PORTS * recent
}

/// Makes one service of all high UDP ports of a server, or to the Internet of a client, that takes another one each time,
/// as calls do (RTP: RFC 3550, section 11). The range is that of the ports seen, in thousands.
pub fn calls(flows: &mut [(Key, Relation)], links: &Links, apart: &Apart<'_>, days: u16) {
    let is_internet = |zone: Option<usize>| zone.is_some_and(|zone| links.zones[zone].is_internet);
    let base = |key: &Key| {
        let fits = key.kind == Kind::Plain
            && key.chain == Chain::Forward
            && key.target == Target::Addresses
            && matches!(key.service, Service::Port(HIGH..))
            && key.protocol == Protocol::UDP
            && key.from.is_some()
            && !is_internet(key.from)
            && key.to.is_some()
            && !apart.has(key.protocol, key.service);
        fits.then_some(Key {
            service: Service::Port(HIGH),
            kind: Kind::High(HIGH, u16::MAX),
            ..*key
        })
    };
    // By who takes the ports: a server, or a client whose servers on the Internet do.
    let takers = |base: &Key, relation: &Relation| {
        let client = is_internet(base.to).then_some((*base, false, relation.source));
        [Some((*base, true, relation.destination)), client]
    };
    let mut firsts: HashMap<_, HashMap<Service, u16>> = HashMap::new();
    for (key, relation) in flows.iter() {
        let Some(base) = base(key) else { continue };
        for taker in takers(&base, relation).into_iter().flatten() {
            let first = { firsts.entry(taker).or_default() }
                .entry(key.service)
                .or_insert(relation.first);
            *first = (*first).min(relation.first);
        }
    }
    firsts.retain(|_, firsts| has_no_end(firsts, days));
    let mut ranges: HashMap<Key, (u16, u16)> = HashMap::new();
    for ((base, ..), firsts) in &firsts {
        let range = ranges.entry(*base).or_insert((u16::MAX, 0));
        for service in firsts.keys() {
            if let Service::Port(port) = service {
                *range = (range.0.min(*port), range.1.max(*port));
            }
        }
    }
    for (key, relation) in flows.iter_mut() {
        let Some(base) = base(key) else { continue };
        let mut takers = takers(&base, relation).into_iter().flatten();
        if let Some((first, last)) =
            { ranges.get(&base) }.filter(|_| takers.any(|taker| firsts.contains_key(&taker)))
        {
            let (first, last) = (
                (first / 1000 * 1000).max(HIGH),
                (last / 1000 + 1).saturating_mul(1000),
            );
            *key = Key {
                service: Service::Port(first),
                kind: Kind::High(first, last),
                ..base
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::block::Family;
    use crate::rules::general::links::Zone;

    fn links() -> Links {
        let zone = |name: &str, is_internet| Zone {
            names: vec![name.to_owned()],
            is_internet,
        };
        let mut links = Links::new(&[]);
        links.zones = vec![
            Zone::default(),
            zone("wan0", true),
            zone("lan0", false),
            zone("srv0", false),
        ];
        links
    }

    fn flow(
        to: usize,
        protocol: Protocol,
        port: u16,
        ends: (u128, u128),
        first: u16,
    ) -> (Key, Relation) {
        let key = Key {
            chain: Chain::Forward,
            from: Some(2),
            to: Some(to),
            family: Family::V4,
            conntrack_zone: 0,
            protocol,
            coded: None,
            service: Service::Port(port),
            target: Target::Addresses,
            kind: Kind::Plain,
        };
        let relation = Relation {
            source: ends.0,
            destination: ends.1,
            first,
            last: first,
        };
        (key, relation)
    }

    fn kinds(flows: &[(Key, Relation)]) -> HashSet<Kind> {
        flows.iter().map(|(key, _)| key.kind).collect()
    }

    #[test]
    fn ports_that_do_not_come_to_an_end_are_one_service() {
        let (table, by_hand) = (Sensitive::default(), ByHand::default());
        let table = Apart {
            sensitive: &table,
            by_hand: &by_hand,
        };
        let many = |ports: u16, clients: u128, days: u16| -> Vec<_> {
            let ports = 0..ports;
            ports
                .map(|one| {
                    flow(
                        1,
                        Protocol::UDP,
                        20_000 + one * 7,
                        (one as u128 % clients, 9),
                        one % days,
                    )
                })
                .collect()
        };
        let joined = |mut flows: Vec<_>| {
            high_ports(&mut flows, &links(), &table, 7);
            kinds(&flows)
        };
        assert_eq!(
            joined(many(40, 5, 7)),
            HashSet::from([Kind::High(1024, 65535)])
        );
        assert_eq!(joined(many(40, 2, 7)), HashSet::from([Kind::Plain]));
        assert_eq!(joined(many(19, 5, 7)), HashSet::from([Kind::Plain]));
        // All of them on the first days: they have come to an end.
        assert_eq!(joined(many(40, 5, 2)), HashSet::from([Kind::Plain]));
    }

    #[test]
    fn a_server_of_calls_takes_a_range() {
        let mut flows: Vec<_> = (0..40)
            .map(|one| {
                flow(
                    3,
                    Protocol::UDP,
                    10_000 + one * 200,
                    (one.into(), 60),
                    one % 7,
                )
            })
            .collect();
        flows.push(flow(3, Protocol::UDP, 10_000, (1, 61), 0));
        flows.push(flow(3, Protocol::TCP, 10_000, (1, 60), 0));
        let (sensitive, by_hand) = (Sensitive::default(), ByHand::default());
        let apart = Apart {
            sensitive: &sensitive,
            by_hand: &by_hand,
        };
        calls(&mut flows, &links(), &apart, 7);
        assert_eq!(
            kinds(&flows[..40]),
            HashSet::from([Kind::High(10_000, 18_000)])
        );
        assert_eq!(kinds(&flows[40..]), HashSet::from([Kind::Plain]));
    }

    #[test]
    fn tcp_and_udp_are_one_where_both_were_seen() {
        let mut flows = vec![
            flow(3, Protocol::TCP, 53, (1, 60), 0),
            flow(3, Protocol::UDP, 53, (1, 60), 0),
            flow(1, Protocol::UDP, 53, (1, 60), 0),
        ];
        protocols(&mut flows, &ByHand::default());
        let kinds: Vec<Kind> = flows.iter().map(|(key, _)| key.kind).collect();
        assert_eq!(kinds, [Kind::Both, Kind::Both, Kind::Plain]);
    }
}
