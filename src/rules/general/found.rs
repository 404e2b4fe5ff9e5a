//! What captures say of interfaces and of the networks behind them, and which interfaces lead to the Internet.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use ipnet::IpNet;

use crate::model::capture::Capture;
use crate::rules::text::plain;

/// Whether a network is as large as only what a default route leads to, which tunnels cut into pieces (`0.0.0.0/1` and
/// `128.0.0.0/1` of OpenVPN, `2000::/3` of tunnel brokers). The largest inner network is 10.0.0.0/8; registries give
/// no more than a /19 of IPv6 to anybody, and 6to4 (2002::/16) is everybody.
pub const fn is_wide(net: IpNet) -> bool {
    match net {
        IpNet::V4(net) => net.prefix_len() < 8,
        IpNet::V6(net) => net.prefix_len() < 19,
    }
}

/// Whether the addresses of a network are for inner use (RFC 1918, RFC 4193).
fn is_private(net: &IpNet) -> bool {
    match net {
        IpNet::V4(net) => net.addr().is_private(),
        IpNet::V6(net) => net.addr().segments()[0] & 0xfe00 == 0xfc00,
    }
}

/// Whether a name can be a condition of a rule as it is: nft takes `*` for any ending, and quotes end.
fn is_plain(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-+:@".contains(c);
    (1..=15).contains(&name.len()) && name.chars().all(plain)
}

/// What captures say of interfaces and networks.
#[derive(Debug, Default)]
pub struct Found {
    /// The interfaces that each network lies behind.
    pub networks: BTreeMap<IpNet, BTreeSet<String>>,
    /// Networks that interfaces have an address of.
    connected: BTreeSet<(String, IpNet)>,
    /// Interfaces of virtual routers. The filter sees their packets on the router's interface or on the slave's
    /// (`l3mdev_ip_rcv`, include/net/l3mdev.h), so that neither can be a condition.
    routers: BTreeSet<String>,
    /// Those, and names that are none to a firewall.
    pub unknown: BTreeSet<String>,
    /// What each port of a bridge or a bond belongs to.
    masters: HashMap<String, String>,
}

impl Found {
    /// Takes in what one capture says; what a later one says of the same interface counts.
    pub fn take(&mut self, capture: &Capture) {
        let tables = { capture.interfaces.iter() }.filter(|interface| interface.table.is_some());
        self.routers
            .extend(tables.map(|router| router.name.clone()));
        for interface in &capture.interfaces {
            self.masters.remove(&interface.name);
            match &interface.master {
                Some(master) if self.routers.contains(master) => {
                    self.routers.insert(interface.name.clone());
                }
                Some(master) => {
                    self.masters.insert(interface.name.clone(), master.clone());
                }
                None => {}
            }
        }
        let connected = capture.interfaces.iter().flat_map(|interface| {
            let nets = interface.addresses.iter().map(IpNet::trunc);
            nets.filter(|net| net.prefix_len() < net.max_prefix_len() && !is_wide(*net))
                .map(|net| (net, self.name(&interface.name)))
        });
        let connected: Vec<_> = connected.collect();
        let routed = capture.routes.iter();
        let routed: Vec<_> = routed
            .map(|route| (route.destination.trunc(), self.name(&route.interface)))
            .collect();
        for (net, name) in connected.iter().cloned().chain(routed) {
            if name == "lo" || is_on_every_link(net.addr()) {
                continue;
            }
            if !is_plain(&name) || self.routers.contains(&name) {
                self.unknown.insert(name.clone());
            }
            self.networks.entry(net).or_default().insert(name);
        }
        let connected = connected.into_iter();
        self.connected
            .extend(connected.map(|(net, name)| (name, net)));
    }

    /// What an interface counts as: a port's master may be a port itself, as a bond's; a circle there is not.
    pub fn name(&self, name: &str) -> String {
        let mut name = name;
        for _ in 0..8 {
            name = self.masters.get(name).map_or(name, String::as_str);
        }
        name.to_owned()
    }

    /// The interfaces that are set apart, in words.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        for name in &self.unknown {
            let why = if self.routers.contains(name) {
                "belongs to a virtual router (VRF)"
            } else {
                "has a name that rules can't have"
            };
            warnings.push(format!(
                "the interface {} {why}: what lies behind it has rules by addresses alone",
                plain(name, 15)
            ));
        }
        warnings
    }
}

/// The interfaces that lead to the Internet: those that default routes lead out of, `more` that those of other tables do. Where several do, one with a private
/// network of its own is an inner one if another has none.
///
/// ```text
///   wan0 203.0.113.2/30, lan0 10.0.0.1/8, default routes by both:            wan0
///   lte0 192.168.8.2/24, dsl0 192.168.1.2/24, by both; lan0 10.1.0.1/24:     lte0 and dsl0
///   eth0 192.168.1.2/24, eth1 10.0.0.2/8, by both, and no other interface:   nobody knows
/// ```
///
/// Errors: why it is not known, in words.
pub fn internet(
    found: &Found,
    of_family: impl Fn(&IpNet) -> bool,
    more: &BTreeSet<String>,
) -> Result<BTreeSet<String>, String> {
    let of_family = |net: &IpNet| of_family(net);
    let wide = { found.networks.iter() }.filter(|(net, _)| of_family(net) && is_wide(**net));
    let mut candidates: BTreeSet<String> = wide.flat_map(|(_, names)| names.clone()).collect();
    candidates.extend(more.iter().cloned());
    if candidates.len() < 2 {
        return Ok(candidates);
    }
    let has_private = |name: &String| {
        let mut own = found.connected.iter();
        own.any(|(of, net)| of == name && of_family(net) && is_private(net))
    };
    let outer: BTreeSet<String> = { candidates.iter() }
        .filter(|name| !has_private(name))
        .cloned()
        .collect();
    let others = { found.networks.iter() }
        .filter(|(net, _)| of_family(net) && !is_wide(**net))
        .any(|(_, names)| names.iter().any(|name| !candidates.contains(name)));
    match (outer.is_empty(), others) {
        (false, _) => Ok(outer),
        (true, true) => Ok(candidates),
        (true, false) => {
            let names: Vec<String> = candidates.iter().map(|name| plain(name, 15)).collect();
            Err(format!(
                "several interfaces have a default route and private networks ({}), so that it is not known which of them \
                 leads to the Internet: rules have the addresses that were seen",
                names.join(", ")
            ))
        }
    }
}

/// Whether an address has a meaning on its link only, so that it does not tell which.
pub const fn is_on_every_link(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => address.is_multicast(),
        IpAddr::V6(address) => address.is_multicast() || address.is_unicast_link_local(),
    }
}
