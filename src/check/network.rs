//! The network around the host, as far as it is known: devices, addresses, routes.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::check::device::is_device_name;
use crate::check::policy::{Policy, Way};
use crate::model::capture::{Capture, broadcast};

/// The device of flows whose network is behind no known one. No ruleset names it.
pub const UNKNOWN_LINK: &str = "elsewhere";

/// Addresses that no host has, for devices without: a dummy address (RFC 7600, 4.8) and one to be discarded (RFC 6666).
const DUMMY_IPV4: &str = "192.0.0.8";
const DUMMY_IPV6: &str = "100::1";

/// How names of tunnels begin: WireGuard, OpenVPN, PPP, and those of VPN services.
const TUNNELS: [&str; 11] = [
    "wg",
    "tun",
    "tap",
    "ppp",
    "vpn",
    "ipsec",
    "xfrm",
    "vti",
    "gre",
    "tailscale",
    "nordlynx",
];

/// What a user says about the network, beside what the captures know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hints {
    /// Addresses of the host, with the prefix lengths of their networks.
    pub local: Vec<IpNet>,
    /// Networks, and the devices they lie behind.
    pub interfaces: Vec<(IpNet, String)>,
    /// Devices that are there besides, with `*` for anything at the end.
    pub devices: Vec<String>,
}

/// A route, to a network behind a device.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Route {
    to: IpNet,
    gateway: Option<IpAddr>,
    device: String,
}

/// Devices with addresses, and routes.
#[derive(Clone, Debug, Default)]
pub struct Network {
    /// What chooses other tables of routes.
    pub policy: Policy,
    devices: Vec<String>,
    addresses: Vec<(IpNet, String)>,
    /// The longest prefix first.
    routes: Vec<Route>,
    /// The device that the rest of the world is taken to lie behind, by IPv4 and IPv6; `None` if a
    /// default route is known.
    assumed: [Option<String>; 2],
}

impl Network {
    /// Puts together what is known. `named` are the devices that the ruleset names, with `*` for
    /// anything at the end.
    pub fn new(captures: &[Capture], hints: &Hints, named: &BTreeSet<String>) -> Self {
        let mut network = Self {
            policy: Policy::new(captures),
            ..Self::default()
        };
        for interface in captures.iter().flat_map(|capture| &capture.interfaces) {
            network.device(&interface.name);
            for &address in &interface.addresses {
                network.address(address, &interface.name);
            }
        }
        for route in captures.iter().flat_map(|capture| &capture.routes) {
            network.route(route.destination, route.gateway, &route.interface);
        }
        for (net, device) in &hints.interfaces {
            // What is said by hand goes before what was captured.
            network.routes.retain(|route| route.to != *net);
            network.route(*net, None, device);
        }
        for name in named.iter().chain(&hints.devices) {
            network.named(name);
        }
        network.sort();
        network.assume();
        for &address in &hints.local {
            let device = network.towards(address.addr()).to_owned();
            network.address(address, &device);
        }
        network.sort();
        network
    }

    /// Devices to make: `lo` is always there.
    pub fn devices(&self) -> impl Iterator<Item = &str> {
        self.devices
            .iter()
            .map(String::as_str)
            .filter(|name| *name != "lo" && !self.policy.is_router(name))
    }

    /// Whether an address is the host's.
    pub fn is_local(&self, address: IpAddr) -> bool {
        address.is_loopback() || self.addresses.iter().any(|(net, _)| net.addr() == address)
    }

    /// Whether packets to an address are for many, this host among them.
    pub fn is_for_many(&self, address: IpAddr) -> bool {
        address.is_multicast()
            || address == IpAddr::V4(Ipv4Addr::BROADCAST)
            || self
                .addresses
                .iter()
                .any(|(net, _)| broadcast(net).is_some_and(|all| address == all))
    }

    /// Whether anything is known of the host's addresses.
    pub fn knows_addresses(&self) -> bool {
        !self.addresses.is_empty()
    }

