//! Records of flows in eve.json of Suricata (<https://docs.suricata.io/en/latest/output/eve/eve-json-format.html>).
//!
//! A flow was answered if packets went to the client as well as to the server (`flow.pkts_toclient`, `flow.pkts_toserver`).
//! Records of type `netflow` are of one direction. Those of other types are passed over.

use serde_json::Value;

use super::flow::{Seen, protocol};
use super::json::{Json, needed, optional, text};
use super::{Line, Program};
use crate::model::record::Protocol;
use crate::model::timestamp::Timestamp;

/// Reads an object; `None` if it is none of Suricata.
pub(super) fn object(object: &Json) -> Option<Result<Line, String>> {
    let kind = object.get("event_type")?.as_str()?;
    Some(match kind {
        // pmacct's word for what it writes.
        "purge" => return None,
        "flow" | "netflow" => read(object, kind == "netflow"),
        _ => Ok(Line::Other(Program::Suricata)),
    })
}

fn read(object: &Json, is_direction: bool) -> Result<Line, String> {
    let key = if is_direction { "netflow" } else { "flow" };
    let Some(Value::Object(flow)) = object.get(key) else {
        return Err(format!("{key} is missing"));
    };
    let name = text(object, "proto").ok_or("proto is missing")?;
    let protocol = protocol(&name)?;
    let ports = optional(object, "src_port")?.zip(optional(object, "dest_port")?);
    let icmp = optional(object, "icmp_type")?.zip(optional(object, "icmp_code")?);
    if is_direction && optional::<u64>(flow, "pkts")? == Some(0) {
        return Ok(Line::Other(Program::Suricata));
    }
    // The kernel takes no flow from an error or an answer (`valid_new`, nf_conntrack_proto_icmp.c).
    let begins = match (protocol, icmp) {
        (Protocol::ICMP, Some((icmp_type, _))) => matches!(icmp_type, 8 | 13 | 15 | 17),
        (Protocol::ICMPV6, Some((icmp_type, _))) => matches!(icmp_type, 128 | 139),
        _ => true,
    };
    if !begins && !is_direction {
        return Ok(Line::Other(Program::Suricata));
    }
    // What answers a request has a type of its own; an error is none.
    let response: Option<u8> = optional(object, "response_icmp_type")?;
    let answer = icmp.map(|(icmp_type, _): (u8, u8)| match (protocol, icmp_type) {
        (Protocol::ICMP, 8) => 0,
        (_, icmp_type) => icmp_type.wrapping_add(1),
    });
    let answered = !is_direction
        && (response.is_none() || response == answer)
        && needed::<u64>(flow, "pkts_toclient")? > 0
        && needed::<u64>(flow, "pkts_toserver")? > 0;
    let seen = Seen {
        protocol,
        source: needed(object, "src_ip")?,
        destination: needed(object, "dest_ip")?,
        ports,
        icmp,
        answered,
        connections: 1,
        first: time(flow, "start"),
        last: time(flow, "end"),
        reply: None,
    };
    let record = seen.record()?;
    Ok(if is_direction {
        Line::Direction(Program::Suricata, record, None)
    } else {
        Line::Flow(Program::Suricata, record)
    })
}

/// `2026-11-26T11:22:20.123456+0000`.
fn time(flow: &Json, key: &str) -> Option<Timestamp> {
    let text = text(flow, key)?;
    crate::formats::conntrack::full_time(&text)
}
