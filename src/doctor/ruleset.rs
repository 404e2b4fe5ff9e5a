//! nftables as it stands: the rules that have connections tracked, and the flowtables.

use std::io;
use std::ops::ControlFlow;

use super::module::Presence;
use super::need::{Need, Needs, event_mask, is_notrack, is_of_xtables};
use super::query;
use crate::netlink::framing::attributes;
use crate::netlink::request;
use crate::netlink::uapi::{
    NFNL_SUBSYS_NFTABLES, NFT_CT_EVENTMASK, NFT_FLOWTABLE_HW_OFFLOAD, NFT_MSG_GETFLOWTABLE,
    NFT_MSG_GETGEN, NFT_MSG_GETOBJ, NFT_MSG_GETRULE, NFTA_CT_KEY, NFTA_CT_SREG, NFTA_DATA_VALUE,
    NFTA_DYNSET_EXPR, NFTA_DYNSET_EXPRESSIONS, NFTA_EXPR_DATA, NFTA_EXPR_NAME,
    NFTA_FLOWTABLE_FLAGS, NFTA_FLOWTABLE_NAME, NFTA_FLOWTABLE_TABLE, NFTA_GEN_ID,
    NFTA_IMMEDIATE_DATA, NFTA_IMMEDIATE_DREG, NFTA_MATCH_NAME, NFTA_META_SREG, NFTA_NAT_TYPE,
    NFTA_OBJ_NAME, NFTA_OBJ_TABLE, NFTA_OBJ_TYPE, NFTA_RULE_CHAIN, NFTA_RULE_EXPRESSIONS,
    NFTA_RULE_TABLE, NFTA_TARGET_INFO,
};

/// What the rules of nftables say that matters to events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ruleset {
    /// Rules that have connections tracked.
    pub needs: Needs,
    /// All rules that were looked at.
    pub rules: usize,
    /// Whether those were all there are: a very large ruleset is not waited for.
    pub complete: bool,
    /// Flowtables, which take connections past conntrack.
    pub flowtables: Vec<Flowtable>,
}

/// A flowtable, which takes established connections past the rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flowtable {
    /// `table inet filter, flowtable f`.
    pub place: String,
    /// Whether the network card does it.
    pub hardware: bool,
}

impl Ruleset {
    /// Reads the rules of the namespace of the calling thread.
    ///
    /// Errors: `EPERM` without CAP_NET_ADMIN.
    pub fn look() -> io::Result<Self> {
        request::again(Self::look_once)
    }

    fn look_once() -> io::Result<Self> {
        let mut ruleset = Self {
            complete: true,
            ..Self::default()
        };
        // Not loaded: no rules. And asking would load it.
        if !Presence::of("nf_tables").can_be_asked() {
            return Ok(ruleset);
        }
        let kind = |message| NFNL_SUBSYS_NFTABLES << 8 | message;
        let complete = query::dump(kind(NFT_MSG_GETRULE), |family, rule| {
            ruleset.rules += 1;
            if let Some(need) = need(family, rule) {
                ruleset.needs.add(need);
            }
            for (rule, mask) in masks(family, rule) {
                ruleset.needs.add_mask(rule, mask);
            }
            if let Some(exempt) = exempt(family, rule) {
                ruleset.needs.add_exempt(exempt);
            }
            ControlFlow::Continue(())
        });
        ruleset.complete = without_subsystem(complete)?;
        let complete = query::dump(kind(NFT_MSG_GETOBJ), |family, attributes| {
            if let Some(need) = object(family, attributes) {
                ruleset.needs.add(need);
            }
            ControlFlow::Continue(())
        });
        ruleset.complete &= without_subsystem(complete)?;
        let flowtables = query::dump(kind(NFT_MSG_GETFLOWTABLE), |family, attributes| {
            ruleset.flowtables.extend(flowtable(family, attributes));
            ControlFlow::Continue(())
        });
        without_subsystem(flowtables)?;
        Ok(ruleset)
    }
}

/// The number of the ruleset's generation, which every change raises; `None` where nftables is not loaded.
///
/// Errors: those of the socket, and `EPERM` without CAP_NET_ADMIN.
pub fn generation() -> io::Result<Option<u32>> {
    if !Presence::of("nf_tables").can_be_asked() {
        return Ok(None);
    }
    let mut generation = None;
    let kind = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETGEN;
    let answer = query::get(kind, |_, attributes| {
        generation = find(attributes, NFTA_GEN_ID).and_then(word);
        ControlFlow::Break(())
    });
    without_subsystem(answer).map(|_| generation)
}

/// A kernel without nftables, or without flowtables, has none.
fn without_subsystem(answer: io::Result<bool>) -> io::Result<bool> {
    match answer.as_ref().map_err(io::Error::raw_os_error) {
        Err(Some(libc::EINVAL | libc::EOPNOTSUPP | libc::EPROTONOSUPPORT)) => Ok(true),
        _ => answer,
    }
}

fn text(value: &[u8]) -> String {
    let end = value.iter().position(|&byte| byte == 0);
    String::from_utf8_lossy(&value[..end.unwrap_or(value.len())]).into_owned()
}

fn word(value: &[u8]) -> Option<u32> {
    value.first_chunk().map(|be| u32::from_be_bytes(*be))
}

fn find(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find_map(|(found, value)| (found == kind).then_some(value))
}