    /// The device that the route to an address leads out of.
    pub fn towards(&self, address: IpAddr) -> &str {
        let route = self.routes.iter().find(|route| route.to.contains(&address));
        route.map_or_else(
            || self.assumed(address).unwrap_or(UNKNOWN_LINK),
            |route| &route.device,
        )
    }

    /// The device by which the packets of a way leave.
    pub fn way_out(&self, way: Way<'_>) -> &str {
        let v6 = way.to.is_ipv6();
        if let Some(length) = self.policy.main_first(v6) {
            let mut routes = self.routes.iter();
            let route = routes.find(|route| route.to.contains(&way.to));
            if let Some(route) = route.filter(|route| route.to.prefix_len() > length) {
                return &route.device;
            }
        }
        self.policy
            .device(way)
            .unwrap_or_else(|| self.towards(way.to))
    }

    /// Whether an address lies behind the default route, which is where hosts differ in what they send where.
    pub fn is_by_default(&self, address: IpAddr) -> bool {
        let route = self.routes.iter().find(|route| route.to.contains(&address));
        route.is_some_and(|route| route.to.prefix_len() == 0)
    }

    /// Whether a device besides these may lead to the rest of the world: a tunnel by its name, or one with a public address.
    /// Where there is one, hosts have rules that say what goes by which.
    pub fn has_other_ways_out(&self, but: &[&str]) -> bool {
        self.addresses.iter().any(|(net, device)| {
            let tunnel = TUNNELS.iter().any(|begin| device.starts_with(begin));
            let public = match net.addr() {
                IpAddr::V4(address) => {
                    !address.is_private() && !address.is_loopback() && !address.is_link_local()
                }
                // 2000::/3 (RFC 4291, 2.4).
                IpAddr::V6(address) => address.segments()[0] >> 13 == 1,
            };
            device != "lo" && !but.contains(&device.as_str()) && (tunnel || public)
        })
    }

    /// Takes another device for what no route leads to, of the families where it is so.
    pub fn assume_device(&mut self, device: &str) {
        for assumed in self.assumed.iter_mut().flatten() {
            device.clone_into(assumed);
        }
    }

    /// What sets the routes to the assumed device, for `ip -batch`.
    pub fn assumed_routes(&self) -> String {
        let mut text = String::new();
        for (device, everything) in self.assumed.iter().zip(["0.0.0.0/0", "::/0"]) {
            if let Some(device) = device {
                let _ = writeln!(text, "route replace {everything} dev {device}");
            }
        }
        text
    }

    /// Whether some addresses of a family lie behind a device that is only assumed.
    pub const fn assumes(&self, v4: bool) -> bool {
        self.assumed[if v4 { 0 } else { 1 }].is_some()
    }

    /// The device of an address that no known route leads to; `None` if one does.
    pub fn assumed(&self, address: IpAddr) -> Option<&str> {
        if self.routes.iter().any(|route| route.to.contains(&address)) {
            return None;
        }
        self.assumed[usize::from(address.is_ipv6())].as_deref()
    }

    /// The device of an address of the host.
    pub fn device_of(&self, address: IpAddr) -> Option<&str> {
        let found = self.addresses.iter().find(|(net, _)| net.addr() == address);
        found.map(|(_, device)| device.as_str())
    }

    /// The host's addresses, but those of the loopback network.
    pub fn own_addresses(&self) -> impl Iterator<Item = IpAddr> {
        let addresses = self.addresses.iter().map(|(net, _)| net.addr());
        addresses.filter(|address| !address.is_loopback())
    }

    /// The host's IPv6 addresses.
    pub fn ipv6_addresses(&self) -> impl Iterator<Item = Ipv6Addr> {
        self.addresses.iter().filter_map(|(net, _)| match net {
            IpNet::V6(net) if !net.addr().is_loopback() => Some(net.addr()),
            _ => None,
        })
    }

