//! Small deterministic scramblers; no state, so that any flow can be computed from its index alone.

/// The finalizer of SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators"):
/// a bijection of the 64-bit numbers whose output passes for random.
pub const fn scramble(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A number that depends on all three arguments; `purpose` keeps the uses of one seed independent.
pub const fn draw(seed: u64, purpose: u64, index: u64) -> u64 {
    scramble(scramble(seed ^ scramble(purpose)) ^ index)
}

/// A bijection of the 32-bit numbers chosen by `seed`.
///
/// Every step (xor with a constant, product with an odd constant, xor with the own upper half) can be undone,
/// so different inputs never meet: the distinctness of the generated flows rests on this.
pub const fn permute32(value: u32, seed: u64) -> u32 {
    let mut x = value ^ (seed as u32);
    x = (x ^ (x >> 16)).wrapping_mul(0x7feb_352d);
    x ^= (seed >> 32) as u32;
    x = (x ^ (x >> 15)).wrapping_mul(0x846c_a68b);
    x ^ (x >> 16)
}

/// A visiting order for `0..length`: `position -> (position * stride + offset) mod length`.
///
/// Flows are visited in a scattered order because a reader's hash table would otherwise be measured with the
/// cache locality of the generator's counting.
#[derive(Clone, Copy, Debug)]
pub struct Order {
    length: u64,
    stride: u64,
    offset: u64,
}

impl Order {
    /// The order number `round` over `length` (at most 2^32) positions.
    pub fn new(length: u64, seed: u64, round: u64) -> Self {
        debug_assert!(length <= 1 << 32);
        if length == 0 {
            return Self {
                length,
                stride: 0,
                offset: 0,
            };
        }
        let mut stride = draw(seed, 6, round) % length;
        while gcd(stride, length) != 1 {
            stride += 1;
        }
        Self {
            length,
            stride: stride % length,
            offset: draw(seed, 7, round) % length,
        }
    }

    /// What is visited at `position`.
    pub const fn at(&self, position: u64) -> u64 {
        // Both factors are below 2^32 and so is the offset: the product leaves room for the sum.
        (position % self.length * self.stride + self.offset) % self.length
    }
}

const fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn permutation_never_meets() {
        for seed in [0, 1, u64::MAX, 0xdead_beef_0000_0001] {
            let seen: HashSet<u32> = (0..100_000).map(|value| permute32(value, seed)).collect();
            assert_eq!(seen.len(), 100_000);
        }
    }

    #[test]
    fn every_order_visits_all() {
        for length in [1_u64, 2, 3, 4, 7, 64, 1000, 4096] {
            for round in 0..8 {
                let order = Order::new(length, 42, round);
                let seen: HashSet<u64> = (0..length).map(|position| order.at(position)).collect();
                assert_eq!(seen.len() as u64, length, "{length} {round}");
                assert!(seen.iter().all(|index| *index < length));
            }
        }
    }

    #[test]
    fn largest_order_does_not_overflow() {
        let order = Order::new(1 << 32, 7, 1);
        assert!(order.at((1 << 32) - 1) < 1 << 32);
    }
}
