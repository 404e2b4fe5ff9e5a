//! `conntracker diff`.

use std::path::PathBuf;

use clap::Args;

use super::brief;
use super::reading::{self, ListArgs, Outcome};
use crate::captures::difference::Difference;
use crate::model::error::Error;
use crate::model::ruled::Told;
use crate::output::changes;
use crate::output::layout::Format;
use crate::ui::console::Console;

// Exit statuses, as those of diff(1).
const SAME: u8 = 0;
const DIFFERENT: u8 = 1;
const TROUBLE: u8 = 2;
/// What differs may be what one of the captures missed.
const INCOMPLETE: u8 = 3;

const AFTER_HELP: &str = "\
Examples:
  conntracker diff monday.json tuesday.json
  conntracker diff monday.json tuesday.json --confirmed --format json
  conntracker diff before.txt after.txt --src 10.1.0.0/16

Exit status:
  0  no difference
  1  a difference
  2  error: a file, or everything in it, can't be read
  3  flows may be missing from one of the two, whatever the difference";

/// Arguments of `conntracker diff`.
#[derive(Clone, Debug, Args)]
#[command(after_help = brief(AFTER_HELP), after_long_help = AFTER_HELP)]
pub struct Diff {
    /// The earlier capture; - means standard input
    #[arg(value_name = "OLD")]
    pub old: PathBuf,

    /// The later capture; - means standard input
    #[arg(value_name = "NEW")]
    pub new: PathBuf,

    /// What is read, and how and where the result is written.
    #[command(flatten)]
    pub list: ListArgs,
}

impl Diff {
    /// Writes the difference, and returns an exit status as diff(1) does. What is wrong is told here, since
    /// the status of an error is another one than that of other commands.
    pub fn run(&self, console: &Console) -> u8 {
        self.compare(console).unwrap_or_else(|error| {
            console.error(&error.to_string());
            TROUBLE
        })
    }

    fn compare(&self, console: &Console) -> Result<u8, Error> {
        reading::check_inputs([&self.old, &self.new])?;
        if self.list.layout.format == Some(Format::Nft) {
            return Err(Error::new(
                "a difference is no ruleset: leave out --format nft, or compare with diff(1) what \
                 conntracker rules writes for the one and for the other",
            ));
        }
        let (destination, mut layout) = self.list.target(Format::Table)?;
        let old = self.list.named_union([&self.old], &mut layout, console)?;
        let new = self.list.named_union([&self.new], &mut layout, console)?;
        let outcome = old.outcome.max(new.outcome);
        let mut told = Told::default();
        let mut sides = [old.content, new.content];
        for side in &mut sides {
            for (identity, names) in std::mem::take(&mut side.told.names) {
                told.learn(&identity, names);
            }
        }
        let [old, new] = sides;
        let (difference, classic) = Difference::of(old, new);
        for (path, is_classic) in [&self.old, &self.new].into_iter().zip(classic) {
            if is_classic {
                console.note(&reading::compared_as_classic(path));
            }
        }
        let status = match (outcome, difference.is_empty()) {
            (Outcome::Unreadable, _) => TROUBLE,
            (Outcome::Incomplete, _) => INCOMPLETE,
            (Outcome::Whole, true) => SAME,
            (Outcome::Whole, false) => DIFFERENT,
        };
        reading::put(&destination, console, |out| {
            changes::write(difference, &told, &layout, out)
        })?;
        Ok(status)
    }
}
