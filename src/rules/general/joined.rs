//! Rules that differ in one thing only are one: as few as a person would write, in the order in which they stand.

use std::collections::BTreeMap;

use super::accept::{Accept, Match, rule, union};
use super::evidence::{Key, Target};
use super::links::{Links, ZoneId};
use crate::model::record::{Protocol, Service};
use crate::rules::block::{Block, Family};

/// A list of fewer pairs is written as rules.
const PAIRS: usize = 3;

/// Makes one rule of several that differ in one thing only, and a list of the pairs of each section; sorts them.
pub fn joined(mut rules: Vec<Accept>, links: &Links) -> Vec<Accept> {
    for rule in &mut rules {
        let key = rule.place.key;
        for (zone, side) in [
            (key.from, &mut rule.sources),
            (key.to, &mut rule.destinations),
        ] {
            if is_whole(side, zone, key.family, links) {
                *side = Match::All;
            }
        }
    }
    let (lists, rules): (Vec<Accept>, Vec<Accept>) =
        rules.into_iter().partition(|rule| !rule.pairs.is_empty());
    let (lists, few) = pooled(lists);
    let rules = rules.into_iter().chain(few).collect();
    let by_service = join(
        rules,
        |rule| rule.services.clear(),
        |one, other| {
            one.services.extend(other.services);
            one.services.sort_unstable();
            one.services.dedup();
        },
    );
    let by_destination = join(
        by_service,
        |rule| rule.destinations = Match::All,
        add_destinations,
    );
    let by_source = join(
        by_destination,
        |rule| rule.sources = Match::All,
        add_sources,
    );
    let by_protocol = join(
        by_source,
        |rule| rule.protocols.clear(),
        |one, other| {
            one.protocols.extend(other.protocols);
            one.protocols.sort_unstable();
        },
    );
    let any_family = |rule: &mut Accept| {
        if is_for_any_family(rule) {
            rule.place.key.family = Family::V4;
        }
    };
    let by_family = join(by_protocol, any_family, |one, _| {
        one.place.both_families = true
    });
    let by_family = without_covered(by_family);
    let mut rules: Vec<Accept> = by_family.into_iter().chain(lists).collect();
    for rule in &mut rules {
        if let Some(first) = rule.services.first() {
            rule.place.key.service = *first;
        }
        rule.place.key.protocol = rule.protocols[0];
    }
    rules.sort_by_cached_key(|rule| {
        let key = rule.place.key;
        let section = (key.chain, key.from, key.to, key.conntrack_zone);
        let of_family = (!rule.place.both_families).then_some(key.family);
        (section, !rule.pairs.is_empty(), of_family, rule.clone())
    });
    rules
}

/// Whether blocks are all that lies behind an inner interface, so that the interface is condition enough.
fn is_whole(side: &Match, zone: Option<ZoneId>, family: Family, links: &Links) -> bool {
    let (Match::Blocks(blocks), Some(zone)) = (side, zone) else {
        return false;
    };
    let of_zone = &links.zones[zone];
    let mut networks = links.of_zone(zone, family).peekable();
    !of_zone.is_internet
        && !of_zone.names.is_empty()
        && networks.peek().is_some()
        && networks.all(|net| blocks.contains(&net.block))
}

/// Rules without those for a group, where another one accepts the service whatever address it is asked at.
fn without_covered(rules: Vec<Accept>) -> Vec<Accept> {
    let own: Vec<Accept> = { rules.iter() }
        .filter(|rule| rule.place.key.target == Target::Own && rule.sources == Match::All)
        .cloned()
        .collect();
    let is_covered = |rule: &Accept| {
        let key = rule.place.key;
        let mut own = own.iter();
        matches!(key.target, Target::Group(_))
            && own.any(|other| {
                let of = other.place.key;
                (of.chain, of.from, of.conntrack_zone) == (key.chain, key.from, key.conntrack_zone)
                    && of.kind == key.kind
                    && (of.family == key.family || other.place.both_families)
                    && { rule.protocols.iter() }.all(|one| other.protocols.contains(one))
                    && { rule.services.iter() }.all(|one| other.services.contains(one))
            })
    };
    let (_, rest): (Vec<Accept>, Vec<Accept>) = rules.into_iter().partition(is_covered);
    rest
}

/// Rules that are the same but for what `blank` takes away become one. Which things can differ hangs on the rule: only
/// ports have lists, and only rules that look at no address are for both families.
fn join(
    rules: Vec<Accept>,
    blank: impl Fn(&mut Accept),
    add: impl Fn(&mut Accept, Accept),
) -> Vec<Accept> {
    let mut known: BTreeMap<Accept, usize> = BTreeMap::new();
    let mut joined: Vec<Accept> = Vec::with_capacity(rules.len());
    for rule in rules {
        let mut rest = rule.clone();
        blank(&mut rest);
        rest.flows = 0;
        let key = &mut rest.place.key;
        if matches!(key.service, Service::Port(_)) {
            key.service = Service::Port(0);
            // The port that was asked for is the service of what was translated.
            if let Target::Translated(address, Some(_)) = key.target {
                key.target = Target::Translated(address, Some(0));
            }
            if rest.protocols.is_empty() {
                key.protocol = Protocol(0);
            }
        } else if rest.protocols.is_empty() {
            rest.protocols.push(key.protocol);
        }
        if !matches!(rule.place.key.service, Service::Port(_)) && rest.services.is_empty() {
            let is_icmp = rule.place.key.protocol.is_icmp() && rule.place.key.coded.is_none();
            rest.place.key.service = if is_icmp {
                Service::Icmp(0, 0)
            } else {
                rule.place.key.service
            };
        }
        match known.get(&rest) {
            Some(&at) => {
                let one: &mut Accept = &mut joined[at];
                one.flows += rule.flows;
                add(one, rule);
            }
            None => {
                known.insert(rest, joined.len());
                joined.push(rule);
            }
        }
    }
    joined
}

