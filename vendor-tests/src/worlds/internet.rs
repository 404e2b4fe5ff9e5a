//! Who is out there: sites that people like by Zipf's law, some of them behind content networks whose addresses move,
//! and visitors who come back or don't.

use std::net::IpAddr;

use crate::world::Dice;

/// The Internet, as one site sees it.
#[derive(Clone, Debug)]
pub struct Internet {
    seed: u64,
    /// Sums of 1, 1/2, 1/3, …: what a drawn number is looked up in.
    sums: Vec<f64>,
}

/// So many sites are liked, and so many visitors come again.
const KNOWN: usize = 4000;

impl Internet {
    /// One of a seed.
    pub fn new(seed: u64) -> Self {
        let mut sum = 0.0;
        let sums = (1..=KNOWN)
            .map(|rank| {
                sum += 1.0 / rank as f64;
                sum
            })
            .collect();
        Self { seed, sums }
    }

    /// A rank by Zipf's law (exponent 1), 0 the most liked.
    pub fn rank(&self, dice: &mut Dice) -> u64 {
        let most = self.sums.last().expect("there are some");
        let drawn = f64::from(dice.below(1 << 30)) / f64::from(1_u32 << 30) * most;
        self.sums.partition_point(|sum| *sum < drawn) as u64
    }

    /// The address of a site that somebody likes, on this day.
    pub fn site(&self, dice: &mut Dice, day: u32, v4: bool) -> IpAddr {
        let rank = self.rank(dice);
        let name = mixed(&[self.seed, 1, rank]);
        if name % 10 < 4 {
            return public(name, v4);
        }
        self.cloud(dice, name, day, v4)
    }

    /// An address of something named that lies behind a content network: one of four, which are others every few days.
    pub fn cloud(&self, dice: &mut Dice, name: u64, day: u32, v4: bool) -> IpAddr {
        let network = mixed(&[self.seed, 2, name % 12]);
        let days = 1 + name % 4;
        let place = u64::from(dice.below(4));
        let host = mixed(&[name, u64::from(day) / days, place]);
        match public(network, v4) {
            IpAddr::V4(it) => {
                IpAddr::V4(((it.to_bits() & 0xffff_0000) | (host as u32 & 0xffff)).into())
            }
            IpAddr::V6(it) => {
                IpAddr::V6(((it.to_bits() & !0xffff_ffff) | u128::from(host as u32)).into())
            }
        }
    }

    /// Somebody who comes to what is published: often one who was there before.
    pub fn visitor(&self, dice: &mut Dice, v4: bool) -> IpAddr {
        if dice.once_in(3) {
            return stranger(dice, v4);
        }
        let rank = self.rank(dice);
        public(mixed(&[self.seed, 3, rank]), v4)
    }
}

/// Somebody of whom nobody knows.
pub fn stranger(dice: &mut Dice, v4: bool) -> IpAddr {
    let low = u64::from(dice.below(u32::MAX));
    public(low | u64::from(dice.below(u32::MAX)) << 32, v4)
}

/// A public unicast address that a number stands for.
pub fn public(number: u64, v4: bool) -> IpAddr {
    let mut bits = mixed(&[number]);
    if !v4 {
        // 2000::/3 (RFC 4291), but for 2001:db8::/32, where the sites are.
        let high = 0x2400_0000_0000_0000 | (bits & 0x00ff_ffff_ffff_0000) >> 4;
        return IpAddr::V6(
            (u128::from(high) << 64 | u128::from(mixed(&[number, 1]) as u32)).into(),
        );
    }
    loop {
        let [a, b, c, d] = (bits as u32).to_be_bytes();
        let special = matches!(
            (a, b, c),
            (0 | 10 | 127 | 224..=255, ..)
                | (100, 64..=127, _)
                | (169, 254, _)
                | (172, 16..=31, _)
                | (192, 168, _)
                | (192, 0, 0 | 2)
                | (198, 51, 100)
                | (203, 0, 113)
        );
        if !special && d != 0 && d != 255 {
            return IpAddr::V4([a, b, c, d].into());
        }
        bits = mixed(&[bits]);
    }
}

/// A number that only these decide.
pub fn mixed(parts: &[u64]) -> u64 {
    let mut dice = Dice(0x5eed);
    for part in parts {
        dice.0 ^= part.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let high = u64::from(dice.below(u32::MAX)) << 32;
        dice.0 ^= high | u64::from(dice.below(u32::MAX));
    }
    dice.0
}

/// Whether something happens that does so in so many of a hundred cases.
pub const fn chance(dice: &mut Dice, percent: u32) -> bool {
    dice.below(100) < percent
}

/// A number from `low` to below `high`.
pub const fn between(dice: &mut Dice, low: u32, high: u32) -> u32 {
    low + dice.below(high - low)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_sites_are_liked_by_many_and_many_by_few() {
        let internet = Internet::new(1);
        let mut dice = Dice(1);
        let ranks: Vec<u64> = (0..10_000).map(|_| internet.rank(&mut dice)).collect();
        let liked = ranks.iter().filter(|rank| **rank < 10).count();
        assert!((2500..4500).contains(&liked), "{liked}");
        let rare = ranks.iter().filter(|rank| **rank >= 1000).count();
        assert!((800..2500).contains(&rare), "{rare}");
    }

    #[test]
    fn addresses_are_public_ones() {
        let mut dice = Dice(2);
        for _ in 0..1000 {
            let IpAddr::V4(address) = stranger(&mut dice, true) else {
                panic!("IPv4 was asked for");
            };
            assert!(!address.is_private() && !address.is_loopback() && !address.is_documentation());
            assert!(!address.is_multicast() && !address.is_link_local());
            let IpAddr::V6(address) = stranger(&mut dice, false) else {
                panic!("IPv6 was asked for");
            };
            assert!(address.segments()[0] & 0xe000 == 0x2000 && address.segments()[0] != 0x2001);
        }
    }
}
