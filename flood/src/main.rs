//! Creates synthetic conntrack entries, for tests and benches of conntracker.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{CommandFactory, Parser};
use conntracker_flood::flow::{Family, Profile, Protocol};
use conntracker_flood::limits::Limits;
use conntracker_flood::model::Model;
use conntracker_flood::namespace;
use conntracker_flood::pcap;
use conntracker_flood::run::{self, Manner, Outcome};
use conntracker_flood::sender;
use conntracker_flood::settings::{Repeat, Settings};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

type Failure = Box<dyn std::error::Error>;

/// Creates conntrack entries through ctnetlink, or writes the events they would cause into a capture file.
///
/// The entries go into the network namespace it is run in, or into --netns; the host's is refused. No packet is
/// sent, and no rule is needed there. Listeners have to be there before the entries are.
/// The same numbers and the same seed make the same stream.
///
/// Exit status: 0 if all went well, also after an interrupt; 1 if something failed or the kernel refused an entry;
/// 2 if the arguments are wrong.
#[derive(Parser, Debug)]
#[command(
    name = "conntracker-flood",
    version,
    max_term_width = 110,
    after_help = "\
Examples:
  ip netns exec NAME conntracker-flood --entries 300000 --list expected.tsv
  conntracker-flood --netns NAME --entries 600000 --distinct 1000 --replied 50 --rate 20000
  conntracker-flood --entries 1000000 --family mixed --pcap flood.pcap --list expected.tsv"
)]
struct Arguments {
    /// NEW and UPDATE events in all.
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    entries: u64,

    /// Distinct flows as conntracker counts them [default: as many as the events suffice for].
    #[arg(long, value_name = "D", value_parser = clap::value_parser!(u64).range(1..))]
    distinct: Option<u64>,

    /// Address family; mixed is half and half.
    #[arg(long, default_value = "4", value_parser = PossibleValuesParser::new(["4", "6", "mixed"]).map(|text| family(&text)))]
    family: Family,

    /// Protocols and, after a colon, their shares.
    #[arg(long, value_name = "NAME[:SHARE],...", value_delimiter = ',', default_value = "tcp:70,udp:25,icmp:5",
          value_parser = protocol)]
    proto: Vec<(Protocol, u32)>,

    /// Share of the flows that get a reply, by an UPDATE event; replies count as entries.
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = clap::value_parser!(u8).range(..=100))]
    replied: u8,

    /// Share of the TCP and UDP flows with a source port from 1 to 1024, which is part of the flow.
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = clap::value_parser!(u8).range(..=100))]
    privileged: u8,

    /// What repeats a flow when there are more entries than flows and replies: a new connection from another
    /// source port, or an update of the first one, which takes no further room in the kernel's table.
    #[arg(long, default_value = "new", value_parser = PossibleValuesParser::new(["new", "update"]).map(|text| repeat(&text)))]
    repeat: Repeat,

    /// Events a second, evenly spread; 0 is full speed.
    #[arg(long, value_name = "N[/s]", default_value = "0", value_parser = rate)]
    rate: f64,

    /// Seed of the stream; another seed makes other flows.
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// Life of the entries.
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u32).range(1..))]
    timeout: u32,

    /// The entries live one second, like those of connections that never get further than one packet.
    #[arg(long, conflicts_with = "timeout")]
    one_packet: bool,

    /// Removes the created entries afterwards (DESTROY events).
    #[arg(long)]
    delete: bool,

    /// Sockets, each with a thread of its own.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    threads: u32,

    /// Requests in one system call.
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=512))]
    batch: u32,

    /// Network namespace: a name of ip netns, or a path.
    #[arg(long, value_name = "NAME|PATH")]
    netns: Option<String>,

    /// Goes on even if this is, or cannot be told from, the host's network namespace.
    #[arg(long)]
    force_host: bool,

    /// Writes the flows a listener should end up with, unsorted, tab-separated: class, source, source port,
    /// destination, destination port (for ICMP: type, code), confirmed or unconfirmed.
    #[arg(long, value_name = "FILE|-")]
    list: Option<String>,

    /// Writes the events into a capture file (LINKTYPE_NETLINK) and leaves the kernel alone; needs no privileges.
    #[arg(long, value_name = "FILE|-", conflicts_with_all = ["netns", "force_host", "delete", "threads", "batch"])]
    pcap: Option<String>,
}

fn family(text: &str) -> Family {
    match text {
        "4" => Family::V4,
        "6" => Family::V6,
        _ => Family::Mixed,
    }
}

fn repeat(text: &str) -> Repeat {
    if text == "update" {
        Repeat::Update
    } else {
        Repeat::New
    }
}

