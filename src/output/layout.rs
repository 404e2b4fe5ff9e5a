//! What a list is to look like.

use std::io::{self, IsTerminal, Write};

use super::sort::Sort;
use super::table::Words;
use super::{ruleset, table};
use crate::formats::classic;
use crate::formats::csv;
use crate::formats::csv::Cells;
use crate::formats::json;
use crate::model::capture::Capture;
use crate::model::listing::Listing;
use crate::model::names::Names;
use crate::model::ruled::Denied;
use crate::model::selection::SourcePorts;
use crate::model::services::Services;
use crate::ui::clock::Clock;

/// The form of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

/// Whether standard output is a terminal whose user has not said no (<https://no-color.org>).
pub fn wants_colour() -> bool {
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    io::stdout().is_terminal() && !set("NO_COLOR") && !dumb
}

/// How many signs the terminal has in a line that standard output is, if it is one.
pub fn width() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    (size.ws_col > 0).then(|| usize::from(size.ws_col))
}

/// What lists look like.
#[derive(Clone, Debug)]
pub struct Layout {
    /// The form of the list.
    pub format: Format,
    /// The order of its flows.
    pub sort: Sort,
    /// Whether it is the other way round.
    pub reverse: bool,
    /// Names of ports, if they are to be shown.
    pub services: Option<Services>,
    /// Names of hosts and networks, in tables and JSON.
    pub names: Names,
    /// The clock that times of tables are of.
    pub clock: Clock,
    /// Whether to write terminal colours.
    pub colour: bool,
    /// How wide the terminal is, if tables go to one.
    pub width: Option<usize>,
    /// How CSV is written.
    pub cells: Cells,
}

impl Layout {
    /// JSON in the usual order.
    pub fn json() -> Self {
        Self {
            format: Format::Json,
            sort: Sort::Address,
            reverse: false,
            services: None,
            names: Names::default(),
            clock: Clock::UTC,
            colour: false,
            width: None,
            cells: Cells::Safe,
        }
    }

    /// What cells of tables are written with.
    pub const fn words(&self) -> Words<'_> {
        Words {
            services: self.services.as_ref(),
            names: &self.names,
            clock: &self.clock,
        }
    }

    /// Sorts a list and writes it. What is returned its reader has to know besides.
    ///
    /// Errors: those of `out`.
    pub fn write(&self, listing: &mut Listing, out: &mut dyn Write) -> io::Result<Vec<String>> {
        self.sort.sort(&mut listing.flows);
        if self.reverse {
            listing.flows.reverse();
        }
        let told = &listing.told;
        let mut out = io::BufWriter::with_capacity(1 << 18, out);
        let mut remarks = Vec::new();
        match self.format {
            Format::Classic => {
                let kept =
                    |capture: &Capture| capture.options.iter().any(|o| o == SourcePorts::KEPT);
                let keep_ports = listing.captures.iter().any(kept);
                classic::write_records(&listing.flows, keep_ports, &mut out)?;
            }
            Format::Table => table::write(
                &listing.flows,
                told,
                self.words(),
                (self.colour, self.width),
                &mut out,
            )?,
            Format::Json => {
                let mut list = json::List::begin(&listing.captures, &mut out)?.naming(&self.names);
                for flow in &listing.flows {
                    let identity = &flow.record.identity;
                    match (told.rules.get(identity), told.names(identity)) {
                        (None, []) => list.flow(&flow.record, &flow.seen_in)?,
                        (ruled, names) => {
                            let ruled = ruled.map(AsRef::as_ref);
                            list.told(&flow.record, &flow.seen_in, (ruled, names))?;
                        }
                    }
                }
                for Denied { flow, ruled } in &told.denied {
                    let names = told.names(&flow.record.identity);
                    list.denied(&flow.record, &flow.seen_in, (ruled.as_deref(), names))?;
                }
                list.end()?;
            }
            Format::Csv => csv::write(&listing.flows, (&self.names, told), self.cells, &mut out)?,
            Format::Nft => remarks = ruleset::write(listing, &mut out)?,
        }
        out.flush()?;
        Ok(remarks)
    }
}
