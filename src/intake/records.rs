//! The table of records: what the formats beyond the classic list need of every flow.
//!
//! It is fed beside the table of the classic list and only if it is asked for. A plain IPv4 flow takes 48
//! bytes here, an IPv6 flow 72, and a translation 44 more on the heap; hashing adds its slack.

mod ends;
pub mod fresh;
mod helpers;
pub mod pack;
mod stored;

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hashbrown::HashTable;
use parking_lot::RwLock;

use crate::intake::folded::Folded;
use crate::intake::stripes::Stripes;
use crate::intake::table::Table;
use crate::model::evidence::{Listening, is_service, may_be_answer};
use crate::model::flow::{COLLAPSED_SOURCE_PORT, Event, Flow};
use crate::model::record::{Classic, Identity, Protocol, Record, Service, SourcePort, Translation};
use crate::model::sighting::{Beginning, OWN, Sighting};
use crate::model::timestamp::Timestamp;
use crate::model::tuple::Tuple;

use ends::{End, Waiting};
use fresh::{Fresh, Log, News};
use helpers::Helpers;
use pack::Pack;
use stored::{Addition, Packed, Stored, UNKNOWN_FIRST, UNKNOWN_LAST};

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
    helpers: Helpers,
    listening: RwLock<Listening>,
    /// Flows, but for TCP, that were picked up in the middle, or may have been. They have their ports as they were.
    apart: AtomicUsize,
    ends: Waiting,
    /// Records that were made, for whoever wants to be told of each.
    log: Option<Log>,
}

impl Records {
    /// A table of at most `max` records, whose ephemeral source ports are kept or folded into one.
    pub fn new(max: usize, keep_ports: bool) -> Self {
        Self {
            stripes: Stripes::for_this_machine(max),
            keep_ports,
            helpers: Helpers::default(),
            listening: RwLock::default(),
            apart: AtomicUsize::new(0),
            ends: Waiting::default(),
            log: None,
        }
    }

    /// Has the records that are made noted, for [`news`](Self::news).
    #[must_use]
    pub fn with_log(self) -> Self {
        Self {
            log: Some(Log::default()),
            ..self
        }
    }

    /// The records that were made since the last call.
    pub fn news(&self) -> News {
        self.log.as_ref().map_or_else(News::default, Log::take)
    }

    /// The record of a flow as it is now, if it is still there. `names` are those of namespaces by number.
    pub fn get(
        &self,
        (tuple, translation, namespace): (&Tuple, Option<&Translation>, u16),
        names: &[Option<Arc<str>>],
    ) -> Option<Record> {
        let helped = |number| self.helpers.get(number);
        self.look(
            (tuple, translation, namespace),
            |stored| stored.unpack(names, helped(stored.helped())),
            |stored| stored.unpack(names, helped(stored.helped())),
        )
    }

    /// Takes note of the sockets of the host that wait for clients.
    pub fn listen(&self, listening: Listening) {
        *self.listening.write() = listening;
    }

    /// Takes in one sighting, of `now` if it has no time of its own. Locks one stripe at a time.
    ///
    /// Unlike in the classic list, a flow is recorded however it is first seen. What was picked up in the middle, or may
    /// have been, keeps its ports: the source port may be that of the service.
    pub fn apply(&self, sighting: &Sighting, now: Timestamp) {
        let Sighting {
            mut tuple,
            mut translation,
            replied,
            event,
            namespace,
            time,
            mut beginning,
            helper,
            expected_by,
            usage: _,
        } = *sighting;
        let apart = match beginning {
            Beginning::Seen => false,
            Beginning::PickedUp => true,
            Beginning::Untold => {
                let was = self.was_picked_up(sighting);
                if was {
                    beginning = Beginning::PickedUp;
                }
                was || self.may_be_answer(&tuple)
            }
        };
        if !self.keep_ports && !apart {
            tuple.source_port = tuple.source_port.collapsed();
            translation = translation.and_then(|translation| translation.collapsed(&tuple));
        }
        let time_us = time.unwrap_or(now).us();
        let seen = Addition {
            translation,
            first_us: time_us,
            last_us: time_us,
            connections: u32::from(event == Event::New),
            replied,
            beginning,
            helped: self.helpers.number(helper, expected_by),
            usage: None,
        };
        self.add(&tuple, namespace, seen);
    }

