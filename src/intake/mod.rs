//! Where every source delivers: decoding, the tables of flows and records, and the count of what was taken in.
//! A copy of the tables is what lists are made of.
//! May import: `model`, `netlink`, `os`.

pub mod contents;
mod detailed;
pub mod folded;
pub mod records;
pub mod snapshot;
mod stripes;
pub mod table;
pub mod tally;
pub mod unlisted;

use std::iter;
use std::sync::{Arc, OnceLock};

use crate::intake::contents::Contents;
use crate::intake::records::Records;
use crate::intake::table::{Effect, Merging, Plan, Table, Unseen};
use crate::intake::tally::{Counters, Tally};
use crate::model::flow::{Event, Observation};
use crate::model::record::{Classic, Record};
use crate::model::selection::Selection;
use crate::model::sighting::OWN;
use crate::model::timestamp::Timestamp;
use crate::netlink::conntrack::decode;
use crate::netlink::framing::messages;
use crate::os::namespaces::Namespaces;

/// Events that were decoded and are to be taken in together. One receiver's, and used again for every
/// batch.
#[derive(Debug, Default)]
pub struct Pending {
    /// Counts since the last [`Intake::commit`].
    pub tally: Tally,
    events: Vec<Observation>,
    plan: Plan,
}

impl Pending {
    /// Number of events that wait to be taken in.
    pub fn len(&self) -> usize {
        self.events.len()
    }
}

/// What is looked at beyond what the classic list needs.
#[derive(Debug, Default)]
pub struct Detail {
    /// Which flows are wanted.
    pub selection: Selection,
    /// Whether protocols are recorded that the classic list does not have.
    pub all_protocols: bool,
    /// Where records go, if they are wanted.
    pub records: Option<Records>,
}

/// When a datagram was received.
#[derive(Clone, Copy, Debug)]
pub enum Received {
    /// Just now; the clock is read only if the time matters.
    Now,
    /// At that time.
    At(Timestamp),
}

impl Received {
    fn time(self) -> Timestamp {
        match self {
            Self::Now => Timestamp::now(),
            Self::At(time) => time,
        }
    }
}

/// The table and its counters, shared by all that feed it.
#[derive(Debug)]
pub struct Intake {
    table: Table,
    detail: Option<Detail>,
    namespaces: Option<Namespaces>,
    counters: Counters,
    /// What there was when the last list took it all.
    last: OnceLock<Held>,
}

/// How many flows there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Flows of the classic list, in the order of [`Class::ALL`](crate::model::flow::Class::ALL).
    pub flows: [usize; 6],
    /// Records, if there are any to be.
    pub records: Option<usize>,
}

/// Whether an event may be one that found no room the first time. The kernel sends a NEW event with the first packet,
/// before there can be a reply, and again with a later one if it could not be delivered
/// (`nf_ct_deliver_cached_events`, net/netfilter/nf_conntrack_ecache.c). `conntrack -I` can make an entry like that,
/// which the classic list does not show: so it counts only after a loss.
#[inline]
const fn is_second_attempt(observation: Observation) -> bool {
    observation.replied && matches!(observation.event, Event::New)
}

impl Intake {
    /// An intake into `table`.
    pub fn new(table: Table) -> Self {
        Self::with_detail(table, None)
    }

    /// An intake into `table` that looks at more than that needs, if there is a `detail`.
    pub fn with_detail(table: Table, detail: Option<Detail>) -> Self {
        Self {
            table,
            detail,
            namespaces: None,
            counters: Counters::default(),
            last: OnceLock::new(),
        }
    }

    /// The flows taken in so far.
    pub const fn table(&self) -> &Table {
        &self.table
    }

    /// What is looked at beyond what the classic list needs, if anything is.
    pub const fn detail(&self) -> Option<&Detail> {
        self.detail.as_ref()
    }

    /// Has it take in events of several namespaces.
    pub fn of_all(self, namespaces: Option<Namespaces>) -> Self {
        Self { namespaces, ..self }
    }

    /// The namespaces whose events are taken in, if these are several.
    pub const fn namespaces(&self) -> Option<&Namespaces> {
        self.namespaces.as_ref()
    }

    /// The names of namespaces by number; our own has none.
    pub fn namespace_names(&self) -> Vec<Option<Arc<str>>> {
        let Some(namespaces) = &self.namespaces else {
            return Vec::new();
        };
        let others = namespaces.all().into_iter().map(|named| Some(named.label));
        iter::once(None).chain(others).collect()
    }

    /// The records taken in so far, if there are any to be.
    pub fn records(&self) -> Option<&Records> {
        self.detail.as_ref()?.records.as_ref()
    }

    /// A copy of the flows so far.
    pub fn contents(&self) -> Contents {
        match self.records() {
            None => Contents::Lean(self.table.snapshot()),
            Some(records) => {
                let names = self.namespace_names();
                let mut pack = records.copy(&self.table, &names);
                records.place(&mut pack);
                Contents::Records(pack)
            }
        }
    }

    /// Takes the flows so far out: from here on the list is empty.
    pub fn take(&self) -> Contents {
        let taken = self.table.take();
        match self.records() {
            None => Contents::Lean(taken.snapshot()),
            Some(records) => {
                let names = self.namespace_names();
                let mut pack = records.take(&taken, &self.table, &names);
                records.place(&mut pack);
                Contents::Records(pack)
            }
        }
    }

