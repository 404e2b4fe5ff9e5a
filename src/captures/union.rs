//! The union of captures.
//!
//! Each flow keeps the connections of every list that it stood in. What they add up to is found out at the
//! end, when all captures are known (`tally`), so that neither order nor grouping matters: a union, written
//! and read again, is worth as much as what it was made of.
//!
//! A flow takes 136 bytes in one array, and 8 and a tag byte in a hash table of indices, besides the room that
//! both have in reserve. A translation takes 48 more, and standing in several lists 16 for each.

mod tally;

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::ops::ControlFlow;
use std::sync::Arc;

use hashbrown::HashTable;

use crate::captures::reader::Sink;
use crate::model::capture::Capture;
use crate::model::learnt::Learnt;
use crate::model::listing::{self, Listing, Part};
use crate::model::record::{Identity, Record};
use crate::model::ruled::{self, Denied, Ruled, Told};
use crate::model::timestamp::earliest;
use crate::model::usage::Usage;

use tally::Tally;

/// Flows by identity, with the lists that they stood in.
#[derive(Debug, Default)]
pub struct Collection {
    /// By number of list.
    captures: Vec<Capture>,
    /// Why lists lack flows, as far as that was found in reading them.
    found: Vec<(u32, String)>,
    flows: Vec<Flow>,
    index: HashTable<Slot>,
    hasher: RandomState,
    /// What decided on flows, and which names led to them.
    told: Told,
    /// Those that did not get through.
    denied: HashMap<Identity, (Flow, Option<Arc<Ruled>>)>,
}

/// Of the size of a [`listing::Flow`], so that the array of these becomes an array of those where it lies.
#[derive(Debug)]
struct Flow {
    /// Its connections are found out at the end, and what they have carried if it is of several lists.
    record: Record,
    parts: Parts,
}

/// Lists, or captures, and what was seen there. Nearly all flows stand in one.
#[derive(Debug)]
enum Parts {
    /// What connections have carried is in the record then.
    One(u32, u64),
    Many(Vec<Part>),
}

impl Parts {
    /// Those of a flow that comes for the first time.
    fn new(record: &mut Record, seen_in: &[Part]) -> Self {
        if let [only] = seen_in {
            return Self::One(only.capture, only.connections);
        }
        record.usage = None;
        let mut parts = Self::Many(Vec::new());
        for seen in seen_in {
            parts.add(&mut record.usage, seen);
        }
        parts
    }

    fn lists(&self) -> impl Iterator<Item = u32> {
        let (one, many) = match self {
            Self::One(list, _) => (Some(*list), [].as_slice()),
            Self::Many(parts) => (None, parts.as_slice()),
        };
        one.into_iter().chain(many.iter().map(|seen| seen.capture))
    }

    fn into_vec(self) -> Vec<Part> {
        match self {
            Self::One(capture, connections) => vec![Part::new(capture, connections)],
            Self::Many(parts) => parts,
        }
    }

    /// Connections of the same list add up: its flows may have become one here, when their source ports
    /// were folded, and text has a line for each connection. `usage` is that of the record.
    fn add(&mut self, usage: &mut Option<Box<Usage>>, more: &Part) {
        match self {
            Self::One(own, connections) if *own == more.capture => {
                *connections = connections.saturating_add(more.connections);
                Usage::join(usage, more.usage.as_deref());
            }
            Self::One(own, connections) => {
                let first = Part {
                    usage: usage.take(),
                    ..Part::new(*own, *connections)
                };
                *self = Self::Many(vec![first, more.clone()]);
            }
            Self::Many(parts) => {
                let known = parts.iter_mut().find(|seen| seen.capture == more.capture);
                match known {
                    Some(known) => {
                        known.connections = known.connections.saturating_add(more.connections);
                        Usage::join(&mut known.usage, more.usage.as_deref());
                    }
                    None => parts.push(more.clone()),
                }
            }
        }
    }
}

impl Sink for Collection {
    fn capture(&mut self, capture: Capture) -> u32 {
        self.captures.push(capture);
        u32::try_from(self.captures.len() - 1).expect("fewer lists than 2^32")
    }

    fn incomplete(&mut self, capture: u32, why: &str) {
        self.found.push((capture, why.to_owned()));
    }

    fn flow(&mut self, mut record: Record, seen_in: &[Part]) -> ControlFlow<()> {
        let hash = self.hasher.hash_one(&record.identity) as u32;
        let found = self.index.find(spread(hash), |slot| {
            slot.hash == hash && self.flows[slot.at as usize].record.identity == record.identity
        });
        if let Some(slot) = found {
            self.flows[slot.at as usize].join(record, seen_in);
            return ControlFlow::Continue(());
        }
        let at = u32::try_from(self.flows.len()).expect("fewer flows than 2^32");
        let rehash = |slot: &Slot| spread(slot.hash);
        self.index
            .insert_unique(spread(hash), Slot { at, hash }, rehash);
        let parts = Parts::new(&mut record, seen_in);
        self.flows.push(Flow { record, parts });
        ControlFlow::Continue(())
    }

    fn ruled(&mut self, record: &Record, ruled: Ruled) {
        ruled::keep_last(&mut self.told.rules, &record.identity, Arc::new(ruled));
    }

