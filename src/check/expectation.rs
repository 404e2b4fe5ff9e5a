//! Expectations: a file that says which flows a ruleset has to pass, and which it has to stop.
//!
//! ```toml
//! local = ["192.168.1.1/24", "203.0.113.1/30"]      # as --local
//!
//! [interfaces]                                      # as --interface
//! lan = ["192.168.0.0/16"]
//! wan = ["0.0.0.0/0"]
//!
//! [[flow]]
//! name = "the office reaches the web"
//! from = "192.168.1.0/24"
//! to = ["198.51.100.7", "198.51.100.8"]
//! service = "tcp/443"
//! verdict = "accepted"
//! ```
//!
//! Of a network its first and its last address are tried, since that is where a wrong prefix shows. Each pair of ends
//! and each service is a flow of its own.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::sync::Arc;

use ipnet::IpNet;
use serde::Deserialize;
use toml::Spanned;

use crate::check::device::is_device_name;
use crate::check::network::Hints;
use crate::check::verdict::{Outcome, Verdict};
use crate::model::error::Error;
use crate::model::icmp;
use crate::model::record::{Identity, Protocol, Record, Service, SourcePort};
use crate::model::tuple::Tuple;

/// A file of expectations is never larger.
const BYTES_MAX: u64 = 1 << 20;
/// Flows of one `[[flow]]`: more is a mistake.
const FLOWS_MAX: usize = 4096;

/// What has to become of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Wanted {
    /// It passes, and so does its answer.
    Accepted,
    /// Its first packet is dropped.
    Dropped,
    /// Its first packet is refused with an answer.
    Rejected,
    /// Its first packet is dropped or rejected.
    Stopped,
}

impl Wanted {
    /// In one word, as the file says it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Dropped => "dropped",
            Self::Rejected => "rejected",
            Self::Stopped => "stopped",
        }
    }

    /// Whether a verdict is what was wanted; `None` if there is no verdict.
    pub fn is_met_by(self, verdict: &Verdict) -> Option<bool> {
        let decides = match self {
            Self::Accepted => verdict.worst(),
            _ => &verdict.first,
        };
        Some(match (self, decides) {
            (_, Outcome::Undecided(..)) => return None,
            (Self::Accepted, outcome) => *outcome == Outcome::Accepted,
            (Self::Dropped, outcome) => matches!(outcome, Outcome::Dropped(_)),
            (Self::Rejected, outcome) => matches!(outcome, Outcome::Rejected(_)),
            (Self::Stopped, outcome) => *outcome != Outcome::Accepted,
        })
    }
}

/// One flow, and what has to become of it.
#[derive(Clone, Debug)]
pub struct Expectation {
    /// The file that says so.
    pub file: Arc<str>,
    /// The line of its `[[flow]]`, from 1.
    pub line: usize,
    /// What the file calls it.
    pub name: Option<String>,
    /// What has to become of it.
    pub wanted: Wanted,
    /// The flow.
    pub record: Record,
}

/// What a file says.
#[derive(Clone, Debug, Default)]
pub struct Expectations {
    /// Each flow, in the file's order.
    pub flows: Vec<Expectation>,
    /// The host's addresses and the networks behind its devices.
    pub hints: Hints,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileIn {
    local: Option<Spanned<OneOrMore>>,
    #[serde(default)]
    interfaces: BTreeMap<Spanned<String>, Spanned<OneOrMore>>,
    #[serde(default)]
    flow: Vec<Spanned<FlowIn>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FlowIn {
    name: Option<String>,
    from: Spanned<OneOrMore>,
    to: Spanned<OneOrMore>,
    service: Spanned<OneOrMore>,
    source_port: Option<u16>,
    verdict: Wanted,
}

/// A text, or a list of texts.
#[derive(Deserialize)]
#[serde(untagged, expecting = "write a text, or a list of texts")]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

impl OneOrMore {
    fn as_slice(&self) -> &[String] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::More(more) => more,
        }
    }
}

/// What is wrong, and the byte at which.
type Wrong = (usize, String);

impl Expectations {
    /// Reads a file.
    ///
    /// Errors: what can't be read, or means nothing, with its line.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let found = fs::metadata(path).map_err(|error| Error::file(path, error))?;
        if !found.is_file() || found.len() > BYTES_MAX {
            let why = "is no file of expectations: it has to be a regular file of at most 1 MiB";
            return Err(Error::file(path, why));
        }
        let text = fs::read_to_string(path).map_err(|error| Error::file(path, error))?;
        let name = path.display().to_string();
        Self::parse(&name, &text).map_err(|(offset, why)| {
            Error::new(format!("{name}:{}: {why}", line_of(&text, offset)))
        })
    }

    fn parse(file: &str, text: &str) -> Result<Self, Wrong> {
        let read: FileIn = toml::from_str(text).map_err(|error| {
            let offset = error.span().map_or(0, |span| span.start);
            (offset, error.message().replace('\n', ", "))
        })?;
        let mut expectations = Self::default();
        if let Some(local) = &read.local {
            expectations.hints.local = parse(local, network)?;
        }
        for (device, networks) in &read.interfaces {
            if !is_device_name(device.get_ref()) {
                let why = format!("{:?} is no name of a device", device.get_ref());
                return Err((device.span().start, why));
            }
            let networks = parse(networks, network)?.into_iter();
            let behind = networks.map(|net| (net.trunc(), device.get_ref().clone()));
            expectations.hints.interfaces.extend(behind);
        }
        if read.flow.is_empty() {
            return Err((0, "there is no [[flow]] in it".to_owned()));
        }
        let file: Arc<str> = file.into();
        for flow in &read.flow {
            let records = records(flow.get_ref()).map_err(|(offset, why)| {
                let offset = offset.unwrap_or_else(|| flow.span().start);
                (offset, why)
            })?;
            let flow_in = flow.get_ref();
            let line = line_of(text, flow.span().start);
            let flows = records.into_iter().map(|record| Expectation {
                file: Arc::clone(&file),
                line,
                name: flow_in.name.clone(),
                wanted: flow_in.verdict,
                record,
            });
            expectations.flows.extend(flows);
        }
        Ok(expectations)
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    let before = text.as_bytes().get(..offset).unwrap_or_default();
    before.iter().filter(|&&byte| byte == b'\n').count() + 1
}

