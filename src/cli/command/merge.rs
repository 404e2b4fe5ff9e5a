//! `conntracker merge`.

use std::path::PathBuf;

use clap::Args;

use super::reading::{self, Reading};
use crate::cli::layout::LayoutArgs;
use crate::files::destination::Destination;
use crate::model::error::Error;
use crate::output::layout::Format;
use crate::ui::console::Console;

/// Arguments of `conntracker merge`.
#[derive(Clone, Debug, Args)]
#[command(after_help = reading::AFTER_HELP)]
pub struct Merge {
    /// Captures (JSON, recordings, lists of conntracker or conntrack, flows of nfdump, Zeek and others); - is standard
    /// input
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,

    /// Write to FILE, replaced atomically; - is standard output
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    pub output: PathBuf,

    /// Which flows of the files are taken, and how they are read.
    #[command(flatten)]
    pub reading: Reading,

    /// Format and order.
    #[command(flatten)]
    pub layout: LayoutArgs,
}

impl Merge {
    /// Writes the union of the captures; the exit status is 3 if flows may be missing from one.
    ///
    /// Errors: a file that can't be read or written.
    pub fn run(&self, console: &Console) -> Result<u8, Error> {
        reading::check_inputs(&self.files)?;
        let destination = reading::destination(&self.output)?;
        let layout = self
            .layout
            .layout(Format::Json, destination == Destination::Stdout)
            .map_err(|error| Error::new(error.to_string()))?;
        let mut read = self.reading.union(&self.files, console)?;
        reading::put_list(&destination, &layout, &mut read.content, console)?;
        Ok(read.outcome.exit_status())
    }
}
