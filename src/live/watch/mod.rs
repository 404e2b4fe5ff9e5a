//! Comparing what comes with what is expected, while a capture runs.
//!
//! ```text
//!  records that were made ──► not in the baseline, not accepted by its ruleset, not told before ──► new
//!  flows of the baseline  ──► not seen for three times their usual gap, and not open now ──► overdue
//!  what was missed        ──► missed
//! ```

pub mod baseline;
mod gaps;
mod notice;
pub mod objection;
mod program;
pub mod teller;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::intake::Intake;
use crate::intake::records::Records;
use crate::intake::records::fresh::{Fresh, News};
use crate::model::record::{Identity, Record};
use crate::model::timestamp::Timestamp;
use crate::model::units::{agree, counted, show_count};
use crate::sources::dump;
use crate::ui::console::Console;

use baseline::Baseline;
use gaps::Expected;
use notice::Notice;
use objection::{Arbiter, Objection};
use teller::Teller;

/// How often it is looked at what is new.
pub const CLOCK: Duration = Duration::from_millis(500);
/// Between two reads of the kernel's table for flows that seem to be overdue lie at least this, and ten times what the last
/// one took.
const READ_REST: Duration = Duration::from_secs(30);
/// How often it is told that events were missed.
const MISSED_REST: Duration = Duration::from_secs(10);

/// What a capture is compared with, and how it is told what is different.
#[derive(Debug)]
pub struct Watch {
    baseline: Baseline,
    max: usize,
    state: Mutex<State>,
    counts: Counts,
}

/// What was told so far.
#[derive(Debug, Default)]
pub struct Counts {
    new: AtomicU64,
    overdue: AtomicU64,
    missed: AtomicU64,
}

/// What was told so far, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Flows that the baseline has.
    pub baseline: u64,
    /// Flows that were new.
    pub new: u64,
    /// Times that a flow was overdue.
    pub overdue: u64,
}

impl Told {
    /// Whether there was anything to tell of flows.
    pub const fn any(self) -> bool {
        self.new > 0 || self.overdue > 0
    }
}

#[derive(Debug)]
struct State {
    teller: Teller,
    told: HashSet<Identity>,
    /// Judges by a ruleset, where that is part of the baseline.
    arbiter: Option<Arbiter>,
    /// Flows that it has accepted.
    accepted: HashSet<Identity>,
    expected: Expected,
    /// When the kernel's table may be read again.
    read_again: Option<Instant>,
    /// How many events were missed when that was told last, and when it was.
    missed: (u64, Option<Instant>),
    /// Troubles that were told.
    troubles: BTreeSet<String>,
    is_full: bool,
}

impl Watch {
    /// A watch that compares with a baseline, and remembers `max` flows at the most.
    pub fn new(baseline: Baseline, teller: Teller, max: usize) -> Self {
        Self {
            baseline,
            max,
            state: Mutex::new(State {
                teller,
                told: HashSet::new(),
                arbiter: None,
                accepted: HashSet::new(),
                expected: Expected::default(),
                read_again: None,
                missed: (0, None),
                troubles: BTreeSet::new(),
                is_full: false,
            }),
            counts: Counts::default(),
        }
    }

    /// The same, where flows are expected too that a ruleset accepts.
    pub fn or_accepted_by(mut self, arbiter: Arbiter) -> Self {
        self.state.get_mut().arbiter = Some(arbiter);
        self
    }

    /// The flows of these that are not expected, each with what the ruleset has against it.
    fn unexpected(
        &self,
        state: &mut State,
        records: impl Iterator<Item = Record>,
    ) -> Vec<(Record, Option<Objection>)> {
        let unknown = records.filter(|record| !self.baseline.has(record));
        let Some(arbiter) = &mut state.arbiter else {
            return unknown.map(|record| (record, None)).collect();
        };
        let open = |record: &Record| {
            let ways = self.baseline.ways(record);
            !state.accepted.contains(&record.identity)
                && !ways.iter().any(|way| state.told.contains(way))
        };
        let asked: Vec<Record> = unknown.filter(open).collect();
        let all: Vec<Identity> = asked.iter().map(|record| record.identity.clone()).collect();
        let objected = arbiter.object(asked);
        let against: HashSet<&Identity> = objected
            .iter()
            .map(|(record, _)| &record.identity)
            .collect();
        let room = self.max.saturating_sub(state.accepted.len());
        let accepted = all.iter().filter(|identity| !against.contains(identity));
        state.accepted.extend(accepted.take(room).cloned());
        objected
    }

