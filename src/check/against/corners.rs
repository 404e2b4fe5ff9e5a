//! Where the constants of a ruleset lie: what each of its rules asks for, together with what leads to its chain.

use std::collections::{BTreeMap, HashMap};

use crate::check::catalog::{Catalog, Hooked};
use crate::check::rules::ChainName;
use crate::check::shape::ranges::Ranges;
use crate::check::shape::{Condition, Field, NEW};

/// Ways that lead to a chain: more of them are hardly different.
const WAYS_MAX: usize = 8;
/// How deep chains are followed, as the kernel does (`NFT_JUMP_STACK_SIZE`, include/net/netfilter/nf_tables.h).
const DEPTH_MAX: usize = 16;

/// Whose packets a hook sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Position {
    /// For the host.
    Input,
    /// Through the host.
    Forward,
    /// Of the host.
    Output,
}

/// What a rule asks for, on one way to it.
#[derive(Clone, Debug)]
pub struct Corner {
    /// Packets that may come to it.
    pub positions: Vec<Position>,
    /// Conditions on numbers, all of one field together.
    pub numbers: BTreeMap<Field, Ranges>,
    /// Conditions on devices.
    pub devices: Vec<Condition>,
    /// Combinations that it enumerates, such as the elements of a set of pairs.
    pub tuples: Vec<Vec<Condition>>,
    /// Number of the way to its chain.
    pub way: usize,
    /// What the rules before it in its chain take: all of these.
    pub earlier: Vec<Vec<Condition>>,
}

impl Corner {
    fn new(positions: &[Position], conditions: &[Condition]) -> Self {
        let mut corner = Self {
            positions: positions.to_vec(),
            numbers: BTreeMap::new(),
            devices: Vec::new(),
            tuples: Vec::new(),
            way: usize::MAX,
            earlier: Vec::new(),
        };
        for condition in conditions {
            match condition.numbers() {
                Some(ranges) => {
                    let known = corner.numbers.entry(condition.field);
                    known
                        .and_modify(|known| *known = known.and(ranges))
                        .or_insert_with(|| ranges.clone());
                }
                None => corner.devices.push(condition.clone()),
            }
        }
        corner
    }

    /// What meets both this and another one, but for what this one says of one field; `None` if nothing does.
    pub fn and(&self, other: &Self, but: Option<Field>) -> Option<Self> {
        let mut both = other.clone();
        both.tuples.clear();
        if self.earlier.len() < other.earlier.len() {
            both.earlier.clone_from(&self.earlier);
        }
        for (field, ranges) in self
            .numbers
            .iter()
            .filter(|(field, _)| Some(**field) != but)
        {
            let known = both.numbers.entry(*field).or_insert_with(|| ranges.clone());
            *known = known.and(ranges);
            known.iter().next()?;
        }
        both.devices.extend(self.devices.iter().cloned());
        Some(both)
    }

    /// One that asks for nothing.
    pub fn anything() -> Self {
        Self::new(&[Position::Input, Position::Forward, Position::Output], &[])
    }
}

fn positions(hook: &str) -> &'static [Position] {
    match hook {
        "input" => &[Position::Input],
        "forward" => &[Position::Forward],
        "output" => &[Position::Output],
        "postrouting" => &[Position::Forward, Position::Output],
        _ => &[Position::Input, Position::Forward],
    }
}

/// A way to a chain.
#[derive(Clone, Debug)]
struct Way {
    positions: &'static [Position],
    conditions: Vec<Condition>,
}

/// What all rules ask for.
pub fn corners(catalog: &Catalog) -> Vec<Corner> {
    let mut chains: HashMap<ChainName, Vec<usize>> = HashMap::new();
    for (at, given) in catalog.rules.iter().enumerate() {
        let rule = &given.rule;
        let name = (rule.family.clone(), rule.table.clone(), rule.chain.clone());
        chains.entry(name).or_default().push(at);
    }
    let mut ways: BTreeMap<ChainName, Vec<Way>> = BTreeMap::new();
    for Hooked { chain, hook, .. } in &catalog.hooks {
        let way = Way {
            positions: positions(hook),
            conditions: Vec::new(),
        };
        follow(catalog, &chains, chain, way, 0, &mut ways);
    }
    let mut corners = Vec::new();
    let mut number = 0;
    for (chain, ways) in &ways {
        for way in ways {
            number += 1;
            let mut earlier: Vec<Vec<Condition>> = Vec::new();
            for &at in chains.get(chain).into_iter().flatten() {
                let shape = &catalog.rules[at].shape;
                for (more, ending) in &shape.branches {
                    let own: Vec<Condition> =
                        { shape.conditions.iter().chain(more) }.cloned().collect();
                    let all = [way.conditions.as_slice(), &own].concat();
                    let mut corner = Corner::new(way.positions, &all);
                    corner.earlier = earlier.clone();
                    corner.way = number;
                    let combined = shape.lists.iter().filter(|list| {
                        list.elements
                            .first()
                            .is_some_and(|element| element.conditions.len() > 1)
                    });
                    corner.tuples = combined
                        .flat_map(|list| &list.elements)
                        .map(|element| element.conditions.clone())
                        .collect();
                    corners.push(corner);
                    if shape.exact && ending.ends_chain() {
                        earlier.push(own);
                    }
                }
            }
        }
    }
    corners
}

fn follow(
    catalog: &Catalog,
    chains: &HashMap<ChainName, Vec<usize>>,
    chain: &ChainName,
    way: Way,
    depth: usize,
    ways: &mut BTreeMap<ChainName, Vec<Way>>,
) {
    let known = ways.entry(chain.clone()).or_default();
    if known.len() >= WAYS_MAX || depth > DEPTH_MAX {
        return;
    }
    known.push(way.clone());
    for &at in chains.get(chain).into_iter().flatten() {
        let shape = &catalog.rules[at].shape;
        for (more, ending) in &shape.branches {
            let Some(target) = ending.target() else {
                continue;
            };
            let next = (chain.0.clone(), chain.1.clone(), target.to_owned());
            if chains.contains_key(&next) {
                let mut way = way.clone();
                way.conditions
                    .extend(shape.conditions.iter().chain(more).cloned());
                follow(catalog, chains, &next, way, depth + 1, ways);
            }
        }
    }
}

/// Whether ranges of states take the first packet of a flow.
pub fn takes_new(states: &Ranges) -> bool {
    states.contains(NEW)
}
