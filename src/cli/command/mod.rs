//! The commands that do something else than to take a capture: `conntracker show FILE…` and the like.
//!
//! Each file has a command's arguments and what it does.

pub mod check;
pub mod diff;
pub mod doctor;
pub mod help;
pub mod merge;
mod naming;
pub mod reading;
pub mod report;
pub mod rules;
pub mod show;
pub mod top;
pub mod trace;
pub mod watch;

use std::borrow::Cow;

use clap::Subcommand;
use clap::error::ErrorKind;

use crate::model::error::Error;
use crate::ui::console::Console;

/// What to do other than to capture.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Say which flows of captures a ruleset would let through
    Check(check::Check),
    /// Show captures: filter, sort, sum up, convert
    Show(show::Show),
    /// Merge captures into one
    Merge(merge::Merge),
    /// Compare two captures: what is new, gone, newly answered
    Diff(diff::Diff),
    /// Write a report for people, as one HTML file or Markdown
    Report(report::Report),
    /// Write firewall rules that accept the flows of captures
    Rules(Box<rules::Rules>),
    /// Watch flows on a terminal: what passes now, or captures
    Top(Box<top::Top>),
    /// Say which rules let flows through, and which stop them
    Trace(trace::Trace),
    /// Say which flows are new since earlier captures, or no longer come
    Watch(watch::Watch),
    /// Say why nothing is listed, and what to do
    Doctor(doctor::Doctor),
    /// Show all options of a command, or a guide (help topics)
    Help(help::Help),
}

/// The first paragraph of what stands behind the help of a command, its examples: a screen has no room for more.
fn brief(after_help: &'static str) -> &'static str {
    after_help.split("\n\n").next().unwrap_or_default()
}

/// What is wrong with options that are right one by one: of what kind, and why.
pub type Conflict = (ErrorKind, Cow<'static, str>);

impl Command {
    /// The word by which it is called.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Check(_) => "check",
            Self::Show(_) => "show",
            Self::Merge(_) => "merge",
            Self::Diff(_) => "diff",
            Self::Report(_) => "report",
            Self::Rules(_) => "rules",
            Self::Doctor(_) => "doctor",
            Self::Help(_) => "help",
            Self::Top(_) => "top",
            Self::Trace(_) => "trace",
            Self::Watch(_) => "watch",
        }
    }

    /// What its options ask for that can't be.
    pub fn conflict(&self) -> Option<Conflict> {
        match self {
            Self::Show(show) => show.conflict(),
            Self::Merge(merge) => merge.list.conflict(),
            Self::Diff(diff) => diff.list.conflict(),
            Self::Rules(rules) => rules.conflict(),
            Self::Watch(watch) => watch.conflict(),
            _ => None,
        }
    }

    /// Runs it and returns the exit status.
    ///
    /// Errors: what keeps it from doing its work.
    pub fn run(&self, console: &Console) -> Result<u8, Error> {
        match self {
            Self::Check(check) => check.run(console),
            Self::Show(show) => show.run(console),
            Self::Merge(merge) => merge.run(console),
            Self::Diff(diff) => Ok(diff.run(console)),
            Self::Report(report) => report.run(console),
            Self::Rules(rules) => rules.run(console),
            Self::Doctor(doctor) => doctor.run(console),
            Self::Help(help) => help.run(),
            Self::Top(top) => top.run(console),
            Self::Trace(trace) => trace.run(console),
            Self::Watch(watch) => Ok(watch.run(console)),
        }
    }
}
