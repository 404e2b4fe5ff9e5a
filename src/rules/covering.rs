//! Which sets of source ports hold all of another.

use std::collections::HashMap;

use super::ports::PortRange;

/// Ranges of more ports than this are looked through one by one. There are few: that of unprivileged ports.
const WIDE: u16 = 64;

/// Sets of source ports, each sorted and without ranges that touch, to be found by what they hold.
#[derive(Debug)]
pub struct Covering<'a> {
    sets: Vec<&'a [PortRange]>,
    /// By port: the sets that have it in a range that is not wide.
    by_port: HashMap<u16, Vec<usize>>,
    /// Those that have a wide range.
    wide: Vec<usize>,
    /// Those without a condition on ports.
    empty: Vec<usize>,
}

impl<'a> Covering<'a> {
    /// An index of these sets.
    pub fn new(sets: Vec<&'a [PortRange]>) -> Self {
        let mut by_port: HashMap<u16, Vec<usize>> = HashMap::new();
        let (mut wide, mut empty) = (Vec::new(), Vec::new());
        for (index, set) in sets.iter().enumerate() {
            if set.is_empty() {
                empty.push(index);
            }
            if set.iter().any(|range| range.is_wider_than(WIDE)) {
                wide.push(index);
            }
            for range in set.iter().filter(|range| !range.is_wider_than(WIDE)) {
                for port in range.first..=range.last {
                    by_port.entry(port).or_default().push(index);
                }
            }
        }
        Self {
            sets,
            by_port,
            wide,
            empty,
        }
    }

    /// The sets that hold all of one, as indices; the set itself is one of them.
    pub fn of(&self, set: &[PortRange]) -> impl Iterator<Item = usize> {
        let candidates = match set.first() {
            None => [self.empty.as_slice(), &[]],
            Some(range) => {
                let narrow = self.by_port.get(&range.first);
                [narrow.map_or(&[][..], Vec::as_slice), &self.wide]
            }
        };
        let mut candidates = candidates.concat();
        candidates.sort_unstable();
        candidates.dedup();
        candidates.retain(|&index| holds(self.sets[index], set));
        candidates.into_iter()
    }
}

fn holds(ports: &[PortRange], others: &[PortRange]) -> bool {
    others.iter().all(|other| {
        let after = ports.partition_point(|range| range.first <= other.first);
        let range = ports[..after].last();
        range.is_some_and(|range| range.holds(*other))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::rules::ports::joined;

    fn range() -> impl Strategy<Value = PortRange> {
        prop_oneof![
            4 => (0_u16..20).prop_map(PortRange::single),
            1 => (0_u16..20, 0_u16..100)
                .prop_map(|(first, more)| PortRange { first, last: first + more }),
            1 => Just(PortRange { first: 10, last: 500 }),
        ]
    }

    proptest! {
        #[test]
        fn sets_are_found_that_hold_each_port_of_one(
            sets in prop::collection::vec(prop::collection::vec(range(), 0..4), 1..12),
        ) {
            let sets: Vec<Vec<PortRange>> = sets.into_iter().map(joined).collect();
            let ports = |set: &[PortRange]| -> BTreeSet<u16> {
                set.iter().flat_map(|range| range.first..=range.last).collect()
            };
            let covering = Covering::new(sets.iter().map(Vec::as_slice).collect());
            for set in &sets {
                let expected = (0..sets.len()).filter(|&index| {
                    // No condition is not a set without ports.
                    set.is_empty() == sets[index].is_empty() && ports(&sets[index]).is_superset(&ports(set))
                });
                prop_assert_eq!(covering.of(set).collect::<Vec<_>>(), expected.collect::<Vec<_>>());
            }
        }
    }
}
