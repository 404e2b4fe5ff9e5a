//! Lists and states while a capture runs: at SIGUSR1, at every interval, and what is forgotten meanwhile.

use std::io;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::intake::Intake;
use crate::intake::contents::Contents;
use crate::live::description;
use crate::live::lookups::Lookups;
use crate::live::rulings::Rulings;
use crate::live::state::State;
use crate::model::capture::{Capture, Gap};
use crate::model::ruled::Told;
use crate::model::timestamp::Timestamp;
use crate::model::verdict::{Loss, Verdict};
use crate::os::clock::{Clock, earlier};
use crate::output::printer::Printer;
use crate::ui::console::Console;

/// What is due.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Due {
    /// A list was asked for.
    pub asked: bool,
    /// An interval is over.
    pub interval: bool,
    /// Old flows are to be forgotten.
    pub forget: bool,
    /// Metrics are to be written.
    pub metrics: bool,
}

impl Due {
    /// What is due by either.
    pub const fn or(self, other: Self) -> Self {
        Self {
            asked: self.asked || other.asked,
            interval: self.interval || other.interval,
            forget: self.forget || other.forget,
            metrics: self.metrics || other.metrics,
        }
    }

    /// Whether flows are touched, which may take its time.
    pub const fn is_long(self) -> bool {
        self.asked || self.interval || self.forget
    }
}

/// When something is due.
#[derive(Debug)]
pub struct Schedule {
    interval: Option<Turn>,
    forget: Option<Turn>,
    metrics: Option<Turn>,
}

#[derive(Debug)]
struct Turn {
    every: Duration,
    next: Instant,
}

impl Turn {
    fn new(every: Duration) -> Self {
        Self {
            every,
            next: Instant::now() + every,
        }
    }

    /// Whether it is time. What was missed, because the machine slept, is due once.
    fn is_due(&mut self, now: Instant) -> bool {
        if now < self.next {
            return false;
        }
        let missed = now.duration_since(self.next).as_nanos() / self.every.as_nanos().max(1);
        let turns = u32::try_from(missed + 1).unwrap_or(u32::MAX);
        self.next += self.every.saturating_mul(turns);
        true
    }
}

impl Schedule {
    /// For lists at every interval, flows that are forgotten after a time, and metrics now and then.
    pub fn new(
        interval: Option<Duration>,
        forget: Option<Duration>,
        metrics: Option<Duration>,
    ) -> Self {
        let often = |after: Duration| (after / 10).clamp(Duration::from_secs(1), HOUR);
        Self {
            interval: interval.map(Turn::new),
            forget: forget.map(|after| Turn::new(often(after))),
            metrics: metrics.map(Turn::new),
        }
    }

    /// What is due now.
    pub fn due(&mut self) -> Due {
        let now = Instant::now();
        let is_due = |turn: &mut Option<Turn>| turn.as_mut().is_some_and(|turn| turn.is_due(now));
        Due {
            asked: false,
            interval: is_due(&mut self.interval),
            forget: is_due(&mut self.forget),
            metrics: is_due(&mut self.metrics),
        }
    }

    /// How long nothing is due.
    pub fn rest(&self) -> Duration {
        let turns = [&self.interval, &self.forget, &self.metrics];
        let turns = turns.into_iter().flatten();
        let now = Instant::now();
        let rests = turns.map(|turn| turn.next.saturating_duration_since(now));
        rests.min().unwrap_or(HOUR)
    }
}

const HOUR: Duration = Duration::from_secs(3600);

/// Makes lists and states of what was taken in.
#[derive(Debug)]
pub struct Dumps<'a> {
    intake: &'a Intake,
    printer: &'a Printer,
    state: Option<&'a State>,
    reset: bool,
    forget: Option<Duration>,
    rulings: Option<&'a Rulings>,
    lookups: Option<&'a Lookups>,
    /// How the capture began, and what was lost before the interval that runs.
    begun: Mutex<(Capture, Loss)>,
    lists: Mutex<Lists>,
    /// The last warning about a list.
    said: Mutex<String>,
    clock: Mutex<Clock>,
    /// What takes from this and later lists.
    spoiled: Mutex<Vec<String>>,
}

/// Flows that were copied, and what was lost on the way to them.
#[derive(Debug)]
pub struct Copied {
    /// The flows of the list.
    pub contents: Contents,
    /// What was lost since the capture began, as far as this copy may suffer from it.
    pub loss: Loss,
    /// If the next interval begins with this copy: what was lost before it.
    pub next: Option<Loss>,
}

