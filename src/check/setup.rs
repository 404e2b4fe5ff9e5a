//! Making the namespace and what is in it.

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::net::Ipv6Addr;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::check::device;
use crate::check::doubt::Doubt;
use crate::check::guard;
use crate::check::load::{Loaded, load};
use crate::check::namespace::Namespace;
use crate::check::network::{Hints, Network};
use crate::check::rules::Rules;
use crate::check::ruleset::Ruleset;
use crate::check::tool::{IP, NFT};
use crate::check::trace::Tracer;
use crate::check::verdict::Rule;
use crate::check::wire::Wire;
use crate::model::capture::Capture;
use crate::model::error::Error;
use crate::netlink::request::{self, Family};
use crate::netlink::uapi::RTF_LOCAL;

/// Settings of the namespace, below /proc/sys/net. Those of `default` are for devices to come.
const SETTINGS: [(&str, &str); 19] = [
    ("ipv4/ip_forward", "1"),
    ("ipv6/conf/all/forwarding", "1"),
    // Flows came in on their devices; whether the way back leads there too is not asked.
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/default/rp_filter", "0"),
    ("ipv4/conf/all/accept_local", "1"),
    ("ipv4/conf/default/accept_local", "1"),
    ("ipv4/conf/all/log_martians", "0"),
    ("ipv4/conf/all/send_redirects", "0"),
    ("ipv4/conf/default/send_redirects", "0"),
    ("ipv4/igmp_max_memberships", "100000"),
    // No addresses and routes but those of the capture.
    ("ipv6/conf/all/accept_ra", "0"),
    ("ipv6/conf/default/accept_ra", "0"),
    ("ipv6/conf/default/accept_dad", "0"),
    ("ipv6/conf/default/addr_gen_mode", "1"),
    ("ipv6/conf/all/accept_redirects", "0"),
    ("netfilter/nf_conntrack_log_invalid", "0"),
    // A listener anywhere would have them made here too (`ctnetlink_conntrack_event` of
    // nf_conntrack_netlink.c asks `netlink_has_listeners`, which knows no namespaces; Linux 6.18).
    ("netfilter/nf_conntrack_events", "0"),
    // Those of the packets are right, but the kernel gets those of UDP-Lite wrong (`udplite_error` of
    // nf_conntrack_proto_udp.c, Linux 6.18, takes UDP's pseudo header) where no device has checked them.
    ("netfilter/nf_conntrack_checksum", "0"),
    // Nothing here has sockets that packets are for: looking for one costs time.
    ("ipv4/ip_early_demux", "0"),
];

/// How long the kernel may take to make addresses usable.
const PATIENCE: Duration = Duration::from_secs(10);

/// Everything that packets are judged with.
#[derive(Debug)]
pub struct Setup {
    /// Where it all is.
    pub namespace: Namespace,
    /// Devices, addresses, routes.
    pub network: Network,
    /// Where packets go in and come out.
    pub wire: Wire,
    /// What tells which rules a packet meets.
    pub tracer: Tracer,
    /// For requests to conntrack.
    pub conntrack: std::os::fd::OwnedFd,
    /// What is loaded.
    pub rules: Rules,
    /// What is not known of the rules.
    pub doubts: Vec<Doubt>,
    /// What could not be set up as it was.
    pub notes: Vec<String>,
    /// The rules of nft(8) as they were given, in its JSON.
    pub native: Value,
    /// Rules for what is beyond a limit, which no flow is by itself: they are taken out.
    pub beyond: Vec<Rule>,
}

impl Setup {
    /// Makes the namespace and loads the rulesets.
    ///
    /// Errors: a lack of privilege, of programs or of the kernel's; a ruleset that does not load.
    pub fn new(rulesets: &[Ruleset], captures: &[Capture], hints: &Hints) -> Result<Self, Error> {
        device::refuse_odd_names(captures)?;
        let namespace = Namespace::new()?;
        namespace.run(settings)??;
        let mut wire = namespace.run(Wire::new)??;
        let lacking = |error| Error::caused(format!("netfilter can't be asked: {error}"), error);
        let tracer = namespace.run(|| Tracer::new(false))?.map_err(lacking)?;
        let conntrack = namespace
            .run(|| request::open(Family::Netfilter, 0))?
            .map_err(lacking)?;
        let before = Network::new(captures, hints, &BTreeSet::new());
        for name in before.devices() {
            namespace.run(|| wire.add(name))??;
        }
        let Loaded {
            rules,
            doubts,
            left_out,
            native,
            beyond,
        } = load(rulesets, &namespace, &mut |name| {
            namespace.run(|| wire.add(name))?
        })?;
        let mut network = Network::new(captures, hints, &rules.devices);
        for name in network.devices() {
            namespace.run(|| wire.add(name))??;
        }
        let mut notes = Vec::new();
        if !left_out.is_empty() {
            notes.push(format!(
                "left out of the ruleset, as this machine does not have it and it decides nothing about first packets: {}",
                left_out.join(", ")
            ));
        }
        let everywhere = rules.takes_addresses();
        let (four, six) = (
            network.policy.commands(false),
            network.policy.commands(true),
        );
        for (family, commands) in [
            (None, network.commands(everywhere)),
            (Some("-4"), four),
            (Some("-6"), six),
        ] {
            notes.extend(set_up(&namespace, family, &commands)?);
        }
        // A kernel without CONFIG_NET_VRF.
        if namespace.run(|| !network.policy.routers_are_there())? {
            network.policy.give_up_routers();
        }
        let wanted: Vec<Ipv6Addr> = network.ipv6_addresses().collect();
        let lacking = namespace.run(|| wait_for(wanted))?;
        notes.extend(lacking.iter().map(|address| {
            format!("the address {address} can't be set up on a device: flows from and to it are judged without it")
        }));
        let ingress: Vec<&str> = network.devices().filter(|_| rules.has_ingress()).collect();
        let guard = guard::table(&ingress, rules.stops_trace());
        NFT.output(&namespace, &["-f", "-"], guard.as_bytes())?;
        Ok(Self {
            namespace,
            network,
            wire,
            tracer,
            conntrack,
            rules,
            doubts,
            notes,
            native,
            beyond,
        })
    }
}

