//! DNAT that the capture has seen, for rulesets that have none: files of rules only, to which the host
//! has its translations elsewhere. The rules then see the same destinations as on the host.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::IpAddr;

use crate::check::guard::TABLE;
use crate::model::record::{Identity, Record, Service};

/// The table, for nft(8).
#[derive(Debug)]
pub struct Translations {
    /// Replaces the one that was loaded before.
    pub table: String,
    /// Flows that it is made of.
    pub flows: usize,
    /// Flows whose like goes to another destination: one of them was taken.
    pub ambiguous: usize,
}

/// Kinds of maps: name, types of keys, types of data, and what looks a packet up.
const MAPS: [(&str, &str, &str, &str); 4] = [
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
];

impl Translations {
    /// Those of the flows; `None` if none has any.
    pub fn of(records: &[Record]) -> Option<Self> {
        let mut maps: [HashMap<String, String>; 4] = Default::default();
        let (mut flows, mut ambiguous) = (0, 0);
        for identity in records.iter().map(|record| &record.identity) {
            let Some((map, key, value)) = element(identity) else {
                continue;
            };
            flows += 1;
            let first = maps[map].entry(key).or_insert_with(|| value.clone());
            ambiguous += usize::from(*first != value);
        }
        (flows > 0).then(|| Self {
            table: table(&maps),
            flows,
            ambiguous,
        })
    }
}

/// The map that a flow belongs in, and its element.
fn element(identity: &Identity) -> Option<(usize, String, String)> {
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

fn table(maps: &[HashMap<String, String>; 4]) -> String {
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
    for hook in ["prerouting", "output"] {
        let _ = writeln!(text, "chain {hook} {{ type nat hook {hook} priority -100");
        for (.., rule) in MAPS {
            let _ = writeln!(text, "{rule}");
        }
        text.push_str("}\n");
    }
    text.push_str("}\n");
    text
}