    /// Takes in what a connection has carried that has ended, if its flow is known by then. Locks one stripe at a time.
    pub fn end(&self, sighting: &Sighting) {
        if let Some(end) = End::of(sighting) {
            if !self.use_up(&end, |_| true) {
                self.ends.add(end);
            }
        }
    }

    /// Has ends wait for [`settle_ends`](Self::settle_ends) whose flow is not known: what was seen of it may be kept
    /// elsewhere.
    pub fn wait_with_ends(&self) {
        self.ends.begin();
    }

    /// Number of ends that wait.
    pub fn waiting_ends(&self) -> usize {
        self.ends.len()
    }

    /// Takes in the ends that have waited, now that all is here that was seen of flows. Those of flows that were first
    /// seen later, or not at all, mean nothing. `time_us` makes the first times of such flows of the clock of
    /// `intake::unlisted`.
    pub fn settle_ends(&self, time_us: impl Fn(u64) -> Option<u64>) {
        for end in self.ends.take() {
            let ended_us = time_us(end.read_ns);
            self.use_up(&end, |first_us| Some(first_us) <= ended_us);
        }
    }

    /// Adds what a connection has carried to the record of its flow, if there is one with such a first time.
    fn use_up(&self, end: &End, is_its: impl Fn(u64) -> bool) -> bool {
        end.flows().any(|(tuple, translation)| {
            let translation = translation.as_ref();
            match (tuple.source, tuple.destination) {
                (IpAddr::V4(source), IpAddr::V4(destination)) => {
                    let (source, destination) = (source.octets(), destination.octets());
                    let key = Packed::new(&tuple, end.namespace, source, destination);
                    let hash = key.place(translation, self.stripes.hasher());
                    let mut stripe = self.stripes.lock(self.stripes.index(hash));
                    let found = stripe
                        .v4
                        .find_mut(hash, |stored| stored.is_of(&key, translation));
                    found.is_some_and(|stored| stored.use_up(&end.usage, &is_its))
                }
                (IpAddr::V6(source), IpAddr::V6(destination)) => {
                    let (source, destination) = (source.octets(), destination.octets());
                    let key = Packed::new(&tuple, end.namespace, source, destination);
                    let hash = key.place(translation, self.stripes.hasher());
                    let mut stripe = self.stripes.lock(self.stripes.index(hash));
                    let found = stripe
                        .v6
                        .find_mut(hash, |stored| stored.is_of(&key, translation));
                    found.is_some_and(|stored| stored.use_up(&end.usage, &is_its))
                }
                _ => false,
            }
        })
    }

    /// Takes in what was seen of a flow in a while, none of which could have to do with what was seen of others: see
    /// [`Folded`].
    pub fn fold(&self, folded: &Folded) {
        let (mut tuple, mut translation) = (folded.tuple, folded.translation);
        if !self.keep_ports {
            tuple.source_port = tuple.source_port.collapsed();
            translation = translation.and_then(|translation| translation.collapsed(&tuple));
        }
        let beginning = if tuple.protocol == Protocol::TCP {
            Beginning::Seen
        } else {
            Beginning::Untold
        };
        self.add(
            &tuple,
            OWN,
            Addition {
                translation,
                first_us: folded.first.us(),
                last_us: folded.last.us(),
                connections: u32::try_from(folded.connections).unwrap_or(u32::MAX),
                replied: folded.answered_ns.is_some(),
                beginning,
                helped: 0,
                usage: None,
            },
        );
    }

    /// Whether a flow may be one that a server goes on with, by its ports.
    fn may_be_answer(&self, tuple: &Tuple) -> bool {
        let (SourcePort::Exact(source), Service::Port(destination)) =
            (tuple.source_port, tuple.service)
        else {
            return false;
        };
        source >= COLLAPSED_SOURCE_PORT
            && destination >= COLLAPSED_SOURCE_PORT
            && (may_be_answer(source, destination) || {
                let listening = self.listening.read();
                listening.has(tuple.source, tuple.protocol, source)
            })
    }

