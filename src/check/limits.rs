//! What the namespace can't reproduce: found in the rules, named in the report.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::check::form::Form;
use crate::check::network::Network;
use crate::check::rules::Rules;
use crate::check::ruleset::Ruleset;
use crate::model::record::Record;
use crate::model::units::{agree, counted};

/// Words of a rule as `nft list ruleset` has it, and what they mean for the judgement.
const NFT: [(&[&str], &str); 27] = [
    (&["limit rate", "limit name"], RATES),
    (&["meter "], RATES),
    (&["ct count"], RATES),
    (&["quota "], RATES),
    (&["numgen "], CHANCE),
    (&["add @", "update @", "delete @"], DYNAMIC),
    (&["ct bytes", "ct packets", "ct avgpkt"], VOLUME),
    (&["meta time", "meta day", "meta hour"], TIME),
    (
        &["meta cgroup", "socket cgroupv2", "meta skuid", "meta skgid"],
        OWNER,
    ),
    (&["skuid ", "skgid "], OWNER),
    (&["iifgroup", "oifgroup"], GROUP),
    (&["iiftype", "oiftype", "iifkind", "oifkind"], DEVICE_KIND),
    (
        &["ibrname", "obrname", "ibriport", "obriport", "ibridgename"],
        BRIDGE,
    ),
    (&["sdif"], DEVICE_KIND),
    (
        &[
            "ether saddr",
            "ether daddr",
            "ether type",
            "vlan ",
            "pkttype",
        ],
        LINK,
    ),
    (&["ct helper"], HELPER),
    (&["ct label"], LABEL),
    (&["ct timeout", "ct expectation"], HELPER),
    (&["queue to", "queue flags", "queue num"], QUEUE),
    (
        &[
            "tproxy",
            "socket transparent",
            "socket mark",
            "socket wildcard",
        ],
        PROXY,
    ),
    (&["synproxy"], PROXY),
    (&["ipsec ", "rt ipsec", "meta secpath", "secmark"], IPSEC),
    (&["osf "], CONTENT),
    (&["@th,", "@ih,", "@ll,"], CONTENT),
    (
        &["tcp option", "meta length", "udp length", "ip length"],
        CONTENT,
    ),
    (&["ip ttl", "ip6 hoplimit", "dscp", "ecn"], HEADER),
    (
        &[
            "meta mark set",
            "ct mark set",
            "rt nexthop",
            "rt classid",
            "rtclassid",
            "fib saddr",
        ],
        ROUTING,
    ),
];

/// The same for words of iptables-save(8).
const IPTABLES: [(&[&str], &str); 21] = [
    (
        &[
            "-m limit",
            "-m hashlimit",
            "-m connlimit",
            "-m quota",
            "-m rateest",
        ],
        RATES,
    ),
    (&["-m recent"], DYNAMIC),
    (&["-m set ", "-j SET"], IPSET),
    (&["-m statistic"], CHANCE),
    (&["-m connbytes"], VOLUME),
    (&["-m time"], TIME),
    (&["-m owner", "-m cgroup"], OWNER),
    (&["-m devgroup"], GROUP),
    (&["-m physdev"], BRIDGE),
    (&["-m mac", "-m pkttype"], LINK),
    (&["-m helper", "-j CT --helper", "--helper "], HELPER),
    (&["-m connlabel"], LABEL),
    (&["-j NFQUEUE"], QUEUE),
    (&["-j TPROXY", "-m socket", "-j SYNPROXY"], PROXY),
    (&["-m policy", "-j SECMARK", "-j CONNSECMARK"], IPSEC),
    (
        &[
            "-m string",
            "-m u32",
            "-m bpf",
            "-m osf",
            "-m length",
            "-m tcpmss",
            "--tcp-option",
        ],
        CONTENT,
    ),
    (&["-m ttl", "-m hl", "-m dscp", "-m tos", "-m ecn"], HEADER),
    (
        &["-j MARK", "-j CONNMARK --restore-mark", "-m realm"],
        ROUTING,
    ),
    (&["-m nfacct"], VOLUME),
    (&["-m cpu", "-m cluster"], CHANCE),
    (&["-m rpfilter"], ROUTING),
];

