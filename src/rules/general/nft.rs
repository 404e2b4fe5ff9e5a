//! Generalized rules for nftables: sections by where packets come from and go to, a rule for each service, sets with the
//! names of what they hold.

use std::io::{self, Write};

use super::General;
use super::accept::{Accept, Match};
use super::evidence::{Key, Kind, Target};
use super::links::ZoneId;
use super::words::{HIGH, LOCAL, except, note, outside, section, title, top};
use crate::model::record::{Protocol, Service};
use crate::rules::block::{Block, Family};
use crate::rules::direction::Chain;
use crate::rules::nft::{COMMENT, comment, icmp_name, ports, protocol_word, write_helpers};
use crate::rules::nft_set::{Elements, Sets, kind};
use crate::rules::plan::{Plan, Policy};
use crate::rules::text::{self, word};

/// What the plan has to be written with.
struct Writer<'a> {
    plan: &'a Plan,
    general: &'a General,
    sets: Sets<'a>,
}

/// Writes generalized rules as a file for `nft -f`.
///
/// Errors: those of `out`.
pub fn write(plan: &Plan, general: &General, table: &str, out: &mut impl Write) -> io::Result<()> {
    let mut writer = Writer {
        plan,
        general,
        sets: Sets::new(&plan.options.names),
    };
    let come = ("iifname", "saddr", "inner addresses do not come from there");
    let go = ("oifname", "daddr", "inner addresses do not lie there");
    let astray = [come, go].map(|(device, field, why)| writer.astray(device, field, why));
    let rules: Vec<String> = { general.rules.iter() }
        .map(|rule| writer.line(rule))
        .collect();
    writeln!(out, "#!/usr/sbin/nft -f")?;
    comment(out, "", &top(plan, general))?;
    comment(out, "", &loading(table))?;
    writeln!(out)?;
    writer.sets.define(out)?;
    writeln!(
        out,
        "table inet {table}\ndelete table inet {table}\n\ntable inet {table} {{"
    )?;
    write_helpers(plan, out)?;
    writer.sets.write(out)?;
    for (index, &chain) in plan.chains.iter().enumerate() {
        if index > 0 {
            writeln!(out)?;
        }
        writer.chain(chain, &rules, &astray, out)?;
    }
    writeln!(out, "}}")
}

/// How it is loaded, and the way back.
fn loading(table: &str) -> [String; 6] {
    [
        String::new(),
        format!("Loading it replaces the table inet {table} as a whole, and nothing else:"),
        "what other tables drop stays dropped. With a way back, should you lock yourself out:"
            .to_owned(),
        format!("  systemd-run --on-active=60 --unit=rollback nft delete table inet {table}"),
        "  nft -f FILE".to_owned(),
        "If a new connection gets through: systemctl stop rollback.timer".to_owned(),
    ]
}

