//! The flow that a packet begins, by the headers that come with its trace.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::model::record::{Protocol, Service, SourcePort};
use crate::model::tuple::Tuple;

/// Reads what `NFTA_TRACE_NETWORK_HEADER` (up to 40 bytes) and `NFTA_TRACE_TRANSPORT_HEADER` (up to 20) hold. The kernel finds
/// the latter behind the extension headers of IPv6, which it passes over, so that the protocol of a packet that has any is
/// not known here.
pub(super) fn tuple(network: &[u8], transport: &[u8]) -> Option<Tuple> {
    let (source, destination, protocol): (IpAddr, IpAddr, u8) = match network.first()? >> 4 {
        4 => {
            let octets = |at: usize| network.get(at..)?.first_chunk::<4>().copied();
            (
                Ipv4Addr::from(octets(12)?).into(),
                Ipv4Addr::from(octets(16)?).into(),
                *network.get(9)?,
            )
        }
        6 => {
            let octets = |at: usize| network.get(at..)?.first_chunk::<16>().copied();
            (
                Ipv6Addr::from(octets(8)?).into(),
                Ipv6Addr::from(octets(24)?).into(),
                *network.get(6)?,
            )
        }
        _ => return None,
    };
    // Hop-by-hop options, routing, fragments, destination options (RFC 8200, 4.1).
    if source.is_ipv6() && matches!(protocol, 0 | 43 | 44 | 60) {
        return None;
    }
    let protocol = Protocol(protocol);
    let port = |at: usize| Some(u16::from_be_bytes(*transport.get(at..)?.first_chunk()?));
    let (service, source_port) = if protocol.has_ports() {
        (Service::Port(port(2)?), SourcePort::Exact(port(0)?))
    } else if protocol.is_icmp_of(source) {
        let service = Service::Icmp(*transport.first()?, *transport.get(1)?);
        (service, SourcePort::None)
    } else {
        (Service::None, SourcePort::None)
    };
    Some(Tuple {
        source,
        destination,
        protocol,
        service,
        source_port,
        zone: 0,
    })
}

/// Reads the beginning of a packet, from its network header on.
pub(super) fn packet(bytes: &[u8]) -> Option<Tuple> {
    let first = bytes.first()?;
    let len = match first >> 4 {
        4 => usize::from(first & 0xf) * 4,
        _ => 40,
    };
    tuple(bytes, bytes.get(len..)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_gives_no_flow() {
        let mut network = [0; 20];
        network[0] = 0x45;
        network[9] = 6;
        network[12..16].copy_from_slice(&[10, 0, 0, 1]);
        network[16..20].copy_from_slice(&[10, 0, 0, 2]);
        let transport = [0x9c, 0x40, 0x01, 0xbb];
        let found = tuple(&network, &transport).unwrap();
        assert_eq!(found.service, Service::Port(443));
        assert_eq!(found.source_port, SourcePort::Exact(40_000));
        assert_eq!(found.destination, IpAddr::from([10, 0, 0, 2]));
        for len in 0..network.len() {
            assert_eq!(tuple(&network[..len], &transport), None);
        }
        for len in 0..transport.len() {
            assert_eq!(tuple(&network, &transport[..len]), None);
        }
        let mut fragment = [0; 40];
        (fragment[0], fragment[6]) = (0x60, 44);
        assert_eq!(tuple(&fragment, &transport), None);
    }
}
