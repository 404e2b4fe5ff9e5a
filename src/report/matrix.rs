//! Who talks with whom: flows by where they come from, where they go to, and the service.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::places::{Grain, Place};
use super::services::Names;
use crate::model::record::Record;
use crate::rules::direction::destination;
use crate::rules::text;

/// So many places are shown on each side.
pub const PLACES: usize = 9;
/// So many services are shown.
pub const SERVICES: usize = 8;
/// What stands for all other services.
pub const OTHERS: &str = "other services";

/// Flows of one service from one place to another, each by its number in [`Matrix`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    /// Where they come from.
    pub from: usize,
    /// What for.
    pub service: usize,
    /// Where they go to.
    pub to: usize,
    /// How many there are.
    pub flows: u64,
}

/// The sums.
#[derive(Clone, Debug, Default)]
pub struct Matrix {
    /// Where flows come from.
    pub sources: Vec<Place>,
    /// What for, those of most flows first; what stands for the rest is the last.
    pub services: Vec<String>,
    /// Where flows go to.
    pub destinations: Vec<Place>,
    /// The sums that are not zero, sorted.
    pub cells: Vec<Cell>,
    /// The services from one place to another, each with its flows, those of most first.
    pairs: BTreeMap<(usize, usize), Vec<(String, u64)>>,
}

impl Matrix {
    /// That of some flows.
    pub fn new(records: &[&Record], names: Names<'_>) -> Self {
        let grain = [Grain::Network, Grain::Zone].into_iter().find(|grain| {
            let mut ends: [BTreeSet<Place>; 2] = Default::default();
            for record in records {
                let [from, to] = places(record, names, *grain);
                ends[0].insert(from);
                ends[1].insert(to);
            }
            ends.iter().all(|places| places.len() <= PLACES)
        });
        let grain = grain.unwrap_or(Grain::Zone);
        let mut sums: BTreeMap<(Place, String, Place), u64> = BTreeMap::new();
        for record in records {
            let [from, to] = places(record, names, grain);
            let (_, service) = destination(&record.identity);
            let service = text::service(record.identity.protocol, service, names.services);
            *sums.entry((from, service, to)).or_default() += 1;
        }
        let sources = most(
            sums.iter().map(|((from, ..), flows)| (from, *flows)),
            PLACES,
        );
        let services = most(
            sums.iter()
                .map(|((_, service, _), flows)| (service, *flows)),
            SERVICES,
        );
        let destinations = most(sums.iter().map(|((.., to), flows)| (to, *flows)), PLACES);
        let mut matrix = Self {
            sources: shown(sources, Place::Others),
            services: Vec::new(),
            destinations: shown(destinations, Place::Others),
            cells: Vec::new(),
            pairs: BTreeMap::new(),
        };
        let (mut by_size, are_all) = services;
        matrix.services.append(&mut by_size);
        if !are_all {
            matrix.services.push(OTHERS.to_owned());
        }
        let mut cells: BTreeMap<(usize, usize, usize), u64> = BTreeMap::new();
        let mut pairs: BTreeMap<(usize, usize), BTreeMap<String, u64>> = BTreeMap::new();
        for ((from, service, to), flows) in sums {
            let (from, to) = (
                place(&matrix.sources, &from),
                place(&matrix.destinations, &to),
            );
            let at = (from, place(&matrix.services, &service), to);
            *cells.entry(at).or_default() += flows;
            *pairs
                .entry((from, to))
                .or_default()
                .entry(service)
                .or_default() += flows;
        }
        let pairs = pairs.into_iter().map(|(ends, services)| {
            let mut services: Vec<(String, u64)> = services.into_iter().collect();
            services.sort_by_key(|(_, flows)| Reverse(*flows));
            (ends, services)
        });
        matrix.pairs = pairs.collect();
        let cells = cells.into_iter().map(|((from, service, to), flows)| Cell {
            from,
            service,
            to,
            flows,
        });
        matrix.cells = cells.collect();
        matrix
    }

    /// Services from one place to another with their flows, those of most first.
    pub fn between(&self, from: usize, to: usize) -> &[(String, u64)] {
        self.pairs.get(&(from, to)).map_or(&[], Vec::as_slice)
    }
}

fn places(record: &Record, names: Names<'_>, grain: Grain) -> [Place; 2] {
    let (to, _) = destination(&record.identity);
    [record.identity.source, to].map(|address| names.places.of(address, grain))
}

/// Those of most flows, and whether these are all.
fn most<'a, T: Ord + Clone + 'a>(
    sums: impl Iterator<Item = (&'a T, u64)>,
    most: usize,
) -> (Vec<T>, bool) {
    let mut all: BTreeMap<&T, u64> = BTreeMap::new();
    for (one, flows) in sums {
        *all.entry(one).or_default() += flows;
    }
    let mut all: Vec<(&T, u64)> = all.into_iter().collect();
    all.sort_by_key(|(one, flows)| (Reverse(*flows), *one));
    let are_all = all.len() <= most;
    // One that stands for the rest takes a place too.
    let most = if are_all { most } else { most - 1 };
    (
        all.into_iter()
            .take(most)
            .map(|(one, _)| one.clone())
            .collect(),
        are_all,
    )
}

/// In the order of a drawing, with what stands for the rest.
fn shown(most: (Vec<Place>, bool), rest: Place) -> Vec<Place> {
    let (mut places, are_all) = most;
    if !are_all {
        places.push(rest);
    }
    places.sort();
    places
}

/// The number of one, or of what stands for the rest.
fn place<T: PartialEq + Rest>(all: &[T], one: &T) -> usize {
    let found = all.iter().position(|other| other == one);
    found.unwrap_or_else(|| all.iter().position(Rest::is_rest).unwrap_or(0))
}

/// What may stand for all that has no room.
trait Rest {
    fn is_rest(&self) -> bool;
}

impl Rest for Place {
    fn is_rest(&self) -> bool {
        *self == Self::Others
    }
}

impl Rest for String {
    fn is_rest(&self) -> bool {
        self == OTHERS
    }
}
