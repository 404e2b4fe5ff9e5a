//! What a list is to look like.

use std::io::{self, IsTerminal, Write};

use clap::{Args, ValueEnum};

use super::sort::Sort;
use super::{ruleset, table};
use crate::formats::classic;
use crate::formats::csv;
use crate::formats::csv::Cells;
use crate::formats::json;
use crate::model::listing::Listing;
use crate::model::services::Services;

/// The form of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// The lines of the C tool
    Classic,
    /// Aligned columns for people
    Table,
    /// One JSON object a line: the capture, then its flows
    Json,
    /// Comma-separated values with a header (RFC 4180)
    Csv,
    /// Firewall rules for nft -f that accept the confirmed flows and nothing else
    Nft,
}

impl Format {
    /// What a file of this form is called.
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Classic | Self::Table => "txt",
            Self::Json => "json",
            Self::Csv => "csv",
            Self::Nft => "nft",
        }
    }
}

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

    /// The order of the list: classic is the C tool's, connections and last-seen have the greatest first
    #[arg(long, value_enum, value_name = "ORDER")]
    pub sort: Option<Sort>,

    /// Show names beside numbers in tables
    #[arg(long, value_enum, value_name = "WHAT")]
    pub resolve: Vec<Resolve>,

    /// Write CSV as it is: without a quotation mark before what a spreadsheet would take for a formula
    #[arg(long)]
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

/// Whether standard output is a terminal whose user has not said no (<https://no-color.org>).
pub fn wants_colour() -> bool {
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    io::stdout().is_terminal() && !set("NO_COLOR") && !dumb
}

/// What lists look like.
#[derive(Clone, Debug)]
pub struct Layout {
    /// Format.
    pub format: Format,
    /// Order.
    pub sort: Sort,
    /// Names of ports, if they are to be shown.
    pub services: Option<Services>,
    /// Whether to write terminal colours.
    pub colour: bool,
    /// How CSV is written.
    pub cells: Cells,
}

impl Layout {
    /// Sorts a list and writes it. What is returned its reader has to know besides.
    ///
    /// Errors: those of `out`.
    pub fn write(&self, listing: &mut Listing, out: &mut dyn Write) -> io::Result<Vec<String>> {
        self.sort.sort(&mut listing.flows);
        let mut out = io::BufWriter::with_capacity(1 << 18, out);
        let mut remarks = Vec::new();
        match self.format {
            Format::Classic => classic::write_records(&listing.flows, &mut out)?,
            Format::Table => table::write(&listing.flows, self, &mut out)?,
            Format::Json => {
                let mut list = json::List::begin(&listing.captures, &mut out)?;
                for flow in &listing.flows {
                    list.flow(&flow.record, &flow.seen_in)?;
                }
                list.end()?;
            }
            Format::Csv => csv::write(&listing.flows, self.cells, &mut out)?,
            Format::Nft => remarks = ruleset::write(listing, &mut out)?,
        }
        out.flush()?;
        Ok(remarks)
    }
}
