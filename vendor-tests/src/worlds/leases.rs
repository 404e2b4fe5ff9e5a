//! Addresses that devices have today: leases of DHCP, which change, and privacy addresses of IPv6 (RFC 8981).

use std::net::IpAddr;

use super::internet::{chance, mixed};
use super::nth;
use crate::world::Dice;

/// Leases of one network.
#[derive(Clone, Debug)]
pub struct Leases {
    begin: &'static str,
    pool: (u32, u32),
    held: Vec<u32>,
    /// Per cent of the devices that have another address the day after.
    churn: u32,
}

impl Leases {
    /// One for each of so many devices, of the numbers from `pool.0` to below `pool.1`.
    pub fn new(
        begin: &'static str,
        pool: (u32, u32),
        devices: u32,
        churn: u32,
        dice: &mut Dice,
    ) -> Self {
        assert!(devices < pool.1 - pool.0, "not enough addresses");
        let mut leases = Self {
            begin,
            pool,
            held: Vec::new(),
            churn,
        };
        for _ in 0..devices {
            let free = leases.free(dice);
            leases.held.push(free);
        }
        leases
    }

    /// A day goes by.
    pub fn renew(&mut self, dice: &mut Dice) {
        for device in 0..self.held.len() {
            if chance(dice, self.churn) {
                self.held[device] = self.free(dice);
            }
        }
    }

    fn free(&self, dice: &mut Dice) -> u32 {
        loop {
            let number = self.pool.0 + dice.below(self.pool.1 - self.pool.0);
            if !self.held.contains(&number) {
                return number;
            }
        }
    }

    /// How many devices there are.
    pub fn devices(&self) -> u32 {
        self.held.len() as u32
    }

    /// The address of a device.
    pub fn of(&self, device: u32) -> IpAddr {
        address(self.begin, self.held[device as usize])
    }

    /// All addresses.
    pub fn all(&self) -> Vec<IpAddr> {
        (0..self.devices()).map(|device| self.of(device)).collect()
    }

    /// An address of the pool that nobody has today.
    pub fn nobody(&self, dice: &mut Dice) -> IpAddr {
        address(self.begin, self.free(dice))
    }
}

/// The network may have more than 256 addresses: `begin` is its first two or three bytes.
fn address(begin: &str, number: u32) -> IpAddr {
    if begin.matches('.').count() == 2 {
        return nth(&format!("{begin}{}.", number >> 8), number & 0xff);
    }
    nth(begin, number)
}

/// The privacy address that a device has on a day in the network of `prefix`, which ends in `:`.
pub fn privacy(prefix: &str, device: u64, day: u32) -> IpAddr {
    let bits = mixed(&[device, u64::from(day)]);
    let words = [bits >> 48, bits >> 32, bits >> 16, bits].map(|word| word & 0xffff | 1);
    let [a, b, c, d] = words;
    super::ip(&format!("{prefix}{a:x}:{b:x}:{c:x}:{d:x}"))
}
