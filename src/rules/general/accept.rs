//! The rules that come of what was chosen: a rung's ripe cells as products, and the flows beside them one by one.

use std::collections::{BTreeMap, BTreeSet};

use super::evidence::{Key, Target};
use super::ladder::{Ladder, Rung};
use super::links::{Links, ZoneId};
use super::side::{Atom, Side};
use crate::model::record::{Protocol, Service};
use crate::rules::block::{Block, Family, cover};

/// So many flows make a product worth a rule of its own; fewer go into the list of pairs at the end of a section.
const PRODUCT: usize = 4;
/// And so many of these are written for a service, the largest: who reads more?
const PRODUCTS: usize = 6;
/// So many rules of one service become one
const SEVERAL: usize = 3;
/// that admits no more than so many times as much.
const LITTLE: f64 = 6.0;
/// A list of fewer pairs is written as rules.
const PAIRS: usize = 3;

/// What a rule looks at on one side.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Match {
    /// Nothing but the interface, if that is known.
    All,
    /// Whether the address is in one of these blocks, which are disjoint and in order.
    Blocks(Vec<Block>),
}

/// Where a rule is for, and what of.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// All of a service's key but the service itself. The family is that of the addresses.
    pub key: Key,
    /// Whether the rule is for both families.
    pub both_families: bool,
}

/// A rule that accepts.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Accept {
    /// Where. The service in its key is the first one.
    pub place: Place,
    /// Protocols: several only where they have ports.
    pub protocols: Vec<Protocol>,
    /// The services that it accepts, sorted.
    pub services: Vec<Service>,
    /// The sources that it accepts.
    pub sources: Match,
    /// The destinations that it accepts.
    pub destinations: Match,
    /// Instead of both, and of services: these sources with these destinations and services, no others.
    pub pairs: Vec<(Block, u128, Service)>,
    /// Flows that were seen and that it accepts.
    pub flows: u64,
}

/// A flow that no cell is ripe for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Single {
    destination: u128,
    source: u128,
}

/// The rules for a service at a rung.
pub fn of_service(ladder: &Ladder<'_>, rung: Rung) -> Vec<Accept> {
    let cells = ladder.cells(rung);
    let mut products: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
    let mut carried: BTreeMap<u32, u64> = BTreeMap::new();
    let mut singles = Vec::new();
    for (flow, relation) in ladder.relations.iter().enumerate() {
        let cell = cells.of[flow] as usize;
        let (source, destination) = cells.atoms[cell];
        if cells.ripe[cell].is_some() && rung != Rung::default() {
            products.entry(destination).or_default().insert(source);
            *carried.entry(destination).or_default() += 1;
        } else {
            singles.push(Single {
                destination: relation.destination,
                source: relation.source,
            });
        }
    }
    let mut by_sources: BTreeMap<BTreeSet<u32>, Vec<u32>> = BTreeMap::new();
    for (destination, sources) in products {
        by_sources.entry(sources).or_default().push(destination);
    }
    let side = |side: &Side, step: usize, atoms: &mut dyn Iterator<Item = u32>| {
        let steps = &side.steps[step];
        matching(atoms.map(|atom| steps.atoms[atom as usize]).collect())
    };
    let mut rules: Vec<Accept> = by_sources
        .into_iter()
        .map(|(sources, destinations)| {
            let flows = destinations.iter().map(|atom| carried[atom]).sum();
            let sources = side(&ladder.sources, rung.sources, &mut sources.into_iter());
            let mut destinations = destinations.into_iter();
            let destinations = side(&ladder.destinations, rung.destinations, &mut destinations);
            rule(ladder.key, sources, destinations, flows)
        })
        .collect();
    if ladder.gives.is_none() && rules.len() >= SEVERAL {
        rules = as_one(rules);
    }
    rules.extend(of_singles(ladder, singles));
    rules
}

/// Makes one rule of a service's rules where that admits little more: all of their sources to all of their destinations.
fn as_one(rules: Vec<Accept>) -> Vec<Accept> {
    let size = |side: &Match| match side {
        Match::All => 1.0,
        Match::Blocks(blocks) => { blocks.iter() }
            .map(|block| (block.last() - block.first()) as f64 + 1.0)
            .sum(),
    };
    let admitted = |rule: &Accept| size(&rule.sources) * size(&rule.destinations);
    let before: f64 = rules.iter().map(admitted).sum();
    let mut rest = rules.iter().cloned();
    let Some(mut one) = rest.next() else {
        return rules;
    };
    for other in rest {
        union(&mut one.sources, other.sources);
        union(&mut one.destinations, other.destinations);
        one.flows += other.flows;
    }
    if admitted(&one) <= before * LITTLE {
        vec![one]
    } else {
        rules
    }
}

