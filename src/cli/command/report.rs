//! `conntracker report`.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::brief;
use super::reading::{self, Reading};
use crate::cli::layout;
use crate::model::error::Error;
use crate::model::services::{self, Services};
use crate::report::digest::Digest;
use crate::report::{html, markdown};
use crate::ui::console::Console;

/// What a report is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    /// One HTML file that needs nothing else
    Html,
    /// Markdown, for tickets and wikis
    Markdown,
}

const AFTER_HELP: &str = "\
Examples:
  conntracker report monday.json -o report.html
  conntracker report monday.json --against sunday.json -o report.html
  conntracker report monday.json --format markdown

Exit status:
  0  the captures are complete as far as they say
  1  error, or nothing of a file could be read
  2  bad arguments
  3  the report is written, but flows may be missing from it: a capture is
     incomplete, a file was cut or changed, or lines were skipped";

/// Arguments of `conntracker report`.
#[derive(Clone, Debug, Args)]
#[command(after_help = brief(AFTER_HELP), after_long_help = AFTER_HELP)]
pub struct Report {
    /// Captures; - means standard input
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,

    /// Also show the differences from these earlier captures, taken together: new, gone and newly answered flows
    #[arg(long, value_name = "EARLIER", num_args = 1..)]
    pub against: Vec<PathBuf>,

    /// Show names of hosts and networks from this file, as conntracker show --names does. Can be given several times
    #[arg(long, value_name = "FILE")]
    pub names: Vec<PathBuf>,

    /// The form of the report
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = ReportFormat::Html)]
    pub format: ReportFormat,

    /// Write to FILE, replaced atomically; - means standard output
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    pub output: PathBuf,

    /// Which flows of the files are taken, and how they are read.
    #[command(flatten)]
    pub reading: Reading,
}

impl Report {
    /// Writes the report; the exit status is 3 if flows may be missing from it.
    ///
    /// Errors: a file that can't be read or written.
    pub fn run(&self, console: &Console) -> Result<u8, Error> {
        reading::check_inputs(self.files.iter().chain(&self.against))?;
        let destination = reading::destination(&self.output)?;
        let read = self.reading.union(&self.files, console)?;
        let mut outcome = read.outcome;
        let mut earlier = None;
        if !self.against.is_empty() {
            let read = self.reading.union(&self.against, console)?;
            outcome = outcome.max(read.outcome);
            earlier = Some(read.content);
        }
        let names =
            Services::load().map_err(|error| Error::file(Path::new(services::FILE), error))?;
        let digest = Digest::new(read.content, earlier, names, &layout::names(&self.names)?);
        let text = match self.format {
            ReportFormat::Html => html::write(&digest),
            ReportFormat::Markdown => markdown::write(&digest),
        };
        reading::put(&destination, console, |out| out.write_all(text.as_bytes()))?;
        Ok(outcome.exit_status())
    }
}
