//! What lies behind which interface: the zones of a gateway, and the networks that each of them has.
//!
//! A zone is an interface, or all the interfaces that a default route leads out of: the Internet side. A network is a
//! prefix that an interface has an address of, or that a route leads to.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use ipnet::IpNet;

use super::found::{Found, internet, is_on_every_link, is_wide};
use super::policy::Effect;
use crate::model::capture::Capture;
use crate::rules::block::{Block, Family, number};
use crate::rules::text::plain;

/// A zone, as an index of [`Links::zones`].
pub type ZoneId = usize;
/// The zone of link-local addresses.
pub const LINK_LOCAL: ZoneId = 0;
/// A network, as an index of [`Links::networks`].
pub type NetworkId = usize;

/// Interfaces that a rule names together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Zone {
    /// Their names, sorted. None at all stands for link-local addresses, which every interface has.
    pub names: Vec<String>,
    /// Whether a default route of a family leads there, so that everything else of that family lies behind it.
    pub is_internet: bool,
}

/// A network behind a zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// Whether it is for IPv4 or IPv6: no flow is both.
    pub family: Family,
    /// The block of its addresses.
    pub block: Block,
    /// Where it lies.
    pub zone: ZoneId,
    /// Whether it is what a default route leads to.
    pub is_default: bool,
}

/// Zones and networks.
#[derive(Clone, Debug, Default)]
pub struct Links {
    /// All zones; the first is that of link-local addresses.
    pub zones: Vec<Zone>,
    /// All networks that are known to lie in a zone.
    pub networks: Vec<Network>,
    /// Networks by first address, for each length of prefix that there is, the longest first.
    by_length: BTreeMap<(Family, u8), HashMap<u128, Option<NetworkId>>>,
    /// Families of which nothing is known.
    unclear: [bool; 2],
    /// What the administrator has to know of them.
    pub warnings: Vec<String>,
}

impl Links {
    /// Those of some captures, which are taken to be of one host. Of several hosts nothing is known, since the interfaces
    /// of one say nothing of those of another.
    ///
    /// 1. Interfaces that can be no condition of a rule are set apart with all that lies behind them: virtual routers, and
    ///    names that no firewall takes. What has a master (a bridge's port) counts as its master.
    /// 2. Each network gets the names of all interfaces that it lies behind.
    /// 3. For each family the Internet side is where default routes lead ([`is_wide`]), without inner interfaces that have
    ///    one besides ([`internet`]). Policy routing ([`Effect`]) adds to it, or makes nothing of the family known.
    pub fn new(captures: &[Capture]) -> Self {
        let mut links = Self::default();
        links.zones.push(Zone::default());
        let mut hosts: Vec<&Option<String>> = captures.iter().map(|one| &one.host).collect();
        hosts.sort_unstable();
        hosts.dedup();
        if hosts.len() > 1 {
            return links;
        }
        let mut sorted: Vec<&Capture> = captures.iter().collect();
        sorted.sort_by_key(|capture| (capture.end, capture.start));
        let mut found = Found::default();
        for capture in &sorted {
            found.take(capture);
        }
        links.warnings = found.warnings();
        links.add("fe80::/10".parse().expect("it is one"), Some(LINK_LOCAL));
        for family in [Family::V4, Family::V6] {
            if let Err(why) = links.add_family(family, &mut found, &sorted) {
                links.warnings.push(why);
                links.unclear[usize::from(family == Family::V6)] = true;
            }
        }
        links
    }

    /// Adds the networks of a family.
    ///
    /// Errors: why nothing is known of them.
    fn add_family(
        &mut self,
        family: Family,
        found: &mut Found,
        captures: &[&Capture],
    ) -> Result<(), String> {
        let of_family = |net: &IpNet| Family::of(net.addr()) == family;
        let mut effect = Effect::default();
        for capture in captures {
            effect.take(capture, family, found)?;
        }
        let mut internet = internet(found, of_family, &effect.sometimes)?;
        if let Some(inner) = effect.sometimes.difference(&internet).next() {
            return Err(format!(
                "policy routing sends some packets by a default route of {}, which does not look like the Internet side: \
                 rules have the addresses that were seen",
                plain(inner, 15)
            ));
        }
        internet.extend(effect.always);
        for (net, name) in effect.networks {
            found.networks.entry(net).or_default().insert(name);
        }
        for (net, names) in found.networks.iter().filter(|(net, _)| of_family(net)) {
            let is_unknown = names.iter().any(|name| found.unknown.contains(name))
                || effect.unknown.contains(net);
            let outside = is_wide(*net) || names.iter().all(|name| internet.contains(name));
            let zone = match (is_unknown, outside) {
                (true, _) => None,
                (false, true) => Some(self.zone(internet.clone(), true)),
                (false, false) => Some(self.zone(names.clone(), false)),
            };
            self.add(*net, zone);
        }
        for net in effect.unknown {
            self.add(net, None);
        }
        Ok(())
    }

    fn zone(&mut self, names: BTreeSet<String>, is_internet: bool) -> ZoneId {
        let zone = Zone {
            names: names.into_iter().collect(),
            is_internet,
        };
        let known = self.zones.iter().position(|known| *known == zone);
        known.unwrap_or_else(|| {
            self.zones.push(zone);
            self.zones.len() - 1
        })
    }

