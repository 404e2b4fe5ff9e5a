//! What a flow is, untranslated, and what its reply direction says of translation.

use std::net::IpAddr;

use crate::model::flow::{Flow, Key, Transport, collapse, icmp_service};
use crate::model::record::{Dnat, Protocol, Service, Snat, SourcePort, Translation};

/// What a flow is, untranslated: what filters look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tuple {
    /// The address that the first packet came from, before translation.
    pub source: IpAddr,
    /// Destination address, of the same family.
    pub destination: IpAddr,
    /// Its number in the IP header, by which rules and lists name it.
    pub protocol: Protocol,
    /// Destination port or ICMP type and code.
    pub service: Service,
    /// The port that the client has; folded into one from 1024 on unless source ports are kept.
    pub source_port: SourcePort,
    /// Conntrack zone; 0 unless a rule assigns another (`ct zone` of nft(8)).
    pub zone: u16,
}

/// The reply direction of a connection: addresses and, for protocols that have them, ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Where answers come from: the destination after DNAT.
    pub source: IpAddr,
    /// Their source port.
    pub source_port: Option<u16>,
    /// Where answers go to: the source after SNAT.
    pub destination: IpAddr,
    /// Their destination port.
    pub destination_port: Option<u16>,
}

impl Tuple {
    /// A TCP flow of addresses as text.
    #[cfg(test)]
    pub fn tcp(source: &str, destination: &str, port: u16) -> Self {
        Self {
            source: source.parse().expect("an address"),
            destination: destination.parse().expect("an address"),
            protocol: Protocol::TCP,
            service: Service::Port(port),
            source_port: SourcePort::Ephemeral,
            zone: 0,
        }
    }

    /// The translation, if the reply direction shows one: answers then come from or go to other addresses or ports.
    pub fn translation(&self, reply: &Reply) -> Option<Translation> {
        let port = match self.service {
            Service::Port(port) => Some(port),
            Service::None | Service::Icmp(..) => None,
        };
        let dnat = Dnat {
            address: reply.source,
            port: port.and(reply.source_port),
        };
        let snat = Snat {
            address: reply.destination,
            port: match (self.source_port, reply.destination_port) {
                (SourcePort::None, _) => SourcePort::None,
                (same, None) => same,
                (_, Some(port)) => SourcePort::Exact(port),
            },
        };
        let untranslated = Dnat {
            address: self.destination,
            port: port.filter(|_| dnat.port.is_some()),
        };
        let dnat = (dnat != untranslated).then_some(dnat);
        let snat = ((snat.address, snat.port) != (self.source, self.source_port)).then_some(snat);
        (dnat.is_some() || snat.is_some()).then_some(Translation { dnat, snat })
    }

    /// A flow of the classic list, whose ephemeral source ports are folded.
    pub fn of(flow: &Flow) -> Self {
        match flow {
            Flow::V4(transport, key) => Self::of_key(*transport, key, Protocol::ICMP),
            Flow::V6(transport, key) => Self::of_key(*transport, key, Protocol::ICMPV6),
        }
    }

    fn of_key<A: Into<IpAddr> + Copy>(transport: Transport, key: &Key<A>, icmp: Protocol) -> Self {
        let port = SourcePort::Exact(key.source_port).collapsed();
        let [icmp_type, code] = key.service.to_be_bytes();
        let (protocol, service, source_port) = match transport {
            Transport::Tcp => (Protocol::TCP, Service::Port(key.service), port),
            Transport::Udp => (Protocol::UDP, Service::Port(key.service), port),
            Transport::Icmp => (icmp, Service::Icmp(icmp_type, code), SourcePort::None),
        };
        Self {
            source: key.source.into(),
            destination: key.destination.into(),
            protocol,
            service,
            source_port,
            zone: 0,
        }
    }

    /// The flow as the classic list has it, if it lists the protocol.
    pub fn flow(&self) -> Option<Flow> {
        let transport = match (self.protocol, self.source) {
            (Protocol::TCP, _) => Transport::Tcp,
            (Protocol::UDP, _) => Transport::Udp,
            (Protocol::ICMP, IpAddr::V4(_)) | (Protocol::ICMPV6, IpAddr::V6(_)) => Transport::Icmp,
            _ => return None,
        };
        let service = match self.service {
            // A list in text does not tell an ICMP flow's type.
            Service::None => 0,
            Service::Port(port) => port,
            Service::Icmp(icmp_type, code) => icmp_service(icmp_type, code),
        };
        let source_port = self.source_port.number().map_or(0, collapse);
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => Some(Flow::V4(
                transport,
                Key {
                    source: source.octets(),
                    destination: destination.octets(),
                    service,
                    source_port,
                },
            )),
            (IpAddr::V6(source), IpAddr::V6(destination)) => Some(Flow::V6(
                transport,
                Key {
                    source: source.octets(),
                    destination: destination.octets(),
                    service,
                    source_port,
                },
            )),
            _ => None,
        }
    }
}
