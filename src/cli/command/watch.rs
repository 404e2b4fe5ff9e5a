//! `conntracker watch`.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Args, Parser, ValueEnum};

use super::Conflict;
use super::brief;
use super::check::begins_as_ruleset;
use super::reading::{self, Outcome, Reading, put_list};
use crate::captures::union::Collection;
use crate::check::judge::Judge;
use crate::check::network::Hints;
use crate::check::ruleset::Ruleset;
use crate::check::verdict::{Outcome as Judged, Verdict};
use crate::cli::filters::Filters;
use crate::cli::options::Cli;
use crate::cli::run::{self, Role};
use crate::files::destination::Destination;
use crate::live::watch::Watch as Comparison;
use crate::live::watch::baseline::Baseline;
use crate::live::watch::objection::{Arbiter, Objection};
use crate::live::watch::teller::{Form, Teller};
use crate::model::error::Error;
use crate::model::selection::SourcePorts;
use crate::model::units::{counted, parse_bytes, parse_duration};
use crate::os::host;
use crate::output::layout::{Format as ListFormat, Layout};
use crate::sources::method::Source;
use crate::ui::console::{Console, Verbosity};

/// Shown behind `--help`.
const AFTER_HELP: &str = "\
Examples:
  sudo conntracker --existing --duration 7d --format json -o week.json
  sudo conntracker watch --baseline week.json  what is new since that week
  sudo conntracker watch --baseline week.json --format json >> new.json
  conntracker watch --baseline week.json --accept new.json

Signals:
  SIGINT, SIGTERM, SIGHUP   end

Exit status:
  0  nothing was new or overdue
  1  something was new or overdue
  2  error
  3  flows may have been missed, whatever was reported";

/// Arguments of `conntracker watch`.
#[derive(Clone, Debug, Args)]
#[command(after_help = brief(AFTER_HELP), after_long_help = AFTER_HELP)]
pub struct Watch {
    /// What is expected: captures, in any form that the other commands read, and flows that rulesets accept
    ///
    /// A file that begins like a ruleset of nftables or iptables-save is read as a ruleset: the running kernel judges
    /// which flows it would not accept, as with conntracker check. Several rulesets are judged together. With rulesets
    /// and captures, a flow is expected if the captures have it or the rulesets accept it.
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    pub baseline: Vec<PathBuf>,

    /// Say which flows of FILE are new, add them to the baseline, and end; without FILE, add everything that comes
    /// until the end of the watch
    ///
    /// The baseline has to be one JSON file then, which is replaced atomically by the union. FILE may be the output of
    /// an earlier watch with --format json, or any capture.
    #[arg(long, value_name = "FILE", num_args = 0..)]
    pub accept: Option<Vec<PathBuf>>,

    /// The form of the reports
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = Format::Text)]
    pub format: Format,

    /// Start a program for each report, with the JSON object on its standard input
    ///
    /// The words that follow PROGRAM are its arguments, so this option has to come last. No shell is involved. The
    /// program is started at most ten times in ten seconds, and once at a time; a message and the next object
    /// ("left_out") say how many reports were left out.
    #[arg(long, value_name = "PROGRAM", num_args = 1.., allow_hyphen_values = true)]
    pub exec: Vec<OsString>,

    /// End after TIME (90, 60s, 5m, 1h30m); without it, at Ctrl-C
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub duration: Option<Duration>,

    /// Write figures for Prometheus to FILE every 15 seconds
    #[arg(hide_short_help = true, long, value_name = "FILE")]
    pub metrics_file: Option<PathBuf>,

    /// Have the kernel track connections as long as this program runs
    #[arg(long)]
    pub track: bool,

    /// Also compare the connections that are open at the beginning
    #[arg(long)]
    pub existing: bool,

    /// Miss no short connection, even when events come faster than they can be read
    #[arg(hide_short_help = true, long)]
    pub reliable: bool,

    /// Also look at SCTP, DCCP, UDP-Lite, GRE and the rest
    #[arg(hide_short_help = true, long)]
    pub all_protocols: bool,

    /// Keep at most N flows, and remember at most N that were reported
    #[arg(
        hide_short_help = true,
        long,
        value_name = "N",
        default_value_t = 2_000_000
    )]
    pub max_flows: usize,

    /// Listen in this network namespace: a name of ip-netns(8), a process number, or a path
    #[arg(hide_short_help = true, long, value_name = "NAME|PID|PATH")]
    pub netns: Option<String>,

    /// Listen in every network namespace that has an id or a name here
    #[arg(hide_short_help = true, long)]
    pub all_netns: bool,

    /// How events are received
    #[arg(hide_short_help = true, long, value_enum, default_value_t = Source::Auto)]
    pub source: Source,

    /// Receive buffer to start with (64M, 512K, bytes)
    #[arg(hide_short_help = true, long, value_name = "SIZE", default_value = "64M", value_parser = parse_bytes, allow_negative_numbers = true)]
    pub buffer: u32,

    /// The options that choose flows, of the baseline too.
    #[command(flatten)]
    pub filters: Filters,
}

