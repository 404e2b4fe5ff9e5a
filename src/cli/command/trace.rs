//! `conntracker trace`.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};

use super::brief;
use super::reading;
use crate::files::destination::Destination;
use crate::model::error::Error;
use crate::model::path::Outcome;
use crate::model::units::{agree, counted, parse_duration, show_count};
use crate::os::namespace;
use crate::os::signals::Signals;
use crate::trace::drops::Drops;
use crate::trace::listener::Listener;
use crate::trace::report::Report;
use crate::trace::ruleset::Ruleset;
use crate::ui::console::{Console, REDRAW};

/// Shown behind `--help`.
const AFTER_HELP: &str = "\
Examples:
  sudo conntracker trace --denied   what is being stopped, once each, and by what
  sudo conntracker trace --duration 1h --by-rule
  sudo conntracker trace --format json -o flows.json

Notes:
  The program follows the first packet of each distinct flow through the rules
  of nftables and iptables-nft, and with --iptables-legacy through those of
  iptables-legacy too. It touches none of your rules: a table of its own picks
  the packets, and is gone when the program ends, however it ends.

Signals:
  SIGINT, SIGTERM, SIGHUP   print the list and end
  SIGUSR1                   print the list and go on

Exit status:
  0  the list is complete
  1  error
  2  bad arguments
  3  flows may be missing; standard error says why";

/// Arguments of `conntracker trace`.
#[derive(Clone, Debug, Args)]
#[command(after_help = brief(AFTER_HELP), after_long_help = AFTER_HELP)]
pub struct Trace {
    /// List only flows that were dropped or rejected
    #[arg(long, conflicts_with = "by_rule")]
    pub denied: bool,

    /// List the rules that are loaded, with the number of flows that each decided on
    #[arg(long)]
    pub by_rule: bool,

    /// The form of the list
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = Format::Text)]
    pub format: Format,

    /// Print the list and end after TIME (90, 60s, 5m, 1h30m); without it, at Ctrl-C
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub duration: Option<Duration>,

    /// Write the list to FILE, replaced atomically; - means standard output
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    pub output: PathBuf,

    /// Listen in this network namespace: a name of ip-netns(8), a process number, or a path
    #[arg(long, value_name = "NAME")]
    pub netns: Option<String>,

    /// Also follow flows through the rules of iptables-legacy
    ///
    /// While it runs, the program sets the logger for packets of this network namespace
    /// (/proc/sys/net/netfilter/nf_log) to nfnetlink_log. It restores the earlier logger at its end. If it is killed,
    /// the next start with this option does so. Meanwhile the kernel's messages about invalid packets
    /// (nf_conntrack_log_invalid) come here and not to its log.
    #[arg(long)]
    pub iptables_legacy: bool,

    /// Also count the packets of each flow that were dropped
    ///
    /// A BPF program counts them at the tracepoint of packets that the kernel throws away (Linux 5.18 or later,
    /// CAP_PERFMON). Without this option the list says which flows were stopped, but not how often.
    #[arg(long)]
    pub count_drops: bool,

    /// Follow at most N distinct flows
    #[arg(hide_short_help = true, long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_flows: u32,
}

/// The form of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A line for each flow
    Text,
    /// One JSON object a line
    Json,
}

impl Trace {
    /// Listens until told to stop, prints, and returns the exit status.
    ///
    /// Errors: no privilege, or what the kernel or this machine lacks.
    pub fn run(&self, console: &Console) -> Result<u8, Error> {
        Destination::new(&self.output)
            .check()
            .map_err(|error| Error::unwritable(&self.output, error))?;
        if let Some(name) = &self.netns {
            namespace::enter(name)
                .map_err(|error| Error::caused(format!("--netns: {error}"), error))?;
        }
        let signals = Signals::install()
            .map_err(|error| Error::caused(format!("can't take signals: {error}"), error))?;
        // Whoever lacks nft(8) is told before waiting for an hour.
        let mut before = texts()?;
        // Before any flow can be listed, so that its first packet is counted too.
        let drops = self.count_drops.then(|| Drops::start(self.max_flows));
        let drops = drops.transpose().map_err(|error| refused(&error))?;
        let mut listener =
            Listener::new(self.max_flows, self.iptables_legacy).map_err(|error| refused(&error))?;
        if self.iptables_legacy {
            before = listener.ruleset().map_err(unreadable)?;
        }
        console.detail("tracing the first packet of each flow");
        let began = Instant::now();
        let list = |listener: &mut Listener| {
            console.clear_status();
            self.list(listener, drops.as_ref(), (&before, began), console)
        };
        loop {
            signals.drain();
            let left = self
                .duration
                .map(|duration| duration.saturating_sub(began.elapsed()));
            if signals.end() || left == Some(Duration::ZERO) {
                break;
            }
            if signals.take_print() {
                list(&mut listener)?;
            }
            if console.shows_status() {
                let (all, denied) = listener.paths().counts();
                let (all, denied) = (counted(all, "flow"), show_count(denied));
                console.draw(&format!("{all}, {denied} of them denied"));
            }
            let time = left.map_or(REDRAW, |left| left.min(REDRAW));
            let listened = listener.listen(signals.descriptor(), time);
            listened.map_err(|error| lost(&error))?;
        }
        // What was under way has a moment to come to its end.
        let listened = listener.listen(signals.descriptor(), LAST);
        listened.map_err(|error| lost(&error))?;
        list(&mut listener)
    }