/// `NFPROTO_*` of include/uapi/linux/netfilter.h, as nft(8) calls them.
fn family_name(family: u8) -> &'static str {
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
fn need(family: u8, rule: &[u8]) -> Option<Need> {
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
fn masks(family: u8, rule: &[u8]) -> Vec<(String, Option<u32>)> {
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
fn exempt(family: u8, rule: &[u8]) -> Option<String> {
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
fn object(family: u8, attributes: &[u8]) -> Option<Need> {
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

fn flowtable(family: u8, attributes: &[u8]) -> Option<Flowtable> {
    let table = text(find(attributes, NFTA_FLOWTABLE_TABLE)?);
    let name = text(find(attributes, NFTA_FLOWTABLE_NAME)?);
    let flags = find(attributes, NFTA_FLOWTABLE_FLAGS).and_then(word);
    Some(Flowtable {
        place: format!("table {} {table}, flowtable {name}", family_name(family)),
        hardware: flags.is_some_and(|flags| flags & NFT_FLOWTABLE_HW_OFFLOAD != 0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = (4 + value.len() as u16).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn rule(expressions: &[(&str, Vec<u8>)]) -> Vec<u8> {
        let list: Vec<u8> = expressions
            .iter()
            .flat_map(|(name, data)| {
                let name = attribute(NFTA_EXPR_NAME, format!("{name}\0").as_bytes());
                attribute(1, &[name, attribute(NFTA_EXPR_DATA, data)].concat())
            })
            .collect();
        [
            attribute(NFTA_RULE_TABLE, b"filter\0"),
            attribute(NFTA_RULE_CHAIN, b"forward\0"),
            attribute(NFTA_RULE_EXPRESSIONS, &list),
        ]
        .concat()
    }

    fn described(family: u8, expressions: &[(&str, Vec<u8>)]) -> Option<String> {
        need(family, &rule(expressions)).map(|need| need.to_string())
    }

    #[test]
    fn rules_are_named_as_nft_writes_them() {
        let state = attribute(NFTA_CT_KEY, &0_u32.to_be_bytes());
        let both = [("meta", vec![]), ("ct", state)];
        assert_eq!(
            described(1, &both).as_deref(),
            Some("table inet filter, chain forward: ct state")
        );
        let snat = attribute(NFTA_NAT_TYPE, &0_u32.to_be_bytes());
        assert_eq!(
            described(2, &[("nat", snat)]).as_deref(),
            Some("table ip filter, chain forward: snat")
        );
        assert_eq!(described(1, &[("meta", vec![]), ("cmp", vec![])]), None);
        assert_eq!(described(1, &[("notrack", vec![])]), None);
        let exempt = |expressions: &[(&str, Vec<u8>)]| exempt(1, &rule(expressions));
        assert_eq!(
            exempt(&[("meta", vec![]), ("notrack", vec![])]).as_deref(),
            Some("table inet filter, chain forward: notrack")
        );
        assert_eq!(exempt(&[("meta", vec![])]), None);
    }

    #[test]
    fn a_rule_of_one_family_tracks_that_one() {
        let need = |family| need(family, &rule(&[("masq", vec![])])).unwrap();
        assert_eq!((need(1).ipv4, need(1).ipv6), (true, true));
        assert_eq!((need(2).ipv4, need(2).ipv6), (true, false));
        assert_eq!((need(10).ipv4, need(10).ipv6), (false, true));
    }

    #[test]
    fn rules_of_iptables_nft_are_known() {
        let of = |name: &str| attribute(NFTA_MATCH_NAME, format!("{name}\0").as_bytes());
        let target = |flags: u16| {
            let info = attribute(NFTA_TARGET_INFO, &flags.to_ne_bytes());
            [of("CT"), info].concat()
        };
        let told = |expression, data| described(2, &[(expression, data)]);
        assert!(
            told("match", of("conntrack"))
                .unwrap()
                .ends_with(": -m conntrack")
        );
        assert!(told("target", target(0)).unwrap().ends_with(": -j CT"));
        assert_eq!(told("target", target(1)), None);
        assert_eq!(told("match", of("comment")), None);
    }

    #[test]
    fn objects_and_elements_of_sets_count_too() {
        let object_of = |kind: u32| {
            let bytes = [
                attribute(NFTA_OBJ_TABLE, b"filter\0"),
                attribute(NFTA_OBJ_NAME, b"slow\0"),
                attribute(NFTA_OBJ_TYPE, &kind.to_be_bytes()),
            ];
            object(2, &bytes.concat()).map(|need| need.to_string())
        };
        assert_eq!(
            object_of(7).as_deref(),
            Some("table ip filter: ct timeout slow")
        );
        assert_eq!(object_of(1), None);
        let of = |name: &[u8]| {
            let inner = attribute(NFTA_EXPR_NAME, name);
            described(1, &[("dynset", attribute(NFTA_DYNSET_EXPR, &inner))])
        };
        assert!(of(b"connlimit\0").unwrap().ends_with(": ct count"));
        assert_eq!(of(b"counter\0"), None);
        assert_eq!(of(b"dynset\0"), None);
    }

    #[test]
    fn flowtables_are_read() {
        let bytes = [
            attribute(NFTA_FLOWTABLE_TABLE, b"filter\0"),
            attribute(NFTA_FLOWTABLE_NAME, b"fast\0"),
            attribute(NFTA_FLOWTABLE_FLAGS, &1_u32.to_be_bytes()),
        ];
        let expected = Flowtable {
            place: "table inet filter, flowtable fast".into(),
            hardware: true,
        };
        assert_eq!(flowtable(1, &bytes.concat()), Some(expected));
        assert_eq!(flowtable(1, &[]), None);
    }
}
