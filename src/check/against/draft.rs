//! Drawing one flow: what is asked for is so, what is fixed is so, and the rest is as any of the rules has it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::corners::{Corner, Position, takes_new};
use crate::check::network::{Network, UNKNOWN_LINK};
use crate::check::shape::ranges::Ranges;
use crate::check::shape::{Condition, Field, number_of};
use crate::model::record::Protocol;

/// Source ports of flows of which no rule asks for it: Linux's range of ephemeral ports (`ip_local_port_range`, ip(7)).
const ANY: std::ops::RangeInclusive<u16> = 32_768..=60_767;

/// Chance, the same in each run: who compares twice wants the same answer.
#[derive(Debug)]
struct Chance(u64);

impl Chance {
    /// A number below a limit that is not 0, by splitmix64.
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % limit as u64) as usize
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        (!from.is_empty()).then(|| &from[self.below(from.len())])
    }
}

/// What of a draw is fixed.
#[derive(Clone, Debug, Default)]
pub(super) struct Fixed {
    pub numbers: BTreeMap<Field, u128>,
    /// By their places among the devices.
    pub devices: BTreeMap<Field, usize>,
}

/// A flow that was drawn.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    /// What it has of each field.
    pub numbers: BTreeMap<Field, u128>,
    /// The device that it comes in by, by its place; `None` if it is the host's own.
    pub by: Option<usize>,
    /// The device before what no route leads to.
    pub out: usize,
}

/// Draws them.
#[derive(Debug)]
pub(super) struct Drafts {
    /// Names of the devices.
    pub devices: Vec<String>,
    /// Addresses of the host, of each family.
    own: [Vec<u128>; 2],
    /// Values of all rules.
    pool: BTreeMap<Field, Vec<u128>>,
    chance: Chance,
    /// Makes source ports differ.
    turn: u32,
}

/// The first and the last number of each range, and their neighbours on the other side.
pub(super) fn boundaries(field: Field, ranges: &Ranges) -> (Vec<u128>, Vec<u128>) {
    let all = field.all();
    let (mut inside, mut outside) = (Vec::new(), Vec::new());
    for (first, last) in ranges.iter() {
        inside.push(first);
        if last != first {
            inside.push(last);
        }
        let around = [first.checked_sub(1), last.checked_add(1)];
        outside.extend(
            { around.into_iter().flatten() }
                .filter(|number| all.contains(*number) && !ranges.contains(*number)),
        );
    }
    (inside, outside)
}

