//! A ruleset for nftables: one `inet` table of our own, in nft(8)'s language as of nftables 1.0.6.
//!
//! The file is loaded as one transaction. It deletes the table and makes it anew, so it can be loaded again
//! and again and touches nothing else; the first line makes the table in case it is not there, since there is
//! no `delete` that does not mind.

use std::io::{self, Write};

use super::baseline::Baseline;
use super::block::Family;
use super::direction::Chain;
use super::group::{Element, Matching};
use super::header;
use super::nft_set::{Elements, Sets, kind};
use super::plan::Plan;
use super::related::Assignment;
use super::rule::Rule;
use super::text;
use crate::model::icmp;
use crate::model::record::{Protocol, Service};

/// The name of the table, unless another is asked for.
pub const TABLE: &str = "observed";

/// The longest comment of a rule in bytes (`NFTNL_UDATA_COMMENT_MAXLEN`, libnftnl/udata.h).
pub(super) const COMMENT: usize = 127;

/// Writes a plan as a file for `nft -f`.
///
/// Errors: those of `out`.
pub fn write(plan: &Plan, table: &str, out: &mut impl Write) -> io::Result<()> {
    if let Some(general) = &plan.general {
        return super::general::nft::write(plan, general, table, out);
    }
    let mut sets = Sets::new(&plan.options.names);
    let rules: Vec<String> = plan
        .rules
        .iter()
        .map(|rule| line(plan, rule, &mut sets))
        .collect();
    writeln!(out, "#!/usr/sbin/nft -f")?;
    comment(out, "", &header::top(plan))?;
    writeln!(
        out,
        "#\n# Loading it replaces the table inet {table} as a whole, and nothing else:"
    )?;
    writeln!(out, "# what other tables drop stays dropped.\n")?;
    sets.define(out)?;
    writeln!(
        out,
        "table inet {table}\ndelete table inet {table}\n\ntable inet {table} {{"
    )?;
    write_helpers(plan, out)?;
    sets.write(out)?;
    for (index, &chain) in plan.chains.iter().enumerate() {
        if index > 0 {
            writeln!(out)?;
        }
        write_chain(plan, chain, &rules, out)?;
    }
    writeln!(out, "}}\n")?;
    comment(out, "", &header::bottom(plan))
}

/// The rules of a plan alone, each with its chain before it, and the sets that they need. Not a file that can be loaded.
///
/// Errors: those of `out`.
pub fn write_rules(plan: &Plan, out: &mut impl Write) -> io::Result<()> {
    let mut sets = Sets::new(&plan.options.names);
    let rules = { plan.rules.iter() }.map(|rule| (rule.chain.name(), line(plan, rule, &mut sets)));
    let rules: Vec<(&str, String)> = rules.collect();
    for (chain, rule) in rules {
        writeln!(out, "{chain}: {rule}")?;
    }
    sets.write(out)
}

pub(super) fn comment(out: &mut impl Write, indent: &str, lines: &[String]) -> io::Result<()> {
    for line in lines {
        writeln!(out, "{}", format!("{indent}# {line}").trim_end())?;
    }
    Ok(())
}

/// The helpers that the host of the capture had, so that what they expect is related. A rule has to name them: since
/// Linux 4.7 none is assigned by itself (`nf_conntrack_helper`, net/netfilter/nf_conntrack_helper.c).
pub(super) fn write_helpers(plan: &Plan, out: &mut impl Write) -> io::Result<()> {
    let assignments = &plan.related.assignments;
    let mut objects: Vec<(String, &Assignment)> =
        assignments.iter().map(|one| (one.object(), one)).collect();
    objects.dedup_by(|one, other| one.0 == other.0);
    for (object, one) in &objects {
        writeln!(
            out,
            "\tct helper {object} {{\n\t\ttype \"{}\" protocol {}\n\t}}\n",
            one.helper, one.protocol
        )?;
    }
    for (from_here, hook) in [(false, "prerouting"), (true, "output")] {
        let of_hook = assignments.iter().filter(|one| one.from_here == from_here);
        let mut lines: Vec<String> = of_hook
            .map(|one| {
                let (protocol, port) = (one.protocol, one.port);
                format!(
                    "\t\t{protocol} dport {port} ct helper set \"{}\" comment \"as on the host of the capture\"",
                    one.object()
                )
            })
            .collect();
        // One rule assigns it for both address families.
        lines.dedup();
        if lines.is_empty() {
            continue;
        }
        // Before the filter, so that it is there when the connection is accepted.
        writeln!(
            out,
            "\tchain helpers_{hook} {{\n\t\ttype filter hook {hook} priority -5; policy accept;\n\n{}\n\t}}\n",
            lines.join("\n")
        )?;
    }
    Ok(())
}