const RATES: &str = "limits of rates, numbers and volumes (limit, meter, ct count, quota, hashlimit, \
    connlimit): each flow is judged as the only one, so none of them is reached";
const CHANCE: &str = "rules that choose by chance or by processor (numgen, statistic, cpu): what they choose on the \
    host is not known";
const DYNAMIC: &str = "sets and lists that packets fill (add @set, update @set, recent): what is in them on the host \
    is not known";
const IPSET: &str =
    "ipsets: their contents are not in the ruleset; --also takes a file of ipset save";
const VOLUME: &str =
    "numbers of a connection's packets and bytes: only its first packets are injected";
const TIME: &str = "times of day and days of the week: when a packet comes is not known";
const OWNER: &str =
    "users, groups and cgroups of local processes: which of them sends a packet is not known";
const GROUP: &str = "groups of interfaces: all devices are in group 0";
const DEVICE_KIND: &str =
    "kinds of interfaces (iiftype, iifkind, VRF): all devices are of kind tun";
const BRIDGE: &str = "ports of bridges: a bridge is one device here and has no ports";
const LINK: &str =
    "MAC addresses, VLAN tags and packet types: the injected packets have no Ethernet header";
const HELPER: &str = "conntrack helpers, timeouts and expectations: helpers read nothing here; what a capture says they \
    expected, such as FTP data, is judged behind its control connection where a rule assigns the helper, else as new, and is \
    undecided if that does not pass";
const LABEL: &str = "conntrack labels that other programs set";
const QUEUE: &str = "rules that hand packets to a program (queue): it does not run here, so such flows stay \
    undecided";
const PROXY: &str = "transparent proxies and synproxy: nothing listens here";
const IPSEC: &str = "IPsec and security marks: packets come as if never encrypted, without marks";
const CONTENT: &str = "contents and sizes of packets: the injected ones are made up";
const HEADER: &str = "TTL, DSCP and ECN: the injected packets have TTL 64 and 0";
const ROUTING: &str = "routing by mark or realm, and checks of the way back: routes are known as far as the capture \
    has them";

const TRACE_STOPPED: &str = "meta nftrace set 0 and the like: the kernel does not report which rule of the same hook drops a \
    packet behind that, so such flows stay undecided";

