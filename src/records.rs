//! The table of records: what the formats beyond the classic list need of every flow.
//!
//! It is fed beside the table of the classic list and only if it is asked for. A plain IPv4 flow takes 48
//! bytes here, an IPv6 flow 72, and a translation 44 more on the heap; hashing adds its slack.

use std::collections::HashSet;
use std::hash::{BuildHasher, Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;

use hashbrown::HashTable;

use crate::flow::{Event, Flow, icmp_service};
use crate::record::{Classic, Identity, Protocol, Record, Service, SourcePort, Translation};
use crate::sighting::{Facts, Sighting};
use crate::stripes::Stripes;
use crate::table::Table;
use crate::timestamp::Timestamp;

/// [`Stored::first_us`] of a flow that no time is known of: later than any, and none that is shown.
const UNKNOWN_FIRST: u64 = u64::MAX;

/// The source port stands for all ephemeral ones.
const EPHEMERAL: u8 = 1;
/// Packets were seen in both directions.
const CONFIRMED: u8 = 2;

/// A record as the table keeps it.
#[derive(Clone, Debug)]
struct Stored<A> {
    key: Packed<A>,
    translation: Option<Box<Translation>>,
    /// Stays at the largest number once it is there.
    connections: u32,
    first_us: u64,
    last_us: u64,
}

/// What makes a flow this one, but for its translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Packed<A> {
    source: A,
    destination: A,
    service: u16,
    source_port: u16,
    zone: u16,
    namespace: u16,
    protocol: u8,
    flags: u8,
}

impl<A: PartialEq + Copy> Packed<A> {
    fn same_flow(&self, other: &Self) -> bool {
        let flow = |key: &Self| Self {
            flags: key.flags & !CONFIRMED,
            ..*key
        };
        flow(self) == flow(other)
    }
}

#[derive(Debug, Default)]
struct Stripe {
    v4: HashTable<Stored<[u8; 4]>>,
    v6: HashTable<Stored<[u8; 16]>>,
}

/// The lock-striped table of records.
#[derive(Debug)]
pub struct Records {
    stripes: Stripes<Stripe>,
    keep_ports: bool,
}

impl Records {
    /// A table of at most `max` records, whose ephemeral source ports are kept or folded into one.
    #[must_use]
    pub fn new(max: usize, keep_ports: bool) -> Self {
        Self {
            stripes: Stripes::for_this_machine(max),
            keep_ports,
        }
    }

    /// Takes in one sighting, of `now` if it has no time of its own. Locks one stripe.
    ///
    /// Unlike in the classic list, a flow is recorded however it is first seen.
    pub fn apply(&self, sighting: &Sighting, now: Timestamp) {
        let Sighting {
            mut facts,
            translation,
            replied,
            event,
            namespace,
            time,
        } = *sighting;
        let mut translation = translation;
        if !self.keep_ports {
            facts.source_port = facts.source_port.collapsed();
            translation = translation.and_then(|translation| translation.collapsed(&facts));
        }
        let time_us = time.unwrap_or(now).us();
        let seen = Seen {
            translation,
            first_us: time_us,
            last_us: time_us,
            connections: u32::from(event == Event::New),
            replied,
        };
        self.add(&facts, namespace, seen);
    }

