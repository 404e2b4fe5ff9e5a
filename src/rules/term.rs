//! A rule taken apart into terms, for firewalls that have neither sets nor pairs: one condition of each kind.

use std::collections::BTreeMap;

use super::baseline::Baseline;
use super::block::{Block, Family};
use super::direction::Chain;
use super::general;
use super::group::Matching;
use super::iptables::{COMMENT, Families};
use super::plan::Plan;
use super::ports::PortRange;
use super::rule::Rule;
use super::text;
use crate::model::record::{Protocol, Service};

/// What a term says of protocols' ports and types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// Nothing.
    All,
    /// These destination ports, and these source ports: none at all stand for all.
    Ports(Vec<PortRange>, Vec<PortRange>),
    /// These types of ICMP, with the code where it is a condition.
    Types(Vec<(u8, Option<u8>)>),
}

/// A condition of each kind. What is empty or `None` is no condition.
#[derive(Clone, Debug)]
pub struct Term {
    /// The chain that it stands in.
    pub chain: Chain,
    /// Whether it accepts. What does not, drops, and comes before all that accepts.
    pub accepts: bool,
    /// Whether it is there whatever was seen.
    pub is_baseline: bool,
    /// Whether it is for IPv4 or IPv6; `None` for both.
    pub family: Option<Family>,
    /// Interfaces that packets come from.
    pub from: Vec<String>,
    /// Interfaces that they go to.
    pub to: Vec<String>,
    /// Sources.
    pub sources: Option<Vec<Block>>,
    /// Destinations, as the filter sees them.
    pub destinations: Option<Vec<Block>>,
    /// Protocols: several only where they have ports.
    pub protocols: Vec<Protocol>,
    /// Ports or types.
    pub what: What,
    /// Whether only connections with a translated destination are meant.
    pub is_translated: bool,
    /// Conntrack zone.
    pub zone: u16,
    /// What is accepted, in a word or two.
    pub title: String,
    /// What it is for.
    pub note: String,
}

impl Term {
    /// The families that it is for, of those that are asked for.
    pub fn families(&self, families: Families) -> Vec<Family> {
        { [Family::V4, Family::V6].into_iter() }
            .filter(|&family| families.has(family) && self.family.is_none_or(|one| one == family))
            .collect()
    }

    /// Where it is for and what of, to tell people who look for it.
    pub fn place(&self, most: usize) -> String {
        let family = self.family.unwrap_or(Family::V4);
        let side = |interfaces: &[String], blocks: &Option<Vec<Block>>| match blocks {
            Some(blocks) => text::blocks(blocks, family, most),
            None if interfaces.is_empty() => "anywhere".to_owned(),
            None => text::plain(&interfaces.join("+"), 40),
        };
        format!(
            "{}: {}, {} to {}",
            self.chain.name(),
            self.title,
            side(&self.from, &self.sources),
            side(&self.to, &self.destinations)
        )
    }
}

/// The terms of a plan by chain: those that drop first, then those of the baseline, then the rules in their order.
pub fn terms(plan: &Plan) -> Vec<Term> {
    let mut terms = Vec::new();
    if let Some(general) = &plan.general {
        terms.extend(general::terms::astray(plan, general));
    }
    terms.extend(plan.chains.iter().flat_map(|&chain| baseline(chain)));
    match &plan.general {
        Some(general) => terms.extend(general::terms::terms(plan, general)),
        None => terms.extend(plan.rules.iter().flat_map(|rule| of_rule(plan, rule))),
    }
    terms.sort_by_key(|term| term.chain);
    terms
}

fn baseline(chain: Chain) -> impl Iterator<Item = Term> {
    Baseline::of(chain).iter().map(move |standing| Term {
        family: Some(Family::V6),
        is_baseline: true,
        protocols: vec![Protocol::ICMPV6],
        what: What::Types(standing.types.iter().map(|&one| (one, None)).collect()),
        title: standing
            .why
            .split(':')
            .next()
            .unwrap_or_default()
            .to_owned(),
        note: standing.why.to_owned(),
        ..Term::new(chain)
    })
}

impl Term {
    /// One that accepts everything in a chain.
    pub(super) const fn new(chain: Chain) -> Self {
        Self {
            chain,
            accepts: true,
            is_baseline: false,
            family: None,
            from: Vec::new(),
            to: Vec::new(),
            sources: None,
            destinations: None,
            protocols: Vec::new(),
            what: What::All,
            is_translated: false,
            zone: 0,
            title: String::new(),
            note: String::new(),
        }
    }
}

/// What services say: they are of one kind, those of a rule.
pub(super) fn what(services: &[Service], sports: &[PortRange], coded: bool) -> What {
    match services.first() {
        Some(Service::Port(_)) => What::Ports(text::ports(services), sports.to_vec()),
        Some(Service::Icmp(..)) => {
            let types = services.iter().filter_map(|service| match *service {
                Service::Icmp(icmp_type, code) => Some((icmp_type, coded.then_some(code))),
                _ => None,
            });
            What::Types(types.collect())
        }
        Some(Service::None) | None => What::All,
    }
}

fn of_rule(plan: &Plan, rule: &Rule) -> Vec<Term> {
    let names = &plan.options.services;
    let one = Term {
        family: Some(rule.family),
        protocols: rule.protocols.clone(),
        what: what(&rule.services, &rule.sports, rule.coded.is_some()),
        is_translated: rule.translated,
        zone: rule.zone.unwrap_or(0),
        title: text::title(rule, names),
        note: text::comment(rule, &plan.options, COMMENT),
        ..Term::new(rule.chain)
    };
    let elements = match &rule.matching {
        Matching::Product {
            sources,
            destinations,
        } => {
            return vec![Term {
                sources: Some(sources.clone()),
                destinations: Some(destinations.clone()),
                ..one
            }];
        }
        Matching::Listed(elements) => elements,
    };
    let mut by_server: BTreeMap<_, Vec<Block>> = BTreeMap::new();
    for element in elements {
        let key = (element.service, element.destination, element.sports);
        by_server.entry(key).or_default().push(element.source);
    }
    let terms = by_server
        .into_iter()
        .map(|((service, destination, sports), sources)| {
            let services = service.map_or_else(|| rule.services.clone(), |one| vec![one]);
            let sports = sports.map_or_else(|| rule.sports.clone(), |one| vec![one]);
            let title = text::titles(rule.protocols[0], &services, names);
            Term {
                sources: Some(sources),
                destinations: Some(vec![Block::single(destination)]),
                what: what(&services, &sports, rule.coded.is_some()),
                note: title.clone(),
                title,
                ..one.clone()
            }
        });
    terms.collect()
}
