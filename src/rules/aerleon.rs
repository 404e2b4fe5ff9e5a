//! A policy for Aerleon in YAML, with its definitions of networks and services: a filter for each chain and family, with
//! Aerleon's generator for nftables as the target, to which those of routers and clouds can be added.

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

/// The files, where Aerleon looks for them if it is started in the folder.
const POLICY: &str = "policies/pol/conntracker.yaml";
const DEFINITIONS: &str = "def/conntracker.yaml";
/// What the kernel does not track, in nft's words.
const DISCOVERY: &str =
    "'{ nd-router-solicit, nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert }'";
/// So long are names of terms and definitions at most, without a number behind them.
const NAME: usize = 40;
/// And comments.
const COMMENT: usize = 120;

const NO_CODE: &str = "Aerleon's generator for nftables has no codes of ICMP";
const NO_TYPE: &str = "Aerleon has no name for the type of ICMP";
const NO_TRANSLATION: &str = "Aerleon can't tell connections whose destination was translated (DNAT) from those that ask \
    for the inner address directly";
const NO_ZONE: &str = "Aerleon can't tell conntrack zones apart";
const NO_PROTOCOL: &str = "Aerleon does not know the protocol, or none of its ports";
const NO_INTERFACE: &str = "Aerleon does not take the name of the interface";

/// What the definitions have so far.
#[derive(Debug)]
struct Definitions<'a> {
    names: &'a Names,
    used: BTreeSet<(usize, Family)>,
    networks: Vec<(String, Vec<String>)>,
    services: Vec<(String, Vec<String>)>,
    /// Names by what they stand for.
    known: HashMap<Vec<String>, String>,
    taken: HashSet<String>,
}

/// Writes a plan as a policy and its definitions.
pub fn write(plan: &Plan, families: Families) -> Foreign {
    let mut unsaid = Unsaid::default();
    let mut definitions = Definitions::new(&plan.options.names);
    let mut filters: BTreeMap<(Chain, Family), Vec<String>> = BTreeMap::new();
    for &chain in &plan.chains {
        for family in [Family::V4, Family::V6] {
            if families.has(family) {
                filters.insert((chain, family), loopback(chain, &mut definitions));
            }
        }
    }
    for term in terms(plan) {
        let mut why = None;
        for family in term.families(families) {
            let Some(filter) = filters.get_mut(&(term.chain, family)) else {
                continue;
            };
            match yaml(&term, family, &mut definitions) {
                Ok(terms) => filter.extend(terms),
                Err(because) => why = Some(because),
            }
        }
        if let Some(why) = why {
            unsaid.add(why, &term);
        }
    }
    let mut top = foreign::top(plan);
    top.extend(unsaid.lines("Aerleon"));
    let keys: Vec<(Chain, Family)> = filters.keys().copied().collect();
    top.extend(head(plan, families, &keys));
    let mut policy = foreign::comments(&top, "#");
    policy += "\nfilters:\n";
    for ((chain, family), terms) in filters {
        let (target, words) = match family {
            Family::V4 => ("inet", "IPv4"),
            Family::V6 => ("inet6", "IPv6"),
        };
        let policy_word = match plan.options.policies.of(chain) {
            Policy::Drop => "",
            Policy::Accept => " ACCEPT",
        };
        let name = chain.name();
        let _ = write!(
            policy,
            "- header:\n    comment: \"{words}, {name}\"\n    targets:\n      nftables: \"{target} {name}{policy_word}\"\n  \
             terms:\n{}",
            terms.concat()
        );
    }
    if plan.general.is_none() {
        policy += "\n";
        policy += &foreign::comments(&header::bottom(plan), "#");
    }
    Foreign {
        files: vec![
            (POLICY.to_owned(), policy),
            (DEFINITIONS.to_owned(), definitions.text()),
        ],
        unsaid,
        head: POLICY,
        owned: None,
    }
}