/// Copies the flows, or takes them out if an interval begins anew.
///
/// What is lost while they are copied may be of this list or of the next, so both have to own up to it: the next one
/// counts from before the copy, this one up to after it.
pub fn copy(intake: &Intake, begins_anew: bool, assess: &dyn Fn() -> Loss) -> Copied {
    let next = begins_anew.then(assess);
    let contents = if begins_anew {
        intake.take()
    } else {
        intake.contents()
    };
    Copied {
        contents,
        loss: assess(),
        next,
    }
}

/// The lists that were written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lists {
    /// How many lists have been written.
    pub written: u64,
    /// When the last one was.
    pub last: Option<Timestamp>,
}

impl Lists {
    fn one_more(&mut self) {
        self.written += 1;
        self.last = Some(Timestamp::now());
    }
}

impl<'a> Dumps<'a> {
    /// Of what `intake` takes in from now on. `begun` describes the capture's beginning.
    pub fn new(
        intake: &'a Intake,
        printer: &'a Printer,
        state: Option<&'a State>,
        (reset, forget): (bool, Option<Duration>),
        (rulings, lookups): (Option<&'a Rulings>, Option<&'a Lookups>),
        begun: Capture,
    ) -> Self {
        let clock = Clock::start(begun.gaps.last().map(|gap| gap.from));
        Self {
            intake,
            printer,
            state,
            reset,
            forget,
            rulings,
            lookups,
            clock: Mutex::new(clock),
            begun: Mutex::new((begun, Loss::default())),
            lists: Mutex::default(),
            said: Mutex::default(),
            spoiled: Mutex::default(),
        }
    }

    /// Does what is due. `assess` tells what was lost since the capture began, as of the moment it is called.
    ///
    /// Errors: a list that could not be printed.
    pub fn run(&self, due: Due, assess: &dyn Fn() -> Loss, console: &Console) -> io::Result<()> {
        if due.forget {
            self.forget(console);
        }
        if !due.asked && !due.interval {
            return Ok(());
        }
        let begins_anew = due.interval && self.reset;
        // Should the list not be written, its flows go back: replies that come meanwhile are kept for them.
        let noting = begins_anew.then(|| (self.intake.merging(), self.intake.table().unnoted()));
        let Copied {
            contents,
            loss,
            next,
        } = copy(self.intake, begins_anew, assess);
        // Afterwards, so that nothing in it was seen after its end.
        let mut capture = self.describe(&loss);
        let told = self.told(&contents, &mut capture, console);
        self.warn(&self.of_next(&loss).verdict(), console);
        let printed = self.printer.print(&contents, &capture, &told, console);
        if printed.is_ok() {
            self.lists.lock().one_more();
        }
        if let Some(lost_before) = next {
            if printed.is_err() {
                // It is in the next list then.
                let _ = contents.each(|record| {
                    self.intake.restore(record);
                    Ok::<_, ()>(())
                });
                let unnoted = noting.as_ref().map_or(0, |(_, unnoted)| *unnoted);
                if self.intake.table().unnoted() > unnoted {
                    let lost = "a list could not be written, and so many replies came meanwhile that flows of it may \
                                be listed as unanswered";
                    self.spoiled.lock().push(lost.to_owned());
                }
            } else {
                let mut begun = self.begun.lock();
                begun.0.start = capture.end;
                begun.1 = lost_before;
            }
        }
        self.save(&contents, &capture, console);
        printed
    }

    /// Says how a list while the capture runs is not complete, unless that has been said in these words before.
    fn warn(&self, verdict: &Verdict, console: &Console) {
        if let Verdict::Incomplete(_) = verdict {
            let text = verdict.to_string();
            let mut said = self.said.lock();
            if *said != text {
                console.note(&format!("the list up to now is {text}"));
                *said = text;
            }
        }
    }

    /// Prints the last list, and returns the exit status: that of an incomplete list where only its description knows
    /// of it.
    pub fn finish(&self, loss: &Loss, console: &Console) -> u8 {
        self.forget(console);
        let contents = self.intake.take_last();
        let mut capture = self.describe(loss);
        let told = self.told(&contents, &mut capture, console);
        if let (false, Some(gaps)) = (capture.has_long_gaps(), capture.gaps_in_words()) {
            console.note(&format!("the list is of several runs: {gaps}"));
        }
        if let Some(lookups) = self.lookups {
            let remarks = lookups.remarks();
            console.detail(&remarks.learnt);
            for missing in remarks.missing {
                console.note(&missing);
            }
        }
        let printed = self.printer.finish(&contents, &capture, &told, console);
        if printed == 0 {
            self.lists.lock().one_more();
        }
        let saved = self.save(&contents, &capture, console);
        let known = self.with_earlier_runs(loss.clone()).verdict();
        if printed.max(saved) == 0 && known.exit_status() == 0 && capture.is_incomplete() {
            console.note(&format!(
                "the list is incomplete ({})",
                capture.reasons().join("; ")
            ));
            return Verdict::Incomplete(Vec::new()).exit_status();
        }
        printed.max(saved)
    }

