//! The line of a flow, and the record that it stands for.

use std::borrow::Cow;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::model::icmp;
use crate::model::learnt::Learnt;
use crate::model::listing::Part;
use crate::model::names::Names;
use crate::model::origin::{Begun, Expected, Helper, Origin};
use crate::model::record::{
    Classic, Dnat, Identity, Protocol, Record, Service, Snat, SourcePort, Translation,
};
use crate::model::ruled::{Decision, Ruled};
use crate::model::timestamp::Timestamp;
use crate::model::usage::Usage;

/// The type of a line of a flow that did not get through.
pub(super) const DENIED: &str = "denied";

/// A flow as its line has it, in the order of the fields.
#[derive(Serialize, Deserialize)]
pub(super) struct Flow<'a> {
    #[serde(borrow)]
    r#type: Cow<'a, str>,
    /// In a difference: `new`, `gone`, `confirmed`.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(super) change: Option<Cow<'a, str>>,
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
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    src_name: Option<Cow<'a, str>>,
    #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
    dst_names: Vec<Cow<'a, str>>,
    /// Which of them the client had asked for, and when.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    learnt_names: Vec<Learnt>,
    confirmed: bool,
    connections: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_seen: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_seen: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ended: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    packets: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reply_packets: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reply_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    duration_us: Option<u64>,
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
    #[serde(default, skip_serializing_if = "is_false")]
    picked_up: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    turned: Option<bool>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    helper: Option<Cow<'a, str>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    expected_by: Option<ExpectedBy<'a>>,
    /// What became of its first packet, where its way through the rules was followed.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    verdict: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    verdict_seen: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    rules: Vec<Decision>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    seen_in: Vec<SeenIn>,
}

/// The control connection whose helper expected a flow.
#[derive(Serialize, Deserialize)]
struct ExpectedBy<'a> {
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    helper: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    protocol_number: Option<u8>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ended: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    packets: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reply_packets: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reply_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    duration_us: Option<u64>,
}

impl From<&Part> for SeenIn {
    fn from(seen: &Part) -> Self {
        let [
            ended,
            packets,
            bytes,
            reply_packets,
            reply_bytes,
            duration_us,
        ] = Usage::fields(seen.usage.as_deref());
        Self {
            capture: seen.capture,
            connections: seen.connections,
            ended,
            packets,
            bytes,
            reply_packets,
            reply_bytes,
            duration_us,
        }
    }
}

impl TryFrom<SeenIn> for Part {
    type Error = String;

