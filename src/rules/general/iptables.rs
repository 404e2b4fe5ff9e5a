//! Generalized rules for iptables-restore(8) and ip6tables-restore(8), in chains of our own
//! ([`iptables`](crate::rules::iptables)).

use std::collections::BTreeMap;
use std::io::{self, Write};

use super::General;
use super::accept::{Accept, Match};
use super::evidence::{Kind, Target};
use super::links::{LINK_LOCAL, ZoneId};
use super::words::{self, HIGH, LOCAL};
use crate::model::record::{Protocol, Service};
use crate::rules::baseline::Baseline;
use crate::rules::block::{Block, Family, subtract};
use crate::rules::direction::Chain;
use crate::rules::iptables::{
    COMMENT, Families, comment, icmp_name, lists, port_matches, protocol_module, protocol_word,
    target, write_chains, write_head,
};
use crate::rules::plan::{Plan, Policy};
use crate::rules::ports::PortRange;
use crate::rules::text;

/// What a plan is written with.
struct Writer<'a> {
    plan: &'a Plan,
    general: &'a General,
    families: Families,
}

/// Writes generalized rules as a file for iptables-restore(8) or ip6tables-restore(8).
///
/// Errors: those of `out`.
pub fn write(
    plan: &Plan,
    general: &General,
    families: Families,
    out: &mut impl Write,
) -> io::Result<()> {
    comment(out, &words::top(plan, general))?;
    write_head(plan, families, out)?;
    write_chains(plan, out)?;
    let writer = Writer {
        plan,
        general,
        families,
    };
    for &chain in &plan.chains {
        writer.chain(chain, out)?;
    }
    writeln!(out, "\nCOMMIT")
}