    /// Takes the flows out for the last list, when nothing more comes in. No flow is in memory twice then, which
    /// a copy beside the tables would take.
    pub fn take_last(&self) -> Contents {
        let held = self.held();
        let _ = self.last.set(held);
        self.take()
    }

    /// How many flows there are, or were when the last list took them.
    pub fn held(&self) -> Held {
        self.last.get().copied().unwrap_or_else(|| Held {
            flows: self.table.counts(),
            records: self.records().map(Records::len),
        })
    }

    /// Puts a flow in that was taken out or comes from elsewhere; whether there is a place for its namespace.
    pub fn restore(&self, record: &Record) -> bool {
        let namespace = match (&record.identity.netns, &self.namespaces) {
            (None, _) => OWN,
            (Some(label), Some(namespaces)) => namespaces.labelled(label),
            (Some(_), None) => return false,
        };
        if let (Some(flow), true) = (record.classic_flow(), record.classic > Classic::Absent) {
            let observation = Observation {
                flow,
                replied: record.classic == Classic::Confirmed,
                event: Event::Update,
            };
            self.table.apply(&observation, Unseen::List);
        }
        if let Some(records) = self.records() {
            records.restore(record, namespace);
        }
        true
    }

    /// Forgets the flows that were not seen since a time.
    pub fn forget(&self, before: Timestamp) {
        if let Some(records) = self.records() {
            for flow in records.forget(before) {
                self.table.remove(&flow);
            }
        }
    }

    /// Events whose flow found no room.
    pub fn refused(&self) -> u64 {
        let records = self.records().map_or(0, Records::refused);
        self.table.refused().max(records)
    }

    /// Decodes one datagram into `pending`, for [`commit`](Self::commit) to take in. `missed` is asked for a
    /// DESTROY event only: whether events were missed, so that the entry's end may be the first that is
    /// heard of it; if not, the event means nothing.
    #[inline]
    pub fn gather(&self, datagram: &[u8], pending: &mut Pending, missed: impl FnMut() -> bool) {
        self.gather_from(Received::Now, OWN, datagram, pending, missed);
    }

    /// [`gather`](Self::gather) of a datagram that was received at a known time or from another namespace.
    #[inline]
    pub fn gather_from(
        &self,
        received: Received,
        namespace: u16,
        datagram: &[u8],
        pending: &mut Pending,
        mut missed: impl FnMut() -> bool,
    ) {
        if let Some(detail) = &self.detail {
            let origin = (received.time(), namespace);
            return self.gather_detail(detail, origin, datagram, pending, missed);
        }
        for message in messages(datagram) {
            let Ok(message) = message else {
                pending.tally.malformed += 1;
                break;
            };
            match decode(message) {
                Ok(observation) if is_second_attempt(observation) && missed() => {
                    self.commit(pending);
                    self.second_attempt(&observation, &mut pending.tally);
                }
                Ok(observation) if observation.event != Event::Destroy => {
                    pending.tally.begun += u64::from(observation.event == Event::New);
                    pending.events.push(observation);
                }
                Ok(observation) => {
                    if pending.tally.end(missed()) {
                        // What is pending came before it.
                        self.commit(pending);
                        self.recovered(&observation, &mut pending.tally);
                    }
                }
                Err(skip) => pending.tally.skipped(skip),
            }
        }
    }

    /// Takes in what is pending, and counts it.
    pub fn commit(&self, pending: &mut Pending) {
        pending.tally.events += pending.events.len() as u64;
        self.table.apply_all(&pending.events, &mut pending.plan);
        pending.events.clear();
        self.count(std::mem::take(&mut pending.tally));
    }

    /// Takes in one NEW or UPDATE event. `missed` is whether events were missed before it.
    #[inline]
    pub fn event(&self, observation: &Observation, missed: bool, tally: &mut Tally) {
        if missed && is_second_attempt(*observation) {
            return self.second_attempt(observation, tally);
        }
        tally.events += 1;
        tally.begun += u64::from(observation.event == Event::New);
        self.table.apply(observation, Unseen::Ignore);
    }

    /// Takes in a NEW event that comes late, of a flow that has been replied to meanwhile: after a loss it is all that
    /// is heard of the flow's beginning, so that the flow is listed.
    fn second_attempt(&self, observation: &Observation, tally: &mut Tally) {
        tally.events += 1;
        tally.begun += 1;
        self.late(observation, tally);
    }

    fn late(&self, observation: &Observation, tally: &mut Tally) {
        if self.table.apply(observation, Unseen::ListLate) == Effect::Listed {
            tally.recovered += 1;
        }
    }

    /// To be kept while the kernel's table is read: see [`Table::merging`].
    pub fn merging(&self) -> Merging<'_> {
        self.table.merging()
    }

    /// Takes in a sighting that makes up for missed events: an entry of the kernel's table, or its end.
    /// The flow is listed even if it is already replied.
    pub fn recovered(&self, observation: &Observation, tally: &mut Tally) {
        if self.table.apply(observation, Unseen::List) == Effect::Listed {
            tally.recovered += 1;
        }
    }

    /// Adds a receiver's counts to the shared ones.
    pub fn count(&self, tally: Tally) {
        self.counters.add(tally);
    }

    /// The counts so far.
    pub fn tally(&self) -> Tally {
        self.counters.so_far()
    }
}
