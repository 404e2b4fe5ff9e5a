//! The packets that are injected: the first one of a flow, and the first answer to it.
//!
//! Each carries a number by which it is known again where it comes out: the identification of IPv4, the
//! flow label of IPv6. Neither NAT nor forwarding changes these, and hardly a ruleset looks at them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::check::checksum::{crc32c, internet};
use crate::model::record::Protocol;

/// Bytes of an IPv4 header without options.
const IPV4_LEN: usize = 20;
/// Bytes of an IPv6 header.
const IPV6_LEN: usize = 40;
/// Initial sequence number of the first packet.
const SEQUENCE: u32 = 1000;
/// SCTP initiate tag of the first packet, which the answer carries.
const TAG: u32 = 1;

/// What a packet is to conntrack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tuple {
    /// Source address. Of the same family as the destination.
    pub source: IpAddr,
    /// The address that it is sent to.
    pub destination: IpAddr,
    /// Its number in the IP header, by which rules and lists name it.
    pub protocol: Protocol,
    /// Source port; the identifier of ICMP; 0 for protocols without.
    pub source_port: u16,
    /// Destination port; the identifier of ICMP; 0 for protocols without.
    pub destination_port: u16,
}

impl Tuple {
    /// That of an answer.
    pub const fn reversed(self) -> Self {
        Self {
            source: self.destination,
            destination: self.source,
            protocol: self.protocol,
            source_port: self.destination_port,
            destination_port: self.source_port,
        }
    }
}

/// Which packet of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The first one.
    First,
    /// The first one of the other direction.
    Answer,
    /// A later one of the first direction, once the other side has answered.
    Later,
}

/// A packet to build, or one that came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Addresses and ports.
    pub tuple: Tuple,
    /// Type and code of ICMP and ICMPv6; 0 otherwise.
    pub icmp: (u8, u8),
    /// The number it is known by. Not 0.
    pub number: u16,
}

impl Packet {
    /// Its answer, if packets of the kind have one.
    pub const fn answer(&self, number: u16) -> Option<Self> {
        let icmp_type = match (self.tuple.protocol, self.icmp.0) {
            // The pairs that conntrack knows (`invmap`, net/netfilter/nf_conntrack_proto_icmp.c).
            (Protocol::ICMP, 8) => 0,
            (Protocol::ICMP, 13) => 14,
            (Protocol::ICMP, 15) => 16,
            (Protocol::ICMP, 17) => 18,
            // `invmap` of nf_conntrack_proto_icmpv6.c.
            (Protocol::ICMPV6, 128) => 129,
            (Protocol::ICMPV6, 139) => 140,
            (Protocol::ICMP | Protocol::ICMPV6, _) => return None,
            _ => 0,
        };
        // conntrack takes nothing for the answer that has another code
        // (`nf_conntrack_invert_icmp_tuple`), and hosts keep it (`icmp_echo`, net/ipv4/icmp.c).
        let icmp = (icmp_type, self.icmp.1);
        Some(Self {
            tuple: self.tuple.reversed(),
            icmp,
            number,
        })
    }