fn rule(key: Key, sources: Match, destinations: Match, flows: u64) -> Accept {
    Accept {
        place: Place {
            key,
            both_families: false,
        },
        protocols: key.protocols(),
        services: vec![key.service],
        sources,
        destinations,
        pairs: Vec::new(),
        flows,
    }
}

/// What atoms make. A block within another one adds nothing.
fn matching(mut atoms: Vec<Atom>) -> Match {
    atoms.sort_unstable();
    let blocks: Option<Vec<Block>> = { atoms.iter() }
        .map(|atom| match atom {
            Atom::Block(block) => Some(*block),
            Atom::All => None,
        })
        .collect();
    match blocks {
        None => Match::All,
        Some(blocks) => Match::Blocks(packed(blocks)),
    }
}

/// Blocks without those that lie in others, and single addresses as the blocks that they fill.
fn packed(mut blocks: Vec<Block>) -> Vec<Block> {
    blocks.sort_unstable_by_key(|block| (block.first(), u128::MAX - block.last()));
    blocks.dedup_by(|inner, outer| outer.contains(inner.first()));
    let (single, mut wide): (Vec<Block>, Vec<Block>) =
        blocks.into_iter().partition(|block| block.is_single());
    let single: Vec<u128> = single.into_iter().map(Block::first).collect();
    wide.extend(cover(&single, 0));
    wide.sort_unstable();
    wide
}

/// Flows as they were seen, those with the same sources together.
fn of_singles(ladder: &Ladder<'_>, mut singles: Vec<Single>) -> Vec<Accept> {
    singles.sort_unstable();
    singles.dedup();
    let fixed = |side: &Side| side.steps[0].atoms == [Atom::All];
    let (any_source, any_destination) = (fixed(&ladder.sources), fixed(&ladder.destinations));
    let mut by_sources: BTreeMap<Vec<u128>, Vec<u128>> = BTreeMap::new();
    for run in singles.chunk_by(|one, other| one.destination == other.destination) {
        let sources = run.iter().map(|single| single.source).collect();
        let destinations = by_sources.entry(sources).or_default();
        destinations.push(run[0].destination);
    }
    // Addresses of a network that was given by hand stand for it.
    let blocks = |side: &Side, addresses: &[u128]| {
        let atoms = addresses.iter().map(|address| {
            let at = side.addresses.binary_search(address);
            side.steps[0].atoms[at.expect("it is one of them")]
        });
        matching(atoms.collect())
    };
    let is_network = |side: &Side, address: &u128| {
        let at = side.addresses.binary_search(address);
        let atom = side.steps[0].atoms[at.expect("it is one of them")];
        !matches!(atom, Atom::Block(block) if block.is_single())
    };
    let mut products: Vec<(Vec<u128>, Vec<u128>)> = by_sources.into_iter().collect();
    let size =
        |(sources, destinations): &(Vec<u128>, Vec<u128>)| sources.len() * destinations.len();
    products.sort_by_key(|product| std::cmp::Reverse(size(product)));
    let mut rules = Vec::new();
    let mut pairs = Vec::new();
    for (rank, product) in products.into_iter().enumerate() {
        let flows = size(&product);
        let (sources, destinations) = product;
        let is_given = { sources.iter() }.any(|one| is_network(&ladder.sources, one)) || {
            destinations.iter()
        }
        .any(|one| is_network(&ladder.destinations, one));
        let has_list =
            !any_source && !any_destination && !is_given && (flows < PRODUCT || rank >= PRODUCTS);
        if has_list {
            for destination in destinations {
                let blocks = cover(&sources, 0).into_iter();
                pairs.extend(blocks.map(|block| (block, destination, ladder.key.service)));
            }
        } else {
            let [sources, destinations] = [
                (any_source, &ladder.sources, sources),
                (any_destination, &ladder.destinations, destinations),
            ]
            .map(|(is_any, side, addresses)| match is_any {
                true => Match::All,
                false => blocks(side, &addresses),
            });
            rules.push(rule(ladder.key, sources, destinations, flows as u64));
        }
    }
    if !pairs.is_empty() {
        let flows = pairs.iter().map(|(block, ..)| block.size()).sum();
        rules.push(Accept {
            services: Vec::new(),
            pairs,
            ..rule(ladder.key, Match::All, Match::All, flows)
        });
    }
    rules
}

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

fn union(one: &mut Match, other: Match) {
    *one = match (std::mem::replace(one, Match::All), other) {
        (Match::Blocks(mut blocks), Match::Blocks(others)) => {
            blocks.extend(others);
            Match::Blocks(packed(blocks))
        }
        _ => Match::All,
    };
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

    #[test]
    fn a_block_within_another_adds_nothing() {
        let blocks = vec![
            Block::single(17),
            Block::new(16, 4),
            Block::single(2),
            Block::single(3),
        ];
        assert_eq!(packed(blocks), [Block::new(2, 1), Block::new(16, 4)]);
    }
}
