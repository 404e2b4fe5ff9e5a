//! Each rule of a plan in a few words, for those who look at rules rather than load them.

use super::block::{Block, Family};
use super::general::accept::{Accept, Match};
use super::general::{General, words};
use super::group::Matching;
use super::plan::Plan;
use super::rule::Rule;
use super::text::{blocks, title};
use crate::model::timestamp::Timestamp;
use crate::model::units::counted;

/// So many blocks of a side are named.
const BLOCKS: usize = 3;

/// A rule in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The chain that it stands in.
    pub chain: &'static str,
    /// What it accepts.
    pub what: String,
    /// Where that comes from.
    pub from: String,
    /// Where that goes to.
    pub to: String,
    /// How many flows it carries.
    pub flows: u64,
    /// When one of them was last seen, if the plan knows.
    pub last_seen: Option<Timestamp>,
}

/// The rules of a plan, in their order.
pub fn lines(plan: &Plan) -> Vec<Line> {
    match &plan.general {
        None => { plan.rules.iter() }
            .map(|rule| exact(plan, rule))
            .collect(),
        Some(general) => { general.rules.iter() }
            .map(|rule| generalized(plan, general, rule))
            .collect(),
    }
}

fn exact(plan: &Plan, rule: &Rule) -> Line {
    let (from, to) = match &rule.matching {
        Matching::Product {
            sources,
            destinations,
        } => (
            blocks(sources, rule.family, BLOCKS),
            blocks(destinations, rule.family, BLOCKS),
        ),
        Matching::Listed(elements) => {
            let listed = format!(
                "listed one by one, {}",
                counted(elements.len() as u64, "pair")
            );
            (listed.clone(), listed)
        }
    };
    let mut what = title(rule, &plan.options.services);
    if rule.translated {
        what += ", published";
    }
    Line {
        chain: rule.chain.name(),
        what,
        from,
        to,
        flows: rule.tally.flows,
        last_seen: rule.tally.last_seen,
    }
}

fn generalized(plan: &Plan, general: &General, rule: &Accept) -> Line {
    let key = &rule.place.key;
    let [from, to] = words::section(general, key);
    let side = |name: String, matched: &Match| match matched {
        Match::All => name,
        Match::Blocks(of) => format!("{name}: {}", some(of, key.family)),
    };
    let (from, to) = if rule.pairs.is_empty() {
        (side(from, &rule.sources), side(to, &rule.destinations))
    } else {
        let listed = counted(rule.pairs.len() as u64, "pair");
        let listed = |name: String| format!("{name}: listed one by one, {listed}");
        (listed(from), listed(to))
    };
    Line {
        chain: key.chain.name(),
        what: words::note(plan, general, rule, usize::MAX),
        from,
        to,
        flows: rule.flows,
        last_seen: None,
    }
}

fn some(of: &[Block], family: Family) -> String {
    blocks(of, family, BLOCKS)
}
