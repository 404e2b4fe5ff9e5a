//! A ruleset for iptables-restore(8) and ip6tables-restore(8): chains of our own in the table `security`.
//!
//! Rules for one family alone begin with `-4` or `-6`. Each program then takes its own and passes over the
//! others, so that one file serves both (iptables(8), `-4`).
//!
//! The table `filter` is shared: Docker, fail2ban and VPNs have chains in it, which a file that replaces it would remove, and
//! into which a file that is added to it would put one more jump each time. The table `security` comes after it
//! (`NF_IP_PRI_SECURITY`, linux/netfilter_ipv4.h), is there for the same three chains, and next to nobody uses it. So its
//! lists may be emptied and filled as a whole: loading twice gives the same, with `--noflush` and without.

use std::io::{self, Write};
use std::slice;

use super::baseline::Baseline;
use super::block::{Block, Family};
use super::direction::Chain;
use super::group::{Element, Matching};
use super::header;
use super::plan::{Plan, Policy};
use super::ports::PortRange;
use super::rule::Rule;
use super::text;
use crate::model::record::{Protocol, Service};

/// The table that the chains are in.
const TABLE: &str = "security";
/// The longest comment in bytes (`XT_MAX_COMMENT_LEN` with its end, linux/netfilter/xt_comment.h).
pub(super) const COMMENT: usize = 255;
/// So many bytes of a list of addresses go into one argument, which may have 1023
/// (`struct xt_param_buf`, iptables/xshared.h, iptables 1.8.9).
const ARGUMENT: usize = 900;
/// So many ports go into one match, a range counting as two (`XT_MULTI_PORTS`).
const PORTS: usize = 15;

/// Which families the file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Families {
    /// Rules of one family.
    Only(Family),
    /// Both, in one file.
    Both,
}

impl Families {
    /// Whether a family is among them.
    pub(super) const fn has(self, family: Family) -> bool {
        match self {
            Self::Both => true,
            Self::Only(only) => only as u8 == family as u8,
        }
    }
}

/// Writes a plan as a file for iptables-restore(8) or ip6tables-restore(8).
///
/// Errors: those of `out`.
pub fn write(plan: &Plan, families: Families, out: &mut impl Write) -> io::Result<()> {
    if let Some(general) = &plan.general {
        return super::general::iptables::write(plan, general, families, out);
    }
    comment(out, &header::top(plan))?;
    write_head(plan, families, out)?;
    write_chains(plan, out)?;
    for &chain in &plan.chains {
        write_chain(plan, chain, families, out)?;
    }
    writeln!(out, "\nCOMMIT\n")?;
    comment(out, &header::bottom(plan))
}

/// What it is for, how it is loaded, and what has to be done besides.
pub(super) fn write_head(plan: &Plan, families: Families, out: &mut impl Write) -> io::Result<()> {
    let restore = match families {
        Families::Only(Family::V4) => "iptables-restore",
        Families::Only(Family::V6) => "ip6tables-restore",
        Families::Both => {
            "iptables-restore and for ip6tables-restore, each of which takes its own lines"
        }
    };
    writeln!(out, "#\n# For {restore}.")?;
    write_loading(plan, families, out)?;
    let helpers = plan.related.commands(families);
    if !helpers.is_empty() {
        writeln!(
            out,
            "# Connections that helpers expect are related only where the helpers are assigned, as on the host of the\n\
             # capture. That is done in the table raw, which this file leaves alone:"
        )?;
        for command in helpers {
            writeln!(out, "#   {command}")?;
        }
        writeln!(out)?;
    }
    Ok(())
}

/// The table and its chains, empty, and the jumps to them.
pub(super) fn write_chains(plan: &Plan, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "*{TABLE}")?;
    // A chain of which nothing is known is not ours to close.
    for &chain in &plan.chains {
        writeln!(out, ":{} ACCEPT [0:0]", hook(chain))?;
    }
    for &chain in &plan.chains {
        writeln!(out, ":{} - [0:0]", target(chain))?;
    }
    for &chain in &plan.chains {
        let (hook, chain) = (hook(chain), target(chain));
        writeln!(out, "-F {hook}\n-A {hook} -j {chain}")?;
    }
    Ok(())
}

