//! Format and order as options.

use std::io;

use clap::{Args, ValueEnum};

use crate::formats::csv::Cells;
use crate::model::services::Services;
use crate::output::layout::{Format, Layout, wants_colour};
use crate::output::sort::Sort;

/// Numbers that can be shown by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Resolve {
    /// Ports, by /etc/services
    Services,
}

/// Format and order as options.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Output")]
pub struct LayoutArgs {
    /// The form of the list
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub format: Option<Format>,

    /// The order of the list: classic is the C tool's, connections, first-seen and last-seen have the greatest and the
    /// newest first
    #[arg(long, value_enum, value_name = "ORDER")]
    pub sort: Option<Sort>,

    /// The other way round
    #[arg(hide_short_help = true, long)]
    pub reverse: bool,

    /// Show names beside numbers in tables
    #[arg(long, value_enum, value_name = "WHAT")]
    pub resolve: Vec<Resolve>,

    /// Write CSV as it is: without a quotation mark before what a spreadsheet would take for a formula
    #[arg(hide_short_help = true, long)]
    pub raw_csv: bool,
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
    /// Errors: a services file that can't be read.
    pub fn layout(&self, default: Format, on_stdout: bool) -> io::Result<Layout> {
        let format = self.format_or(default);
        let services = self.resolve.contains(&Resolve::Services);
        Ok(Layout {
            format,
            sort: self.sort_of(format),
            reverse: self.reverse,
            services: services.then(Services::load).transpose()?,
            colour: on_stdout && wants_colour(),
            cells: if self.raw_csv {
                Cells::Raw
            } else {
                Cells::Safe
            },
        })
    }
}