/// The form of what is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// One line for each report
    Text,
    /// One JSON object a line
    Json,
    /// Entries of systemd's journal, with fields
    Journal,
}

// Exit statuses, as those of diff(1) and `conntracker diff`.
const DIFFERENT: u8 = 1;
const TROUBLE: u8 = 2;

impl Watch {
    /// What its options ask for that can't be.
    pub fn conflict(&self) -> Option<Conflict> {
        let wrong = |why: &'static str| Some((ErrorKind::ArgumentConflict, why.into()));
        if self.filters.confirmed || self.filters.unconfirmed {
            return wrong(
                "--confirmed and --unconfirmed do not go with watch: a flow is reported when it begins, before there can be an \
                 answer",
            );
        }
        match &self.accept {
            Some(_) if self.baseline.len() > 1 => wrong(
                "--accept adds to the baseline, so this has to be one file: conntracker merge makes one of several",
            ),
            Some(files) if !files.is_empty() && !self.exec.is_empty() => {
                wrong("--accept FILE only looks at files: leave out --exec")
            }
            _ => None,
        }
    }

    /// Compares until told to stop, and returns an exit status as diff(1) does. What is wrong is told here, since the status
    /// of an error is another one than that of other commands.
    pub fn run(&self, console: &Console) -> u8 {
        self.watch(console).unwrap_or_else(|error| {
            console.error(&error.to_string());
            TROUBLE
        })
    }

    fn watch(&self, console: &Console) -> Result<u8, Error> {
        let form = match self.format {
            Format::Text => Form::Text,
            Format::Json => Form::Json,
            Format::Journal => Form::Journal,
        };
        let Some(files) = &self.accept else {
            return self.listen(&self.capture(), form, console);
        };
        let [path] = self.baseline.as_slice() else {
            return Err(Error::new("--accept takes one baseline"));
        };
        check_replaceable(path)?;
        if !files.is_empty() {
            return self.accept(path, files, form, console);
        }
        // The capture as other captures are written, then their union.
        let failed =
            |error: io::Error| Error::caused(format!("can't keep what comes: {error}"), error);
        let folder = tempfile::tempdir().map_err(failed)?;
        let capture = Cli {
            output: folder.path().join("seen.json"),
            ..self.capture()
        };
        let status = self.listen(&capture, form, console)?;
        if status == TROUBLE {
            return Ok(status);
        }
        self.unite(path, &[capture.output], console)?;
        Ok(status)
    }

    /// The capture that it takes.
    fn capture(&self) -> Cli {
        let mut capture = Cli::parse_from(["conntracker"]);
        capture.watch.clone_from(&self.baseline);
        capture.watch_exec.clone_from(&self.exec);
        capture.duration = self.duration;
        capture.metrics_file.clone_from(&self.metrics_file);
        capture.track = self.track;
        capture.existing = self.existing;
        capture.reliable = self.reliable;
        capture.all_protocols = self.all_protocols;
        capture.max_flows = self.max_flows;
        capture.netns.clone_from(&self.netns);
        capture.all_netns = self.all_netns;
        capture.source = self.source;
        capture.buffer = self.buffer;
        capture.filters = self.filters.clone();
        capture.layout.format = Some(ListFormat::Json);
        capture
    }

    fn listen(&self, capture: &Cli, form: Form, console: &Console) -> Result<u8, Error> {
        let mut told = false;
        let status = run::start(capture, Role::Watch(form, &mut told), console)?;
        Ok(match status {
            0 if told => DIFFERENT,
            1 => TROUBLE,
            status => status,
        })
    }

    /// Tells which flows of files the baseline does not have, and adds them.
    fn accept(
        &self,
        path: &PathBuf,
        files: &[PathBuf],
        form: Form,
        console: &Console,
    ) -> Result<u8, Error> {
        reading::check_inputs(std::iter::once(path).chain(files))?;
        let filters = &self.filters;
        let comparison = comparison(
            (&self.baseline, filters),
            (form, &[]),
            self.max_flows,
            console,
        )?;
        let reading = reading_of(filters);
        let read = reading.union(files, console)?;
        if read.outcome == Outcome::Unreadable {
            return Ok(TROUBLE);
        }
        let flows = read.content.flows;
        let told = comparison.compare(flows.into_iter().map(|flow| flow.record), console);
        match told {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            told => {
                told.map_err(|error| Error::caused(format!("standard output: {error}"), error))?
            }
        }
        self.unite(path, files, console)?;
        Ok(0)
    }

    /// Replaces the baseline by its union with files.
    fn unite(&self, path: &Path, files: &[PathBuf], console: &Console) -> Result<(), Error> {
        let mut union = Collection::default();
        // What went wrong in reading was told before.
        let quiet = Console::stderr(Verbosity::Quiet);
        // All that it has stays, whatever was looked at.
        let baseline = Reading {
            strict: true,
            filters: Filters {
                source_ports: SourcePorts::Keep,
                ..Filters::default()
            },
        };
        baseline.read(path, &mut union, &quiet)?;
        for file in files {
            reading_of(&self.filters).read(file, &mut union, &quiet)?;
        }
        let mut union = union.finish();
        let destination = Destination::File(path.to_owned());
        let layout = Layout::json();
        put_list(&destination, &layout, &mut union, console)?;
        console.note(&format!(
            "{}: the baseline has {} now",
            path.display(),
            counted(union.flows.len() as u64, "flow")
        ));
        Ok(())
    }
}

