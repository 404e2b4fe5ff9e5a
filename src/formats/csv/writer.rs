//! Lists as comma-separated values (RFC 4180), the columns named as the fields of the JSON form are.

use std::borrow::{Borrow, Cow};
use std::io::{self, Write};
use std::sync::Arc;

use ::csv::{Terminator, Writer, WriterBuilder};

use crate::model::icmp;
use crate::model::names::Names;
use crate::model::printable::printable;
use crate::model::record::{Record, Service, SourcePort};
use crate::model::ruled::{Ruled, Told};
use crate::model::timestamp::Timestamp;
use crate::model::usage::Usage;

/// The names of the columns, which the first line has. Those at the end, [`USED`] and then [`RULED`], are there only if a flow
/// has them or what stands behind them.
pub const COLUMNS: [&str; 37] = [
    "family",
    "protocol",
    "protocol_number",
    "src",
    "src_port",
    "src_port_collapsed",
    "dst",
    "dst_port",
    "icmp_type",
    "icmp_code",
    "icmp_name",
    "confirmed",
    "connections",
    "first_seen",
    "last_seen",
    "zone",
    "netns",
    "dnat_address",
    "dnat_port",
    "snat_address",
    "snat_port",
    "snat_port_collapsed",
    "classic",
    "picked_up",
    "turned",
    "helper",
    "expected_by_helper",
    "expected_by_protocol_number",
    "expected_by_port",
    "ended",
    "packets",
    "bytes",
    "reply_packets",
    "reply_bytes",
    "duration_us",
    "rule",
    "verdict",
];

/// How many of the columns tell what connections have carried.
pub const USED: usize = Usage::FIELDS.len();
/// How many tell what decided on a flow.
pub const RULED: usize = 2;

/// Columns behind all others, which are there only if a flow has a name. Of several names of a destination each stands behind
/// a blank.
pub const NAMES: [&str; 2] = ["src_name", "dst_names"];

/// How text of others is written into cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cells {
    /// So that neither a spreadsheet nor a terminal does anything but show it.
    Safe,
    /// Cells as they are.
    Raw,
}

/// What makes a spreadsheet take the rest of a cell for a formula (OWASP, "CSV Injection"), and the mark that keeps
/// it from that, which is doubled so that it can be taken off again.
const FORMULA: [char; 7] = ['=', '+', '-', '@', '\t', '\r', MARK];
const MARK: char = '\'';

impl Cells {
    /// The text as a cell has it, before it is quoted.
    pub fn cell(self, text: &str) -> Cow<'_, str> {
        if self == Self::Raw {
            return Cow::Borrowed(text);
        }
        let shown = printable(text);
        // Looked for in both: a tab at the beginning has become an escape, and says all the same what is meant.
        if text.starts_with(FORMULA) || shown.starts_with(FORMULA) {
            return Cow::Owned(format!("{MARK}{shown}"));
        }
        shown
    }
}

/// The text of a cell without the mark that kept a spreadsheet from computing it.
pub fn unmarked(cell: &str) -> &str {
    match cell.strip_prefix(MARK) {
        Some(text) if text.starts_with(FORMULA) || text.starts_with('\\') => text,
        _ => cell,
    }
}

/// Writes the header and a line a flow, with the names of its ends.
///
/// Errors: those of `out`.
pub fn write<R: Borrow<Record>>(
    records: impl Iterator<Item = R> + Clone,
    beside: Beside<'_>,
    cells: Cells,
    out: impl Write,
) -> io::Result<()> {
    let mut list = List::begin(records.clone(), beside, cells, out)?;
    for record in records {
        list.flow(record.borrow())?;
    }
    list.end()
}

/// A list that is being written.
pub struct List<'a, W: Write> {
    writer: Writer<W>,
    beside: Beside<'a>,
    cells: Cells,
    /// How many of the columns it has.
    columns: usize,
    /// Whether it has those of names.
    named: bool,
}

/// What stands beside the flows: names of hosts, and what is told of rules and names.
pub type Beside<'a> = (&'a Names, &'a Told);

impl<'a, W: Write> List<'a, W> {
    /// Writes the header. `records` are those of the flows that will follow: which columns there are depends on them.
    ///
    /// Errors: those of `out`.
    pub fn begin<R: Borrow<Record>>(
        records: impl Iterator<Item = R> + Clone,
        (names, told): Beside<'a>,
        cells: Cells,
        out: W,
    ) -> io::Result<Self> {
        let left_out = if !told.rules.is_empty() {
            0
        } else if records.clone().any(|one| one.borrow().usage.is_some()) {
            RULED
        } else {
            RULED + USED
        };
        let any_named = (!names.is_empty() || !told.names.is_empty())
            && records.into_iter().any(|one| {
                let ends = ends((names, told), one.borrow());
                ends.iter().any(|name| !name.is_empty())
            });
        let mut list = Self {
            writer: WriterBuilder::new()
                .terminator(Terminator::CRLF)
                .from_writer(out),
            beside: (names, told),
            cells,
            columns: COLUMNS.len() - left_out,
            named: any_named,
        };
        let named = NAMES.iter().filter(|_| any_named);
        let header = COLUMNS[..list.columns].iter().chain(named);
        list.writer.write_record(header)?;
        Ok(list)
    }

