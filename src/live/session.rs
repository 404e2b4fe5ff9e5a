//! One live capture while it runs: its start, waiting for its end, the lists meanwhile, and the end itself.
//!
//! ```text
//!  Crew::start   a thread for each receiver, one that watches for loss, one that writes lists
//!  begin         open connections, if they are wanted; "ready" to who waits for it
//!  wait          signals, intervals, the time that was given, the status line; or view: somebody who looks at it
//!  end           no more new flows, what was kept back, the queues, the threads
//!  outcome       what was lost on the way
//! ```

pub mod crew;
pub mod view;

use std::any::Any;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, poll};

use crate::intake::Intake;
use crate::live::conditions::{self, Conditions};
use crate::live::dumps::{Due, Dumps, Schedule};
use crate::live::kernel_stat::KernelStat;
use crate::live::lookups::Lookups;
use crate::live::monitor::{self, Monitor};
use crate::live::options::CaptureOptions;
use crate::live::recovery::Recovery;
use crate::live::rulings::Rulings;
use crate::live::watch::Watch;
use crate::model::units::counted;
use crate::model::verdict::Loss;
use crate::os::namespaces::Namespaces;
use crate::os::signals::Signals;
use crate::output::printer::Printer;
use crate::service::notify::Supervisor;
use crate::sources::receiver::{Shared, timespec};
use crate::ui::console::{Console, REDRAW, Rate, Status};
use crew::Crew;

/// After this time without an event on a terminal, a hint is due.
const SILENCE: Duration = Duration::from_secs(5);

/// A capture that runs, and everything that its threads share.
#[derive(Debug)]
pub struct Session<'a> {
    options: &'a CaptureOptions,
    intake: &'a Intake,
    shared: &'a Shared<'a>,
    recovery: &'a Recovery<'a>,
    conditions: &'a Conditions,
    kernel_stat: &'a KernelStat,
    dumps: &'a Dumps<'a>,
    printer: &'a Printer,
    monitor: Option<&'a Monitor>,
    watch: Option<&'a Watch>,
    rulings: Option<&'a Rulings>,
    lookups: Option<&'a Lookups>,
    supervisor: &'a Supervisor,
    signals: &'a Signals,
    console: &'a Console,
    began: Instant,
    /// What is found out besides the counters.
    troubles: Mutex<Vec<String>>,
    failed: AtomicBool,
    /// Whether --reset has emptied the list since the capture began.
    begun_anew: AtomicBool,
}

/// How a capture went.
#[derive(Debug)]
pub struct Outcome {
    /// What was lost.
    pub loss: Loss,
    /// Whether a part of the program has failed, which is an error also if nothing was lost by it.
    pub failed: bool,
}