/// How a baseline is read: of what is looked at, whether it was answered or not.
fn reading_of(filters: &Filters) -> Reading {
    Reading {
        strict: false,
        filters: Filters {
            confirmed: false,
            unconfirmed: false,
            ..filters.clone()
        },
    }
}

/// What captures are compared with.
///
/// Errors: a baseline that can't be read, or nothing of it; what keeps from telling.
pub fn comparison(
    (baseline, filters): (&[PathBuf], &Filters),
    (form, exec): (Form, &[OsString]),
    max: usize,
    console: &Console,
) -> Result<Comparison, Error> {
    reading::check_inputs(baseline)?;
    let (rulesets, captures): (Vec<&PathBuf>, Vec<&PathBuf>) =
        { baseline.iter() }.partition(|path| begins_as_ruleset(path));
    let arbiter = (!rulesets.is_empty()).then(|| arbiter(&rulesets, console));
    let arbiter = arbiter.transpose()?;
    let read = reading_of(filters).union(captures, console)?;
    if read.outcome == Outcome::Unreadable {
        return Err(Error::new(
            "nothing of a baseline could be read, so that everything would be new: name captures, or rulesets \
             as nft -f and iptables-restore read them",
        ));
    }
    if read.outcome == Outcome::Incomplete {
        console.note("the baseline may lack flows, which are then reported as new when they come");
    }
    let keep_ports = filters.source_ports == SourcePorts::Keep;
    let baseline = Baseline::new(read.content, keep_ports);
    let comparison = Comparison::new(baseline, Teller::new(form, exec)?, max);
    Ok(match arbiter {
        Some(arbiter) => comparison.or_accepted_by(arbiter),
        None => comparison,
    })
}

/// Refuses rulesets in the baseline of a daemon, which gives up the right to make namespaces.
///
/// Errors: there is one.
pub fn refuse_rulesets(baseline: &[PathBuf]) -> Result<(), Error> {
    match baseline.iter().find(|path| begins_as_ruleset(path)) {
        Some(path) => Err(Error::file(
            path,
            "is a ruleset, by which a daemon can't judge, since it starts no other programs: run conntracker watch --baseline \
             beside it",
        )),
        None => Ok(()),
    }
}

/// Judges by rulesets, in a network namespace of their own that has this one's addresses and routes as they are now.
///
/// Errors: those of `conntracker check`.
fn arbiter(paths: &[&PathBuf], console: &Console) -> Result<Arbiter, Error> {
    let rulesets = paths.iter().map(|path| Ruleset::read(path));
    let rulesets: Vec<Ruleset> = rulesets.collect::<Result<_, _>>()?;
    let (here, unknown) = host::describe();
    for why in unknown {
        console.note(&format!(
            "flows are judged without all of this host's network: {why}"
        ));
    }
    let mut judge = Judge::new(&rulesets, &[here], &Hints::default())?;
    for limit in judge.limits() {
        console.note(&format!("the ruleset: {limit}"));
    }
    Ok(Arbiter::new(Box::new(move |records| {
        let verdicts = judge.judge(records, &mut |_| {})?;
        Ok(verdicts.iter().map(objection).collect())
    })))
}

/// What a verdict has against a flow: of the packets that were judged, the first that was not accepted.
fn objection(verdict: &Verdict) -> Option<Objection> {
    let packets = [
        Some(&verdict.first),
        verdict.reply.as_ref(),
        verdict.later.as_ref(),
    ];
    let mut packets = packets.into_iter().flatten();
    let against = packets.find(|outcome| **outcome != Judged::Accepted)?;
    let rule = against.rule().map(|rule| {
        let (family, table, chain) = (&rule.family, &rule.table, &rule.chain);
        format!("{family} {table} {chain}: {}", rule.text)
    });
    let reason = [against.reason().map(str::to_owned), rule];
    let reason: Vec<String> = reason.into_iter().flatten().collect();
    Some(Objection {
        verdict: against.name(),
        reason: reason.join("; "),
    })
}

/// Refuses a baseline that would not be what it was if JSON took its place.
fn check_replaceable(path: &Path) -> Result<(), Error> {
    let failed = |error: io::Error| Error::file(path, error);
    let mut begin = [0; 16];
    let found = std::fs::metadata(path).map_err(failed)?;
    let json = br#"{"type":"capture"#;
    let read = found
        .is_file()
        .then(|| File::open(path)?.read_exact(&mut begin));
    if !matches!(read, Some(Ok(()))) || begin != *json {
        return Err(Error::file(
            path,
            "is no JSON capture, which --accept would replace it by: make one of it with conntracker merge FILE -o \
             baseline.json, and name that",
        ));
    }
    let destination = Destination::File(path.to_owned());
    destination
        .check()
        .map_err(|error| Error::unwritable(path, error))
}