/// Each text's meaning; what is wrong is told with the place of the first of them.
fn parse<T>(
    texts: &Spanned<OneOrMore>,
    read: fn(&str) -> Result<T, String>,
) -> Result<Vec<T>, Wrong> {
    let all = texts.get_ref().as_slice().iter();
    all.map(|text| read(text))
        .collect::<Result<_, _>>()
        .map_err(|why| (texts.span().start, why))
}

/// An address, or a network.
fn network(text: &str) -> Result<IpNet, String> {
    let alone = || text.parse().map(|address: IpAddr| address.into());
    text.parse().or_else(|_| alone()).map_err(|_| {
        format!(
            "{text:?} is no address: write one like 192.168.1.10, or a network like 192.168.1.0/24"
        )
    })
}

/// `tcp/443`, `icmp/echo-request`, `icmp/3/1`, `gre`.
fn service(text: &str) -> Result<(Protocol, Service), String> {
    let wrong = || {
        format!(
            "{text:?} is no service: write one like tcp/443, udp/53, icmp/echo-request, icmp/3/1 or gre"
        )
    };
    let mut words = text.split('/');
    let protocol = words.next().and_then(Protocol::parse).ok_or_else(wrong)?;
    let rest: Vec<&str> = words.collect();
    let service = match (rest.as_slice(), protocol) {
        ([port], protocol) if protocol.has_ports() => {
            Service::Port(port.parse().map_err(|_| wrong())?)
        }
        ([kind], protocol) if protocol.is_icmp() => {
            let named = (0..=u8::MAX).find(|number| icmp::name(protocol, *number) == Some(kind));
            let number = named.or_else(|| kind.parse().ok()).ok_or_else(wrong)?;
            Service::Icmp(number, 0)
        }
        ([kind, code], protocol) if protocol.is_icmp() => {
            let (kind, code) = kind.parse().ok().zip(code.parse().ok()).ok_or_else(wrong)?;
            Service::Icmp(kind, code)
        }
        ([], protocol) if !protocol.has_ports() && !protocol.is_icmp() => Service::None,
        _ => return Err(wrong()),
    };
    Ok((protocol, service))
}

/// The ends of a network that hosts can have. The all-zero host of IPv6 is the routers' anycast address (RFC 4291,
/// section 2.6.1).
fn ends(text: &str) -> Result<Vec<IpAddr>, String> {
    let net = network(text)?.trunc();
    if net.prefix_len() < 8 {
        return Err(format!(
            "{text:?} is too much of the world: its ends are no addresses of hosts. Name an address in it, or a smaller \
             network"
        ));
    }
    let (first, last) = match net {
        IpNet::V4(net) => {
            let inner = u32::from(net.prefix_len() < 31);
            let (first, last) = (u32::from(net.network()), u32::from(net.broadcast()));
            let ends = (first + inner, last - inner);
            (Ipv4Addr::from(ends.0).into(), Ipv4Addr::from(ends.1).into())
        }
        IpNet::V6(net) => {
            let first = u128::from(net.network()) + u128::from(net.prefix_len() < 127);
            (Ipv6Addr::from(first).into(), net.broadcast().into())
        }
    };
    Ok(if first == last {
        vec![first]
    } else {
        vec![first, last]
    })
}

fn records(flow: &FlowIn) -> Result<Vec<Record>, (Option<usize>, String)> {
    let of_value = |(offset, why): Wrong| (Some(offset), why);
    let sources = parse(&flow.from, ends).map_err(of_value)?.concat();
    let destinations = parse(&flow.to, ends).map_err(of_value)?.concat();
    let services = parse(&flow.service, service).map_err(of_value)?;
    let number = [sources.len(), destinations.len(), services.len()];
    if number.iter().product::<usize>() > FLOWS_MAX {
        let why = format!("these are more than {FLOWS_MAX} flows: name fewer addresses");
        return Err((None, why));
    }
    let mut records = Vec::new();
    for &source in &sources {
        for &destination in &destinations {
            if source.is_ipv4() != destination.is_ipv4() {
                continue;
            }
            for &(protocol, service) in &services {
                if protocol.is_icmp() && !protocol.is_icmp_of(source) {
                    continue;
                }
                let source_port = match service {
                    Service::Port(_) => {
                        let exact = flow.source_port.map(SourcePort::Exact);
                        exact.unwrap_or(SourcePort::Ephemeral)
                    }
                    Service::None | Service::Icmp(..) => SourcePort::None,
                };
                let tuple = Tuple {
                    source,
                    destination,
                    protocol,
                    service,
                    source_port,
                    zone: 0,
                };
                records.push(Record::new(Identity::of(&tuple), true));
            }
        }
    }
    if records.is_empty() {
        let why = "this says no flow: from, to and service have to be of one address family";
        return Err((None, why.to_owned()));
    }
    Ok(records)
}

#[cfg(test)]
mod tests;