    /// Its bytes, from the IP header on.
    pub fn bytes(&self, step: Step) -> Vec<u8> {
        let mut body = self.body(step);
        let protocol = self.tuple.protocol;
        match (self.tuple.source, self.tuple.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let pseudo = pseudo_ipv4(source, destination, protocol, body.len());
                complete(protocol, &mut body, pseudo);
                let mut bytes = vec![0; IPV4_LEN];
                bytes[0] = 0x45;
                bytes[2..4].copy_from_slice(&((IPV4_LEN + body.len()) as u16).to_be_bytes());
                bytes[4..6].copy_from_slice(&self.number.to_be_bytes());
                // Don't fragment.
                bytes[6] = 0x40;
                bytes[8] = self.hop_limit();
                bytes[9] = protocol.0;
                bytes[12..16].copy_from_slice(&source.octets());
                bytes[16..20].copy_from_slice(&destination.octets());
                let sum = internet(&bytes, 0);
                bytes[10..12].copy_from_slice(&sum.to_be_bytes());
                bytes.extend(body);
                bytes
            }
            (source, destination) => {
                let (source, destination) = (ipv6(source), ipv6(destination));
                let pseudo = pseudo_ipv6(source, destination, protocol, body.len());
                complete(protocol, &mut body, pseudo);
                let mut bytes = vec![0; IPV6_LEN];
                bytes[0] = 0x60;
                bytes[2..4].copy_from_slice(&self.number.to_be_bytes());
                bytes[4..6].copy_from_slice(&(body.len() as u16).to_be_bytes());
                bytes[6] = protocol.0;
                bytes[7] = self.hop_limit();
                bytes[8..24].copy_from_slice(&source.octets());
                bytes[24..40].copy_from_slice(&destination.octets());
                bytes.extend(body);
                bytes
            }
        }
    }

    /// Reads a packet that [`bytes`](Self::bytes) has built, translated or not. `None` for others.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let (source, destination, protocol, number, body): (IpAddr, IpAddr, u8, u16, &[u8]) =
            match bytes.first()? >> 4 {
                4 => {
                    let header = bytes.first_chunk::<IPV4_LEN>()?;
                    let len = usize::from(header[0] & 15) * 4;
                    (
                        Ipv4Addr::from(<[u8; 4]>::try_from(&header[12..16]).ok()?).into(),
                        Ipv4Addr::from(<[u8; 4]>::try_from(&header[16..20]).ok()?).into(),
                        header[9],
                        u16::from_be_bytes([header[4], header[5]]),
                        bytes.get(len..)?,
                    )
                }
                6 => {
                    let header = bytes.first_chunk::<IPV6_LEN>()?;
                    (
                        Ipv6Addr::from(<[u8; 16]>::try_from(&header[8..24]).ok()?).into(),
                        Ipv6Addr::from(<[u8; 16]>::try_from(&header[24..40]).ok()?).into(),
                        header[6],
                        u16::from_be_bytes([header[2], header[3]]),
                        &bytes[IPV6_LEN..],
                    )
                }
                _ => return None,
            };
        let protocol = Protocol(protocol);
        let word = |at: usize| Some(u16::from_be_bytes([*body.get(at)?, *body.get(at + 1)?]));
        let (icmp, source_port, destination_port) = if protocol.is_icmp() {
            ((*body.first()?, *body.get(1)?), word(4)?, word(4)?)
        } else if protocol.has_ports() {
            ((0, 0), word(0)?, word(2)?)
        } else {
            ((0, 0), 0, 0)
        };
        Some(Self {
            tuple: Tuple {
                source,
                destination,
                protocol,
                source_port,
                destination_port,
            },
            icmp,
            number,
        })
    }

    const fn hop_limit(&self) -> u8 {
        match (self.tuple.protocol, self.icmp.0) {
            // Neighbour discovery (RFC 4861, 7.1).
            (Protocol::ICMPV6, 133..=137) => 255,
            _ => 64,
        }
    }

    /// What follows the IP header, without its checksum.
    fn body(&self, step: Step) -> Vec<u8> {
        let tuple = &self.tuple;
        let [from, to] = [tuple.source_port, tuple.destination_port].map(u16::to_be_bytes);
        let ports = [from, to].concat();
        match tuple.protocol {
            Protocol::TCP => tcp(&ports, step),
            Protocol::UDP | Protocol::UDPLITE => udp(&ports),
            Protocol::SCTP => sctp(&ports, step),
            Protocol::DCCP => dccp(&ports, step),
            Protocol::ICMP | Protocol::ICMPV6 => echo(self.icmp, from),
            // A header of version 0 around IPv4 (RFC 2784).
            Protocol::GRE => vec![0, 0, 8, 0, 0, 0, 0, 0],
            // Security parameters index and sequence number, the next header of AH before them.
            Protocol(50) => [&[0, 0, 16, 0, 0, 0, 0, 1], &[0_u8; 16][..]].concat(),
            Protocol(51) => [&[59, 4, 0, 0, 0, 0, 16, 0, 0, 0, 0, 1], &[0_u8; 12][..]].concat(),
            _ => vec![0; 16],
        }
    }
}

/// A SYN as Linux sends it, its answer, or what acknowledges that: maximum segment size, selective acknowledgment, window scale (RFC 9293, 3.1).
fn tcp(ports: &[u8], step: Step) -> Vec<u8> {
    let (acknowledged, flags) = match step {
        Step::First => (0, 0x02),
        Step::Answer => (SEQUENCE + 1, 0x12),
        Step::Later => (SEQUENCE + 1, 0x10),
    };
    let sequence = SEQUENCE + u32::from(step == Step::Later);
    [
        ports,
        &sequence.to_be_bytes(),
        &u32::to_be_bytes(acknowledged),
        &[8 << 4, flags, 0xfa, 0xf0, 0, 0, 0, 0],
        &[2, 4, 5, 0xb4, 4, 2, 1, 1, 1, 3, 3, 7],
    ]
    .concat()
}

/// A datagram with some payload. Behind the ports stands its length, which to UDP-Lite is what its checksum covers: all.
fn udp(ports: &[u8]) -> Vec<u8> {
    let payload = [0; 12];
    let len = (8 + payload.len()) as u16;
    [ports, &len.to_be_bytes(), &[0, 0], &payload].concat()
}

/// INIT, or INIT ACK with a state cookie (RFC 9260, 3.3.2 and 3.3.3).
fn sctp(ports: &[u8], step: Step) -> Vec<u8> {
    let (tag, kind, len, cookie): (_, _, _, &[u8]) = match step {
        Step::First | Step::Later => (0, 1, 20, &[]),
        Step::Answer => (TAG, 2, 28, &[0, 7, 0, 8, 0, 0, 0, 1]),
    };
    [
        ports,
        &u32::to_be_bytes(tag),
        &[0, 0, 0, 0],
        &[kind, 0, 0, len],
        &TAG.to_be_bytes(),
        // Window, streams out and in, sequence number.
        &[0, 1, 0, 0, 0, 10, 0, 10, 0, 0, 0, 1],
        cookie,
    ]
    .concat()
}

