//! The sections of the bench, and their workloads.

use clap::ValueEnum;

use crate::Failure;
use crate::clock::Interrupt;
use crate::figures::median;
use crate::load::Load;
use crate::program::Program;
use crate::report::{self, Series};
use crate::sink::Kind;
use crate::tracing;
use crate::trial::{Form, Trial, unheard};

/// Nearly the most a buffer can be: SO_RCVBUF is an int.
const BACKLOG: Form = Form::Backlog {
    buffer_bytes: 2_047 << 20,
};
/// Events of a workload in `--test`.
const TEST_EVENTS: u64 = 5_000;
/// Rates of the paced section in events a second, and for how many events. The last is full speed.
const PACES: [(u64, u64); 6] = [
    (1_000, 3_000),
    (10_000, 30_000),
    (30_000, 90_000),
    (60_000, 180_000),
    (100_000, 300_000),
    (0, 300_000),
];

/// A section.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Section {
    /// Events out of a full buffer.
    Backlog,
    /// Events as they come.
    Paced,
    /// A million flows.
    Memory,
    /// The end, to a file and to a pipe.
    Dump,
    /// What it costs the sender that packets are followed through the rules.
    Trace,
}

/// A workload of a section.
struct Workload {
    title: String,
    load: Load,
    form: Form,
    sink: Kind,
}

impl Section {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Backlog,
        Self::Paced,
        Self::Memory,
        Self::Dump,
        Self::Trace,
    ];

    fn workloads(self) -> Vec<Workload> {
        let of = |title: &str, load, form, sink| Workload {
            title: title.into(),
            load,
            form,
            sink,
        };
        match self {
            Self::Backlog => {
                let repeating = Load {
                    flows: 1_000,
                    ..Load::distinct(600_000)
                };
                let v6 = Load {
                    v6: true,
                    ..Load::distinct(200_000)
                };
                vec![
                    of(
                        "Backlog: 600,000 distinct IPv4 flows",
                        Load::distinct(600_000),
                        BACKLOG,
                        Kind::File,
                    ),
                    of(
                        "Backlog: 600,000 events of 1,000 IPv4 flows",
                        repeating,
                        BACKLOG,
                        Kind::File,
                    ),
                    of(
                        "Backlog: 200,000 distinct IPv6 flows",
                        v6,
                        BACKLOG,
                        Kind::File,
                    ),
                ]
            }
            Self::Paced => PACES
                .into_iter()
                .map(|(rate, events)| {
                    let title = match rate {
                        0 => "Paced: full speed, distinct IPv4 flows".into(),
                        rate => format!("Paced: {rate} events/s, distinct IPv4 flows"),
                    };
                    let load = Load {
                        rate,
                        ..Load::distinct(events)
                    };
                    of(&title, load, Form::Paced, Kind::File)
                })
                .collect(),
            Self::Memory => vec![of(
                "Memory: 1,000,000 distinct IPv4 flows",
                Load::distinct(1_000_000),
                BACKLOG,
                Kind::File,
            )],
            Self::Dump => [(Kind::File, "file"), (Kind::Pipe, "pipe")]
                .map(|(sink, name)| {
                    let title = format!("Dump: 600,000 distinct IPv4 flows to a {name}");
                    of(&title, Load::distinct(600_000), BACKLOG, sink)
                })
                .into(),
            // Of packets, not of events.
            Self::Trace => Vec::new(),
        }
    }
}

/// How the sections are run.
#[derive(Clone, Copy, Debug)]
pub struct Bench<'a> {
    /// Ends it.
    pub interrupt: &'a Interrupt,
    /// What is compared.
    pub programs: &'a [Program],
    /// Trials of each program in each workload.
    pub rounds: usize,
    /// Percentage of the events.
    pub scale_percent: u64,
    /// Whether results are asserted, and the workloads small.
    pub test: bool,
}

impl Bench<'_> {
    /// The most entries that any workload makes.
    pub fn most_entries(&self, sections: &[Section]) -> u64 {
        sections
            .iter()
            .flat_map(|section| section.workloads())
            .map(|workload| self.scaled(workload.load).events)
            .max()
            .unwrap_or(tracing::CONNECTIONS)
    }

    fn scaled(&self, load: Load) -> Load {
        let events = if self.test {
            TEST_EVENTS.min(load.events)
        } else {
            (load.events * self.scale_percent / 100).max(1_000)
        };
        Load {
            events,
            flows: load.flows.min(events),
            // The slow paces are as right for a test when they are fast.
            rate: if self.test && load.rate > 0 {
                load.rate.max(10_000)
            } else {
                load.rate
            },
            ..load
        }
    }

    /// Runs one section and prints its tables.
    pub fn run(&self, section: Section) -> Result<(), Failure> {
        if section == Section::Trace {
            return tracing::run(self.rounds, self.scale_percent, self.test, self.interrupt);
        }
        for workload in section.workloads() {
            let workload = Workload {
                load: self.scaled(workload.load),
                ..workload
            };
            if self.test {
                self.hold(&workload)?;
                continue;
            }
            let (unheard_us, series) = self.measure(&workload)?;
            if workload.form == Form::Paced {
                report::paced(&workload.title, unheard_us, &series);
            } else {
                report::backlog(&workload.title, unheard_us, &series);
            }
        }
        Ok(())
    }

    /// All rounds of a workload, each with every program, so that what the machine does besides comes
    /// over all of them alike.
    fn measure(&self, workload: &Workload) -> Result<(f64, Vec<Series>), Failure> {
        let mut all: Vec<Series> = self
            .programs
            .iter()
            .map(|program| Series {
                name: program.name(),
                lists: program.lists(),
                trials: Vec::new(),
            })
            .collect();
        let mut unheard_us = Vec::new();
        for _ in 0..self.rounds {
            unheard_us.push(unheard(&workload.load, workload.form, self.interrupt)?);
            for (program, series) in self.programs.iter().zip(&mut all) {
                let trial = workload.trial(program, self.test);
                let outcome = trial
                    .run(self.interrupt)
                    .map_err(|failure| format!("{}, {}: {failure}", workload.title, series.name))?;
                series.trials.push(outcome.figures);
            }
        }
        Ok((median(unheard_us), all))
    }

    /// Runs a workload with every program and asserts the outcome.
    fn hold(&self, workload: &Workload) -> Result<(), Failure> {
        let expected = workload.load.expected()?;
        for program in self.programs {
            let outcome = workload.trial(program, self.test).run(self.interrupt)?;
            let figures = outcome.figures;
            let what = format!("{}, {}: {figures:?}", workload.title, program.name());
            // The C tool gives up when its small buffer overflows.
            if matches!(program, Program::Reference(_)) && figures.status != 0 {
                println!("{what}");
                continue;
            }
            assert_eq!(figures.status, 0, "{what}");
            if program.frame_lines() > 0 {
                let flows = expected.iter().filter(|byte| **byte == b'\n').count();
                assert_eq!(figures.listed, flows as u64, "{what}");
            } else if program.lists() {
                assert!(outcome.list == expected, "another list: {what}");
            } else {
                assert_eq!(figures.listed, workload.load.events, "{what}");
            }
            println!(
                "{}, {}: ok with {} events",
                workload.title,
                program.name(),
                workload.load.events
            );
        }
        Ok(())
    }
}

impl Workload {
    fn trial<'a>(&'a self, program: &'a Program, keep: bool) -> Trial<'a> {
        Trial {
            program,
            load: &self.load,
            form: self.form,
            sink: self.sink,
            keep,
        }
    }
}