    /// Begins: what the tables hold by now is of earlier runs, and was told then.
    pub fn begin(&self, intake: &Intake, console: &Console) {
        let mut state = self.state.lock();
        let known = self.news(intake);
        let unknown = self.unexpected(&mut state, known.into_iter());
        let number = unknown.len() as u64;
        if number > 0 {
            console.note(&format!(
                "{} of the state {} not in the baseline: {} from earlier runs, and {} not reported again",
                counted(number, "flow"),
                agree(number, "is", "are"),
                agree(number, "it is", "they are"),
                agree(number, "is", "are")
            ));
        }
        for (record, _) in unknown {
            state.told.extend(self.baseline.ways(&record));
        }
        state.expected = Expected::new(self.baseline.gaps().values(), Timestamp::now());
        let expected = self.baseline.len() as u64;
        let regular = state.expected.len() as u64;
        console.detail(&format!(
            "{} {} expected; of {} it is known how often {}",
            counted(expected, "flow"),
            agree(expected, "is", "are"),
            show_count(regular),
            agree(regular, "it comes", "they come"),
        ));
    }

    /// Tells what is new, what is overdue and what was missed. `missed` is how many events were missed since the capture
    /// began, at the most; `troubles` is what else takes from what can be seen.
    ///
    /// Errors: those of standard output.
    pub fn look(
        &self,
        intake: &Intake,
        (missed, troubles): (u64, Vec<String>),
        console: &Console,
    ) -> io::Result<()> {
        let mut state = self.state.lock();
        let state = &mut *state;
        let news = self.news(intake).into_iter();
        for (record, objection) in self.unexpected(state, news) {
            self.tell_if_new(state, record, objection, console)?;
        }
        self.tell_overdue(state, intake, console)?;
        self.tell_missed(state, missed, console)?;
        for trouble in troubles {
            if state.troubles.insert(trouble.clone()) {
                self.tell(
                    state,
                    &Notice::Missed(trouble),
                    &self.counts.missed,
                    console,
                )?;
            }
        }
        state.teller.report(console);
        Ok(())
    }

    /// Tells which of these flows are new.
    ///
    /// Errors: those of standard output.
    pub fn compare(
        &self,
        records: impl Iterator<Item = Record>,
        console: &Console,
    ) -> io::Result<()> {
        let mut state = self.state.lock();
        for (record, objection) in self.unexpected(&mut state, records) {
            self.tell_if_new(&mut state, record, objection, console)?;
        }
        Ok(())
    }

    /// Ends it: waits for the program that tells.
    pub fn finish(&self, console: &Console) {
        self.state.lock().teller.finish(console);
    }

    /// What was told so far, in numbers. Locks nothing.
    pub fn told(&self) -> Told {
        Told {
            baseline: self.baseline.len() as u64,
            new: self.counts.new.load(Ordering::Relaxed),
            overdue: self.counts.overdue.load(Ordering::Relaxed),
        }
    }

    /// The records that were made since the last call.
    fn news(&self, intake: &Intake) -> Vec<Record> {
        let Some(records) = intake.records() else {
            return Vec::new();
        };
        let names = intake.namespace_names();
        match records.news() {
            News::These(all) => {
                let record = |fresh: Fresh| now_of(records, &fresh, &names);
                all.into_iter().map(record).collect()
            }
            News::TooMany => {
                let all = records.copy(intake.table(), &names);
                let unexpected = all.iter().filter(|record| !self.baseline.has(record));
                unexpected.collect()
            }
        }
    }

    /// Tells of a flow that is not expected, unless that was told before.
    fn tell_if_new(
        &self,
        state: &mut State,
        record: Record,
        objection: Option<Objection>,
        console: &Console,
    ) -> io::Result<()> {
        let ways = self.baseline.ways(&record);
        if ways.iter().any(|way| state.told.contains(way)) {
            return Ok(());
        }
        if state.told.len() >= self.max {
            if !state.is_full {
                state.is_full = true;
                let new = self.counts.new.load(Ordering::Relaxed);
                let why = format!(
                    "{} {} new, which is as many as --max-flows lets be remembered: no more new flows are reported",
                    counted(new, "flow"),
                    agree(new, "was", "were")
                );
                self.tell(state, &Notice::Missed(why), &self.counts.missed, console)?;
            }
            return Ok(());
        }
        state.told.extend(ways);
        let notice = Notice::New(Box::new(record), objection);
        self.tell(state, &notice, &self.counts.new, console)
    }