/// How it is compiled and loaded, and the way back.
fn head(plan: &Plan, families: Families, filters: &[(Chain, Family)]) -> Vec<String> {
    let mut lines = vec![String::new()];
    let say = |lines: &mut Vec<String>, text: &str| {
        lines.extend(header::wrapped(String::new(), text));
    };
    say(
        &mut lines,
        "For Aerleon (aclgen). Its networks and services are in def/conntracker.yaml. In the folder that has both, with a way \
         back, should you lock yourself out:",
    );
    let tables =
        ["ip", "ip6"].map(|family| format!("nft delete table {family} filtering_policies"));
    lines.extend([
        "  aclgen && nft -c -f conntracker.nft".to_owned(),
        format!(
            "  systemd-run --on-active=60 --unit=rollback sh -c \"{}\"",
            tables.join("; ")
        ),
        "  nft -f conntracker.nft".to_owned(),
        "If a new connection gets through: systemctl stop rollback.timer".to_owned(),
    ]);
    say(
        &mut lines,
        "To load it again delete both tables first, as above: nft adds to what is there.",
    );
    lines.push(String::new());
    say(
        &mut lines,
        "Targets of other generators can stand beside nftables in each header. Those of routers may have no interfaces, or keep \
         no connections and need terms for replies.",
    );
    let discovery = |(at, (chain, family)): (usize, &(Chain, Family))| {
        let is_for = *family == Family::V6 && *chain != Chain::Forward;
        // Aerleon numbers its chains in the order of the headers.
        is_for.then(|| {
            format!(
                "  nft insert rule ip6 filtering_policies root{at} icmpv6 type {DISCOVERY} accept"
            )
        })
    };
    let discovery: Vec<String> = filters.iter().enumerate().filter_map(discovery).collect();
    if !discovery.is_empty() {
        lines.push(String::new());
        say(
            &mut lines,
            "What Aerleon makes for nftables accepts what begins a connection. Neighbour discovery of IPv6 is tracked as none \
             (noct_valid_new, nf_conntrack_proto_icmpv6.c of Linux), so this host needs besides, once the file is loaded:",
        );
        lines.extend(discovery);
    }
    let helpers = plan.related.commands(families);
    if !helpers.is_empty() {
        lines.push(String::new());
        say(
            &mut lines,
            "Connections that helpers expect are related only where the helpers are assigned, as on the host of the capture:",
        );
        lines.extend(helpers.iter().map(|command| format!("  {command}")));
    }
    lines
}

/// What programs of the host say to one another.
fn loopback(chain: Chain, definitions: &mut Definitions<'_>) -> Vec<String> {
    let side = match chain {
        Chain::Input => "source-interface",
        Chain::Output => "destination-interface",
        Chain::Forward => return Vec::new(),
    };
    let name = definitions.unique(&format!("{}_loopback", chain.name()));
    vec![format!(
        "  - name: {name}\n    {side}: \"lo\"\n    action: accept\n"
    )]
}

/// A term of ours as terms of Aerleon's, for one family: one for each pair of interfaces.
///
/// Errors: why there are none.
fn yaml(
    term: &Term,
    family: Family,
    definitions: &mut Definitions<'_>,
) -> Result<Vec<String>, &'static str> {
    if term.is_translated {
        return Err(NO_TRANSLATION);
    }
    if term.zone != 0 {
        return Err(NO_ZONE);
    }
    let mut interfaces = term.from.iter().chain(&term.to);
    if !interfaces.all(|name| is_taken(name)) {
        return Err(NO_INTERFACE);
    }
    let what = what(term, family)?;
    let suffix = match family {
        Family::V4 => "",
        Family::V6 => "_v6",
    };
    let words: Vec<String> = [term.chain.name().to_owned()]
        .into_iter()
        .chain(place(term))
        .chain([text::word(&term.title)])
        .filter(|word| !word.is_empty())
        .collect();
    let name: String = words.join("_").chars().take(NAME).collect();
    let mut conditions = String::new();
    for (side, role, blocks) in [
        ("source-address", "clients", &term.sources),
        ("destination-address", "servers", &term.destinations),
    ] {
        if let Some(blocks) = blocks {
            let called = match term.accepts {
                true => format!("{name}_{role}{suffix}"),
                false => format!("{}{suffix}", text::word(&term.title)),
            };
            let token = definitions.network(blocks, family, &called);
            let _ = writeln!(conditions, "    {side}: {token}");
        }
    }
    if !what.protocols.is_empty() {
        let _ = writeln!(conditions, "    protocol: {}", what.protocols.join(" "));
    }
    for (side, ranges, role) in [
        ("source-port", &what.sports, "from"),
        ("destination-port", &what.dports, "ports"),
    ] {
        if !ranges.is_empty() {
            let title = format!("{}_{role}", text::word(&term.title));
            let token = definitions.service(ranges, &what.protocols, &title);
            let _ = writeln!(conditions, "    {side}: {token}");
        }
    }
    if !what.types.is_empty() {
        let _ = writeln!(conditions, "    icmp-type: {}", what.types.join(" "));
    }
    let action = if term.accepts { "accept" } else { "deny" };
    let any = [String::new()];
    let or_any = |names: &[String]| match names {
        [] => any.to_vec(),
        names => names.to_vec(),
    };
    let mut terms = Vec::new();
    for from in or_any(&term.from) {
        for to in or_any(&term.to) {
            let mut text = format!(
                "  - name: {}\n    comment: \"{}\"\n",
                definitions.unique(&format!("{name}{suffix}")),
                plain(&term.note, COMMENT)
            );
            for (side, name) in [("source-interface", &from), ("destination-interface", &to)] {
                if !name.is_empty() {
                    let _ = writeln!(text, "    {side}: \"{name}\"");
                }
            }
            terms.push(format!("{text}{conditions}    action: {action}\n"));
        }
    }
    Ok(terms)
}

