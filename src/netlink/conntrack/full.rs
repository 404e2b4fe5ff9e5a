//! A message with everything that a record keeps of it.
//!
//! Whether a message counts is decided where it is for the classic list; what that does not need (exact
//! source port, zone, reply direction, time) is read on top, and what can't be read of it is left out.

use std::net::IpAddr;

use super::beginning::Progress;
use super::{Proto, Skip, array, decode, event_kind};
use crate::model::flow::{Event, Flow};
use crate::model::origin::{Expected, Helper};
use crate::model::record::{Protocol, Service, SourcePort};
use crate::model::sighting::OWN;
use crate::model::sighting::Sighting;
use crate::model::timestamp::Timestamp;
use crate::model::tuple::{Reply, Tuple};
use crate::model::usage::Usage;
use crate::netlink::framing::{Message, NFGENMSG_LEN, attributes};
use crate::netlink::uapi::{
    AF_INET, CTA_COUNTERS_BYTES, CTA_COUNTERS_ORIG, CTA_COUNTERS_PACKETS, CTA_COUNTERS_REPLY,
    CTA_HELP, CTA_HELP_NAME, CTA_IP_V4_DST, CTA_IP_V4_SRC, CTA_IP_V6_DST, CTA_IP_V6_SRC,
    CTA_PROTOINFO, CTA_PROTOINFO_DCCP, CTA_PROTOINFO_SCTP, CTA_PROTOINFO_TCP,
    CTA_PROTOINFO_TCP_FLAGS_ORIGINAL, CTA_PROTOINFO_TCP_FLAGS_REPLY, CTA_PROTOINFO_TCP_STATE,
    CTA_STATUS, CTA_TIMESTAMP, CTA_TIMESTAMP_EVENT, CTA_TIMESTAMP_START, CTA_TIMESTAMP_STOP,
    CTA_TUPLE_IP, CTA_TUPLE_MASTER, CTA_TUPLE_ORIG, CTA_TUPLE_PROTO, CTA_TUPLE_REPLY,
    CTA_TUPLE_ZONE, CTA_ZONE, IPS_EXPECTED, IPS_OFFLOAD, IPS_SEEN_REPLY,
};

/// Decodes one message; of protocols that the classic list does not have only if they are asked for.
///
/// Errors: [`Skip`] says why the message gives no sighting.
pub fn sighting(message: Message<'_>, all_protocols: bool) -> Result<Sighting, Skip> {
    let known = match decode(message) {
        Ok(observation) => Some(observation),
        Err(Skip::NotListed) if all_protocols => None,
        Err(skip) => return Err(skip),
    };
    let event = event_kind(message).ok_or(Skip::NotAnEvent)?;
    let (nfgenmsg, body) = message
        .payload
        .split_first_chunk::<NFGENMSG_LEN>()
        .ok_or(Skip::Malformed)?;
    let parts = Parts::read(body);
    let raw = Raw::read(parts.original.ok_or(Skip::Malformed)?);
    let zone = parts.zone.or(raw.zone);
    let zone = zone.and_then(|be| be.try_into().ok());
    let mut tuple = match known {
        Some(observation) => listed(&observation.flow, &raw)?,
        None => raw.other(nfgenmsg[0])?,
    };
    tuple.zone = zone.map_or(0, u16::from_be_bytes);
    let status = u32::from_be_bytes(array(parts.status)?);
    let replied = status & IPS_SEEN_REPLY != 0;
    let reply = parts.reply.and_then(|reply| Raw::read(reply).reply(&tuple));
    let time = parts.time_ns.and_then(|be| be.try_into().ok());
    Ok(Sighting {
        tuple,
        translation: reply.and_then(|reply| tuple.translation(&reply)),
        replied,
        event,
        namespace: OWN,
        time: time.and_then(|be| Timestamp::from_us(u64::from_be_bytes(be) / 1000)),
        beginning: parts
            .progress(tuple.protocol, status)
            .beginning(tuple.protocol, event, replied),
        helper: parts.help.and_then(helper),
        expected_by: (status & IPS_EXPECTED != 0).then(|| expected(parts.master)),
        usage: (event == Event::Destroy).then(|| parts.usage()).flatten(),
    })
}