    fn tell_overdue(
        &self,
        state: &mut State,
        intake: &Intake,
        console: &Console,
    ) -> io::Result<()> {
        let (Some(records), now) = (intake.records(), Timestamp::now()) else {
            return Ok(());
        };
        let names = intake.namespace_names();
        let last = |identity: &Identity| last_seen(records, identity, &names);
        let overdue = state.expected.overdue(now, last);
        if overdue.is_empty() {
            return Ok(());
        }
        // A connection that stays open makes no event, so the kernel is asked before anything is claimed.
        let rest = state.read_again.map_or(Duration::ZERO, |again| {
            again.saturating_duration_since(Instant::now())
        });
        if rest > Duration::ZERO {
            let until = Timestamp::from_us(now.us() + rest.as_micros() as u64).unwrap_or(now);
            state.expected.postpone(overdue, until);
            return Ok(());
        }
        let began = Instant::now();
        let open = self.open(
            intake,
            &names,
            { overdue.iter() }.map(|&at| state.expected.identity(at)),
        );
        state.read_again = Some(Instant::now() + READ_REST.max(began.elapsed() * 10));
        let open = match open {
            Ok(open) => open,
            Err(error) => {
                let until = Timestamp::from_us(now.us() + READ_REST.as_micros() as u64);
                state.expected.postpone(overdue, until.unwrap_or(now));
                let why = format!("whether flows are overdue is not known: {error}");
                return self.tell(state, &Notice::Missed(why), &self.counts.missed, console);
            }
        };
        for at in overdue {
            let is_open = open.contains(state.expected.identity(at));
            let seen = is_open.then_some(now);
            let Some(flow) = state.expected.settle(at, seen, now) else {
                continue;
            };
            let notice = Notice::Overdue {
                record: Box::new(flow.gap.record.clone()),
                usual: flow.gap.usual(),
                last_seen: flow.last_seen(),
            };
            self.tell(state, &notice, &self.counts.overdue, console)?;
        }
        Ok(())
    }

    /// Which of these flows have a connection that is open.
    fn open<'a>(
        &self,
        intake: &Intake,
        names: &[Option<Arc<str>>],
        wanted: impl Iterator<Item = &'a Identity>,
    ) -> io::Result<HashSet<Identity>> {
        let mut wanted: HashMap<&Identity, bool> =
            wanted.map(|identity| (identity, false)).collect();
        dump::each_open(intake, &mut |sighting| {
            let netns = names.get(usize::from(sighting.namespace));
            let identity = Identity {
                translation: sighting.translation.map(Box::new),
                netns: netns.cloned().flatten(),
                ..Identity::of(&sighting.tuple)
            };
            // Its ports are those of one connection, and either side may have opened it.
            let mut record = Record::new(identity, sighting.replied);
            record.origin.begun = crate::model::origin::Begun::Unclear;
            for way in self.baseline.ways(&record) {
                if let Some(open) = wanted.get_mut(&way) {
                    *open = true;
                }
            }
        })?;
        let open = { wanted.into_iter() }.filter(|(_, open)| *open);
        Ok(open.map(|(identity, _)| identity.clone()).collect())
    }

    fn tell_missed(&self, state: &mut State, missed: u64, console: &Console) -> io::Result<()> {
        let (before, when) = state.missed;
        if missed == before || when.is_some_and(|when| when.elapsed() < MISSED_REST) {
            return Ok(());
        }
        state.missed = (missed, Some(Instant::now()));
        let why = format!(
            "up to {}: new flows among them are reported if they are still open when the kernel's table is read, which is now",
            counted(missed - before, "event")
        );
        self.tell(state, &Notice::Missed(why), &self.counts.missed, console)
    }

    fn tell(
        &self,
        state: &mut State,
        notice: &Notice,
        count: &AtomicU64,
        console: &Console,
    ) -> io::Result<()> {
        count.fetch_add(1, Ordering::Relaxed);
        state.teller.tell(notice, console)
    }
}

/// The record that was made for a flow, as it is by now.
fn now_of(records: &Records, fresh: &Fresh, names: &[Option<Arc<str>>]) -> Record {
    let key = (&fresh.tuple, fresh.translation.as_ref(), fresh.namespace);
    records.get(key, names).unwrap_or_else(|| {
        // It was forgotten or taken out for a list meanwhile.
        let identity = Identity {
            translation: fresh.translation.map(Box::new),
            netns: { names.get(usize::from(fresh.namespace)) }
                .cloned()
                .flatten(),
            ..Identity::of(&fresh.tuple)
        };
        Record::new(identity, false)
    })
}

/// When a flow was last seen, by the table of records.
fn last_seen(
    records: &Records,
    identity: &Identity,
    names: &[Option<Arc<str>>],
) -> Option<Timestamp> {
    let namespace = match &identity.netns {
        None => 0,
        some => names.iter().position(|name| name == some)?,
    };
    let namespace = u16::try_from(namespace).ok()?;
    let key = (
        &identity.tuple(),
        identity.translation.as_deref(),
        namespace,
    );
    records.get(key, names)?.last_seen
}
