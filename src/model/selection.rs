//! Filters: which flows are wanted.

use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;

use ipnet::IpNet;

use crate::model::record::{Protocol, Service, SourcePort};
use crate::model::services::{self, Services};
use crate::model::tuple::Tuple;

/// Filters. Several values of one are alternatives, different ones all have to hold; a value may also exclude.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Protocols of which flows are taken; all if there are none.
    pub proto: Vec<Not<Protocol>>,
    /// Networks of sources.
    pub src: Vec<Not<Net>>,
    /// Networks of destinations, as they are before DNAT.
    pub dst: Vec<Not<Net>>,
    /// Networks of either.
    pub host: Vec<Not<Net>>,
    /// Source ports of which flows are taken; all if there are none.
    pub sport: Vec<Not<Ports>>,
    /// Destination ports of which flows are taken; all if there are none.
    pub dport: Vec<Not<Ports>>,
    /// Take flows of IPv4 and no others.
    pub ipv4: bool,
    /// Take flows of IPv6 and no others.
    pub ipv6: bool,
    /// Only flows that were answered.
    pub confirmed: bool,
    /// Only flows that nobody answered.
    pub unconfirmed: bool,
    /// Conntrack zones of which flows are taken; all if there are none.
    pub zone: Vec<Not<u16>>,
    /// Whether source ports from 1024 on are kept, or collapsed into one.
    pub source_ports: SourcePorts,
}

/// What becomes of ephemeral source ports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SourcePorts {
    /// Flows that differ only in them are different
    Keep,
    /// All of 1024 to 65535 are one
    #[default]
    Collapse,
}

impl SourcePorts {
    /// The option that keeps them, for the description of a capture.
    pub const KEPT: &str = "--source-ports=keep";
}

/// A condition or its opposite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Not<T> {
    /// What is wanted.
    Is(T),
    /// What is not wanted.
    Not(T),
}

/// A network or a single address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Net(pub IpNet);

/// A port or a range of ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ports(pub RangeInclusive<u16>);

impl<T: FromStr<Err: fmt::Display>> FromStr for Not<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // A shell may take "!" for its own (bash(1), HISTORY EXPANSION).
        let excluded = ["!", "^", "not:"]
            .iter()
            .find_map(|sign| text.strip_prefix(sign));
        let parsed = match excluded {
            Some(rest) => rest.trim_start().parse().map(Self::Not),
            None => text.parse().map(Self::Is),
        };
        parsed.map_err(|error| error.to_string())
    }
}

impl<T: fmt::Display> fmt::Display for Not<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Is(value) => value.fmt(f),
            Self::Not(value) => write!(f, "!{value}"),
        }
    }
}

impl FromStr for Protocol {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::parse(text).ok_or_else(|| {
            "no such protocol: write for example tcp, udp, icmp, icmpv6, sctp, gre, or a number up to 255"
                .into()
        })
    }
}

impl FromStr for Net {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let net = text
            .parse::<IpNet>()
            .or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        net.map(|net| Self(net.trunc())).map_err(|_| {
            "no such network: write for example 10.0.0.0/8, 192.0.2.1 or 2001:db8::/32".into()
        })
    }
}

impl fmt::Display for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.prefix_len() == self.0.max_prefix_len() {
            self.0.addr().fmt(f)
        } else {
            self.0.fmt(f)
        }
    }
}

impl FromStr for Ports {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (first, last) = text.split_once(['-', ':']).unwrap_or((text, text));
        if let (Ok(first), Ok(last)) = (first.parse(), last.parse()) {
            if first <= last {
                return Ok(Self(first..=last));
            }
        }
        let wrong = || "no such ports: write for example 443, 8000-8999 or https".to_owned();
        if !text.starts_with(|c: char| c.is_ascii_alphabetic()) {
            return Err(wrong());
        }
        let services = Services::load().map_err(|error| format!("{}: {error}", services::FILE))?;
        match services.ports(text).as_slice() {
            [] => Err(format!(
                "{}, and {} has no service {text:?}",
                wrong(),
                services::FILE
            )),
            [port] => Ok(Self(*port..=*port)),
            ports => Err(format!(
                "{} has several ports of {text:?}: {ports:?}",
                services::FILE
            )),
        }
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, last) = (self.0.start(), self.0.end());
        if first == last {
            write!(f, "{first}")
        } else {
            write!(f, "{first}-{last}")
        }
    }
}