/// The interfaces, as part of a name.
fn place(term: &Term) -> impl Iterator<Item = String> {
    let sides = [term.from.first(), term.to.first()].into_iter().flatten();
    sides.map(|name| text::word(name))
}

/// Words that Aerleon reads as one (`TValue.WordString`, aerleon/lib/recognizers.py), of those that nft takes.
fn is_taken(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '@');
    name.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_') && name.chars().all(plain)
}

/// What a term says of protocols, in Aerleon's words.
#[derive(Debug, Default)]
struct Words {
    protocols: Vec<&'static str>,
    types: Vec<&'static str>,
    dports: Vec<PortRange>,
    sports: Vec<PortRange>,
}

fn what(term: &Term, family: Family) -> Result<Words, &'static str> {
    let protocols = term.protocols.iter().map(|&one| protocol(one));
    let protocols: Option<Vec<&str>> = protocols.collect();
    let protocols = protocols.ok_or(NO_PROTOCOL)?;
    match &term.what {
        What::All => Ok(Words {
            protocols,
            ..Words::default()
        }),
        What::Ports(dports, sports) => {
            let ported = |word: &&str| matches!(*word, "tcp" | "udp" | "sctp");
            if !protocols.iter().all(ported) {
                return Err(NO_PROTOCOL);
            }
            Ok(Words {
                protocols,
                dports: dports.clone(),
                sports: sports.clone(),
                ..Words::default()
            })
        }
        What::Types(types) => {
            let mut words = Vec::new();
            for &(icmp_type, code) in types {
                // Types that have one code only have it in any case.
                if code.is_some() {
                    return Err(NO_CODE);
                }
                words.push(icmp_word(family, icmp_type).ok_or(NO_TYPE)?);
            }
            // Aerleon 1.18 fails at a list of one type (PortsAndProtocols, aerleon/lib/nftables.py).
            if let [one] = words[..] {
                words.push(one);
            }
            Ok(Words {
                protocols,
                types: words,
                ..Words::default()
            })
        }
    }
}

/// Aerleon's words for protocols (`PROTO_MAP`, aerleon/lib/aclgenerator.py, Aerleon 1.18) that nft has too.
const fn protocol(protocol: Protocol) -> Option<&'static str> {
    Some(match protocol {
        Protocol::TCP => "tcp",
        Protocol::UDP => "udp",
        Protocol::ICMP => "icmp",
        Protocol::ICMPV6 => "icmpv6",
        Protocol::SCTP => "sctp",
        Protocol(2) => "igmp",
        Protocol(47) => "gre",
        Protocol(50) => "esp",
        Protocol(51) => "ah",
        Protocol(103) => "pim",
        Protocol(112) => "vrrp",
        _ => return None,
    })
}

