//! Translation that the capture has seen, for what the ruleset does not translate: the host does it elsewhere. The rules
//! then see the same addresses as on the host.
//!
//! The chains come behind all of the ruleset: who has translated a connection first has done so for good
//! (`nf_nat_inet_fn`, net/netfilter/nf_nat_core.c).

use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::IpAddr;

use serde_json::Value;

use crate::check::guard::TABLE;
use crate::check::namespace::Namespace;
use crate::check::network::Network;
use crate::check::tool::NFT;
use crate::model::error::Error;
use crate::model::record::{Identity, Record, Service};

/// The table, for nft(8).
#[derive(Debug)]
pub struct Translations {
    /// Replaces the one that was loaded before.
    pub table: String,
    /// Flows whose destination it translates.
    pub flows: usize,
    /// Flows whose like goes to another destination: one of them was taken.
    pub ambiguous: usize,
}

/// Kinds of maps: name, types of keys, types of data, and what looks a packet up.
const MAPS: [(&str, &str, &str, &str); 6] = [
    (
        "ipv4-ports",
        "ipv4_addr . ipv4_addr . inet_proto . inet_service",
        "ipv4_addr . inet_service",
        "dnat ip to ip saddr . ip daddr . meta l4proto . th dport map @ipv4-ports",
    ),
    (
        "ipv6-ports",
        "ipv6_addr . ipv6_addr . inet_proto . inet_service",
        "ipv6_addr . inet_service",
        "dnat ip6 to ip6 saddr . ip6 daddr . meta l4proto . th dport map @ipv6-ports",
    ),
    (
        "ipv4",
        "ipv4_addr . ipv4_addr . inet_proto",
        "ipv4_addr",
        "dnat ip to ip saddr . ip daddr . meta l4proto map @ipv4",
    ),
    (
        "ipv6",
        "ipv6_addr . ipv6_addr . inet_proto",
        "ipv6_addr",
        "dnat ip6 to ip6 saddr . ip6 daddr . meta l4proto map @ipv6",
    ),
    (
        "ipv4-sources",
        "ipv4_addr . ipv4_addr . inet_proto",
        "ipv4_addr",
        "snat ip to ip saddr . ip daddr . meta l4proto map @ipv4-sources",
    ),
    (
        "ipv6-sources",
        "ipv6_addr . ipv6_addr . inet_proto",
        "ipv6_addr",
        "snat ip6 to ip6 saddr . ip6 daddr . meta l4proto map @ipv6-sources",
    ),
];
/// How many of them are of destinations.
const DESTINATIONS: usize = 4;
/// Counters of connections that come to the rules of destinations, and of those that none of them translated: the rules end
/// a packet's way through the chain.
const COME: &str = "come";
const GONE: &str = "gone";
/// Behind every chain of a ruleset.
const LAST: &str = "2147483646";

impl Translations {
    /// Those of the flows; `None` if none has any.
    pub fn of(records: &[Record], network: &Network) -> Option<Self> {
        let mut maps: [HashMap<String, String>; 6] = Default::default();
        let (mut flows, mut ambiguous) = (0, 0);
        for identity in records.iter().map(|record| &record.identity) {
            if let Some((map, key, value)) = destination(identity) {
                flows += 1;
                let first = maps[map].entry(key).or_insert_with(|| value.clone());
                ambiguous += usize::from(*first != value);
            }
            if let Some((map, key, value)) = source(identity, network) {
                maps[map].entry(key).or_insert(value);
            }
        }
        // The address alone does not tell those from others that were not translated.
        for identity in records.iter().map(|record| &record.identity) {
            if identity.snat().is_none() {
                let map = DESTINATIONS + usize::from(identity.source.is_ipv6());
                maps[map].remove(&source_key(identity));
            }
        }
        maps.iter().any(|map| !map.is_empty()).then(|| Self {
            table: table(&maps),
            flows,
            ambiguous,
        })
    }
}