    /// Whether a connection whose protocol or message does not tell was picked up in the middle: because its entry is
    /// known as such, or because it is a new one, the other way round, of a flow that was seen before.
    fn was_picked_up(&self, sighting: &Sighting) -> bool {
        let tuple = &sighting.tuple;
        let (SourcePort::Exact(source), Service::Port(destination)) =
            (tuple.source_port, tuple.service)
        else {
            return false;
        };
        // To the port of a service the client comes first, as a rule. Most datagrams go there.
        if source < COLLAPSED_SOURCE_PORT || destination < COLLAPSED_SOURCE_PORT {
            return false;
        }
        let is_new = sighting.event == Event::New && !sighting.replied;
        if !is_new {
            let known = tuple.protocol == Protocol::TCP || self.apart.load(Ordering::Relaxed) > 0;
            return known && self.holds(tuple, sighting.translation.as_ref(), sighting.namespace);
        }
        if is_service(destination) {
            return false;
        }
        let identity = Identity {
            translation: sighting.translation.map(Box::new),
            ..Identity::of(tuple)
        };
        identity.turned().is_some_and(|mut turned| {
            turned.collapse_ports();
            let translation = turned.translation.as_deref();
            self.is_known(&turned.tuple(), translation, sighting.namespace)
        })
    }

    /// Whether there is a record of a flow that was picked up in the middle.
    fn holds(&self, tuple: &Tuple, translation: Option<&Translation>, namespace: u16) -> bool {
        self.find(tuple, translation, namespace) == Some(true)
    }

    /// Whether there is a record of a flow.
    fn is_known(&self, tuple: &Tuple, translation: Option<&Translation>, namespace: u16) -> bool {
        self.find(tuple, translation, namespace).is_some()
    }

    /// Whether the record of a flow says that it was picked up, if there is one.
    fn find(
        &self,
        tuple: &Tuple,
        translation: Option<&Translation>,
        namespace: u16,
    ) -> Option<bool> {
        self.look(
            (tuple, translation, namespace),
            Stored::is_picked_up,
            Stored::is_picked_up,
        )
    }