/// Aerleon's words for types of ICMP (`ICMP_TYPE`, aerleon/lib/policy.py) that its generator for nftables turns into nft's.
const fn icmp_word(family: Family, icmp_type: u8) -> Option<&'static str> {
    Some(match (family, icmp_type) {
        (Family::V4, 0) | (Family::V6, 129) => "echo-reply",
        (Family::V4, 8) | (Family::V6, 128) => "echo-request",
        (Family::V4, 3) => "unreachable",
        (Family::V4, 4) => "source-quench",
        (Family::V4, 5) => "redirect",
        (Family::V4, 11) | (Family::V6, 3) => "time-exceeded",
        (Family::V4, 12) | (Family::V6, 4) => "parameter-problem",
        (Family::V4, 13) => "timestamp-request",
        (Family::V4, 14) => "timestamp-reply",
        (Family::V4, 15) => "information-request",
        (Family::V4, 16) => "information-reply",
        (Family::V4, 17) => "mask-request",
        (Family::V4, 18) => "mask-reply",
        (Family::V6, 1) => "destination-unreachable",
        (Family::V6, 2) => "packet-too-big",
        (Family::V6, 130) => "multicast-listener-query",
        (Family::V6, 131) => "multicast-listener-report",
        (Family::V6, 132) => "multicast-listener-done",
        (Family::V6, 133) => "router-solicit",
        (Family::V6, 134) => "router-advertisement",
        (Family::V6, 135) => "neighbor-solicit",
        (Family::V6, 136) => "neighbor-advertisement",
        (Family::V6, 143) => "version-2-multicast-listener-report",
        _ => return None,
    })
}

impl<'a> Definitions<'a> {
    fn new(names: &'a Names) -> Self {
        Self {
            names,
            used: BTreeSet::new(),
            networks: Vec::new(),
            services: Vec::new(),
            known: HashMap::new(),
            taken: names.identifiers().map(str::to_owned).collect(),
        }
    }

    /// A name of its own.
    fn unique(&mut self, name: &str) -> String {
        let mut unique = name.to_owned();
        let mut number = 2;
        while !self.taken.insert(unique.clone()) {
            unique = format!("{name}_{number}");
            number += 1;
        }
        unique
    }

    /// The name of a network: the one that was given, if it is that as a whole.
    fn network(&mut self, blocks: &[Block], family: Family, name: &str) -> String {
        let elements = self.names.elements(blocks, family, &mut self.used);
        let values: Vec<String> = { elements.iter() }
            .map(|element| match element.strip_prefix('$') {
                Some(given) => format!("name: {given}"),
                None => format!("address: \"{element}\""),
            })
            .collect();
        if let [one] = values.as_slice() {
            if let Some(given) = one.strip_prefix("name: ") {
                return given.to_owned();
            }
        }
        self.define(values, name, true)
    }

    fn service(&mut self, ranges: &[PortRange], protocols: &[&str], name: &str) -> String {
        let values = ranges.iter().flat_map(|range| {
            let port = range.show('-');
            let of = protocols.iter();
            of.map(move |protocol| format!("protocol: {protocol}\n    port: \"{port}\""))
        });
        self.define(values.collect(), name, false)
    }

    fn define(&mut self, values: Vec<String>, name: &str, is_network: bool) -> String {
        if let Some(known) = self.known.get(&values) {
            return known.clone();
        }
        let unique = self.unique(&name.to_ascii_uppercase());
        self.known.insert(values.clone(), unique.clone());
        let list = match is_network {
            true => &mut self.networks,
            false => &mut self.services,
        };
        list.push((unique.clone(), values));
        unique
    }

    fn text(&self) -> String {
        let mut text = "# Networks and services of policies/pol/conntracker.yaml, which is written with this.\n".to_owned();
        if !self.used.is_empty() || !self.networks.is_empty() {
            text += "networks:\n";
        }
        for (name, family, blocks) in self.names.meanings(&self.used) {
            let _ = writeln!(text, "  {name}:\n    values:");
            for block in blocks {
                let _ = writeln!(text, "    - address: \"{}\"", block.show(family));
            }
        }
        for (name, values) in &self.networks {
            let _ = writeln!(text, "  {name}:\n    values:");
            for value in values {
                let _ = writeln!(text, "    - {value}");
            }
        }
        if !self.services.is_empty() {
            text += "services:\n";
        }
        for (name, values) in &self.services {
            let _ = writeln!(text, "  {name}:");
            for value in values {
                let _ = writeln!(text, "  - {value}");
            }
        }
        text
    }
}
