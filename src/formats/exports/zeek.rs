//! conn.log of Zeek, as a table or as JSON (<https://docs.zeek.org/en/master/logs/conn.html>).
//!
//! A flow was answered if `resp_pkts` is more than 0, and the state says so: not `S0`, `SH` and `RSTOS0`, in which no answer was
//! seen, nor `OTH`, `SHR` and `RSTRH`, in which Zeek can't tell who asked.

use super::flow::{Seen, epoch, parsed, protocol};
use super::json::{Json, text};
use super::{Line, Program};
use crate::model::record::Protocol;
use crate::model::timestamp::Timestamp;

const FIELDS: [&str; 10] = [
    "ts",
    "id.orig_h",
    "id.orig_p",
    "id.resp_h",
    "id.resp_p",
    "proto",
    "duration",
    "conn_state",
    "orig_pkts",
    "resp_pkts",
];
/// States of connections whose beginning and whose answer Zeek has seen.
const ANSWERED: [&str; 7] = ["S1", "SF", "REJ", "S2", "S3", "RSTO", "RSTR"];

/// The table that is being read.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// Which column each of [`FIELDS`] is in.
    columns: Option<[Option<usize>; FIELDS.len()]>,
    /// How many cells each row has.
    width: usize,
    is_zeek: bool,
}

impl Table {
    pub(super) fn read(&mut self, line: &str) -> Option<Result<Line, String>> {
        if let Some(names) = line.strip_prefix("#fields\t") {
            let names: Vec<&str> = names.split('\t').collect();
            self.columns = Some(FIELDS.map(|field| names.iter().position(|name| *name == field)));
            self.is_zeek = true;
            self.width = names.len();
            if names.contains(&"id.orig_h") && !names.contains(&"conn_state") {
                let why = "this is another log of Zeek: conn.log has the flows";
                self.columns = None;
                return Some(Err(why.into()));
            }
            return Some(Ok(Line::Beside(Program::Zeek)));
        }
        if line.starts_with("#separator") {
            self.is_zeek = true;
        }
        if !self.is_zeek {
            return None;
        }
        if line.starts_with('#') {
            // Without the names of its columns it is no table yet, and what it lacks does not show.
            let said = if self.columns.is_some() {
                Line::Beside(Program::Zeek)
            } else {
                Line::Nothing
            };
            return Some(Ok(said));
        }
        let columns = self.columns?;
        if !line.contains('\t') {
            return None;
        }
        let cells: Vec<&str> = line.split('\t').collect();
        if cells.len() < self.width {
            return Some(Err("cells are missing: the line was cut".into()));
        }
        if cells.len() > self.width {
            return Some(Err("there are more cells than columns".into()));
        }
        let get = |field: &str| {
            let at = FIELDS.iter().position(|name| *name == field)?;
            let cell = cells.get(columns[at]?)?;
            // What has no value and what is empty (`#unset_field`, `#empty_field`).
            (!matches!(*cell, "-" | "(empty)")).then(|| (*cell).to_owned())
        };
        Some(read(get))
    }
}

/// Reads an object; `None` if it is none of Zeek.
pub(super) fn object(object: &Json) -> Option<Result<Line, String>> {
    object.get("id.orig_h")?;
    if !object.contains_key("conn_state") {
        return Some(Ok(Line::Other(Program::Zeek)));
    }
    Some(read(|field| {
        text(object, field).map(std::borrow::Cow::into_owned)
    }))
}

fn read(get: impl Fn(&str) -> Option<String>) -> Result<Line, String> {
    let needed = |field: &str| get(field).ok_or_else(|| format!("{field} is missing"));
    let source = parsed("id.orig_h", &needed("id.orig_h")?)?;
    let destination = parsed("id.resp_h", &needed("id.resp_h")?)?;
    let name = needed("proto")?;
    if name == "unknown_transport" {
        return Err("Zeek has no name for its protocol, and so it is not listed".into());
    }
    let mut protocol = protocol(&name)?;
    let v6 = matches!(source, std::net::IpAddr::V6(_));
    if protocol == Protocol::ICMP && v6 {
        protocol = Protocol::ICMPV6;
    }
    let ports: (u16, u16) = (
        parsed("id.orig_p", &needed("id.orig_p")?)?,
        parsed("id.resp_p", &needed("id.resp_p")?)?,
    );
    // The port of who asked is the type; that of who answered is the type of the answer. Requests have code 0.
    let icmp = match (protocol, ports.0) {
        (Protocol::ICMP, icmp_type @ (8 | 13 | 15 | 17)) => Some((icmp_type as u8, 0)),
        (Protocol::ICMPV6, icmp_type @ (128 | 139)) => Some((icmp_type as u8, 0)),
        // An error or an advertisement begins no connection.
        (Protocol::ICMP | Protocol::ICMPV6, _) => return Ok(Line::Beside(Program::Zeek)),
        _ => None,
    };
    let count = |field: &str| {
        get(field)
            .map(|count| parsed::<u64>(field, &count))
            .transpose()
    };
    let state = needed("conn_state")?;
    let answered = count("resp_pkts")?.unwrap_or(0) > 0
        && count("orig_pkts")? != Some(0)
        && ANSWERED.contains(&state.as_str());
    let first = get("ts").and_then(|ts| epoch(&ts).or_else(|| ts.parse().ok()));
    let duration = get("duration").and_then(|duration| epoch(&duration));
    let last = match (first, duration) {
        (Some(first), Some(duration)) => {
            Timestamp::from_us(first.us().saturating_add(duration.us()))
        }
        (first, _) => first,
    };
    let seen = Seen {
        protocol,
        source,
        destination,
        ports: Some(ports),
        icmp,
        answered,
        connections: 1,
        first,
        last,
        reply: None,
    };
    Ok(Line::Flow(Program::Zeek, seen.record()?))
}
