//! What lies behind which interface: the zones of a gateway, and the networks that each of them has.
//!
//! A zone is an interface, or all the interfaces that a default route leads out of: the Internet side. A network is a
//! prefix that an interface has an address of, or that a route leads to.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use ipnet::IpNet;

use crate::model::capture::Capture;
use crate::rules::block::{Block, Family, number};

/// A zone, as an index of [`Links::zones`].
pub type ZoneId = usize;
/// A network, as an index of [`Links::networks`].
pub type NetworkId = usize;

/// Interfaces that a rule names together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Zone {
    /// Their names, sorted. None at all stands for link-local addresses, which every interface has.
    pub names: Vec<String>,
    /// Whether a default route leads there, so that everything else lies behind it.
    pub is_internet: bool,
}

/// A network behind a zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// Its family.
    pub family: Family,
    /// Its addresses.
    pub block: Block,
    /// Where it lies.
    pub zone: ZoneId,
    /// Whether it is what a default route leads to.
    pub is_default: bool,
}

/// Zones and networks.
#[derive(Clone, Debug, Default)]
pub struct Links {
    /// The zones.
    pub zones: Vec<Zone>,
    /// The networks.
    pub networks: Vec<Network>,
    /// Networks by first address, for each length of prefix that there is, the longest first.
    by_length: BTreeMap<(Family, u8), HashMap<u128, NetworkId>>,
    /// Families for which rules choose the routing table by more than the destination.
    unclear: [bool; 2],
}

impl Links {
    /// Those of some captures, which are taken to be of one host. Of several hosts nothing is known, since the interfaces
    /// of one say nothing of those of another. Where captures contradict one another, the last one counts.
    pub fn new(captures: &[Capture]) -> Self {
        let mut links = Self::default();
        let mut hosts: Vec<&Option<String>> = captures.iter().map(|one| &one.host).collect();
        hosts.sort_unstable();
        hosts.dedup();
        if hosts.len() > 1 {
            return links;
        }
        let mut sorted: Vec<&Capture> = captures.iter().collect();
        sorted.sort_by_key(|capture| (capture.end, capture.start));
        let mut routes: BTreeMap<IpNet, String> = BTreeMap::new();
        let mut defaults: BTreeMap<String, ()> = BTreeMap::new();
        let mut routers = Vec::new();
        for capture in sorted {
            for interface in &capture.interfaces {
                if interface.table.is_some() {
                    routers.push(interface.name.clone());
                }
            }
            let slaves = capture.interfaces.iter().filter(|interface| {
                let master = interface.master.as_ref();
                master.is_some_and(|master| routers.contains(master))
            });
            // The filter sees packets of a virtual router on its own interface or on the slave's
            // (`l3mdev_ip_rcv`, include/net/l3mdev.h), so that neither can be a condition.
            routers.extend(
                slaves
                    .map(|interface| interface.name.clone())
                    .collect::<Vec<_>>(),
            );
            let connected = capture.interfaces.iter().flat_map(|interface| {
                let nets = interface.addresses.iter();
                nets.filter(|net| net.prefix_len() < net.max_prefix_len())
                    .map(|net| (net.trunc(), interface.name.clone()))
            });
            let routed = capture.routes.iter();
            let routed = routed.map(|route| (route.destination.trunc(), route.interface.clone()));
            for (net, name) in connected.chain(routed) {
                if name == "lo" || routers.contains(&name) || is_on_every_link(net.addr()) {
                    continue;
                }
                if net.prefix_len() == 0 {
                    defaults.insert(name.clone(), ());
                }
                routes.insert(net, name);
            }
            for rule in &capture.policy_rules {
                links.unclear[usize::from(!rule.is_ipv4())] = true;
            }
        }
        let internet: Vec<String> = defaults.into_keys().collect();
        links.zones.push(Zone::default());
        if !internet.is_empty() {
            links.zones.push(Zone {
                names: internet.clone(),
                is_internet: true,
            });
        }
        links.add("fe80::/10".parse().expect("it is one"), 0);
        for (net, name) in routes {
            let zone = if internet.contains(&name) {
                1
            } else {
                let names = vec![name];
                let known = links.zones.iter().position(|zone| zone.names == names);
                known.unwrap_or_else(|| {
                    links.zones.push(Zone {
                        names,
                        is_internet: false,
                    });
                    links.zones.len() - 1
                })
            };
            links.add(net, zone);
        }
        links
    }

    fn add(&mut self, net: IpNet, zone: ZoneId) {
        let (block, family) = (Block::of_net(net), Family::of(net.addr()));
        let of_length = self.by_length.entry((family, u8::MAX - net.prefix_len()));
        of_length
            .or_default()
            .insert(block.first(), self.networks.len());
        self.networks.push(Network {
            family,
            block,
            zone,
            is_default: net.prefix_len() == 0,
        });
    }

