//! Files for firewalld, below /etc/firewalld: a zone for each interface, a policy for each pair of places with rich rules in
//! it (firewalld.richlanguage(5)), services of several ports, and ipsets.
//!
//! Policies of a priority below zero come before the zones (firewalld.policies(5)). So what the zones of the host allow
//! does not matter: the last of our policies decides on all that is left.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt::Write as _;

use super::block::{Block, Family};
use super::direction::Chain;
use super::foreign::{self, Foreign, Unsaid};
use super::header;
use super::iptables::Families;
use super::names::Names;
use super::plan::{Plan, Policy};
use super::ports::PortRange;
use super::term::{Term, What, terms};
use super::text::{self, plain};
use crate::model::record::Protocol;
use crate::model::units::counted;

/// What stands at the head of rulesets of other kinds: comments in XML can't have options in them.
const HEAD: &str = "conntracker.txt";
/// Each file of ours begins so, in its folder.
const PREFIX: &str = "ct-";
/// And says so, in its description.
const MARK: &str = "Written by conntracker";
/// So long may names of zones and policies be (`max_zone_name_len` and `max_policy_name_len`, firewall/functions.py,
/// firewalld 1.3.3),
const NAME: usize = 17;
/// and those of ipsets (`IPSET_MAXNAMELEN`), less a number.
const LONG_NAME: usize = 28;
/// So many rules take firewalld long.
const MANY: usize = 1000;

/// firewalld's own policy for IPv6 has -15000 and comes first.
const PRIORITIES: [i16; 3] = [-14030, -14020, -14010];

const STANDING: &str = "By itself firewalld accepts besides, whatever its policies are: replies, the loopback interface, every \
    connection whose destination was translated (DNAT), by whatever program, and what its policy allow-host-ipv6 has: \
    neighbour discovery, router advertisements and redirects to this host";
const SOURCE_PORTS: &str = "A rule of firewalld has one kind of port. So those here accept clients at any source port, where \
    others were seen at 1024 and above";

const LISTENERS: &str = "It has no names for what multicast listeners of IPv6 say (types 130 to 132 and 143 of ICMPv6), so \
    this host neither says nor hears it. Where switches listen to that, let it pass by hand";

const NO_SOURCE_PORT: &str = "firewalld can't ask for source and destination ports in one rule";
const NO_TYPE: &str = "firewalld has no name for the type of ICMP, or for its code";
const NO_ZONE: &str = "firewalld can't tell conntrack zones apart";
const NO_PROTOCOL: &str = "firewalld knows no ports of the protocol";
const NO_INTERFACE: &str = "firewalld does not take the name of the interface";

/// Where a policy is for: what drops comes first, so that it is known by `false`.
type Place<'a> = (Chain, bool, &'a [String], &'a [String]);

/// The files so far.
#[derive(Debug)]
struct Files<'a> {
    names: &'a Names,
    files: BTreeMap<String, String>,
    /// Names by what they stand for.
    known: HashMap<String, String>,
    taken: HashSet<String>,
}