impl Writer<'_> {
    fn chain(
        &self,
        chain: Chain,
        rules: &[String],
        [come, go]: &[Vec<String>; 2],
        out: &mut impl Write,
    ) -> io::Result<()> {
        let name = chain.name();
        let policy = self.plan.options.policies.of(chain);
        writeln!(
            out,
            "\tchain {name} {{\n\t\ttype filter hook {name} priority filter; policy {policy};\n"
        )?;
        writeln!(out, "\t\tct state established,related accept")?;
        match chain {
            Chain::Input => writeln!(out, "\t\tiif \"lo\" accept")?,
            Chain::Output => writeln!(out, "\t\toif \"lo\" accept")?,
            Chain::Forward => {}
        }
        let standing = crate::rules::baseline::Baseline::of(chain).iter();
        let types = standing.flat_map(|standing| standing.types);
        let types: Vec<String> = types.map(|&one| icmp_name(Protocol::ICMPV6, one)).collect();
        writeln!(
            out,
            "\t\ticmpv6 type {{ {} }} accept comment \"IPv6 breaks without these (RFC 4890)\"",
            types.join(", ")
        )?;
        writeln!(out, "\t\tct state invalid drop")?;
        let come = come.iter().filter(|_| chain != Chain::Output);
        let go = go.iter().filter(|_| chain == Chain::Forward);
        for line in come.chain(go) {
            writeln!(out, "\t\t{line}")?;
        }
        let mut section = None;
        let of_chain = { self.general.rules.iter().zip(rules) }
            .filter(|(rule, _)| rule.place.key.chain == chain);
        for (rule, line) in of_chain {
            let key = &rule.place.key;
            if section.replace((key.from, key.to)) != Some((key.from, key.to)) {
                let [from, to] = self.section(key);
                writeln!(out, "\n\t\t# {from} -> {to}")?;
            }
            writeln!(out, "\t\t{line}")?;
        }
        if section.is_none() {
            writeln!(out, "\n\t\t# Nothing was observed here.")?;
        }
        if self.general.aim.log_denied && policy == Policy::Drop {
            writeln!(
                out,
                "\n\t\t# Read them with ulogd2, or tcpdump -i nflog:5.\n\t\tlimit rate 10/second burst 50 packets log prefix \
                 \"conntracker-denied \" group 5"
            )?;
        }
        writeln!(out, "\t}}")
    }

    fn section(&self, key: &Key) -> [String; 2] {
        section(self.general, key)
    }

    /// Inner addresses do not come from the Internet side, so that a rule for everybody there is for nobody who says he is
    /// somebody here. Nor do they lie there: what goes there because an inner route is gone is for nobody.
    fn astray(&mut self, device: &str, field: &str, why: &str) -> Vec<String> {
        let links = &self.general.links;
        let mut lines = Vec::new();
        for (family, ip, suffix) in [(Family::V4, "ip", ""), (Family::V6, "ip6", "6")] {
            let local = links.local(family);
            let Some(internet) = links.internet(family).filter(|_| !local.is_empty()) else {
                continue;
            };
            // A part of an inner network may have a way of its own there.
            let within = links.of_zone(internet, family);
            let within: Vec<Block> = within
                .map(|net| net.block)
                .filter(|block| { local.iter() }.any(|local| local.contains(block.first())))
                .collect();
            let interfaces = self.interfaces(device, Some(internet));
            let local = self.sets.addresses(&local, family);
            let local = self.sets.refer(
                local,
                &format!("local{suffix}"),
                "networks that are not on the Internet side",
            );
            let except = if within.is_empty() {
                String::new()
            } else {
                let elements = self.sets.addresses(&within, family);
                let name = format!("local_there{suffix}");
                let words = "parts of them that are";
                format!(
                    " {ip} {field} != {}",
                    self.sets.refer(elements, &name, words)
                )
            };
            lines.push(format!(
                "{}{ip} {field} {local}{except} drop comment \"{why}\"",
                interfaces.map_or_else(String::new, |one| format!("{one} "))
            ));
        }
        lines
    }

    fn not_outside(&self, key: &Key) -> Option<String> {
        outside(self.general, key)?;
        let internet = self.general.links.internet(Family::V6);
        let interfaces = self.interfaces("iifname", internet)?;
        Some(interfaces.replacen("iifname ", "iifname != ", 1))
    }

    fn interfaces(&self, field: &str, zone: Option<ZoneId>) -> Option<String> {
        let names = &self.general.links.zones[zone?].names;
        let quoted: Vec<String> = names
            .iter()
            .map(|name| format!("\"{}\"", text::plain(name, 15)))
            .collect();
        match quoted.as_slice() {
            [] => None,
            [one] => Some(format!("{field} {one}")),
            several => Some(format!("{field} {{ {} }}", several.join(", "))),
        }
    }

    fn line(&mut self, rule: &Accept) -> String {
        let key = &rule.place.key;
        let mut parts: Vec<String> = Vec::new();
        parts.extend(self.interfaces("iifname", key.from));
        parts.extend(self.not_outside(key));
        parts.extend(self.interfaces("oifname", key.to));
        if key.conntrack_zone != 0 {
            parts.push(format!("ct original zone {}", key.conntrack_zone));
        }
        if rule.pairs.is_empty() {
            self.addresses(rule, &mut parts);
            self.services(rule, &mut parts);
        } else {
            self.pairs(rule, &mut parts);
        }
        if self.general.aim.counter {
            parts.push("counter".to_owned());
        }
        format!(
            "{} accept comment \"{}\"",
            parts.join(" "),
            note(self.plan, self.general, rule, COMMENT)
        )
    }

    /// The conditions on addresses; where there are none, the family is one.
    fn addresses(&mut self, rule: &Accept, parts: &mut Vec<String>) {
        let key = &rule.place.key;
        let (ip, family) = (ip(key.family), key.family);
        let before = parts.len();
        for (field, role, zone, side) in [
            ("saddr", "clients", key.from, &rule.sources),
            ("daddr", "servers", key.to, &rule.destinations),
        ] {
            let Match::Blocks(blocks) = side else {
                continue;
            };
            let title = self.title(rule);
            let place = self.general.links.name(zone);
            let name = format!(
                "{}_{}_{role}{}",
                word(&place),
                self.word(rule),
                suffix(family)
            );
            let words = format!("{role} of {title} behind {place}");
            let elements = self.sets.addresses(blocks, family);
            parts.push(format!(
                "{ip} {field} {}",
                self.sets.refer(elements, &name, &words)
            ));
        }
        match key.target {
            Target::Group(group) => parts.push(format!("{ip} daddr {}", family.address(group))),
            Target::Translated(Some(address), _) => {
                let address = family.address(address);
                parts.push(format!("ct status dnat ct original {ip} daddr {address}"));
            }
            Target::Translated(None, _) => parts.push("ct status dnat".to_owned()),
            Target::Own | Target::Addresses => {}
        }
        let is_icmp = matches!(key.service, Service::Icmp(..));
        for (field, zone) in [("saddr", key.from), ("daddr", key.to)] {
            // No interface tells link-local addresses from others.
            let is_everywhere = |zone: &ZoneId| self.general.links.zones[*zone].names.is_empty();
            let said = parts[before..].iter().any(|part| part.contains(field));
            if zone.as_ref().is_some_and(is_everywhere) && !said {
                parts.push(format!("{ip} {field} fe80::/10"));
            }
        }
        let tells_family = parts[before..].iter().any(|part| part.contains("addr"));
        if !tells_family && !rule.place.both_families && !is_icmp {
            let family = match family {
                Family::V4 => "ipv4",
                Family::V6 => "ipv6",
            };
            parts.insert(before, format!("meta nfproto {family}"));
        }
    }

    fn services(&mut self, rule: &Accept, parts: &mut Vec<String>) {
        let protocol = rule.protocols[0];
        let (words, header) = transport(rule);
        if let Kind::From(port) = rule.place.key.kind {
            parts.push(format!("{header} sport {port}"));
            if rule.services[0] == Service::None {
                // What comes back to the gateway comes to a port that its kernel has chosen.
                let to = match rule.place.key.chain {
                    Chain::Input => LOCAL,
                    _ => HIGH,
                };
                parts.push(format!("{header} dport {to}"));
                return;
            }
        }
        match (rule.place.key.target, rule.services[0]) {
            (_, Service::Port(_)) if matches!(rule.place.key.kind, Kind::High(..)) => {
                let Kind::High(first, last) = rule.place.key.kind else {
                    return;
                };
                parts.push(format!("{header} dport {first}-{last}"));
                let except = except(self.plan, self.general, protocol, (first, last));
                if !except.is_empty() {
                    let ranges = text::ports(&except);
                    let elements = ports(ranges.iter().map(|range| range.show('-')).collect());
                    let name = format!("sensitive_{words}");
                    let words = format!("high ports of {words} that are sensitive");
                    let except = self.sets.refer(elements, &name, &words);
                    parts.push(format!("{header} dport != {except}"));
                }
            }
            (target, Service::Port(_)) => {
                let ranges = text::ports(&rule.services);
                let elements = ports(ranges.iter().map(|range| range.show('-')).collect());
                let (name, title) = (format!("{}_ports", self.word(rule)), self.title(rule));
                let words_of = format!("ports of {title}");
                let refer = self.sets.refer(elements, &name, &words_of);
                if matches!(target, Target::Translated(..)) {
                    parts.push(format!(
                        "meta l4proto {words} ct original proto-dst {refer}"
                    ));
                } else {
                    if header == "th" {
                        parts.push(format!("meta l4proto {words}"));
                    }
                    parts.push(format!("{header} dport {refer}"));
                }
            }
            (_, Service::Icmp(icmp_type, code)) if rule.place.key.coded.is_some() => {
                let name = icmp_name(protocol, icmp_type);
                parts.push(format!("{header} type {name} {header} code {code}"));
            }
            (_, Service::Icmp(..)) => {
                let types = rule.services.iter().filter_map(|service| match service {
                    Service::Icmp(icmp_type, _) => Some(icmp_name(protocol, *icmp_type)),
                    _ => None,
                });
                let types: Vec<String> = types.collect();
                parts.push(match types.as_slice() {
                    [one] => format!("{header} type {one}"),
                    several => format!("{header} type {{ {} }}", several.join(", ")),
                });
            }
            (_, Service::None) => parts.push(format!("meta l4proto {words}")),
        }
    }

    /// A list of pairs: sources, destinations, ports.
    fn pairs(&mut self, rule: &Accept, parts: &mut Vec<String>) {
        let key = &rule.place.key;
        let family = key.family;
        let (words, header) = transport(rule);
        if header == "th" {
            parts.push(format!("meta l4proto {words}"));
        }
        let range = match key.kind {
            Kind::High(first, last) => Some(format!("{first}-{last}")),
            _ => None,
        };
        let has_ports = matches!(key.service, Service::Port(_));
        let elements = rule.pairs.iter().map(|(source, destination, service)| {
            let port = match (&range, service) {
                (Some(range), _) => range.clone(),
                (None, Service::Port(port)) => port.to_string(),
                (None, _) => "0".to_owned(),
            };
            let pair = format!("{} . {}", source.show(family), family.address(*destination));
            if has_ports {
                format!("{pair} . {port}")
            } else {
                pair
            }
        });
        let elements = Elements {
            kind: if has_ports {
                format!("{0} . {0} . inet_service", kind(family))
            } else {
                format!("{0} . {0}", kind(family))
            },
            interval: range.is_some() || rule.pairs.iter().any(|(source, ..)| !source.is_single()),
            elements: elements.collect(),
        };
        let [from, to] = self.section(key);
        let name = format!(
            "{}_{}_{header}_single{}",
            word(&from),
            word(&to),
            suffix(family)
        );
        let name = self.sets.refer_by_name(
            elements,
            &name.replace("the_", ""),
            &format!("what does not belong to the rules above, {from} to {to}"),
        );
        let ip = ip(family);
        if has_ports {
            parts.push(format!("{ip} saddr . {ip} daddr . {header} dport {name}"));
        } else {
            parts.push(format!("{ip} saddr . {ip} daddr {name}"));
            let one = Accept {
                services: vec![key.service],
                ..rule.clone()
            };
            self.services(&one, parts);
        }
    }

    fn title(&self, rule: &Accept) -> String {
        title(self.plan, rule)
    }

    fn word(&self, rule: &Accept) -> String {
        let names = &self.plan.options.services;
        match rule.services.first() {
            None => rule.protocols[0].name().unwrap_or("other").to_owned(),
            Some(&service) => word(&text::service(rule.protocols[0], service, names)),
        }
    }
}

/// The protocols of a rule, and the word that their ports are said with: with several, wherever a transport header has them.
fn transport(rule: &Accept) -> (String, &'static str) {
    match rule.protocols.as_slice() {
        [one] => (protocol_word(*one), one.name().unwrap_or("th")),
        several => {
            let words: Vec<String> = several.iter().map(|one| protocol_word(*one)).collect();
            (format!("{{ {} }}", words.join(", ")), "th")
        }
    }
}

const fn ip(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    }
}

const fn suffix(family: Family) -> &'static str {
    match family {
        Family::V4 => "",
        Family::V6 => "6",
    }
}
