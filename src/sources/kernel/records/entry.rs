//! What the program's maps hold of a flow: keys and values as `src/bpf/records.bpf.c` has them.

use std::net::IpAddr;

use crate::intake::folded::Folded;
use crate::model::record::{Protocol, Service, SourcePort};
use crate::model::timestamp::Timestamp;
use crate::model::tuple::{Reply, Tuple};

/// `struct ends4` of the program.
pub type Key4 = [u64; 4];
/// `struct ends6` of the program.
pub type Key6 = [u64; 10];
/// `struct record` of the program.
pub type Value = [u64; 5];

/// How far the system's clock is ahead of the one that times are kept by, in nanoseconds.
pub type Offset = i128;

/// An IPv4 flow and what was seen of it. `None` if the program would never write that.
pub fn four(key: &Key4, value: &Value, offset: Offset) -> Option<Folded> {
    let [ends, reply, ports, rest] = key.map(u64::to_ne_bytes);
    let [source, destination] = halves(ends);
    let [reply_source, reply_destination] = halves(reply);
    let addresses = [source, destination, reply_source, reply_destination].map(IpAddr::from);
    folded(addresses, ports, rest, value, offset)
}

/// An IPv6 flow, likewise.
pub fn six(key: &Key6, value: &Value, offset: Offset) -> Option<Folded> {
    let [s0, s1, d0, d1, rs0, rs1, rd0, rd1, ports, rest] = key.map(u64::to_ne_bytes);
    let addresses = [(s0, s1), (d0, d1), (rs0, rs1), (rd0, rd1)].map(|(first, second)| {
        let mut address = [0; 16];
        address[..8].copy_from_slice(&first);
        address[8..].copy_from_slice(&second);
        IpAddr::from(address)
    });
    folded(addresses, ports, rest, value, offset)
}

const fn halves([a, b, c, d, e, f, g, h]: [u8; 8]) -> [[u8; 4]; 2] {
    [[a, b, c, d], [e, f, g, h]]
}

/// A time of the system's clock.
pub fn time(ns: u64, offset: Offset) -> Option<Timestamp> {
    let us = (i128::from(ns) + offset) / 1000;
    Timestamp::from_us(u64::try_from(us).ok()?)
}

fn folded(
    [source, destination, reply_source, reply_destination]: [IpAddr; 4],
    [p0, p1, s0, s1, rs0, rs1, rd0, rd1]: [u8; 8],
    [z0, z1, number, ..]: [u8; 8],
    &[connections, first_ns, last_ns, unanswered_ns, answered_ns]: &Value,
    offset: Offset,
) -> Option<Folded> {
    let protocol = Protocol(number);
    let service = u16::from_ne_bytes([s0, s1]);
    let (service, source_port) = if protocol.is_icmp_of(source) {
        let [icmp_type, code] = service.to_be_bytes();
        (Service::Icmp(icmp_type, code), SourcePort::None)
    } else if protocol.has_ports() {
        let source_port = u16::from_ne_bytes([p0, p1]);
        (Service::Port(service), SourcePort::Exact(source_port))
    } else {
        return None;
    };
    let tuple = Tuple {
        source,
        destination,
        protocol,
        service,
        source_port,
        zone: u16::from_ne_bytes([z0, z1]),
    };
    let time = |ns| time(ns, offset);
    let ports = protocol.has_ports();
    Some(Folded {
        tuple,
        translation: tuple.translation(&Reply {
            source: reply_source,
            source_port: ports.then_some(u16::from_ne_bytes([rs0, rs1])),
            destination: reply_destination,
            destination_port: ports.then_some(u16::from_ne_bytes([rd0, rd1])),
        }),
        connections,
        first: time(first_ns)?,
        last: time(last_ns.max(first_ns))?,
        unanswered_ns: (unanswered_ns > 0).then_some(unanswered_ns),
        answered_ns: (answered_ns > 0).then_some(answered_ns),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::record::{Dnat, Snat, Translation};

    fn ports(source: u16, service: u16, reply_source: u16, reply_destination: u16) -> u64 {
        let ports = [source, service, reply_source, reply_destination].map(u16::to_ne_bytes);
        u64::from_ne_bytes(ports.concat().try_into().unwrap())
    }

    fn pair(first: [u8; 4], second: [u8; 4]) -> u64 {
        u64::from_ne_bytes([first, second].concat().try_into().unwrap())
    }

    fn rest(zone: u16, protocol: u8) -> u64 {
        let [z0, z1] = zone.to_ne_bytes();
        u64::from_ne_bytes([z0, z1, protocol, 0, 0, 0, 0, 0])
    }

    const VALUE: Value = [3, 5_000_000, 9_000_000, 5_000_000, 0];

    #[test]
    fn a_flow_and_its_translation_are_read() {
        let (client, server) = ([10, 0, 0, 1], [192, 0, 2, 1]);
        let key = [
            pair(client, server),
            pair([10, 9, 0, 1], [192, 0, 2, 9]),
            ports(1024, 53, 5300, 1024),
            rest(7, 17),
        ];
        let found = four(&key, &VALUE, 1_000_000_000).unwrap();
        assert_eq!(
            found.tuple,
            Tuple {
                source: client.into(),
                destination: server.into(),
                protocol: Protocol::UDP,
                service: Service::Port(53),
                source_port: SourcePort::Exact(1024),
                zone: 7,
            }
        );
        assert_eq!(
            found.translation,
            Some(Translation {
                dnat: Some(Dnat {
                    address: [10, 9, 0, 1].into(),
                    port: Some(5300),
                }),
                snat: Some(Snat {
                    address: [192, 0, 2, 9].into(),
                    port: SourcePort::Exact(1024),
                }),
            })
        );
        assert_eq!((found.first.us(), found.last.us()), (1_005_000, 1_009_000));
        assert_eq!(
            (found.connections, found.unanswered_ns, found.answered_ns),
            (3, Some(5_000_000), None)
        );
        // The same the other way round is no translation.
        let key = [
            pair(client, server),
            pair(server, client),
            ports(1024, 53, 53, 1024),
            rest(0, 17),
        ];
        assert_eq!(four(&key, &VALUE, 0).unwrap().translation, None);
    }

    #[test]
    fn icmp_has_a_type_and_no_ports() {
        let mut key = [0; 10];
        key[8] = ports(0, 128 << 8 | 1, 0, 0);
        key[9] = rest(0, 58);
        let found = six(&key, &VALUE, 0).unwrap();
        assert_eq!(found.tuple.service, Service::Icmp(128, 1));
        assert_eq!(found.tuple.source_port, SourcePort::None);
        assert_eq!(found.translation, None);
        key[9] = rest(0, 50);
        assert_eq!(six(&key, &VALUE, 0), None);
    }
}