    /// The Internet side of a family.
    pub fn internet(&self, family: Family) -> Option<ZoneId> {
        let wide = { self.networks.iter() }.find(|net| net.family == family && net.is_default)?;
        Some(wide.zone)
    }

    /// Takes note of a network; of one in no zone that nothing is known of it, whatever larger one it is in.
    fn add(&mut self, net: IpNet, zone: Option<ZoneId>) {
        let (block, family) = (Block::of_net(net), Family::of(net.addr()));
        let of_length = self.by_length.entry((family, u8::MAX - net.prefix_len()));
        let id = zone.map(|_| self.networks.len());
        of_length.or_default().insert(block.first(), id);
        self.networks.extend(zone.map(|zone| Network {
            family,
            block,
            zone,
            // Those of links, in the first zone, are large as well.
            is_default: is_wide(net) && zone > 0,
        }));
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
        found.next().flatten()
    }

    /// The networks of a zone that are no default, of one family.
    pub fn of_zone(&self, zone: ZoneId, family: Family) -> impl Iterator<Item = &Network> {
        let networks = self.networks.iter();
        networks.filter(move |net| net.zone == zone && net.family == family && !net.is_default)
    }

    /// The networks that are not on the Internet side, and share no interface with it.
    pub fn local(&self, family: Family) -> Vec<Block> {
        let outside = self.internet(family).map(|zone| &self.zones[zone].names);
        let inner = self.networks.iter().filter(|net| {
            let zone = &self.zones[net.zone];
            let shares =
                outside.is_some_and(|names| { zone.names.iter() }.any(|name| names.contains(name)));
            net.family == family && !zone.is_internet && !zone.names.is_empty() && !shares
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
            Some(zone) => plain(&zone.names.join("+"), 64),
            None => "elsewhere".to_owned(),
        }
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
    fn a_default_route_in_pieces_is_one() {
        let mut capture = gateway();
        let route = |to: &str, name: &str| Route {
            destination: to.parse().unwrap(),
            gateway: None,
            interface: name.to_owned(),
        };
        capture.routes.extend([
            route("0.0.0.0/1", "tun0"),
            route("128.0.0.0/1", "tun0"),
            route("2000::/3", "he6"),
        ]);
        let links = Links::new(&[capture]);
        let zone = |address: &str| place(&links, address).map(|(zone, _)| zone);
        assert_eq!(zone("8.8.8.8").as_deref(), Some("tun0+wan0"));
        assert_eq!(zone("2600::1").as_deref(), Some("he6"));
        assert_eq!(links.local(Family::V6).len(), 1);
        assert!(links.zones[links.internet(Family::V6).unwrap()].is_internet);
    }

    #[test]
    fn an_inner_interface_with_a_default_route_is_an_inner_one() {
        let mut capture = gateway();
        capture.routes.push(Route {
            destination: "0.0.0.0/0".parse().unwrap(),
            gateway: None,
            interface: "lan0".to_owned(),
        });
        let links = Links::new(&[capture.clone()]);
        assert_eq!(place(&links, "8.8.8.8").unwrap().0, "wan0");
        assert_eq!(place(&links, "10.1.0.7").unwrap().0, "lan0");
        // Two that look the same, and nothing else.
        capture.interfaces[2].addresses = vec!["192.168.1.2/24".parse().unwrap()];
        let links = Links::new(&[capture]);
        assert_eq!(place(&links, "10.1.0.7"), None);
        assert_eq!(links.warnings.len(), 1);
    }

    #[test]
    fn what_lies_behind_two_interfaces_is_a_zone_of_both() {
        let mut capture = gateway();
        capture.interfaces.push(Interface {
            name: "wlan0".to_owned(),
            addresses: vec!["10.1.0.2/24".parse().unwrap()],
            ..Interface::default()
        });
        // A bridge's port is the bridge.
        capture.interfaces.push(Interface {
            name: "port0".to_owned(),
            addresses: vec!["10.1.0.1/24".parse().unwrap()],
            master: Some("lan0".to_owned()),
            ..Interface::default()
        });
        let links = Links::new(&[capture]);
        assert_eq!(place(&links, "10.1.0.7").unwrap().0, "lan0+wlan0");
        // One of them leads to the Internet, so that its addresses may come from there.
        let mut capture = gateway();
        capture.interfaces.push(Interface {
            name: "wan0".to_owned(),
            addresses: vec!["10.1.0.2/24".parse().unwrap()],
            ..Interface::default()
        });
        capture.routes.remove(1);
        let links = Links::new(&[capture]);
        assert_eq!(place(&links, "10.1.0.7").unwrap().0, "lan0+wan0");
        assert!(links.local(Family::V4).is_empty());
    }

    #[test]
    fn of_virtual_routers_and_odd_names_nothing_is_known() {
        for (name, table) in [
            ("lan0", Some(7)),
            ("l*", None),
            ("x\n\taccept", None),
            ("", None),
        ] {
            let mut capture = gateway();
            capture.interfaces[1].name = name.to_owned();
            capture.interfaces[1].table = table;
            capture.routes[1].interface = name.to_owned();
            let links = Links::new(&[capture]);
            assert_eq!(place(&links, "10.1.0.7"), None, "{name}");
            assert_eq!(place(&links, "8.8.8.8").unwrap().0, "wan0");
            assert!(links.warnings[0].chars().all(|c| !c.is_control()));
        }
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
