//! Format and order as options.

use std::fs;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::formats::csv::Cells;
use crate::model::error::Error;
use crate::model::names::Names;
use crate::model::services::Services;
use crate::output::layout::{Format, Layout, wants_colour, width};
use crate::output::sort::Sort;
use crate::ui::clock::Clock;

/// Numbers that can be shown by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Resolve {
    /// Ports, by /etc/services
    Services,
    /// Addresses, by asking the system's resolver: /etc/hosts, then DNS. Only for captures that are there already, not for a live one
    Dns,
}

/// Format and order as options.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Output")]
pub struct LayoutArgs {
    /// The form of the list
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub format: Option<Format>,

    /// The order of the list: classic is that of the C tool; connections, first-seen and last-seen put the greatest or
    /// newest first
    #[arg(hide_short_help = true, long, value_enum, value_name = "ORDER")]
    pub sort: Option<Sort>,

    /// Reverse the order
    #[arg(hide_short_help = true, long)]
    pub reverse: bool,

    /// Show names beside numbers in tables, and names of hosts in JSON too
    #[arg(
        hide_short_help = true,
        long,
        value_enum,
        value_name = "WHAT",
        value_delimiter = ','
    )]
    pub resolve: Vec<Resolve>,

    /// Show names of hosts and networks beside their addresses, in tables and JSON, from this file: TOML with tables networks and
    /// hosts, lines as in /etc/hosts, leases of dnsmasq, ISC dhcpd or Kea. Can be given several times
    #[arg(hide_short_help = true, long, value_name = "FILE")]
    pub names: Vec<PathBuf>,

    /// Show times in tables in UTC instead of the local time of this host. JSON and CSV always have UTC
    #[arg(hide_short_help = true, long)]
    pub utc: bool,

    /// Write CSV without the quotation mark that keeps a spreadsheet from taking a cell for a formula
    #[arg(hide_short_help = true, long)]
    pub raw_csv: bool,
}

/// The names that files say.
///
/// Errors: one that can't be read.
pub fn names(files: &[PathBuf]) -> Result<Names, Error> {
    let mut names = Names::default();
    for path in files {
        let text = fs::read_to_string(path).map_err(|error| Error::file(path, error))?;
        names.read(&text).map_err(|why| Error::file(path, why))?;
    }
    Ok(names)
}

impl LayoutArgs {
    /// The format, where another one is the default of the command.
    pub fn format_or(&self, default: Format) -> Format {
        self.format.unwrap_or(default)
    }

    /// The order: classic for the classic list, else by address.
    pub fn sort_of(&self, format: Format) -> Sort {
        self.sort.unwrap_or(match format {
            Format::Classic => Sort::Classic,
            Format::Table | Format::Json | Format::Csv | Format::Nft => Sort::Address,
        })
    }

    /// All of it, for lists that go to standard output or elsewhere.
    ///
    /// Errors: a file of services or names that can't be read.
    pub fn layout(&self, default: Format, on_stdout: bool) -> Result<Layout, Error> {
        let format = self.format_or(default);
        let services = self.resolve.contains(&Resolve::Services);
        Ok(Layout {
            format,
            sort: self.sort_of(format),
            reverse: self.reverse,
            services: { services.then(Services::load).transpose() }.map_err(|error| {
                Error::caused(format!("--resolve services: /etc/services: {error}"), error)
            })?,
            names: names(&self.names)?,
            clock: if self.utc { Clock::UTC } else { Clock::local() },
            colour: on_stdout && wants_colour(),
            width: if on_stdout { width() } else { None },
            cells: if self.raw_csv {
                Cells::Raw
            } else {
                Cells::Safe
            },
        })
    }
}
