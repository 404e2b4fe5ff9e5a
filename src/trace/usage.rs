//! The rules that are loaded, with the flows that each has decided on. Only first packets are followed, so much can't be told of
//! a rule that decided on none: [`Used::flows`] has a number only where it can.

use std::collections::BTreeMap;

use crate::model::path::{Path, Step};
use crate::model::timestamp::Timestamp;
use crate::os::own_table::is_ours;

use super::legacy;
use super::ruleset::{Chain, ChainName, Ruleset};

/// A rule, or the policy of a chain.
#[derive(Debug)]
pub struct Used<'a> {
    /// Family, table and name of its chain.
    pub name: &'a ChainName,
    /// Its chain.
    pub chain: &'a Chain,
    /// Of a rule.
    pub handle: Option<u64>,
    /// As it is listed.
    pub text: String,
    /// Flows that it has decided on; `None` where it can't be told whether there was any.
    pub flows: Option<u64>,
    /// When it did so last.
    pub last: Option<Timestamp>,
}

/// Where a rule is, and what it says where its number may be another one's by now.
type Place<'a> = (&'a str, &'a str, &'a str, Option<u64>, Option<&'a str>);

/// What steps have of the text of a rule.
fn then<'a>((family, ..): &ChainName, text: &'a str) -> Option<&'a str> {
    let numbered = family == legacy::IPV4 || family == legacy::IPV6;
    numbered.then_some(text)
}

/// How often something was met, and when last.
type Count = (u64, Option<Timestamp>);

/// Each rule and policy of the ruleset, in its order, with the use that these paths made of it.
pub fn of<'a>(ruleset: &'a Ruleset, paths: &[&Path]) -> Vec<Used<'a>> {
    let counts = counts(paths);
    let chains: Vec<(&ChainName, &Chain)> = ruleset
        .chains()
        .filter(|((_, table, _), _)| !is_ours(table))
        .collect();
    // What is not tracked begins no flow, and may come to any rule.
    let untracked = { chains.iter() }.any(|(_, chain)| {
        let mut texts = chain.rules.iter().map(|(_, text)| text.to_lowercase());
        texts.any(|text| text.contains("notrack") || text.contains("-j ct "))
    });
    let mut used = Vec::new();
    for (name, chain) in &chains {
        let early = match chain.hook {
            Some(_) => chain.is_early(),
            // Any chain of the table may send packets here.
            None => chains.iter().any(|((family, table, _), other)| {
                (family, table) == (&name.0, &name.1) && other.hook.is_some() && other.is_early()
            }),
        };
        let mut add = |handle: Option<u64>, text: String, shows: bool| {
            let (flows, last) = counts
                .get(&(&*name.0, &*name.1, &*name.2, handle, then(name, &text)))
                .copied()
                .unwrap_or_default();
            used.push(Used {
                name,
                chain,
                handle,
                text,
                flows: Some(flows).filter(|&flows| flows > 0 || (shows && !early && !untracked)),
                last,
            });
        };
        for (handle, text) in &chain.rules {
            add(Some(*handle), text.clone(), shows(text));
        }
        if let Some(policy) = &chain.policy {
            add(None, format!("policy {policy}"), true);
        }
    }
    used
}

/// A flow counts once for each rule that has ever decided on it, also before rules were changed.
fn counts<'a>(paths: &[&'a Path]) -> BTreeMap<Place<'a>, Count> {
    let mut counts: BTreeMap<_, Count> = BTreeMap::new();
    for path in paths {
        let mut steps: Vec<&Step> = path.steps.iter().chain(&path.earlier).collect();
        steps.sort_unstable();
        steps.dedup();
        for step in steps {
            let text = step.text.as_deref();
            let place = (step.family, &*step.table, &*step.chain, step.handle, text);
            let count = counts.entry(place).or_default();
            count.0 += 1;
            count.1 = count.1.max(path.seen);
        }
    }
    counts
}

