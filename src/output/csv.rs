//! Lists as comma-separated values (RFC 4180), the columns named as the fields of the JSON form are.

use std::io::{self, Write};

use ::csv::{Terminator, WriterBuilder};

use super::listing::Flow;
use crate::icmp;
use crate::record::{Service, SourcePort};
use crate::timestamp::Timestamp;

/// The header.
pub const COLUMNS: [&str; 23] = [
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
];

/// Writes the header and a line a flow.
///
/// # Errors
///
/// Errors of `out`.
pub fn write(flows: &[Flow], out: &mut impl Write) -> io::Result<()> {
    let mut writer = WriterBuilder::new()
        .terminator(Terminator::CRLF)
        .from_writer(out);
    writer.write_record(COLUMNS)?;
    for flow in flows {
        writer.write_record(fields(flow))?;
    }
    writer.flush()
}

/// The fields of a flow; what it has not is empty.
#[must_use]
pub fn fields(flow: &Flow) -> [String; COLUMNS.len()] {
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
        show(identity.netns.as_deref()),
        show(dnat.map(|dnat| dnat.address)),
        show(dnat.and_then(|dnat| dnat.port)),
        show(snat.map(|snat| snat.address)),
        show(snat.and_then(|snat| snat.port.number())),
        show(snat.and_then(|snat| collapsed(snat.port))),
        record.unusual_classic().unwrap_or_default().to_owned(),
    ]
}
