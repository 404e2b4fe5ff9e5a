//! The cells of a rung, and when each is ripe: the conditions under which a rule is made of what was seen.

use std::collections::HashMap;

use super::ladder::{Ladder, Rung};

/// Fewer clients of one server are not the network.
const FEW: u32 = 3;

/// Cells of a rung.
#[derive(Clone, Debug)]
pub struct Cells {
    /// The cell of each flow.
    pub of: Vec<u32>,
    /// The atoms of each cell: of sources, of destinations.
    pub atoms: Vec<(u32, u32)>,
    /// The day on which each was ripe.
    pub ripe: Vec<Option<u16>>,
    /// The day of its first flow.
    pub first: Vec<u16>,
}

impl Ladder<'_> {
    /// The cells of a rung, given which flows are the first of their addresses.
    pub(super) fn cells_by(&self, rung: Rung, firsts: &Firsts) -> Cells {
        let sources = &self.sources.steps[rung.sources];
        let destinations = &self.destinations.steps[rung.destinations];
        let atoms = |&(source, destination): &(u32, u32)| {
            let source = sources.of[source as usize];
            (source, destinations.of[destination as usize])
        };
        let (of, cells) = numbered(self.ends.iter().map(atoms));
        let mut members = vec![Members::default(); cells.len()];
        let new_source = &firsts.sources[rung.destinations];
        let new_destination = &firsts.destinations[rung.sources];
        let mut of_service = vec![0_u32; sources.atoms.len()];
        for (flow, relation) in self.relations.iter().enumerate() {
            let cell = of[flow] as usize;
            let needs = (
                sources.need[cells[cell].0 as usize],
                destinations.need[cells[cell].1 as usize],
            );
            let day = relation.first;
            if day >= self.days {
                break;
            }
            let of_service = &mut of_service[cells[cell].0 as usize];
            *of_service += u32::from(firsts.anywhere[flow]);
            let of_cell = &mut members[cell];
            if new_source[flow] {
                of_cell.sources += 1;
                if of_cell.last != Some(day) {
                    of_cell.days += 1;
                    of_cell.last = Some(day);
                }
            }
            of_cell.destinations += u32::from(new_destination[flow]);
            // A network that uses the service as a whole uses each server of it that some of it do.
            let shares = !self.sources.is_internet && self.gives.is_none();
            let is_wide = self.sources.is_internet && rung.sources > 0;
            if of_cell.ripe.is_none()
                && needs.0.is_some_and(|need| {
                    need <= of_cell.sources
                        || shares && need <= *of_service && FEW <= of_cell.sources
                })
                && needs.1.is_some_and(|need| need <= of_cell.destinations)
                && (!is_wide || of_cell.days >= strange_days(self.days))
            {
                of_cell.ripe = Some(day);
            }
        }
        let mut first = vec![u16::MAX; cells.len()];
        for (cell, relation) in of.iter().zip(self.relations) {
            let first = &mut first[*cell as usize];
            *first = (*first).min(relation.first);
        }
        Cells {
            first,
            of,
            atoms: cells,
            ripe: members.into_iter().map(|one| one.ripe).collect(),
        }
    }
}

/// Clients from the Internet have to have come on so many days before everybody may. In a short capture it is fewer, or no
/// day would be left to try that on.
const fn strange_days(days: u16) -> u16 {
    if days < 6 { 2 } else { 3 }
}

/// Members of a cell, as they come.
#[derive(Clone, Copy, Debug, Default)]
struct Members {
    sources: u32,
    destinations: u32,
    last: Option<u16>,
    days: u16,
    ripe: Option<u16>,
}

/// Which flows are the first of their source with their atom of destinations, for each level of these, and the other way
/// round. A cell has as many sources as it has such flows, so that none of them keeps a list.
pub(super) struct Firsts {
    sources: Vec<Vec<bool>>,
    destinations: Vec<Vec<bool>>,
    /// Which flows are the first of their source at all.
    anywhere: Vec<bool>,
}

impl Firsts {
    /// Those of a service.
    pub(super) fn new(ladder: &Ladder<'_>) -> Self {
        let firsts = |keys: &mut dyn Iterator<Item = (u32, u32)>| {
            let (of, cells) = numbered(keys);
            let mut next = 0;
            let first = of.iter().map(|cell| {
                let is_first = *cell == next;
                next += u32::from(is_first);
                is_first
            });
            let first: Vec<bool> = first.collect();
            debug_assert_eq!(next as usize, cells.len());
            first
        };
        let ends = &ladder.ends;
        let sources = ladder.destinations.steps.iter().map(|steps| {
            let mut keys = ends
                .iter()
                .map(|(source, destination)| (*source, steps.of[*destination as usize]));
            firsts(&mut keys)
        });
        let destinations = ladder.sources.steps.iter().map(|steps| {
            let mut keys = ends
                .iter()
                .map(|(source, destination)| (steps.of[*source as usize], *destination));
            firsts(&mut keys)
        });
        Self {
            anywhere: firsts(&mut ends.iter().map(|(source, _)| (*source, 0))),
            sources: sources.collect(),
            destinations: destinations.collect(),
        }
    }
}

/// Pairs, numbered as they come, and the number of each.
fn numbered(pairs: impl Iterator<Item = (u32, u32)>) -> (Vec<u32>, Vec<(u32, u32)>) {
    let mut known: HashMap<u64, u32, Plain> = HashMap::default();
    let mut different = Vec::new();
    let of = pairs.map(|pair| {
        let key = u64::from(pair.0) << 32 | u64::from(pair.1);
        *known.entry(key).or_insert_with(|| {
            different.push(pair);
            different.len() as u32 - 1
        })
    });
    (of.collect(), different)
}

/// Hashes pairs of indices. They are numbers that were given in order here, which nobody outside chooses.
type Plain = std::hash::BuildHasherDefault<Mixed>;

/// One number, its bits mixed.
#[derive(Clone, Copy, Debug, Default)]
struct Mixed(u64);

impl std::hash::Hasher for Mixed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        // The multiplier is that of Fibonacci hashing, 2^64 over the golden ratio; both ends of the product are used.
        let product = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = product ^ product >> 32;
    }
}
