//! Counts of what sources delivered: a receiver's own, and those that all share.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::netlink::conntrack::Skip;

/// Counts of what went through an [`Intake`](crate::intake::Intake).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// NEW and UPDATE events of listed classes.
    pub events: u64,
    /// Those of them that are NEW events.
    pub begun: u64,
    /// DESTROY events of listed classes, whether they meant something or not.
    pub ended: u64,
    /// Messages that are no events of an entry.
    pub not_events: u64,
    /// Events of families and protocols that are not listed.
    pub not_listed: u64,
    /// Messages whose framing or needed attributes can't be read.
    pub malformed: u64,
    /// Flows that were listed because they made up for missed events.
    pub recovered: u64,
}

impl Tally {
    /// Counts the end of an entry, and returns whether it is to be taken in. As long as no event was missed, its flow is
    /// in the list or older than the capture; after a loss, the end may be all that shows a flow.
    pub fn end(&mut self, missed: bool) -> bool {
        self.ended += 1;
        self.not_events += u64::from(!missed);
        missed
    }

    /// Counts a message that gave no observation.
    pub const fn skipped(&mut self, skip: Skip) {
        match skip {
            Skip::NotAnEvent => self.not_events += 1,
            Skip::NotListed => self.not_listed += 1,
            Skip::Malformed => self.malformed += 1,
        }
    }
}

/// The sum of tallies, which any thread may add to.
#[derive(Debug, Default)]
pub struct Counters {
    events: AtomicU64,
    begun: AtomicU64,
    ended: AtomicU64,
    not_events: AtomicU64,
    not_listed: AtomicU64,
    malformed: AtomicU64,
    recovered: AtomicU64,
}

impl Counters {
    /// Adds a tally.
    pub fn add(&self, tally: Tally) {
        let Tally {
            events,
            begun,
            ended,
            not_events,
            not_listed,
            malformed,
            recovered,
        } = tally;
        for (total, more) in [
            (&self.events, events),
            (&self.begun, begun),
            (&self.ended, ended),
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

    /// The sum so far; figures of one tally may be in it before others of that tally are.
    pub fn so_far(&self) -> Tally {
        Tally {
            events: self.events.load(Ordering::Relaxed),
            begun: self.begun.load(Ordering::Relaxed),
            ended: self.ended.load(Ordering::Relaxed),
            not_events: self.not_events.load(Ordering::Relaxed),
            not_listed: self.not_listed.load(Ordering::Relaxed),
            malformed: self.malformed.load(Ordering::Relaxed),
            recovered: self.recovered.load(Ordering::Relaxed),
        }
    }
}
