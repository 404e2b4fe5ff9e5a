//! Words for what rules stand for. Nothing that comes from a capture or a system file gets into a ruleset but
//! through here.

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use super::block::{Block, Family, cover};
use super::direction::Chain;
use super::group::Matching;
use super::left_out::LeftOut;
use super::plan::Options;
use super::ports::{PortRange, joined};
use super::rule::Rule;
use super::seen::{Asked, Tally};
use super::widening::Unobserved;
use crate::model::icmp;
use crate::model::record::{Protocol, Service};
use crate::model::services::Services;
use crate::model::timestamp::Timestamp;
use crate::model::units::{agree, counted, show_count};

/// Text that neither ends a comment, nor a quoted string, nor a line: printable ASCII without quotes and
/// backslashes, and no more of it than `most` bytes.
pub fn plain(text: &str, most: usize) -> String {
    let allowed = |c: char| matches!(c, ' '..='~') && !matches!(c, '"' | '\'' | '\\' | '`' | '$');
    let plain = text.chars().map(|c| if allowed(c) { c } else { '?' });
    plain.take(most).collect()
}

/// Text that can be part of a name in any firewall's language.
pub fn word(text: &str) -> String {
    let word = text.chars().take(24);
    word.map(|c| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_lowercase()
        } else {
            '_'
        }
    })
    .collect()
}

/// The ports among services.
pub fn ports(services: &[Service]) -> Vec<PortRange> {
    let ports = services.iter().filter_map(|service| match service {
        Service::Port(port) => Some(PortRange::single(*port)),
        _ => None,
    });
    joined(ports.collect())
}

/// What one service is called.
pub fn service(protocol: Protocol, service: Service, names: &Services) -> String {
    match service {
        Service::None => match protocol.name() {
            Some(name) => name.to_owned(),
            None => format!("protocol {protocol}"),
        },
        Service::Port(port) => match names.name(protocol, port) {
            Some(name) => plain(name, 24),
            None => format!("{protocol}/{port}"),
        },
        Service::Icmp(icmp_type, _) => match icmp::name(protocol, icmp_type) {
            Some(name) => name.to_owned(),
            None => format!("{protocol} type {icmp_type}"),
        },
    }
}

/// What a rule is for, in one to three words if possible.
pub fn title(rule: &Rule, names: &Services) -> String {
    if rule.services.is_empty() {
        return format!("{} of many services", rule.protocols[0]);
    }
    titles(rule.protocols[0], &rule.services, names)
}

/// What services are called together.
pub fn titles(protocol: Protocol, services: &[Service], names: &Services) -> String {
    let [first, .., last] = services else {
        return service(protocol, services[0], names);
    };
    if services.len() <= 3 {
        let names = services.iter().map(|&one| service(protocol, one, names));
        return names.collect::<Vec<_>>().join(", ");
    }
    match (first, last) {
        (Service::Port(first), Service::Port(last))
            if usize::from(last - first) + 1 == services.len() =>
        {
            format!("{protocol} ports {first} to {last}")
        }
        _ => format!(
            "{}, {} and {} more",
            service(protocol, *first, names),
            service(protocol, services[1], names),
            services.len() - 2
        ),
    }
}

/// What a rule stands for, in at most `most` bytes.
pub fn comment(rule: &Rule, options: &Options, most: usize) -> String {
    let mut text = title(rule, &options.services);
    if let Matching::Product {
        sources,
        destinations,
    } = &rule.matching
    {
        let between = options
            .names
            .between(Some(sources), Some(destinations), rule.family);
        if let Some(between) = between {
            let _ = write!(text, " {between}");
        }
    }
    text.push_str(": ");
    if let Asked::Translated(address, port) = rule.tally.asked {
        let _ = write!(text, "asked for as {}, ", asked(address, port));
    }
    if rule.chain != Chain::Output {
        let _ = write!(text, "{}, ", counted(rule.sources as u64, "client"));
    }
    if rule.chain == Chain::Output || rule.destinations > 1 {
        let _ = write!(text, "{}, ", counted(rule.destinations as u64, "server"));
    }
    text.push_str(&traffic(&rule.tally));
    if !rule.extras.is_empty() {
        text.push_str(", widened");
    }
    text.truncate(most);
    text
}

fn asked(address: IpAddr, port: Option<u16>) -> String {
    match port {
        Some(port) => SocketAddr::new(address, port).to_string(),
        None => address.to_string(),
    }
}

/// Connections, and when the last was.
pub fn traffic(tally: &Tally) -> String {
    let mut text = if tally.connections > 0 {
        counted(tally.connections, "connection")
    } else {
        // Lists of other programs don't count them.
        counted(tally.flows, "flow")
    };
    if let Some(time) = tally.last_seen {
        let _ = write!(text, ", last {}", minute(time));
    }
    text
}

/// A time to the minute, in UTC.
pub fn minute(time: Timestamp) -> String {
    let text = time.to_string();
    text.get(..16).unwrap_or(&text).replace('T', " ")
}

/// Blocks as text, with the number of those beyond `most`.
pub fn blocks(blocks: &[Block], family: Family, most: usize) -> String {
    let shown = blocks.iter().map(|block| block.show(family).to_string());
    some(shown, blocks.len(), most)
}

/// Addresses that are admitted and were not seen.
pub fn unobserved(unobserved: &Unobserved, family: Family) -> String {
    let mut text = blocks(&unobserved.blocks, family, usize::MAX - 1);
    if !unobserved.except.is_empty() {
        let _ = write!(
            text,
            " except {}",
            blocks(&cover(&unobserved.except, 0), family, usize::MAX - 1)
        );
    }
    text
}

fn some(shown: impl Iterator<Item = String>, count: usize, most: usize) -> String {
    // One more is no longer than saying so.
    let most = if count == most + 1 { count } else { most };
    let mut text = shown.take(most).collect::<Vec<_>>().join(", ");
    if count > most {
        let _ = write!(text, " and {} more", show_count((count - most) as u64));
    }
    text
}

/// Services as numbers, with the number of those beyond `most`.
pub fn numbers(protocol: Protocol, services: &[Service], names: &Services, most: usize) -> String {
    if matches!(services, [Service::Port(_), ..]) {
        let ports = ports(services);
        let shown = ports.iter().map(|range| range.show('-'));
        let noun = agree(services.len() as u64, "port", "ports");
        return format!("{protocol} {noun} {}", some(shown, ports.len(), most));
    }
    let shown = services.iter().map(|&one| match one {
        Service::None => service(protocol, one, names),
        _ => format!("{protocol} {}", service(protocol, one, names)),
    });
    some(shown, services.len(), most)
}

/// The addresses of a rule.
pub fn addresses(rule: &Rule, most: usize) -> String {
    match &rule.matching {
        Matching::Product {
            sources,
            destinations,
        } => format!(
            "{} to {}",
            blocks(sources, rule.family, most),
            blocks(destinations, rule.family, most)
        ),
        Matching::Listed(elements) => {
            format!("a list of {}", counted(elements.len() as u64, "entry"))
        }
    }
}

/// One line on flows that are left out.
pub fn left_out(left: &LeftOut, names: &Services, most: usize) -> String {
    format!(
        "{}: {}, {} to {}: {}",
        left.class.chain.name(),
        numbers(left.class.protocol, &left.services, names, most),
        blocks(&left.sources, left.class.family, most),
        blocks(&left.destinations, left.class.family, most),
        traffic(&left.tally),
    )
}
