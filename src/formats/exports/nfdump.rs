//! NetFlow and IPFIX as nfdump writes them: `nfdump -o csv` and `nfdump -o json`, of versions 1.6 and 1.7.
//!
//! A record that counts packets in both directions (`opkt`, `out_packets`; `nfdump -B` makes such ones, and some devices
//! do) was answered. Any other one is of one direction, and was answered if the record of the other direction is there.
//! Times are in the local time of a host that is not named, so that they order records and say no more.

use super::flow::{Seen, order, parsed, protocol};
use super::json::{Json, needed, optional, text};
use super::{Line, Program, Span};
use crate::model::record::Protocol;

/// Columns by their names in version 1.6 and in 1.7.5.
const COLUMNS: [[&str; 2]; 11] = [
    ["sa", "srcAddr"],
    ["da", "dstAddr"],
    ["sp", "srcPort"],
    ["dp", "dstPort"],
    ["pr", "proto"],
    ["ts", "firstSeen"],
    ["ipkt", "packets"],
    ["opkt", "outPackets"],
    ["te", "lastSeen"],
    ["td", "duration"],
    ["fwd", "fwdStatus"],
];

/// The table that is being read.
#[derive(Debug, Default)]
pub(super) struct Table {
    columns: Option<[Option<usize>; COLUMNS.len()]>,
    /// How many cells each row has.
    width: usize,
    /// Whether what comes sums the table up.
    is_summary: bool,
}

impl Table {
    pub(super) fn read(&mut self, line: &str) -> Option<Result<Line, String>> {
        let cells: Vec<&str> = line.split(',').map(str::trim).collect();
        let columns = COLUMNS.map(|names| cells.iter().position(|cell| names.contains(cell)));
        if let [Some(_), Some(_), Some(_), Some(_), Some(_), ..] = columns {
            (self.columns, self.is_summary) = (Some(columns), false);
            self.width = cells.len();
            return Some(Ok(Line::Beside(Program::Nfdump)));
        }
        let columns = self.columns?;
        if line == "Summary" || line.starts_with("Summary:") || line == "No matched flows" {
            self.is_summary = true;
        }
        if self.is_summary {
            // Behind it another kind of text may begin.
            return is_of_summary(line).then_some(Ok(Line::Beside(Program::Nfdump)));
        }
        let get = |which: usize| columns[which].and_then(|at| cells.get(at)).copied();
        let is_one = get(0).is_some_and(|cell| cell.parse::<std::net::IpAddr>().is_ok());
        // Another kind of text may follow it.
        is_one.then(|| {
            if cells.len() < self.width {
                return Err("cells are missing: the line was cut".to_owned());
            }
            if cells[self.width..].iter().any(|cell| !cell.is_empty()) {
                return Err("there are more cells than columns".to_owned());
            }
            table_line(get)
        })
    }
}

/// Whether a line is one of those with which nfdump sums a table up.
fn is_of_summary(line: &str) -> bool {
    let begins = [
        "Summary",
        "No matched flows",
        "flows,bytes,packets",
        "Time window",
        "Total ",
        "Blocks ",
        "Bytes read",
        "Sys:",
        "Wall:",
    ];
    let is_number = |cell: &str| cell.trim().parse::<f64>().is_ok();
    begins.iter().any(|begin| line.starts_with(begin)) || line.split(',').all(is_number)
}

fn table_line<'a>(get: impl Fn(usize) -> Option<&'a str>) -> Result<Line, String> {
    let needed = |which: usize| get(which).ok_or("a column is missing");
    let protocol = protocol(needed(4)?)?;
    let (from, to) = (needed(2)?, needed(3)?);
    let (mut ports, mut icmp) = (None, None);
    if protocol.is_icmp() {
        // "8.0", or type and code in one number.
        icmp = Some(match to.split_once('.') {
            Some((icmp_type, code)) => (parsed("type", icmp_type)?, parsed("code", code)?),
            None => {
                let [icmp_type, code] = parsed::<u16>("dp", to)?.to_be_bytes();
                // What a spreadsheet makes of "8.0" reads as another type.
                if icmp_type == 0 && code != 0 {
                    return Err(format!("dp {to} is no type and code of ICMP"));
                }
                (icmp_type, code)
            }
        });
    } else if protocol.has_ports() {
        ports = Some((parsed("sp", from)?, parsed("dp", to)?));
    }
    let count = |which: usize| {
        get(which)
            .map(|cell| parsed::<u64>("packets", cell))
            .transpose()
    };
    let (sent, answers) = (count(6)?, count(7)?);
    let began = get(5).and_then(order);
    let ended = get(8).and_then(order).or_else(|| {
        let seconds: f64 = get(9)?.parse().ok()?;
        // Saturating, and 0 where it is no number.
        Some(began?.saturating_add((seconds * 1e6) as u64))
    });
    let (source, destination) = (parsed("sa", needed(0)?)?, parsed("da", needed(1)?)?);
    line(
        source,
        destination,
        protocol,
        (ports, icmp),
        (sent, answers),
        span(began, ended),
        get(10).and_then(|status| status.parse().ok()),
    )
}

