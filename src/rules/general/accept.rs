//! The rules that come of what was chosen: a rung's ripe cells as products, and the flows beside them one by one.

use std::collections::{BTreeMap, BTreeSet};

use super::evidence::Key;
use super::ladder::{Ladder, Rung};
use super::side::{Atom, Side};
use crate::model::record::{Protocol, Service};
use crate::rules::block::{Block, cover};

/// So many flows make a product worth a rule of its own; fewer go into the list of pairs at the end of a section.
const PRODUCT: usize = 4;
/// And so many of these are written for a service, the largest: who reads more?
const PRODUCTS: usize = 6;
/// So many rules of one service become one
const SEVERAL: usize = 3;
/// that admits no more than so many times as much.
const LITTLE: f64 = 6.0;

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

pub(super) fn rule(key: Key, sources: Match, destinations: Match, flows: u64) -> Accept {
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

/// Adds what another rule has on a side.
pub(super) fn union(one: &mut Match, other: Match) {
    *one = match (std::mem::replace(one, Match::All), other) {
        (Match::Blocks(mut blocks), Match::Blocks(others)) => {
            blocks.extend(others);
            Match::Blocks(packed(blocks))
        }
        _ => Match::All,
    };
}

#[cfg(test)]
mod tests {
    use super::*;

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