fn write_chain(
    plan: &Plan,
    chain: Chain,
    rules: &[String],
    out: &mut impl Write,
) -> io::Result<()> {
    let name = chain.name();
    let policy = plan.options.policies.of(chain);
    writeln!(out, "\tchain {name} {{")?;
    writeln!(
        out,
        "\t\ttype filter hook {name} priority filter; policy {policy};\n"
    )?;
    for words in plan.related.words(chain) {
        writeln!(out, "\t\t# Observed: {words}.")?;
    }
    writeln!(out, "\t\tct state established,related accept")?;
    let loopback = match chain {
        Chain::Input => Some("iif"),
        Chain::Output => Some("oif"),
        Chain::Forward => None,
    };
    if let Some(interface) = loopback {
        let carried = match plan.loopback.flows {
            0 => String::new(),
            _ => format!(": {}", text::traffic(&plan.loopback)),
        };
        writeln!(
            out,
            "\t\t{interface} \"lo\" accept comment \"the gateway with itself{carried}\""
        )?;
    }
    writeln!(
        out,
        "\n\t\t# Without these IPv6 breaks (RFC 4890), seen or not."
    )?;
    for standing in Baseline::of(chain) {
        let names = standing
            .types
            .iter()
            .map(|&icmp_type| icmp_name(Protocol::ICMPV6, icmp_type));
        writeln!(
            out,
            "\t\ticmpv6 type {{ {} }} accept comment \"{}\"",
            names.collect::<Vec<_>>().join(", "),
            standing.why
        )?;
    }
    writeln!(out, "\n\t\tct state invalid drop")?;
    let mut last = None;
    for (rule, line) in plan
        .rules
        .iter()
        .zip(rules)
        .filter(|(rule, _)| rule.chain == chain)
    {
        if last.replace(rule.family) != Some(rule.family) {
            let family = match rule.family {
                Family::V4 => "IPv4",
                Family::V6 => "IPv6",
            };
            writeln!(out, "\n\t\t# Observed: {family}.")?;
        }
        writeln!(out, "\t\t{line}")?;
    }
    if last.is_none() {
        writeln!(out, "\n\t\t# Nothing was observed here.")?;
    }
    writeln!(out, "\t}}")
}

/// A rule as one line. Its addresses and ports go into `sets` where a line has no room for them.
fn line(plan: &Plan, rule: &Rule, sets: &mut Sets<'_>) -> String {
    let names = &plan.options.services;
    let ip = match rule.family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    };
    let mut parts = Vec::new();
    if let Some(zone) = rule.zone {
        parts.push(format!("ct original zone {zone}"));
    }
    if rule.translated {
        parts.push("ct status dnat".to_owned());
    }
    let title = text::title(rule, names);
    let name = |role: &str| {
        let (what, family) = (set_word(rule, plan), if ip == "ip6" { "6" } else { "" });
        format!("{}_{what}_{role}{family}", rule.chain.name())
    };
    // With several protocols the ports are matched wherever a transport header has them.
    let (protocol, header) = match rule.protocols.as_slice() {
        [one] => (None, one.name().unwrap_or("th")),
        several => {
            let protocols = several.iter().map(|&one| protocol_word(one));
            let protocols = protocols.collect::<Vec<_>>().join(", ");
            (Some(format!("meta l4proto {{ {protocols} }}")), "th")
        }
    };
    match &rule.matching {
        Matching::Product {
            sources,
            destinations,
        } => {
            let sides = [
                ("saddr", "clients", sources),
                ("daddr", "servers", destinations),
            ];
            for (field, role, blocks) in sides {
                let elements = sets.addresses(blocks, rule.family);
                let reference = sets.refer(elements, &name(role), &format!("{role} of {title}"));
                parts.push(format!("{ip} {field} {reference}"));
            }
            parts.extend(protocol);
        }
        Matching::Listed(elements) => {
            parts.extend(protocol);
            let (fields, elements) = concatenation(elements, rule.family, header);
            let comment = format!("clients and servers of {title}");
            let reference = sets.refer_by_name(elements, &name("flows"), &comment);
            parts.push(format!("{ip} {fields} {reference}"));
        }
    }
    if !rule.sports.is_empty() {
        let ranges: Vec<String> = rule.sports.iter().map(|range| range.show('-')).collect();
        let elements = ports(ranges);
        let comment = format!("client ports of {title}");
        parts.push(format!(
            "{header} sport {}",
            sets.refer(elements, &name("sports"), &comment)
        ));
    }
    parts.extend(service(rule, header, &title, &name("ports"), sets));
    format!(
        "{} accept comment \"{}\"",
        parts.join(" "),
        text::comment(rule, &plan.options, COMMENT)
    )
}