/// Has ip(8) do this, and returns what it could not do.
///
/// Errors: it can't be run.
pub fn set_up(
    namespace: &Namespace,
    family: Option<&str>,
    commands: &str,
) -> Result<Vec<String>, Error> {
    if commands.is_empty() {
        return Ok(Vec::new());
    }
    let args: Vec<&str> = family
        .into_iter()
        .chain(["-force", "-batch", "-"])
        .collect();
    let output = IP.run(namespace, &args, commands.as_bytes())?;
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said
        .lines()
        .filter(|line| !line.starts_with("Command failed"));
    Ok(said
        .map(|line| format!("an address or route could not be set: {line}"))
        .collect())
}

/// In the calling thread's namespace.
fn settings() -> Result<(), Error> {
    for (name, value) in SETTINGS {
        let path = Path::new("/proc/sys/net").join(name);
        // Without IPv6, or conntrack's own settings, there is nothing to set.
        if path.exists() {
            fs::write(&path, value)
                .map_err(|error| Error::file(&path, format!("can't be set: {error}")))?;
        }
    }
    Ok(())
}

/// The kernel makes IPv6 addresses usable some time after they were set, `nodad` or not: the route that
/// makes them local comes from a work queue (`addrconf_dad_work`, net/ipv6/addrconf.c, Linux 6.18). Waits for those that
/// were set, in the calling thread's namespace, and returns the ones that are not usable: those that the kernel has
/// refused at once.
fn wait_for(mut addresses: Vec<Ipv6Addr>) -> Vec<Ipv6Addr> {
    let began = Instant::now();
    // Without IPv6 there is no such file.
    let set = fs::read_to_string("/proc/thread-self/net/if_inet6").unwrap_or_default();
    let set: HashSet<Ipv6Addr> = set.lines().filter_map(set_address).collect();
    let mut lacking: Vec<Ipv6Addr> = Vec::new();
    addresses.retain(|address| {
        let is_set = set.contains(address);
        if !is_set {
            lacking.push(*address);
        }
        is_set
    });
    while !addresses.is_empty() && began.elapsed() < PATIENCE {
        let routes = fs::read_to_string("/proc/thread-self/net/ipv6_route").unwrap_or_default();
        let local: HashSet<Ipv6Addr> = routes.lines().filter_map(local_address).collect();
        addresses.retain(|address| !local.contains(address));
        if !addresses.is_empty() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    lacking.extend(addresses);
    lacking
}

/// The address at the beginning of a line of /proc/net/if_inet6, in hexadecimal.
fn set_address(line: &str) -> Option<Ipv6Addr> {
    let bits = u128::from_str_radix(line.split_whitespace().next()?, 16).ok()?;
    Some(Ipv6Addr::from_bits(bits))
}

/// The address that a line of /proc/net/ipv6_route makes local: destination, its length, source, its
/// length, next hop, metric, reference count, use, flags, device, all in hexadecimal.
fn local_address(line: &str) -> Option<Ipv6Addr> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let flags = u32::from_str_radix(fields.get(8)?, 16).ok()?;
    let bits = u128::from_str_radix(fields.first()?, 16).ok()?;
    (flags & RTF_LOCAL != 0).then(|| Ipv6Addr::from_bits(bits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_routes_are_told_from_others() {
        let none = "0".repeat(32);
        let line = |flags: &str| {
            format!(
                "20010db8000000000000000000000010 80 {none} 00 {none} 00000000 00000002 00000000 {flags} eth0"
            )
        };
        let address: Ipv6Addr = "2001:db8::10".parse().unwrap();
        assert_eq!(local_address(&line("80200001")), Some(address));
        assert_eq!(local_address(&line("00000001")), None);
        assert_eq!(local_address(""), None);
    }
}