/// Writes a plan as files.
pub fn write(plan: &Plan, families: Families) -> Foreign {
    let mut unsaid = Unsaid::default();
    let mut files = Files {
        names: &plan.options.names,
        files: BTreeMap::new(),
        known: HashMap::new(),
        taken: HashSet::new(),
    };
    let mut policies: BTreeMap<Place<'_>, String> = BTreeMap::new();
    let (mut count, mut any_source_port) = (0, false);
    let terms = terms(plan);
    for term in &terms {
        // firewalld accepts these anyway.
        if term.is_translated || term.families(families).is_empty() {
            continue;
        }
        match rules(term, families, &mut files) {
            Ok(rules) => {
                count += rules.len();
                any_source_port |=
                    matches!(&term.what, What::Ports(_, sports) if !sports.is_empty());
                let key = (term.chain, term.accepts, &term.from[..], &term.to[..]);
                let policy = policies.entry(key).or_default();
                let _ = write!(
                    policy,
                    "  <!-- {} -->\n{}",
                    comment(&term.note),
                    rules.concat()
                );
            }
            // The head says so.
            Err(_) if term.is_baseline => {}
            Err(why) => unsaid.add(why, term),
        }
    }
    let mut zones: BTreeMap<&str, String> = BTreeMap::new();
    for name in policies
        .keys()
        .flat_map(|(_, _, from, to)| from.iter().chain(*to))
    {
        if !zones.contains_key(name.as_str()) {
            let zone = files.unique(name, NAME);
            files.zone(&zone, name);
            zones.insert(name, zone);
        }
    }
    for ((chain, accepts, from, to), rules) in &policies {
        let [from, to] = sides(*chain, from, to, &zones);
        let name = match accepts {
            true => format!("{}-{}", from[0], to[0]).replace(PREFIX, ""),
            false => format!(
                "not-{}",
                from.iter()
                    .chain(&to)
                    .find(|name| name.starts_with(PREFIX))
                    .map_or("", |name| &name[PREFIX.len()..])
            ),
        };
        let name = files.unique(&name, NAME);
        let priority = PRIORITIES[usize::from(*accepts)];
        files.policy(&name, ("CONTINUE", priority), [&from, &to], rules);
    }
    for &chain in &plan.chains {
        let target = match plan.options.policies.of(chain) {
            Policy::Drop => "DROP",
            Policy::Accept => "ACCEPT",
        };
        let [from, to] = sides(chain, &[], &[], &zones);
        let name = files.unique(&format!("end-{}", chain.name()), NAME);
        files.policy(&name, (target, PRIORITIES[2]), [&from, &to], "");
    }
    let mut top = foreign::top(plan);
    top.extend(unsaid.lines("firewalld"));
    top.extend(head(plan, families, any_source_port, count, &zones));
    if plan.general.is_none() {
        top.push(String::new());
        top.extend(header::bottom(plan));
    }
    let mut all = vec![(HEAD.to_owned(), top.join("\n") + "\n")];
    all.extend(files.files);
    Foreign {
        files: all,
        unsaid,
        head: HEAD,
        owned: Some((PREFIX, MARK)),
    }
}

/// How it is loaded, the way back, and what firewalld does besides.
fn head(
    plan: &Plan,
    families: Families,
    any_source_port: bool,
    count: usize,
    zones: &BTreeMap<&str, String>,
) -> Vec<String> {
    let mut lines = Vec::new();
    let mut say = |text: &str| {
        lines.push(String::new());
        lines.extend(header::wrapped(String::new(), text));
    };
    say(&format!("{STANDING}."));
    if plan.chains.contains(&Chain::Input) {
        say(&format!("{LISTENERS}."));
    }
    if any_source_port {
        say(&format!("{SOURCE_PORTS}."));
    }
    if count > MANY {
        say(&format!(
            "WARNING: these are {}, which firewalld loads one by one. nftables has sets instead (--for nft).",
            counted(count as u64, "rule")
        ));
    }
    if !zones.is_empty() {
        say(
            "Each interface gets a zone of its own. firewalld lets none be in two zones, so take them out of those that they are \
             in, and of NetworkManager's profiles (connection.zone), first:",
        );
    }
    for (name, zone) in zones {
        lines.push(format!("  {name}: {zone}.xml; firewall-cmd --permanent --zone=$(firewall-cmd --get-zone-of-interface={name}) --remove-interface={name}"));
    }
    let mut say = |text: &str| {
        lines.push(String::new());
        lines.extend(header::wrapped(String::new(), text));
    };
    if plan.chains.contains(&Chain::Forward) {
        say(
            "WARNING: from version 2.0 on, firewalld asks no policy about what passes between two interfaces of which it knows \
             no zone: it rejects that. NetworkManager names a zone for each. See what is known with firewall-cmd \
             --get-active-zones, and name one for each of the others:",
        );
        lines.push(
            "  firewall-cmd --permanent --zone=$(firewall-cmd --get-default-zone) --add-interface=NAME".to_owned(),
        );
    }
    let mut say = |text: &str| {
        lines.push(String::new());
        lines.extend(header::wrapped(String::new(), text));
    };
    say(
        "The files belong in /etc/firewalld, with the folders that they are in. They do not replace zones and policies of yours, \
         but come before them and decide on everything. With a way back, should you lock yourself out:",
    );
    lines.extend([
        "  rm -rf /root/firewalld.before; cp -a /etc/firewalld /root/firewalld.before; cp -r FOLDER/. /etc/firewalld/; firewall-cmd --check-config".to_owned(),
        "  systemd-run --on-active=120 --unit=rollback sh -c \"rm -r /etc/firewalld; cp -a /root/firewalld.before /etc/firewalld; firewall-cmd --reload\"".to_owned(),
        "  firewall-cmd --reload".to_owned(),
        "If a new connection gets through: systemctl stop rollback.timer".to_owned(),
    ]);
    let helpers = plan.related.commands(families);
    if !helpers.is_empty() {
        lines.push(String::new());
        let how = "Connections that helpers expect are related only where the helpers are assigned, as on the host of the \
                   capture:";
        lines.extend(header::wrapped(String::new(), how));
        lines.extend(helpers.iter().map(|command| format!("  {command}")));
    }
    lines
}

