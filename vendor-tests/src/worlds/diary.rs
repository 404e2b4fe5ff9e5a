//! The flows of a day.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;

use serde_json::Value;

use super::calendar::Calendar;
use crate::world::Dice;

/// Protocol, source, source port unless it is folded, destination, and destination port or ICMP type.
pub type Key = (u8, IpAddr, Option<u16>, IpAddr, u16);

const TCP: u8 = 6;
const UDP: u8 = 17;

/// A flow.
#[derive(Clone, Debug)]
pub struct Flow {
    /// What it is for, in the table of results.
    pub what: &'static str,
    /// What tells it from others.
    pub key: Key,
    /// Whether somebody answered.
    pub answered: bool,
    /// The interface that a forged source comes in by.
    pub forged_on: Option<&'static str>,
    dnat: Option<(IpAddr, u16)>,
    snat: Option<IpAddr>,
    connections: u32,
    first: f64,
    last: f64,
}

impl Flow {
    fn new(what: &'static str, key: Key) -> Self {
        Self {
            what,
            key,
            answered: true,
            forged_on: None,
            dnat: None,
            snat: None,
            connections: 1,
            first: 0.0,
            last: 0.0,
        }
    }

    /// TCP from any high port.
    pub fn tcp(what: &'static str, source: IpAddr, destination: IpAddr, port: u16) -> Self {
        Self::new(what, (TCP, source, None, destination, port))
    }

    /// UDP from any high port.
    pub fn udp(what: &'static str, source: IpAddr, destination: IpAddr, port: u16) -> Self {
        Self::new(what, (UDP, source, None, destination, port))
    }

    /// An echo request.
    pub fn ping(what: &'static str, source: IpAddr, destination: IpAddr) -> Self {
        let (protocol, kind) = if source.is_ipv4() { (1, 8) } else { (58, 128) };
        Self::new(what, (protocol, source, None, destination, kind))
    }

    /// A DHCP client's first question, from no address to all of the link (RFC 2131, section 4.1).
    pub fn dhcp_question(what: &'static str) -> Self {
        let (nobody, all) = (super::ip("0.0.0.0"), super::ip("255.255.255.255"));
        let question = Self::udp(what, nobody, all, 67);
        question.from_port(68).unanswered()
    }

    /// The answer, to an address that has no entry yet which it would be the reply to.
    pub fn dhcp_answer(what: &'static str, server: IpAddr, client: IpAddr) -> Self {
        let answer = Self::udp(what, server, client, 68);
        answer.from_port(67).unanswered()
    }

    /// From exactly this port.
    pub const fn from_port(mut self, port: u16) -> Self {
        self.key.2 = Some(port);
        self
    }

    /// Where the gateway sends it on to.
    pub const fn to(mut self, address: IpAddr, port: u16) -> Self {
        self.dnat = Some((address, port));
        self
    }

    /// What the gateway makes its source, if it is of the same family.
    pub const fn hidden_behind(mut self, address: IpAddr) -> Self {
        if address.is_ipv4() == self.key.1.is_ipv4() {
            self.snat = Some(address);
        }
        self
    }

    /// So many connections.
    pub const fn times(mut self, connections: u32) -> Self {
        self.connections = connections;
        self
    }

    /// To which nobody answers, or another address does.
    pub const fn unanswered(mut self) -> Self {
        self.answered = false;
        self
    }

    /// With a source that does not lie behind the interface it comes in by.
    pub const fn forged(mut self, interface: &'static str) -> Self {
        self.forged_on = Some(interface);
        self
    }

    /// Somebody who knocks without being asked.
    pub fn is_scan(&self) -> bool {
        self.what == "scan"
    }

    /// Somebody who does so and is not answered.
    pub fn is_idle_scan(&self) -> bool {
        self.is_scan() && !self.answered
    }

    /// In words.
    pub fn shown(&self) -> String {
        let (protocol, source, port, destination, service) = self.key;
        let protocol = match protocol {
            TCP => "tcp",
            UDP => "udp",
            1 => "icmp",
            _ => "icmpv6",
        };
        let from = port.map_or_else(String::new, |port| format!(" port {port}"));
        let to = self.dnat.map_or_else(String::new, |(address, port)| {
            format!(" (sent on to {address} port {port})")
        });
        let by = self
            .forged_on
            .map_or_else(String::new, |name| format!(" by {name}"));
        format!("{protocol} {source}{from}{by} to {destination} {service}{to}")
    }

