//! Flows that are worth trying, made from the constants of rulesets: each boundary and one beyond, and pairs of them.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::corners::{Corner, Position, takes_new};
use crate::check::judge::probing::Probe;
use crate::check::network::{Network, UNKNOWN_LINK, is_link_local};
use crate::check::shape::{Condition, Field, number_of};
use crate::model::record::{Identity, Protocol, Record, Service, SourcePort};
use crate::model::tuple::Tuple;

/// Probes at most: a day's work for nobody.
pub const PROBES_MAX: usize = 300_000;
/// Draws for each value of each condition.
const DRAWS: usize = 3;
/// Draws where nothing is fixed.
const BASE: usize = 8;
/// Draws of anything at all.
const ANYTHING: usize = 600;
/// Comparisons with earlier rules that a draw may take.
const PATIENCE: usize = 20_000;
/// Values of a field that are tried together with each of another one.
const PAIRED: usize = 4;

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
struct Fixed {
    numbers: BTreeMap<Field, u128>,
    /// By their places among the devices.
    devices: BTreeMap<Field, usize>,
}

/// A flow that was drawn.
#[derive(Clone, Debug)]
struct Draft {
    numbers: BTreeMap<Field, u128>,
    by: Option<usize>,
    out: usize,
}

/// Draws flows.
#[derive(Debug)]
pub struct Drawing<'a> {
    network: &'a Network,
    devices: Vec<String>,
    /// Addresses of the host, of each family.
    own: [Vec<u128>; 2],
    /// Values of all rules.
    pool: BTreeMap<Field, Vec<u128>>,
    chance: Chance,
    known: HashSet<(Identity, Option<usize>, usize)>,
    probes: Vec<Probe>,
    /// Whether a ruleset translates addresses.
    translates: bool,
    /// Source ports that no rule names.
    turn: u32,
}

