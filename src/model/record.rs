//! A flow with all that is known of it: what the formats other than the classic one show.
//!
//! Ordering records is the natural order: by source, destination, protocol, service and the rest, addresses
//! by number, so that the neighbours of a subnet stand together.

use std::borrow::Cow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;

use crate::model::flow::{COLLAPSED_SOURCE_PORT, Flow};
use crate::model::origin::{Begun, Origin};
use crate::model::timestamp::Timestamp;
use crate::model::tuple::{Reply, Tuple};
use crate::model::usage::Usage;

/// A protocol number of IP (<https://www.iana.org/assignments/protocol-numbers>).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Protocol(pub u8);

impl Protocol {
    /// ICMP for IPv4.
    pub const ICMP: Self = Self(1);
    /// TCP.
    pub const TCP: Self = Self(6);
    /// UDP.
    pub const UDP: Self = Self(17);
    /// DCCP.
    pub const DCCP: Self = Self(33);
    /// Generic routing encapsulation.
    pub const GRE: Self = Self(47);
    /// ICMP for IPv6.
    pub const ICMPV6: Self = Self(58);
    /// SCTP.
    pub const SCTP: Self = Self(132);
    /// UDP-Lite.
    pub const UDPLITE: Self = Self(136);

    /// Protocols that have a name here: as nft(8) and conntrack(8) spell them.
    const NAMES: [(Self, &'static str); 12] = [
        (Self::TCP, "tcp"),
        (Self::UDP, "udp"),
        (Self::ICMP, "icmp"),
        (Self::ICMPV6, "icmpv6"),
        (Self::SCTP, "sctp"),
        (Self::DCCP, "dccp"),
        (Self::UDPLITE, "udplite"),
        (Self::GRE, "gre"),
        (Self(2), "igmp"),
        (Self(50), "esp"),
        (Self(51), "ah"),
        (Self(89), "ospf"),
    ];

    /// Its name, if it has one here.
    pub fn name(self) -> Option<&'static str> {
        let found = Self::NAMES.iter().find(|(protocol, _)| *protocol == self);
        found.map(|(_, name)| *name)
    }

    /// The protocol of a name or number.
    pub fn parse(text: &str) -> Option<Self> {
        let lower = text.to_ascii_lowercase();
        let name = match lower.as_str() {
            // /etc/protocols and conntrack(8) have these too.
            "ipv6-icmp" | "icmp6" => "icmpv6",
            "ospfigp" => "ospf",
            name => name,
        };
        let named = Self::NAMES.iter().find(|(_, known)| *known == name);
        named
            .map(|(protocol, _)| *protocol)
            .or_else(|| text.parse().ok().map(Self))
    }

    /// Whether its flows have source and destination ports.
    pub const fn has_ports(self) -> bool {
        matches!(
            self,
            Self::TCP | Self::UDP | Self::DCCP | Self::SCTP | Self::UDPLITE
        )
    }

    /// Whether it is the ICMP of an address's family.
    pub const fn is_icmp_of(self, address: IpAddr) -> bool {
        matches!(
            (self, address),
            (Self::ICMP, IpAddr::V4(_)) | (Self::ICMPV6, IpAddr::V6(_))
        )
    }

    /// Whether it is ICMP or ICMPv6.
    pub const fn is_icmp(self) -> bool {
        matches!(self, Self::ICMP | Self::ICMPV6)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.pad(name),
            None => f.pad(&self.0.to_string()),
        }
    }
}

/// The source port of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SourcePort {
    /// The protocol has none.
    None,
    /// Exactly this port.
    Exact(u16),
    /// Any of 1024 to 65535: ephemeral ports that were folded into one.
    Ephemeral,
}

impl SourcePort {
    /// Folds ports from 1024 on into one.
    pub const fn collapsed(self) -> Self {
        match self {
            Self::Exact(COLLAPSED_SOURCE_PORT..) => Self::Ephemeral,
            other => other,
        }
    }

    /// The number that stands for it: 1024 for [`Ephemeral`](Self::Ephemeral).
    pub const fn number(self) -> Option<u16> {
        match self {
            Self::None => None,
            Self::Exact(port) => Some(port),
            Self::Ephemeral => Some(COLLAPSED_SOURCE_PORT),
        }
    }
}

/// What a flow asks for at its destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Service {
    /// The protocol has neither ports nor types.
    None,
    /// A destination port.
    Port(u16),
    /// Type and code of ICMP or ICMPv6.
    Icmp(u8, u8),
}

/// The destination that packets have after DNAT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Dnat {
    /// The address that packets have after translation.
    pub address: IpAddr,
    /// Port, where the protocol has ports.
    pub port: Option<u16>,
}

/// The source that packets have after SNAT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Snat {
    /// The address that packets have after translation.
    pub address: IpAddr,
    /// Port, folded as the flow's own source port is.
    pub port: SourcePort,
}

/// What network address translation makes of a flow. At least one of the two is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Translation {
    /// Translation of the destination.
    pub dnat: Option<Dnat>,
    /// Translation of the source.
    pub snat: Option<Snat>,
}