/// The helper of a nest that tells of one.
fn helper(nest: &[u8]) -> Option<Helper> {
    let name = attributes(nest).find(|(kind, _)| *kind == CTA_HELP_NAME)?.1;
    let name = name.split(|&byte| byte == 0).next().unwrap_or_default();
    // An entry has the nest also while no helper is assigned.
    (!name.is_empty()).then(|| Helper::parse(std::str::from_utf8(name).unwrap_or_default()))
}

/// The control connection. Only the first event of a connection has its tuple (`ctnetlink_conntrack_event`).
fn expected(master: Option<&[u8]>) -> Expected {
    let master = master.map(Raw::read).unwrap_or_default();
    let number = array::<1>(master.proto.number).map_or(0, |[number]| number);
    Expected {
        helper: None,
        protocol: Protocol(number),
        port: Raw::port(master.proto.destination_port_be).unwrap_or(0),
    }
}

/// Two numbers of a nest.
fn pair(nest: &[u8], kinds: [u16; 2]) -> [Option<u64>; 2] {
    let mut found = [None; 2];
    for (kind, value) in attributes(nest) {
        if let Some(at) = kinds.iter().position(|wanted| *wanted == kind) {
            found[at] = array(Some(value)).ok().map(u64::from_be_bytes);
        }
    }
    found
}

/// How long an entry was there, by the system's clock, which may have been set meanwhile: backwards makes no duration.
pub(crate) fn duration_us(start_ns: Option<u64>, stop_ns: Option<u64>) -> Option<u64> {
    let ns = stop_ns?.checked_sub(start_ns.filter(|start| *start > 0)?)?;
    Some(ns / 1000)
}

/// The attributes that matter; the last one of a kind wins.
#[derive(Default)]
struct Parts<'a> {
    original: Option<&'a [u8]>,
    reply: Option<&'a [u8]>,
    status: Option<&'a [u8]>,
    zone: Option<&'a [u8]>,
    time_ns: Option<&'a [u8]>,
    protocol: Option<&'a [u8]>,
    help: Option<&'a [u8]>,
    master: Option<&'a [u8]>,
    counters: [Option<&'a [u8]>; 2],
    span: Option<&'a [u8]>,
}

impl<'a> Parts<'a> {
    fn read(body: &'a [u8]) -> Self {
        let mut parts = Self::default();
        for (kind, value) in attributes(body) {
            match kind {
                CTA_TUPLE_ORIG => parts.original = Some(value),
                CTA_TUPLE_REPLY => parts.reply = Some(value),
                CTA_STATUS => parts.status = Some(value),
                CTA_ZONE => parts.zone = Some(value),
                CTA_TIMESTAMP_EVENT => parts.time_ns = Some(value),
                CTA_PROTOINFO => parts.protocol = Some(value),
                CTA_HELP => parts.help = Some(value),
                CTA_TUPLE_MASTER => parts.master = Some(value),
                CTA_COUNTERS_ORIG => parts.counters[0] = Some(value),
                CTA_COUNTERS_REPLY => parts.counters[1] = Some(value),
                CTA_TIMESTAMP => parts.span = Some(value),
                _ => {}
            }
        }
        parts
    }

    /// What the connection has carried. The kernel counts both directions or none (`dump_counters`,
    /// net/netfilter/nf_conntrack_netlink.c, Linux 6.18).
    fn usage(&self) -> Option<Usage> {
        let [original, reply] = self.counters;
        let [packets, bytes] = pair(original?, [CTA_COUNTERS_PACKETS, CTA_COUNTERS_BYTES]);
        let [reply_packets, reply_bytes] = pair(reply?, [CTA_COUNTERS_PACKETS, CTA_COUNTERS_BYTES]);
        let [start_ns, stop_ns] = pair(
            self.span.unwrap_or_default(),
            [CTA_TIMESTAMP_START, CTA_TIMESTAMP_STOP],
        );
        Some(Usage {
            ended: 1,
            bytes: bytes?,
            reply_bytes: reply_bytes?,
            packets: packets?,
            reply_packets: reply_packets?,
            duration_us: duration_us(start_ns, stop_ns),
        })
    }

