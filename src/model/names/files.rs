//! Files in which names stand that somebody keeps, or a server of addresses does.
//!
//! | file | as |
//! |---|---|
//! | one of your own, in TOML | `[networks]` and `[hosts]`, each with `name = "address"` or a list of them |
//! | /etc/hosts | hosts(5): an address, its name, other names |
//! | leases of dnsmasq(8) | when it ends, the hardware's address, the address, the name or `*`, the client |
//! | leases of ISC dhcpd, dhcpd.leases(5) | `lease 10.0.0.7 { … client-hostname "phone"; }` |
//! | leases of Kea (its `memfile`, "The CSV Lease File" of its manual) | a heading, then a line a lease, of which later ones replace earlier ones |

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use toml::de::{DeTable, DeValue};

/// The tables that a file in TOML has.
const TABLES: [&str; 2] = ["networks", "hosts"];

/// A name and an address or network that it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// As it stands in the file.
    pub name: String,
    /// Without host bits.
    pub network: IpNet,
}

/// What a file says, in its order; it is known by its first line which kind it is.
///
/// Errors: what is wrong with it, in words that name the line or the entry.
pub fn read(text: &str) -> Result<Vec<Entry>, String> {
    let mut lines = text
        .lines()
        .map(|line| line.split('#').next().unwrap_or("").trim());
    let Some(first) = lines.find(|line| !line.is_empty()) else {
        return Ok(Vec::new());
    };
    let words: Vec<&str> = first.split_whitespace().collect();
    if first.starts_with("address,") {
        kea(text)
    } else if is_of_dhcpd(text) {
        Ok(dhcpd(text))
    } else if first.starts_with('[') || first.contains('=') {
        toml(text)
    } else if words[0] == "duid" || lease(&words).is_some() {
        lines_of(text, |words| match words {
            ["duid", ..] => Some(None),
            words => lease(words).map(Some),
        })
    } else if words[0].parse::<IpAddr>().is_ok() {
        lines_of(text, |words| host(words).map(Some))
    } else {
        Err("it is neither TOML with [networks] and [hosts], nor has it lines as /etc/hosts or the leases of dnsmasq, ISC \
             dhcpd or Kea"
            .into())
    }
}

fn toml(text: &str) -> Result<Vec<Entry>, String> {
    let line = |offset: usize| {
        let before = text.as_bytes().iter().take(offset);
        before.filter(|byte| **byte == b'\n').count() + 1
    };
    let table = DeTable::parse(text).map_err(|error| {
        let at = line(error.span().map_or(0, |span| span.start));
        format!("line {at}: {}", error.message().replace('\n', ", "))
    })?;
    let mut found = Vec::new();
    for (section, entries) in table.get_ref() {
        let (at, section_name) = (section.span().start, section.get_ref());
        match entries.get_ref() {
            DeValue::Table(entries) if TABLES.contains(&&**section_name) => {
                found.extend(entries.iter());
            }
            _ => {
                return Err(format!(
                    "line {}: {section_name:?}: names stand in [networks] or [hosts]",
                    line(at)
                ));
            }
        }
    }
    found.sort_by_key(|(name, _)| name.span().start);
    let mut all = Vec::new();
    for (name, value) in found {
        let (at, name) = (line(name.span().start), name.get_ref());
        let wrong = || {
            format!(
                "line {at}: {name:?} is no address or network, nor a list of them: write for example \"10.1.0.0/24\""
            )
        };
        let values = match value.get_ref() {
            DeValue::Array(values) => values.iter().collect(),
            _ => vec![value],
        };
        for value in values {
            let network = match value.get_ref() {
                DeValue::String(text) => network(text),
                _ => None,
            };
            let network = network.ok_or_else(wrong)?.trunc();
            all.push(Entry {
                name: name.to_string(),
                network,
            });
        }
    }
    Ok(all)
}

/// Reads lines of words, of which `entry` makes an address and a name; what has no name is passed over.
fn lines_of(
    text: &str,
    entry: impl for<'a> Fn(&[&'a str]) -> Option<Option<(IpAddr, &'a str)>>,
) -> Result<Vec<Entry>, String> {
    let mut all = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default();
        let words: Vec<&str> = line.split_whitespace().collect();
        if words.is_empty() {
            continue;
        }
        let found = entry(&words)
            .ok_or_else(|| format!("line {}: it is not like the lines before it", index + 1))?;
        if let Some((address, name)) = found.filter(|(_, name)| *name != "*") {
            all.extend(of_host(address, name));
        }
    }
    Ok(all)
}

/// A host's entry, unless it is an address that every host has.
fn of_host(address: IpAddr, name: &str) -> Option<Entry> {
    let own = !address.is_loopback() && !address.is_multicast() && !address.is_unspecified();
    own.then(|| Entry {
        name: name.to_owned(),
        network: address.into(),
    })
}

/// An address or a network, host bits or not.
fn network(text: &str) -> Option<IpNet> {
    let address = text.parse::<IpAddr>().map(IpNet::from);
    address.ok().or_else(|| text.parse().ok())
}

/// A line of hosts(5).
fn host<'a>(words: &[&'a str]) -> Option<(IpAddr, &'a str)> {
    match words {
        [address, name, ..] => Some((without_scope(address).parse().ok()?, name)),
        _ => None,
    }
}

/// Link-local addresses may have the interface with them: `fe80::1%lo0`.
fn without_scope(address: &str) -> &str {
    address.split('%').next().unwrap_or(address)
}