pub(super) fn comment(out: &mut impl Write, lines: &[String]) -> io::Result<()> {
    for line in lines {
        writeln!(out, "{}", format!("# {line}").trim_end())?;
    }
    Ok(())
}

/// How it is loaded, and the way back.
fn write_loading(plan: &Plan, families: Families, out: &mut impl Write) -> io::Result<()> {
    let programs: &[&str] = match families {
        Families::Only(Family::V4) => &["iptables"],
        Families::Only(Family::V6) => &["ip6tables"],
        Families::Both => &["iptables", "ip6tables"],
    };
    let chains: Vec<String> = plan.chains.iter().map(|&chain| target(chain)).collect();
    writeln!(
        out,
        "# Loading it replaces the chains {} and the lists of the\n\
         # table {TABLE} that jump to them, with --noflush and without, and touches no other table: what Docker, fail2ban\n\
         # and VPNs have in the table filter stays, and what that drops stays dropped.\n\
         # With a way back, should you lock yourself out:",
        chains.join(", ")
    )?;
    let back: Vec<String> = { programs.iter() }
        .map(|program| format!("{program} -t {TABLE} -F"))
        .collect();
    writeln!(
        out,
        "#   systemd-run --on-active=60 --unit=rollback sh -c \"{}\"",
        back.join("; ")
    )?;
    for program in programs {
        writeln!(out, "#   {program}-restore --noflush FILE")?;
    }
    writeln!(
        out,
        "# If a new connection gets through: systemctl stop rollback.timer\n"
    )
}

/// The list of the table that sees what a chain is for.
fn hook(chain: Chain) -> String {
    chain.name().to_ascii_uppercase()
}

/// Our own chain.
pub(super) fn target(chain: Chain) -> String {
    format!("conntracker-{}", chain.name())
}

fn write_chain(
    plan: &Plan,
    chain: Chain,
    families: Families,
    out: &mut impl Write,
) -> io::Result<()> {
    let name = target(chain);
    let mark = |family| match (families, family) {
        (Families::Only(_), _) => "",
        (Families::Both, Family::V4) => "-4 ",
        (Families::Both, Family::V6) => "-6 ",
    };
    writeln!(
        out,
        "\n# {}: answers, and what belongs to accepted connections.",
        chain.name()
    )?;
    for words in plan.related.words(chain) {
        writeln!(out, "# Observed: {words}.")?;
    }
    writeln!(
        out,
        "-A {name} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"
    )?;
    match chain {
        Chain::Input => writeln!(out, "-A {name} -i lo -j ACCEPT")?,
        Chain::Output => writeln!(out, "-A {name} -o lo -j ACCEPT")?,
        Chain::Forward => {}
    }
    if families.has(Family::V6) {
        writeln!(out, "# Without these IPv6 breaks (RFC 4890), seen or not.")?;
        for standing in Baseline::of(chain) {
            writeln!(out, "# {}.", standing.why)?;
            for &icmp_type in standing.types {
                let name_of = icmp_name(Protocol::ICMPV6, icmp_type);
                let mark = mark(Family::V6);
                writeln!(
                    out,
                    "{mark}-A {name} -p ipv6-icmp -m icmp6 --icmpv6-type {name_of} -j ACCEPT"
                )?;
            }
        }
    }
    writeln!(out, "-A {name} -m conntrack --ctstate INVALID -j DROP")?;
    for rule in plan
        .rules
        .iter()
        .filter(|rule| rule.chain == chain && families.has(rule.family))
    {
        write_rule(plan, rule, mark(rule.family), out)?;
    }
    if plan.options.policies.of(chain) == Policy::Drop {
        writeln!(out, "-A {name} -j DROP")?;
    }
    Ok(())
}