/// The first and the last number of each range, and their neighbours on the other side.
fn boundaries(
    field: Field,
    ranges: &crate::check::shape::ranges::Ranges,
) -> (Vec<u128>, Vec<u128>) {
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

impl<'a> Drawing<'a> {
    /// Of the constants of these rules, in this network, where rules translate addresses or not.
    pub fn new(network: &'a Network, own: &[IpAddr], corners: &[Corner], translates: bool) -> Self {
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
            network,
            devices,
            own: [of(true), of(false)],
            pool: { pool.into_iter() }
                .map(|(field, values)| (field, values.into_iter().collect()))
                .collect(),
            chance: Chance(1),
            known: HashSet::new(),
            probes: Vec::new(),
            translates,
            turn: 0,
        }
    }

    /// Draws, and returns what was drawn, and whether that is all.
    pub fn draw(mut self, corners: &[Corner]) -> (Vec<Probe>, bool) {
        for corner in corners {
            self.corner(corner);
        }
        let anything = Corner::anything();
        for _ in 0..ANYTHING {
            self.one(&anything, &Fixed::default());
        }
        let whole = self.probes.len() < PROBES_MAX;
        (self.probes, whole)
    }

    fn corner(&mut self, corner: &Corner) {
        for _ in 0..BASE {
            self.one(corner, &Fixed::default());
        }
        let mut axes: Vec<(Field, Vec<u128>)> = Vec::new();
        for (field, ranges) in &corner.numbers {
            if *field == Field::State {
                continue;
            }
            let (inside, outside) = boundaries(*field, ranges);
            axes.push((*field, [inside, outside].concat()));
        }
        for (field, values) in &axes {
            for &value in values {
                for _ in 0..DRAWS {
                    self.one(corner, &fixed(&[(*field, value)]));
                }
            }
        }
        for field in [Field::In, Field::Out] {
            for device in 0..self.devices.len() {
                let mut fix = Fixed::default();
                fix.devices.insert(field, device);
                for _ in 0..DRAWS {
                    self.one(corner, &fix);
                }
            }
        }
        // What it does not ask for is tried in each kind.
        for field in [Field::Family, Field::Protocol] {
            if !corner.numbers.contains_key(&field) {
                let kinds: &[u128] = match field {
                    Field::Family => &[4, 6],
                    _ => &[1, 6, 17, 132],
                };
                for kind in kinds {
                    self.one(corner, &fixed(&[(field, *kind)]));
                    self.one(corner, &fixed(&[(field, *kind)]));
                }
            }
        }
        for (at, (field, values)) in axes.iter().enumerate() {
            for (other, others) in &axes[at + 1..] {
                for value in some(values) {
                    for with in some(others) {
                        self.one(corner, &fixed(&[(*field, value), (*other, with)]));
                    }
                }
            }
        }
        for tuple in &corner.tuples {
            let ranges: Vec<_> = { tuple.iter() }
                .filter_map(|condition| Some((condition.field, condition.numbers()?)))
                .collect();
            let first: Vec<(Field, u128)> = { ranges.iter() }
                .filter_map(|(field, ranges)| Some((*field, ranges.iter().next()?.0)))
                .collect();
            self.one(corner, &fixed(&first));
            for (at, (field, ranges)) in ranges.iter().enumerate() {
                let (inside, outside) = boundaries(*field, ranges);
                for value in inside.into_iter().chain(outside) {
                    let mut values = first.clone();
                    values[at].1 = value;
                    self.one(corner, &fixed(&values));
                }
            }
        }
    }

    /// Draws one, again as long as an earlier rule of the chain takes it.
    fn one(&mut self, corner: &Corner, fix: &Fixed) {
        if self.probes.len() >= PROBES_MAX {
            return;
        }
        let tries = (PATIENCE / corner.earlier.len().max(1)).clamp(1, 30);
        let mut last = None;
        for _ in 0..tries {
            let Some(draft) = self.draft(corner, fix) else {
                continue;
            };
            let taken = { corner.earlier.iter() }.any(|rule| self.meets(&draft, rule));
            last = Some(draft);
            if !taken {
                break;
            }
        }
        if let Some(draft) = last {
            self.keep(&draft);
        }
    }

    fn meets(&self, draft: &Draft, conditions: &[Condition]) -> bool {
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

    fn draft(&mut self, corner: &Corner, fix: &Fixed) -> Option<Draft> {
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

    fn keep(&mut self, draft: &Draft) {
        let get = |field: Field| draft.numbers.get(&field).copied();
        let address = |four: Field, six: Field| -> Option<IpAddr> {
            match get(four) {
                Some(number) => Some(Ipv4Addr::from(u32::try_from(number).ok()?).into()),
                None => get(six).map(|number| Ipv6Addr::from(number).into()),
            }
        };
        let (Some(source), Some(destination), Some(protocol)) = (
            address(Field::Source4, Field::Source6),
            address(Field::Destination4, Field::Destination6),
            get(Field::Protocol),
        ) else {
            return;
        };
        let usable = is_usable(source) && is_usable(destination);
        let strange = |address| self.network.is_for_many(address);
        if !usable || strange(source) || strange(destination) || source == destination {
            return;
        }
        let protocol = Protocol(protocol as u8);
        let v4 = source.is_ipv4();
        if protocol.is_icmp() && !protocol.is_icmp_of(source) {
            return;
        }
        let service = if protocol.has_ports() {
            Service::Port(get(Field::DestinationPort).unwrap_or(0) as u16)
        } else if protocol.is_icmp() {
            let kind = get(if v4 { Field::Icmp4 } else { Field::Icmp6 });
            Service::Icmp(kind.unwrap_or(8) as u8, 0)
        } else {
            Service::None
        };
        let tuple = Tuple {
            source,
            destination,
            protocol,
            service,
            source_port: get(Field::SourcePort)
                .map_or(SourcePort::None, |port| SourcePort::Exact(port as u16)),
            zone: 0,
        };
        let identity = Identity::of(&tuple);
        // The same but for the source port is the same, unless a rule asks for that.
        let mut folded = identity.clone();
        folded.source_port = match identity.source_port {
            SourcePort::Exact(port) if is_any(port) => SourcePort::Ephemeral,
            other => other,
        };
        // What comes from an address of the host is its own.
        let by = draft.by.filter(|_| !self.network.is_local(source));
        // It may be translated to an address that no route leads to.
        let local = self.network.is_local(destination);
        let goes = !local && self.network.assumed(destination).is_some();
        let assumed = self.network.assumes(v4) && (goes || self.translates);
        if !self
            .known
            .insert((folded, by, if assumed { draft.out } else { usize::MAX }))
        {
            return;
        }
        self.probes.push(Probe {
            record: Record::new(identity, true),
            by: by.map(|by| self.devices[by].clone()),
            out: assumed.then(|| self.devices[draft.out].clone()),
        });
    }
}

fn fixed(values: &[(Field, u128)]) -> Fixed {
    Fixed {
        numbers: values.iter().copied().collect(),
        devices: BTreeMap::new(),
    }
}

/// A few values, from all over.
fn some(values: &[u128]) -> Vec<u128> {
    let step = values.len().div_ceil(PAIRED).max(1);
    values.iter().step_by(step).copied().collect()
}

/// Whether a made-up flow's source port is one of those that stand for any.
pub const fn is_any(port: u16) -> bool {
    *ANY.start() <= port && port <= *ANY.end()
}

/// Whether the kernel routes packets from and to an address, whatever the rules say (`ip_route_input_slow`,
/// net/ipv4/route.c; RFC 4291).
pub(super) fn is_usable(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let first = v4.octets()[0];
            first != 0 && first != 127 && first < 224
        }
        IpAddr::V6(v6) => {
            !v6.is_unspecified()
                && !v6.is_loopback()
                && !v6.is_multicast()
                && !is_link_local(address)
                && v6.to_ipv4_mapped().is_none()
        }
    }
}
