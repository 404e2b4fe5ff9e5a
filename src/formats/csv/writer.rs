//! Lists as comma-separated values (RFC 4180), the columns named as the fields of the JSON form are.

use std::borrow::Cow;
use std::io::{self, Write};
use std::sync::Arc;

use ::csv::{Terminator, WriterBuilder};

use crate::model::icmp;
use crate::model::listing::Flow;
use crate::model::names::Names;
use crate::model::printable::printable;
use crate::model::record::{Service, SourcePort};
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
pub fn write(
    flows: &[Flow],
    (names, told): (&Names, &Told),
    cells: Cells,
    out: &mut impl Write,
) -> io::Result<()> {
    let mut writer = WriterBuilder::new()
        .terminator(Terminator::CRLF)
        .from_writer(out);
    let any_used = flows.iter().any(|flow| flow.record.usage.is_some());
    let left_out = match (told.rules.is_empty(), any_used) {
        (false, _) => 0,
        (true, true) => RULED,
        (true, false) => RULED + USED,
    };
    let count = COLUMNS.len() - left_out;
    let name = |flow: &Flow| {
        let identity = &flow.record.identity;
        let learnt = told.names(identity).iter().map(|one| one.name.as_str());
        let own = names.of(identity.destination);
        let mut destination: Vec<&str> = own.into_iter().collect();
        destination.extend(learnt.filter(|name| own != Some(name)));
        let source = names.of(identity.source).unwrap_or_default();
        [source.to_owned(), destination.join(" ")]
    };
    let any_named = (!names.is_empty() || !told.names.is_empty())
        && flows
            .iter()
            .any(|flow| name(flow).iter().any(|name| !name.is_empty()));
    let named = NAMES.iter().filter(|_| any_named);
    writer.write_record(COLUMNS[..count].iter().chain(named))?;
    for flow in flows {
        let ruled = told.rules.get(&flow.record.identity).map(Arc::as_ref);
        let own = fields(flow, ruled, cells);
        let named = any_named.then(|| name(flow).map(|name| cells.cell(&name).into_owned()));
        writer.write_record(own[..count].iter().chain(named.iter().flatten()))?;
    }
    writer.flush()
}

/// The fields of a flow; what it has not is empty.
pub fn fields(flow: &Flow, ruled: Option<&Ruled>, cells: Cells) -> [String; COLUMNS.len()] {
    fn show<T: ToString>(value: Option<T>) -> String {
        value.map_or_else(String::new, |value| value.to_string())
    }
    let record = &flow.record;
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
