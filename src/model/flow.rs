//! What a flow is: its class, its key, and one sighting of it.
//!
//! Everything here is plain data in host terms. Addresses stay arrays in network order, because both
//! the text form and the classic order are defined on those bytes; ports are host-order numbers.

/// Source ports above this one are ephemeral: the classic list shows all of them as this number.
pub const COLLAPSED_SOURCE_PORT: u16 = 1024;

/// The transport of a flow. ICMP stands for ICMPv6 in an IPv6 flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Transport {
    /// Transmission Control Protocol, protocol number 6.
    Tcp = 0,
    /// User Datagram Protocol, protocol number 17.
    Udp = 1,
    /// ICMP (protocol number 1) over IPv4, ICMPv6 (58) over IPv6.
    Icmp = 2,
}

impl Transport {
    /// All transports, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::Tcp, Self::Udp, Self::Icmp];
}

/// One of the six kinds of flow that are listed, in the order of the classic list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Class {
    /// TCP over IPv4.
    Tcp4,
    /// UDP over IPv4.
    Udp4,
    /// ICMP over IPv4.
    Icmp4,
    /// TCP over IPv6.
    Tcp6,
    /// UDP over IPv6.
    Udp6,
    /// ICMPv6 over IPv6.
    Icmp6,
}

impl Class {
    /// All classes, in the order of the classic list.
    pub const ALL: [Self; 6] = [
        Self::Tcp4,
        Self::Udp4,
        Self::Icmp4,
        Self::Tcp6,
        Self::Udp6,
        Self::Icmp6,
    ];

    /// The class of IPv4 flows over a transport.
    pub const fn v4(transport: Transport) -> Self {
        match transport {
            Transport::Tcp => Self::Tcp4,
            Transport::Udp => Self::Udp4,
            Transport::Icmp => Self::Icmp4,
        }
    }

    /// The class of IPv6 flows over a transport.
    pub const fn v6(transport: Transport) -> Self {
        match transport {
            Transport::Tcp => Self::Tcp6,
            Transport::Udp => Self::Udp6,
            Transport::Icmp => Self::Icmp6,
        }
    }

    /// The class's name as the classic list spells it, without the leading space it has there.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp4 => "TCPv4",
            Self::Udp4 => "UDPv4",
            Self::Icmp4 => "ICMPv4",
            Self::Tcp6 => "TCPv6",
            Self::Udp6 => "UDPv6",
            Self::Icmp6 => "ICMPv6",
        }
    }
}

/// The identity of a flow within its class; `A` is the address type.
///
/// The layout is dense (12 bytes for IPv4), since one of these is kept for every flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Key<A> {
    /// Source address, network order.
    pub source: A,
    /// Destination address, network order.
    pub destination: A,
    /// Destination port of TCP and UDP; for ICMP the type in the upper byte and the code in the lower.
    pub service: u16,
    /// Source port of TCP and UDP after [`collapse`]; 0 for ICMP. Never above 1024.
    pub source_port: u16,
}

/// Key of an IPv4 flow.
pub type Key4 = Key<[u8; 4]>;
/// Key of an IPv6 flow.
pub type Key6 = Key<[u8; 16]>;

/// A flow of either address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flow {
    /// An IPv4 flow.
    V4(Transport, Key4),
    /// An IPv6 flow.
    V6(Transport, Key6),
}

impl Flow {}

/// The kernel event (or dump) that showed the flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The entry was created.
    New,
    /// The entry changed.
    Update,
    /// The entry was removed. Only `--reliable` subscribes to these.
    Destroy,
}

/// One sighting of a flow, as every source delivers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observation {
    /// The flow that was seen.
    pub flow: Flow,
    /// Whether the kernel has seen packets in both directions (`IPS_SEEN_REPLY`).
    pub replied: bool,
    /// Which kind of message showed it.
    pub event: Event,
}

/// Folds the ephemeral source ports into one: above 1024 becomes 1024.
pub const fn collapse(source_port: u16) -> u16 {
    if source_port > COLLAPSED_SOURCE_PORT {
        COLLAPSED_SOURCE_PORT
    } else {
        source_port
    }
}

/// The `service` of an ICMP flow.
pub const fn icmp_service(icmp_type: u8, code: u8) -> u16 {
    (icmp_type as u16) << 8 | code as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_ipv4_key_takes_twelve_bytes() {
        assert_eq!(size_of::<Key4>(), 12);
        assert_eq!(size_of::<Key6>(), 36);
    }

    #[test]
    fn only_ports_above_1024_collapse() {
        let shown: Vec<u16> = [0, 1023, 1024, 1025, 65535].map(collapse).to_vec();
        assert_eq!(shown, [0, 1023, 1024, 1024, 1024]);
    }
}
