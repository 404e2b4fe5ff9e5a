//! Making up for missed events: watching the sockets' drop counters, and reading the kernel's table
//! when one has moved.
//!
//! What an event that was dropped stood for may still be found in one of these places:
//!
//! ```text
//!  an entry of the kernel's table ──► read with NFCT_Q_DUMP
//!  an entry that has ended        ──► with --reliable, the kernel keeps it on its dying list until its
//!                                     DESTROY event has found room: waited for until that list is empty
//!  nowhere                        ──► the list is incomplete, and says by how much at the most
//! ```

mod kernel;
#[cfg(test)]
mod model;
mod sockets;

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::intake::Intake;
use crate::intake::tally::Tally;
use crate::model::timestamp::Timestamp;
use crate::model::verdict::Span;
use crate::os::sysctl::sysctl;
use crate::sources::dump;

pub use kernel::{Delivery, Kernel};
pub use sockets::Sockets;

/// How often the drop counters are read.
pub const CLOCK: Duration = Duration::from_millis(500);
/// Between two reads of the kernel's table lies at least this many times what the last one took: under
/// a lasting flood, recovery must not become a load of its own.
const REST_FACTOR: u32 = 4;
/// Reliability is given up when the kernel's table is this full.
const RELIABLE_PERCENT_MAX: u64 = 75;

/// How long ends that the kernel keeps back are waited for when a list is made, and at the end of a capture.
const KEPT_PATIENCE: Duration = Duration::from_secs(3);
const KEPT_PATIENCE_AT_END: Duration = Duration::from_secs(30);
/// Between two looks at whether it still keeps any.
const KEPT_NAP: Duration = Duration::from_millis(10);

/// The loss of one capture, and what was done about it.
#[derive(Debug)]
pub struct Recovery<'a, K = Sockets<'a>> {
    intake: &'a Intake,
    kernel: K,
    counted: Mutex<Counted>,
    /// One read of the kernel's table at a time. Holds the namespaces that were gone when nothing was missing.
    reading: Mutex<Gone>,
    missed: AtomicU64,
    /// What `missed` was when the last successful read of the table began.
    covered: AtomicU64,
    resyncs: AtomicU64,
    /// Entries that may have been in the kernel's table before anybody listened.
    older: AtomicU64,
    /// Flows that reading the kernel's table has added while all events were still delivered.
    credit: AtomicU64,
    is_cut_off: AtomicBool,
    /// Whether no flow leaves the list while the capture runs, so that one that the kernel's table adds was never
    /// listed before.
    keeps_all: bool,
    reliable: bool,
    gave_up: AtomicBool,
    failure: Mutex<Option<String>>,
    /// What is gone for good, in words.
    beyond: Mutex<Vec<String>>,
}

/// What the drop counters have shown.
#[derive(Debug)]
struct Counted {
    drops: u64,
    /// The last look at which no counter had moved.
    quiet: Timestamp,
    span: Option<Span>,
}

/// Numbers of the namespaces that were gone.
type Gone = Vec<u16>;

/// Figures of the sockets and of what was done about a loss.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// How often the kernel's table was read to make up for a loss.
    pub resyncs: u64,
    /// Bytes that the sockets may queue, and bytes that they have queued, as the kernel charges them; of all
    /// sockets together. `None` if the kernel does not tell.
    pub queues: Option<(u64, u64)>,
    /// What BPF programs take of the kernel's memory, if there are any.
    pub memory: Option<KernelMemory>,
}

/// What BPF programs take of the kernel's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelMemory {
    /// Now, if the kernel tells.
    pub bytes: Option<u64>,
    /// At the most.
    pub max_bytes: u64,
}