fn service(
    rule: &Rule,
    header: &str,
    title: &str,
    name: &str,
    sets: &mut Sets<'_>,
) -> Option<String> {
    let protocol = rule.protocols[0];
    match rule.services.first()? {
        Service::Port(_) => {
            let ranges = text::ports(&rule.services);
            let elements = ports(ranges.iter().map(|range| range.show('-')).collect());
            Some(format!(
                "{header} dport {}",
                sets.refer(elements, name, &format!("ports of {title}"))
            ))
        }
        Service::Icmp(icmp_type, code) if rule.coded.is_some() => {
            let name = icmp_name(protocol, *icmp_type);
            Some(format!("{header} type {name} {header} code {code}"))
        }
        Service::Icmp(..) => {
            let types = rule.services.iter().filter_map(|service| match service {
                Service::Icmp(icmp_type, _) => Some(icmp_name(protocol, *icmp_type)),
                _ => None,
            });
            let types: Vec<String> = types.collect();
            Some(match types.as_slice() {
                [one] => format!("{header} type {one}"),
                several => format!("{header} type {{ {} }}", several.join(", ")),
            })
        }
        Service::None => Some(format!("meta l4proto {}", protocol_word(protocol))),
    }
}

pub(super) fn ports(ranges: Vec<String>) -> Elements {
    Elements {
        kind: "inet_service".to_owned(),
        interval: ranges.iter().any(|range| range.contains('-')),
        elements: ranges,
    }
}

/// The fields of a list, and its elements.
fn concatenation(elements: &[Element], family: Family, header: &str) -> (String, Elements) {
    let ip = match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    };
    let with_sports = elements.iter().any(|element| element.sports.is_some());
    let with_services = elements.iter().any(|element| element.service.is_some());
    let mut fields = vec!["saddr".to_owned()];
    let mut kinds = vec![kind(family)];
    if with_sports {
        fields.push(format!("{header} sport"));
        kinds.push("inet_service");
    }
    fields.push(format!("{ip} daddr"));
    kinds.push(kind(family));
    if with_services {
        fields.push(format!("{header} dport"));
        kinds.push("inet_service");
    }
    let interval = |element: &Element| {
        !element.source.is_single()
            || element
                .sports
                .is_some_and(|range| range.first != range.last)
    };
    let text = |element: &Element| {
        let mut text = element.source.show(family).to_string();
        if let Some(sports) = element.sports {
            text = format!("{text} . {}", sports.show('-'));
        }
        text = format!("{text} . {}", family.address(element.destination));
        match element.service {
            Some(Service::Port(port)) => format!("{text} . {port}"),
            _ => text,
        }
    };
    let elements = Elements {
        kind: kinds.join(" . "),
        interval: elements.iter().any(interval),
        elements: elements.iter().map(text).collect(),
    };
    (fields.join(" . "), elements)
}

fn set_word(rule: &Rule, plan: &Plan) -> String {
    match rule.services.first() {
        None => rule.protocols[0].name().unwrap_or("other").to_owned(),
        Some(&service) => text::word(&text::service(
            rule.protocols[0],
            service,
            &plan.options.services,
        )),
    }
}

pub(super) fn icmp_name(protocol: Protocol, icmp_type: u8) -> String {
    icmp::name(protocol, icmp_type).map_or_else(|| icmp_type.to_string(), str::to_owned)
}

/// A protocol. Only these names are nft's own; it looks others up in /etc/protocols, which a host need not have.
pub(super) fn protocol_word(protocol: Protocol) -> String {
    match protocol {
        Protocol::TCP => "tcp".to_owned(),
        Protocol::UDP => "udp".to_owned(),
        Protocol(number) => number.to_string(),
    }
}
