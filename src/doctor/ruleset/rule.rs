//! What one rule or object of nftables needs of connection tracking, from its netlink attributes.

use super::super::need::{Need, event_mask, is_notrack, is_of_xtables};
use crate::netlink::framing::attributes;
use crate::netlink::uapi::{
    NFT_CT_EVENTMASK, NFTA_CT_KEY, NFTA_CT_SREG, NFTA_DATA_VALUE, NFTA_DYNSET_EXPR,
    NFTA_DYNSET_EXPRESSIONS, NFTA_EXPR_DATA, NFTA_EXPR_NAME, NFTA_IMMEDIATE_DATA,
    NFTA_IMMEDIATE_DREG, NFTA_MATCH_NAME, NFTA_META_SREG, NFTA_NAT_TYPE, NFTA_OBJ_NAME,
    NFTA_OBJ_TABLE, NFTA_OBJ_TYPE, NFTA_RULE_CHAIN, NFTA_RULE_EXPRESSIONS, NFTA_RULE_TABLE,
    NFTA_TARGET_INFO,
};

pub(super) fn text(value: &[u8]) -> String {
    let end = value.iter().position(|&byte| byte == 0);
    String::from_utf8_lossy(&value[..end.unwrap_or(value.len())]).into_owned()
}

pub(super) fn word(value: &[u8]) -> Option<u32> {
    value.first_chunk().map(|be| u32::from_be_bytes(*be))
}

pub(super) fn find(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find_map(|(found, value)| (found == kind).then_some(value))
}

/// `NFPROTO_*` of include/uapi/linux/netfilter.h, as nft(8) calls them.
pub(super) fn family_name(family: u8) -> &'static str {
    match family {
        1 => "inet",
        2 => "ip",
        3 => "arp",
        5 => "netdev",
        7 => "bridge",
        10 => "ip6",
        _ => "?",
    }
}

/// What a rule needs, if it does.
pub(super) fn need(family: u8, rule: &[u8]) -> Option<Need> {
    let expressions = find(rule, NFTA_RULE_EXPRESSIONS)?;
    let what = attributes(expressions).find_map(|(_, expression)| describe(expression))?;
    Some(of_family(family, place(family, rule), what))
}

/// `table inet filter, chain forward`.
fn place(family: u8, rule: &[u8]) -> String {
    let part = |kind| find(rule, kind).map(text).unwrap_or_default();
    format!(
        "table {} {}, chain {}",
        family_name(family),
        part(NFTA_RULE_TABLE),
        part(NFTA_RULE_CHAIN)
    )
}

/// The masks of events that a rule sets, by `ct event set` or `-j CT --ctevents`; `None` for one that is not known. Of
/// several any may be the last that counts for a connection, since a match between them may end the rule.
pub(super) fn masks(family: u8, rule: &[u8]) -> Vec<(String, Option<u32>)> {
    let mut masks = Vec::new();
    let expressions = find(rule, NFTA_RULE_EXPRESSIONS).unwrap_or_default();
    // Registers with constants in them, as the expressions so far have left them.
    let mut constants: Vec<(u32, u32)> = Vec::new();
    for (_, expression) in attributes(expressions) {
        let name = find(expression, NFTA_EXPR_NAME).map(text);
        let data = find(expression, NFTA_EXPR_DATA).unwrap_or_default();
        let field = |kind| find(data, kind).and_then(word);
        match name.as_deref() {
            Some("immediate") => {
                let value = find(data, NFTA_IMMEDIATE_DATA)
                    .and_then(|data| find(data, NFTA_DATA_VALUE)?.first_chunk());
                if let (Some(register), Some(value)) = (field(NFTA_IMMEDIATE_DREG), value) {
                    // In host order, unlike netlink's own numbers (nft_ct_set_eval, net/netfilter/nft_ct.c).
                    constants.push((register, u32::from_ne_bytes(*value)));
                }
            }
            Some("ct") if field(NFTA_CT_KEY) == Some(NFT_CT_EVENTMASK) => {
                let source = field(NFTA_CT_SREG);
                let constant =
                    { constants.iter() }.rfind(|(register, _)| Some(*register) == source);
                // A mask from a map may be any.
                let mask = constant.map(|(_, mask)| *mask);
                masks.push((format!("{}: ct event set", place(family, rule)), mask));
            }
            Some("target") => {
                let target = find(data, NFTA_MATCH_NAME).map(text).unwrap_or_default();
                let info = find(data, NFTA_TARGET_INFO).unwrap_or_default();
                if let Some(mask) = event_mask(&target, info) {
                    let rule = format!("{}: -j CT --ctevents", place(family, rule));
                    masks.push((rule, Some(mask)));
                }
            }
            // These write no register, and neither does what sets something from one.
            Some("cmp" | "range" | "counter" | "log" | "limit" | "match") => {}
            Some("ct") if field(NFTA_CT_SREG).is_some() => {}
            Some("meta") if field(NFTA_META_SREG).is_some() => {}
            // A lookup, say, which may write the one with a constant in it.
            _ => constants.clear(),
        }
    }
    masks
}

