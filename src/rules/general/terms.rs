//! Generalized rules as terms, for firewalls that have neither sets nor pairs.

use std::collections::BTreeMap;

use super::General;
use super::accept::{Accept, Match};
use super::evidence::{Kind, Target};
use super::links::{LINK_LOCAL, ZoneId};
use super::words;
use crate::model::record::Service;
use crate::rules::block::{Block, Family, subtract};
use crate::rules::direction::Chain;
use crate::rules::iptables::COMMENT;
use crate::rules::plan::Plan;
use crate::rules::ports::{self, PortRange};
use crate::rules::term::{Term, What, what};
use crate::rules::text;

/// Inner addresses do not come from the Internet side, nor do they lie there.
pub fn astray(plan: &Plan, general: &General) -> Vec<Term> {
    let links = &general.links;
    let mut terms = Vec::new();
    for family in [Family::V4, Family::V6] {
        let Some(internet) = links.internet(family) else {
            continue;
        };
        // A part of an inner network may have a way of its own there.
        let there: Vec<Block> = { links.of_zone(internet, family) }
            .map(|net| net.block)
            .collect();
        let local = subtract(&links.local(family), &there);
        let names = &links.zones[internet].names;
        if local.is_empty() || names.is_empty() {
            continue;
        }
        for &chain in &plan.chains {
            let one = Term {
                accepts: false,
                family: Some(family),
                title: "inner addresses".to_owned(),
                ..Term::new(chain)
            };
            if chain != Chain::Output {
                terms.push(Term {
                    from: names.clone(),
                    sources: Some(local.clone()),
                    note: "inner addresses do not come from there".to_owned(),
                    ..one.clone()
                });
            }
            if chain == Chain::Forward {
                terms.push(Term {
                    to: names.clone(),
                    destinations: Some(local.clone()),
                    note: "inner addresses do not lie there".to_owned(),
                    ..one
                });
            }
        }
    }
    terms
}

/// The rules.
pub fn terms(plan: &Plan, general: &General) -> Vec<Term> {
    let terms = general.rules.iter();
    terms
        .flat_map(|rule| of_rule(plan, general, rule))
        .collect()
}

fn of_rule(plan: &Plan, general: &General, rule: &Accept) -> Vec<Term> {
    let key = &rule.place.key;
    let one = Term {
        family: (!rule.place.both_families).then_some(key.family),
        from: interfaces(general, rule, key.from),
        to: key
            .to
            .map_or_else(Vec::new, |zone| general.links.zones[zone].names.clone()),
        protocols: rule.protocols.clone(),
        is_translated: matches!(key.target, Target::Translated(..)),
        zone: key.conntrack_zone,
        title: words::title(plan, rule),
        note: words::note(plan, general, rule, COMMENT),
        ..Term::new(key.chain)
    };
    let said = |services: &[Service]| services_said(plan, general, rule, services);
    if rule.pairs.is_empty() {
        let side = |side: &Match, zone: Option<ZoneId>| match side {
            Match::Blocks(blocks) => Some(blocks.clone()),
            // No interface tells link-local addresses from others.
            Match::All if zone == Some(LINK_LOCAL) => {
                Some(vec![Block::of_net("fe80::/10".parse().expect("it is one"))])
            }
            Match::All => None,
        };
        return vec![Term {
            sources: side(&rule.sources, key.from),
            destinations: match key.target {
                Target::Group(group) => Some(vec![Block::single(group)]),
                _ => side(&rule.destinations, key.to),
            },
            what: said(&rule.services),
            ..one
        }];
    }
    let mut by_server: BTreeMap<(Service, u128), Vec<Block>> = BTreeMap::new();
    for &(source, destination, service) in &rule.pairs {
        let sources = by_server.entry((service, destination)).or_default();
        sources.push(source);
    }
    let names = &plan.options.services;
    let terms = by_server
        .into_iter()
        .map(|((service, destination), sources)| {
            let title = match key.kind {
                Kind::Plain | Kind::Both => text::service(rule.protocols[0], service, names),
                Kind::High(..) | Kind::From(_) => one.title.clone(),
            };
            Term {
                sources: Some(sources),
                destinations: Some(vec![Block::single(destination)]),
                what: said(&[service]),
                note: title.clone(),
                title,
                ..one.clone()
            }
        });
    terms.collect()
}

fn interfaces(general: &General, rule: &Accept, zone: Option<ZoneId>) -> Vec<String> {
    let links = &general.links;
    if zone == Some(LINK_LOCAL) {
        if let Some(outside) = words::outside(general, &rule.place.key) {
            let inside = links.zones.iter().flat_map(|zone| &zone.names);
            let mut names: Vec<String> = { inside.filter(|name| !outside.contains(name)) }
                .cloned()
                .collect();
            names.sort_unstable();
            names.dedup();
            return names;
        }
    }
    zone.map_or_else(Vec::new, |zone| links.zones[zone].names.clone())
}

/// Ports and types. Ports of a range that are for rules of their own are left out of it.
fn services_said(plan: &Plan, general: &General, rule: &Accept, services: &[Service]) -> What {
    let key = &rule.place.key;
    match (key.kind, services.first()) {
        (Kind::High(first, last), _) => {
            let except = rule.protocols.iter();
            let except = except.flat_map(|&one| words::except(plan, general, one, (first, last)));
            let except: Vec<Service> = except.collect();
            let range = PortRange { first, last };
            What::Ports(ports::without(range, &text::ports(&except)), Vec::new())
        }
        (Kind::From(port), Some(Service::None)) => {
            let to = match key.chain {
                Chain::Input => PortRange::LOCAL,
                _ => PortRange::UNPRIVILEGED,
            };
            What::Ports(vec![to], vec![PortRange::single(port)])
        }
        (Kind::From(port), _) => what(services, &[PortRange::single(port)], false),
        _ => what(services, &[], key.coded.is_some()),
    }
}
