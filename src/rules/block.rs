//! Addresses as numbers, and the CIDR blocks that cover a set of them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// IPv4, whose addresses are the low 32 bits of a number.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The family of an address.
    pub const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    /// Bits of an address.
    pub const fn bits(self) -> u8 {
        match self {
            Self::V4 => 32,
            Self::V6 => 128,
        }
    }

    /// The address of a number.
    pub const fn address(self, number: u128) -> IpAddr {
        match self {
            Self::V4 => IpAddr::V4(Ipv4Addr::from_bits(number as u32)),
            Self::V6 => IpAddr::V6(Ipv6Addr::from_bits(number)),
        }
    }
}

/// The number of an address.
pub const fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits() as u128,
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// A CIDR block, of either family: a single address where it has no host bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Block {
    first: u128,
    host_bits: u8,
}

impl Block {
    /// The block of all addresses that share all but their last bits with `first`, where those are 0.
    pub const fn new(first: u128, host_bits: u8) -> Self {
        Self { first, host_bits }
    }

    /// The block of one address alone.
    pub const fn single(address: u128) -> Self {
        Self {
            first: address,
            host_bits: 0,
        }
    }

    /// Its first address.
    pub const fn first(self) -> u128 {
        self.first
    }

    /// Its last address.
    pub const fn last(self) -> u128 {
        self.first | low_bits(self.host_bits)
    }

    /// Whether it is one address only.
    pub const fn is_single(self) -> bool {
        self.host_bits == 0
    }

    /// Whether an address is in it.
    pub const fn contains(self, address: u128) -> bool {
        self.first <= address && address <= self.last()
    }

    /// Its addresses; the greatest number there is stands for more.
    pub const fn size(self) -> u64 {
        if self.host_bits < 64 {
            1 << self.host_bits
        } else {
            u64::MAX
        }
    }

    /// As text: without a prefix length where it is one address.
    pub const fn show(self, family: Family) -> Shown {
        Shown(self, family)
    }

    /// A network, host bits or not.
    pub fn of_net(net: IpNet) -> Self {
        let net = net.trunc();
        Self::new(number(net.addr()), net.max_prefix_len() - net.prefix_len())
    }

    /// As a network.
    pub fn net(self, family: Family) -> IpNet {
        IpNet::new_assert(family.address(self.first), family.bits() - self.host_bits)
    }
}

/// A block as text.
#[derive(Clone, Copy, Debug)]
pub struct Shown(Block, Family);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(block, family) = self;
        write!(f, "{}", family.address(block.first))?;
        match block.host_bits {
            0 => Ok(()),
            host_bits => write!(f, "/{}", family.bits() - host_bits),
        }
    }
}

const fn low_bits(count: u8) -> u128 {
    match count {
        0 => 0,
        _ => u128::MAX >> (128 - count),
    }
}

/// The fewest blocks that hold these addresses, sorted and without repetition, and nothing else; with
/// `percent` above 0 also blocks of whose addresses at most that share is not among them. Blocks are as large
/// as the share allows, disjoint, and in order.
pub fn cover(addresses: &[u128], percent: u8) -> Vec<Block> {
    let mut blocks = Vec::new();
    if !addresses.is_empty() {
        cover_into(addresses, u128::from(percent), &mut blocks);
    }
    blocks
}

fn cover_into(addresses: &[u128], percent: u128, blocks: &mut Vec<Block>) {
    let (first, last) = (addresses[0], addresses[addresses.len() - 1]);
    let host_bits = 128 - (first ^ last).leading_zeros() as u8;
    let first = first & !low_bits(host_bits);
    // No list in memory holds a hundredth of a larger block.
    if host_bits < 64 {
        let size = 1_u128 << host_bits;
        let extra = size - addresses.len() as u128;
        if extra * 100 <= size * percent {
            blocks.push(Block { first, host_bits });
            return;
        }
    }
    // The two halves of the smallest block around all of them both hold some: it ends.
    let middle = first | 1 << (host_bits - 1);
    let (low, high) = addresses.split_at(addresses.partition_point(|&address| address < middle));
    cover_into(low, percent, blocks);
    cover_into(high, percent, blocks);
}

/// What blocks, in order and disjoint, hold besides these addresses, sorted and without repetition.
pub fn without(blocks: &[Block], addresses: &[u128]) -> Vec<Block> {
    let mut left = Vec::new();
    for block in blocks {
        let from = addresses.partition_point(|&address| address < block.first);
        let mut next = Some(block.first);
        for &address in &addresses[from..] {
            if address > block.last() {
                break;
            }
            if let Some(next) = next.filter(|&next| next < address) {
                range_into(next, address - 1, &mut left);
            }
            next = address.checked_add(1);
        }
        if let Some(next) = next.filter(|&next| next <= block.last()) {
            range_into(next, block.last(), &mut left);
        }
    }
    left
}

/// What blocks hold that others do not.
pub fn subtract(blocks: &[Block], others: &[Block]) -> Vec<Block> {
    let mut left = Vec::new();
    let mut rest: Vec<Block> = blocks.iter().rev().copied().collect();
    while let Some(block) = rest.pop() {
        let is_within =
            |other: &&Block| other.contains(block.first()) && other.contains(block.last());
        let overlaps =
            |other: &Block| block.contains(other.first()) || other.contains(block.first());
        if others.iter().any(|other| is_within(&other)) {
            continue;
        }
        if !others.iter().any(overlaps) {
            left.push(block);
            continue;
        }
        // It holds one of them and more: its halves are looked at.
        let host_bits = block.host_bits - 1;
        rest.push(Block::new(block.first | 1 << host_bits, host_bits));
        rest.push(Block::new(block.first, host_bits));
    }
    left
}

