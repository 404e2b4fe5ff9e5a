//! Flows that are worth trying, made from the constants of rulesets: each boundary and one beyond, and pairs of them.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::corners::Corner;
use super::draft::{Draft, Drafts, Fixed, boundaries, fixed, is_any};
use crate::check::judge::probing::Probe;
use crate::check::network::{Network, is_link_local};
use crate::check::shape::Field;
use crate::model::record::{Identity, Protocol, Record, Service, SourcePort};
use crate::model::tuple::Tuple;

/// Probes at most: more of them would take minutes.
const PROBES_MAX: usize = 300_000;
/// Draws for each value of each condition.
const DRAWS: usize = 3;
/// Draws where nothing is fixed.
const BASE: usize = 8;
/// Draws of anything at all.
const ANYTHING: usize = 600;
/// Comparisons with earlier rules that a draw may take.
const PATIENCE: usize = 20_000;
/// Draws of what two rules ask for at once.
const BOTH: usize = 8;
/// Rules of a chain are tried together with so many before and behind, fewer of them the more there are.
const PAIRS: usize = 4000;
const PARTNERS_MIN: usize = 4;
const PARTNERS_MAX: usize = 40;
/// Values of a field that are tried together with each of another one.
const PAIRED: usize = 4;

/// Draws flows.
#[derive(Debug)]
pub struct Drawing<'a> {
    network: &'a Network,
    drafts: Drafts,
    known: HashSet<(Identity, Option<usize>, usize)>,
    probes: Vec<Probe>,
    /// Whether a ruleset translates addresses.
    translates: bool,
}

impl<'a> Drawing<'a> {
    /// Of the constants of these rules, in this network, where rules translate addresses or not.
    pub fn new(network: &'a Network, own: &[IpAddr], corners: &[Corner], translates: bool) -> Self {
        Self {
            network,
            drafts: Drafts::new(network, own, corners),
            known: HashSet::new(),
            probes: Vec::new(),
            translates,
        }
    }

    /// Draws, and returns what was drawn, and whether that is all.
    pub fn draw(mut self, corners: &[Corner]) -> (Vec<Probe>, bool) {
        for corner in corners {
            self.corner(corner);
        }
        self.pairs(corners);
        let anything = Corner::anything();
        for _ in 0..ANYTHING {
            self.one(&anything, &Fixed::default());
        }
        let whole = self.probes.len() < PROBES_MAX;
        (self.probes, whole)
    }

    /// What two rules of a chain ask for at once: what the first of them does not take any more, the other one may.
    fn pairs(&mut self, corners: &[Corner]) {
        let near = (PAIRS / corners.len().max(1)).clamp(PARTNERS_MIN, PARTNERS_MAX);
        for (at, corner) in corners.iter().enumerate() {
            let axes = axes(corner);
            let around = at.saturating_sub(near)..(at + near + 1).min(corners.len());
            for other in around
                .filter(|other| *other != at)
                .map(|other| &corners[other])
            {
                if other.way != corner.way {
                    continue;
                }
                if let Some(both) = corner.and(other, None) {
                    for _ in 0..BOTH {
                        self.one(&both, &Fixed::default());
                    }
                }
                for (field, values) in &axes {
                    let Some(rest) = corner.and(other, Some(*field)) else {
                        continue;
                    };
                    let asked = rest.numbers.get(field);
                    let fitting = values
                        .iter()
                        .filter(|value| asked.is_none_or(|ranges| ranges.contains(**value)));
                    for &value in fitting {
                        self.one(&rest, &fixed(&[(*field, value)]));
                    }
                }
            }
        }
    }

    fn corner(&mut self, corner: &Corner) {
        for _ in 0..BASE {
            self.one(corner, &Fixed::default());
        }
        let axes = axes(corner);
        for (field, values) in &axes {
            for &value in values {
                for _ in 0..DRAWS {
                    self.one(corner, &fixed(&[(*field, value)]));
                }
            }
        }
        for field in [Field::In, Field::Out] {
            for device in 0..self.drafts.devices.len() {
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
            let Some(draft) = self.drafts.draft(corner, fix) else {
                continue;
            };
            let taken = { corner.earlier.iter() }.any(|rule| self.drafts.meets(&draft, rule));
            last = Some(draft);
            if !taken {
                break;
            }
        }
        if let Some(draft) = last {
            self.keep(&draft);
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
            by: by.map(|by| self.drafts.devices[by].clone()),
            out: assumed.then(|| self.drafts.devices[draft.out].clone()),
        });
    }
}

/// The boundaries of what a rule asks for, on either side.
fn axes(corner: &Corner) -> Vec<(Field, Vec<u128>)> {
    let fields = corner
        .numbers
        .iter()
        .filter(|(field, _)| **field != Field::State);
    fields
        .map(|(field, ranges)| {
            let (inside, outside) = boundaries(*field, ranges);
            (*field, [inside, outside].concat())
        })
        .collect()
}

/// A few values, from all over.
fn some(values: &[u128]) -> Vec<u128> {
    let step = values.len().div_ceil(PAIRED).max(1);
    values.iter().step_by(step).copied().collect()
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