/// A line of dnsmasq's leases.
fn lease<'a>(words: &[&'a str]) -> Option<(IpAddr, &'a str)> {
    match words {
        [ends, _, address, name, ..] if ends.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some((address.parse().ok()?, name))
        }
        _ => None,
    }
}

fn is_of_dhcpd(text: &str) -> bool {
    text.lines().any(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        matches!(words.as_slice(), ["lease", address, "{"] if address.parse::<IpAddr>().is_ok())
    })
}

/// The leases of ISC dhcpd: the file is a log, so that the last one of an address counts. One that ended
/// (`binding state free` and the like) leaves the address without a name.
fn dhcpd(text: &str) -> Vec<Entry> {
    let mut names: BTreeMap<IpAddr, Option<String>> = BTreeMap::new();
    let mut open: Option<IpAddr> = None;
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match (words.as_slice(), open) {
            (["lease", address, "{"], _) => {
                open = address.parse().ok();
                if let Some(address) = open {
                    names.insert(address, None);
                }
            }
            (["}"], _) => open = None,
            (["binding", "state", state], Some(address)) if *state != "active;" => {
                names.remove(&address);
                open = None;
            }
            (["client-hostname", ..], Some(address)) => {
                let name = line.split('"').nth(1).filter(|name| !name.is_empty());
                names.insert(address, name.map(str::to_owned));
            }
            _ => {}
        }
    }
    let named = names.into_iter();
    named
        .filter_map(|(address, name)| of_host(address, &name?))
        .collect()
}

/// The leases of Kea, whose later lines replace earlier ones of the same address. State 0 is an assigned lease, and one
/// whose lifetime is 0 was taken back.
fn kea(text: &str) -> Result<Vec<Entry>, String> {
    let mut lines = text.lines();
    let heading: Vec<&str> = lines.next().unwrap_or_default().split(',').collect();
    let column = |name: &str| {
        let place = heading.iter().position(|column| *column == name);
        place.ok_or_else(|| format!("line 1: Kea's leases have a column {name}, and this has none"))
    };
    let (host, state, lifetime) = (
        column("hostname")?,
        column("state")?,
        column("valid_lifetime")?,
    );
    let mut names: BTreeMap<IpAddr, String> = BTreeMap::new();
    for (index, line) in lines
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
    {
        let cells: Vec<&str> = line.split(',').collect();
        let address = cells[0].parse::<IpAddr>();
        let (Ok(address), Some(name), Some(state), Some(lifetime)) = (
            address,
            cells.get(host),
            cells.get(state),
            cells.get(lifetime),
        ) else {
            return Err(format!("line {}: it is no lease of Kea", index + 2));
        };
        if *state == "0" && *lifetime != "0" && !name.is_empty() {
            names.insert(address, name.trim_end_matches('.').to_owned());
        } else {
            names.remove(&address);
        }
    }
    let named = names.into_iter();
    Ok(named
        .filter_map(|(address, name)| of_host(address, &name))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Vec<String> {
        let entries = read(text).unwrap();
        let shown = entries.iter();
        shown
            .map(|entry| format!("{} {}", entry.name, entry.network))
            .collect()
    }

    #[test]
    fn leases_of_dhcpd_are_a_log() {
        let text = "# The format of this file is documented in the dhcpd.leases(5) manual page.\nauthoring-byte-order little-endian;\n\n\
            lease 10.0.0.7 {\n  starts 4 2026/11/26 10:00:00;\n  binding state active;\n  client-hostname \"old\";\n}\n\
            lease 10.0.0.8 {\n  binding state active;\n  next binding state free;\n  client-hostname \"phone\";\n}\n\
            lease 10.0.0.7 {\n  binding state active;\n  hardware ethernet 02:00:00:00:00:01;\n  client-hostname \"new name\";\n}\n\
            lease 10.0.0.8 {\n  binding state free;\n  client-hostname \"phone\";\n}\n\
            lease 10.0.0.9 {\n  binding state active;\n}\n";
        assert_eq!(shown(text), ["new name 10.0.0.7/32"]);
    }

    #[test]
    fn leases_of_kea_replace_earlier_ones() {
        let text = "address,hwaddr,client_id,valid_lifetime,expire,subnet_id,fqdn_fwd,fqdn_rev,hostname,state,user_context,pool_id\n\
            10.0.0.7,02:00:00:00:00:01,,3600,1767225600,1,0,0,old,0,,0\n\
            10.0.0.7,02:00:00:00:00:01,,3600,1767229200,1,0,0,nas.example.,0,,0\n\
            10.0.0.8,02:00:00:00:00:02,,3600,1767225600,1,0,0,phone,0,,0\n\
            10.0.0.8,02:00:00:00:00:02,,0,1767225600,1,0,0,phone,0,,0\n\
            10.0.0.9,02:00:00:00:00:03,,3600,1767225600,1,0,0,gone,2,,0\n";
        assert_eq!(shown(text), ["nas.example 10.0.0.7/32"]);
        assert!(read("address,hwaddr\n10.0.0.7,x\n").is_err());
    }

    #[test]
    fn what_is_wrong_is_said_by_its_line() {
        for (text, why) in [
            ("[hosts]\na = 5\n", "line 2: \"a\" is no address"),
            (
                "[host]\na = \"10.0.0.1\"\n",
                "line 1: \"host\": names stand in",
            ),
            ("10.0.0.1 a\nx\n", "line 2: it is not like"),
            ("hello\n", "it is neither TOML"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }
}
