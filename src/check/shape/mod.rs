//! What a rule asks for, as far as it is understood: which addresses, ports and devices. Verdicts never rest on this, since
//! the kernel is the judge. It tells which flows are worth trying, which rules others stand before, and which of the
//! elements of a set no flow has used.

mod iptables;
mod nft;
pub mod ranges;
mod values;

use std::net::IpAddr;

use self::ranges::Ranges;

pub use iptables::shape as of_iptables;
pub use nft::Sets;

/// What of a packet a condition is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Field {
    /// 4 or 6.
    Family,
    /// The source of IPv4.
    Source4,
    /// The source of IPv6.
    Source6,
    /// The destination of IPv4.
    Destination4,
    /// The destination of IPv6.
    Destination6,
    /// The protocol's number.
    Protocol,
    /// The port that it comes from.
    SourcePort,
    /// The port that it goes to.
    DestinationPort,
    /// The type of ICMP.
    Icmp4,
    /// The type of ICMPv6.
    Icmp6,
    /// What conntrack says, by the places of [`STATES`].
    State,
    /// The device that it has come in by.
    In,
    /// The device that it leaves by.
    Out,
}

/// What conntrack says of packets.
pub const STATES: [&str; 5] = ["invalid", "established", "related", "new", "untracked"];
/// The place of `new` among them.
pub const NEW: u128 = 3;

impl Field {
    /// All that a packet may have there.
    pub fn all(self) -> Ranges {
        let (first, last) = match self {
            Self::Family => return Ranges::new(vec![(4, 4), (6, 6)]),
            Self::Source4 | Self::Destination4 => (0, u128::from(u32::MAX)),
            Self::Source6 | Self::Destination6 => (0, u128::MAX),
            Self::Protocol | Self::Icmp4 | Self::Icmp6 => (0, 255),
            Self::SourcePort | Self::DestinationPort => (0, u128::from(u16::MAX)),
            Self::State => (0, STATES.len() as u128 - 1),
            Self::In | Self::Out => (0, 0),
        };
        Ranges::new(vec![(first, last)])
    }

    /// Whether the values are names of devices.
    pub const fn is_device(self) -> bool {
        matches!(self, Self::In | Self::Out)
    }

    /// What a packet has to be in order to have this: the family or the protocol.
    fn implied(self) -> Option<Condition> {
        let (field, number) = match self {
            Self::Source4 | Self::Destination4 => (Self::Family, 4),
            Self::Source6 | Self::Destination6 => (Self::Family, 6),
            Self::Icmp4 => (Self::Protocol, 1),
            Self::Icmp6 => (Self::Protocol, 58),
            _ => return None,
        };
        Some(Condition::number(field, number))
    }
}

/// What a condition lets pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Values {
    /// Any of these numbers.
    Numbers(Ranges),
    /// Any of these devices, or any but these. A `*` at the end stands for anything.
    Names(Vec<String>, bool),
}

/// A condition that is understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// What it is about.
    pub field: Field,
    /// What it lets pass.
    pub values: Values,
}

/// What becomes of a packet that a rule matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The chain accepts it.
    Accept,
    /// It is dropped or rejected.
    Stop,
    /// It goes back to the chain that it came from.
    Return,
    /// It goes to another chain, and perhaps comes back.
    Jump(String),
    /// It goes to another chain, and does not come back to this one.
    Goto(String),
    /// It goes on to the next rule.
    Continue,
    /// Something else: translation, a program, what is not understood.
    Other,
}

impl Ending {
    /// The chain that it leads to.
    pub fn target(&self) -> Option<&str> {
        match self {
            Self::Jump(chain) | Self::Goto(chain) => Some(chain),
            _ => None,
        }
    }

    /// Whether no later rule of the chain sees the packet.
    pub const fn ends_chain(&self) -> bool {
        matches!(
            self,
            Self::Accept | Self::Stop | Self::Return | Self::Goto(_)
        )
    }
}

/// One of several things that a rule asks for: an element of a set, or a network or range that stands by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    /// As it is written.
    pub text: String,
    /// What a packet has to be: all of these.
    pub conditions: Vec<Condition>,
}

/// The elements that a condition enumerates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List {
    /// The name of the set; `None` if they stand in the rule.
    pub set: Option<String>,
    /// Each of them.
    pub elements: Vec<Element>,
}

/// What a rule asks for, and what it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// What a packet has to be to be matched: all of these, and more unless `exact`.
    pub conditions: Vec<Condition>,
    /// Whether these conditions are all that it asks for.
    pub exact: bool,
    /// Whether it asks for something that differs from packet to packet of a connection, and is not understood.
    pub varies: bool,
    /// What it enumerates.
    pub lists: Vec<List>,
    /// What it does, with what a packet has to be besides: one, or one for each element of a verdict map.
    pub branches: Vec<(Vec<Condition>, Ending)>,
}