fn write_rule(plan: &Plan, rule: &Rule, mark: &str, out: &mut impl Write) -> io::Result<()> {
    let note = text::comment(rule, &plan.options, COMMENT);
    if rule.protocols[0] == Protocol(0) {
        // To iptables 0 is every protocol.
        return writeln!(
            out,
            "# Left out, since iptables can't name protocol 0: {note}"
        );
    }
    if let Some(zone) = rule.zone {
        writeln!(
            out,
            "# Of conntrack zone {zone}; iptables does not match zones, so any will do:"
        )?;
    }
    match &rule.matching {
        Matching::Product {
            sources,
            destinations,
        } => {
            let note = format!("-m comment --comment \"{note}\" ");
            let addresses = products(sources, destinations, rule.family);
            let ports = (rule.services.as_slice(), rule.sports.as_slice());
            for &protocol in &rule.protocols {
                write_lines(rule, mark, protocol, (&addresses, ports), &note, out)?;
            }
        }
        Matching::Listed(elements) => {
            writeln!(out, "# {note}")?;
            for &protocol in &rule.protocols {
                write_list(rule, mark, protocol, elements, out)?;
            }
        }
    }
    Ok(())
}

/// The elements of a list, those together that differ in their sources alone. What an element does not say, the rule does.
fn write_list(
    rule: &Rule,
    mark: &str,
    protocol: Protocol,
    elements: &[Element],
    out: &mut impl Write,
) -> io::Result<()> {
    let key = |element: &Element| (element.service, element.destination, element.sports);
    for run in elements.chunk_by(|one, other| key(one) == key(other)) {
        let Element {
            service,
            destination,
            sports,
            ..
        } = &run[0];
        let sources: Vec<Block> = run.iter().map(|element| element.source).collect();
        let addresses = products(&sources, &[Block::single(*destination)], rule.family);
        let services = service.as_ref().map_or(&rule.services[..], slice::from_ref);
        let sports = sports.as_ref().map_or(&rule.sports[..], slice::from_ref);
        write_lines(
            rule,
            mark,
            protocol,
            (&addresses, (services, sports)),
            "",
            out,
        )?;
    }
    Ok(())
}

/// A line for each combination of ports and addresses.
fn write_lines(
    rule: &Rule,
    mark: &str,
    protocol: Protocol,
    (addresses, (services, sports)): (&[String], (&[Service], &[PortRange])),
    note: &str,
    out: &mut impl Write,
) -> io::Result<()> {
    let chain = target(rule.chain);
    let translated = match rule.translated {
        true => "-m conntrack --ctstate DNAT ",
        false => "",
    };
    for ports in conditions(protocol, rule, services, sports) {
        for addresses in addresses {
            writeln!(
                out,
                "{mark}-A {chain} {addresses}{ports}{translated}{note}-j ACCEPT"
            )?;
        }
    }
    Ok(())
}

/// `-s` and `-d` with lists, which iptables multiplies.
fn products(sources: &[Block], destinations: &[Block], family: Family) -> Vec<String> {
    let (sources, destinations) = (lists(sources, family), lists(destinations, family));
    let pairs = sources.iter().flat_map(|source| {
        let to = destinations.iter();
        to.map(move |destination| format!("-s {source} -d {destination} "))
    });
    pairs.collect()
}

pub(super) fn lists(blocks: &[Block], family: Family) -> Vec<String> {
    let mut lists: Vec<String> = Vec::new();
    for block in blocks {
        let shown = block.show(family).to_string();
        match lists.last_mut() {
            Some(list) if list.len() + shown.len() < ARGUMENT => {
                list.push(',');
                list.push_str(&shown);
            }
            _ => lists.push(shown),
        }
    }
    lists
}

/// The conditions on protocol, ports and types: one rule for each.
fn conditions(
    protocol: Protocol,
    rule: &Rule,
    services: &[Service],
    sports: &[PortRange],
) -> Vec<String> {
    let word = &protocol_word(protocol);
    match services.first() {
        Some(Service::Port(_)) => {
            let dports = text::ports(services);
            let sports = port_matches(protocol, sports, "s");
            let dports = port_matches(protocol, &dports, "d");
            let both = sports.iter().flat_map(|(single_s, sports)| {
                dports.iter().map(move |(single_d, dports)| {
                    match (protocol, single_s, single_d) {
                        // The protocol's own match takes one port or range of each.
                        (Protocol::UDPLITE, ..) => format!("-p {word} {sports}{dports}"),
                        (_, false, false) => format!("-p {word} {sports}{dports}"),
                        (_, true, true) | (_, true, false) => {
                            let own = protocol_module(protocol);
                            format!("-p {word} -m {own} {sports}{dports}")
                        }
                        (_, false, true) => {
                            let own = protocol_module(protocol);
                            format!("-p {word} {sports}-m {own} {dports}")
                        }
                    }
                })
            });
            both.collect()
        }
        Some(Service::Icmp(..)) => {
            let types = services.iter().filter_map(|service| match service {
                Service::Icmp(icmp_type, code) => Some((*icmp_type, *code)),
                _ => None,
            });
            let (module, option) = match protocol {
                Protocol::ICMPV6 => ("icmp6", "icmpv6-type"),
                _ => ("icmp", "icmp-type"),
            };
            let lines = types.map(|(icmp_type, code)| {
                let name = match rule.coded {
                    Some(_) => format!("{icmp_type}/{code}"),
                    None => icmp_name(protocol, icmp_type),
                };
                format!("-p {word} -m {module} --{option} {name} ")
            });
            lines.collect()
        }
        _ => vec![format!("-p {word} ")],
    }
}