impl Drafts {
    pub fn new(network: &Network, own: &[IpAddr], corners: &[Corner]) -> Self {
        let mut devices: Vec<String> = network.devices().map(str::to_owned).collect();
        if !devices.iter().any(|name| name == UNKNOWN_LINK) {
            devices.push(UNKNOWN_LINK.to_owned());
        }
        let mut pool: BTreeMap<Field, BTreeSet<u128>> = BTreeMap::new();
        for corner in corners {
            for (field, ranges) in &corner.numbers {
                let (inside, outside) = boundaries(*field, ranges);
                pool.entry(*field)
                    .or_default()
                    .extend(inside.into_iter().chain(outside));
            }
        }
        // Documentation's (RFC 5737, RFC 3849), which rulesets hardly name.
        let four = |text: [u8; 4]| number_of(Ipv4Addr::from(text).into());
        for field in [Field::Source4, Field::Destination4] {
            let usual = [four([198, 51, 100, 77]), four([203, 0, 113, 77])];
            pool.entry(field).or_default().extend(usual);
        }
        for field in [Field::Source6, Field::Destination6] {
            let usual: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x77, 0, 0, 0, 0, 0x77);
            pool.entry(field).or_default().insert(usual.to_bits());
        }
        pool.entry(Field::Protocol)
            .or_default()
            .extend([1, 6, 17, 58, 132]);
        pool.entry(Field::DestinationPort)
            .or_default()
            .extend([4001, 40_001]);
        pool.entry(Field::Icmp4).or_default().insert(8);
        pool.entry(Field::Icmp6).or_default().insert(128);
        let of = |v4: bool| -> Vec<u128> {
            let same = own.iter().filter(|address| address.is_ipv4() == v4);
            same.map(|address| number_of(*address)).collect()
        };
        Self {
            devices,
            own: [of(true), of(false)],
            pool: { pool.into_iter() }
                .map(|(field, values)| (field, values.into_iter().collect()))
                .collect(),
            chance: Chance(1),
            turn: 0,
        }
    }

    pub fn draft(&mut self, corner: &Corner, fix: &Fixed) -> Option<Draft> {
        let position = *self.chance.pick(&corner.positions)?;
        let mut numbers = BTreeMap::new();
        let asked =
            |field: Field| fix.numbers.contains_key(&field) || corner.numbers.contains_key(&field);
        let family = if let Some(family) = fix.numbers.get(&Field::Family) {
            *family
        } else if [Field::Source4, Field::Destination4].into_iter().any(asked) {
            4
        } else if [Field::Source6, Field::Destination6].into_iter().any(asked) {
            6
        } else {
            self.number(corner, fix, Field::Family)
                .unwrap_or_else(|| [4, 4, 6][self.chance.below(3)])
        };
        numbers.insert(Field::Family, family);
        let v4 = family == 4;
        let (source, destination, icmp) = if v4 {
            (Field::Source4, Field::Destination4, Field::Icmp4)
        } else {
            (Field::Source6, Field::Destination6, Field::Icmp6)
        };
        let own = self.own[usize::from(!v4)].clone();
        for (field, is_own) in [
            (source, position == Position::Output),
            (destination, position == Position::Input),
        ] {
            let given = fix.numbers.get(&field).copied();
            let ranges = corner.numbers.get(&field);
            let value = match given {
                Some(value) => value,
                None if is_own => {
                    let fitting: Vec<u128> = { own.iter().copied() }
                        .filter(|number| ranges.is_none_or(|ranges| ranges.contains(*number)))
                        .collect();
                    let own = self.chance.pick(&fitting).copied();
                    own.or_else(|| self.number(corner, fix, field))?
                }
                None => self.number(corner, fix, field)?,
            };
            numbers.insert(field, value);
        }
        let mut protocol = self.number(corner, fix, Field::Protocol)?;
        if !asked(Field::Protocol) && [1, 58].contains(&protocol) {
            protocol = if v4 { 1 } else { 58 };
        }
        numbers.insert(Field::Protocol, protocol);
        if Protocol(protocol as u8).has_ports() {
            let port = self.number(corner, fix, Field::DestinationPort)?;
            numbers.insert(Field::DestinationPort, port);
            let port = if asked(Field::SourcePort) {
                self.number(corner, fix, Field::SourcePort)?
            } else {
                self.turn = self.turn.wrapping_add(1);
                u128::from(u32::from(*ANY.start()) + self.turn % ANY.len() as u32)
            };
            numbers.insert(Field::SourcePort, port);
        }
        if [1, 58].contains(&protocol) {
            numbers.insert(icmp, self.number(corner, fix, icmp)?);
        }
        let by = self.device(corner, fix, Field::In)?;
        let out = self.device(corner, fix, Field::Out)?;
        Some(Draft {
            numbers,
            by: (position != Position::Output).then_some(by),
            out,
        })
    }

    /// A value for a field: the fixed one, one that the rule asks for, or any of those of all rules.
    fn number(&mut self, corner: &Corner, fix: &Fixed, field: Field) -> Option<u128> {
        if let Some(number) = fix.numbers.get(&field) {
            return Some(*number);
        }
        if let Some(ranges) = corner.numbers.get(&field) {
            let all: Vec<(u128, u128)> = ranges.iter().collect();
            let (first, last) = *self.chance.pick(&all)?;
            return Some(match self.chance.below(3) {
                0 => first,
                1 => last,
                // A prime step, so that it is not always near an end.
                _ => first + (last - first) / 7919 * self.chance.below(7919) as u128,
            });
        }
        self.pool
            .get(&field)
            .and_then(|pool| self.chance.pick(pool))
            .copied()
    }

    fn device(&mut self, corner: &Corner, fix: &Fixed, field: Field) -> Option<usize> {
        if let Some(device) = fix.devices.get(&field) {
            return Some(*device);
        }
        let fitting: Vec<usize> = (0..self.devices.len())
            .filter(|&at| {
                let mut asked = corner
                    .devices
                    .iter()
                    .filter(|condition| condition.field == field);
                asked.all(|condition| condition.takes_device(&self.devices[at]))
            })
            .collect();
        match self.chance.pick(&fitting) {
            Some(device) => Some(*device),
            None => Some(self.chance.below(self.devices.len())),
        }
    }

    pub fn meets(&self, draft: &Draft, conditions: &[Condition]) -> bool {
        conditions.iter().all(|condition| match condition.field {
            Field::State => condition.numbers().is_some_and(takes_new),
            Field::In => draft
                .by
                .is_some_and(|by| condition.takes_device(&self.devices[by])),
            Field::Out => condition.takes_device(&self.devices[draft.out]),
            field => { draft.numbers.get(&field) }
                .zip(condition.numbers())
                .is_some_and(|(number, ranges)| ranges.contains(*number)),
        })
    }
}

pub(super) fn fixed(values: &[(Field, u128)]) -> Fixed {
    Fixed {
        numbers: values.iter().copied().collect(),
        devices: BTreeMap::new(),
    }
}

/// Whether a made-up flow's source port is one of those that stand for any.
pub const fn is_any(port: u16) -> bool {
    *ANY.start() <= port && port <= *ANY.end()
}
