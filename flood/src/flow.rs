//! The flows of a flood: flow number `i` is a pure function of the seed and `i`.

use super::random::{draw, permute32};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The highest number of distinct flows: the addresses and ports have room for 32 bits.
pub const FLOWS_MAX: u64 = 1 << 32;

/// Source ports above this one are one and the same port to conntracker.
pub const PRIVILEGED_PORT_MAX: u16 = 1024;

/// How many source ports lie above [`PRIVILEGED_PORT_MAX`].
const EPHEMERAL_PORTS: u64 = u16::MAX as u64 - PRIVILEGED_PORT_MAX as u64;

/// Eight ports a firewall administrator will find in the list.
const SERVICES: [u16; 8] = [443, 80, 53, 22, 123, 993, 25, 8080];

/// The transport of a flow; `Icmp` is ICMPv6 with IPv6 addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// TCP
    Tcp,
    /// UDP
    Udp,
    /// ICMP or ICMPv6, echo
    Icmp,
}

/// One direction of one connection, as in `CTA_TUPLE_ORIG`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tuple {
    /// The transport.
    pub protocol: Protocol,
    /// Source address.
    pub source: IpAddr,
    /// Destination address, of the same family.
    pub destination: IpAddr,
    /// Source port; the echo identifier of ICMP.
    pub source_port: u16,
    /// Destination port; 0 for ICMP.
    pub destination_port: u16,
}

/// What the address families of the flows are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4 only.
    V4,
    /// IPv6 only.
    V6,
    /// Even flows are IPv4, odd ones IPv6.
    Mixed,
}

/// The rules that turn a number into a flow.
#[derive(Clone, Debug)]
pub struct Profile {
    /// Address families.
    pub family: Family,
    /// Protocols with their weights; the weights need a sum above 0.
    pub protocols: Vec<(Protocol, u32)>,
    /// Percentage of the TCP and UDP flows whose source port is one of 1 to 1024 and so part of the flow.
    pub privileged_percent: u8,
    /// Seed of everything that looks random.
    pub seed: u64,
}

impl Profile {
    /// The transport of flow `index`.
    pub fn protocol(&self, index: u64) -> Protocol {
        let total: u64 = self
            .protocols
            .iter()
            .map(|(_, weight)| u64::from(*weight))
            .sum();
        let mut point = draw(self.seed, 1, index) % total.max(1);
        for (protocol, weight) in &self.protocols {
            if point < u64::from(*weight) {
                return *protocol;
            }
            point -= u64::from(*weight);
        }
        Protocol::Tcp
    }

    /// Whether flow `index` always comes from the same privileged port.
    pub fn is_privileged(&self, index: u64) -> bool {
        self.protocol(index) != Protocol::Icmp
            && draw(self.seed, 2, index) % 100 < u64::from(self.privileged_percent)
    }

    /// How many different connections (tuples) flow `index` can have.
    pub fn connections(&self, index: u64) -> u64 {
        match self.protocol(index) {
            Protocol::Icmp => 1 << 16,
            _ if self.is_privileged(index) => 1,
            _ => EPHEMERAL_PORTS,
        }
    }

    /// Connection number `round` of flow `index`; the numbers repeat after [`Profile::connections`].
    ///
    /// 32 permuted bits of the index are laid out injectively: 12 select a client, 17 a server of the benchmark
    /// network 198.18.0.0/15 (RFC 2544), and 3 one of eight services, or three more bits of client for ICMP,
    /// which has no port. So two flows always differ in an address or in the destination port, whatever
    /// their protocol and source ports are.
    pub fn tuple(&self, index: u64, round: u64) -> Tuple {
        debug_assert!(index < FLOWS_MAX);
        let bits = permute32(index as u32, self.seed);
        let (client, server, service) = (bits & 0xfff, bits >> 12 & 0x1_ffff, bits >> 29);
        let protocol = self.protocol(index);
        let turn = (draw(self.seed, 3, index) >> 32) + round;
        let (client, source_port, destination_port) = match protocol {
            Protocol::Icmp => (0x8000 | service << 12 | client, turn as u16, 0),
            _ if self.is_privileged(index) => (
                client,
                1 + (draw(self.seed, 4, index) % 1024) as u16,
                SERVICES[service as usize],
            ),
            _ => {
                let port = PRIVILEGED_PORT_MAX + 1 + (turn % EPHEMERAL_PORTS) as u16;
                (client, port, SERVICES[service as usize])
            }
        };
        let six = match self.family {
            Family::V4 => false,
            Family::V6 => true,
            Family::Mixed => index % 2 == 1,
        };
        let (source, destination) = if six {
            (
                client6(client, self.seed).into(),
                server6(server, self.seed).into(),
            )
        } else {
            (
                Ipv4Addr::from_bits(0x0a40_0000 | client).into(),
                Ipv4Addr::from_bits(0xc612_0000 | server).into(),
            )
        };
        Tuple {
            protocol,
            source,
            destination,
            source_port,
            destination_port,
        }
    }
}

