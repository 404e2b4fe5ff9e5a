//! Where every source delivers: decoding, the table, and the count of what was taken in.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::decode::{Skip, decode};
use crate::flow::{Event, Observation};
use crate::netlink::messages;
use crate::table::{Effect, Plan, Table, Unseen};

/// Counts of what went through an [`Intake`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Events of listed classes.
    pub events: u64,
    /// Messages that are no events of an entry.
    pub not_events: u64,
    /// Events of families and protocols that are not listed.
    pub not_listed: u64,
    /// Messages whose framing or needed attributes can't be read.
    pub malformed: u64,
    /// Flows that were listed because they made up for missed events.
    pub recovered: u64,
}

/// Events that were decoded and are to be taken in together. One receiver's, and used again for every
/// batch.
#[derive(Debug, Default)]
pub struct Pending {
    /// Counts since the last [`Intake::fold`].
    pub tally: Tally,
    events: Vec<Observation>,
    plan: Plan,
}

impl Pending {
    /// Number of events that wait to be taken in.
    #[must_use]
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }
}

/// The table and its counters, shared by all that feed it.
#[derive(Debug)]
pub struct Intake {
    table: Table,
    events: AtomicU64,
    not_events: AtomicU64,
    not_listed: AtomicU64,
    malformed: AtomicU64,
    recovered: AtomicU64,
}

impl Intake {
    /// An intake into `table`.
    #[must_use]
    pub fn new(table: Table) -> Self {
        Self {
            table,
            events: AtomicU64::new(0),
            not_events: AtomicU64::new(0),
            not_listed: AtomicU64::new(0),
            malformed: AtomicU64::new(0),
            recovered: AtomicU64::new(0),
        }
    }

    /// The flows taken in so far.
    #[must_use]
    pub const fn table(&self) -> &Table {
        &self.table
    }

    /// Decodes one datagram into `pending`, for [`fold`](Self::fold) to take in. `missed` is asked for a
    /// DESTROY event only: whether events were missed, so that the entry's end may be the first that is
    /// heard of it; if not, the event means nothing.
    #[inline]
    pub fn gather(&self, datagram: &[u8], pending: &mut Pending, mut missed: impl FnMut() -> bool) {
        for message in messages(datagram) {
            let Ok(message) = message else {
                pending.tally.malformed += 1;
                break;
            };
            match decode(message) {
                Ok(observation) if observation.event != Event::Destroy => {
                    pending.events.push(observation);
                }
                Ok(observation) if missed() => {
                    // What is pending came before it.
                    self.fold(pending);
                    self.made_up(&observation, &mut pending.tally);
                }
                Ok(_) => pending.tally.not_events += 1,
                Err(skip) => Self::skipped(skip, &mut pending.tally),
            }
        }
    }

    /// Takes in what is pending, and counts it.
    pub fn fold(&self, pending: &mut Pending) {
        pending.tally.events += pending.events.len() as u64;
        self.table.apply_all(&pending.events, &mut pending.plan);
        pending.events.clear();
        self.count(std::mem::take(&mut pending.tally));
    }

    /// Takes in one NEW or UPDATE event.
    #[inline]
    pub fn event(&self, observation: &Observation, tally: &mut Tally) {
        tally.events += 1;
        self.table.apply(observation, Unseen::Ignore);
    }

    /// Takes in a sighting that makes up for missed events: an entry of the kernel's table, or its end.
    /// The flow is listed even if it is already replied.
    pub fn made_up(&self, observation: &Observation, tally: &mut Tally) {
        if self.table.apply(observation, Unseen::List) == Effect::Listed {
            tally.recovered += 1;
        }
    }

    /// Counts a message that gave no observation.
    pub const fn skipped(skip: Skip, tally: &mut Tally) {
        match skip {
            Skip::NotAnEvent => tally.not_events += 1,
            Skip::NotListed => tally.not_listed += 1,
            Skip::Malformed => tally.malformed += 1,
        }
    }

    /// Adds a receiver's counts to the shared ones.
    pub fn count(&self, tally: Tally) {
        let Tally {
            events,
            not_events,
            not_listed,
            malformed,
            recovered,
        } = tally;
        for (total, more) in [
            (&self.events, events),
            (&self.not_events, not_events),
            (&self.not_listed, not_listed),
            (&self.malformed, malformed),
            (&self.recovered, recovered),
        ] {
            if more > 0 {
                total.fetch_add(more, Ordering::Relaxed);
            }
        }
    }

    /// The counts so far.
    #[must_use]
    pub fn tally(&self) -> Tally {
        Tally {
            events: self.events.load(Ordering::Relaxed),
            not_events: self.not_events.load(Ordering::Relaxed),
            not_listed: self.not_listed.load(Ordering::Relaxed),
            malformed: self.malformed.load(Ordering::Relaxed),
            recovered: self.recovered.load(Ordering::Relaxed),
        }
    }
}