/// Reads an object; `None` if it is none of nfdump.
pub(super) fn object(object: &Json) -> Option<Result<Line, String>> {
    let of_nfdump = object.contains_key("export_sysid") || object.contains_key("in_packets");
    if !of_nfdump {
        return None;
    }
    if !object.contains_key("src4_addr") && !object.contains_key("src6_addr") {
        return Some(Ok(Line::Beside(Program::Nfdump)));
    }
    Some(read(object))
}

fn read(object: &Json) -> Result<Line, String> {
    let v6 = object.contains_key("src6_addr");
    let address = |which: &str| {
        let key = format!("{which}{}_addr", if v6 { 6 } else { 4 });
        needed(object, &key)
    };
    let protocol = protocol(&text(object, "proto").ok_or("proto is missing")?)?;
    let ports = optional(object, "src_port")?.zip(optional(object, "dst_port")?);
    let icmp = optional(object, "icmp_type")?.zip(optional(object, "icmp_code")?);
    let counts = (
        optional(object, "in_packets")?,
        optional(object, "out_packets")?,
    );
    let time = |key: &str| text(object, key).and_then(|time| order(&time));
    let began = time("first").or_else(|| time("t_first"));
    let ended = time("last").or_else(|| time("t_last"));
    line(
        address("src")?,
        address("dst")?,
        protocol,
        (ports, icmp),
        counts,
        span(began, ended),
        optional(object, "fwd_status")?,
    )
}

fn span(began: Option<u64>, ended: Option<u64>) -> Option<Span> {
    let began = began?;
    Some((began, ended.unwrap_or(began).max(began)))
}

type Service = (Option<(u16, u16)>, Option<(u8, u8)>);

fn line(
    source: std::net::IpAddr,
    destination: std::net::IpAddr,
    protocol: Protocol,
    (ports, icmp): Service,
    (sent, answers): (Option<u64>, Option<u64>),
    span: Option<Span>,
    forwarding: Option<u8>,
) -> Result<Line, String> {
    // A record without a packet is of no flow: devices write such for what they have dropped or only know of.
    if sent == Some(0) && answers.unwrap_or(0) == 0 {
        return Ok(Line::Beside(Program::Nfdump));
    }
    // What is summed up over protocols or ports (`nfdump -A`) lacks them, and so does what is not the first fragment of a
    // packet.
    if protocol.0 == 0 {
        let why = "records without a protocol: they are summed up over protocols, and say nothing of a flow";
        return Ok(Line::Lost(Program::Nfdump, why.into()));
    }
    if ports.is_some_and(|(from, to)| from == 0 || to == 0) {
        let why = "records without a port: they are summed up over ports, or of fragments, and say nothing of a flow";
        return Ok(Line::Lost(Program::Nfdump, why.into()));
    }
    // forwardingStatus (RFC 7270, 4.12): from 128 to 191, the packets were dropped.
    let is_dropped = matches!(forwarding, Some(128..=191));
    let answered = !is_dropped && sent.unwrap_or(0) > 0 && answers.unwrap_or(0) > 0;
    let is_group = |address: std::net::IpAddr| {
        address.is_multicast() || address == std::net::IpAddr::from([255; 4])
    };
    if destination.is_unspecified() || (source.is_unspecified() && !is_group(destination)) {
        let why = "records without an address: they are summed up over addresses, and say nothing of a flow";
        return Ok(Line::Lost(Program::Nfdump, why.into()));
    }
    let seen = Seen {
        protocol,
        source,
        destination,
        ports,
        icmp,
        answered,
        connections: 1,
        first: None,
        last: None,
        reply: None,
    };
    let record = seen.record()?;
    if is_dropped {
        return Ok(Line::Flow(Program::Nfdump, record));
    }
    Ok(Line::Direction(Program::Nfdump, record, span))
}