/// Clients: one half with hand-given interface identifiers, the other half with random-looking ones (RFC 7217),
/// in separate prefixes. The text of the two differs much in length, and text is what IPv6 is sorted by.
fn client6(client: u32, seed: u64) -> Ipv6Addr {
    const PREFIX: u128 = 0x2001_0db8_0077 << 80;
    let client = u64::from(client);
    let (subnet, interface) = if client % 2 == 0 {
        (0, client + 2)
    } else {
        (1, interface(client, seed))
    };
    Ipv6Addr::from_bits(PREFIX | subnet << 64 | u128::from(interface))
}

/// Servers, spread over 256 networks.
fn server6(server: u32, seed: u64) -> Ipv6Addr {
    const PREFIX: u128 = 0x2001_0db8_8000 << 80;
    let subnet = u128::from(server & 0xff);
    Ipv6Addr::from_bits(PREFIX | subnet << 64 | u128::from(interface(u64::from(server), seed)))
}

/// A bijection of the host number, so that different hosts keep different addresses.
fn interface(host: u64, seed: u64) -> u64 {
    super::random::scramble(host ^ seed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn profile(family: Family, privileged_percent: u8) -> Profile {
        let protocols = vec![(Protocol::Tcp, 6), (Protocol::Udp, 3), (Protocol::Icmp, 1)];
        Profile {
            family,
            protocols,
            privileged_percent,
            seed: 11,
        }
    }

    #[test]
    fn flows_differ_even_without_protocol_and_source_port() {
        for family in [Family::V4, Family::V6, Family::Mixed] {
            let profile = profile(family, 20);
            let seen: HashSet<_> = (0..200_000)
                .map(|index| profile.tuple(index, 0))
                .map(|tuple| (tuple.source, tuple.destination, tuple.destination_port))
                .collect();
            assert_eq!(seen.len(), 200_000, "{family:?}");
        }
    }

    #[test]
    fn connections_of_a_flow_differ_in_the_source_port_only() {
        let profile = profile(Family::Mixed, 30);
        for index in 0..50 {
            let first = profile.tuple(index, 0);
            let count = profile.connections(index).min(70_000);
            let ports: HashSet<u16> = (0..count)
                .map(|round| {
                    let tuple = profile.tuple(index, round);
                    assert_eq!(
                        Tuple {
                            source_port: first.source_port,
                            ..tuple
                        },
                        first
                    );
                    tuple.source_port
                })
                .collect();
            assert_eq!(ports.len() as u64, count);
            match profile.protocol(index) {
                Protocol::Icmp => {}
                _ if profile.is_privileged(index) => {
                    assert!(ports.iter().all(|port| (1..=1024).contains(port)))
                }
                _ => assert!(ports.iter().all(|port| *port > 1024)),
            }
        }
    }

    #[test]
    fn shares_are_about_right() {
        let profile = profile(Family::V4, 25);
        let mut counts = [0_u32; 3];
        let mut privileged = 0_u32;
        for index in 0..100_000 {
            counts[profile.protocol(index) as usize] += 1;
            privileged += u32::from(profile.is_privileged(index));
        }
        assert!((59_000..61_000).contains(&counts[0]), "{counts:?}");
        assert!((29_000..31_000).contains(&counts[1]), "{counts:?}");
        assert!((21_500..23_500).contains(&privileged), "{privileged}");
    }
}
