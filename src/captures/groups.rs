//! Flows summed up by what they have in common.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::model::icmp;
use crate::model::printable::printable;
use crate::model::record::{Protocol, Record, Service};
use crate::model::ruled::Ruled;
use crate::model::timestamp::{Timestamp, earliest};
use crate::model::usage::Usage;

/// Prefix lengths of `src-net` and `dst-net`: what one network segment usually has.
const USUAL_V4: u8 = 24;
const USUAL_V6: u8 = 64;

/// One thing that flows can have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// By source address.
    Source,
    /// By destination address, before translation.
    Destination,
    /// Network of the source, with the prefix lengths for IPv4 and IPv6.
    SourceNet(u8, u8),
    /// Network of the destination, likewise.
    DestinationNet(u8, u8),
    /// Protocol with destination port or ICMP type and code.
    Service,
    /// By protocol.
    Protocol,
    /// By conntrack zone.
    Zone,
    /// By the rule that had the last word on their first packet.
    Rule,
}

impl Key {
    /// The name of its column or field.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Source => "src",
            Self::Destination => "dst",
            Self::SourceNet(..) => "src_net",
            Self::DestinationNet(..) => "dst_net",
            Self::Service => "service",
            Self::Protocol => "protocol",
            Self::Zone => "zone",
            Self::Rule => "rule",
        }
    }

    fn of(self, record: &Record, ruled: Option<&Ruled>) -> Value {
        let identity = &record.identity;
        match self {
            Self::Source => Value::Address(identity.source),
            Self::Destination => Value::Address(identity.destination),
            Self::SourceNet(v4, v6) => Value::Net(net(identity.source, v4, v6)),
            Self::DestinationNet(v4, v6) => Value::Net(net(identity.destination, v4, v6)),
            Self::Service => Value::Service(identity.protocol, identity.service),
            Self::Protocol => Value::Protocol(identity.protocol),
            Self::Zone => Value::Zone(identity.zone),
            Self::Rule => Value::Rule(
                ruled.map_or_else(|| "-".into(), |ruled| printable(&ruled.last_word()).into()),
            ),
        }
    }
}

fn net(address: IpAddr, v4: u8, v6: u8) -> IpNet {
    let prefix = if address.is_ipv4() { v4 } else { v6 };
    // A key never has a longer prefix than the family allows.
    IpNet::new(address, prefix).map_or_else(|_| IpNet::from(address), |net| net.trunc())
}

/// What groups are formed by, as in `dst-service`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys(Vec<Key>);

impl Keys {
    /// Each key, in the order asked for.
    pub fn as_slice(&self) -> &[Key] {
        &self.0
    }
}

impl FromStr for Keys {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut keys: Vec<Key> = Vec::new();
        let mut words = text.split('-').peekable();
        while let Some(word) = words.next() {
            let (side, prefix) = match word.split_once('/') {
                Some((side, prefix)) => (side, Some(prefixes(prefix).ok_or_else(|| hint(word))?)),
                None if words.next_if_eq(&"net").is_some() => (word, Some((USUAL_V4, USUAL_V6))),
                None => (word, None),
            };
            let key = match (side, prefix) {
                ("src", None) => Key::Source,
                ("dst", None) => Key::Destination,
                ("src", Some((v4, v6))) => Key::SourceNet(v4, v6),
                ("dst", Some((v4, v6))) => Key::DestinationNet(v4, v6),
                ("service", None) => Key::Service,
                ("proto", None) => Key::Protocol,
                ("zone", None) => Key::Zone,
                ("rule", None) => Key::Rule,
                _ => return Err(hint(word)),
            };
            if keys.iter().any(|other| other.name() == key.name()) {
                return Err(format!("{word:?} is there twice"));
            }
            keys.push(key);
        }
        Ok(Self(keys))
    }
}

/// `24` is a prefix length of IPv4, `48` one of IPv6; `16/48` says both.
fn prefixes(text: &str) -> Option<(u8, u8)> {
    let (v4, v6) = match text.split_once('/') {
        Some((v4, v6)) => (v4.parse().ok()?, v6.parse().ok()?),
        None => match text.parse().ok()? {
            v4 @ 0..=32 => (v4, USUAL_V6),
            v6 => (USUAL_V4, v6),
        },
    };
    (v4 <= 32 && v6 <= 128).then_some((v4, v6))
}

fn hint(word: &str) -> String {
    format!(
        "{word:?} is none of src, dst, src-net, dst-net, src/24, dst/16/48, service, proto, zone, rule: \
         write for example dst-service or src-net-service"
    )
}

/// What the flows of a group have in common, for one key.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Value {
    /// Flows of this address.
    Address(IpAddr),
    /// Flows of this network.
    Net(IpNet),
    /// Flows that ask for this.
    Service(Protocol, Service),
    /// Flows of this protocol.
    Protocol(Protocol),
    /// Flows of this conntrack zone.
    Zone(u16),
    /// Flows on which this rule had the last word.
    Rule(Arc<str>),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Net(net) => net.fmt(f),
            Self::Service(protocol, Service::None) => protocol.fmt(f),
            Self::Service(protocol, Service::Port(port)) => write!(f, "{protocol}/{port}"),
            Self::Service(protocol, Service::Icmp(icmp_type, code)) => {
                match icmp::name(*protocol, *icmp_type) {
                    Some(name) => write!(f, "{protocol}/{name}")?,
                    None => write!(f, "{protocol}/{icmp_type}")?,
                }
                match code {
                    0 => Ok(()),
                    code => write!(f, "/{code}"),
                }
            }
            Self::Protocol(protocol) => protocol.fmt(f),
            Self::Zone(zone) => zone.fmt(f),
            Self::Rule(rule) => rule.fmt(f),
        }
    }
}

