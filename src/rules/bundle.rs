//! Sets of flows that are products: each of some sources, to each of some destinations, for each of some
//! services. One rule says such a set exactly.

use std::collections::HashMap;
use std::hash::Hash;

use super::block::Block;
use super::seen::Seen;
use super::widening::Widening;
use crate::model::record::Service;

/// Which addresses are gathered first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The sources of a service: its clients.
    Sources,
    /// The destinations of a source: its servers.
    Destinations,
}

/// A product. With widening its blocks hold more than the flows.
#[derive(Clone, Debug)]
pub struct Bundle {
    /// Blocks of sources.
    pub sources: Vec<Block>,
    /// Blocks of destinations.
    pub destinations: Vec<Block>,
    /// The services that all of them share, sorted.
    pub services: Vec<Service>,
    /// The flows, as indices.
    pub members: Vec<usize>,
}

/// All addresses of one side that go with one address of the other and a service.
struct Run {
    set: usize,
    other: u128,
    service: Service,
    members: Vec<usize>,
}

/// Runs that share their set, as a product: all `firsts` with all `seconds`.
struct Merged<A, B> {
    set: usize,
    firsts: Vec<A>,
    seconds: Vec<B>,
    runs: Vec<usize>,
}

/// Makes products of the flows that `members` names, each flow in one of them.
pub fn bundles(flows: &[Seen], members: &[usize], side: Side, widening: &Widening) -> Vec<Bundle> {
    let (runs, sets) = runs(flows, members, side, widening);
    // Both orders are exact. The first one keeps the services of a server together, so it wins a tie.
    let by_server = merge(&runs, |run| run.other, |run| run.service);
    let by_service = merge(&runs, |run| run.service, |run| run.other);
    let parts = if by_server.len() <= by_service.len() {
        by_server
    } else {
        let parts = by_service.into_iter().map(|part| Merged {
            set: part.set,
            firsts: part.seconds,
            seconds: part.firsts,
            runs: part.runs,
        });
        parts.collect()
    };
    let bundles = parts.into_iter().map(|part| {
        let mut others = part.firsts;
        others.sort_unstable();
        let mut services = part.seconds;
        services.sort_unstable();
        let set = sets[part.set].clone();
        let (sources, destinations) = match side {
            Side::Sources => (set, widening.destinations(&others)),
            Side::Destinations => (widening.sources(&others), set),
        };
        let members = part.runs.iter().flat_map(|&run| &runs[run].members);
        Bundle {
            sources,
            destinations,
            services,
            members: members.copied().collect(),
        }
    });
    bundles.collect()
}

/// Gathers runs, and the different sets that they have.
fn runs(
    flows: &[Seen],
    members: &[usize],
    side: Side,
    widening: &Widening,
) -> (Vec<Run>, Vec<Vec<Block>>) {
    let key = |&index: &usize| {
        let seen = &flows[index];
        match side {
            Side::Sources => (seen.destination, seen.service, seen.source),
            Side::Destinations => (seen.source, seen.service, seen.destination),
        }
    };
    let mut members = members.to_vec();
    members.sort_unstable_by_key(key);
    let mut sets = Interned::default();
    let mut runs = Vec::new();
    let same = |one: &usize, other: &usize| {
        let ((a, b, _), (c, d, _)) = (key(one), key(other));
        (a, b) == (c, d)
    };
    for members in members.chunk_by(same) {
        let addresses: Vec<u128> = members.iter().map(|index| key(index).2).collect();
        let (other, service, _) = key(&members[0]);
        let blocks = match side {
            Side::Sources => widening.sources(&addresses),
            Side::Destinations => widening.destinations(&addresses),
        };
        runs.push(Run {
            set: sets.index(blocks),
            other,
            service,
            members: members.to_vec(),
        });
    }
    (runs, sets.values)
}

/// Merges runs into products, in two steps, neither of which adds a flow that was not there. With the server as `first`,
/// the service as `second`, and clients as the sets of the runs:
///
/// ```text
/// runs                    1. same set and first       2. same set and seconds
/// {a b} to s for 80       {a b} to s for {80 443}     {a b} to {s t} for {80 443}
/// {a b} to s for 443      {a b} to t for {80 443}     {a b} to u for {80}
/// {a b} to t for 80       {a b} to u for {80}
/// {a b} to t for 443
/// {a b} to u for 80
/// ```
fn merge<A: Copy + Eq + Hash, B: Copy + Eq + Hash + Ord>(
    runs: &[Run],
    first: impl Fn(&Run) -> A,
    second: impl Fn(&Run) -> B,
) -> Vec<Merged<A, B>> {
    let runs = runs.iter().enumerate();
    let narrow = gather(runs.map(|(index, run)| ((run.set, first(run)), second(run), vec![index])));
    let narrow = narrow.into_iter().map(|((set, first), mut seconds, runs)| {
        seconds.sort_unstable();
        ((set, seconds), first, runs)
    });
    let wide = gather(narrow).into_iter();
    wide.map(|((set, seconds), firsts, runs)| Merged {
        set,
        firsts,
        seconds,
        runs,
    })
    .collect()
}

/// Gathers the values and runs that have the same key, in the order in which the keys come first.
fn gather<K: Clone + Eq + Hash, V>(
    entries: impl Iterator<Item = (K, V, Vec<usize>)>,
) -> Vec<(K, Vec<V>, Vec<usize>)> {
    let mut keys = Interned::default();
    let mut gathered: Vec<(Vec<V>, Vec<usize>)> = Vec::new();
    for (key, value, runs) in entries {
        let at = keys.index(key);
        if at == gathered.len() {
            gathered.push((Vec::new(), Vec::new()));
        }
        gathered[at].0.push(value);
        gathered[at].1.extend(runs);
    }
    let pairs = keys.values.into_iter().zip(gathered);
    pairs
        .map(|(key, (values, runs))| (key, values, runs))
        .collect()
}

/// Different values, numbered as they come: so that what is made of them does not hang on a hash.
struct Interned<T> {
    values: Vec<T>,
    known: HashMap<T, usize>,
}

impl<T> Default for Interned<T> {
    fn default() -> Self {
        Self {
            values: Vec::new(),
            known: HashMap::new(),
        }
    }
}

impl<T: Clone + Eq + Hash> Interned<T> {
    fn index(&mut self, value: T) -> usize {
        *self.known.entry(value).or_insert_with_key(|value| {
            self.values.push(value.clone());
            self.values.len() - 1
        })
    }
}
