//! How far rules may go beyond the addresses that were seen.

use super::block::{Block, contain, cover, without};

/// How addresses of one family become blocks.
#[derive(Clone, Debug, Default)]
pub struct Widening {
    percent: u8,
    /// Disjoint and in order.
    networks: Vec<Block>,
}

/// Sources that are admitted and were not seen: blocks without some of their addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Unobserved {
    /// The blocks, disjoint and in order.
    pub blocks: Vec<Block>,
    /// Addresses in them that were seen, in order.
    pub except: Vec<u128>,
}

impl Widening {
    /// Blocks of whose addresses at most `percent` were not seen, and for sources these networks as soon as one of
    /// their addresses was.
    pub fn new(percent: u8, mut networks: Vec<Block>) -> Self {
        // Blocks are within one another or disjoint, and the larger comes first.
        networks.sort_unstable_by_key(|block| (block.first(), u128::MAX - block.last()));
        networks.dedup_by(|inner, outer| outer.contains(inner.first()));
        Self { percent, networks }
    }

    /// Whether blocks hold what was seen, and nothing else.
    pub fn is_exact(&self) -> bool {
        self.percent == 0 && self.networks.is_empty()
    }

    /// The blocks of destinations, which are sorted and without repetition.
    pub fn destinations(&self, addresses: &[u128]) -> Vec<Block> {
        cover(addresses, self.percent)
    }

    /// The blocks of sources, which are sorted and without repetition.
    pub fn sources(&self, addresses: &[u128]) -> Vec<Block> {
        if self.networks.is_empty() {
            return cover(addresses, self.percent);
        }
        let (mut networks, mut rest) = (Vec::new(), Vec::new());
        for &address in addresses {
            match self.network(address) {
                Some(network) if networks.last() == Some(&network) => {}
                Some(network) => networks.push(network),
                None => rest.push(address),
            }
        }
        let mut blocks = cover(&rest, self.percent);
        networks.retain(|network| !contain(&blocks, network.first()));
        blocks.extend(networks);
        blocks.sort_unstable();
        blocks
    }

    /// What blocks of sources hold besides those that were seen, which are sorted and without repetition.
    pub fn unobserved(&self, blocks: &[Block], seen: &[u128]) -> Unobserved {
        let within = |block: &Block| {
            let from = seen.partition_point(|&address| address < block.first());
            let until = seen.partition_point(|&address| address <= block.last());
            &seen[from..until]
        };
        let mut unobserved = Unobserved::default();
        for block in blocks {
            // All but what was seen of a large network would be a list that nobody can read.
            if self.network(block.first()) != Some(*block) {
                unobserved.blocks.extend(without(&[*block], within(block)));
            } else if (within(block).len() as u64) < block.size() {
                unobserved.blocks.push(*block);
                unobserved.except.extend(within(block));
            }
        }
        unobserved
    }

    fn network(&self, address: u128) -> Option<Block> {
        let after = self
            .networks
            .partition_point(|network| network.first() <= address);
        let network = *self.networks[..after].last()?;
        network.contains(address).then_some(network)
    }
}

impl Unobserved {
    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// Number of addresses; the greatest number there is stands for more.
    pub fn size(&self) -> u64 {
        let sizes = self.blocks.iter().map(|block| block.size());
        let size = sizes.fold(0_u64, u64::saturating_add);
        match size {
            u64::MAX => size,
            size => size - self.except.len() as u64,
        }
    }

    /// Whether an address is one of them.
    #[cfg(any(test, feature = "oracle"))]
    pub fn contains(&self, address: u128) -> bool {
        contain(&self.blocks, address) && self.except.binary_search(&address).is_err()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn block(first: u128, host_bits: u8) -> Block {
        Block::new(first >> host_bits << host_bits, host_bits)
    }

    #[test]
    fn a_network_counts_as_soon_as_one_of_its_addresses_was_seen() {
        let widening = Widening::new(0, vec![block(16, 2), block(16, 4), block(64, 3)]);
        let seen = [3, 17, 20, 40];
        let blocks = widening.sources(&seen);
        assert_eq!(blocks, [block(3, 0), block(16, 4), block(40, 0)]);
        assert_eq!(
            widening.unobserved(&blocks, &seen),
            Unobserved {
                blocks: vec![block(16, 4)],
                except: vec![17, 20]
            }
        );
        assert_eq!(widening.destinations(&seen), cover(&seen, 0));
        let all: Vec<u128> = (64..72).collect();
        let blocks = widening.sources(&all);
        assert_eq!(blocks, [block(64, 3)]);
        assert!(widening.unobserved(&blocks, &all).is_empty());
    }

    proptest! {
        #[test]
        fn sources_are_what_was_seen_and_what_is_beyond(
            seen in prop::collection::btree_set(0_u128..300, 0..200),
            networks in prop::collection::vec((0_u128..300, 0_u8..6), 0..5),
            percent in prop_oneof![Just(0_u8), 1_u8..100],
        ) {
            let networks: Vec<Block> = networks.into_iter().map(|(first, bits)| block(first, bits)).collect();
            let widening = Widening::new(percent, networks.clone());
            let list: Vec<u128> = seen.iter().copied().collect();
            let blocks = widening.sources(&list);
            for pair in blocks.windows(2) {
                prop_assert!(pair[0].last() < pair[1].first());
            }
            let unobserved = widening.unobserved(&blocks, &list);
            for address in 0..700 {
                let inside = contain(&blocks, address);
                prop_assert_eq!(inside, seen.contains(&address) || unobserved.contains(address));
                prop_assert!(!(seen.contains(&address) && unobserved.contains(address)));
                let asked = networks.iter().any(|network| {
                    network.contains(address) && seen.iter().any(|&seen| network.contains(seen))
                });
                prop_assert!(inside || !asked);
                prop_assert!(percent > 0 || !inside || asked || seen.contains(&address));
            }
            let beyond_all: BTreeSet<u128> = (0..700).filter(|&address| unobserved.contains(address)).collect();
            prop_assert_eq!(unobserved.size(), beyond_all.len() as u64);
        }
    }
}