impl<'a, K: Kernel> Recovery<'a, K> {
    /// Watches what `kernel` drops. `older` bounds the entries that were in its table before anybody listened;
    /// `keeps_all` is whether no flow leaves the list before the capture ends.
    pub fn new(
        intake: &'a Intake,
        kernel: K,
        older: u64,
        (reliable, keeps_all): (bool, bool),
    ) -> Self {
        Self {
            intake,
            kernel,
            counted: Mutex::new(Counted {
                drops: 0,
                quiet: Timestamp::now(),
                span: None,
            }),
            reading: Mutex::new(dump::gone(intake)),
            missed: AtomicU64::new(0),
            covered: AtomicU64::new(0),
            resyncs: AtomicU64::new(0),
            older: AtomicU64::new(older),
            credit: AtomicU64::new(0),
            is_cut_off: AtomicBool::new(false),
            keeps_all,
            reliable,
            gave_up: AtomicBool::new(false),
            failure: Mutex::new(None),
            beyond: Mutex::default(),
        }
    }

    /// Lists the connections that are open at the start, and returns what that came to. From here on no entry is
    /// older than the capture and not listed. Other namespaces may be met later, with any number of older entries.
    ///
    /// Errors: those of [`dump::merge`].
    pub fn list_existing(&self) -> io::Result<Tally> {
        // A resync that runs already has read entries that are older than the capture: what it has added proves nothing.
        let _reading = self.reading.lock();
        let tally = self.read_completely()?;
        self.intake.count(tally);
        if self.intake.namespaces().is_none() {
            self.credit.store(0, Ordering::Relaxed);
            self.older.store(0, Ordering::Relaxed);
        }
        Ok(tally)
    }

    /// Reads the connections that are open once more: one that began before anybody listened may have been answered
    /// since without any event. The kernel makes events for an entry only if somebody listened when it was made
    /// (`nf_conntrack_events=2`, the default; nf_conntrack-sysctl in the kernel's documentation).
    ///
    /// Errors: those of [`dump::merge`].
    pub fn look_at_existing(&self) -> io::Result<()> {
        let _reading = self.reading.lock();
        self.take_in_table()
    }

