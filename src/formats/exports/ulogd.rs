//! Flows of ulogd2 (plugin NFCT): as JSON, and as lines of its log or of syslog (PRINTFLOW).
//!
//! ```text
//! Nov 26 18:24:18 gw [DESTROY] ORIG: SRC=… DST=… PROTO=UDP SPT=… DPT=… PKTS=1 BYTES=29 , REPLY: SRC=… … PKTS=0 BYTES=0
//! ```
//!
//! A flow was answered if packets of the reply were counted (`reply.raw.pktcount`, `PKTS=`): that takes
//! `net.netfilter.nf_conntrack_acct=1` and the end of the connection. The beginning of a connection is no answer.

use std::net::IpAddr;

use super::flow::{Seen, parsed, protocol};
use super::json::{Json, needed, optional};
use super::{Line, Program};
use crate::formats::conntrack;
use crate::model::record::Protocol;
use crate::model::timestamp::Timestamp;
use crate::model::tuple::Reply;

/// `NFCT_T_NEW` and `NFCT_T_DESTROY`, as `ct.event` has them.
const NEW: u32 = 1;
const DESTROY: u32 = 4;

/// The file that is being read.
#[derive(Debug, Default)]
pub(super) struct Events {
    /// Whether beginnings are in it, so that ends are no further connections.
    has_beginnings: bool,
}

impl Events {
    /// Reads an object; `None` if it is none of ulogd2's flows.
    pub(super) fn object(&mut self, object: &Json) -> Option<Result<Line, String>> {
        let is_flow = object.contains_key("orig.ip.protocol");
        if !is_flow && object.contains_key("oob.family") {
            // A packet that a rule logs.
            return Some(Ok(Line::Other(Program::Ulogd)));
        }
        is_flow.then(|| self.flow(object))
    }

    fn flow(&mut self, object: &Json) -> Result<Line, String> {
        // Fields that the Common Information Model of Splunk has a name for go by that.
        let address = |names: [&str; 2]| match optional(object, names[0])? {
            Some(address) => Ok(address),
            None => needed::<IpAddr>(object, names[1]),
        };
        let source = address(["src_ip", "orig.ip.saddr.str"])?;
        let destination = address(["dest_ip", "orig.ip.daddr.str"])?;
        let protocol = Protocol(needed(object, "orig.ip.protocol")?);
        let port = |name: &str| optional::<u16>(object, name);
        let ports = port("orig.l4.sport")?.zip(port("orig.l4.dport")?);
        let reply = match (
            optional(object, "reply.ip.saddr.str")?,
            optional(object, "reply.ip.daddr.str")?,
        ) {
            (Some(source), Some(destination)) => Some(Reply {
                source,
                source_port: port("reply.l4.sport")?,
                destination,
                destination_port: port("reply.l4.dport")?,
            }),
            _ => None,
        };
        let time = |which: &str| {
            let seconds = optional::<u64>(object, &format!("flow.{which}.sec"))?;
            let us = optional::<u64>(object, &format!("flow.{which}.usec"))?.unwrap_or(0);
            let us = seconds.and_then(|seconds| seconds.checked_mul(1_000_000)?.checked_add(us));
            Ok::<_, String>(us.and_then(Timestamp::from_us))
        };
        let event = optional(object, "ct.event")?;
        let counted = optional::<u64>(object, "reply.raw.pktcount")?;
        let seen = Seen {
            protocol,
            source,
            destination,
            ports,
            icmp: optional(object, "icmp.type")?.zip(optional(object, "icmp.code")?),
            answered: event != Some(NEW) && counted.unwrap_or(0) > 0,
            connections: self.connections(event),
            first: time("start")?,
            last: time("end")?,
            reply,
        };
        Ok(Line::Flow(Program::Ulogd, seen.record()?))
    }

    fn connections(&mut self, event: Option<u32>) -> u64 {
        match event {
            Some(NEW) => {
                self.has_beginnings = true;
                1
            }
            Some(DESTROY) if !self.has_beginnings => 1,
            _ => 0,
        }
    }

    /// Reads a line of PRINTFLOW; `None` if it is none.
    pub(super) fn line(&mut self, line: &str) -> Option<Result<Line, String>> {
        let (before, flow) = line.split_once(" ORIG: SRC=")?;
        let (prefix, event) = before.rsplit_once('[').unwrap_or(("", before));
        let event = match event {
            "NEW]" => Some(NEW),
            "UPDATE]" => None,
            "DESTROY]" => Some(DESTROY),
            _ => return None,
        };
        Some(self.printed(prefix, event, flow))
    }

    fn printed(&mut self, prefix: &str, event: Option<u32>, flow: &str) -> Result<Line, String> {
        let (original, reply) = flow
            .split_once(" , REPLY: SRC=")
            .ok_or("the reply direction is missing")?;
        let (original, reply) = (Printed::read(original)?, Printed::read(reply)?);
        if original.protocol != reply.protocol {
            return Err("the directions are not of one protocol".into());
        }
        // A line that was cut has no counter at its end, where nothing but that one tells of an answer.
        let counted = reply.packets.ok_or("PKTS= is missing")?;
        let first = conntrack::prefix_time(prefix)?;
        let seen = Seen {
            protocol: original.protocol,
            source: original.source,
            destination: original.destination,
            ports: original.ports,
            // ulogd2 up to 2.0.8 prints the code as TYPE and the type as CODE, and nobody says which version it was.
            icmp: None,
            answered: event != Some(NEW) && counted > 0,
            connections: self.connections(event),
            first,
            last: first,
            reply: Some(Reply {
                source: reply.source,
                source_port: reply.ports.map(|(port, _)| port),
                destination: reply.destination,
                destination_port: reply.ports.map(|(_, port)| port),
            }),
        };
        Ok(Line::Flow(Program::Ulogd, seen.record()?))
    }
}

/// One direction of a line of PRINTFLOW.
struct Printed {
    source: IpAddr,
    destination: IpAddr,
    protocol: Protocol,
    ports: Option<(u16, u16)>,
    packets: Option<u64>,
}

impl Printed {
    /// Reads what stands behind `SRC=`.
    fn read(text: &str) -> Result<Self, String> {
        let mut words = text.split_ascii_whitespace();
        let source = parsed("SRC", words.next().unwrap_or_default())?;
        let (mut destination, mut name, mut from, mut to, mut packets, mut bytes) =
            (None, None, None, None, None, false);
        for word in words {
            let (key, value) = word.split_once('=').unwrap_or((word, ""));
            match key {
                "DST" => destination = Some(parsed(key, value)?),
                "PROTO" => name = Some(protocol(value)?),
                "SPT" => from = Some(parsed(key, value)?),
                "DPT" => to = Some(parsed(key, value)?),
                "PKTS" => packets = Some(parsed(key, value)?),
                "BYTES" => bytes = true,
                "TYPE" | "CODE" => {}
                _ => return Err(format!("{key:?} is not expected there")),
            }
        }
        Ok(Self {
            source,
            destination: destination.ok_or("DST= is missing")?,
            protocol: name.ok_or("PROTO= is missing")?,
            ports: from.zip(to),
            // The counter of bytes stands behind that of packets, which so was not cut.
            packets: packets.filter(|_| bytes),
        })
    }
}