/// The fewest blocks that are the same as some, which are in order and disjoint.
pub fn halves_joined(blocks: Vec<Block>) -> Vec<Block> {
    let mut joined: Vec<Block> = Vec::with_capacity(blocks.len());
    for mut block in blocks {
        while let Some(&low) = joined.last() {
            let both = Block::new(low.first, low.host_bits + 1);
            let is_half = low.host_bits == block.host_bits && low.host_bits < 127;
            if !is_half
                || low.first & !low_bits(both.host_bits) != low.first
                || block.last() != both.last()
            {
                break;
            }
            joined.pop();
            block = both;
        }
        joined.push(block);
    }
    joined
}

/// Adds the blocks that make up a range.
fn range_into(mut first: u128, last: u128, blocks: &mut Vec<Block>) {
    loop {
        let mut host_bits = first.trailing_zeros().min(127) as u8;
        while first | low_bits(host_bits) > last {
            host_bits -= 1;
        }
        let block = Block { first, host_bits };
        blocks.push(block);
        match block.last().checked_add(1) {
            Some(next) if next <= last => first = next,
            _ => return,
        }
    }
}

/// Whether one of the blocks, in order and disjoint, holds an address.
pub fn contain(blocks: &[Block], address: u128) -> bool {
    let after = blocks.partition_point(|block| block.first <= address);
    after > 0 && blocks[after - 1].contains(address)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn shown(blocks: &[Block]) -> Vec<String> {
        let shown = blocks.iter().map(|block| block.show(Family::V4));
        shown.map(|block| block.to_string()).collect()
    }

    fn numbers(texts: &[&str]) -> Vec<u128> {
        let addresses = texts.iter().map(|text| number(text.parse().unwrap()));
        addresses.collect()
    }

    #[test]
    fn halves_become_the_block_that_they_make() {
        let blocks = |list: &[(u128, u8)]| -> Vec<Block> {
            list.iter()
                .map(|&(first, bits)| Block::new(first, bits))
                .collect()
        };
        let joined = halves_joined(blocks(&[
            (3, 0),
            (4, 0),
            (5, 0),
            (6, 1),
            (8, 0),
            (9, 0),
            (10, 0),
            (12, 2),
        ]));
        assert_eq!(joined, blocks(&[(3, 0), (4, 2), (8, 1), (10, 0), (12, 2)]));
        let all: Vec<Block> = (0..256).map(Block::single).collect();
        assert_eq!(halves_joined(all), [Block::new(0, 8)]);
    }

    #[test]
    fn a_block_is_written_only_where_all_of_it_was_seen() {
        let seen = numbers(&["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5"]);
        assert_eq!(
            shown(&cover(&seen, 0)),
            ["10.0.0.1", "10.0.0.2/31", "10.0.0.4/31"]
        );
    }

    #[test]
    fn widening_keeps_within_its_share() {
        let seen = numbers(&["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.1.7"]);
        let blocks = cover(&seen, 25);
        assert_eq!(shown(&blocks), ["10.0.0.0/30", "10.0.1.7"]);
        assert_eq!(shown(&without(&blocks, &seen)), ["10.0.0.0"]);
        assert_eq!(cover(&seen, 24), cover(&seen, 0));
    }

    #[test]
    fn blocks_are_subtracted_from_blocks() {
        let nets = |texts: &[&str]| -> Vec<Block> {
            let nets = texts
                .iter()
                .map(|text| Block::of_net(text.parse().unwrap()));
            nets.collect()
        };
        let left = subtract(
            &nets(&["10.0.0.0/8", "192.168.0.0/16"]),
            &nets(&["10.64.0.0/10", "192.0.0.0/8"]),
        );
        assert_eq!(shown(&left), ["10.0.0.0/10", "10.128.0.0/9"]);
        assert_eq!(
            shown(&subtract(&nets(&["10.0.0.0/8"]), &[])),
            ["10.0.0.0/8"]
        );
    }

    #[test]
    fn the_ends_of_the_address_space_are_no_exception() {
        let all = Block {
            first: 0,
            host_bits: 128,
        };
        let left = without(&[all], &[0, u128::MAX]);
        assert_eq!(left.len(), 254);
        assert_eq!(left[0].first(), 1);
        assert_eq!(left[253].last(), u128::MAX - 1);
        assert_eq!(cover(&[0, u128::MAX], 99).len(), 2);
        assert_eq!(cover(&[], 0), []);
    }

    proptest! {
        #[test]
        fn cover_and_without_are_exact(
            seen in prop::collection::btree_set(0_u128..300, 0..200), percent in 0_u8..100,
        ) {
            let list: Vec<u128> = seen.iter().copied().collect();
            let exact = cover(&list, 0);
            let wide = cover(&list, percent);
            let extra = without(&wide, &list);
            let inside = |blocks: &[Block]| -> BTreeSet<u128> {
                (0..600).filter(|&address| contain(blocks, address)).collect()
            };
            prop_assert_eq!(&inside(&exact), &seen);
            prop_assert!(inside(&extra).is_disjoint(&seen));
            let both: BTreeSet<u128> = inside(&extra).union(&seen).copied().collect();
            prop_assert_eq!(inside(&wide), both);
            for block in &wide {
                let held = seen.iter().filter(|&&address| block.contains(address)).count() as u64;
                prop_assert!((block.size() - held) * 100 <= block.size() * u64::from(percent));
            }
            // No two could be one.
            for pair in exact.windows(2) {
                let joined = pair[0].first ^ pair[1].first;
                prop_assert!(pair[0].host_bits != pair[1].host_bits || joined != 1 << pair[0].host_bits);
            }
        }
    }
}