    /// What sets it up, for `ip -batch`. With `everywhere`, devices that have no address get one, for rules that translate
    /// to the address of a device: without one the kernel drops the packet (`nf_nat_masquerade_ipv4`,
    /// net/netfilter/nf_nat_masquerade.c).
    pub fn commands(&self, everywhere: bool) -> String {
        let mut text = String::from("link set lo up\n");
        for device in self.devices() {
            let _ = writeln!(text, "link set dev {device} up");
        }
        text.push_str(&self.policy.routers());
        for device in self.devices().filter(|_| everywhere) {
            let has = |v6| {
                let mut own = self.addresses.iter().filter(|(_, on)| on == device);
                own.any(|(net, _)| net.addr().is_ipv6() == v6 && !is_link_local(net.addr()))
            };
            if !has(false) {
                let _ = writeln!(text, "address replace {DUMMY_IPV4}/32 dev {device}");
            }
            if !has(true) {
                let _ = writeln!(text, "address replace {DUMMY_IPV6}/128 dev {device} nodad");
            }
        }
        for (net, device) in &self.addresses {
            if net.addr().is_loopback() {
                continue;
            }
            let flag = if net.addr().is_ipv6() { " nodad" } else { "" };
            let _ = writeln!(text, "address replace {net} dev {device}{flag}");
        }
        // The shortest prefix last: gateways are reached without a route (onlink), order is only for
        // people who read this.
        for Route {
            to,
            gateway,
            device,
        } in &self.routes
        {
            let connected = self
                .addresses
                .iter()
                .any(|(net, on)| net.trunc() == *to && on == device);
            if connected || device == "lo" {
                continue;
            }
            let via = next_hop(*to, *gateway);
            let _ = writeln!(text, "route replace {to}{via} dev {device}");
        }
        text.push_str(&self.assumed_routes());
        text
    }

    fn device(&mut self, name: &str) {
        if !self.devices.iter().any(|known| known == name) {
            self.devices.push(name.to_owned());
        }
    }

    fn address(&mut self, net: IpNet, device: &str) {
        self.device(device);
        if self.is_known(net.addr()) {
            return;
        }
        self.addresses.push((net, device.to_owned()));
        if net.prefix_len() < net.max_prefix_len() {
            self.route(net.trunc(), None, device);
        }
    }

    fn is_known(&self, address: IpAddr) -> bool {
        // Link-local addresses may be those of several devices.
        !is_link_local(address) && self.addresses.iter().any(|(net, _)| net.addr() == address)
    }

    fn route(&mut self, to: IpNet, gateway: Option<IpAddr>, device: &str) {
        self.device(device);
        let to = to.trunc();
        let known = |route: &Route| route.to == to && !is_link_local(to.addr());
        if !self.routes.iter().any(known) {
            self.routes.push(Route {
                to,
                gateway,
                device: device.to_owned(),
            });
        }
    }

    /// Adds a device that the ruleset names. One of a pattern is made only if there is none yet.
    fn named(&mut self, name: &str) {
        // As nft(8) and iptables(8) write it.
        let Some(prefix) = name.strip_suffix(['*', '+']) else {
            // Others match no device there can be.
            if is_device_name(name) {
                self.device(name);
            }
            return;
        };
        if !self.devices.iter().any(|known| known.starts_with(prefix)) {
            // IFNAMSIZ of include/uapi/linux/if.h, and a digit.
            let prefix: String = prefix.chars().take(14).collect();
            let name = format!("{prefix}0");
            if is_device_name(&name) {
                self.device(&name);
            }
        }
    }

    fn sort(&mut self) {
        self.routes
            .sort_by_key(|route| std::cmp::Reverse(route.to.prefix_len()));
    }

    /// Picks a device for what no route leads to: the only one there is, or else one that no rule names.
    fn assume(&mut self) {
        let known = |v6| {
            let mut routes = self.routes.iter();
            routes.any(|route| route.to.prefix_len() == 0 && route.to.addr().is_ipv6() == v6)
        };
        let lacking = [!known(false), !known(true)];
        if lacking == [false, false] {
            return;
        }
        let only = match self.devices().collect::<Vec<_>>()[..] {
            [only] => only.to_owned(),
            _ => UNKNOWN_LINK.to_owned(),
        };
        self.device(&only);
        self.assumed = lacking.map(|lacks| lacks.then(|| only.clone()));
    }
}