/// The zones that a policy is for, of either side.
fn sides(
    chain: Chain,
    from: &[String],
    to: &[String],
    zones: &BTreeMap<&str, String>,
) -> [Vec<String>; 2] {
    let side = |names: &[String], is_host: bool| match names {
        _ if is_host => vec!["HOST".to_owned()],
        [] => vec!["ANY".to_owned()],
        names => names
            .iter()
            .map(|name| zones[name.as_str()].clone())
            .collect(),
    };
    [
        side(from, chain == Chain::Output),
        side(to, chain == Chain::Input),
    ]
}

/// The rich rules for a term.
///
/// Errors: why there are none.
fn rules(
    term: &Term,
    families: Families,
    files: &mut Files<'_>,
) -> Result<Vec<String>, &'static str> {
    if term.zone != 0 {
        return Err(NO_ZONE);
    }
    if !term.from.iter().chain(&term.to).all(|name| is_taken(name)) {
        return Err(NO_INTERFACE);
    }
    let elements = elements(term, files)?;
    let of = term.families(families);
    let family = match of[..] {
        [Family::V4] => " family=\"ipv4\"",
        [Family::V6] => " family=\"ipv6\"",
        _ => "",
    };
    let mut sides = String::new();
    for (side, role, blocks) in [
        ("source", "clients", &term.sources),
        ("destination", "servers", &term.destinations),
    ] {
        let Some(blocks) = blocks else { continue };
        let addressed = match blocks[..] {
            [one] => format!("address=\"{}\"", one.show(of[0])),
            _ => {
                let name = format!("{}-{role}", text::word(&term.title));
                format!("ipset=\"{}\"", files.ipset(blocks, of[0], &name))
            }
        };
        let _ = writeln!(sides, "    <{side} {addressed}/>");
    }
    let action = if term.accepts { "accept" } else { "drop" };
    let rules = elements.into_iter();
    Ok(rules
        .map(|element| format!("  <rule{family}>\n{sides}{element}    <{action}/>\n  </rule>\n"))
        .collect())
}

