//! A live capture from its start to its verdict.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::thread;

use netfilter_conntrack::Handle;

use crate::files::destination::Destination;
use crate::intake::Intake;
use crate::live::conditions::{Conditions, Wanted};
use crate::live::description;
use crate::live::dumps::Dumps;
use crate::live::kernel_stat::KernelStat;
use crate::live::listen::{self, Socket};
use crate::live::lookups::Lookups;
use crate::live::monitor::Monitor;
use crate::live::options::CaptureOptions;
use crate::live::recovery::{Recovery, Sockets};
use crate::live::rulings::Rulings;
use crate::live::session::crew::Crew;
use crate::live::session::view::{View, Viewer};
use crate::live::session::{Outcome, Session};
use crate::live::state::State;
use crate::live::track::Track;
use crate::live::watch::Watch;
use crate::model::error::Error;
use crate::model::units::{counted, show_bytes};
use crate::model::verdict::{Loss, Verdict};
use crate::os::signals::Signals;
use crate::os::sysctl::sysctl;
use crate::output::printer::Printer;
use crate::service::notify::Supervisor;
use crate::sources::receiver::Shared;
use crate::sources::record::Recorder;
use crate::ui::console::Console;

/// Captures until told to stop, prints, and returns the exit status. Whoever looks at it decides when that is.
///
/// Errors: what keeps the capture from starting.
pub fn capture(
    options: &CaptureOptions,
    intake: &Intake,
    (printer, state): (&Printer, Option<&State>),
    (monitor, watch, lookups): (Option<&Monitor>, Option<&Watch>, Option<&Lookups>),
    viewer: Option<&mut dyn Viewer>,
    supervisor: &Supervisor,
    console: &Console,
) -> Result<u8, Error> {
    let signals = Signals::install()
        .map_err(|error| Error::caused(format!("can't take signals: {error}"), error))?;
    listen::refuse_if_events_are_off()?;
    let kernel_stat = KernelStat::start(intake)?;
    // Before anybody listens, so that what changes from then on is seen to have changed.
    let conditions = Conditions::new(
        options.netns.as_deref(),
        Wanted {
            ipv4: !options.selection.ipv6,
            ipv6: !options.selection.ipv4,
            track: options.track,
            ends: options.reception.reliable,
        },
        intake,
    );
    let mut reception = options.reception.clone();
    if reception.more_than_flows && conditions.keep_events_back() {
        // Without its first event, which side opened a connection is found out from others: each has to be decoded.
        let why = "a rule or a setting that keeps events of connections back";
        reception.unfit_for_kernel.get_or_insert(why);
    }
    let sockets = listen::open(&reception, console)?;
    let recorder = options.write.as_deref().map(start_recording).transpose()?;
    let track = options.track.then(Track::start).transpose()?;
    let rulings = { options.rules.as_ref() }
        .map(|rules| {
            Rulings::start(
                options.reception.max_flows,
                *rules,
                options.selection.clone(),
            )
        })
        .transpose()?;

    let handles: Vec<&Handle> = sockets.iter().map(|socket| &socket.handle).collect();
    let keeps_back = sockets.iter().any(|socket| socket.method.keeps_back());
    let shared = Shared::new(intake, recorder, sockets.len(), keeps_back).map_err(resources)?;
    // Whether a flow that is listed stays so until the end.
    let keeps_all = !options.reset && options.forget.is_none() && state.is_none();
    let early = sockets.iter().map(|socket| socket.buffer.early_drops());
    let early = early.map(u64::from).sum();
    let maps = sockets.iter().filter_map(|socket| socket.method.memory());
    let watched = Sockets::new(&handles, &shared, early, maps.collect()).map_err(resources)?;
    // After somebody listens. Of other namespaces' entries nothing is known.
    let older = match intake.namespaces() {
        None => sysctl("nf_conntrack_count").unwrap_or(u64::MAX),
        Some(_) => u64::MAX,
    };
    let recovery = Recovery::new(
        intake,
        watched,
        older,
        (options.reception.reliable, keeps_all),
    );
    let mut sources: Vec<&str> = sockets.iter().map(|socket| socket.method.name()).collect();
    sources.dedup();
    let mut begun = description::begin(options, &sources.join(" "));
    if let Some(state) = state {
        begun = state.go_on(begun, intake, console)?;
    }
    let dumps = Dumps::new(
        intake,
        printer,
        state,
        (options.reset, options.forget),
        (rulings.as_ref(), lookups),
        begun,
    );
    let session = Session::new(
        options,
        intake,
        (&shared, &recovery, &dumps),
        (&conditions, &kernel_stat),
        (printer, monitor, watch),
        (rulings.as_ref(), lookups),
        (supervisor, &signals, console),
    );

    if let Some(watch) = watch {
        watch.begin(intake, console);
    }
    run(&session, sockets, viewer)?;
    drop(track);

    let Outcome { loss, failed } = session.outcome();
    // Of all intervals: one list that lacks flows makes the run one that does.
    let verdict = dumps.with_earlier_runs(loss.clone()).verdict();
    let report = recovery.report();
    if let Some(bytes) = report.memory.and_then(|memory| memory.bytes) {
        console.detail(&format!(
            "source kernel: {} of kernel memory at the end",
            show_bytes(bytes)
        ));
    }
    // The recording first: whatever may come of the list, it is whole.
    let recorded = shared.recorder.map_or(Ok(None), |recorder| {
        recorder.finish(not_recorded(&loss, options.existing))
    });
    let printed = dumps.finish(&loss, console);
    if let Some(monitor) = monitor {
        monitor.write(intake, report, &loss, (&dumps, watch), console);
    }
    if let Some(watch) = watch {
        watch.finish(console);
    }
    say_verdict(&verdict, &conditions.unseen(intake), console);
    if let Some(path) = &options.write {
        say_recorded(path, &recorded, console);
    }
    Ok(match recorded {
        _ if failed || printed == 1 => 1,
        Err(_) => 1,
        Ok(Some(_)) => INCOMPLETE,
        Ok(None) => verdict.exit_status().max(printed),
    })
}

