//! The classic order, as sort keys: each key is built once a flow, sorts as plain integers, and gives
//! back all that a line shows.
//!
//! The order is the C tool's, which compares network-order integers as little-endian numbers and IPv6
//! addresses by their text. README's ledger of quirks lists it.

use crate::model::address::Text6;
use crate::model::flow::{Key4, Key6, Transport};

/// An IPv4 flow packed for sorting: source, destination (last octet most significant), ports, and,
/// behind everything that distinguishes flows, whether it is confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank4(u128);

/// An IPv6 flow prepared for sorting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank6 {
    source: Text6,
    destination: Text6,
    ports: u32,
    confirmed: bool,
}

/// What a classic line shows of a flow besides its addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Source port, 0 for ICMP.
    pub source_port: u16,
    /// Destination port; ICMP type and code for ICMP.
    pub service: u16,
    /// Whether the line ends in ` (confirmed)`.
    pub confirmed: bool,
}

/// Destination port, then source port, each with its bytes exchanged; ICMP type and code as they are.
fn ports_rank(transport: Transport, service: u16, source_port: u16) -> u32 {
    let service = match transport {
        Transport::Icmp => service,
        Transport::Tcp | Transport::Udp => service.swap_bytes(),
    };
    u32::from(service) << 16 | u32::from(source_port.swap_bytes())
}

fn shown(transport: Transport, ports: u32, confirmed: bool) -> Shown {
    let service = (ports >> 16) as u16;
    Shown {
        source_port: (ports as u16).swap_bytes(),
        service: match transport {
            Transport::Icmp => service,
            Transport::Tcp | Transport::Udp => service.swap_bytes(),
        },
        confirmed,
    }
}

impl Rank4 {
    /// The rank of a flow.
    pub fn new(transport: Transport, key: &Key4, confirmed: bool) -> Self {
        let &Key4 {
            source,
            destination,
            service,
            source_port,
        } = key;
        Self(
            u128::from(u32::from_le_bytes(source)) << 96
                | u128::from(u32::from_le_bytes(destination)) << 64
                | u128::from(ports_rank(transport, service, source_port)) << 32
                | u128::from(confirmed),
        )
    }

    /// Source and destination address, network order.
    pub const fn addresses(self) -> ([u8; 4], [u8; 4]) {
        (
            ((self.0 >> 96) as u32).to_le_bytes(),
            ((self.0 >> 64) as u32).to_le_bytes(),
        )
    }

    /// The rest of the line.
    pub fn shown(self, transport: Transport) -> Shown {
        shown(transport, (self.0 >> 32) as u32, self.0 & 1 != 0)
    }
}

impl Rank6 {
    /// The rank of a flow.
    pub fn new(transport: Transport, key: &Key6, confirmed: bool) -> Self {
        let &Key6 {
            source,
            destination,
            service,
            source_port,
        } = key;
        Self {
            source: Text6::new(&source),
            destination: Text6::new(&destination),
            ports: ports_rank(transport, service, source_port),
            confirmed,
        }
    }

    /// Source and destination address as text.
    pub const fn addresses(&self) -> (&Text6, &Text6) {
        (&self.source, &self.destination)
    }

    /// The rest of the line.
    pub fn shown(&self, transport: Transport) -> Shown {
        shown(transport, self.ports, self.confirmed)
    }
}
