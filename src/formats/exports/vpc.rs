//! Flow logs of Amazon's VPC, versions 2 to 5
//! (<https://docs.aws.amazon.com/vpc/latest/userguide/flow-log-records.html>).
//!
//! Each line is of one direction of an interface, over some minutes. A flow was answered if the line of the other
//! direction is there; lines with `REJECT` tell of packets that did not pass, and answer nothing. Which ICMP type it was is
//! not told. `SKIPDATA` says that lines are missing.

use std::net::IpAddr;

use super::flow::{Seen, epoch, parsed, protocol};
use super::{Line, Program};

/// The fields of version 2, which are those that are there without a header.
const DEFAULT: [&str; 14] = [
    "version",
    "account-id",
    "interface-id",
    "srcaddr",
    "dstaddr",
    "srcport",
    "dstport",
    "protocol",
    "packets",
    "bytes",
    "start",
    "end",
    "action",
    "log-status",
];

/// The table that is being read.
#[derive(Debug, Default)]
pub(super) struct Table {
    fields: Option<Vec<String>>,
}

impl Table {
    pub(super) fn read(&mut self, line: &str) -> Option<Result<Line, String>> {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        if words.contains(&"srcaddr") || words.contains(&"pkt-srcaddr") {
            let is_name = |word: &&str| {
                word.bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte == b'-')
            };
            if !words.iter().all(is_name) {
                return None;
            }
            self.fields = Some(words.iter().map(|&word| word.to_owned()).collect());
            return Some(Ok(Line::Beside(Program::Vpc)));
        }
        let is_default = || {
            words.len() == DEFAULT.len()
                && words[0] == "2"
                && matches!(words[13], "OK" | "NODATA" | "SKIPDATA")
        };
        match &self.fields {
            Some(fields) if fields.len() == words.len() => {
                let get = |name: &str| {
                    let at = fields.iter().position(|field| field == name)?;
                    words.get(at).copied().filter(|word| *word != "-")
                };
                Some(read(get))
            }
            None if is_default() => {
                let get = |name: &str| {
                    let at = DEFAULT.iter().position(|field| *field == name)?;
                    words.get(at).copied().filter(|word| *word != "-")
                };
                Some(read(get))
            }
            _ => None,
        }
    }
}

fn read<'a>(get: impl Fn(&str) -> Option<&'a str>) -> Result<Line, String> {
    match get("log-status") {
        Some("NODATA") => return Ok(Line::Beside(Program::Vpc)),
        Some("SKIPDATA") => {
            let why = "a line says SKIPDATA: flows of that time are missing in the log";
            return Ok(Line::Lost(Program::Vpc, why.into()));
        }
        _ => {}
    }
    if get("packets") == Some("0") {
        return Ok(Line::Beside(Program::Vpc));
    }
    let needed = |name: &str| get(name).ok_or_else(|| format!("{name} is missing"));
    // Where packets go through a NAT gateway or a load balancer, those of the packet are the flow's own.
    let address = |name: &str| -> Result<IpAddr, String> {
        let packet = format!("pkt-{name}");
        parsed(name, get(&packet).map_or_else(|| needed(name), Ok)?)
    };
    let protocol = protocol(needed("protocol")?)?;
    let ports = match (get("srcport"), get("dstport")) {
        (Some(from), Some(to)) if protocol.has_ports() => {
            Some((parsed("srcport", from)?, parsed("dstport", to)?))
        }
        _ => None,
    };
    let first = get("start").and_then(epoch);
    let seen = Seen {
        protocol,
        source: address("srcaddr")?,
        destination: address("dstaddr")?,
        ports,
        icmp: None,
        answered: false,
        connections: 1,
        first,
        last: get("end").and_then(epoch),
        reply: None,
    };
    let record = seen.record()?;
    // Without the action it is not known whether the packets got through.
    Ok(match get("action") {
        Some("ACCEPT") => Line::Direction(Program::Vpc, record, None),
        _ => Line::Flow(Program::Vpc, record),
    })
}