    fn try_from(seen: SeenIn) -> Result<Self, String> {
        Ok(Self {
            capture: seen.capture,
            connections: seen.connections,
            usage: Usage::of_fields([
                seen.ended,
                seen.packets,
                seen.bytes,
                seen.reply_packets,
                seen.reply_bytes,
                seen.duration_us,
            ])?
            .map(Box::new),
        })
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
const fn is_false(flag: &bool) -> bool {
    !*flag
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
const fn is_zero(zone: &u16) -> bool {
    *zone == 0
}

impl<'a> Flow<'a> {
    /// Takes the names of its ends. Whoever reads the line has them from its own files, or the line has none.
    pub(super) fn name(&mut self, names: &'a Names) {
        self.src_name = names.of(self.src).map(Cow::from);
        self.dst_names = names.of(self.dst).map(Cow::from).into_iter().collect();
    }

    /// Takes the names that led to it, behind those that it has.
    pub(super) fn learnt(&mut self, names: &'a [Learnt]) {
        for one in names {
            if !self.dst_names.iter().any(|known| *known == one.name) {
                self.dst_names.push(Cow::from(&one.name));
            }
        }
        self.learnt_names = names.to_vec();
    }

    /// The names that led to it.
    pub(super) fn take_learnt(&mut self) -> Vec<Learnt> {
        std::mem::take(&mut self.learnt_names)
    }

    /// The line of a record, of the captures that saw it, and of what became of it.
    pub(super) fn new(record: &'a Record, seen_in: &[Part], change: Option<&'a str>) -> Self {
        let identity = &record.identity;
        let protocol = identity.protocol;
        let (dst_port, icmp) = match identity.service {
            Service::None => (None, None),
            Service::Port(port) => (Some(port), None),
            Service::Icmp(icmp_type, code) => (None, Some((icmp_type, code))),
        };
        let usual = Record::usual_classic(record.confirmed);
        let [
            ended,
            packets,
            bytes,
            reply_packets,
            reply_bytes,
            duration_us,
        ] = Usage::fields(record.usage.as_deref());
        Self {
            r#type: "flow".into(),
            change: change.map(Cow::from),
            family: identity.family().into(),
            protocol: match protocol.name() {
                Some(name) => name.into(),
                None => protocol.to_string().into(),
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
            src_name: None,
            dst_names: Vec::new(),
            learnt_names: Vec::new(),
            confirmed: record.confirmed,
            connections: record.connections,
            first_seen: record.first_seen,
            last_seen: record.last_seen,
            ended,
            packets,
            bytes,
            reply_packets,
            reply_bytes,
            duration_us,
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
            picked_up: record.origin.begun.is_picked_up(),
            turned: record.origin.begun.turned(),
            helper: record.origin.helper.map(|helper| helper.name().into()),
            expected_by: record.origin.expected_by.map(|by| ExpectedBy {
                helper: by.helper.map(|helper| helper.name().into()),
                protocol_number: Some(by.protocol.0),
                port: (by.port != 0).then_some(by.port),
            }),
            verdict: None,
            verdict_seen: None,
            rules: Vec::new(),
            seen_in: seen_in.iter().map(SeenIn::from).collect(),
        }
    }

    /// With what decided on it.
    pub(super) fn ruled(self, ruled: &'a Ruled) -> Self {
        Self {
            verdict: Some(ruled.verdict.as_str().into()),
            verdict_seen: ruled.seen,
            rules: ruled.rules.clone(),
            ..self
        }
    }

    /// As a line of a flow that did not get through, which is none of a flow for readers of earlier versions.
    pub(super) fn denied(self) -> Self {
        Self {
            r#type: DENIED.into(),
            ..self
        }
    }

    /// Whether it is the line of a flow that did not get through.
    pub(super) fn is_denied(&self) -> bool {
        self.r#type == DENIED
    }

    /// What decided on it, if that is told.
    pub(super) fn take_ruled(&mut self) -> Option<Ruled> {
        Some(Ruled {
            verdict: self.verdict.take()?.into_owned(),
            seen: self.verdict_seen,
            rules: std::mem::take(&mut self.rules),
        })
    }

    /// The record of a line, and the captures that saw it; or what is wrong with the line.
    pub(super) fn into_record(self) -> Result<(Record, Vec<Part>), String> {
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
            origin: Origin {
                begun: Begun::told(self.picked_up, self.turned),
                helper: self.helper.map(|name| Helper::parse(&name)),
                expected_by: self.expected_by.map(|by| Expected {
                    helper: by.helper.map(|name| Helper::parse(&name)),
                    protocol: Protocol(by.protocol_number.unwrap_or(0)),
                    port: by.port.unwrap_or(0),
                }),
            },
            usage: Usage::of_fields([
                self.ended,
                self.packets,
                self.bytes,
                self.reply_packets,
                self.reply_bytes,
                self.duration_us,
            ])?
            .map(Box::new),
        };
        let seen_in: Result<_, String> = self.seen_in.into_iter().map(Part::try_from).collect();
        Ok((record, seen_in?))
    }
}

const fn collapsed(port: SourcePort) -> Option<bool> {
    match port {
        SourcePort::None => None,
        SourcePort::Exact(_) => Some(false),
        SourcePort::Ephemeral => Some(true),
    }
}