impl Writer<'_> {
    fn chain(&self, chain: Chain, out: &mut impl Write) -> io::Result<()> {
        let name = target(chain);
        writeln!(
            out,
            "\n-A {name} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"
        )?;
        match chain {
            Chain::Input => writeln!(out, "-A {name} -i lo -j ACCEPT")?,
            Chain::Output => writeln!(out, "-A {name} -o lo -j ACCEPT")?,
            Chain::Forward => {}
        }
        if self.families.has(Family::V6) {
            writeln!(out, "# IPv6 breaks without these (RFC 4890).")?;
            let mark = self.mark(Family::V6);
            for &icmp_type in Baseline::of(chain).iter().flat_map(|one| one.types) {
                let word = icmp_name(Protocol::ICMPV6, icmp_type);
                writeln!(
                    out,
                    "{mark}-A {name} -p ipv6-icmp -m icmp6 --icmpv6-type {word} -j ACCEPT"
                )?;
            }
        }
        writeln!(out, "-A {name} -m conntrack --ctstate INVALID -j DROP")?;
        for family in [Family::V4, Family::V6] {
            self.astray(chain, family, out)?;
        }
        let mut section = None;
        let of_chain = self.general.rules.iter();
        for rule in of_chain.filter(|rule| rule.place.key.chain == chain) {
            let key = &rule.place.key;
            if section.replace((key.from, key.to)) != Some((key.from, key.to)) {
                let [from, to] = words::section(self.general, key);
                writeln!(out, "# {from} -> {to}")?;
            }
            self.rule(rule, out)?;
        }
        if self.plan.options.policies.of(chain) == Policy::Drop {
            if self.general.aim.log_denied {
                writeln!(
                    out,
                    "# Read them with ulogd2, or tcpdump -i nflog:5.\n\
                     -A {name} -m limit --limit 10/second --limit-burst 50 -j NFLOG --nflog-group 5 --nflog-prefix \
                     \"conntracker-denied \""
                )?;
            }
            writeln!(out, "-A {name} -j DROP")?;
        }
        Ok(())
    }

    const fn mark(&self, family: Family) -> &'static str {
        match (self.families, family) {
            (Families::Only(_), _) => "",
            (Families::Both, Family::V4) => "-4 ",
            (Families::Both, Family::V6) => "-6 ",
        }
    }

    /// Inner addresses do not come from the Internet side, nor do they lie there.
    fn astray(&self, chain: Chain, family: Family, out: &mut impl Write) -> io::Result<()> {
        let links = &self.general.links;
        let local = links.local(family);
        let internet = links.internet(family).filter(|_| self.families.has(family));
        let (Some(internet), false) = (internet, local.is_empty()) else {
            return Ok(());
        };
        // A part of an inner network may have a way of its own there.
        let there: Vec<Block> = { links.of_zone(internet, family) }
            .map(|net| net.block)
            .collect();
        let local = subtract(&local, &there);
        let ends: &[(&str, &str)] = match chain {
            Chain::Input => &[("-i", "-s")],
            Chain::Forward => &[("-i", "-s"), ("-o", "-d")],
            Chain::Output => &[],
        };
        for (device, side) in ends {
            for name in &links.zones[internet].names {
                for list in lists(&local, family) {
                    writeln!(
                        out,
                        "{}-A {} {device} {} {side} {list} -j DROP",
                        self.mark(family),
                        target(chain),
                        text::plain(name, 15)
                    )?;
                }
            }
        }
        Ok(())
    }

    fn rule(&self, rule: &Accept, out: &mut impl Write) -> io::Result<()> {
        let key = &rule.place.key;
        let mark = match rule.place.both_families {
            true => "",
            false if !self.families.has(key.family) => return Ok(()),
            false => self.mark(key.family),
        };
        let note = words::note(self.plan, self.general, rule, COMMENT);
        let (Some(from), Some(to)) = (self.interfaces("-i", rule), self.interfaces("-o", rule))
        else {
            return writeln!(
                out,
                "# Left out, since to iptables a name that ends in + is many interfaces: {note}"
            );
        };
        if rule.protocols.contains(&Protocol(0)) {
            return writeln!(
                out,
                "# Left out, since iptables can't name protocol 0: {note}"
            );
        }
        if key.conntrack_zone != 0 {
            writeln!(
                out,
                "# Of conntrack zone {}; iptables does not match zones, so any will do:",
                key.conntrack_zone
            )?;
        }
        let chain = target(key.chain);
        for (addresses, services) in self.addresses(rule) {
            for &protocol in &rule.protocols {
                for ports in self.conditions(rule, protocol, &services) {
                    for from in &from {
                        for to in &to {
                            writeln!(
                                out,
                                "{mark}-A {chain} {from}{to}{addresses}{ports}-m comment --comment \"{note}\" -j ACCEPT"
                            )?;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// The interfaces of a side, one for each rule; `None` if one has a name that iptables takes for several.
    fn interfaces(&self, option: &str, rule: &Accept) -> Option<Vec<String>> {
        let key = &rule.place.key;
        let links = &self.general.links;
        let zone: Option<ZoneId> = if option == "-i" { key.from } else { key.to };
        let mut names: Vec<&String> = { zone.iter() }
            .flat_map(|zone| &links.zones[*zone].names)
            .collect();
        if option == "-i" && zone == Some(LINK_LOCAL) {
            if let Some(outside) = words::outside(self.general, key) {
                let inside = links.zones.iter().flat_map(|zone| &zone.names);
                names = inside.filter(|name| !outside.contains(name)).collect();
                names.sort_unstable();
                names.dedup();
            }
        }
        if names.iter().any(|name| name.ends_with('+')) {
            return None;
        }
        if names.is_empty() {
            return Some(vec![String::new()]);
        }
        let shown = names.iter();
        Some(
            shown
                .map(|name| format!("{option} {} ", text::plain(name, 15)))
                .collect(),
        )
    }

    /// The conditions on addresses, one for each rule, with the services that they are for.
    fn addresses(&self, rule: &Accept) -> Vec<(String, Vec<Service>)> {
        let key = &rule.place.key;
        let family = key.family;
        if !rule.pairs.is_empty() {
            let mut by_server: BTreeMap<(u128, Service), Vec<Block>> = BTreeMap::new();
            for &(source, destination, service) in &rule.pairs {
                by_server
                    .entry((destination, service))
                    .or_default()
                    .push(source);
            }
            let pairs = by_server
                .into_iter()
                .flat_map(|((destination, service), sources)| {
                    let destination = family.address(destination);
                    let lists = lists(&sources, family).into_iter();
                    lists.map(move |list| (format!("-s {list} -d {destination} "), vec![service]))
                });
            return pairs.collect();
        }
        let side = |option: &str, side: &Match, zone: Option<ZoneId>| match side {
            Match::Blocks(blocks) => lists(blocks, family)
                .into_iter()
                .map(|list| format!("{option} {list} "))
                .collect(),
            // No interface tells link-local addresses from others.
            Match::All if zone == Some(LINK_LOCAL) => vec![format!("{option} fe80::/10 ")],
            Match::All => vec![String::new()],
        };
        let sources: Vec<String> = side("-s", &rule.sources, key.from);
        let destinations: Vec<String> = match key.target {
            Target::Group(group) => vec![format!("-d {} ", family.address(group))],
            _ => side("-d", &rule.destinations, key.to),
        };
        let translated = match key.target {
            Target::Translated(Some(address), _) => format!(
                "-m conntrack --ctstate DNAT --ctorigdst {} ",
                family.address(address)
            ),
            Target::Translated(None, _) => "-m conntrack --ctstate DNAT ".to_owned(),
            _ => String::new(),
        };
        let mut addresses = Vec::new();
        for source in &sources {
            for to in &destinations {
                addresses.push((format!("{source}{to}{translated}"), rule.services.clone()));
            }
        }
        addresses
    }

    /// The conditions on protocol, ports and types: one for each rule.
    fn conditions(&self, rule: &Accept, protocol: Protocol, services: &[Service]) -> Vec<String> {
        let key = &rule.place.key;
        let word = protocol_word(protocol);
        let module = protocol_module(protocol);
        let colons = |range: &str| range.replace('-', ":");
        match (key.kind, key.target, services.first()) {
            (Kind::High(first, last), ..) => {
                let except = words::except(self.plan, self.general, protocol, (first, last));
                let except: Vec<PortRange> = text::ports(&except);
                let except: String = { port_matches(Protocol::UDPLITE, &except, "d").into_iter() }
                    .map(|(_, text)| text.replace("--dports", "! --dports"))
                    .collect();
                vec![format!(
                    "-p {word} -m {module} --dport {first}:{last} {except}"
                )]
            }
            (Kind::From(port), _, Some(Service::None)) => {
                let to = match key.chain {
                    Chain::Input => LOCAL,
                    _ => HIGH,
                };
                vec![format!(
                    "-p {word} -m {module} --sport {port} --dport {} ",
                    colons(to)
                )]
            }
            (Kind::From(port), _, Some(Service::Port(_))) => { text::ports(services).into_iter() }
                .map(|range| {
                    let to = range.show(':');
                    format!("-p {word} -m {module} --sport {port} --dport {to} ")
                })
                .collect(),
            (_, Target::Translated(..), Some(Service::Port(_))) => {
                { text::ports(services).into_iter() }
                    .map(|range| {
                        format!(
                            "-p {word} -m conntrack --ctorigdstport {} ",
                            range.show(':')
                        )
                    })
                    .collect()
            }
            (_, _, Some(Service::Port(_))) => {
                let ports = text::ports(services);
                { port_matches(protocol, &ports, "d").into_iter() }
                    .map(|(is_single, ports)| match is_single {
                        true => format!("-p {word} -m {module} {ports}"),
                        false => format!("-p {word} {ports}"),
                    })
                    .collect()
            }
            (_, _, Some(Service::Icmp(..))) => {
                let (module, option) = match protocol {
                    Protocol::ICMPV6 => ("icmp6", "icmpv6-type"),
                    _ => ("icmp", "icmp-type"),
                };
                let types = services
                    .iter()
                    .filter_map(|service| match (service, key.coded) {
                        (Service::Icmp(..), Some((icmp_type, code))) => {
                            Some(format!("{icmp_type}/{code}"))
                        }
                        (Service::Icmp(icmp_type, _), None) => {
                            Some(icmp_name(protocol, *icmp_type))
                        }
                        _ => None,
                    });
                types
                    .map(|name| format!("-p {word} -m {module} --{option} {name} "))
                    .collect()
            }
            _ => vec![format!("-p {word} ")],
        }
    }
}
