//! Policy routing of the host: the rules that choose a routing table (ip-rule(8)), and the tables besides the main one.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::host::{address, dump};
use crate::model::capture::PolicyRule;
use crate::netlink::framing::attributes;
use crate::netlink::uapi::{
    FIB_RULE_INVERT, FRA_DST, FRA_FWMARK, FRA_FWMASK, FRA_IIFNAME, FRA_L3MDEV, FRA_OIFNAME,
    FRA_PRIORITY, FRA_SRC, FRA_TABLE, RTM_GETRULE,
};

/// What else a rule may ask for or do, by the words of ip-rule(8).
const OTHERS: [(u16, &str); 8] = [
    (4, "goto"),
    (12, "tun_id"),
    (13, "suppress_ifgroup"),
    (14, "suppress_prefixlength"),
    (20, "uidrange"),
    (22, "ipproto"),
    (23, "sport"),
    (24, "dport"),
];
/// `FR_ACT_*`.
const ACTIONS: [(u8, &str); 6] = [
    (1, "lookup"),
    (2, "goto"),
    (3, "nop"),
    (6, "blackhole"),
    (7, "unreachable"),
    (8, "prohibit"),
];

/// Priorities and tables of the rules that every host has: local, main, default.
const USUAL: [(u32, u32); 3] = [(0, 255), (32_766, 254), (32_767, 253)];

/// The rules of each family that has others than every host, in the order in which they are asked.
pub(super) fn rules() -> io::Result<Vec<PolicyRule>> {
    let mut rules = Vec::new();
    dump(RTM_GETRULE, |payload| {
        rules.extend(rule(payload));
        Some(())
    })?;
    let unusual: BTreeSet<bool> = [true, false]
        .into_iter()
        .filter(|v4| {
            let family = rules.iter().filter(|rule| rule.is_ipv4() == *v4);
            let found: Vec<&PolicyRule> = family.collect();
            // IPv6 has no table of defaults to begin with (net/ipv6/fib6_rules.c).
            let expected = if *v4 { &USUAL[..] } else { &USUAL[..2] };
            let usual = { expected.iter() }
                .map(|&(priority, table)| PolicyRule::usual(*v4, priority, table));
            !found.into_iter().eq(&usual.collect::<Vec<_>>())
        })
        .collect();
    rules.retain(|rule| unusual.contains(&rule.is_ipv4()));
    Ok(rules)
}

/// The tables that rules name, and those of virtual routers, but for those that every host has.
pub(super) fn tables(rules: &[PolicyRule], routers: impl Iterator<Item = u32>) -> BTreeSet<u32> {
    let named = rules.iter().filter_map(|rule| rule.table).chain(routers);
    named
        .filter(|&table| table != 255 && table != 254)
        .collect()
}

/// struct fib_rule_hdr: family, lengths of destination and source, TOS, table, two reserved, action, flags.
fn rule(payload: &[u8]) -> Option<PolicyRule> {
    let (
        &[
            family,
            dst_len,
            src_len,
            tos,
            table,
            _,
            _,
            action,
            f0,
            f1,
            f2,
            f3,
        ],
        rest,
    ) = payload.split_first_chunk::<12>()?;
    let any: IpAddr = match i32::from(family) {
        libc::AF_INET => Ipv4Addr::UNSPECIFIED.into(),
        libc::AF_INET6 => Ipv6Addr::UNSPECIFIED.into(),
        _ => return None,
    };
    let found: BTreeMap<u16, &[u8]> = attributes(rest).collect();
    let word = |kind: u16| word_of(&found, kind);
    let text = |kind: u16| {
        let bytes = found.get(&kind)?;
        let bytes = bytes.strip_suffix(&[0]).unwrap_or(bytes);
        Some(String::from_utf8_lossy(bytes).into_owned())
    };
    let net = |kind: u16, len: u8| match found.get(&kind) {
        Some(bytes) => IpNet::new(address(bytes)?, len).ok(),
        None => None,
    };
    let mut others: Vec<String> = { OTHERS.iter() }
        // What is not asked for is told as all ones.
        .filter(|(kind, _)| {
            found
                .get(kind)
                .is_some_and(|value| value.iter().any(|&byte| byte != 0xff))
        })
        .map(|(kind, word)| match (*word, word_of(&found, *kind)) {
            // What wg-quick(8) has in its rules; without the length nobody could tell what the rule does.
            ("suppress_prefixlength", Some(length)) => format!("{word} {length}"),
            _ => (*word).to_owned(),
        })
        .collect();
    if tos != 0 {
        others.push("tos".to_owned());
    }
    let named = ACTIONS.iter().find(|(number, _)| *number == action);
    let lookup = action == 1;
    let l3mdev = found.get(&FRA_L3MDEV).is_some_and(|flag| **flag == [1]);
    Some(PolicyRule {
        family: if any.is_ipv4() { "ipv4" } else { "ipv6" }.to_owned(),
        priority: word(FRA_PRIORITY).unwrap_or(0),
        not: u32::from_ne_bytes([f0, f1, f2, f3]) & FIB_RULE_INVERT != 0,
        from: net(FRA_SRC, src_len),
        to: net(FRA_DST, dst_len),
        iif: text(FRA_IIFNAME),
        oif: text(FRA_OIFNAME),
        mark: word(FRA_FWMARK),
        mask: word(FRA_FWMASK).filter(|_| found.contains_key(&FRA_FWMARK)),
        l3mdev,
        others,
        action: named.map_or_else(|| action.to_string(), |(_, word)| (*word).to_owned()),
        table: (lookup && !l3mdev).then(|| word(FRA_TABLE).unwrap_or(table.into())),
    })
}

fn word_of(found: &BTreeMap<u16, &[u8]>, kind: u16) -> Option<u32> {
    let bytes = found.get(&kind)?;
    Some(u32::from_ne_bytes((*bytes).try_into().ok()?))
}
