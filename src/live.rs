//! A live capture from its start to its verdict.

use std::fs::File;
use std::io;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use netfilter_conntrack::Handle;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::cli::{Cli, Source};
use crate::console::{Console, REDRAW, Rate, Status};
use crate::error::Error;
use crate::intake::Intake;
use crate::notify::Supervisor;
use crate::printer::Printer;
use crate::recovery::{Recovery, sysctl};
use crate::signals::Signals;
use crate::source::receiver::Shared;
use crate::source::record::Recorder;
use crate::source::tuning::{self, Buffer, Settings};
use crate::source::{batch, callback, dump};
use crate::table::Table;
use crate::thin::Share;
use crate::track::Track;
use crate::units::{show_bytes, show_count};
use crate::verdict::Loss;

/// After this time without an event on a terminal, a hint is due.
const SILENCE: Duration = Duration::from_secs(5);

/// Captures until told to stop, prints, and returns the exit status.
///
/// # Errors
///
/// What keeps the capture from starting.
pub fn capture(
    cli: &Cli,
    printer: &Printer,
    supervisor: &Supervisor,
    console: &Console,
) -> Result<u8, Error> {
    let signals = Signals::install().map_err(|error| Error::new(format!("can't take signals: {error}")))?;
    refuse_if_events_are_off()?;
    let sockets = open_sockets(cli, console)?;
    let recorder = cli.write.as_deref().map(start_recording).transpose()?;
    let track = cli.track.then(Track::start).transpose()?;

    let intake = Intake::new(Table::new(cli.max_flows));
    let resources = |error: io::Error| Error::new(format!("can't start the capture: {error}"));
    let handles: Vec<&Handle> = sockets.iter().map(|(handle, _)| handle).collect();
    let recovery = Recovery::new(&intake, &handles, cli.reliable).map_err(resources)?;
    let shared = Shared::new(&intake, recorder).map_err(resources)?;
    let mut loss = Loss::default();

    thread::scope(|scope| {
        let receivers: Vec<_> = sockets
            .into_iter()
            .map(|(handle, buffer)| {
                let shared = &shared;
                scope.spawn(move || receive(cli.source, handle, buffer, shared))
            })
            .collect();
        let (watch_on, watch_end) = mpsc::channel::<()>();
        let watcher = scope.spawn(|| {
            let watch_end = watch_end;
            recovery.watch(|time| watch_end.recv_timeout(time) == Err(mpsc::RecvTimeoutError::Timeout));
        });
        let (print, requests) = mpsc::channel::<()>();
        let lists = scope.spawn(|| {
            for () in requests {
                supervisor.printing();
                if printer.print(intake.table()).is_err_and(|error| printer.is_gone(&error, console)) {
                    signals.request_end();
                }
                supervisor.printed();
            }
        });
        if cli.existing {
            match dump::merge(&intake) {
                Ok(tally) => console.detail(&format!("{} open connections", show_count(tally.recovered))),
                Err(error) => loss.other.push(format!("open connections not read: {error}")),
            }
        }

        supervisor.ready(console);
        let began = Instant::now();
        let ended_alone = wait(cli, &signals, &shared, &recovery, supervisor, console, || {
            // The printer is gone only if it has panicked, and then joining it tells.
            let _ = print.send(());
        }, || receivers.iter().any(thread::ScopedJoinHandle::is_finished));
        console.clear_status();
        supervisor.stopping();

        // From here on nothing new is queued, so that even under a flood the queues run empty.
        if let Err(error) = recovery.cut_off() {
            loss.other.push(format!("the end is not exact: {error}"));
        }
        shared.stop();
        for receiver in receivers {
            match receiver.join() {
                Ok(Ok(())) => {}
                Ok(Err(error)) => loss.other.push(format!("receiving ended: {error}")),
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
        let _ = ended_alone;
        console.detail(&format!(
            "{} events in {:.1} s, {} flows",
            show_count(intake.tally().events),
            began.elapsed().as_secs_f64(),
            show_count(intake.table().len() as u64),
        ));
    });
    drop(track);

    judge(&mut loss, &intake, &recovery, cli.reliable);
    let mut status = printer.finish(intake.table(), console);
    let verdict = loss.verdict();
    if verdict == crate::verdict::Verdict::Complete {
        console.detail(&verdict.to_string());
    } else {
        console.note(&verdict.to_string());
    }
    if let Some(Err(error)) = shared.recorder.map(Recorder::finish) {
        let path = cli.write.as_deref().unwrap_or_else(|| "-".as_ref());
        console.error(&format!("{}: {error}; the recording ends there", path.display()));
        status = 1;
    }
    Ok(if status == 0 { verdict.exit_status() } else { status })
}

fn refuse_if_events_are_off() -> Result<(), Error> {
    match sysctl("nf_conntrack_events") {
        Some(0) => Err(Error::new(
            "conntrack events are switched off: switch them on with \
             sysctl -w net.netfilter.nf_conntrack_events=1",
        )),
        _ => Ok(()),
    }
}

fn open_sockets(cli: &Cli, console: &Console) -> Result<Vec<(Handle, Buffer)>, Error> {
    let settings = Settings {
        buffer_bytes: cli.buffer,
        buffer_max_bytes: cli.buffer_max.max(cli.buffer),
        // A recording is to hold what the kernel sent, not what this list needs of it.
        thin: !cli.no_thin && cli.write.is_none(),
        reliable: cli.reliable,
    };
    let sockets = (0..cli.workers)
        .map(|index| tuning::open(&settings, Share { index, of: cli.workers }))
        .collect::<io::Result<Vec<_>>>()
        .map_err(|error| Error::listen(&error))?;
    for (_, buffer) in &sockets {
        let granted = format!(
            "receive buffer of {} ({} events)",
            show_bytes(buffer.granted_bytes().into()),
            show_count(buffer.granted_events().into()),
        );
        if buffer.forced() {
            console.detail(&granted);
        } else {
            console.note(&format!(
                "{granted} only: a larger one needs CAP_NET_ADMIN in the initial user namespace, or \
                 sysctl -w net.core.rmem_max={}",
                cli.buffer
            ));
        }
    }
    Ok(sockets)
}

fn start_recording(path: &std::path::Path) -> Result<Recorder, Error> {
    let file = if path.as_os_str() == "-" {
        use std::os::fd::AsFd;
        io::stdout().as_fd().try_clone_to_owned().map(File::from)
    } else {
        File::create(path)
    };
    file.and_then(Recorder::new).map_err(|error| Error::file(path, error))
}

fn receive(source: Source, mut handle: Handle, buffer: Buffer, shared: &Shared<'_>) -> io::Result<()> {
    match source {
        Source::Batch => batch::receive(&handle, buffer, shared),
        Source::Callback => callback::receive(&mut handle, buffer, shared),
    }
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
    print: impl Fn(),
    receiver_gone: impl Fn() -> bool,
) -> bool {
    let began = Instant::now();
    let mut rate = Rate::default();
    let mut hinted = cli.track || !console.shows_status();
    loop {
        supervisor.alive();
        signals.drain();
        if signals.end() || receiver_gone() {
            return false;
        }
        if signals.take_print() {
            print();
        }
        let left = cli.duration.map(|duration| duration.saturating_sub(began.elapsed()));
        if left == Some(Duration::ZERO) {
            return true;
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
        let tick = if console.shows_status() { REDRAW } else { Duration::from_secs(1) };
        let time = left.map_or(tick, |left| left.min(tick)).min(supervisor.patience());
        let timeout = Timespec {
            tv_sec: time.as_secs() as i64,
            tv_nsec: time.subsec_nanos().into(),
        };
        let descriptor = signals.descriptor();
        // Interrupted or not: the next round looks at everything.
        let _ = poll(&mut [PollFd::new(&descriptor, PollFlags::IN)], Some(&timeout));
    }
}

fn judge(loss: &mut Loss, intake: &Intake, recovery: &Recovery<'_>, asked_reliable: bool) {
    let tally = intake.tally();
    loss.missed = recovery.missed();
    loss.resynced = recovery.resynced();
    loss.recovered = tally.recovered;
    loss.reliable = recovery.reliable();
    loss.refused = intake.table().refused();
    loss.malformed = tally.malformed;
    if let (false, Some(failure)) = (loss.resynced, recovery.failure()) {
        loss.other.push(failure);
    }
    if asked_reliable && recovery.gave_up() {
        loss.other.push(
            "--reliable was given up: undelivered events had the connection table three quarters full".into(),
        );
    }
}