/// Whether no condition excludes it, and one wants it if any says what is wanted.
pub fn passes<T>(conditions: &[Not<T>], holds: impl Fn(&T) -> bool) -> bool {
    let (mut asked, mut wanted) = (false, false);
    for condition in conditions {
        match condition {
            Not::Not(value) if holds(value) => return false,
            Not::Not(_) => {}
            Not::Is(value) => {
                asked = true;
                wanted |= holds(value);
            }
        }
    }
    wanted || !asked
}

impl Selection {
    /// Whether it takes the detail of a sighting to tell what is wanted: anything but confirmation.
    pub fn filters_sightings(&self) -> bool {
        let rest = Self {
            confirmed: false,
            unconfirmed: false,
            source_ports: SourcePorts::default(),
            ..self.clone()
        };
        rest != Self::default()
    }

    /// Whether a flow is wanted as far as its identity goes.
    pub fn wants(&self, tuple: &Tuple) -> bool {
        if (self.ipv4 && tuple.source.is_ipv6()) || (self.ipv6 && tuple.source.is_ipv4()) {
            return false;
        }
        let destination_port = match tuple.service {
            Service::Port(port) => Some(port),
            Service::None | Service::Icmp(..) => None,
        };
        passes(&self.proto, |protocol| *protocol == tuple.protocol)
            && passes(&self.src, |net| net.0.contains(&tuple.source))
            && passes(&self.dst, |net| net.0.contains(&tuple.destination))
            && passes(&self.host, |net| {
                net.0.contains(&tuple.source) || net.0.contains(&tuple.destination)
            })
            && passes(&self.sport, |ports| match tuple.source_port {
                SourcePort::None => false,
                SourcePort::Exact(port) => ports.0.contains(&port),
                // Folded ports are those of them that are asked for, as far as one can tell.
                SourcePort::Ephemeral => *ports.0.end() >= 1024,
            })
            && passes(&self.dport, |ports| {
                destination_port.is_some_and(|port| ports.0.contains(&port))
            })
            && passes(&self.zone, |zone| *zone == tuple.zone)
    }

    /// Whether confirmation plays a part.
    pub const fn filters_confirmation(&self) -> bool {
        self.confirmed || self.unconfirmed
    }

    /// Whether a flow is wanted as far as its confirmation goes.
    pub const fn wants_confirmed(&self, confirmed: bool) -> bool {
        !(self.confirmed && !confirmed || self.unconfirmed && confirmed)
    }

    /// The filters as the options that set them, for the description of a capture.
    pub fn describe(&self) -> Vec<String> {
        fn values<T: fmt::Display>(name: &str, values: &[Not<T>]) -> Option<String> {
            let shown: Vec<String> = values.iter().map(Not::to_string).collect();
            (!shown.is_empty()).then(|| format!("--{name}={}", shown.join(",")))
        }
        let flags = [
            (self.ipv4, "--ipv4"),
            (self.ipv6, "--ipv6"),
            (self.confirmed, "--confirmed"),
            (self.unconfirmed, "--unconfirmed"),
        ];
        let flags = flags
            .into_iter()
            .filter(|&(set, _)| set)
            .map(|(_, name)| name.to_owned());
        [
            values("proto", &self.proto),
            values("src", &self.src),
            values("dst", &self.dst),
            values("host", &self.host),
            values("sport", &self.sport),
            values("dport", &self.dport),
            values("zone", &self.zone),
        ]
        .into_iter()
        .flatten()
        .chain(flags)
        .collect()
    }
}