    /// Takes in the kernel's table, and credit for what it adds.
    fn take_in_table(&self) -> io::Result<()> {
        let tally = self.read_completely()?;
        self.intake.count(tally);
        if !self.is_cut_off.load(Ordering::Relaxed) {
            self.credit.fetch_add(tally.recovered, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Reads the kernel's table.
    fn read_completely(&self) -> io::Result<Tally> {
        let unnoted = self.intake.table().unnoted();
        let tally = self.kernel.read_table(self.intake)?;
        if self.intake.table().unnoted() > unnoted {
            return Err(io::Error::other(
                "so many replies came while it was read that flows may be listed as unanswered",
            ));
        }
        Ok(tally)
    }

    /// Upper bound of the events missed so far, as of the last look.
    pub fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }

    /// When events were missed, as of the last look.
    pub fn span(&self) -> Option<Span> {
        self.counted.lock().span
    }

    /// Of the events missed, those that can be shown to have been NEW events of flows that are listed now.
    ///
    /// A flow that only the kernel's table has shown had its NEW event dropped, unless the entry is older than the
    /// capture (`older` bounds these) or the event was still queued when the table was read (`belated` counts these
    /// when they come) or dropped by the filter that ends the capture (what is read after that gives no credit). Each
    /// such flow accounts for at least one drop. So where the table has added as many as were
    /// dropped, every drop is accounted for: none of them was a flow that ended meanwhile, or a reply.
    ///
    /// ```text
    /// 2,949 drops, the table adds 2,949 flows, none older, none belated:  2,949 shown, nothing is missing
    /// 2,949 drops, the table adds 2,900 flows:                            up to 49 may be missing
    /// ```
    pub fn shown(&self) -> u64 {
        let missed = self.missed();
        // Some of them may never become known: all that they sent may have found the queue full.
        if self.intake.namespaces().is_some() {
            return 0;
        }
        if self.reliable() {
            return missed.saturating_sub(self.kernel.unprotected());
        }
        if !self.keeps_all {
            return 0;
        }
        let doubtful = self
            .older
            .load(Ordering::Relaxed)
            .saturating_add(self.intake.table().belated());
        let added = self.credit.load(Ordering::Relaxed);
        added.saturating_sub(doubtful).min(missed)
    }

    /// Reads the drop counters.
    ///
    /// Errors: those of getsockopt(2).
    pub fn look(&self) -> io::Result<u64> {
        let mut counted = self.counted.lock();
        // Before the counters are read: what moves them later is seen at the next look.
        let now = Timestamp::now();
        let drops = self.kernel.drops()?;
        let all = drops.saturating_sub(counted.drops);
        counted.drops = drops;
        if all == 0 {
            counted.quiet = now;
        } else {
            self.missed.fetch_add(all, Ordering::Relaxed);
            let from = counted.span.map_or(counted.quiet, |span| span.from);
            counted.span = Some(Span {
                from,
                to: Timestamp::now(),
            });
        }
        Ok(self.missed())
    }

    /// Reads what the kernel still knows if events were missed since it was last read.
    pub fn resync(&self) {
        let mut gone = self.reading.lock();
        let missed = match self.look() {
            Ok(missed) => missed,
            Err(error) => return self.fail(format!("the drop counter can't be read: {error}")),
        };
        let is_covered = missed == self.covered.load(Ordering::Relaxed);
        self.note_gone(&mut gone, is_covered);
        if is_covered {
            return;
        }
        match self.read_kernel(KEPT_PATIENCE) {
            Ok(()) => {
                self.covered.store(missed, Ordering::Relaxed);
                self.resyncs.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => self.fail(format!("the kernel's table can't be read: {error}")),
        }
    }

    /// Brings the tables up to now, for a list. `flush` has the receivers take in what is queued, and returns whether
    /// they have.
    ///
    /// Twice: what is lost behind the sockets is counted by the receivers, and ends that the kernel has kept back until
    /// now are queued.
    pub fn bring_up_to_date(&self, flush: impl Fn() -> bool) -> bool {
        flush() & {
            self.resync();
            flush()
        }
    }

    /// Ends the capture: everything that came up to now is in the tables afterwards. `flush` is as in
    /// [`bring_up_to_date`](Self::bring_up_to_date); `drain` has the receivers take in all that is queued and return.
    ///
    /// Errors: what makes the end inexact, in words.
    pub fn end(&self, flush: impl Fn() -> bool, drain: impl FnOnce()) -> Result<(), String> {
        if !self.reliable() {
            // While what begins meanwhile is still told: see [`shown`](Self::shown).
            self.resync();
        }
        // From here on nothing new is queued, so that even under a flood the queues run empty.
        let cut_off = self.cut_off(flush);
        drain();
        self.resync();
        cut_off
    }

    /// Takes note of namespaces that are gone, and of what has gone with them if something was missed.
    fn note_gone(&self, gone: &mut Gone, is_covered: bool) {
        let now = dump::gone(self.intake);
        let newly = now.iter().filter(|number| !gone.contains(number));
        if !is_covered {
            for name in dump::names(self.intake, newly) {
                self.beyond.lock().push(format!(
                    "events of the network namespace {name} were missed, and it was removed before its \
                     table was read"
                ));
            }
        }
        *gone = now;
    }

    /// Reads the kernel's table, and waits for the ends that it keeps back.
    fn read_kernel(&self, patience: Duration) -> io::Result<()> {
        // The table first: an entry that ends meanwhile is on the dying list after that.
        self.take_in_table()?;
        if !self.reliable() {
            return Ok(());
        }
        let deadline = Instant::now() + patience;
        while self.kernel.keeps_ends_back(self.intake)? {
            if Instant::now() > deadline {
                return Err(io::Error::other(
                    "it still keeps back the ends of connections, because the receive buffer has no room \
                     for them",
                ));
            }
            thread::sleep(KEPT_NAP);
        }
        Ok(())
    }

    fn fail(&self, cause: String) {
        *self.failure.lock() = Some(cause);
    }

    /// Watches until `wait` returns false; `wait` sleeps for the time it is given.
    /// The guard looks each time; the table is read at most a fifth of the time: after two seconds of reading, not for eight.
    pub fn watch(&self, mut wait: impl FnMut(Duration) -> bool) {
        let mut due = Instant::now();
        while wait(CLOCK) {
            // Without a rest: ends that are kept back may fill a busy gateway's table within seconds.
            self.guard_table();
            if Instant::now() < due {
                continue;
            }
            let began = Instant::now();
            self.resync();
            due = Instant::now() + began.elapsed() * REST_FACTOR;
        }
    }

    /// Gives reliability up before entries that were not reported could fill the kernel's table.
    fn guard_table(&self) {
        if !self.reliable() {
            return;
        }
        match self.look() {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) => return self.fail(format!("the drop counter can't be read: {error}")),
        }
        let (Some(count), Some(max)) = (sysctl("nf_conntrack_count"), sysctl("nf_conntrack_max"))
        else {
            return;
        };
        if count * 100 < max * RELIABLE_PERCENT_MAX {
            return;
        }
        if let Err(error) = self.kernel.give_up_reliability() {
            return self.fail(format!("reliability can't be given up: {error}"));
        }
        self.gave_up.store(true, Ordering::Relaxed);
    }

    /// Whether the watchdog has given reliability up.
    pub fn gave_up(&self) -> bool {
        self.gave_up.load(Ordering::Relaxed)
    }

    /// Whether ends of entries are still listened to.
    pub fn reliable(&self) -> bool {
        self.reliable && !self.gave_up()
    }

    /// Whether the kernel's table was read since the last loss.
    pub fn resynced(&self) -> bool {
        self.covered.load(Ordering::Relaxed) == self.missed()
    }

    /// What it has come to so far.
    pub fn report(&self) -> Report {
        Report {
            resyncs: self.resyncs.load(Ordering::Relaxed),
            queues: self.kernel.queues(),
            memory: self.kernel.memory(),
        }
    }

    /// What keeps the recovery from working, if anything did last.
    pub fn failure(&self) -> Option<String> {
        self.failure.lock().clone()
    }

    /// What no recovery can bring back, in words.
    pub fn beyond(&self) -> Vec<String> {
        self.beyond.lock().clone()
    }

    /// Ends the delivery of new flows, waits for what the kernel has kept back, and ends all delivery. The receivers
    /// must still run, and drain their queues afterwards.
    ///
    /// With reliable delivery the kernel keeps every entry whose DESTROY event has found no room, and would take it
    /// for delivered as soon as a filter drops it. So first only NEW and UPDATE events are dropped; then the table is
    /// read, and the list of what is kept back waited for until it is empty; and only then everything is dropped. An
    /// entry whose NEW event was missed before this began is in the table, or its DESTROY event has been queued.
    ///
    /// Errors: those of setsockopt(2), in words.
    fn cut_off(&self, flush: impl Fn() -> bool) -> Result<(), String> {
        let exact = |error: io::Error| format!("the end is not exact: {error}");
        let deliver = |delivery| self.kernel.deliver(delivery).map_err(exact);
        self.is_cut_off.store(true, Ordering::Relaxed);
        if !self.reliable() {
            return deliver(Delivery::Nothing);
        }
        deliver(Delivery::OnlyEnds)?;
        // What was lost behind the sockets is counted by the receivers, when they come to it.
        let flushed = flush();
        // One that reads the table already is waited for.
        let mut gone = self.reading.lock();
        // After the filter: what finds no room from here on is the end of a flow that is known.
        let missed = self.look().map_err(exact)?;
        let is_covered = flushed && missed == self.covered.load(Ordering::Relaxed);
        self.note_gone(&mut gone, is_covered);
        let read = if is_covered {
            Ok(())
        } else {
            deliver(Delivery::OnlyEndsWithRoom)?;
            self.resyncs.fetch_add(1, Ordering::Relaxed);
            self.read_kernel(KEPT_PATIENCE_AT_END)
        };
        deliver(Delivery::Nothing)?;
        match read {
            Ok(()) => {
                let missed = self.look().map_err(exact)?;
                self.covered.store(missed, Ordering::Relaxed);
            }
            Err(error) => {
                let cause = format!("the kernel's table can't be read: {error}");
                self.beyond.lock().push(cause);
            }
        }
        Ok(())
    }
}