/// Whether the table has translated the destination of any packet so far.
///
/// Errors: nft(8) can't list it.
pub fn has_translated(namespace: &Namespace) -> Result<bool, Error> {
    let name = format!("{TABLE}-nat");
    let words = ["-j", "list", "counters", "table", "inet", &name];
    let json = NFT.output(namespace, &words, b"")?;
    let listed: Value = serde_json::from_str(&json)
        .map_err(|error| Error::caused(format!("nft -j list counters: {error}"), error))?;
    let objects = listed["nftables"].as_array();
    let counter = |name| {
        let mut counters = objects
            .into_iter()
            .flatten()
            .map(|object| &object["counter"]);
        counters.find(|counter| counter["name"] == name)?["packets"].as_u64()
    };
    Ok(counter(COME) != counter(GONE))
}

/// The map that a flow's source belongs in, and its element: the address alone, since ports are picked anew. What was not
/// translated to an address of the host can't be answered here.
fn source(identity: &Identity, network: &Network) -> Option<(usize, String, String)> {
    let address = identity.snat()?.address;
    let v6 = identity.source.is_ipv6();
    let to = identity
        .dnat()
        .map_or(identity.destination, |dnat| dnat.address);
    let usable = address.is_ipv6() == v6
        && to.is_ipv6() == v6
        && address != identity.source
        && network.is_local(address)
        && !address.is_loopback();
    usable.then(|| {
        (
            DESTINATIONS + usize::from(v6),
            source_key(identity),
            address.to_string(),
        )
    })
}

fn source_key(identity: &Identity) -> String {
    let to = identity
        .dnat()
        .map_or(identity.destination, |dnat| dnat.address);
    format!("{} . {to} . {}", identity.source, identity.protocol.0)
}

/// The map that a flow's destination belongs in, and its element.
fn destination(identity: &Identity) -> Option<(usize, String, String)> {
    let dnat = identity.dnat()?;
    let six = usize::from(identity.source.is_ipv6());
    let same_family = |address: IpAddr| address.is_ipv6() == identity.source.is_ipv6();
    if !same_family(dnat.address) {
        return None;
    }
    let Identity {
        source,
        destination,
        protocol,
        ..
    } = identity;
    let key = format!("{source} . {destination} . {}", protocol.0);
    Some(match (identity.service, dnat.port) {
        (Service::Port(port), Some(to)) => (
            six,
            format!("{key} . {port}"),
            format!("{} . {to}", dnat.address),
        ),
        _ => (2 + six, key, dnat.address.to_string()),
    })
}

fn table(maps: &[HashMap<String, String>; 6]) -> String {
    let name = format!("inet {TABLE}-nat");
    let mut text = format!("table {name}\ndelete table {name}\ntable {name} {{\n");
    for ((name, keys, data, _), elements) in MAPS.iter().zip(maps) {
        let _ = writeln!(text, "map {name} {{ type {keys} : {data}");
        if !elements.is_empty() {
            text.push_str("elements = {\n");
            for (key, value) in elements {
                let _ = writeln!(text, "{key} : {value},");
            }
            text.push_str("}\n");
        }
        text.push_str("}\n");
    }
    let (destinations, sources) = MAPS.split_at(DESTINATIONS);
    let _ = writeln!(text, "counter {COME} {{ }}\ncounter {GONE} {{ }}");
    for (hook, maps, counted) in [
        ("prerouting", destinations, true),
        ("output", destinations, true),
        ("postrouting", sources, false),
    ] {
        let _ = writeln!(text, "chain {hook} {{ type nat hook {hook} priority {LAST}");
        if counted {
            let _ = writeln!(text, "counter name {COME}");
        }
        for (.., rule) in maps {
            let _ = writeln!(text, "{rule}");
        }
        if counted {
            let _ = writeln!(text, "counter name {GONE}");
        }
        text.push_str("}\n");
    }
    text.push_str("}\n");
    text
}
