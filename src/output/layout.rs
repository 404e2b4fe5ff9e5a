//! What a list is to look like.

use std::io::{self, IsTerminal, Write};

use super::sort::Sort;
use super::table::Words;
use super::{ruleset, table, windows};
use crate::formats::classic;
use crate::formats::csv;
use crate::formats::csv::Cells;
use crate::formats::json;
use crate::intake::records::pack::Pack;
use crate::model::capture::Capture;
use crate::model::listing::{Flow, Listing};
use crate::model::names::Names;
use crate::model::record::Record;
use crate::model::ruled::{Denied, Told};
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
        let mut out = io::BufWriter::with_capacity(BUFFER, out);
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
                write_json(&mut list, &listing.flows, told)?;
                end_json(list, told)?;
            }
            Format::Csv => {
                let records = listing.flows.iter().map(|flow| &flow.record);
                csv::write(records, (&self.names, told), self.cells, &mut out)?;
            }
            Format::Nft => remarks = ruleset::write(listing, &mut out)?,
        }
        out.flush()?;
        Ok(remarks)
    }

    /// Writes the wanted of a capture's flows. As [`write`](Self::write), but of lists for programs, which may be long, only
    /// a few flows are ever unpacked.
    ///
    /// Errors: those of `out`.
    pub fn write_pack(
        &self,
        pack: &Pack,
        wanted: impl Fn(&Record) -> bool,
        (capture, told): (&Capture, &Told),
        out: &mut dyn Write,
    ) -> io::Result<Vec<String>> {
        let order = (self.sort, self.reverse);
        match self.format {
            Format::Json => {
                let mut out = io::BufWriter::with_capacity(BUFFER, out);
                let captures = std::slice::from_ref(capture);
                let mut list = json::List::begin(captures, &mut out)?.naming(&self.names);
                windows::each(pack, order, wanted, |flows| {
                    write_json(&mut list, flows, told)
                })?;
                end_json(list, told)?;
                out.flush()?;
                Ok(Vec::new())
            }
            Format::Csv => {
                let mut out = io::BufWriter::with_capacity(BUFFER, out);
                let beside = (&self.names, told);
                let records = pack.iter().filter(&wanted);
                let mut list = csv::List::begin(records, beside, self.cells, &mut out)?;
                windows::each(pack, order, &wanted, |flows| {
                    { flows.iter() }.try_for_each(|flow| list.flow(&flow.record))
                })?;
                list.end()?;
                out.flush()?;
                Ok(Vec::new())
            }
            Format::Classic | Format::Table | Format::Nft => {
                let mut listing = Listing {
                    captures: vec![capture.clone()],
                    flows: pack.iter().filter(wanted).map(Flow::from).collect(),
                    told: told.clone(),
                };
                self.write(&mut listing, out)
            }
        }
    }
}

/// Bytes that are gathered before they are written.
const BUFFER: usize = 1 << 18;

fn write_json<W: Write>(
    list: &mut json::List<'_, W>,
    flows: &[Flow],
    told: &Told,
) -> io::Result<()> {
    for flow in flows {
        let identity = &flow.record.identity;
        match (told.rules.get(identity), told.names(identity)) {
            (None, []) => list.flow(&flow.record, &flow.seen_in)?,
            (ruled, names) => {
                let ruled = ruled.map(AsRef::as_ref);
                list.told(&flow.record, &flow.seen_in, (ruled, names))?;
            }
        }
    }
    Ok(())
}

fn end_json<W: Write>(mut list: json::List<'_, W>, told: &Told) -> io::Result<()> {
    for Denied { flow, ruled } in &told.denied {
        let names = told.names(&flow.record.identity);
        list.denied(&flow.record, &flow.seen_in, (ruled.as_deref(), names))?;
    }
    list.end()
}