/// The words of ip-route(8) for a next hop. It is reached without a route (`onlink`).
pub fn next_hop(to: IpNet, gateway: Option<IpAddr>) -> String {
    match gateway {
        Some(IpAddr::V6(gateway)) if matches!(to, IpNet::V4(_)) => {
            format!(" via inet6 {gateway} onlink")
        }
        Some(gateway) => format!(" via {gateway} onlink"),
        None => String::new(),
    }
}

/// Whether an address only has a meaning together with a device.
pub fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => false,
        IpAddr::V6(address) => {
            // fe80::/10; ff02::/16 likewise (RFC 4291, 2.5.6 and 2.7).
            address.segments()[0] & 0xffc0 == 0xfe80 || address.segments()[0] & 0xff0f == 0xff02
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::capture::{Interface, Route as Captured};

    fn gateway() -> Capture {
        let interface = |name: &str, address: &str| Interface {
            name: name.to_owned(),
            addresses: vec![address.parse().unwrap()],
            ..Interface::default()
        };
        Capture {
            interfaces: vec![
                interface("lo", "127.0.0.1/8"),
                interface("lan", "192.168.1.1/24"),
                interface("wan", "203.0.113.2/30"),
            ],
            routes: vec![Captured {
                destination: "0.0.0.0/0".parse().unwrap(),
                gateway: Some("203.0.113.1".parse().unwrap()),
                interface: "wan".to_owned(),
            }],
            ..Capture::default()
        }
    }

    #[test]
    fn addresses_lie_where_their_routes_lead() {
        let named = BTreeSet::from(["tun*".to_owned(), "w*".to_owned(), "lan".to_owned()]);
        let network = Network::new(&[gateway()], &Hints::default(), &named);
        let devices: Vec<&str> = network.devices().collect();
        // IPv6 has no default route, and nobody says behind which device the world is.
        assert_eq!(devices, ["lan", "wan", "tun0", UNKNOWN_LINK]);
        let towards = |text: &str| network.towards(text.parse().unwrap()).to_owned();
        assert_eq!(towards("192.168.1.7"), "lan");
        assert_eq!(towards("8.8.8.8"), "wan");
        assert_eq!(towards("2001:db8::1"), UNKNOWN_LINK);
        assert!(network.is_local("192.168.1.1".parse().unwrap()));
        assert!(!network.is_local("192.168.1.2".parse().unwrap()));
        assert!(network.is_for_many("192.168.1.255".parse().unwrap()));
        assert!(network.is_for_many("ff02::fb".parse().unwrap()));
        assert!(!network.is_for_many("192.168.2.255".parse().unwrap()));
        let commands = network.commands(false);
        assert!(
            commands.contains("route replace 0.0.0.0/0 via 203.0.113.1 onlink dev wan\n"),
            "{commands}"
        );
    }

    #[test]
    fn hints_stand_in_for_what_is_not_known() {
        let hints = Hints {
            local: vec!["10.0.0.1/24".parse().unwrap()],
            interfaces: vec![("10.0.0.0/8".parse().unwrap(), "lan".to_owned())],
            devices: Vec::new(),
        };
        let network = Network::new(&[], &hints, &BTreeSet::new());
        assert_eq!(network.towards("10.9.0.1".parse().unwrap()), "lan");
        assert_eq!(network.device_of("10.0.0.1".parse().unwrap()), Some("lan"));
        // The only device there is has everything behind it.
        assert_eq!(network.towards("8.8.8.8".parse().unwrap()), "lan");
        assert_eq!(network.assumed("8.8.8.8".parse().unwrap()), Some("lan"));
        assert_eq!(network.assumed("10.9.0.1".parse().unwrap()), None);
    }
}