/// Why a capture can't be set up once its sockets are open.
fn resources(error: io::Error) -> Error {
    let message = match error.kind() {
        // pthread_create(3).
        io::ErrorKind::WouldBlock => {
            "can't start the capture: no thread can be made, since the limit of \
             processes is reached (ulimit -u, or TasksMax= of the service)"
                .to_owned()
        }
        _ => format!("can't start the capture: {error}"),
    };
    Error::caused(message, error)
}

/// Runs the threads of a capture until it is told to stop, and ends it.
fn run<'a>(
    session: &Session<'a>,
    sockets: Vec<Socket>,
    viewer: Option<&mut dyn Viewer>,
) -> Result<(), Error> {
    thread::scope(|scope| {
        let crew = Crew::start(scope, session, sockets).map_err(resources)?;
        let ran = catch_unwind(AssertUnwindSafe(|| {
            session.begin(&crew);
            match viewer {
                Some(viewer) => viewer.watch(&View::new(session)),
                None => session.wait(&crew),
            }
        }));
        if let Err(panic) = ran {
            session.failed("waiting", &*panic);
        }
        session.end(crew);
        Ok(())
    })
}

/// So many namespaces are named that could not be looked at.
const UNSEEN_NAMED: usize = 20;

/// Says how complete the list is, and which namespaces could not be looked at.
fn say_verdict(verdict: &Verdict, unseen: &[Arc<str>], console: &Console) {
    if *verdict == Verdict::Complete {
        console.detail(&verdict.to_string());
    } else {
        console.note(&verdict.to_string());
    }
    if !unseen.is_empty() {
        let named = &unseen[..unseen.len().min(UNSEEN_NAMED)];
        let more = match unseen.len() - named.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        console.note(&format!(
            "these network namespaces could not be looked at, or not up to their end, so it is not known whether events \
             were switched off or kept back in them: {}{more}",
            named.join(", ")
        ));
    }
}

/// Says what is wrong with a recording, if anything is: what it lacks, or why it could not be written to its end.
fn say_recorded(path: &Path, recorded: &io::Result<Option<String>>, console: &Console) {
    let path = path.display();
    match recorded {
        Ok(None) => {}
        Ok(Some(why)) => console.error(&format!("{path}: the recording is incomplete: {why}")),
        Err(error) => console.error(&format!("{path}: {error}; the recording ends there")),
    }
}

/// Exit status of a recording that lacks events; the list need not.
const INCOMPLETE: u8 = 3;

/// Why events are not in a recording. What was read from the kernel's table makes up for them in the list, and is no
/// event.
fn not_recorded(loss: &Loss, existing: bool) -> Vec<String> {
    let mut reasons = [&loss.other[..], &loss.over, &loss.effects].concat();
    if loss.missed > 0 {
        reasons.push(format!("up to {} missed", counted(loss.missed, "event")));
    }
    if existing {
        reasons.push(
            "the connections that were open at the beginning (--existing) are in the list, not in the recording"
                .to_owned(),
        );
    }
    reasons
}

fn start_recording(path: &Path) -> Result<Recorder, Error> {
    let file = Destination::new(path).open();
    file.and_then(Recorder::new)
        .map_err(|error| Error::file(path, error))
}
