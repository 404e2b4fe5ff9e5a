//! The JSON form of captures and flows, one object a line, to write and to read.
//!
//! docs/json.md describes it field by field, docs/schema.json formally.

use std::borrow::Cow;
use std::io::{self, Write};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::capture::Capture;
use crate::icmp;
use crate::record::{
    Classic, Dnat, Identity, Protocol, Record, Service, Snat, SourcePort, Translation,
};
use crate::timestamp::Timestamp;

/// Version of the form. Raised when a reader of the old one would misunderstand the new one; new fields
/// alone don't raise it.
pub const SCHEMA: u32 = 1;

/// What a line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// The captures that the flows after it were seen in.
    Captures(Vec<Capture>),
    /// A flow. The pairs are indices of captures, where there are several, and connections seen there.
    Flow(Box<Record>, Vec<(u32, u64)>),
    /// The end of a state, and how many flows it has.
    End(u64),
    /// An object of another type, which a later version may have added.
    Other,
}

/// Why a line can't be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// The whole file is of a newer schema.
    Newer(u32),
    /// This line is wrong.
    Malformed(String),
}

#[derive(Serialize)]
struct HeadOut<'a> {
    r#type: &'static str,
    schema: u32,
    #[serde(flatten)]
    capture: Option<&'a Capture>,
    #[serde(skip_serializing_if = "Option::is_none")]
    captures: Option<&'a [Capture]>,
}

#[derive(Deserialize)]
struct HeadIn {
    schema: u32,
    captures: Option<Vec<Capture>>,
    #[serde(flatten)]
    capture: Capture,
}

#[derive(Deserialize)]
struct Kind<'a> {
    #[serde(borrow)]
    r#type: Cow<'a, str>,
    schema: Option<u32>,
}

/// A flow as its line has it, in the order of the fields.
#[derive(Serialize, Deserialize)]
struct Flow<'a> {
    #[serde(borrow)]
    r#type: Cow<'a, str>,
    /// In a difference: `new`, `gone`, `confirmed`.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    change: Option<Cow<'a, str>>,
    #[serde(borrow)]
    family: Cow<'a, str>,
    #[serde(borrow, default)]
    protocol: Cow<'a, str>,
    protocol_number: u8,
    src: IpAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    src_port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    src_port_collapsed: Option<bool>,
    dst: IpAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    dst_port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    icmp_type: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    icmp_code: Option<u8>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    icmp_name: Option<Cow<'a, str>>,
    confirmed: bool,
    connections: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_seen: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_seen: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "is_zero")]
    zone: u16,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    netns: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dnat: Option<Address>,
    #[serde(skip_serializing_if = "Option::is_none")]
    snat: Option<Address>,
    #[serde(skip_serializing_if = "Option::is_none")]
    classic: Option<ClassicName>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    seen_in: Vec<SeenIn>,
}

/// An address after translation.
#[derive(Serialize, Deserialize)]
struct Address {
    address: IpAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    /// Of a source port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    port_collapsed: Option<bool>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ClassicName {
    Absent,
    Unconfirmed,
}

#[derive(Serialize, Deserialize)]
struct SeenIn {
    capture: u32,
    connections: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
const fn is_zero(zone: &u16) -> bool {
    *zone == 0
}

impl Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Writes the line that describes the captures.
///
/// # Errors
///
/// Errors of `out`.
pub fn write_captures(captures: &[Capture], out: &mut impl Write) -> io::Result<()> {
    let (capture, captures) = match captures {
        [one] => (Some(one), None),
        [] => (None, None),
        several => (None, Some(several)),
    };
    let head = HeadOut {
        r#type: "capture",
        schema: SCHEMA,
        capture,
        captures,
    };
    serde_json::to_writer(&mut *out, &head)?;
    out.write_all(b"\n")
}

#[derive(Serialize, Deserialize)]
struct End {
    flows: u64,
}

/// Writes the line that ends a state of so many flows.
///
/// # Errors
///
/// Errors of `out`.
pub fn write_end(flows: u64, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "{{\"type\":\"end\",\"flows\":{flows}}}")
}

