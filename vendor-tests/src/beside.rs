//! Flows beside one that was seen: what a ruleset made from it must not let through on the way.

use std::net::IpAddr;

use conntracker::testing::model::{Identity, Protocol, Service, SourcePort};

use crate::world::{Dice, is_group, stepped};

/// A flow with another port, host, protocol, direction or source port, and with parts of an `other` flow.
/// None is translated. Those that no kernel would route are left out.
pub fn beside(identity: &Identity, other: &Identity, dice: &mut Dice) -> Vec<Identity> {
    let mut all = Vec::new();
    let port = 20_000 + dice.below(9_000) as u16;
    let mut push = |change: &dyn Fn(&mut Identity)| {
        let mut probe = Identity {
            translation: None,
            ..identity.clone()
        };
        if probe.source_port == SourcePort::Ephemeral {
            probe.source_port = SourcePort::Exact(port);
        }
        change(&mut probe);
        all.push(probe);
    };
    let bits = [dice.below(6), dice.below(6), dice.below(6)];
    for by in [-1, 1] {
        push(&|probe| probe.source = stepped(probe.source, by));
        push(&|probe| probe.destination = stepped(probe.destination, by));
        push(&|probe| {
            if let Service::Port(port) = &mut probe.service {
                *port = port.wrapping_add(by as u16).max(1);
            }
        });
    }
    for bit in bits {
        push(&|probe| probe.source = flipped(probe.source, bit));
        push(&|probe| probe.destination = flipped(probe.destination, bit));
    }
    push(&|probe| {
        std::mem::swap(&mut probe.source, &mut probe.destination);
        // Answers of what the first packet would be, as a packet filter without states would let in.
        if let (Service::Port(service), SourcePort::Exact(port)) =
            (probe.service, probe.source_port)
        {
            probe.service = Service::Port(port.max(1));
            probe.source_port = SourcePort::Exact(service);
        }
    });
    push(&|probe| std::mem::swap(&mut probe.source, &mut probe.destination));
    push(&|probe| {
        if let Some(dnat) = identity.dnat() {
            probe.destination = dnat.address;
        }
    });
    push(&|probe| probe.source = other.source);
    push(&|probe| probe.destination = other.destination);
    push(&|probe| {
        if probe.protocol.has_ports() && other.protocol.has_ports() {
            probe.service = other.service;
        }
    });
    push(&|probe| {
        if probe.protocol.has_ports() && other.protocol.has_ports() {
            probe.protocol = other.protocol;
        }
    });
    push(&|probe| match probe.protocol {
        Protocol::TCP => probe.protocol = Protocol::UDP,
        Protocol::UDP | Protocol::SCTP => probe.protocol = Protocol::TCP,
        Protocol::ICMP => probe.service = Service::Icmp(17, 0),
        // Node information queries open connections too (`noct_valid_new` and `valid_new`,
        // net/netfilter/nf_conntrack_proto_icmpv6.c).
        Protocol::ICMPV6 => probe.service = Service::Icmp(139, 0),
        _ => probe.protocol = Protocol(252),
    });
    push(&|probe| {
        if let SourcePort::Exact(port) = &mut probe.source_port {
            *port = 1023;
        }
    });
    push(&|probe| {
        if let SourcePort::Exact(port) = &mut probe.source_port {
            *port = port.wrapping_add(1);
        }
    });
    all.retain(|probe| {
        probe.source.is_ipv4() == probe.destination.is_ipv4()
            && probe.source != probe.destination
            && !is_group(probe.source)
            && is_host(probe.source)
            && (is_group(probe.destination) || is_host(probe.destination))
    });
    all
}

fn flipped(address: IpAddr, bit: u32) -> IpAddr {
    match address {
        IpAddr::V4(address) => IpAddr::V4((address.to_bits() ^ 1 << bit).into()),
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() ^ 1 << bit).into()),
    }
}

/// Not the address of a network itself, nor one of no use.
fn is_host(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let bytes = address.octets();
            (1..224).contains(&bytes[0]) && bytes[3] != 0
        }
        IpAddr::V6(address) => !address.is_multicast() && address.segments()[7] != 0,
    }
}