    /// What is known of rules and names beside these flows. What may be missing of rules is said, and stands in the
    /// description: the flows themselves are as complete as ever.
    fn told(&self, contents: &Contents, capture: &mut Capture, console: &Console) -> Told {
        let Contents::Records(pack) = contents else {
            return Told::default();
        };
        let mut told = Told::default();
        if let Some(rulings) = self.rulings {
            let reasons;
            (told, reasons) = rulings.told(pack.iter()).unwrap_or_else(|error| {
                let why = format!("they can't be read: {error}");
                (Told::default(), vec![why])
            });
            for reason in reasons {
                let spot = format!("rules and denied flows: {reason}");
                console.note(&spot);
                capture.blind_spots.push(spot);
            }
        }
        if let Some(lookups) = self.lookups {
            if let Err(error) = lookups.name(pack.iter(), &mut told) {
                console.note(&format!("names are missing from the list: {error}"));
            }
        }
        told
    }

    /// The lists written so far.
    pub fn lists(&self) -> Lists {
        *self.lists.lock()
    }

    /// What of `loss`, that since the capture began, the next list suffers from, with what earlier runs have left.
    pub fn of_next(&self, loss: &Loss) -> Loss {
        let lost_before = self.begun.lock().1.clone();
        self.with_earlier_runs(loss.since(&lost_before))
    }

    /// `loss`, with what earlier runs have left of theirs in the list.
    pub fn with_earlier_runs(&self, mut loss: Loss) -> Loss {
        loss.other.extend(self.spoiled.lock().iter().cloned());
        let begun = self.begun();
        if begun.is_incomplete() {
            let mut reasons = begun.reasons();
            if reasons.is_empty() {
                reasons.push("it is not said why".to_owned());
            }
            loss.other
                .push(format!("in earlier runs: {}", reasons.join("; ")));
        }
        loss
    }

    /// The time in which nobody listened, between the runs that a state joins.
    pub fn gaps(&self) -> Duration {
        let gaps = self.begun().gaps;
        let lengths = gaps.iter().map(Gap::length);
        lengths.fold(Duration::ZERO, Duration::saturating_add)
    }

    /// Forgets what is old, if anything is to be forgotten.
    fn forget(&self, console: &Console) {
        let Some(after) = self.forget else {
            return;
        };
        let mut clock = self.clock.lock();
        let now = clock.now(after);
        let leap = clock.take_leap();
        drop(clock);
        if let Some(leapt) = leap {
            let leapt = humantime::format_duration(Duration::from_secs(leapt.as_secs()));
            console.note(&format!(
                "the clock is {leapt} ahead of the time that this machine has been up: flows are forgotten by \
                 that time, and not by the clock"
            ));
        }
        if let Some(before) = earlier(now, after) {
            self.intake.forget(before);
        }
    }

    /// How the capture began, and what earlier runs have left to say.
    fn begun(&self) -> Capture {
        let forgotten = self
            .forget
            .and_then(|after| earlier(self.clock.lock().now(after), after));
        description::forgetting(&self.begun.lock().0, forgotten)
    }

    /// The description of the capture, if something is made that carries one.
    pub fn describe(&self, loss: &Loss) -> Capture {
        if self.intake.records().is_none() && self.state.is_none() {
            return Capture::default();
        }
        let begun = self.begun();
        let before = self.begun.lock().1.clone();
        let ahead = self.clock.lock().ahead().as_secs();
        Capture {
            clock_ahead_s: Some(ahead).filter(|&seconds| seconds > 0),
            ..description::of_live(&begun, &loss.since(&before))
        }
    }

    fn save(&self, contents: &Contents, capture: &Capture, console: &Console) -> u8 {
        let Some(state) = self.state else {
            return 0;
        };
        match state.save(contents, capture) {
            Ok(()) => 0,
            Err(error) => {
                console.error(&format!(
                    "{}: {error}; the state is the one before",
                    state.path().display()
                ));
                1
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_slept_through_is_due_once() {
        let mut turn = Turn::new(Duration::from_secs(10));
        let start = turn.next;
        assert!(!turn.is_due(start - Duration::from_millis(1)));
        assert!(turn.is_due(start + Duration::from_secs(35)));
        assert!(!turn.is_due(start + Duration::from_secs(39)));
        assert!(turn.is_due(start + Duration::from_secs(40)));
    }
}
