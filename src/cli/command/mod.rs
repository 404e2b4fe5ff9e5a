//! The commands that do something else than to take a capture: `conntracker show FILE…` and the like.
//!
//! Each file has a command's arguments and what it does.

pub mod check;
pub mod diff;
pub mod doctor;
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
    /// Judge the flows of captures by a ruleset: which would it let through?
    Check(check::Check),
    /// Show captures: filter, sort, summarise, convert
    Show(show::Show),
    /// Merge captures into one
    Merge(merge::Merge),
    /// Compare two captures: flows that are new, gone, newly confirmed
    Diff(diff::Diff),
    /// Write a report for people: one HTML file with pictures, or Markdown
    Report(report::Report),
    /// Write firewall rules that accept the flows of captures
    Rules(Box<rules::Rules>),
    /// Watch flows on a terminal: what passes now, or captures
    Top(Box<top::Top>),
    /// Follow the first packet of each flow through the rules: which let it pass, which stopped it?
    Trace(trace::Trace),
    /// Tell what is new: flows that earlier captures do not have, and those that no longer come
    Watch(watch::Watch),
    /// Say why there are no events or why some are lost, and what to do
    Doctor(doctor::Doctor),
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
            Self::Top(top) => top.run(console),
            Self::Trace(trace) => trace.run(console),
            Self::Watch(watch) => Ok(watch.run(console)),
        }
    }
}