/// What the ruleset has in it that can't be judged as it would be on the host.
pub fn of(rulesets: &[Ruleset], rules: &Rules) -> Vec<String> {
    let mut found: BTreeSet<&str> = BTreeSet::new();
    let mut find = |table: &[(&[&str], &'static str)], rule: &str| {
        let rule = without_quoted(rule);
        for (words, limit) in table {
            if words.iter().any(|word| contains_word(&rule, word)) {
                found.insert(limit);
            }
        }
    };
    for rule in &rules.nft_texts {
        // A flowtable is no set: what is taken into it had to pass the rules before.
        find(&NFT, &rule.replace("flow add @", "flow "));
    }
    for ruleset in rulesets.iter().filter(|ruleset| ruleset.form != Form::Nft) {
        for rule in ruleset.text.lines().filter(|line| line.starts_with('-')) {
            find(&IPTABLES, rule);
        }
    }
    let mut limits: Vec<String> = found.into_iter().map(str::to_owned).collect();
    if rules.stops_trace() {
        limits.push(TRACE_STOPPED.to_owned());
    }
    for family in ["bridge", "arp"] {
        if rules.families.contains(family) {
            limits.push(format!(
                "table {family}: the injected packets have no Ethernet header and never come to it"
            ));
        }
    }
    limits
}

/// A number of flows.
pub fn flows(number: u64) -> String {
    counted(number, "flow")
}

/// What is not known of the flows, or can't be done for them.
pub fn of_flows(records: &[Record], network: &Network, rules: &Rules) -> Vec<String> {
    let mut assumed: BTreeMap<&str, (u64, IpAddr)> = BTreeMap::new();
    let (mut zoned, mut unspecified) = (0, 0);
    let mut unseen = [0, 0];
    let sees = ["ip", "ip6"].map(|family| rules.sees(family));
    for identity in records.iter().map(|record| &record.identity) {
        zoned += u64::from(identity.zone != 0);
        unspecified += u64::from(identity.source.is_unspecified());
        let ends = [identity.source, identity.destination];
        let elsewhere = ends
            .into_iter()
            .filter(|end| !network.is_local(*end) && !network.is_for_many(*end))
            .find_map(|end| Some((network.assumed(end)?, end)));
        if let Some((device, end)) = elsewhere {
            assumed.entry(device).or_insert((0, end)).0 += 1;
        }
        let family = usize::from(identity.source.is_ipv6());
        unseen[family] += u64::from(!sees[family]);
    }
    let mut limits = Vec::new();
    if !network.knows_addresses() && !records.is_empty() {
        limits.push(
            "the captures do not tell the host's own addresses, so every flow counts as passing through: \
             name them with --local ADDRESS/PREFIX"
                .to_owned(),
        );
    }
    for (device, (number, example)) in assumed {
        limits.push(format!(
            "no route tells the device of {}, {example} among their addresses: {device} was taken; say so \
             with --interface NETWORK=DEVICE",
            flows(number)
        ));
    }
    let hints = ["", "; rules of ip6tables-save are added with --also FILE"];
    for ((number, version), hint) in unseen.into_iter().zip(["IPv4", "IPv6"]).zip(hints) {
        if number > 0 {
            limits.push(format!(
                "no chain of the ruleset sees {version}, and {} of it {} no rule{hint}",
                flows(number),
                agree(number, "meets", "meet")
            ));
        }
    }
    if zoned > 0 && rules.sets_zones() {
        limits.push(format!(
            "conntrack zones: the ruleset says itself what belongs to which, so captured zones are not taken over ({})",
            flows(zoned)
        ));
    }
    if unspecified > 0 {
        limits.push(format!(
            "sources without an address yet (DHCP): the device they came in by can't be known ({})",
            flows(unspecified)
        ));
    }
    limits
}

/// A rule without what stands in quotes: comments and prefixes of logs, and names of devices.
pub(super) fn without_quoted(rule: &str) -> String {
    rule.split('"').step_by(2).collect::<Vec<_>>().join("\"\"")
}

/// Whether `word` is there, not as the end of a longer word.
fn contains_word(rule: &str, word: &str) -> bool {
    rule.match_indices(word).any(|(at, _)| {
        let before = rule[..at].chars().next_back();
        before.is_none_or(|c| !c.is_alphanumeric() && c != '-' && c != '_')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_found_in_rules_and_not_in_their_comments() {
        let of_rule = |rule: &str| {
            let rules = Rules {
                nft_texts: vec![rule.to_owned()],
                ..Rules::default()
            };
            of(&[], &rules)
        };
        assert_eq!(
            of_rule("icmp type echo-request limit rate 5/second accept"),
            [RATES]
        );
        assert_eq!(
            of_rule("tcp dport 22 accept comment \"limit rate\""),
            [""; 0]
        );
        assert_eq!(of_rule("meta skuid 1000 accept"), [OWNER]);
        assert_eq!(
            of_rule("ip saddr 10.0.0.1 add @seen { ip saddr } drop"),
            [DYNAMIC]
        );
        assert_eq!(of_rule("ct state established flow add @f accept"), [""; 0]);
        let text = "*filter\n-A INPUT -m set --match-set bad src -j DROP\n\
                    -A INPUT -m comment --comment \"-m time\" -j DROP\nCOMMIT\n";
        let found = of(&[Ruleset::new("x", text)], &Rules::default());
        assert_eq!(found, [IPSET]);
    }
}