/// A rule that exempts packets from tracking.
pub(super) fn exempt(family: u8, rule: &[u8]) -> Option<String> {
    let expressions = find(rule, NFTA_RULE_EXPRESSIONS)?;
    let what = attributes(expressions).find_map(|(_, expression)| {
        let name = find(expression, NFTA_EXPR_NAME).map(text)?;
        let data = find(expression, NFTA_EXPR_DATA).unwrap_or_default();
        match name.as_str() {
            "notrack" => Some("notrack"),
            "target" => {
                let target = find(data, NFTA_MATCH_NAME).map(text)?;
                let info = find(data, NFTA_TARGET_INFO).unwrap_or_default();
                (is_notrack(&target, info) || target == "NOTRACK").then_some("-j CT --notrack")
            }
            _ => None,
        }
    })?;
    Some(format!("{}: {what}", place(family, rule)))
}

/// What an object needs, if it does: those that call `nf_ct_netns_get` do so when they are made, not only
/// when a rule refers to them.
pub(super) fn object(family: u8, attributes: &[u8]) -> Option<Need> {
    let part = |kind| find(attributes, kind).map(text).unwrap_or_default();
    // `NFT_OBJECT_*`.
    let kind = match find(attributes, NFTA_OBJ_TYPE).and_then(word)? {
        3 => "ct helper",
        7 => "ct timeout",
        9 => "ct expectation",
        10 => "synproxy",
        _ => return None,
    };
    let place = format!("table {} {}", family_name(family), part(NFTA_OBJ_TABLE));
    let what = format!("{kind} {}", part(NFTA_OBJ_NAME));
    Some(of_family(family, place, what))
}

fn of_family(family: u8, place: String, what: String) -> Need {
    Need {
        place,
        what,
        // `nf_ct_netns_get`: inet is both; a bridge has its own hooks, which take up both.
        ipv4: matches!(family, 1 | 2 | 7),
        ipv6: matches!(family, 1 | 7 | 10),
    }
}

/// How nft(8) writes an expression that has connections tracked: those of net/netfilter/nft_*.c that call
/// `nf_ct_netns_get` (Linux 6.18).
fn describe(expression: &[u8]) -> Option<String> {
    let name = text(find(expression, NFTA_EXPR_NAME)?);
    let data = find(expression, NFTA_EXPR_DATA).unwrap_or_default();
    Some(match name.as_str() {
        "ct" => {
            let key = find(data, NFTA_CT_KEY).and_then(word);
            match key.and_then(|key| CT_KEYS.get(key as usize)) {
                Some(key) => format!("ct {key}"),
                None => "ct".into(),
            }
        }
        "nat" => match find(data, NFTA_NAT_TYPE).and_then(word) {
            Some(0) => "snat".into(),
            _ => "dnat".into(),
        },
        "masq" => "masquerade".into(),
        "redir" => "redirect".into(),
        "connlimit" => "ct count".into(),
        "flow_offload" => "flow add".into(),
        "synproxy" => "synproxy".into(),
        // What each new element of a set gets; itself never another set.
        "dynset" => {
            let one = find(data, NFTA_DYNSET_EXPR).into_iter();
            let list = find(data, NFTA_DYNSET_EXPRESSIONS).unwrap_or_default();
            return one
                .chain(attributes(list).map(|(_, expression)| expression))
                .filter(|expression| find(expression, NFTA_EXPR_NAME) != Some(b"dynset\0"))
                .find_map(describe);
        }
        "match" | "target" => {
            let extension = text(find(data, NFTA_MATCH_NAME)?);
            let info = find(data, NFTA_TARGET_INFO).unwrap_or_default();
            if !is_of_xtables(&extension) || is_notrack(&extension, info) {
                return None;
            }
            let option = if name == "match" { "-m" } else { "-j" };
            format!("{option} {extension}")
        }
        _ => return None,
    })
}

/// `enum nft_ct_keys`.
const CT_KEYS: [&str; 24] = [
    "state",
    "direction",
    "status",
    "mark",
    "secmark",
    "expiration",
    "helper",
    "l3proto",
    "saddr",
    "daddr",
    "protocol",
    "proto-src",
    "proto-dst",
    "label",
    "packets",
    "bytes",
    "avgpkt",
    "zone",
    "event",
    "ip saddr",
    "ip daddr",
    "ip6 saddr",
    "ip6 daddr",
    "id",
];