    /// Prints what has come up to now, and returns the exit status.
    fn list(
        &self,
        listener: &mut Listener,
        drops: Option<&Drops>,
        (before, began): (&Ruleset, Instant),
        console: &Console,
    ) -> Result<u8, Error> {
        let ruleset = listener.ruleset().map_err(unreadable)?;
        let mut reasons = listener.reasons();
        let counts = drops.map(Drops::counts).transpose();
        let counts = counts.map_err(|error| {
            Error::caused(format!("--count-drops: can't be read: {error}"), error)
        })?;
        let uncounted = counts.as_ref().map_or(0, |counts| counts.uncounted);
        if uncounted > 0 {
            reasons.push(format!(
                "{} {} dropped and {} in no count, since no more than --max-flows are kept (at most 131,072)",
                counted(uncounted, "packet"),
                agree(uncounted, "was", "were"),
                agree(uncounted, "is", "are")
            ));
        }
        let mut flows: Vec<_> = listener.paths().iter().collect();
        if self.denied {
            flows.retain(|(_, path)| path.outcome() == Outcome::Dropped);
        }
        flows.sort_by_key(|(tuple, _)| {
            (
                tuple.source,
                tuple.destination,
                tuple.protocol,
                tuple.service,
            )
        });
        let report = Report {
            flows,
            ruleset: &ruleset,
            before,
            drops: counts.as_ref(),
            reasons: &reasons,
            seconds: began.elapsed().as_secs(),
        };
        reading::put(&Destination::new(&self.output), console, |out| {
            match (self.format, self.by_rule) {
                (Format::Text, false) => report.write_text(out),
                (Format::Json, false) => report.write_json(out),
                (Format::Text, true) => report.write_by_rule(out),
                (Format::Json, true) => report.write_by_rule_json(out),
            }
        })?;
        if report.flows.is_empty() && !self.denied {
            console.note(if ruleset.chains().next().is_none() {
                "no flow began, and no rules are loaded here"
            } else {
                "no flow began while it listened"
            });
        }
        for reason in &reasons {
            console.note(&format!("the list is incomplete: {reason}"));
        }
        Ok(if reasons.is_empty() { 0 } else { INCOMPLETE })
    }
}

/// Exit status of a list that may lack flows.
const INCOMPLETE: u8 = 3;
/// How long events are still taken in when told to stop.
const LAST: Duration = Duration::from_millis(50);

fn texts() -> Result<Ruleset, Error> {
    Ruleset::read().map_err(unreadable)
}

fn unreadable(error: std::io::Error) -> Error {
    let why = match error.to_string() {
        text if text.contains("Operation not permitted") => {
            "tracing rules needs CAP_NET_ADMIN: run with sudo".to_owned()
        }
        text => {
            format!("nft, which writes rules as text, can't be used: {text} (package nftables)")
        }
    };
    Error::caused(why, error)
}

fn lost(error: &std::io::Error) -> Error {
    Error::new(format!("tracing ended: {error}"))
}

fn refused(error: &std::io::Error) -> Error {
    Error::new(match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => {
            "tracing rules needs CAP_NET_ADMIN: run with sudo".to_owned()
        }
        // Of --iptables-legacy, in words.
        None => error.to_string(),
        Some(_) => format!(
            "this kernel refuses the table that picks packets ({error}): it takes nf_tables with nft_ct and dynamic sets, \
             Linux 4.1 or later"
        ),
    })
}