    /// A line of a capture.
    fn line(&self, calendar: &Calendar, day: u32) -> String {
        let (protocol, source, port, destination, service) = self.key;
        let name = match protocol {
            TCP => "tcp",
            UDP => "udp",
            1 => "icmp",
            _ => "icmpv6",
        };
        let family = if source.is_ipv4() { "ipv4" } else { "ipv6" };
        let has_ports = protocol == TCP || protocol == UDP;
        let mut line = format!(
            r#"{{"type":"flow","family":"{family}","protocol":"{name}","protocol_number":{protocol},"src":"{source}","dst":"{destination}","confirmed":{},"connections":{},"first_seen":"{}","last_seen":"{}""#,
            self.answered,
            self.connections,
            calendar.time(day, self.first),
            calendar.time(day, self.last),
        );
        // Writing to a string does not fail.
        if has_ports {
            let (number, folded) = (port.unwrap_or(1024), port.is_none());
            let _ = write!(
                line,
                r#","src_port":{number},"src_port_collapsed":{folded},"dst_port":{service}"#
            );
        } else {
            let _ = write!(line, r#","icmp_type":{service},"icmp_code":0"#);
        }
        if let Some((address, port)) = self.dnat {
            let _ = write!(line, r#","dnat":{{"address":"{address}","port":{port}}}"#);
        }
        match self.snat {
            Some(address) if has_ports => {
                let _ = write!(
                    line,
                    r#","snat":{{"address":"{address}","port":1024,"port_collapsed":true}}"#
                );
            }
            Some(address) => {
                let _ = write!(line, r#","snat":{{"address":"{address}"}}"#);
            }
            None => {}
        }
        line.push_str("}\n");
        line
    }

    /// The key of a flow of a report.
    ///
    /// Panics: if it is no flow.
    pub fn key_of(flow: &Value) -> Key {
        let number = |name: &str| flow[name].as_u64().map(|it| it as u16);
        let address = |name: &str| super::ip(flow[name].as_str().expect("an address"));
        let protocol = number("protocol_number").expect("a protocol") as u8;
        let folded = flow["src_port_collapsed"] == true;
        let port = number("src_port").filter(|_| !folded);
        let service = number("dst_port").or_else(|| number("icmp_type"));
        let service = service.expect("a port or a type");
        (protocol, address("src"), port, address("dst"), service)
    }
}

/// What happened on a day.
#[derive(Debug)]
pub struct Diary {
    flows: BTreeMap<Key, Flow>,
    dice: Dice,
    /// First and last hour in which things are noted to happen.
    pub hours: (f64, f64),
}

impl Diary {
    /// An empty one.
    pub const fn new(seed: u64) -> Self {
        Self {
            flows: BTreeMap::new(),
            dice: Dice(seed),
            hours: (8.0, 18.0),
        }
    }

    /// Notes that a flow happened; one that is there already happened once more.
    pub fn note(&mut self, flow: Flow) {
        let (from, to) = self.hours;
        let part = f64::from(self.dice.below(1_000_000)) / 1_000_000.0;
        let first = (from + (to - from) * part) * 3600.0;
        let known = self.flows.entry(flow.key).or_insert_with(|| Flow {
            connections: 0,
            first,
            last: first,
            ..flow
        });
        known.connections += flow.connections;
        known.first = known.first.min(first);
        known.last = known.last.max(first + 0.5);
    }

    /// The flows.
    pub fn flows(&self) -> impl Iterator<Item = &Flow> {
        self.flows.values()
    }

    /// Whether it happened.
    pub fn has(&self, key: &Key) -> bool {
        self.flows.contains_key(key)
    }
}

/// Lines of a capture.
pub fn lines<'a>(
    flows: impl IntoIterator<Item = &'a Flow>,
    calendar: &Calendar,
    day: u32,
) -> String {
    let lines = flows.into_iter().map(|flow| flow.line(calendar, day));
    lines.collect()
}