/// The elements of a term, each for a rule: ports, types, a protocol or nothing.
fn elements(term: &Term, files: &mut Files<'_>) -> Result<Vec<String>, &'static str> {
    match &term.what {
        What::All if term.protocols.is_empty() => Ok(vec![String::new()]),
        What::All => {
            let protocols = term.protocols.iter();
            Ok(protocols
                .map(|one| format!("    <protocol value=\"{}\"/>\n", one.0))
                .collect())
        }
        What::Ports(dports, sports) => {
            if !sports.is_empty() && sports[..] != [PortRange::UNPRIVILEGED] {
                return Err(NO_SOURCE_PORT);
            }
            let mut ports = Vec::new();
            for &protocol in &term.protocols {
                let word = match protocol {
                    Protocol::TCP => "tcp",
                    Protocol::UDP => "udp",
                    Protocol::SCTP => "sctp",
                    Protocol::DCCP => "dccp",
                    _ => return Err(NO_PROTOCOL),
                };
                let words = dports.iter();
                ports.extend(words.map(|range| {
                    format!("<port port=\"{}\" protocol=\"{word}\"/>", range.show('-'))
                }));
            }
            Ok(vec![match &ports[..] {
                [one] => format!("    {one}\n"),
                _ => format!("    <service name=\"{}\"/>\n", files.service(&ports, term)),
            }])
        }
        What::Types(types) => {
            let protocol = term.protocols.first().copied().unwrap_or(Protocol::ICMP);
            // It has names for codes of errors, which begin no connection.
            let names = types.iter().map(|&(icmp_type, code)| match code {
                None => icmp_name(protocol, icmp_type),
                Some(_) => None,
            });
            let names: Option<Vec<&str>> = names.collect();
            let names = names.ok_or(NO_TYPE)?.into_iter();
            Ok(names
                .map(|name| format!("    <icmp-type name=\"{name}\"/>\n"))
                .collect())
        }
    }
}

/// firewalld's names for types (`ICMP_TYPES_FRAGMENTS`, firewall/core/nftables.py, firewalld 1.3.3).
fn icmp_name(protocol: Protocol, icmp_type: u8) -> Option<&'static str> {
    Some(match (protocol, icmp_type) {
        (Protocol::ICMP, 0) | (Protocol::ICMPV6, 129) => "echo-reply",
        (Protocol::ICMP, 8) | (Protocol::ICMPV6, 128) => "echo-request",
        (Protocol::ICMP, 3) | (Protocol::ICMPV6, 1) => "destination-unreachable",
        (Protocol::ICMP, 4) => "source-quench",
        (Protocol::ICMP, 5) | (Protocol::ICMPV6, 137) => "redirect",
        (Protocol::ICMP, 9) | (Protocol::ICMPV6, 134) => "router-advertisement",
        (Protocol::ICMP, 10) | (Protocol::ICMPV6, 133) => "router-solicitation",
        (Protocol::ICMP, 11) | (Protocol::ICMPV6, 3) => "time-exceeded",
        (Protocol::ICMP, 12) | (Protocol::ICMPV6, 4) => "parameter-problem",
        (Protocol::ICMP, 13) => "timestamp-request",
        (Protocol::ICMP, 14) => "timestamp-reply",
        (Protocol::ICMPV6, 2) => "packet-too-big",
        (Protocol::ICMPV6, 135) => "neighbour-solicitation",
        (Protocol::ICMPV6, 136) => "neighbour-advertisement",
        _ => return None,
    })
}

/// Names that firewalld takes (`checkInterface`, firewall/functions.py), of those that need no signs of XML.
fn is_taken(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '@');
    !name.is_empty() && name.chars().all(plain)
}

/// Text that ends no comment and opens no element.
fn comment(text: &str) -> String {
    let mut plain = plain(text, 120);
    while plain.contains("--") {
        plain = plain.replace("--", "-");
    }
    let plain = plain.trim_end_matches('-');
    plain.replace('&', "and").replace(['<', '>'], "?")
}