impl<'a> Session<'a> {
    /// A capture that is about to begin.
    pub fn new(
        options: &'a CaptureOptions,
        intake: &'a Intake,
        (shared, recovery, dumps): (&'a Shared<'a>, &'a Recovery<'a>, &'a Dumps<'a>),
        (conditions, kernel_stat): (&'a Conditions, &'a KernelStat),
        (printer, monitor, watch): (&'a Printer, Option<&'a Monitor>, Option<&'a Watch>),
        (rulings, lookups): (Option<&'a Rulings>, Option<&'a Lookups>),
        (supervisor, signals, console): (&'a Supervisor, &'a Signals, &'a Console),
    ) -> Self {
        Self {
            options,
            intake,
            shared,
            recovery,
            conditions,
            kernel_stat,
            dumps,
            printer,
            monitor,
            watch,
            rulings,
            lookups,
            supervisor,
            signals,
            console,
            began: Instant::now(),
            troubles: Mutex::default(),
            failed: AtomicBool::new(false),
            begun_anew: AtomicBool::new(false),
        }
    }

    /// Lists what is there already, if that is wanted, and says that the capture runs.
    pub fn begin(&self, crew: &Crew<'_>) {
        for spot in self.conditions.blind_spots() {
            self.console.note(&format!("can't be seen here: {spot}"));
        }
        for trouble in self.conditions.troubles().lasting {
            self.console
                .note(&format!("the list will be incomplete: {trouble}"));
        }
        if self.options.existing {
            match self.recovery.list_existing() {
                Ok(tally) => {
                    self.console
                        .detail(&counted(tally.recovered, "open connection"));
                }
                Err(error) => self.trouble(format!("open connections not read: {error}")),
            }
        }
        self.supervisor.ready(self.console);
        if self.monitor.is_some() {
            crew.do_lists(Due {
                metrics: true,
                ..Due::default()
            });
        }
    }

    /// Waits for the end, and has done what is due until then.
    pub fn wait(&self, crew: &Crew<'_>) {
        // What it took to start is no part of the time that was asked for.
        let began = Instant::now();
        let mut rate = Rate::default();
        let metrics = self.monitor.map(|_| monitor::EVERY);
        let mut schedule = Schedule::new(self.options.interval, self.options.forget, metrics);
        let mut hinted = self.options.track || !self.console.shows_status();
        loop {
            crate::os::fault::point("wait");
            self.supervisor.alive();
            self.signals.drain();
            if self.signals.end() {
                return;
            }
            let asked = Due {
                asked: self.signals.take_print(),
                ..Due::default()
            };
            let due = schedule.due().or(asked);
            if due != Due::default() {
                crew.do_lists(due);
            }
            let left = self
                .options
                .duration
                .map(|duration| duration.saturating_sub(began.elapsed()));
            if left == Some(Duration::ZERO) {
                return;
            }
            if self.console.shows_status() {
                self.show_status(&mut rate, &mut hinted);
            }
            // Without a status line nothing has to be looked at on a clock but the time itself.
            let tick = if self.console.shows_status() {
                REDRAW
            } else {
                Duration::from_secs(1)
            };
            let time = left
                .map_or(tick, |left| left.min(tick))
                .min(self.supervisor.patience())
                .min(schedule.rest());
            let timeout = timespec(time);
            let descriptor = self.signals.descriptor();
            // Interrupted or not: the next round looks at everything.
            let _ = poll(
                &mut [PollFd::new(&descriptor, PollFlags::IN)],
                Some(&timeout),
            );
        }
    }

    fn show_status(&self, rate: &mut Rate, hinted: &mut bool) {
        let events = self.intake.tally().events;
        if !*hinted && self.began.elapsed() >= SILENCE {
            *hinted = true;
            if events == 0 {
                self.console.note(
                    "no event so far. If there is traffic, no firewall rule may need connection \
                     tracking here: start again with --track",
                );
            }
        }
        self.console.status(&Status {
            elapsed: self.began.elapsed(),
            rate: rate.update(events),
            flows: self.intake.table().counts(),
            lost: self.recovery.missed(),
        });
    }

    /// Does what is due, in the thread for lists.
    fn do_due(&self, due: Due) {
        if due.is_long() {
            self.make_list(due);
        }
        if let Some(monitor) = self.monitor {
            self.shared.settle();
            let loss = self.assess();
            let report = self.recovery.report();
            let to = (self.dumps, self.watch);
            monitor.write(self.intake, report, &loss, to, self.console);
        }
    }

    /// Makes a list of everything up to now.
    fn make_list(&self, due: Due) {
        crate::os::fault::point("list");
        // A reload, to a service manager; lists at intervals and forgetting are no news to it.
        if due.asked {
            self.supervisor.printing();
        }
        self.read_what_tells_nothing("in a list");
        let flushed = self.recovery.bring_up_to_date(|| self.shared.flush());
        let assess = || {
            self.conditions.look(self.intake);
            let mut loss = self.assess();
            if !flushed {
                loss.other
                    .push("events were still queued when the list was made".into());
            }
            loss
        };
        let written = self.dumps.run(due, &assess, self.console);
        if written.is_err_and(|error| self.printer.fails_for_good(&error, self.console)) {
            self.signals.request_end();
        }
        if due.asked {
            self.supervisor.printed();
        }
        if due.interval && self.options.reset {
            self.begun_anew.store(true, Ordering::Relaxed);
        }
    }

    /// Reads the kernel's table for connections that make no event when they are answered: those that are older than the
    /// capture, and those whose events a rule or a setting keeps back. Not for the lists that --reset makes after the
    /// first, since what goes on is of an interval that has ended.
    fn read_what_tells_nothing(&self, when: &str) {
        let may = !self.begun_anew.load(Ordering::Relaxed);
        if may && (self.options.existing || self.conditions.keep_events_back()) {
            if let Err(error) = self.recovery.look_at_existing() {
                self.trouble(format!("open connections not read {when}: {error}"));
            }
        }
    }

    /// Ends the capture: everything that came up to now is in the tables afterwards.
    pub fn end(&self, crew: Crew<'_>) {
        self.console.clear_status();
        self.supervisor.stopping();
        self.shared.close();
        self.read_what_tells_nothing("at the end");
        if let Err(error) = self.recovery.end(|| self.shared.flush(), || crew.finish()) {
            self.trouble(error);
        }
        self.conditions.look(self.intake);
        if self.intake.tally().events == 0 && !self.options.track && !self.conditions.has_tracking()
        {
            self.console.note(
                "no event came, and no firewall rule was found that needs connection tracking here, so that nothing \
                 is tracked: capture with --track; conntracker doctor tells more",
            );
        }
        if self.shared.overruns() > 0 {
            self.console.detail(&format!(
                "{} reported",
                counted(self.shared.overruns(), "overrun")
            ));
        }
        self.console.detail(&format!(
            "{} in {:.1} s, {}",
            counted(self.intake.tally().events, "event"),
            self.began.elapsed().as_secs_f64(),
            counted(self.intake.table().len() as u64, "flow"),
        ));
    }

    /// How it went. To be asked after the end.
    pub fn outcome(&self) -> Outcome {
        Outcome {
            loss: self.assess(),
            failed: self.failed.load(Ordering::Relaxed),
        }
    }

    /// Says that something takes from the list.
    pub fn trouble(&self, what: String) {
        self.troubles.lock().push(what);
    }

    /// Takes note of a thread that has panicked, and ends the capture: what has come so far is still listed.
    pub fn failed(&self, what: &str, panic: &(dyn Any + Send)) {
        let text = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("for a reason that it does not say");
        self.trouble(format!(
            "{what} has failed by a defect of this program: {text}"
        ));
        self.failed.store(true, Ordering::Relaxed);
        self.signals.request_end();
    }

    /// What was lost up to now. Looks at the drop counters, so that what a list says was lost is never older than the
    /// list itself.
    fn assess(&self) -> Loss {
        let looked = self.recovery.look();
        let tally = self.intake.tally();
        let conditions::Troubles {
            lasting,
            over,
            lasting_effects,
        } = self.conditions.troubles();
        let mut loss = Loss {
            missed: self.recovery.missed(),
            shown: self.recovery.shown(),
            span: self.recovery.span(),
            resynced: self.recovery.resynced(),
            recovered: tally.recovered,
            refused: self.intake.refused(),
            malformed: tally.malformed,
            other: self.troubles.lock().clone(),
            over: [self.recovery.beyond(), over].concat(),
            effects: lasting_effects,
            blind_spots: self.conditions.blind_spots(),
            invalid: self.kernel_stat.invalid(),
        };
        loss.other.extend(lasting);
        if let Some(mixed) = self.intake.namespaces().and_then(Namespaces::mixed) {
            loss.other.push(mixed);
        }
        loss.other.extend(self.kernel_stat.troubles(self.intake));
        if let Err(error) = looked {
            loss.other
                .push(format!("the drop counter can't be read: {error}"));
        }
        if let (false, Some(failure)) = (loss.resynced, self.recovery.failure()) {
            loss.other.push(failure);
        }
        if self.options.reception.reliable && self.recovery.gave_up() {
            loss.other.push(
                "--reliable was given up: undelivered events had the connection table three quarters \
                 full"
                    .into(),
            );
        }
        loss
    }
}
