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
    /// The destinations that they are admitted to.
    pub destinations: Unobserved,
}

impl Extra {
    /// Addresses that it has of the one side and of the other, multiplied, for all services.
    pub fn count(&self) -> u64 {
        self.sources
            .size()
            .saturating_mul(self.destinations.size())
            .saturating_mul(self.services.len() as u64)
    }
}

/// The addresses of one end that were seen, by service and address of the other end, in order.
type Pairs = BTreeMap<Service, BTreeMap<u128, Vec<u128>>>;

/// The sources that were seen, by service and destination, in order.
#[derive(Debug)]
pub struct Observed<'a> {
    sources: Pairs,
    /// The destinations of each source, where networks of servers count as a whole.
    destinations: Pairs,
    widening: &'a Widening,
}

/// Products of sources and destinations.
type Products = Vec<(Unobserved, Unobserved)>;

impl<'a> Observed<'a> {
    /// Those of the flows that `members` names, all of one class and each from all source ports of a rule.
    pub fn new(
        flows: &[Seen],
        members: impl Iterator<Item = usize>,
        widening: &'a Widening,
    ) -> Self {
        let (mut sources, mut destinations) = (Pairs::new(), Pairs::new());
        for seen in members.map(|index| &flows[index]) {
            let of_service = sources.entry(seen.service).or_default();
            let of_destination = of_service.entry(seen.destination).or_default();
            of_destination.push(seen.source);
            if widening.is_of_servers(seen.destination) {
                let of_service = destinations.entry(seen.service).or_default();
                let of_source = of_service.entry(seen.source).or_default();
                of_source.push(seen.destination);
            }
        }
        for pairs in [&mut sources, &mut destinations] {
            for addresses in pairs.values_mut().flat_map(BTreeMap::values_mut) {
                addresses.sort_unstable();
                addresses.dedup();
            }
        }
        Self {
            sources,
            destinations,
            widening,
        }
    }

    /// What a group of these flows admits beyond them.
    pub fn extras(&self, protocol: Protocol, group: &Group) -> Vec<Extra> {
        let mut found: BTreeMap<Service, Products> = BTreeMap::new();
        match &group.matching {
            Matching::Product {
                sources,
                destinations,
            } => {
                let is_of_servers = { destinations.first() }
                    .is_some_and(|block| self.widening.is_of_servers(block.first()));
                for &service in &group.services {
                    let products = if is_of_servers {
                        self.by_source(service, sources, destinations)
                    } else {
                        self.by_destination(service, sources, destinations)
                    };
                    found.insert(service, products);
                }
            }
            Matching::Listed(elements) => {
                let mut listed: BTreeMap<(Service, Unobserved), Vec<Block>> = BTreeMap::new();
                for element in elements {
                    let services = element.service.as_slice().iter().chain(&group.services);
                    for &service in services {
                        let seen = self.sources(service, element.destination);
                        let extra = self.widening.unobserved(&[element.source], seen);
                        let destinations = listed.entry((service, extra)).or_default();
                        destinations.push(Block::single(element.destination));
                    }
                }
                for ((service, sources), destinations) in listed {
                    let products = found.entry(service).or_default();
                    products.push((sources, destinations.into()));
                }
            }
        }
        let mut merged: BTreeMap<(Unobserved, Unobserved), Vec<Service>> = BTreeMap::new();
        for (service, products) in found {
            for both in products
                .into_iter()
                .filter(|(sources, destinations)| !sources.is_empty() && !destinations.is_empty())
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

    /// For each destination, the sources that were not seen to go there.
    fn by_destination(
        &self,
        service: Service,
        sources: &[Block],
        destinations: &[Block],
    ) -> Products {
        let mut by_sources: BTreeMap<Unobserved, Vec<Block>> = BTreeMap::new();
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
        let products = by_sources.into_iter();
        products
            .map(|(sources, destinations)| (sources, destinations.into()))
            .collect()
    }

    /// For each source, the destinations that it was not seen to go to: where these are networks as a whole, there are few
    /// of them for each source, and many sources of each.
    fn by_source(&self, service: Service, sources: &[Block], destinations: &[Block]) -> Products {
        let mut by_destinations: BTreeMap<Unobserved, Vec<Block>> = BTreeMap::new();
        let mut known = Vec::new();
        if let Some(seen) = self.destinations.get(&service) {
            for block in sources {
                for (&source, seen) in seen.range(block.first()..=block.last()) {
                    known.push(source);
                    let unobserved = self.widening.unobserved_servers(destinations, seen);
                    let extra = by_destinations.entry(unobserved).or_default();
                    extra.push(Block::single(source));
                }
            }
        }
        let products = by_destinations.into_iter();
        let mut products: Products = products
            .map(|(destinations, sources)| (sources.into(), destinations))
            .collect();
        let unknown = self.widening.unobserved(sources, &known);
        let everywhere = self.widening.unobserved_servers(destinations, &[]);
        products.push((unknown, everywhere));
        products
    }

    fn sources(&self, service: Service, destination: u128) -> &[u128] {
        let destinations = self.sources.get(&service);
        destinations
            .and_then(|destinations| destinations.get(&destination))
            .map_or(&[], Vec::as_slice)
    }
}