impl Default for Shape {
    /// That of a rule of which nothing is known.
    fn default() -> Self {
        Self {
            conditions: Vec::new(),
            exact: false,
            varies: true,
            lists: Vec::new(),
            branches: vec![(Vec::new(), Ending::Other)],
        }
    }
}

impl Condition {
    /// That it is one number.
    pub fn number(field: Field, number: u128) -> Self {
        Self::ranges(field, Ranges::new(vec![(number, number)]))
    }

    /// That it is any of these.
    pub const fn ranges(field: Field, ranges: Ranges) -> Self {
        Self {
            field,
            values: Values::Numbers(ranges),
        }
    }

    /// The numbers, if it is about numbers.
    pub const fn numbers(&self) -> Option<&Ranges> {
        match &self.values {
            Values::Numbers(ranges) => Some(ranges),
            Values::Names(..) => None,
        }
    }

    /// Whether it lets a device pass.
    pub fn takes_device(&self, device: &str) -> bool {
        match &self.values {
            Values::Names(names, not) => {
                names.iter().any(|pattern| covers(pattern, device)) != *not
            }
            Values::Numbers(_) => false,
        }
    }

    /// With what it implies.
    fn with_implied(self, conditions: &mut Vec<Self>) {
        conditions.extend(self.field.implied());
        conditions.push(self);
    }
}

/// Whether whatever meets all of these conditions meets this one. What they say of the same field is looked at alone, so
/// that "no" may mean that it is not known.
pub fn implies(conditions: &[Condition], wanted: &Condition) -> bool {
    let same = || {
        conditions
            .iter()
            .filter(|known| known.field == wanted.field)
    };
    match &wanted.values {
        Values::Numbers(wanted) => {
            let mut known = same().filter_map(Condition::numbers);
            let Some(first) = known.next() else {
                return false;
            };
            let all = known.fold(first.clone(), |all, more| all.and(more));
            all.is_within(wanted)
        }
        Values::Names(wanted, not) => same().any(|known| match &known.values {
            Values::Names(names, false) if !not => {
                { names.iter() }.all(|name| wanted.iter().any(|pattern| covers(pattern, name)))
            }
            Values::Names(names, false) => {
                { names.iter() }.all(|name| !wanted.iter().any(|pattern| overlap(pattern, name)))
            }
            Values::Names(names, true) => *not && wanted.iter().all(|name| names.contains(name)),
            Values::Numbers(_) => false,
        }),
    }
}

/// Whether a pattern stands for all that another one does.
fn covers(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(begin) => name.trim_end_matches('*').starts_with(begin),
        None => pattern == name,
    }
}

/// Whether two patterns may stand for the same device.
fn overlap(one: &str, other: &str) -> bool {
    covers(one, other) || covers(other, one)
}

/// An address as a number.
pub fn number_of(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// The range of a network.
fn range_of(net: ipnet::IpNet) -> (u128, u128) {
    (number_of(net.network()), number_of(net.broadcast()))
}

/// The number of an ICMP type's name.
fn icmp_number(field: Field, name: &str) -> Option<u128> {
    use crate::model::{icmp, record::Protocol};
    let protocol = match field {
        Field::Icmp4 => Protocol::ICMP,
        _ => Protocol::ICMPV6,
    };
    let named = (0..=u8::MAX).find(|number| icmp::name(protocol, *number) == Some(name));
    named.map(u128::from).or_else(|| name.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(field: Field, list: &[&str], not: bool) -> Condition {
        let list = list.iter().map(|name| (*name).to_owned()).collect();
        Condition {
            field,
            values: Values::Names(list, not),
        }
    }

    #[test]
    fn what_follows_from_conditions_is_known() {
        let ports = |first, last| {
            Condition::ranges(Field::DestinationPort, Ranges::new(vec![(first, last)]))
        };
        assert!(implies(&[ports(20, 30), ports(25, 99)], &ports(25, 30)));
        assert!(!implies(&[ports(20, 30)], &ports(25, 30)));
        // Packets without ports, such as later fragments, meet no condition on ports, not even one that all ports meet.
        assert!(!implies(&[], &ports(0, 65_535)));
        let inside = |list: &[&str], not| names(Field::In, list, not);
        assert!(implies(
            &[inside(&["lan0"], false)],
            &inside(&["lan*"], false)
        ));
        assert!(!implies(
            &[inside(&["lan*"], false)],
            &inside(&["lan0"], false)
        ));
        assert!(implies(
            &[inside(&["wan"], false)],
            &inside(&["lan*"], true)
        ));
        assert!(!implies(&[inside(&["l*"], false)], &inside(&["lan"], true)));
        assert!(implies(&[inside(&["a", "b"], true)], &inside(&["a"], true)));
        assert!(!implies(&[inside(&["a"], true)], &inside(&["b"], false)));
        assert!(!implies(
            &[names(Field::Out, &["a"], false)],
            &inside(&["a"], false)
        ));
    }
}