/// Writes the line of a flow. `seen_in` is empty unless there are several captures.
///
/// # Errors
///
/// Errors of `out`.
pub fn write_flow(record: &Record, seen_in: &[(u32, u64)], out: &mut impl Write) -> io::Result<()> {
    write(record, seen_in, None, out)
}

/// Writes the line of a flow in a difference, with what became of it.
///
/// # Errors
///
/// Errors of `out`.
pub fn write_change(change: &str, record: &Record, out: &mut impl Write) -> io::Result<()> {
    write(record, &[], Some(change), out)
}

fn write(
    record: &Record,
    seen_in: &[(u32, u64)],
    change: Option<&str>,
    out: &mut impl Write,
) -> io::Result<()> {
    let identity = &record.identity;
    let protocol = identity.protocol;
    let number;
    let (dst_port, icmp) = match identity.service {
        Service::None => (None, None),
        Service::Port(port) => (Some(port), None),
        Service::Icmp(icmp_type, code) => (None, Some((icmp_type, code))),
    };
    let usual = Record::usual_classic(record.confirmed);
    let flow = Flow {
        r#type: "flow".into(),
        change: change.map(Cow::from),
        family: identity.family().into(),
        protocol: match protocol.name() {
            Some(name) => name.into(),
            None => {
                number = protocol.to_string();
                number.as_str().into()
            }
        },
        protocol_number: protocol.0,
        src: identity.source,
        src_port: identity.source_port.number(),
        src_port_collapsed: collapsed(identity.source_port),
        dst: identity.destination,
        dst_port,
        icmp_type: icmp.map(|(icmp_type, _)| icmp_type),
        icmp_code: icmp.map(|(_, code)| code),
        icmp_name: icmp
            .and_then(|(icmp_type, _)| icmp::name(protocol, icmp_type))
            .map(Cow::from),
        confirmed: record.confirmed,
        connections: record.connections,
        first_seen: record.first_seen,
        last_seen: record.last_seen,
        zone: identity.zone,
        netns: identity.netns.as_deref().map(Cow::from),
        dnat: identity.dnat().map(|Dnat { address, port }| Address {
            address,
            port,
            port_collapsed: None,
        }),
        snat: identity.snat().map(|snat| Address {
            address: snat.address,
            port: snat.port.number(),
            port_collapsed: collapsed(snat.port),
        }),
        classic: match record.classic {
            same if same == usual => None,
            Classic::Absent => Some(ClassicName::Absent),
            Classic::Listed | Classic::Confirmed => Some(ClassicName::Unconfirmed),
        },
        seen_in: seen_in
            .iter()
            .map(|&(capture, connections)| SeenIn {
                capture,
                connections,
            })
            .collect(),
    };
    serde_json::to_writer(&mut *out, &flow)?;
    out.write_all(b"\n")
}

const fn collapsed(port: SourcePort) -> Option<bool> {
    match port {
        SourcePort::None => None,
        SourcePort::Exact(_) => Some(false),
        SourcePort::Ephemeral => Some(true),
    }
}

/// Reads a line.
///
/// # Errors
///
/// [`Unreadable`] says why it can't be read.
pub fn parse(line: &[u8]) -> Result<Line, Unreadable> {
    // Nearly all lines are flows as this program writes them: those are read in one pass. What is wrong
    // with a line, if anything, the passes below find out.
    if line.starts_with(br#"{"type":"flow","family""#) {
        if let Ok(flow) = serde_json::from_slice::<Flow<'_>>(line) {
            return flow.into_line();
        }
    }
    let kind: Kind<'_> = serde_json::from_slice(line).map_err(malformed)?;
    if let Some(schema) = kind.schema.filter(|&schema| schema > SCHEMA) {
        return Err(Unreadable::Newer(schema));
    }
    match kind.r#type.as_ref() {
        "capture" => {
            let head: HeadIn = serde_json::from_slice(line).map_err(malformed)?;
            debug_assert!(head.schema <= SCHEMA);
            Ok(Line::Captures(match head.captures {
                Some(captures) => captures,
                None if head.capture == Capture::default() => Vec::new(),
                None => vec![head.capture],
            }))
        }
        "flow" => {
            let flow: Flow<'_> = serde_json::from_slice(line).map_err(malformed)?;
            flow.into_line()
        }
        "end" => serde_json::from_slice(line)
            .map(|end: End| Line::End(end.flows))
            .map_err(malformed),
        _ => Ok(Line::Other),
    }
}

