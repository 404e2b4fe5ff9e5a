//! A live capture from its start to its verdict.

use std::fs::File;
use std::io;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use netfilter_conntrack::Handle;
use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, poll};

use crate::cli::Cli;
use crate::console::{Console, REDRAW, Rate, Status};
use crate::description;
use crate::dumps::{Due, Dumps, Schedule};
use crate::error::Error;
use crate::intake::Intake;
use crate::listen;
use crate::monitor::{self, Monitor};
use crate::notify::Supervisor;
use crate::printer::Printer;
use crate::recovery::Recovery;
use crate::signals::Signals;
use crate::source::dump;
use crate::source::receiver::{Shared, timespec};
use crate::source::record::Recorder;
use crate::state::State;
use crate::track::Track;
use crate::units::show_count;
use crate::verdict::{Loss, Verdict};

/// After this time without an event on a terminal, a hint is due.
const SILENCE: Duration = Duration::from_secs(5);

/// Captures until told to stop, prints, and returns the exit status.
///
/// # Errors
///
/// What keeps the capture from starting.
pub fn capture(
    cli: &Cli,
    intake: &Intake,
    (printer, state, monitor): (&Printer, Option<&State>, Option<&Monitor>),
    supervisor: &Supervisor,
    console: &Console,
) -> Result<u8, Error> {
    let signals =
        Signals::install().map_err(|error| Error::new(format!("can't take signals: {error}")))?;
    listen::refuse_if_events_are_off()?;
    let sockets = listen::open(cli, console)?;
    let recorder = cli.write.as_deref().map(start_recording).transpose()?;
    let track = cli.track.then(Track::start).transpose()?;

    let resources = |error: io::Error| Error::new(format!("can't start the capture: {error}"));
    let handles: Vec<&Handle> = sockets.iter().map(|socket| &socket.handle).collect();
    let shared = Shared::new(intake, recorder).map_err(resources)?;
    let recovery =
        Recovery::new(intake, &handles, shared.lost(), cli.reliable).map_err(resources)?;
    let mut sources: Vec<&str> = sockets.iter().map(|socket| socket.method.name()).collect();
    sources.dedup();
    let has_ring = sockets.iter().any(|socket| socket.method.has_ring());
    let mut begun = description::begin(cli, &sources.join(" "));
    let before = state.map(|state| state.load(intake, console)).transpose()?;
    if let Some(before) = before.flatten() {
        begun = description::go_on(begun, before);
    }
    let dumps = Dumps::new(intake, printer, state, (cli.reset, cli.forget), begun);
    // What is found out besides the counters.
    let troubles = Mutex::new(Vec::new());
    let assess = || assess(&troubles, intake, &recovery, cli.reliable);

    thread::scope(|scope| {
        let receivers: Vec<_> = sockets
            .into_iter()
            .map(|socket| {
                let shared = &shared;
                scope.spawn(move || socket.method.receive(socket.handle, socket.buffer, shared))
            })
            .collect();
        let (watch_on, watch_end) = mpsc::channel::<()>();
        let watcher = scope.spawn(|| {
            let watch_end = watch_end;
            recovery.watch(|time| {
                if let Some(namespaces) = intake.namespaces() {
                    // What can't be looked at now can be at the next round.
                    let _ = namespaces.scan();
                }
                watch_end.recv_timeout(time) == Err(mpsc::RecvTimeoutError::Timeout)
            });
        });
        let (print, requests) = mpsc::channel::<Due>();
        let lists = scope.spawn(|| {
            let requests = requests;
            while let Ok(due) = requests.recv() {
                // Several that have come meanwhile are one.
                let due = requests.try_iter().fold(due, Due::and);
                if due.is_long() {
                    // A reload, to a service manager; lists at intervals and forgetting are no news to it.
                    if due.asked {
                        supervisor.printing();
                    }
                    if has_ring {
                        shared.flush();
                    }
                    if dumps
                        .run(due, &assess(), console)
                        .is_err_and(|error| printer.is_gone(&error, console))
                    {
                        signals.request_end();
                    }
                    if due.asked {
                        supervisor.printed();
                    }
                }
                if let Some(monitor) = monitor {
                    monitor.write(intake, recovery.report(), &assess(), &dumps, console);
                }
            }
        });
        if cli.existing {
            match dump::merge(intake) {
                Ok(tally) => {
                    console.detail(&format!("{} open connections", show_count(tally.recovered)))
                }
                Err(error) => troubles
                    .lock()
                    .push(format!("open connections not read: {error}")),
            }
        }

        supervisor.ready(console);
        if monitor.is_some() {
            let _ = print.send(Due {
                metrics: true,
                ..Due::default()
            });
        }
        let began = Instant::now();
        wait(
            cli,
            &signals,
            &shared,
            &recovery,
            supervisor,
            console,
            |due| {
                // The printer is gone only if it has panicked, and then joining it tells.
                let _ = print.send(due);
            },
            || receivers.iter().any(thread::ScopedJoinHandle::is_finished),
        );
        console.clear_status();
        supervisor.stopping();

        // From here on nothing new is queued, so that even under a flood the queues run empty.
        if let Err(error) = recovery.cut_off() {
            troubles
                .lock()
                .push(format!("the end is not exact: {error}"));
        }
        shared.stop();
        for receiver in receivers {
            match receiver.join() {
                Ok(Ok(())) => {}
                Ok(Err(error)) => troubles.lock().push(format!("receiving ended: {error}")),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        drop((print, watch_on));
        for helper in [watcher, lists] {
            if let Err(panic) = helper.join() {
                std::panic::resume_unwind(panic);
            }
        }
        recovery.resync();
        if shared.overruns() > 0 {
            console.detail(&format!(
                "{} overruns reported",
                show_count(shared.overruns())
            ));
        }
        console.detail(&format!(
            "{} events in {:.1} s, {} flows",
            show_count(intake.tally().events),
            began.elapsed().as_secs_f64(),
            show_count(intake.table().len() as u64),
        ));
    });
    drop(track);

    let loss = assess();
    let verdict = loss.verdict();
    let report = recovery.report();
    // The recording first: whatever may come of the list, it is whole.
    let recorded = shared.recorder.map_or(Ok(()), Recorder::finish);
    let printed = dumps.finish(&loss, console);
    if let Some(monitor) = monitor {
        monitor.write(intake, report, &loss, &dumps, console);
    }
    if verdict == Verdict::Complete {
        console.detail(&verdict.to_string());
    } else {
        console.note(&verdict.to_string());
    }
    if let (Err(error), Some(path)) = (&recorded, &cli.write) {
        console.error(&format!(
            "{}: {error}; the recording ends there",
            path.display()
        ));
    }
    Ok(if recorded.is_err() || printed != 0 {
        1
    } else {
        verdict.exit_status()
    })
}

fn start_recording(path: &std::path::Path) -> Result<Recorder, Error> {
    let file = if path.as_os_str() == "-" {
        use std::os::fd::AsFd;
        io::stdout().as_fd().try_clone_to_owned().map(File::from)
    } else {
        File::create(path)
    };
    file.and_then(Recorder::new)
        .map_err(|error| Error::file(path, error))
}

/// Waits for the end and serves what comes up until then.
#[expect(
    clippy::too_many_arguments,
    reason = "called once, with everything that is looked after"
)]
fn wait(
    cli: &Cli,
    signals: &Signals,
    shared: &Shared<'_>,
    recovery: &Recovery<'_>,
    supervisor: &Supervisor,
    console: &Console,
    print: impl Fn(Due),
    receiver_gone: impl Fn() -> bool,
) {
    let began = Instant::now();
    let mut rate = Rate::default();
    let metrics = cli.metrics_file.as_ref().map(|_| monitor::EVERY);
    let mut schedule = Schedule::new(cli.interval, cli.forget, metrics);
    let mut hinted = cli.track || !console.shows_status();
    loop {
        supervisor.alive();
        signals.drain();
        if signals.end() || receiver_gone() {
            return;
        }
        let asked = Due {
            asked: signals.take_print(),
            ..Due::default()
        };
        let due = schedule.due().and(asked);
        if due != Due::default() {
            print(due);
        }
        let left = cli
            .duration
            .map(|duration| duration.saturating_sub(began.elapsed()));
        if left == Some(Duration::ZERO) {
            return;
        }
        if console.shows_status() {
            let events = shared.intake.tally().events;
            if !hinted && began.elapsed() >= SILENCE {
                hinted = true;
                if events == 0 {
                    console.note(
                        "no event so far. If there is traffic, no firewall rule may need connection \
                         tracking here: start again with --track",
                    );
                }
            }
            console.status(&Status {
                elapsed: began.elapsed(),
                rate: rate.update(events),
                flows: shared.intake.table().counts(),
                lost: recovery.missed(),
            });
        }
        // Without a status line only a receiver that failed is looked after.
        let tick = if console.shows_status() {
            REDRAW
        } else {
            Duration::from_secs(1)
        };
        let time = left
            .map_or(tick, |left| left.min(tick))
            .min(supervisor.patience())
            .min(schedule.rest());
        let timeout = timespec(time);
        let descriptor = signals.descriptor();
        // Interrupted or not: the next round looks at everything.
        let _ = poll(
            &mut [PollFd::new(&descriptor, PollFlags::IN)],
            Some(&timeout),
        );
    }
}

/// What was lost so far.
fn assess(
    troubles: &Mutex<Vec<String>>,
    intake: &Intake,
    recovery: &Recovery<'_>,
    asked_reliable: bool,
) -> Loss {
    let tally = intake.tally();
    let mut loss = Loss {
        missed: recovery.missed(),
        resynced: recovery.resynced(),
        recovered: tally.recovered,
        reliable: recovery.reliable(),
        refused: intake.refused(),
        malformed: tally.malformed,
        other: troubles.lock().clone(),
    };
    if let (false, Some(failure)) = (loss.resynced, recovery.failure()) {
        loss.other.push(failure);
    }
    if asked_reliable && recovery.gave_up() {
        loss.other.push(
            "--reliable was given up: undelivered events had the connection table three quarters full".into(),
        );
    }
    loss
}