    fn learnt(&mut self, record: &Record, names: Vec<Learnt>) {
        self.told.learn(&record.identity, names);
    }

    fn denied(&mut self, mut record: Record, seen_in: &[Part], ruled: Option<Ruled>) {
        let ruled = ruled.map(Arc::new);
        match self.denied.get_mut(&record.identity) {
            Some((known, decided)) => {
                known.join(record, seen_in);
                // None is less than any.
                *decided = decided.take().max(ruled);
            }
            None => {
                let parts = Parts::new(&mut record, seen_in);
                let identity = record.identity.clone();
                self.denied
                    .insert(identity, (Flow { record, parts }, ruled));
            }
        }
    }
}

/// Where a flow is, and its hash, so that the table grows without looking at the flows, which are all over the memory.
#[derive(Clone, Copy, Debug)]
struct Slot {
    at: u32,
    hash: u32,
}

/// What the table takes for the hash: it looks at the lowest bits and the highest ones.
const fn spread(hash: u32) -> u64 {
    (hash as u64) << 32 | hash as u64
}

impl Flow {
    fn join(&mut self, record: Record, seen_in: &[Part]) {
        let own = &mut self.record;
        own.first_seen = earliest(own.first_seen, record.first_seen);
        own.last_seen = own.last_seen.max(record.last_seen);
        own.confirmed |= record.confirmed;
        own.classic = own.classic.max(record.classic);
        own.origin = own.origin.and(record.origin);
        match seen_in {
            [only] => {
                let more = Part {
                    usage: record.usage,
                    ..Part::new(only.capture, only.connections)
                };
                self.parts.add(&mut own.usage, &more);
            }
            _ => {
                for seen in seen_in {
                    self.parts.add(&mut own.usage, seen);
                }
            }
        }
    }
}

impl Collection {
    /// Number of flows.
    pub fn len(&self) -> usize {
        self.flows.len()
    }

    /// The captures as their files describe them, by number of list.
    pub fn captures(&self) -> &[Capture] {
        &self.captures
    }

    /// Sorts captures and adds up connections. The flows are in the order in which they came.
    pub fn finish(self) -> Listing {
        let Self {
            mut captures,
            found,
            flows,
            index,
            told,
            denied,
            ..
        } = self;
        drop(index);
        for (list, why) in &found {
            captures[*list as usize].lacks_flows(why);
        }
        for capture in &mut captures {
            // Older versions left it to the reader to look at them.
            if let (true, Some(gaps)) = (capture.has_long_gaps(), capture.gaps_in_words()) {
                capture.lacks_flows(&gaps);
            }
        }
        let mut used = vec![false; captures.len()];
        for flow in flows.iter().chain(denied.values().map(|(flow, _)| flow)) {
            for list in flow.parts.lists() {
                used[list as usize] = true;
            }
        }
        let mut sorted: Vec<Capture> = captures
            .iter()
            .zip(&used)
            // Nothing at all about no flows is worth no mention.
            .filter(|(capture, used)| **used || **capture != Capture::default())
            .map(|(capture, _)| capture.clone())
            .collect();
        sorted.sort_unstable();
        sorted.dedup();
        let numbers: Vec<u32> = captures
            .iter()
            .map(|capture| sorted.binary_search(capture).unwrap_or_default() as u32)
            .collect();
        let tally = Tally::new(&sorted);
        let several = sorted.len() > 1;
        let finish = |Flow {
                          mut record,
                          mut parts,
                      }| {
            parts.renumber(&numbers, &mut record.usage);
            match &parts {
                Parts::One(_, connections) => record.connections = *connections,
                Parts::Many(parts) => {
                    record.connections = tally.connections(parts);
                    record.usage = tally.usage(parts).map(Box::new);
                }
            }
            listing::Flow {
                record,
                seen_in: if several {
                    parts.into_vec()
                } else {
                    Vec::new()
                },
            }
        };
        let denied = denied.into_values().map(|(flow, ruled)| Denied {
            flow: finish(flow),
            ruled,
        });
        let mut denied: Vec<Denied> = denied.collect();
        denied.sort_unstable_by(|a, b| a.flow.record.identity.cmp(&b.flow.record.identity));
        Listing {
            flows: flows.into_iter().map(finish).collect(),
            captures: sorted,
            told: Told { denied, ..told },
        }
    }
}

impl Parts {
    /// From lists to captures. Lists of the same capture are the same list, as far as one can know, or one
    /// is the older: the greater number counts. `usage` is that of the record.
    fn renumber(&mut self, numbers: &[u32], usage: &mut Option<Box<Usage>>) {
        match self {
            Self::One(list, _) => *list = numbers[*list as usize],
            Self::Many(parts) => {
                for seen in parts.iter_mut() {
                    seen.capture = numbers[seen.capture as usize];
                }
                parts.sort_unstable_by_key(|seen| seen.capture);
                parts.dedup_by(|dropped, kept| {
                    let same = dropped.capture == kept.capture;
                    if same {
                        kept.connections = kept.connections.max(dropped.connections);
                        if dropped.usage > kept.usage {
                            kept.usage = dropped.usage.take();
                        }
                    }
                    same
                });
                match parts.as_mut_slice() {
                    [only] => {
                        *usage = only.usage.take();
                        *self = Self::One(only.capture, only.connections);
                    }
                    _ => parts.shrink_to_fit(),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
