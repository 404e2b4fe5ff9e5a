//! One rule, as the plan has it and any firewall can say it.

use std::collections::HashMap;

use super::block::Family;
use super::direction::Chain;
use super::extra::Extra;
use super::group::Matching;
use super::ports::PortRange;
use super::seen::Tally;
use crate::model::record::{Protocol, Service};

/// A rule that accepts.
#[derive(Clone, Debug)]
pub struct Rule {
    /// The chain that it stands in.
    pub chain: Chain,
    /// Whether it is for IPv4 or IPv6: no flow is both.
    pub family: Family,
    /// Conntrack zone; a condition only where the host uses zones at all.
    pub zone: Option<u16>,
    /// Protocols: several only where they have ports.
    pub protocols: Vec<Protocol>,
    /// Type and code of ICMP, where the code is a condition. The services say the same then.
    pub coded: Option<(u8, u8)>,
    /// Whether it accepts only what the host has translated the destination of.
    pub translated: bool,
    /// Services, sorted: ports or ICMP types. Empty where the list has them.
    pub services: Vec<Service>,
    /// Ranges of source ports; empty where the protocol has none or the list has them.
    pub sports: Vec<PortRange>,
    /// The addresses that it matches.
    pub matching: Matching,
    /// How many flows and connections it accepts.
    pub tally: Tally,
    /// Different sources that were seen.
    pub sources: usize,
    /// Different destinations that were seen.
    pub destinations: usize,
    /// What it admits besides.
    pub extras: Vec<Extra>,
}

impl Rule {
    /// The order in a chain: by service, then by destination and source. It does not hang on how much traffic
    /// there was, so that the rulesets of two captures can be compared with diff.
    pub(super) fn order(&self) -> impl Ord + use<> {
        let (listed, destination, source) = match &self.matching {
            Matching::Product {
                sources,
                destinations,
            } => (
                false,
                destinations.first().copied(),
                sources.first().copied(),
            ),
            Matching::Listed(_) => (true, None, None),
        };
        (
            (self.chain, self.family, self.protocols.clone()),
            (self.services.is_empty(), self.services.clone(), listed),
            (destination, source, self.translated),
            (self.zone, self.sports.clone()),
        )
    }
}

/// Makes one rule of those that differ in the protocol only, as those of a name server do.
pub(super) fn merge_protocols(rules: Vec<Rule>) -> Vec<Rule> {
    let mut merged: Vec<Rule> = Vec::with_capacity(rules.len());
    let mut known: HashMap<_, usize> = HashMap::new();
    for rule in rules {
        if !matches!(rule.services.first(), None | Some(Service::Port(_))) {
            merged.push(rule);
            continue;
        }
        let key = (
            (rule.chain, rule.family, rule.zone, rule.translated),
            (rule.services.clone(), rule.sports.clone()),
            rule.matching.clone(),
        );
        let at = *known.entry(key).or_insert(merged.len());
        match merged.get_mut(at) {
            None => merged.push(rule),
            Some(same) => {
                same.protocols.extend(rule.protocols);
                same.tally.add(&rule.tally);
                same.sources = same.sources.max(rule.sources);
                same.destinations = same.destinations.max(rule.destinations);
                same.extras.extend(rule.extras);
            }
        }
    }
    merged
}