impl Files<'_> {
    /// A name of its own with our prefix, of at most so many bytes.
    fn unique(&mut self, name: &str, most: usize) -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
        let name: String = name.chars().map(plain).collect();
        for number in 1.. {
            let end = if number == 1 {
                String::new()
            } else {
                format!("-{number}")
            };
            let room = most - PREFIX.len() - end.len();
            let unique = format!(
                "{PREFIX}{}{end}",
                name.chars().take(room).collect::<String>()
            );
            if self.taken.insert(unique.clone()) {
                return unique;
            }
        }
        unreachable!("numbers do not end")
    }

    fn add(&mut self, folder: &str, name: &str, text: &str) {
        let text = format!("<?xml version=\"1.0\" encoding=\"utf-8\"?>\n{text}");
        self.files.insert(format!("{folder}/{name}.xml"), text);
    }

    fn zone(&mut self, zone: &str, interface: &str) {
        let text = format!(
            "<zone target=\"DROP\">\n  <short>{zone}</short>\n  <description>{MARK}: the interface {interface}</description>\n  \
             <interface name=\"{interface}\"/>\n</zone>\n"
        );
        self.add("zones", zone, &text);
    }

    fn policy(
        &mut self,
        name: &str,
        (target, priority): (&str, i16),
        sides: [&[String]; 2],
        rules: &str,
    ) {
        let mut text = format!(
            "<policy target=\"{target}\" priority=\"{priority}\">\n  <short>{name}</short>\n  <description>{MARK}</description>\n"
        );
        for (side, zones) in ["ingress", "egress"].into_iter().zip(sides) {
            for zone in zones {
                let _ = writeln!(text, "  <{side}-zone name=\"{zone}\"/>");
            }
        }
        self.add("policies", name, &format!("{text}{rules}</policy>\n"));
    }

    /// The name of a service of several ports.
    fn service(&mut self, ports: &[String], term: &Term) -> String {
        let lines: String = ports.iter().map(|port| format!("  {port}\n")).collect();
        if let Some(known) = self.known.get(&lines) {
            return known.clone();
        }
        let name = self.unique(&text::word(&term.title), LONG_NAME);
        let text = format!(
            "<service>\n  <short>{name}</short>\n  <description>{MARK}: {}</description>\n{lines}</service>\n",
            comment(&term.title)
        );
        self.add("services", &name, &text);
        self.known.insert(lines, name.clone());
        name
    }

    /// The name of a set of addresses: the one that was given, if it is that as a whole.
    fn ipset(&mut self, blocks: &[Block], family: Family, name: &str) -> String {
        let entries = blocks.iter();
        let entries: String = entries
            .map(|block| format!("  <entry>{}</entry>\n", block.show(family)))
            .collect();
        if let Some(known) = self.known.get(&entries) {
            return known.clone();
        }
        let given = self.names.elements(blocks, family, &mut BTreeSet::new());
        let given = match &given[..] {
            [one] => one.strip_prefix('$'),
            _ => None,
        };
        let (suffix, word) = match family {
            Family::V4 => ("", "inet"),
            Family::V6 => ("6", "inet6"),
        };
        let name = match given {
            Some(given) => self.unique(given, LONG_NAME),
            None => self.unique(&format!("{name}{suffix}"), LONG_NAME),
        };
        let text = format!(
            "<ipset type=\"hash:net\">\n  <short>{name}</short>\n  <description>{MARK}</description>\n  <option name=\"family\" \
             value=\"{word}\"/>\n{entries}</ipset>\n"
        );
        self.add("ipsets", &name, &text);
        self.known.insert(entries, name.clone());
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_none_is_given_twice() {
        let names = Names::default();
        let mut files = Files {
            names: &names,
            files: BTreeMap::new(),
            known: HashMap::new(),
            taken: HashSet::new(),
        };
        let long = "enp0s31f6.1234@x";
        let all: HashSet<String> = (0..200).map(|_| files.unique(long, NAME)).collect();
        assert_eq!(all.len(), 200);
        for name in all {
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
            assert!(name.len() <= NAME && name.chars().all(plain), "{name}");
        }
    }

    #[test]
    fn nothing_that_was_seen_gets_out_of_a_comment() {
        for text in [
            "--><rule/>",
            "a--b",
            "a----b",
            "a-",
            "<!--",
            "&lt;",
            "a-->b---",
        ] {
            let text = comment(text);
            assert!(!text.contains("--") && !text.ends_with('-'), "{text}");
            assert!(!text.contains(['<', '>', '&']), "{text}");
        }
    }

    #[test]
    fn what_one_rule_can_not_say_is_refused() {
        let names = Names::default();
        let mut files = Files {
            names: &names,
            files: BTreeMap::new(),
            known: HashMap::new(),
            taken: HashSet::new(),
        };
        let term = Term {
            protocols: vec![Protocol::UDP],
            what: What::Ports(vec![PortRange::single(68)], vec![PortRange::single(67)]),
            ..Term::new(Chain::Input)
        };
        let mut said = |term: &Term| rules(term, Families::Both, &mut files);
        assert_eq!(said(&term), Err(NO_SOURCE_PORT));
        for name in ["a\"/><x", "a b", ""] {
            let from = vec![name.to_owned()];
            let term = Term {
                from,
                what: What::All,
                ..term.clone()
            };
            assert_eq!(said(&term), Err(NO_INTERFACE));
        }
        let zoned = Term { zone: 1, ..term };
        assert_eq!(said(&zoned), Err(NO_ZONE));
    }
}