    /// Looks at the record of a flow, if there is one. Locks one stripe.
    fn look<T>(
        &self,
        (tuple, translation, namespace): (&Tuple, Option<&Translation>, u16),
        v4: impl FnOnce(&Stored<[u8; 4]>) -> T,
        v6: impl FnOnce(&Stored<[u8; 16]>) -> T,
    ) -> Option<T> {
        match (tuple.source, tuple.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let key = Packed::new(tuple, namespace, source.octets(), destination.octets());
                let hash = key.place(translation, self.stripes.hasher());
                let stripe = self.stripes.lock(self.stripes.index(hash));
                let found = stripe
                    .v4
                    .find(hash, |stored| stored.is_of(&key, translation));
                found.map(v4)
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let key = Packed::new(tuple, namespace, source.octets(), destination.octets());
                let hash = key.place(translation, self.stripes.hasher());
                let stripe = self.stripes.lock(self.stripes.index(hash));
                let found = stripe
                    .v6
                    .find(hash, |stored| stored.is_of(&key, translation));
                found.map(v6)
            }
            _ => None,
        }
    }

    fn add(&self, tuple: &Tuple, namespace: u16, seen: Addition) {
        let translation = seen.translation;
        let made = match (tuple.source, tuple.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let key = Packed::new(tuple, namespace, source.octets(), destination.octets());
                let hash = key.place(translation.as_ref(), self.stripes.hasher());
                let mut stripe = self.stripes.lock(self.stripes.index(hash));
                self.insert(&mut stripe.v4, hash, key, seen)
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let key = Packed::new(tuple, namespace, source.octets(), destination.octets());
                let hash = key.place(translation.as_ref(), self.stripes.hasher());
                let mut stripe = self.stripes.lock(self.stripes.index(hash));
                self.insert(&mut stripe.v6, hash, key, seen)
            }
            // No tuple has addresses of two families.
            _ => false,
        };
        if let (true, Some(log)) = (made, &self.log) {
            log.note(Fresh {
                tuple: *tuple,
                translation,
                namespace,
            });
        }
    }

    /// Adds what was seen to the record of its flow. Returns whether the record is a new one.
    fn insert<A: AsRef<[u8]> + PartialEq + Copy>(
        &self,
        table: &mut HashTable<Stored<A>>,
        hash: u64,
        key: Packed<A>,
        seen: Addition,
    ) -> bool {
        let found = table.find_mut(hash, |stored| stored.is_of(&key, seen.translation.as_ref()));
        if let Some(stored) = found {
            let helped = self.helpers.and(stored.helped(), seen.helped);
            stored.add(&seen, helped);
            return false;
        }
        let rehash = |stored: &Stored<A>| stored.place(self.stripes.hasher());
        if self.stripes.is_full() || table.try_reserve(1, rehash).is_err() {
            self.stripes.refuse();
            return false;
        }
        self.stripes.added();
        if seen.beginning == Beginning::PickedUp {
            self.apart.fetch_add(1, Ordering::Relaxed);
        }
        table.insert_unique(hash, Stored::new(key, seen), rehash);
        true
    }

    /// Number of records. Locks nothing.
    pub fn len(&self) -> usize {
        self.stripes.len()
    }

    /// Sightings whose flow found no room. Locks nothing.
    pub fn refused(&self) -> u64 {
        self.stripes.refused()
    }

    /// A copy of all records. `listed` is the table of the classic list that was fed beside, `names` those of namespaces by
    /// number. Locks the stripes of both tables one after the other, each for as long as copying takes.
    pub fn copy(&self, listed: &Table, names: &[Option<Arc<str>>]) -> Pack {
        let mut pack = Pack::new(names);
        for stripe in self.stripes.each() {
            let before = pack.lens();
            pack.extend(stripe.v4.iter().cloned(), stripe.v6.iter().cloned());
            drop(stripe);
            pack.mark(before, |record| classic(record, |flow| listed.state(flow)));
        }
        pack.helped(self.helpers.all());
        pack
    }

    /// Takes all records out. `taken` is what was taken out of the classic list's table just before, `listed`
    /// that table. Locks as [`copy`](Self::copy) does.
    pub fn take(&self, taken: &Table, listed: &Table, names: &[Option<Arc<str>>]) -> Pack {
        let mut pack = Pack::new(names);
        for index in 0..self.stripes.count() {
            let before = pack.lens();
            let stripe = std::mem::take(&mut *self.stripes.lock(index));
            self.stripes.removed(stripe.v4.len() + stripe.v6.len());
            pack.extend(stripe.v4.into_iter(), stripe.v6.into_iter());
            pack.mark(before, |record| {
                // What came between the two takings is in the table that goes on.
                classic(record, |flow| taken.state(flow).max(listed.state(flow)))
            });
        }
        pack.helped(self.helpers.all());
        pack
    }

    /// Finds out which side opened connections that were picked up in the middle, and what helpers are called.
    pub fn place(&self, pack: &mut Pack) {
        pack.place(&self.listening.read());
    }

    /// Puts a record in that was taken out or comes from elsewhere, on top of what is known of its flow. Locks one
    /// stripe.
    pub fn restore(&self, record: &Record, namespace: u16) {
        let usage = record.tracked_usage();
        let mut record = record.clone();
        record.identity = record.tracked().into_owned();
        let picked_up = record.origin.begun.is_picked_up();
        if !self.keep_ports && !picked_up {
            record.identity.collapse_ports();
        }
        let time = |time: Option<Timestamp>| time.map(Timestamp::us);
        self.add(
            &record.identity.tuple(),
            namespace,
            Addition {
                translation: record.identity.translation.as_deref().copied(),
                // A flow that no time is known of gets none by being restored.
                first_us: time(record.first_seen).unwrap_or(UNKNOWN_FIRST),
                last_us: time(record.last_seen).unwrap_or(UNKNOWN_LAST),
                connections: u32::try_from(record.connections).unwrap_or(u32::MAX),
                replied: record.confirmed,
                beginning: if picked_up {
                    Beginning::PickedUp
                } else {
                    Beginning::Untold
                },
                helped: (self.helpers).number(record.origin.helper, record.origin.expected_by),
                usage,
            },
        );
    }

    /// Takes out the records that were not seen since a time, and returns the flows of the classic list that no
    /// record has any more. Those that no time is known of stay. Locks the stripes one after the other.
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
fn forget_old<A: Into<IpAddr> + AsRef<[u8]> + PartialEq + Copy>(
    table: &mut HashTable<Stored<A>>,
    before_us: u64,
    gone: &mut HashSet<Flow>,
) {
    table.retain(|stored| {
        let old = stored.is_older(before_us);
        if old {
            gone.extend(stored.flow());
        }
        !old
    });
}

/// How the classic list shows a record. One that shares its line with others may have its reply before the
/// line was listed, or may be what listed it; what the line as a whole shows is the table's to say, and no
/// record claims more.
fn classic(record: &Record, state: impl Fn(&Flow) -> Option<bool>) -> Classic {
    let usual = Record::usual_classic(record.confirmed);
    let Some(flow) = record.classic_flow() else {
        return usual;
    };
    let line = match state(&flow) {
        None => Classic::Absent,
        Some(false) => Classic::Listed,
        Some(true) => Classic::Confirmed,
    };
    usual.min(line)
}