fn protocol(text: &str) -> Result<(Protocol, u32), String> {
    let (name, share) = text.split_once(':').unwrap_or((text, "1"));
    let protocol = match name {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        "icmp" => Protocol::Icmp,
        _ => return Err("the protocols are tcp, udp and icmp".into()),
    };
    Ok((
        protocol,
        share
            .parse()
            .map_err(|_| format!("{share} is not a share; write {name}:3"))?,
    ))
}

fn rate(text: &str) -> Result<f64, String> {
    let number: u32 = text
        .trim_end_matches("/s")
        .parse()
        .map_err(|_| "write a number of events a second")?;
    Ok(f64::from(number))
}

impl Arguments {
    fn settings(&self) -> Settings {
        Settings {
            entries: self.entries,
            distinct: self
                .distinct
                .unwrap_or_else(|| Settings::most_distinct(self.entries, self.replied)),
            replied_percent: self.replied,
            repeat: self.repeat,
            profile: Profile {
                family: self.family,
                protocols: self.proto.clone(),
                privileged_percent: self.privileged,
                seed: self.seed,
            },
        }
    }

    fn manner(&self) -> Manner {
        let timeout_s = if self.one_packet { 1 } else { self.timeout };
        Manner {
            threads: self.threads,
            batch: self.batch as usize,
            events_per_s: self.rate,
            timeout_s,
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let settings = arguments.settings();
    if let Err(error) = settings.check() {
        Arguments::command()
            .error(clap::error::ErrorKind::ValueValidation, error)
            .exit();
    }
    match flood(&arguments, &settings) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("conntracker-flood: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Does what the arguments ask for; false if the kernel refused something.
fn flood(arguments: &Arguments, settings: &Settings) -> Result<bool, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    let manner = arguments.manner();
    if let Some(path) = &arguments.pcap {
        let start = Instant::now();
        let mut out = open(path)?;
        let go_on = || !stop.load(Ordering::Relaxed);
        let records = pcap::write(
            &mut out,
            settings,
            manner.timeout_s,
            manner.events_per_s,
            go_on,
        )?;
        out.flush()?;
        summary("written", records, 0, start.elapsed());
        list(arguments, settings, &[records])?;
        return Ok(true);
    }

    if let Some(name) = &arguments.netns {
        namespace::enter(name)?;
    }
    if !arguments.force_host {
        namespace::refuse_host()?;
    }
    Limits::read()?.admit(settings.most_entries())?;

    let outcome = run::send(settings, &manner, &stop).map_err(advised)?;
    summary(
        "sent",
        outcome.tally.sent,
        outcome.tally.errors(),
        outcome.elapsed,
    );
    let mut clean = report(&outcome);
    list(arguments, settings, &outcome.sent)?;
    if arguments.delete {
        // An interrupt of the flood should still clean up; the next one ends that, too.
        stop.store(false, Ordering::Relaxed);
        let removal = run::remove(settings, &manner, &outcome.sent, &stop).map_err(advised)?;
        summary(
            "removed",
            removal.tally.sent,
            removal.tally.errors(),
            removal.elapsed,
        );
        clean &= report(&removal);
    }
    Ok(clean)
}

/// What failed, and what to do about it.
fn advised(error: io::Error) -> Failure {
    let advice = error.raw_os_error().map_or("", sender::advice);
    format!("cannot send to ctnetlink: {error}{advice}").into()
}

fn summary(done: &str, entries: u64, errors: u64, elapsed: Duration) {
    let elapsed_s = elapsed.as_secs_f64();
    let entries_per_s = entries as f64 / elapsed_s.max(1e-9);
    eprintln!(
        "conntracker-flood: {entries} entries {done}, {errors} errors, {elapsed_s:.3} s, {entries_per_s:.0} entries/s"
    );
}

/// Tells what went wrong, if anything, and returns whether nothing did.
fn report(outcome: &Outcome) -> bool {
    for (errno, count) in &outcome.tally.refused {
        let advice = sender::advice(*errno);
        eprintln!(
            "conntracker-flood: {count} times: {}{advice}",
            io::Error::from_raw_os_error(*errno)
        );
    }
    let unanswered = outcome.tally.unanswered_batches;
    if unanswered > 0 {
        eprintln!(
            "conntracker-flood: answers to {unanswered} batches were lost, more errors are possible: a smaller --batch"
        );
    }
    outcome.tally.is_clean()
}

fn list(arguments: &Arguments, settings: &Settings, sent: &[u64]) -> Result<(), Failure> {
    if let Some(path) = &arguments.list {
        let mut out = open(path)?;
        Model::replay(settings, sent).write(&mut out)?;
        out.flush()?;
    }
    Ok(())
}

fn open(path: &str) -> Result<BufWriter<Box<dyn Write>>, Failure> {
    let file: Box<dyn Write> = match path {
        "-" => Box::new(io::stdout()),
        path => {
            Box::new(File::create(path).map_err(|error| format!("cannot write {path}: {error}"))?)
        }
    };
    Ok(BufWriter::with_capacity(1 << 18, file))
}
