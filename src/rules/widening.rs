//! How far rules may go beyond the addresses that were seen.

#[cfg(any(test, feature = "oracle"))]
use super::block::contain;
use super::block::{Block, without};
use super::by_hand::Networks;

/// How addresses of one family become blocks.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Widening {
    percent: u8,
    clients: Networks,
    servers: Networks,
}

/// Addresses that are admitted and were not seen: blocks without some of their addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Unobserved {
    /// The blocks, disjoint and in order.
    pub blocks: Vec<Block>,
    /// Addresses in them that were seen, in order.
    pub except: Vec<u128>,
}

impl Widening {
    /// Blocks of whose addresses at most `percent` were not seen; and these networks of clients and of servers, as soon as
    /// one of their addresses was.
    pub const fn new(percent: u8, clients: Networks, servers: Networks) -> Self {
        Self {
            percent,
            clients,
            servers,
        }
    }

    /// Whether blocks hold what was seen, and nothing else.
    pub fn is_exact(&self) -> bool {
        self.percent == 0 && self.clients.is_empty() && self.servers.is_empty()
    }

    /// Whether a destination lies in a network that counts as a whole.
    pub fn is_of_servers(&self, address: u128) -> bool {
        self.servers.of(address).is_some()
    }

    /// The blocks of destinations, which are sorted and without repetition.
    pub fn destinations(&self, addresses: &[u128]) -> Vec<Block> {
        self.servers.blocks(addresses, self.percent)
    }

    /// The blocks of sources, which are sorted and without repetition.
    pub fn sources(&self, addresses: &[u128]) -> Vec<Block> {
        self.clients.blocks(addresses, self.percent)
    }

    /// What blocks of sources hold besides those that were seen, which are sorted and without repetition.
    pub fn unobserved(&self, blocks: &[Block], seen: &[u128]) -> Unobserved {
        unobserved(&self.clients, blocks, seen)
    }

    /// What blocks of destinations hold besides those that were seen, which are sorted and without repetition.
    pub fn unobserved_servers(&self, blocks: &[Block], seen: &[u128]) -> Unobserved {
        unobserved(&self.servers, blocks, seen)
    }
}

fn unobserved(networks: &Networks, blocks: &[Block], seen: &[u128]) -> Unobserved {
    let within = |block: &Block| {
        let from = seen.partition_point(|&address| address < block.first());
        let until = seen.partition_point(|&address| address <= block.last());
        &seen[from..until]
    };
    let mut unobserved = Unobserved::default();
    for block in blocks {
        // All but what was seen of a large network would be a list that nobody can read.
        if networks.of(block.first()) != Some(*block) {
            unobserved.blocks.extend(without(&[*block], within(block)));
        } else if (within(block).len() as u64) < block.size() {
            unobserved.blocks.push(*block);
            unobserved.except.extend(within(block));
        }
    }
    unobserved
}

impl From<Vec<Block>> for Unobserved {
    fn from(blocks: Vec<Block>) -> Self {
        Self {
            blocks,
            except: Vec::new(),
        }
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
    use crate::rules::block::cover;

    fn of_clients(percent: u8, networks: Vec<Block>) -> Widening {
        Widening::new(percent, Networks::new(networks), Networks::default())
    }

    fn block(first: u128, host_bits: u8) -> Block {
        Block::new(first >> host_bits << host_bits, host_bits)
    }

    #[test]
    fn a_network_counts_as_soon_as_one_of_its_addresses_was_seen() {
        let widening = of_clients(0, vec![block(16, 2), block(16, 4), block(64, 3)]);
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
            let widening = of_clients(percent, networks.clone());
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