    /// The network that an address lies in, as routes say: that of the longest prefix. `None` if no route leads there,
    /// or if which one does is decided by other things too (ip-rule(8)).
    pub fn network(&self, address: IpAddr) -> Option<NetworkId> {
        let family = Family::of(address);
        let number = number(address);
        if self.unclear[usize::from(family == Family::V6)] && !is_on_every_link(address) {
            return None;
        }
        let lengths = self.by_length.range((family, 0)..=(family, u8::MAX));
        let mut found = lengths.filter_map(|((_, rest), nets)| {
            let host_bits = family.bits() - (u8::MAX - rest);
            let first = if host_bits == 128 {
                0
            } else {
                number >> host_bits << host_bits
            };
            nets.get(&first).copied()
        });
        found.next()
    }

    /// The networks of a zone that are no default, of one family.
    pub fn of_zone(&self, zone: ZoneId, family: Family) -> impl Iterator<Item = &Network> {
        let networks = self.networks.iter();
        networks.filter(move |net| net.zone == zone && net.family == family && !net.is_default)
    }

    /// The networks that are not on the Internet side.
    pub fn local(&self, family: Family) -> Vec<Block> {
        let inner = self.networks.iter().filter(|net| {
            let zone = &self.zones[net.zone];
            net.family == family && !zone.is_internet && !zone.names.is_empty()
        });
        let mut blocks: Vec<Block> = inner.map(|net| net.block).collect();
        blocks.sort_unstable_by_key(|block| (block.first(), u128::MAX - block.last()));
        blocks.dedup_by(|inner, outer| outer.contains(inner.first()));
        blocks
    }

    /// What people call a zone.
    pub fn name(&self, zone: Option<ZoneId>) -> String {
        match zone.map(|zone| &self.zones[zone]) {
            Some(zone) if zone.names.is_empty() => "link-local".to_owned(),
            Some(zone) => zone.names.join("+"),
            None => "elsewhere".to_owned(),
        }
    }
}

/// Whether an address has a meaning on its link only, so that it does not tell which.
fn is_on_every_link(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => address.is_multicast(),
        IpAddr::V6(address) => address.is_multicast() || address.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::capture::{Interface, PolicyRule, Route};

    fn gateway() -> Capture {
        let interface = |name: &str, addresses: &[&str]| Interface {
            name: name.to_owned(),
            addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
            ..Interface::default()
        };
        let route = |to: &str, name: &str| Route {
            destination: to.parse().unwrap(),
            gateway: None,
            interface: name.to_owned(),
        };
        Capture {
            interfaces: vec![
                interface("lo", &["127.0.0.1/8"]),
                interface("lan0", &["10.1.0.1/24", "fd01::1/64", "fe80::1/64"]),
                interface("wan0", &["203.0.113.2/30"]),
            ],
            routes: vec![
                route("0.0.0.0/0", "wan0"),
                route("10.0.0.0/8", "lan0"),
                route("10.9.0.0/16", "wan0"),
            ],
            ..Capture::default()
        }
    }

    fn place(links: &Links, address: &str) -> Option<(String, String)> {
        let network = &links.networks[links.network(address.parse().unwrap())?];
        Some((
            links.name(Some(network.zone)),
            network.block.net(network.family).to_string(),
        ))
    }

    #[test]
    fn the_longest_prefix_says_where_an_address_lies() {
        let links = Links::new(&[gateway()]);
        for (address, zone, network) in [
            ("10.1.0.7", "lan0", "10.1.0.0/24"),
            ("10.2.0.7", "lan0", "10.0.0.0/8"),
            ("10.9.0.7", "wan0", "10.9.0.0/16"),
            ("8.8.8.8", "wan0", "0.0.0.0/0"),
            ("203.0.113.1", "wan0", "203.0.113.0/30"),
            ("fd01::7", "lan0", "fd01::/64"),
            ("fe80::7", "link-local", "fe80::/10"),
        ] {
            let expected = Some((zone.to_owned(), network.to_owned()));
            assert_eq!(place(&links, address), expected, "{address}");
        }
        assert_eq!(place(&links, "2001:db8::1"), None);
        let local: Vec<String> = { links.local(Family::V4).into_iter() }
            .map(|block| block.net(Family::V4).to_string())
            .collect();
        assert_eq!(local, ["10.0.0.0/8"]);
    }

    #[test]
    fn nothing_is_known_where_more_than_the_destination_decides() {
        let mut capture = gateway();
        capture.policy_rules.push(PolicyRule::usual(true, 100, 7));
        let links = Links::new(&[capture]);
        assert_eq!(place(&links, "10.1.0.7"), None);
        assert!(place(&links, "fd01::7").is_some());
        let mut other = gateway();
        other.host = Some("another".to_owned());
        assert_eq!(place(&Links::new(&[gateway(), other]), "10.1.0.7"), None);
    }
}