/// Request or Response with a long sequence number (RFC 4340, 5.1 to 5.3).
fn dccp(ports: &[u8], step: Step) -> Vec<u8> {
    let (kind, words, acknowledged): (_, _, &[u8]) = match step {
        Step::First | Step::Later => (0, 5, &[]),
        Step::Answer => (1, 7, &[0, 0, 0, 0, 0, 0, 0, 1]),
    };
    [
        ports,
        &[words, 0, 0, 0, kind << 1 | 1, 0, 0, 0, 0, 0, 0, 1],
        acknowledged,
        // Service code.
        &[0, 0, 0, 0],
    ]
    .concat()
}

/// A message of ICMP or ICMPv6 with an identifier, a sequence number, and data as ping(8) sends: enough for a timestamp
/// reply too.
fn echo((icmp_type, code): (u8, u8), identifier: [u8; 2]) -> Vec<u8> {
    let [high, low] = identifier;
    let mut body = vec![icmp_type, code, 0, 0, high, low, 0, 1];
    body.resize(8 + 56, 0);
    body
}

fn ipv6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V6(address) => address,
        IpAddr::V4(address) => address.to_ipv6_mapped(),
    }
}

/// Sum of the pseudo header of IPv4 (RFC 9293, 3.1), as [`internet`] goes on with it.
fn pseudo_ipv4(source: Ipv4Addr, destination: Ipv4Addr, protocol: Protocol, len: usize) -> u32 {
    let sum = |address: Ipv4Addr| (address.to_bits() >> 16) + (address.to_bits() & 0xffff);
    sum(source) + sum(destination) + u32::from(protocol.0) + len as u32
}

/// The same of IPv6 (RFC 8200, 8.1).
fn pseudo_ipv6(source: Ipv6Addr, destination: Ipv6Addr, protocol: Protocol, len: usize) -> u32 {
    let sum = |address: Ipv6Addr| address.segments().map(u32::from).iter().sum::<u32>();
    sum(source) + sum(destination) + u32::from(protocol.0) + len as u32
}

/// Writes the checksum of the transport header, where there is one.
fn complete(protocol: Protocol, body: &mut [u8], pseudo: u32) {
    let (at, pseudo) = match protocol {
        Protocol::TCP => (16, pseudo),
        Protocol::UDP | Protocol::UDPLITE => (6, pseudo),
        Protocol::DCCP => (6, pseudo),
        Protocol::ICMPV6 => (2, pseudo),
        Protocol::ICMP | Protocol(2) => (2, 0),
        Protocol::SCTP => {
            let sum = crc32c(body);
            body[8..12].copy_from_slice(&sum.to_le_bytes());
            return;
        }
        _ => return,
    };
    let sum = match internet(body, pseudo) {
        // "No checksum" (RFC 768).
        0 if protocol != Protocol::TCP => 0xffff,
        sum => sum,
    };
    body[at..at + 2].copy_from_slice(&sum.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(source: &str, destination: &str, protocol: Protocol) -> Packet {
        let ports = protocol.has_ports();
        Packet {
            tuple: Tuple {
                source: source.parse().unwrap(),
                destination: destination.parse().unwrap(),
                protocol,
                source_port: if ports { 40_000 } else { 0 },
                destination_port: if ports { 443 } else { 0 },
            },
            icmp: (0, 0),
            number: 0x4001,
        }
    }

    #[test]
    fn packets_read_back_as_they_were_built() {
        for number in 0..=255 {
            let protocol = Protocol(number);
            for (source, destination) in [("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")] {
                let mut packet = packet(source, destination, protocol);
                if protocol.is_icmp() {
                    packet.icmp = (8, 3);
                    packet.tuple.source_port = 77;
                    packet.tuple.destination_port = 77;
                }
                for step in [Step::First, Step::Answer] {
                    assert_eq!(Packet::read(&packet.bytes(step)), Some(packet), "{number}");
                }
            }
        }
        assert_eq!(Packet::read(&[]), None);
        assert_eq!(Packet::read(&[0x45; 12]), None);
    }

    #[test]
    fn checksums_add_up_to_nothing() {
        let bytes = packet("10.0.0.1", "10.0.0.2", Protocol::TCP).bytes(Step::First);
        assert_eq!(internet(&bytes[..20], 0), 0);
        let pseudo = pseudo_ipv4(
            "10.0.0.1".parse().unwrap(),
            "10.0.0.2".parse().unwrap(),
            Protocol::TCP,
            bytes.len() - 20,
        );
        assert_eq!(internet(&bytes[20..], pseudo), 0);
    }

    #[test]
    fn pings_are_answered_and_errors_are_not() {
        let mut ping = packet("10.0.0.1", "10.0.0.2", Protocol::ICMP);
        ping.icmp = (8, 0);
        let answer = ping.answer(5).unwrap();
        assert_eq!((answer.icmp, answer.number), ((0, 0), 5));
        assert_eq!(answer.tuple, ping.tuple.reversed());
        ping.icmp = (8, 7);
        assert_eq!(ping.answer(5).unwrap().icmp, (0, 7));
        ping.icmp = (3, 1);
        assert_eq!(ping.answer(5), None);
    }
}