    fn add(&self, facts: &Facts, namespace: u16, seen: Seen) {
        let translation = seen.translation;
        match (facts.source, facts.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let key = pack(facts, namespace, source.octets(), destination.octets());
                let hash = self.hash(&key, translation.as_ref());
                let mut stripe = self.stripes.lock(self.stripes.index(hash));
                self.insert(&mut stripe.v4, hash, key, seen);
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let key = pack(facts, namespace, source.octets(), destination.octets());
                let hash = self.hash(&key, translation.as_ref());
                let mut stripe = self.stripes.lock(self.stripes.index(hash));
                self.insert(&mut stripe.v6, hash, key, seen);
            }
            // No tuple has addresses of two families.
            _ => {}
        }
    }

    fn hash<A: Hash + PartialEq + Copy>(
        &self,
        key: &Packed<A>,
        translation: Option<&Translation>,
    ) -> u64 {
        let mut hasher = self.stripes.hasher().build_hasher();
        Packed {
            flags: key.flags & !CONFIRMED,
            ..*key
        }
        .hash(&mut hasher);
        translation.hash(&mut hasher);
        hasher.finish()
    }

    fn insert<A: Hash + PartialEq + Copy>(
        &self,
        table: &mut HashTable<Stored<A>>,
        hash: u64,
        key: Packed<A>,
        seen: Seen,
    ) {
        let found = table.find_mut(hash, |stored| {
            stored.key.same_flow(&key) && stored.translation.as_deref() == seen.translation.as_ref()
        });
        if let Some(stored) = found {
            stored.first_us = stored.first_us.min(seen.first_us);
            stored.last_us = stored.last_us.max(seen.last_us);
            stored.connections = stored.connections.saturating_add(seen.connections);
            if seen.replied {
                stored.key.flags |= CONFIRMED;
            }
            return;
        }
        let rehash = |stored: &Stored<A>| self.hash(&stored.key, stored.translation.as_deref());
        if self.stripes.is_full() || table.try_reserve(1, rehash).is_err() {
            self.stripes.refuse();
            return;
        }
        self.stripes.added();
        let mut stored = Stored {
            key,
            translation: seen.translation.map(Box::new),
            connections: seen.connections,
            first_us: seen.first_us,
            last_us: seen.last_us,
        };
        if seen.replied {
            stored.key.flags |= CONFIRMED;
        }
        table.insert_unique(hash, stored, rehash);
    }

    /// Number of records. Locks nothing.
    #[must_use]
    pub fn len(&self) -> usize {
        self.stripes.len()
    }

    /// Whether there is none. Locks nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.stripes.is_empty()
    }

    /// Sightings whose flow found no room. Locks nothing.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.stripes.refused()
    }

    /// What `make` makes of all records, in no order. `listed` is the table of the classic list that was fed
    /// beside, `names` those of namespaces by number. Locks the stripes of both tables one after the other, each
    /// for as long as copying takes.
    #[must_use]
    pub fn snapshot<T>(
        &self,
        listed: &Table,
        names: &[Option<Arc<str>>],
        mut make: impl FnMut(Record) -> Option<T>,
    ) -> Vec<T> {
        let mut made = Vec::with_capacity(self.len());
        let mut copied: Vec<Record> = Vec::new();
        for stripe in self.stripes.each() {
            stripe.copy(names, &mut copied);
            drop(stripe);
            made.extend(copied.drain(..).filter_map(|mut record| {
                record.classic = classic(&record, |flow| listed.state(flow));
                make(record)
            }));
        }
        made
    }

    /// Takes all records out. `taken` is what was taken out of the classic list's table just before, `listed`
    /// that table. Locks as [`snapshot`](Self::snapshot) does.
    #[must_use]
    pub fn take<T: From<Record>>(
        &self,
        taken: &Table,
        listed: &Table,
        names: &[Option<Arc<str>>],
    ) -> Vec<T> {
        let mut made = Vec::with_capacity(self.len());
        let mut copied: Vec<Record> = Vec::new();
        for index in 0..self.stripes.count() {
            let stripe = std::mem::take(&mut *self.stripes.lock(index));
            self.stripes.removed(stripe.v4.len() + stripe.v6.len());
            stripe.copy(names, &mut copied);
            made.extend(copied.drain(..).map(|mut record| {
                // What came between the two takings is in the table that goes on.
                record.classic = classic(&record, |flow| taken.state(flow).max(listed.state(flow)));
                T::from(record)
            }));
        }
        made
    }

    /// Puts a record in that was taken out or comes from elsewhere, on top of what is known of its flow. Locks one
    /// stripe.
    pub fn restore(&self, record: &Record, namespace: u16) {
        let mut record = record.clone();
        if !self.keep_ports {
            record.identity.collapse_ports();
        }
        let time = |time: Option<Timestamp>| time.map(Timestamp::us);
        self.add(
            &record.identity.facts(),
            namespace,
            Seen {
                translation: record.identity.translation.as_deref().copied(),
                // A flow that no time is known of gets none by being restored.
                first_us: time(record.first_seen).unwrap_or(UNKNOWN_FIRST),
                last_us: time(record.last_seen).unwrap_or(0),
                connections: u32::try_from(record.connections).unwrap_or(u32::MAX),
                replied: record.confirmed,
            },
        );
    }

    /// Takes out the records that were not seen since a time, and returns the flows of the classic list that no
    /// record has any more. Those that no time is known of stay. Locks the stripes one after the other.
    #[must_use]
    pub fn forget(&self, before: Timestamp) -> HashSet<Flow> {
        let before_us = before.us();
        let mut gone = HashSet::new();
        for index in 0..self.stripes.count() {
            let mut stripe = self.stripes.lock(index);
            let stripe = &mut *stripe;
            let len = stripe.v4.len() + stripe.v6.len();
            forget_old(&mut stripe.v4, before_us, &mut gone);
            forget_old(&mut stripe.v6, before_us, &mut gone);
            self.stripes
                .removed(len - stripe.v4.len() - stripe.v6.len());
        }
        if !gone.is_empty() {
            for stripe in self.stripes.each() {
                for flow in stripe.v4.iter().filter_map(Stored::flow) {
                    gone.remove(&flow);
                }
                for flow in stripe.v6.iter().filter_map(Stored::flow) {
                    gone.remove(&flow);
                }
            }
        }
        gone
    }
}

