//! What a rule admits besides the flows that were seen.

use std::collections::BTreeMap;

use super::block::{Block, without};
use super::group::{Group, Matching};
use super::seen::Seen;
use super::widening::{Unobserved, Widening};
use crate::model::record::{Protocol, Service};

/// Flows that a rule admits and nobody saw: from each of the sources to each of the destinations for each
/// of the services.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Extra {
    /// Its number in the IP header, by which rules and lists name it.
    pub protocol: Protocol,
    /// The services that are admitted.
    pub services: Vec<Service>,
    /// The sources that are admitted and were not seen.
    pub sources: Unobserved,
    /// Blocks of destinations.
    pub destinations: Vec<Block>,
}

impl Extra {
    /// Addresses that it has of the one side and of the other, multiplied, for all services.
    pub fn count(&self) -> u64 {
        let sizes = self.destinations.iter().map(|block| block.size());
        let destinations = sizes.fold(0_u64, u64::saturating_add);
        self.sources
            .size()
            .saturating_mul(destinations)
            .saturating_mul(self.services.len() as u64)
    }
}

/// The sources that were seen, by service and destination, in order.
#[derive(Debug)]
pub struct Observed<'a> {
    sources: BTreeMap<Service, BTreeMap<u128, Vec<u128>>>,
    widening: &'a Widening,
}

/// By what is extra of the sources: the destinations.
type BySources = BTreeMap<Unobserved, Vec<Block>>;

impl<'a> Observed<'a> {
    /// Those of the flows that `members` names, all of one class and each from all source ports of a rule.
    pub fn new(
        flows: &[Seen],
        members: impl Iterator<Item = usize>,
        widening: &'a Widening,
    ) -> Self {
        let mut observed = Self {
            sources: BTreeMap::new(),
            widening,
        };
        for seen in members.map(|index| &flows[index]) {
            let destinations = observed.sources.entry(seen.service).or_default();
            destinations
                .entry(seen.destination)
                .or_default()
                .push(seen.source);
        }
        let destinations = observed.sources.values_mut();
        for sources in destinations.flat_map(BTreeMap::values_mut) {
            sources.sort_unstable();
        }
        observed
    }

    /// What a group of these flows admits beyond them.
    pub fn extras(&self, protocol: Protocol, group: &Group) -> Vec<Extra> {
        let mut found: BTreeMap<Service, BySources> = BTreeMap::new();
        match &group.matching {
            Matching::Product {
                sources,
                destinations,
            } => {
                for &service in &group.services {
                    let by_sources = self.of_product(service, sources, destinations);
                    found.insert(service, by_sources);
                }
            }
            Matching::Listed(elements) => {
                for element in elements {
                    let services = element.service.as_slice().iter().chain(&group.services);
                    for &service in services {
                        let seen = self.sources(service, element.destination);
                        let extra = self.widening.unobserved(&[element.source], seen);
                        let destinations = found.entry(service).or_default().entry(extra);
                        destinations
                            .or_default()
                            .push(Block::single(element.destination));
                    }
                }
            }
        }
        let mut merged: BTreeMap<(Unobserved, Vec<Block>), Vec<Service>> = BTreeMap::new();
        for (service, by_sources) in found {
            for both in by_sources
                .into_iter()
                .filter(|(sources, _)| !sources.is_empty())
            {
                merged.entry(both).or_default().push(service);
            }
        }
        let extras = merged.into_iter();
        extras
            .map(|((sources, destinations), services)| Extra {
                protocol,
                services,
                sources,
                destinations,
            })
            .collect()
    }

    fn of_product(&self, service: Service, sources: &[Block], destinations: &[Block]) -> BySources {
        let mut by_sources = BySources::new();
        let mut known = Vec::new();
        if let Some(seen) = self.sources.get(&service) {
            for block in destinations {
                for (&destination, seen) in seen.range(block.first()..=block.last()) {
                    known.push(destination);
                    let unobserved = self.widening.unobserved(sources, seen);
                    let extra = by_sources.entry(unobserved).or_default();
                    extra.push(Block::single(destination));
                }
            }
        }
        let unknown = without(destinations, &known);
        if !unknown.is_empty() {
            let all = by_sources
                .entry(self.widening.unobserved(sources, &[]))
                .or_default();
            all.extend(unknown);
            all.sort_unstable();
        }
        by_sources
    }

    fn sources(&self, service: Service, destination: u128) -> &[u128] {
        let destinations = self.sources.get(&service);
        destinations
            .and_then(|destinations| destinations.get(&destination))
            .map_or(&[], Vec::as_slice)
    }
}