/// What makes a flow this flow and no other. Its order is the natural one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Identity {
    /// Source address, before translation. Of the same family as the destination.
    pub source: IpAddr,
    /// Destination address, before translation.
    pub destination: IpAddr,
    /// Its number in the IP header, by which rules and lists name it.
    pub protocol: Protocol,
    /// Destination port or ICMP type and code.
    pub service: Service,
    /// The port that the client has; folded into one from 1024 on unless source ports are kept.
    pub source_port: SourcePort,
    /// Conntrack zone, 0 as a rule.
    pub zone: u16,
    /// Translation, if there is one. Boxed, since most flows have none.
    pub translation: Option<Box<Translation>>,
    /// The network namespace it was seen in, where several were listened to and this was not the program's own.
    pub netns: Option<Arc<str>>,
}

/// All of most identities goes to the hasher at once: a keyed hash of a dozen small writes takes several times as long as
/// the rest of reading a flow into a table.
impl Hash for Identity {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let mut bytes = [0; 48];
        for (address, place) in [(self.source, 0), (self.destination, 16)] {
            match address {
                IpAddr::V4(v4) => bytes[place..place + 4].copy_from_slice(&v4.octets()),
                IpAddr::V6(v6) => bytes[place..place + 16].copy_from_slice(&v6.octets()),
            }
        }
        bytes[32] = u8::from(self.source.is_ipv4()) | u8::from(self.destination.is_ipv4()) << 1;
        bytes[33] = self.protocol.0;
        let service = match self.service {
            Service::None => [0, 0, 0],
            Service::Port(port) => {
                let [high, low] = port.to_be_bytes();
                [1, high, low]
            }
            Service::Icmp(icmp_type, code) => [2, icmp_type, code],
        };
        bytes[34..37].copy_from_slice(&service);
        let source_port = match self.source_port {
            SourcePort::None => [0, 0, 0],
            SourcePort::Exact(port) => {
                let [high, low] = port.to_be_bytes();
                [1, high, low]
            }
            SourcePort::Ephemeral => [2, 0, 0],
        };
        bytes[37..40].copy_from_slice(&source_port);
        bytes[40..42].copy_from_slice(&self.zone.to_be_bytes());
        bytes[42] = u8::from(self.translation.is_some()) | u8::from(self.netns.is_some()) << 1;
        state.write(&bytes);
        if let Some(translation) = &self.translation {
            translation.hash(state);
        }
        if let Some(netns) = &self.netns {
            netns.hash(state);
        }
    }
}

impl Translation {
    /// With ephemeral source ports folded, for a flow whose own are. `None` if nothing else was translated.
    pub fn collapsed(mut self, tuple: &Tuple) -> Option<Self> {
        if let Some(snat) = &mut self.snat {
            snat.port = snat.port.collapsed();
            if (snat.address, snat.port) == (tuple.source, tuple.source_port) {
                self.snat = None;
            }
        }
        (self.dnat.is_some() || self.snat.is_some()).then_some(self)
    }
}

impl Identity {
    /// Folds ephemeral source ports, of the translation too.
    pub fn collapse_ports(&mut self) {
        self.source_port = self.source_port.collapsed();
        if let Some(translation) = self.translation.take() {
            self.translation = translation.collapsed(&self.tuple()).map(Box::new);
        }
    }

    /// `ipv4` or `ipv6`.
    pub const fn family(&self) -> &'static str {
        match self.source {
            IpAddr::V4(_) => "ipv4",
            IpAddr::V6(_) => "ipv6",
        }
    }

    /// That of an untranslated flow of the program's own namespace.
    pub const fn of(tuple: &Tuple) -> Self {
        Self {
            source: tuple.source,
            destination: tuple.destination,
            protocol: tuple.protocol,
            service: tuple.service,
            source_port: tuple.source_port,
            zone: tuple.zone,
            translation: None,
            netns: None,
        }
    }

    /// What it is, untranslated.
    pub const fn tuple(&self) -> Tuple {
        Tuple {
            source: self.source,
            destination: self.destination,
            protocol: self.protocol,
            service: self.service,
            source_port: self.source_port,
            zone: self.zone,
        }
    }

    /// The same connection as opened by the other side: its answers become what asks. `None` where ports are not
    /// known exactly.
    #[must_use]
    pub fn turned(&self) -> Option<Self> {
        let (SourcePort::Exact(source_port), Service::Port(port)) =
            (self.source_port, self.service)
        else {
            return None;
        };
        let (server, server_port) = match self.dnat() {
            Some(dnat) => (dnat.address, dnat.port.unwrap_or(port)),
            None => (self.destination, port),
        };
        let (client, client_port) = match self.snat() {
            None => (self.source, source_port),
            Some(Snat {
                address,
                port: SourcePort::Exact(port),
            }) => (address, port),
            Some(_) => return None,
        };
        let tuple = Tuple {
            source: server,
            destination: client,
            protocol: self.protocol,
            service: Service::Port(client_port),
            source_port: SourcePort::Exact(server_port),
            zone: self.zone,
        };
        let translation = tuple.translation(&Reply {
            source: self.source,
            source_port: Some(source_port),
            destination: self.destination,
            destination_port: Some(port),
        });
        Some(Self {
            source: server,
            destination: client,
            protocol: self.protocol,
            service: tuple.service,
            source_port: tuple.source_port,
            zone: self.zone,
            translation: translation.map(Box::new),
            netns: self.netns.clone(),
        })
    }

    /// The DNAT part of the translation.
    pub fn dnat(&self) -> Option<Dnat> {
        self.translation.as_ref().and_then(|both| both.dnat)
    }

    /// The SNAT part of the translation.
    pub fn snat(&self) -> Option<Snat> {
        self.translation.as_ref().and_then(|both| both.snat)
    }
}