/// Whether only the family that it says tells it from a rule for the other one.
fn is_for_any_family(rule: &Accept) -> bool {
    let key = rule.place.key;
    (&rule.sources, &rule.destinations) == (&Match::All, &Match::All)
        && matches!(key.target, Target::Own | Target::Addresses)
        && matches!(key.service, Service::Port(_))
}

fn add_destinations(one: &mut Accept, other: Accept) {
    union(&mut one.destinations, other.destinations);
}

fn add_sources(one: &mut Accept, other: Accept) {
    union(&mut one.sources, other.sources);
}

/// The pairs of each section and protocol in one list; where that is short, they are rules instead.
fn pooled(lists: Vec<Accept>) -> (Vec<Accept>, Vec<Accept>) {
    let mut pools: BTreeMap<Key, Accept> = BTreeMap::new();
    for list in lists {
        let mut key = list.place.key;
        // Other services than ports have no place in the elements of a list.
        if matches!(key.service, Service::Port(_)) {
            key.service = Service::Port(0);
        }
        match pools.get_mut(&key) {
            Some(pool) => {
                pool.flows += list.flows;
                pool.pairs.extend(list.pairs);
            }
            None => {
                pools.insert(key, list);
            }
        }
    }
    let (mut lists, mut rules) = (Vec::new(), Vec::new());
    for mut pool in pools.into_values() {
        pool.pairs
            .sort_unstable_by_key(|(source, destination, service)| {
                (*service, *destination, *source)
            });
        if pool.pairs.len() >= PAIRS {
            lists.push(pool);
            continue;
        }
        rules.extend(pool.pairs.iter().map(|&(source, destination, service)| {
            let key = Key {
                service,
                ..pool.place.key
            };
            let sources = Match::Blocks(vec![source]);
            let destinations = Match::Blocks(vec![Block::single(destination)]);
            rule(key, sources, destinations, source.size())
        }));
    }
    (lists, rules)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::direction::Chain;
    use crate::rules::general::evidence::Kind;

    fn accept(family: Family, protocol: Protocol, port: u16, from: Match, to: Match) -> Accept {
        let key = Key {
            chain: Chain::Forward,
            from: None,
            to: None,
            family,
            conntrack_zone: 0,
            protocol,
            coded: None,
            service: Service::Port(port),
            target: Target::Addresses,
            kind: Kind::Plain,
        };
        rule(key, from, to, 1)
    }

    fn one(address: u128) -> Match {
        Match::Blocks(vec![Block::single(address)])
    }

    #[test]
    fn rules_that_differ_in_one_thing_are_one() {
        use Family::{V4, V6};
        let (tcp, udp) = (Protocol::TCP, Protocol::UDP);
        let rules = joined(
            vec![
                accept(V4, tcp, 80, Match::All, Match::All),
                accept(V4, tcp, 443, Match::All, Match::All),
                accept(V6, tcp, 443, Match::All, Match::All),
                accept(V6, tcp, 80, Match::All, Match::All),
                accept(V4, tcp, 53, one(4), one(8)),
                accept(V4, udp, 53, one(4), one(9)),
                accept(V4, udp, 53, one(4), one(8)),
                accept(V4, tcp, 53, one(4), one(9)),
                accept(V4, tcp, 22, one(5), one(8)),
                accept(V4, tcp, 22, one(6), one(9)),
            ],
            &Links::default(),
        );
        let shown: Vec<_> = { rules.iter() }
            .map(|rule| {
                let ports = text_of(&rule.services);
                (ports, rule.protocols.len(), rule.place.both_families)
            })
            .collect();
        assert_eq!(
            shown,
            [
                (vec![80, 443], 1, true),
                (vec![22], 1, false),
                (vec![22], 1, false),
                (vec![53], 2, false),
            ]
        );
        assert_eq!(rules[3].destinations, Match::Blocks(vec![Block::new(8, 1)]));
    }

    fn text_of(services: &[Service]) -> Vec<u16> {
        let ports = services.iter().filter_map(|service| match service {
            Service::Port(port) => Some(*port),
            _ => None,
        });
        ports.collect()
    }

    #[test]
    fn families_never_mix_in_a_list_of_addresses() {
        let rules = joined(
            vec![
                accept(Family::V4, Protocol::TCP, 80, Match::All, one(8)),
                accept(Family::V6, Protocol::TCP, 80, Match::All, one(9)),
                accept(Family::V6, Protocol::TCP, 80, one(7), Match::All),
            ],
            &Links::default(),
        );
        assert_eq!(rules.len(), 3);
        assert!(rules.iter().all(|rule| !rule.place.both_families));
    }
}
