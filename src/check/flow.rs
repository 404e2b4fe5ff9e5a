//! A flow on its way through the namespace.

use std::net::IpAddr;
use std::sync::Arc;

use crate::check::doubt::Doubt;
use crate::check::network::{Network, is_link_local};
use crate::check::packet::{Packet, Tuple};
use crate::check::policy::Way;
use crate::check::wire::{End, Wire};
use crate::model::record::{Record, Service, SourcePort};

/// Source ports for flows whose own was folded: Linux's range of ephemeral ports
/// (`ip_local_port_range`, ip(7)).
const EPHEMERAL: std::ops::Range<u32> = 32_768..61_000;
/// So many have to be free of doubt to be used.
const FREE_PORTS_MIN: usize = 64;

/// What is injected for a flow, and where.
#[derive(Clone, Debug)]
pub struct Flow {
    /// The first packet. Its number, and a free source port, are given when it is sent.
    pub packet: Packet,
    /// Where it goes in.
    pub entrance: End,
    /// Index of the device of a link-local destination.
    pub scope: u32,
    /// Whether any ephemeral source port does.
    pub free_port: bool,
    /// Whether the other direction is judged too.
    pub answered: bool,
    /// Why it can't be injected.
    pub impossible: Option<Arc<str>>,
}

impl Flow {
    /// Plans the injection of a flow.
    pub fn new(record: &Record, network: &Network, wire: &Wire) -> Self {
        let identity = &record.identity;
        let (source, destination) = (identity.source, identity.destination);
        let (icmp, destination_port) = match identity.service {
            Service::None => ((0, 0), 0),
            Service::Port(port) => ((0, 0), port),
            Service::Icmp(icmp_type, code) => ((icmp_type, code), 0),
        };
        let source_port = identity.source_port.number().unwrap_or(0);
        let is_icmp = identity.protocol.is_icmp();
        let near = near_device(source, destination, network);
        let entrance = if network.is_local(source) {
            Some(End::Host)
        } else {
            wire.end(near)
        };
        let local = network.is_local(destination) || network.is_for_many(destination);
        let impossible = match entrance {
            None => Some(format!(
                "not by the ruleset: there is no device {near} to come in by"
            )),
            // `ip_route_input_slow`, net/ipv4/route.c: a martian destination unless `route_localnet` is set.
            Some(End::Device(_)) if destination.is_loopback() => Some(
                "not by the ruleset: the kernel drops what comes from outside to an address of the loopback network"
                    .to_owned(),
            ),
            Some(End::Device(_)) if is_link_local(source) && !local => Some(
                "not by the ruleset: the kernel forwards nothing of link-local addresses"
                    .to_owned(),
            ),
            Some(_) => None,
        };
        Self {
            packet: Packet {
                tuple: Tuple {
                    source,
                    destination,
                    protocol: identity.protocol,
                    source_port,
                    destination_port,
                },
                icmp,
                number: 0,
            },
            entrance: entrance.unwrap_or(End::Host),
            scope: wire.index(near).unwrap_or(0),
            free_port: identity.source_port == SourcePort::Ephemeral || is_icmp,
            // Groups send nothing, so what answers them comes from elsewhere and is a flow of its own.
            answered: record.confirmed && !network.is_for_many(destination),
            impossible: impossible.map(Arc::from),
        }
    }

    /// The packet's tuple, with one of these source ports picked by `turn`, if any ephemeral one does.
    pub fn tuple(&self, ports: &[u16], turn: u32) -> Tuple {
        let mut tuple = self.packet.tuple;
        if self.free_port {
            tuple.source_port = ports[turn as usize % ports.len()];
            if tuple.protocol.is_icmp() {
                // One identifier is both.
                tuple.destination_port = tuple.source_port;
            }
        }
        tuple
    }
}

/// The source ports of flows whose own was folded, that no rule in doubt asks for; and whether there are such. Some at
/// least, so that flows between the same ends can be told apart.
pub fn free_ports(doubts: &[Doubt]) -> (Vec<u16>, bool) {
    let mut asked = vec![false; 1 << 16];
    for &(first, last) in doubts.iter().flat_map(|doubt| &doubt.ports) {
        asked[usize::from(first)..=usize::from(last)].fill(true);
    }
    let not_asked = |range: std::ops::Range<u32>| -> Vec<u16> {
        let ports = range.map(|port| port as u16);
        ports.filter(|port| !asked[usize::from(*port)]).collect()
    };
    for range in [EPHEMERAL, 1024..EPHEMERAL.start, EPHEMERAL.end..1 << 16] {
        let ports = not_asked(range);
        if ports.len() >= FREE_PORTS_MIN {
            return (ports, true);
        }
    }
    (EPHEMERAL.map(|port| port as u16).collect(), false)
}

/// The device that a flow's packets come in by; of this host's own ones, the one of its address.
fn near_device(source: IpAddr, destination: IpAddr, network: &Network) -> &str {
    if network.is_local(source) {
        return network
            .device_of(source)
            .unwrap_or_else(|| network.towards(destination));
    }
    // A link-local address says nothing of its device; the other end may.
    let found = is_link_local(source).then(|| network.device_of(destination));
    found.flatten().unwrap_or_else(|| {
        // By the way that answers take. Those that are not the host's own have come in by the device of its other side.
        let by = if network.is_local(destination) {
            "lo"
        } else {
            network.towards(destination)
        };
        network.way_out(Way {
            from: destination,
            to: source,
            by,
        })
    })
}
