//! Which chain sees the first packet of a flow, and with which destination.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use crate::model::capture::{Capture, broadcast};
use crate::model::record::{Identity, Service};

/// A chain of the filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Chain {
    /// Packets for the host itself.
    Input,
    /// Packets that pass through it.
    Forward,
    /// Packets from it.
    Output,
}

impl Chain {
    /// All chains, in the order in which rulesets have them.
    pub const ALL: [Self; 3] = [Self::Input, Self::Forward, Self::Output];

    /// The name of the hook, which is that of the chain.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Forward => "forward",
            Self::Output => "output",
        }
    }
}

/// The way of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Traversal {
    /// Through this chain.
    Chain(Chain),
    /// From the host to an address of its own, over `lo`: through output and, unless DNAT sends it
    /// elsewhere, input.
    Loopback,
    /// Between link-local addresses of which none is known to be the host's. They are not forwarded
    /// (`ip6_forward`, net/ipv6/ip6_output.c), so it is to or from the host.
    LinkLocal,
    /// To a group on one of the host's links, while none of its addresses are known.
    Group,
}

/// What is known of the host's addresses.
#[derive(Clone, Debug, Default)]
pub struct Host {
    addresses: HashSet<IpAddr>,
    networks: Vec<IpNet>,
    broadcasts: HashSet<Ipv4Addr>,
}

impl Host {
    /// The host of these captures, with further addresses and networks of its own.
    pub fn new(captures: &[Capture], local: &[IpNet]) -> Self {
        let mut host = Self::default();
        for capture in captures {
            host.addresses.extend(capture.local_addresses());
            let interfaces = capture.interfaces.iter();
            let networks = interfaces.flat_map(|interface| &interface.addresses);
            host.broadcasts.extend(networks.filter_map(broadcast));
        }
        for net in local {
            if net.prefix_len() == net.max_prefix_len() {
                host.addresses.insert(net.addr());
            } else {
                host.networks.push(*net);
            }
        }
        host
    }

    /// Whether any of its addresses is known.
    pub fn is_known(&self) -> bool {
        !self.addresses.is_empty() || !self.networks.is_empty()
    }

    /// Whether an address is its own.
    pub fn owns(&self, address: IpAddr) -> bool {
        address.is_loopback()
            || self.addresses.contains(&address)
            || self.networks.iter().any(|net| net.contains(&address))
    }

    /// Whether an address stands for all hosts, or a group of them, on a link. The answer to what is sent
    /// there comes from another address, so conntrack never sees such a flow confirmed.
    pub fn is_group(&self, address: IpAddr) -> bool {
        address.is_multicast()
            || match address {
                IpAddr::V4(address) => address.is_broadcast() || self.broadcasts.contains(&address),
                IpAddr::V6(_) => false,
            }
    }

    /// The way of a flow. DNAT comes before the choice of way (prerouting), and before the filter sees what
    /// the host itself sends (`NF_IP_PRI_NAT_DST` < `NF_IP_PRI_FILTER`, linux/netfilter_ipv4.h).
    pub fn way(&self, identity: &Identity) -> Traversal {
        let asked = identity.destination;
        let (destination, _) = destination(identity);
        let from_here = self.owns(identity.source);
        // What is translated in the output chain still has the interface that it was first routed to
        // (`nf_hook_state.out`): the rule for `lo` accepts what was local from the beginning, wherever
        // it goes then, and nothing else.
        if from_here && self.owns(asked) {
            return Traversal::Loopback;
        }
        if !self.is_known() {
            let group = self.is_group(destination);
            return if group {
                Traversal::Group
            } else {
                Traversal::Chain(Chain::Forward)
            };
        }
        if from_here {
            Traversal::Chain(Chain::Output)
        } else if self.owns(destination) || self.is_group(destination) {
            Traversal::Chain(Chain::Input)
        } else if is_link_local(identity.source) || is_link_local(destination) {
            Traversal::LinkLocal
        } else {
            Traversal::Chain(Chain::Forward)
        }
    }
}

/// The destination that the filter sees: after DNAT.
pub fn destination(identity: &Identity) -> (IpAddr, Service) {
    let Some(dnat) = identity.dnat() else {
        return (identity.destination, identity.service);
    };
    let service = match (identity.service, dnat.port) {
        (Service::Port(_), Some(port)) => Service::Port(port),
        (service, _) => service,
    };
    // Translation does not cross families.
    if dnat.address.is_ipv4() == identity.destination.is_ipv4() {
        (dnat.address, service)
    } else {
        (identity.destination, service)
    }
}

const fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::capture::Interface;
    use crate::model::record::{Dnat, Protocol, SourcePort, Translation};

    fn gateway() -> Host {
        let capture = Capture {
            interfaces: vec![Interface {
                name: "eth0".into(),
                addresses: vec![
                    "10.1.0.1/24".parse().unwrap(),
                    "fd01::1/64".parse().unwrap(),
                ],
                ..Interface::default()
            }],
            ..Capture::default()
        };
        Host::new(&[capture], &["192.0.2.0/28".parse().unwrap()])
    }

    fn way(source: &str, destination: &str, translated: Option<&str>) -> Traversal {
        let dnat = translated.map(|address| Dnat {
            address: address.parse().unwrap(),
            port: None,
        });
        gateway().way(&Identity {
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
            protocol: Protocol::TCP,
            service: Service::Port(80),
            source_port: SourcePort::Ephemeral,
            zone: 0,
            netns: None,
            translation: dnat.map(|dnat| {
                Box::new(Translation {
                    dnat: Some(dnat),
                    snat: None,
                })
            }),
        })
    }

    #[test]
    fn each_flow_goes_its_way() {
        use Chain::{Forward, Input, Output};
        let ways = [
            ("10.1.0.7", "10.2.0.2", None, Traversal::Chain(Forward)),
            ("10.1.0.7", "10.1.0.1", None, Traversal::Chain(Input)),
            ("10.1.0.7", "192.0.2.9", None, Traversal::Chain(Input)),
            ("10.1.0.7", "10.1.0.255", None, Traversal::Chain(Input)),
            ("0.0.0.0", "255.255.255.255", None, Traversal::Chain(Input)),
            ("fe80::7", "ff02::fb", None, Traversal::Chain(Input)),
            ("10.1.0.1", "10.1.0.255", None, Traversal::Chain(Output)),
            ("fd01::1", "fd02::2", None, Traversal::Chain(Output)),
            ("10.1.0.1", "192.0.2.1", None, Traversal::Loopback),
            ("127.0.0.1", "127.0.0.53", None, Traversal::Loopback),
            ("fe80::7", "fe80::8", None, Traversal::LinkLocal),
            (
                "10.9.0.7",
                "192.0.2.1",
                Some("10.2.0.2"),
                Traversal::Chain(Forward),
            ),
            (
                "10.9.0.7",
                "10.8.0.1",
                Some("10.1.0.1"),
                Traversal::Chain(Input),
            ),
            (
                "10.1.0.1",
                "10.8.0.1",
                Some("127.0.0.1"),
                Traversal::Chain(Output),
            ),
            (
                "10.1.0.1",
                "192.0.2.1",
                Some("10.2.0.2"),
                Traversal::Loopback,
            ),
        ];
        for (source, destination, translated, expected) in ways {
            assert_eq!(
                way(source, destination, translated),
                expected,
                "{source} to {destination} {translated:?}"
            );
        }
    }
}
