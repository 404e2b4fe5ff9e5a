//! `conntracker doctor`.

use clap::{Args, ValueEnum};

use super::brief;
use super::reading;
use crate::doctor::Facts;
use crate::doctor::report;
use crate::files::destination::Destination;
use crate::model::error::Error;
use crate::output::layout::wants_colour;
use crate::sources::tuning::Settings;
use crate::ui::console::Console;

/// Shown behind `--help`.
const AFTER_HELP: &str = "\
Examples:
  sudo conntracker doctor
  sudo ip netns exec NAME conntracker doctor
  sudo conntracker doctor --format json

Notes:
  It changes nothing. It takes about a second, since it listens to events for that long.

Exit status:
  0  a capture works, though problems may keep flows off its list
  1  a capture can't work: no privilege, no events, or an error
  2  bad arguments";

/// Arguments of `conntracker doctor`.
#[derive(Clone, Debug, Args)]
#[command(after_help = brief(AFTER_HELP), after_long_help = AFTER_HELP)]
pub struct Doctor {
    /// The form of the findings
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = Format::Table)]
    pub format: Format,
}

/// The form of findings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// One line for each finding, for people
    Table,
    /// One JSON object a line
    Json,
}

impl Doctor {
    /// Looks, tells, and returns the exit status: 1 if a capture can't work.
    ///
    /// Errors: standard output that can't be written.
    pub fn run(&self, console: &Console) -> Result<u8, Error> {
        let findings = Facts::look(&Settings::default()).judge();
        reading::put(&Destination::Stdout, console, |out| {
            // In one piece, so that what is written beside it does not come between.
            let mut text = Vec::new();
            match self.format {
                Format::Table => report::write_table(&findings, wants_colour(), &mut text)?,
                Format::Json => report::write_json(&findings, &mut text)?,
            }
            out.write_all(&text)
        })?;
        let prevented = findings.iter().any(|finding| finding.prevents_capture);
        Ok(u8::from(prevented))
    }
}