/// Matches for the ports of one side, each with whether the protocol's own match says it.
pub(super) fn port_matches(
    protocol: Protocol,
    ranges: &[PortRange],
    side: &str,
) -> Vec<(bool, String)> {
    if ranges.is_empty() {
        return vec![(false, String::new())];
    }
    if let ([one], true) = (ranges, protocol != Protocol::UDPLITE) {
        return vec![(true, format!("--{side}port {} ", one.show(':')))];
    }
    { port_lists(ranges).into_iter() }
        .map(|list| (false, format!("-m multiport --{side}ports {list} ")))
        .collect()
}

/// Ports in lists that a match of many ports takes.
pub(super) fn port_lists(ranges: &[PortRange]) -> Vec<String> {
    let mut lists: Vec<(usize, Vec<String>)> = Vec::new();
    for range in ranges {
        let weight = if range.first == range.last { 1 } else { 2 };
        match lists.last_mut() {
            Some((used, list)) if *used + weight <= PORTS => {
                *used += weight;
                list.push(range.show(':'));
            }
            _ => lists.push((weight, vec![range.show(':')])),
        }
    }
    let lists = lists.into_iter();
    lists.map(|(_, list)| list.join(",")).collect()
}

/// Names that iptables has of its own; it looks others up in /etc/protocols, which a host need not have.
pub(super) fn protocol_word(protocol: Protocol) -> String {
    match protocol {
        Protocol::TCP => "tcp".to_owned(),
        Protocol::UDP => "udp".to_owned(),
        Protocol::UDPLITE => "udplite".to_owned(),
        Protocol::ICMP => "icmp".to_owned(),
        Protocol::ICMPV6 => "ipv6-icmp".to_owned(),
        Protocol(number) => number.to_string(),
    }
}

pub(super) const fn protocol_module(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::TCP => "tcp",
        Protocol::SCTP => "sctp",
        Protocol::DCCP => "dccp",
        _ => "udp",
    }
}

/// Types by the names that iptables has for them (`extensions/libxt_icmp.h`), and others by number.
pub(super) fn icmp_name(protocol: Protocol, icmp_type: u8) -> String {
    let name = match (protocol, icmp_type) {
        (Protocol::ICMP, 0) | (Protocol::ICMPV6, 129) => "echo-reply",
        (Protocol::ICMP, 8) | (Protocol::ICMPV6, 128) => "echo-request",
        (Protocol::ICMP, 13) => "timestamp-request",
        (Protocol::ICMP, 14) => "timestamp-reply",
        (Protocol::ICMP, 17) => "address-mask-request",
        (Protocol::ICMP, 18) => "address-mask-reply",
        (Protocol::ICMPV6, 1) => "destination-unreachable",
        (Protocol::ICMPV6, 2) => "packet-too-big",
        (Protocol::ICMPV6, 3) => "time-exceeded",
        (Protocol::ICMPV6, 4) => "parameter-problem",
        (Protocol::ICMPV6, 133) => "router-solicitation",
        (Protocol::ICMPV6, 134) => "router-advertisement",
        (Protocol::ICMPV6, 135) => "neighbour-solicitation",
        (Protocol::ICMPV6, 136) => "neighbour-advertisement",
        _ => return icmp_type.to_string(),
    };
    name.to_owned()
}