/// Whether a rule that was used would show among the first packets of flows: it ends a packet's way at its hook, and what it asks
/// for can be true of a packet that begins a flow. Errors of ICMP, neighbour discovery and the like begin none. Matches that
/// nft(8) has no words for may ask for that as well.
fn shows(rule: &str) -> bool {
    const ENDS: [&str; 9] = [
        "accept",
        "drop",
        "reject",
        "dnat",
        "snat",
        "masquerade",
        "redirect",
        "queue",
        "tproxy",
    ];
    let rule = rule.to_lowercase();
    let of_icmp = rule.contains("icmp") && !rule.contains("echo-request");
    rule.split_whitespace().any(|word| ENDS.contains(&word))
        && may_begin(&rule, "ct state", "new")
        && may_begin(&rule, "--ctstate", "new")
        && may_begin(&rule, "--state", "new")
        && may_begin(&rule, "ct status", "nat")
        && may_begin(&rule, "--ctstatus", "nat")
        && !of_icmp
        && !rule.contains("xt match")
        && !rule.contains("xt target")
}

/// Whether what a rule asks for behind `key`, if it does, can be so of a packet that begins a flow: those have `value`.
fn may_begin(rule: &str, key: &str, value: &str) -> bool {
    let Some((before, behind)) = rule.split_once(key) else {
        return true;
    };
    let mut words = behind.split_whitespace();
    let mut asked = words.next().unwrap_or_default();
    let mut negated = before.trim_end().ends_with('!');
    if asked == "!=" {
        negated = true;
        asked = words.next().unwrap_or_default();
    }
    // A map or a set in braces: what is in it is not looked at.
    asked.contains(value) != negated && !asked.starts_with(['{', '@', 'v'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_first_packets_cannot_tell_is_not_claimed() {
        for rule in [
            "tcp dport 22 accept",
            "ct state new drop",
            "ct state != established udp dport 54 accept",
            "ct status dnat tcp dport 443 accept",
            "icmp type echo-request accept",
            "-A INPUT -p tcp -j DROP",
            "-A INPUT -m conntrack ! --ctstate ESTABLISHED -j DROP",
        ] {
            assert!(shows(rule), "{rule}");
        }
        for rule in [
            "ct state established,related accept",
            "ct state invalid drop",
            "ct state { established, new } accept",
            "ct state vmap { established : accept, new : drop }",
            "ct status assured accept",
            "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept",
            "meta l4proto ipv6-icmp accept",
            "-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
            "-A INPUT -m conntrack ! --ctstate NEW -j DROP",
            "-A INPUT -p icmp -m icmp --icmp-type 3 -j ACCEPT",
            "ct state != new drop",
            "tcp dport 22 jump ssh",
            "tcp dport 22 counter",
            "xt match \"x\" accept",
        ] {
            assert!(!shows(rule), "{rule}");
        }
    }

    #[test]
    fn of_what_comes_before_the_gate_nothing_is_claimed() {
        let table = |priority: &str, more: &str| {
            format!(
                "table ip t {{\n\tchain c {{\n\t\ttype filter hook prerouting priority {priority}; policy accept;\n\
                 \t\ttcp dport 7 drop # handle 4\n{more}\t}}\n\tchain d {{\n\t\ttcp dport 8 drop # handle 5\n\t}}\n}}\n"
            )
        };
        let told = |text: &str| {
            let ruleset = Ruleset::parse(text);
            let used = of(&ruleset, &[]);
            used.iter().map(|used| used.flows).collect::<Vec<_>>()
        };
        assert_eq!(told(&table("mangle", "")), [Some(0); 3]);
        assert_eq!(told(&table("raw", "")), [None; 3]);
        assert_eq!(told(&table("raw + 200", "")), [Some(0); 3]);
        assert_eq!(told(&table("-400", "")), [None; 3]);
        let untracked = "\t\tudp dport 53 notrack # handle 6\n";
        assert_eq!(told(&table("mangle", untracked)), [None; 4]);
    }
}
