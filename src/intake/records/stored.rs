//! A record as its table keeps it: packed, so that a plain IPv4 flow takes 48 bytes.

use std::hash::{BuildHasher, Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;

use crate::model::flow::{Flow, icmp_service};
use crate::model::origin::{Begun, Origin};
use crate::model::record::{Classic, Identity, Protocol, Record, Service, SourcePort, Translation};
use crate::model::sighting::Beginning;
use crate::model::timestamp::Timestamp;
use crate::model::tuple::Tuple;
use crate::model::usage::Usage;

/// A first time when none is known: later than any, and none that is shown.
pub const UNKNOWN_FIRST: u64 = u64::MAX;
/// A last time when none is known.
pub const UNKNOWN_LAST: u64 = 0;

/// The source port stands for all ephemeral ones.
const EPHEMERAL: u8 = 1;
/// Packets were seen in both directions.
const CONFIRMED: u8 = 2;
/// Every connection of it was there before it was tracked.
const PICKED_UP: u8 = 4;
/// How the classic list shows it, in records that were copied or taken out: one of these, or as its confirmation says.
const CLASSIC: u8 = ABSENT | LISTED;
const ABSENT: u8 = 8;
const LISTED: u8 = 16;

/// What a sighting adds to a record.
#[derive(Clone, Copy, Debug)]
pub struct Addition {
    /// Tells flows apart, besides their key.
    pub translation: Option<Translation>,
    /// Microseconds since 1970, or [`UNKNOWN_FIRST`].
    pub first_us: u64,
    /// Microseconds since 1970, or [`UNKNOWN_LAST`].
    pub last_us: u64,
    /// How many connections began: NEW events.
    pub connections: u32,
    /// Whether packets were seen in both directions.
    pub replied: bool,
    /// Whether the connection began with what was seen.
    pub beginning: Beginning,
    /// What helpers have to do with it: a number of [`Helpers`](super::helpers::Helpers).
    pub helped: u16,
    /// What connections have carried, of a record that comes from elsewhere.
    pub usage: Option<Usage>,
}

/// What makes a flow this one, but for its translation. `A` is an address's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packed<A> {
    source: A,
    destination: A,
    service: u16,
    source_port: u16,
    zone: u16,
    namespace: u16,
    protocol: u8,
    flags: u8,
}

impl<A: AsRef<[u8]> + PartialEq + Copy> Packed<A> {
    /// That of `tuple`, whose addresses these are.
    pub fn new(tuple: &Tuple, namespace: u16, source: A, destination: A) -> Self {
        Self {
            source,
            destination,
            service: match tuple.service {
                Service::None => 0,
                Service::Port(port) => port,
                Service::Icmp(icmp_type, code) => icmp_service(icmp_type, code),
            },
            source_port: tuple.source_port.number().unwrap_or(0),
            zone: tuple.zone,
            namespace,
            protocol: tuple.protocol.0,
            flags: match tuple.source_port {
                SourcePort::Ephemeral => EPHEMERAL,
                SourcePort::None | SourcePort::Exact(_) => 0,
            },
        }
    }

    /// Without what may change.
    fn flow(&self) -> Self {
        Self {
            flags: self.flags & EPHEMERAL,
            ..*self
        }
    }