    /// What the protocol's tracker says.
    fn progress(&self, protocol: Protocol, status: u32) -> Progress {
        let mut progress = Progress {
            offloaded: status & IPS_OFFLOAD != 0,
            ..Progress::default()
        };
        let nest = match protocol {
            Protocol::TCP => CTA_PROTOINFO_TCP,
            Protocol::DCCP => CTA_PROTOINFO_DCCP,
            Protocol::SCTP => CTA_PROTOINFO_SCTP,
            _ => return progress,
        };
        let mut found = attributes(self.protocol.unwrap_or_default());
        let Some((_, nest)) = found.find(|(kind, _)| *kind == nest) else {
            return progress;
        };
        let (mut original, mut reply) = (None, None);
        for (kind, value) in attributes(nest) {
            match kind {
                // The same in the nests of all three.
                CTA_PROTOINFO_TCP_STATE => progress.state = value.first().copied(),
                // Flags and the mask of those that are meant (`struct nf_ct_tcp_flags`).
                CTA_PROTOINFO_TCP_FLAGS_ORIGINAL => original = value.first().copied(),
                CTA_PROTOINFO_TCP_FLAGS_REPLY => reply = value.first().copied(),
                _ => {}
            }
        }
        if protocol == Protocol::TCP {
            progress.tcp_flags = original.zip(reply).map(|(one, other)| [one, other]);
        }
        progress
    }
}

/// A tuple's parts.
#[derive(Default)]
struct Raw<'a> {
    addresses: &'a [u8],
    proto: Proto<'a>,
    zone: Option<&'a [u8]>,
}

impl<'a> Raw<'a> {
    fn read(nest: &'a [u8]) -> Self {
        let mut raw = Self::default();
        for (kind, value) in attributes(nest) {
            match kind {
                CTA_TUPLE_IP => raw.addresses = value,
                CTA_TUPLE_PROTO => raw.proto = Proto::read(value),
                CTA_TUPLE_ZONE => raw.zone = Some(value),
                _ => {}
            }
        }
        raw
    }

    /// Source and destination of a family.
    fn endpoints(&self, v4: bool) -> Result<(IpAddr, IpAddr), Skip> {
        let (mut source, mut destination) = (None, None);
        for (kind, value) in attributes(self.addresses) {
            match kind {
                CTA_IP_V4_SRC if v4 => source = Some(value),
                CTA_IP_V4_DST if v4 => destination = Some(value),
                CTA_IP_V6_SRC if !v4 => source = Some(value),
                CTA_IP_V6_DST if !v4 => destination = Some(value),
                _ => {}
            }
        }
        Ok(if v4 {
            (array::<4>(source)?.into(), array::<4>(destination)?.into())
        } else {
            (
                array::<16>(source)?.into(),
                array::<16>(destination)?.into(),
            )
        })
    }

    fn port(be: Option<&[u8]>) -> Option<u16> {
        array(be).ok().map(u16::from_be_bytes)
    }

    /// A flow of a protocol that the classic list does not have.
    fn other(&self, family: u8) -> Result<Tuple, Skip> {
        if family != AF_INET && family != super::AF_INET6 {
            return Err(Skip::NotListed);
        }
        let protocol = Protocol(array::<1>(self.proto.number)?[0]);
        let (source, destination) = self.endpoints(family == AF_INET)?;
        let (service, source_port) = if protocol.has_ports() {
            // A kernel without the protocol's tracker does not know them (DCCP on Linux 6.18); conntrack(8)
            // shows 0 then.
            let port = |be| Self::port(be).unwrap_or(0);
            (
                Service::Port(port(self.proto.destination_port_be)),
                SourcePort::Exact(port(self.proto.source_port_be)),
            )
        } else {
            // GRE shows its keys as ports (`nf_ct_port_tuple_to_nlattr`), and they change from
            // connection to connection.
            (Service::None, SourcePort::None)
        };
        Ok(Tuple {
            source,
            destination,
            protocol,
            service,
            source_port,
            zone: 0,
        })
    }

    /// The tuple as the reply direction of a flow.
    fn reply(&self, tuple: &Tuple) -> Option<Reply> {
        let (source, destination) = self.endpoints(tuple.source.is_ipv4()).ok()?;
        Some(Reply {
            source,
            source_port: Self::port(self.proto.source_port_be),
            destination,
            destination_port: Self::port(self.proto.destination_port_be),
        })
    }
}

/// A flow of the classic list, with its exact source port.
fn listed(flow: &Flow, raw: &Raw<'_>) -> Result<Tuple, Skip> {
    let mut tuple = Tuple::of(flow);
    if tuple.source_port != SourcePort::None {
        let port = u16::from_be_bytes(array(raw.proto.source_port_be)?);
        tuple.source_port = SourcePort::Exact(port);
    }
    Ok(tuple)
}
