//! The real program under a flood in a network namespace of its own, against a receiver that discards
//! everything and, if `CONNTRACKER_REFERENCE` names it, the C tool.
//!
//! `cargo bench --bench live` measures and prints tables; words behind `--` pick sections (backlog,
//! paced, memory, dump, trace). With `--test`, every section runs once in a small form, and what it lists is
//! held against what a replay of the same events lists.
#![allow(missing_docs)] // A program, with its own words in its modules.

#[path = "live/clock.rs"]
mod clock;
#[path = "live/cpus.rs"]
mod cpus;
#[path = "live/discard.rs"]
mod discard;
#[path = "live/figures.rs"]
mod figures;
#[path = "live/load.rs"]
mod load;
#[path = "live/namespace.rs"]
mod namespace;
#[path = "live/process.rs"]
mod process;
#[path = "live/program.rs"]
mod program;
#[path = "live/queue.rs"]
mod queue;
#[path = "live/report.rs"]
mod report;
#[path = "live/room.rs"]
mod room;
#[path = "live/section.rs"]
mod section;
#[path = "live/sink.rs"]
mod sink;
#[path = "live/tracing.rs"]
mod tracing;
#[path = "live/trial.rs"]
mod trial;

use std::process::ExitCode;

use clap::Parser;

use clock::Interrupt;
use namespace::Namespace;
use program::Program;
use room::Room;
use section::Section;

/// What fails a bench.
type Failure = Box<dyn std::error::Error + Send + Sync>;

#[derive(Debug, Parser)]
#[command(name = "live")]
struct Arguments {
    /// Sections to run [default: all]
    #[arg(value_enum)]
    sections: Vec<Section>,

    /// Rounds; tables show the median
    #[arg(long, default_value_t = 3)]
    rounds: usize,

    /// Percentage of the events, for a quick look
    #[arg(long, default_value_t = 100)]
    scale: u64,

    /// Run everything once in a small form and hold the results against the model
    #[arg(long)]
    test: bool,

    /// Is the receiver that discards, with that buffer
    #[arg(long, value_name = "BYTES", hide = true)]
    discard: Option<u32>,

    /// What cargo bench calls every bench with
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(buffer_bytes) = arguments.discard {
        return discard::main(buffer_bytes);
    }
    if let Err(why) = possible() {
        println!("live: skipped: {why}");
        return ExitCode::SUCCESS;
    }
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("live: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Failure> {
    let interrupt = Interrupt::install()?;
    let programs = Program::all();
    let sections = if arguments.sections.is_empty() {
        Section::ALL.to_vec()
    } else {
        arguments.sections.clone()
    };
    let bench = section::Bench {
        interrupt: &interrupt,
        programs: &programs,
        rounds: if arguments.test { 1 } else { arguments.rounds },
        scale_percent: arguments.scale,
        test: arguments.test,
    };
    let _room = Room::new(bench.most_entries(&sections), &interrupt)?;
    sections.iter().try_for_each(|section| bench.run(*section))
}

/// Whether floods can be made here at all.
fn possible() -> Result<(), Failure> {
    if !rustix::process::geteuid().is_root() {
        return Err("needs root, for network namespaces and large buffers".into());
    }
    let namespace = Namespace::new()?;
    namespace.inside(|| {
        std::fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_events")
            .map(drop)
            .map_err(|error| {
                format!("no conntrack events ({error}): modprobe nf_conntrack_netlink").into()
            })
    })
}