/// Empties a table of what was last seen before a time, into `gone`.
fn forget_old<A: Into<IpAddr> + Copy>(
    table: &mut HashTable<Stored<A>>,
    before_us: u64,
    gone: &mut HashSet<Flow>,
) {
    table.retain(|stored| {
        let stays = stored.last_us == 0 || stored.last_us >= before_us;
        if !stays {
            gone.extend(stored.flow());
        }
        stays
    });
}

impl Stripe {
    fn copy(&self, names: &[Option<Arc<str>>], to: &mut Vec<Record>) {
        to.extend(self.v4.iter().map(|stored| stored.unpack(names)));
        to.extend(self.v6.iter().map(|stored| stored.unpack(names)));
    }
}

/// What a sighting adds to a record.
#[derive(Clone, Copy)]
struct Seen {
    translation: Option<Translation>,
    first_us: u64,
    last_us: u64,
    connections: u32,
    replied: bool,
}

fn pack<A>(facts: &Facts, namespace: u16, source: A, destination: A) -> Packed<A> {
    Packed {
        source,
        destination,
        service: match facts.service {
            Service::None => 0,
            Service::Port(port) => port,
            Service::Icmp(icmp_type, code) => icmp_service(icmp_type, code),
        },
        source_port: facts.source_port.number().unwrap_or(0),
        zone: facts.zone,
        namespace,
        protocol: facts.protocol.0,
        flags: match facts.source_port {
            SourcePort::Ephemeral => EPHEMERAL,
            SourcePort::None | SourcePort::Exact(_) => 0,
        },
    }
}

impl<A: Into<IpAddr> + Copy> Stored<A> {
    /// The flow as the classic list has it, if it has the protocol.
    fn flow(&self) -> Option<Flow> {
        self.unpack(&[]).identity.facts().flow()
    }

    fn unpack(&self, names: &[Option<Arc<str>>]) -> Record {
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
        Record {
            identity: Identity {
                source,
                destination: key.destination.into(),
                protocol,
                service,
                source_port,
                zone: key.zone,
                translation: self.translation.clone(),
                netns: names.get(usize::from(key.namespace)).cloned().flatten(),
            },
            confirmed,
            connections: self.connections.into(),
            first_seen: Timestamp::from_us(self.first_us),
            last_seen: Timestamp::from_us(self.last_us),
            classic: Record::usual_classic(confirmed),
        }
    }
}

/// How the classic list shows a record. One that shares its line with others may have its reply before the
/// line was listed, or may be what listed it; what the line as a whole shows is the table's to say, and no
/// record claims more.
fn classic(record: &Record, state: impl Fn(&Flow) -> Option<bool>) -> Classic {
    let usual = Record::usual_classic(record.confirmed);
    let Some(flow) = record.identity.facts().flow() else {
        return usual;
    };
    let line = match state(&flow) {
        None => Classic::Absent,
        Some(false) => Classic::Listed,
        Some(true) => Classic::Confirmed,
    };
    usual.min(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sizes_are_those_that_are_promised() {
        assert_eq!(size_of::<Stored<[u8; 4]>>(), 48);
        assert_eq!(size_of::<Stored<[u8; 16]>>(), 72);
        assert_eq!(size_of::<Translation>(), 44);
    }
}