/// How the classic list shows a flow, by the C tool's rules. Later ones include earlier ones, so that of
/// several records that share a line the greatest counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Classic {
    /// Not at all: it was never seen unreplied.
    Absent,
    /// Without ` (confirmed)`.
    Listed,
    /// With ` (confirmed)`.
    Confirmed,
}

/// A flow and what was seen of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// What makes it this flow and no other.
    pub identity: Identity,
    /// Whether packets were seen in both directions.
    pub confirmed: bool,
    /// Connections that began (NEW events).
    pub connections: u64,
    /// When it was first seen, if the source tells.
    pub first_seen: Option<Timestamp>,
    /// When it was last seen, if the source tells.
    pub last_seen: Option<Timestamp>,
    /// How the classic list shows it.
    pub classic: Classic,
    /// How it came about.
    pub origin: Origin,
    /// What its ended connections have carried, where the kernel counts that.
    pub usage: Option<Box<Usage>>,
}

impl AsRef<Self> for Record {
    fn as_ref(&self) -> &Self {
        self
    }
}

impl AsMut<Self> for Record {
    fn as_mut(&mut self) -> &mut Self {
        self
    }
}

impl Record {
    /// A flow of which nothing else is known: no connection is counted, and there are no times.
    pub fn new(identity: Identity, confirmed: bool) -> Self {
        Self {
            identity,
            confirmed,
            connections: 0,
            first_seen: None,
            last_seen: None,
            classic: Self::usual_classic(confirmed),
            origin: Origin::default(),
            usage: None,
        }
    }

    /// The flow as the classic list has it, if it lists the protocol: the way that conntrack had it.
    #[must_use]
    pub fn classic_flow(&self) -> Option<Flow> {
        self.tracked().tuple().flow()
    }

    /// The flow the way that conntrack had it, ports as they are known.
    #[must_use]
    pub fn tracked(&self) -> Cow<'_, Identity> {
        let turned = (self.origin.begun == Begun::Turned).then(|| self.identity.turned());
        turned
            .flatten()
            .map_or(Cow::Borrowed(&self.identity), Cow::Owned)
    }

    /// What its connections have carried, the way that conntrack had it.
    #[must_use]
    pub fn tracked_usage(&self) -> Option<Usage> {
        let turned = matches!(self.tracked(), Cow::Owned(_));
        let usage = self.usage.as_deref().copied();
        usage.map(|usage| if turned { usage.turned() } else { usage })
    }

    /// How the classic list shows it, where that is not as its confirmation says: `absent` or `unconfirmed`.
    pub fn unusual_classic(&self) -> Option<&'static str> {
        if self.classic == Self::usual_classic(self.confirmed) {
            return None;
        }
        Some(match self.classic {
            Classic::Absent => "absent",
            Classic::Listed | Classic::Confirmed => "unconfirmed",
        })
    }

    /// How the classic list shows a flow whose history is not known.
    pub const fn usual_classic(confirmed: bool) -> Classic {
        if confirmed {
            Classic::Confirmed
        } else {
            Classic::Listed
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_their_protocols() {
        for number in 0..=255 {
            let protocol = Protocol(number);
            assert_eq!(Protocol::parse(&protocol.to_string()), Some(protocol));
        }
        assert_eq!(Protocol::parse("ipv6-icmp"), Some(Protocol::ICMPV6));
        assert_eq!(Protocol::parse("256"), None);
    }

    #[test]
    fn a_translation_of_ephemeral_ports_alone_is_none() {
        let address: IpAddr = "10.0.0.1".parse().unwrap();
        let snat = |port| Snat { address, port };
        let mut identity = Identity {
            source: address,
            destination: "10.0.0.2".parse().unwrap(),
            protocol: Protocol::TCP,
            service: Service::Port(443),
            source_port: SourcePort::Exact(40_000),
            zone: 0,
            netns: None,
            translation: Some(Box::new(Translation {
                dnat: None,
                snat: Some(snat(SourcePort::Exact(40_001))),
            })),
        };
        identity.collapse_ports();
        assert_eq!(identity.source_port, SourcePort::Ephemeral);
        assert_eq!(identity.translation, None);
    }
}