fn malformed(error: serde_json::Error) -> Unreadable {
    // The line and column that it ends in are those within this one line.
    let text = error.to_string();
    let cause = text
        .rsplit_once(" at line ")
        .map_or(text.as_str(), |(cause, _)| cause);
    Unreadable::Malformed(cause.to_owned())
}

impl Flow<'_> {
    fn into_line(self) -> Result<Line, Unreadable> {
        // What a difference tells of flows that are gone is no capture of them.
        if self.change.as_deref() == Some("gone") {
            return Ok(Line::Other);
        }
        let (record, seen_in) = self.into_record().map_err(Unreadable::Malformed)?;
        Ok(Line::Flow(Box::new(record), seen_in))
    }

    fn into_record(self) -> Result<(Record, Vec<(u32, u64)>), String> {
        let protocol = Protocol(self.protocol_number);
        let family = if self.src.is_ipv4() { "ipv4" } else { "ipv6" };
        if self.family != family || self.src.is_ipv4() != self.dst.is_ipv4() {
            return Err("family, src and dst are not of one address family".into());
        }
        let source_port = match (protocol.has_ports(), self.src_port) {
            (false, _) => SourcePort::None,
            (true, None) => return Err("src_port is missing".into()),
            (true, Some(_)) if self.src_port_collapsed == Some(true) => SourcePort::Ephemeral,
            (true, Some(port)) => SourcePort::Exact(port),
        };
        let service = if protocol.has_ports() {
            Service::Port(self.dst_port.ok_or("dst_port is missing")?)
        } else if protocol.is_icmp() {
            // A list of the C tool does not tell them.
            match (self.icmp_type, self.icmp_code) {
                (None, None) => Service::None,
                (Some(icmp_type), Some(code)) => Service::Icmp(icmp_type, code),
                (None, Some(_)) => return Err("icmp_type is missing".into()),
                (Some(_), None) => return Err("icmp_code is missing".into()),
            }
        } else {
            Service::None
        };
        let translated = [&self.dnat, &self.snat].into_iter().flatten();
        if { translated }.any(|to| to.address.is_ipv4() != self.src.is_ipv4()) {
            return Err("dnat or snat is of another address family".into());
        }
        let dnat = self
            .dnat
            .map(|Address { address, port, .. }| Dnat { address, port });
        let snat = self.snat.map(|to| Snat {
            address: to.address,
            port: match to.port {
                None => SourcePort::None,
                Some(_) if to.port_collapsed == Some(true) => SourcePort::Ephemeral,
                Some(port) => SourcePort::Exact(port),
            },
        });
        let translation =
            (dnat.is_some() || snat.is_some()).then(|| Box::new(Translation { dnat, snat }));
        let record = Record {
            identity: Identity {
                source: self.src,
                destination: self.dst,
                protocol,
                service,
                source_port,
                zone: self.zone,
                netns: self.netns.map(|name| name.as_ref().into()),
                translation,
            },
            confirmed: self.confirmed,
            connections: self.connections,
            first_seen: self.first_seen,
            last_seen: self.last_seen,
            classic: match self.classic {
                None => Record::usual_classic(self.confirmed),
                Some(ClassicName::Absent) => Classic::Absent,
                Some(ClassicName::Unconfirmed) => Classic::Listed,
            },
        };
        let seen_in = self.seen_in.iter();
        let seen_in = seen_in
            .map(|seen| (seen.capture, seen.connections))
            .collect();
        Ok((record, seen_in))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record {
            identity: Identity {
                source: "10.0.0.1".parse().unwrap(),
                destination: "192.0.2.1".parse().unwrap(),
                protocol: Protocol::TCP,
                service: Service::Port(443),
                source_port: SourcePort::Ephemeral,
                zone: 7,
                netns: None,
                translation: Some(Box::new(Translation {
                    dnat: Some(Dnat {
                        address: "10.1.0.1".parse().unwrap(),
                        port: Some(8443),
                    }),
                    snat: None,
                })),
            },
            confirmed: true,
            connections: 3,
            first_seen: Timestamp::from_us(1),
            last_seen: Timestamp::from_us(1_600_000_000_000_001),
            classic: Classic::Listed,
        }
    }

    #[test]
    fn a_flow_reads_back_as_it_was() {
        let mut line = Vec::new();
        write_flow(&record(), &[(0, 1), (3, 2)], &mut line).unwrap();
        let text = String::from_utf8(line.clone()).unwrap();
        assert_eq!(
            text,
            "{\"type\":\"flow\",\"family\":\"ipv4\",\"protocol\":\"tcp\",\"protocol_number\":6,\
             \"src\":\"10.0.0.1\",\"src_port\":1024,\"src_port_collapsed\":true,\
             \"dst\":\"192.0.2.1\",\"dst_port\":443,\"confirmed\":true,\"connections\":3,\
             \"first_seen\":\"1970-01-01T00:00:00.000001Z\",\"last_seen\":\"2020-09-13T12:26:40.000001Z\",\
             \"zone\":7,\"dnat\":{\"address\":\"10.1.0.1\",\"port\":8443},\"classic\":\"unconfirmed\",\
             \"seen_in\":[{\"capture\":0,\"connections\":1},{\"capture\":3,\"connections\":2}]}\n"
        );
        assert_eq!(
            parse(&line),
            Ok(Line::Flow(Box::new(record()), vec![(0, 1), (3, 2)]))
        );
    }

    #[test]
    fn what_a_line_leaves_out_reads_back() {
        let mut unknown_type = record();
        unknown_type.identity.protocol = Protocol::ICMP;
        unknown_type.identity.service = Service::None;
        unknown_type.identity.source_port = SourcePort::None;
        unknown_type.identity.translation = None;
        let mut lifted = record();
        lifted.identity.source_port = SourcePort::Exact(600);
        lifted.identity.translation = Some(Box::new(Translation {
            dnat: None,
            snat: Some(Snat {
                address: "10.9.0.1".parse().unwrap(),
                port: SourcePort::Ephemeral,
            }),
        }));
        for record in [unknown_type, lifted] {
            let mut line = Vec::new();
            write_flow(&record, &[], &mut line).unwrap();
            assert_eq!(parse(&line), Ok(Line::Flow(Box::new(record), vec![])));
        }
    }

    #[test]
    fn what_is_gone_is_no_flow() {
        for (change, read) in [("new", true), ("gone", false)] {
            let mut line = Vec::new();
            write_change(change, &record(), &mut line).unwrap();
            assert_eq!(matches!(parse(&line), Ok(Line::Flow(..))), read);
        }
    }

    #[test]
    fn captures_read_back_as_they_were() {
        let named = |host: &str| Capture {
            host: Some(host.to_owned()),
            start: Timestamp::from_us(5),
            ..Capture::default()
        };
        for captures in [vec![], vec![named("a")], vec![named("a"), named("b")]] {
            let mut line = Vec::new();
            write_captures(&captures, &mut line).unwrap();
            assert_eq!(parse(&line), Ok(Line::Captures(captures)));
        }
    }

    #[test]
    fn what_is_newer_or_wrong_says_so() {
        assert_eq!(
            parse(br#"{"type":"capture","schema":2,"start":17}"#),
            Err(Unreadable::Newer(2))
        );
        assert_eq!(parse(br#"{"type":"note"}"#), Ok(Line::Other));
        let wrong = [
            r#"{"type":"flow""#,
            r#"{"type":"flow","family":"ipv4","protocol_number":6,"src":"10.0.0.1","dst":"::1","src_port":1,"dst_port":1,"confirmed":true,"connections":0}"#,
            r#"{"type":"flow","family":"ipv4","protocol_number":6,"src":"10.0.0.1","dst":"10.0.0.2","confirmed":true,"connections":0}"#,
        ];
        for line in wrong {
            assert!(
                matches!(parse(line.as_bytes()), Err(Unreadable::Malformed(_))),
                "{line}"
            );
        }
    }
}