    /// The hash of the flow, together with its translation.
    pub fn place(&self, translation: Option<&Translation>, keyed: &impl BuildHasher) -> u64 {
        // All of it at once: a keyed hash of a dozen small writes takes several times as long.
        let mut bytes = [0; 2 * 16 + 4 * 2 + 2];
        let (source, destination) = (self.source.as_ref(), self.destination.as_ref());
        let flow = self.flow();
        let [s0, s1] = flow.service.to_ne_bytes();
        let [p0, p1] = flow.source_port.to_ne_bytes();
        let [z0, z1] = flow.zone.to_ne_bytes();
        let [n0, n1] = flow.namespace.to_ne_bytes();
        let rest = [s0, s1, p0, p1, z0, z1, n0, n1, flow.protocol, flow.flags];
        let mut at = 0;
        for part in [source, destination, &rest] {
            bytes[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
        let mut hasher = keyed.build_hasher();
        hasher.write(&bytes[..at]);
        if let Some(translation) = translation {
            translation.hash(&mut hasher);
        }
        hasher.finish()
    }
}

/// What few flows have.
#[derive(Clone, Debug, Default)]
struct Extra {
    translation: Option<Translation>,
    usage: Option<Box<Usage>>,
}

/// A record as the table keeps it.
#[derive(Clone, Debug)]
pub struct Stored<A> {
    key: Packed<A>,
    helped: u16,
    extra: Option<Box<Extra>>,
    /// Stays at the largest number once it is there.
    connections: u32,
    first_us: u64,
    last_us: u64,
}

impl<A: AsRef<[u8]> + PartialEq + Copy> Stored<A> {
    /// That of a flow that is seen for the first time.
    pub fn new(key: Packed<A>, seen: Addition) -> Self {
        let mut stored = Self {
            key,
            helped: seen.helped,
            extra: seen.translation.map(|translation| {
                Box::new(Extra {
                    translation: Some(translation),
                    usage: None,
                })
            }),
            connections: seen.connections,
            first_us: seen.first_us,
            last_us: seen.last_us,
        };
        stored.confirm(seen.replied);
        stored.carry(seen.usage.as_ref());
        if seen.beginning == Beginning::PickedUp {
            stored.key.flags |= PICKED_UP;
        }
        stored
    }

    /// What helpers have to do with it.
    pub const fn helped(&self) -> u16 {
        self.helped
    }

    /// Whether every connection of it was there before it was tracked.
    pub const fn is_picked_up(&self) -> bool {
        self.key.flags & PICKED_UP != 0
    }

    /// Adds what was seen of the same flow; `helped` is what helpers have to do with all of it.
    pub fn add(&mut self, seen: &Addition, helped: u16) {
        self.helped = helped;
        if seen.beginning == Beginning::Seen {
            self.key.flags &= !PICKED_UP;
        }
        self.first_us = self.first_us.min(seen.first_us);
        self.last_us = self.last_us.max(seen.last_us);
        self.connections = self.connections.saturating_add(seen.connections);
        self.confirm(seen.replied);
        self.carry(seen.usage.as_ref());
    }

    /// Adds what a connection has carried, if the record's first time is right for that; whether it is.
    pub fn use_up(&mut self, usage: &Usage, is_its: impl Fn(u64) -> bool) -> bool {
        let right = is_its(self.first_us);
        if right {
            self.carry(Some(usage));
        }
        right
    }

    fn carry(&mut self, usage: Option<&Usage>) {
        if usage.is_some() {
            let extra = self.extra.get_or_insert_default();
            Usage::join(&mut extra.usage, usage);
        }
    }

    /// Says how the classic list shows it. Only the table of that list knows, which is not at hand when it is unpacked.
    pub fn mark(&mut self, classic: Classic) {
        let flag = match classic {
            Classic::Absent => ABSENT,
            Classic::Listed => LISTED,
            Classic::Confirmed => 0,
        };
        self.key.flags = self.key.flags & !CLASSIC | flag;
    }

    fn translation(&self) -> Option<&Translation> {
        self.extra.as_ref()?.translation.as_ref()
    }

    fn confirm(&mut self, replied: bool) {
        if replied {
            self.key.flags |= CONFIRMED;
        }
    }

    /// Whether it is the record of that flow.
    pub fn is_of(&self, key: &Packed<A>, translation: Option<&Translation>) -> bool {
        self.key.flow() == key.flow() && self.translation() == translation
    }

    /// The hash of its flow.
    pub fn place(&self, keyed: &impl BuildHasher) -> u64 {
        self.key.place(self.translation(), keyed)
    }

    /// Whether it was last seen before a time. Of a flow that no time is known of, that is not known.
    pub const fn is_older(&self, before_us: u64) -> bool {
        self.last_us != UNKNOWN_LAST && self.last_us < before_us
    }
}

impl<A: Into<IpAddr> + Copy> Stored<A> {
    /// The flow as the classic list has it, if it has the protocol.
    pub fn flow(&self) -> Option<Flow> {
        self.unpack(&[], Origin::default()).identity.tuple().flow()
    }

    /// The record, before it is known which side opened what was picked up. `names` are those of namespaces by number,
    /// `helped` is what helpers have to do with it.
    pub fn unpack(&self, names: &[Option<Arc<str>>], helped: Origin) -> Record {
        let key = &self.key;
        let (source, protocol) = (key.source.into(), Protocol(key.protocol));
        let (service, source_port) = if protocol.has_ports() {
            let port = if key.flags & EPHEMERAL == 0 {
                SourcePort::Exact(key.source_port)
            } else {
                SourcePort::Ephemeral
            };
            (Service::Port(key.service), port)
        } else if protocol.is_icmp_of(source) {
            let [icmp_type, code] = key.service.to_be_bytes();
            (Service::Icmp(icmp_type, code), SourcePort::None)
        } else {
            (Service::None, SourcePort::None)
        };
        let confirmed = key.flags & CONFIRMED != 0;
        let extra = self.extra.as_deref();
        Record {
            identity: Identity {
                source,
                destination: key.destination.into(),
                protocol,
                service,
                source_port,
                zone: key.zone,
                translation: extra.and_then(|extra| extra.translation.map(Box::new)),
                netns: names.get(usize::from(key.namespace)).cloned().flatten(),
            },
            confirmed,
            connections: self.connections.into(),
            first_seen: Timestamp::from_us(self.first_us),
            last_seen: Timestamp::from_us(self.last_us),
            classic: match key.flags & CLASSIC {
                0 => Record::usual_classic(confirmed),
                LISTED => Classic::Listed,
                _ => Classic::Absent,
            },
            origin: Origin {
                begun: if key.flags & PICKED_UP == 0 {
                    Begun::Usual
                } else {
                    Begun::Unclear
                },
                ..helped
            },
            usage: extra.and_then(|extra| extra.usage.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sizes_are_those_that_are_promised() {
        assert_eq!(size_of::<Stored<[u8; 4]>>(), 48);
        assert_eq!(size_of::<Stored<[u8; 16]>>(), 72);
        assert_eq!(size_of::<Translation>(), 44);
        assert_eq!(size_of::<Extra>(), 56);
        assert_eq!(size_of::<Usage>(), 56);
    }
}