    /// Writes the line of a flow, with the names of its ends.
    ///
    /// Errors: those of the place it is written to.
    pub fn flow(&mut self, record: &Record) -> io::Result<()> {
        let ruled = { self.beside.1.rules.get(&record.identity) }.map(Arc::as_ref);
        let own = fields(record, ruled, self.cells);
        let cells = self.cells;
        let named = { self.named }
            .then(|| ends(self.beside, record).map(|name| cells.cell(&name).into_owned()));
        let line = own[..self.columns].iter().chain(named.iter().flatten());
        Ok(self.writer.write_record(line)?)
    }

    /// Writes what is still buffered.
    ///
    /// Errors: those of the place it is written to.
    pub fn end(mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

/// The names of a flow's ends.
fn ends((names, told): Beside<'_>, record: &Record) -> [String; NAMES.len()] {
    let identity = &record.identity;
    let learnt = told.names(identity).iter().map(|one| one.name.as_str());
    let own = names.of(identity.destination);
    let mut destination: Vec<&str> = own.into_iter().collect();
    destination.extend(learnt.filter(|name| own != Some(name)));
    let source = names.of(identity.source).unwrap_or_default();
    [source.to_owned(), destination.join(" ")]
}

/// The fields of a flow; what it has not is empty.
pub fn fields(record: &Record, ruled: Option<&Ruled>, cells: Cells) -> [String; COLUMNS.len()] {
    fn show<T: ToString>(value: Option<T>) -> String {
        value.map_or_else(String::new, |value| value.to_string())
    }
    let identity = &record.identity;
    let (dst_port, icmp) = match identity.service {
        Service::None => (None, None),
        Service::Port(port) => (Some(port), None),
        Service::Icmp(icmp_type, code) => (None, Some((icmp_type, code))),
    };
    let collapsed = |port| match port {
        SourcePort::None => None,
        SourcePort::Exact(_) => Some(false),
        SourcePort::Ephemeral => Some(true),
    };
    let (dnat, snat) = (identity.dnat(), identity.snat());
    let (begun, by) = (record.origin.begun, record.origin.expected_by);
    let [
        ended,
        packets,
        bytes,
        reply_packets,
        reply_bytes,
        duration_us,
    ] = Usage::fields(record.usage.as_deref());
    [
        identity.family().to_owned(),
        identity.protocol.to_string(),
        identity.protocol.0.to_string(),
        identity.source.to_string(),
        show(identity.source_port.number()),
        show(collapsed(identity.source_port)),
        identity.destination.to_string(),
        show(dst_port),
        show(icmp.map(|(icmp_type, _)| icmp_type)),
        show(icmp.map(|(_, code)| code)),
        show(icmp.and_then(|(icmp_type, _)| icmp::name(identity.protocol, icmp_type))),
        record.confirmed.to_string(),
        record.connections.to_string(),
        show::<Timestamp>(record.first_seen),
        show::<Timestamp>(record.last_seen),
        identity.zone.to_string(),
        show(identity.netns.as_deref().map(|name| cells.cell(name))),
        show(dnat.map(|dnat| dnat.address)),
        show(dnat.and_then(|dnat| dnat.port)),
        show(snat.map(|snat| snat.address)),
        show(snat.and_then(|snat| snat.port.number())),
        show(snat.and_then(|snat| collapsed(snat.port))),
        record.unusual_classic().unwrap_or_default().to_owned(),
        show(begun.is_picked_up().then_some(true)),
        show(begun.turned()),
        show(record.origin.helper),
        show(by.and_then(|by| by.helper)),
        show(by.map(|by| by.protocol.0)),
        show(by.and_then(|by| (by.port != 0).then_some(by.port))),
        show(ended),
        show(packets),
        show(bytes),
        show(reply_packets),
        show(reply_bytes),
        show(duration_us),
        show(
            ruled
                .filter(|ruled| !ruled.rules.is_empty())
                .map(|ruled| cells.cell(&ruled.last_word()).into_owned()),
        ),
        show(ruled.map(|ruled| &ruled.verdict)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_columns_are_those_of_usage() {
        let end = COLUMNS.len() - RULED;
        assert_eq!(COLUMNS[end - USED..end], Usage::FIELDS);
    }

    #[test]
    fn no_cell_is_a_formula_and_each_reads_back() {
        for (text, cell) in [
            ("blue", "blue"),
            ("=cmd|' /C calc'!A1", "'=cmd|' /C calc'!A1"),
            ("+1", "'+1"),
            ("-1", "'-1"),
            ("@SUM(1)", "'@SUM(1)"),
            ("'=1", "''=1"),
            ("'", "''"),
            ("nsid:5", "nsid:5"),
        ] {
            assert_eq!(Cells::Safe.cell(text), cell);
            assert_eq!(unmarked(cell), text);
            assert_eq!(Cells::Raw.cell(text), text);
        }
        assert_eq!(Cells::Safe.cell("\t=1"), "'\\t=1");
        assert_eq!(Cells::Safe.cell("a\x1b[2J"), "a\\x1b[2J");
        assert_eq!(unmarked("'tis"), "'tis");
    }
}