/// What is known of a group.
#[derive(Clone, Debug, Default)]
pub struct Sum {
    /// Flows in it.
    pub flows: u64,
    /// Those of them that are confirmed.
    pub confirmed: u64,
    /// Different source addresses.
    pub clients: HashSet<IpAddr>,
    /// Connections of all flows.
    pub connections: u64,
    /// When the first flow was first seen.
    pub first_seen: Option<Timestamp>,
    /// When the last flow was last seen.
    pub last_seen: Option<Timestamp>,
    /// What ended connections of all flows have carried, where that is known of any.
    pub usage: Option<Box<Usage>>,
}

/// Groups as they grow. Memory goes with the groups and their clients, not with the flows.
#[derive(Debug)]
pub struct Groups {
    keys: Keys,
    sums: HashMap<Box<[Value]>, Sum>,
    /// What a flow is looked up by.
    values: Vec<Value>,
}

impl Groups {
    /// No groups yet, by these keys.
    pub fn new(keys: Keys) -> Self {
        Self {
            keys,
            sums: HashMap::new(),
            values: Vec::new(),
        }
    }

    /// Takes in a flow. Each is to be taken in once.
    pub fn add(&mut self, record: &Record, ruled: Option<&Ruled>) {
        self.values.clear();
        let keys = self.keys.0.iter();
        self.values.extend(keys.map(|key| key.of(record, ruled)));
        // Looked up first: most flows are of a group that is there, and cost no allocation.
        if let Some(sum) = self.sums.get_mut(self.values.as_slice()) {
            return sum.add(record);
        }
        let mut sum = Sum::default();
        sum.add(record);
        self.sums.insert(self.values.as_slice().into(), sum);
    }

    /// The groups, those of most flows first, then by their keys.
    pub fn finish(self) -> Vec<(Box<[Value]>, Sum)> {
        let mut groups: Vec<_> = self.sums.into_iter().collect();
        groups.sort_unstable_by(|(one, a), (other, b)| {
            (Reverse(a.flows), one).cmp(&(Reverse(b.flows), other))
        });
        groups
    }
}

impl Sum {
    /// Takes in a flow. Each is to be taken in once.
    pub fn add(&mut self, record: &Record) {
        self.flows += 1;
        self.confirmed += u64::from(record.confirmed);
        self.clients.insert(record.identity.source);
        self.connections = self.connections.saturating_add(record.connections);
        self.first_seen = earliest(self.first_seen, record.first_seen);
        self.last_seen = self.last_seen.max(record.last_seen);
        Usage::join(&mut self.usage, record.usage.as_deref());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::conntrack;

    #[test]
    fn keys_as_people_write_them() {
        let keys = |text: &str| text.parse::<Keys>().map(|keys| keys.0);
        assert_eq!(
            keys("dst-service"),
            Ok(vec![Key::Destination, Key::Service])
        );
        assert_eq!(
            keys("src-net-dst"),
            Ok(vec![Key::SourceNet(24, 64), Key::Destination])
        );
        assert_eq!(
            keys("src/16-dst/48-proto-zone"),
            Ok(vec![
                Key::SourceNet(16, 64),
                Key::DestinationNet(24, 48),
                Key::Protocol,
                Key::Zone
            ])
        );
        assert_eq!(keys("dst/8/32"), Ok(vec![Key::DestinationNet(8, 32)]));
        for wrong in [
            "",
            "-",
            "source",
            "src-",
            "src/",
            "src/129",
            "src/33/64",
            "service/8",
            "net",
            "service-net",
            "src-src",
            "src-net-src/8",
        ] {
            assert!(keys(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn groups_add_up() {
        let mut groups = Groups::new("dst/16-service".parse().unwrap());
        for (source, destination, port) in [
            ("10.0.0.1", "10.1.0.1", 80),
            ("10.0.0.1", "10.1.9.9", 80),
            ("10.0.0.2", "10.1.0.1", 80),
            ("10.0.0.2", "10.1.0.1", 443),
        ] {
            let line = format!(
                "tcp 6 src={source} dst={destination} sport=9 dport={port} [UNREPLIED] \
                 src={destination} dst={source} sport={port} dport=9"
            );
            groups.add(&conntrack::parse(&line, true).unwrap().unwrap()[0], None);
        }
        let shown: Vec<String> = groups
            .finish()
            .iter()
            .map(|(values, sum)| {
                let values: Vec<String> = values.iter().map(Value::to_string).collect();
                format!("{} {} {}", values.join(" "), sum.flows, sum.clients.len())
            })
            .collect();
        assert_eq!(shown, ["10.1.0.0/16 tcp/80 3 2", "10.1.0.0/16 tcp/443 1 1"]);
    }

    #[test]
    fn services_have_names() {
        for (service, shown) in [
            (Service::Icmp(8, 0), "icmp/echo-request"),
            (Service::Icmp(3, 4), "icmp/destination-unreachable/4"),
            (Service::Icmp(99, 0), "icmp/99"),
            (Service::None, "icmp"),
        ] {
            assert_eq!(Value::Service(Protocol::ICMP, service).to_string(), shown);
        }
    }
}
