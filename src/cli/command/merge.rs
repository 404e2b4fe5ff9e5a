//! `conntracker merge`.

use std::path::PathBuf;

use clap::Args;

use super::brief;
use super::reading::{self, ListArgs};
use crate::model::error::Error;
use crate::output::layout::Format;
use crate::ui::console::Console;

const AFTER_HELP: &str = concat!(
    "\
Examples:
  conntracker merge monday.json tuesday.json -o both.json
  conntracker merge gw1.json gw2.json --src 10.1.0.0/16 -o branch.json
  conntrack -L | conntracker merge - day.json -o more.json

",
    reading::exit_status!()
);

/// Arguments of `conntracker merge`.
#[derive(Clone, Debug, Args)]
#[command(after_help = brief(AFTER_HELP), after_long_help = AFTER_HELP)]
pub struct Merge {
    /// Captures (JSON, recordings, lists of conntracker or conntrack, flows of nfdump, Zeek and others); - means
    /// standard input
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,

    /// What is read, and how and where the result is written.
    #[command(flatten)]
    pub list: ListArgs,
}

impl Merge {
    /// Writes the union of the captures; the exit status is 3 if flows may be missing from one.
    ///
    /// Errors: a file that can't be read or written.
    pub fn run(&self, console: &Console) -> Result<u8, Error> {
        reading::check_inputs(&self.files)?;
        let (destination, mut layout) = self.list.target(Format::Json)?;
        let mut read = self.list.named_union(&self.files, &mut layout, console)?;
        reading::put_list(&destination, &layout, &mut read.content, console)?;
        Ok(read.outcome.exit_status())
    }
}
