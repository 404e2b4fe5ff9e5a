//! What is given by hand: `--clients`, `--servers`, and the names of `--names`.

use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;

use ipnet::IpNet;

use crate::model::error::Error;
use crate::model::record::Protocol;
use crate::model::services::Services;
use crate::rules::by_hand::{ByHand, End, Given, Wanted};
use crate::rules::names::Names;

/// A value as it was written: `NETWORK`, or `SERVICE=NETWORK`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    services: Vec<Wanted>,
    place: Place,
    text: String,
}

/// The addresses that a value is for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Networks(Vec<IpNet>),
    /// A name of a file.
    Name(String),
}

impl Value {
    /// The name that it has instead of addresses.
    pub fn name(&self) -> Option<&str> {
        match &self.place {
            Place::Name(name) => Some(name),
            Place::Networks(_) => None,
        }
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// Reads a value.
///
/// Errors: what is wrong with it, in words.
pub fn parse(text: &str) -> Result<Value, String> {
    let (services, place) = match text.split_once('=') {
        Some((service, place)) => (wanted(service)?, place),
        None => (Vec::new(), text),
    };
    Ok(Value {
        services,
        place: parse_place(place)?,
        text: text.to_owned(),
    })
}

fn parse_place(text: &str) -> Result<Place, String> {
    if text == "any" {
        let any = ["0.0.0.0/0", "::/0"].map(|net| net.parse().expect("a network"));
        return Ok(Place::Networks(any.to_vec()));
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(Place::Networks(vec![address.into()]));
    }
    if let Ok(net) = text.parse::<IpNet>() {
        if net.trunc() != net {
            return Err(format!(
                "{text} is an address: its network is {}",
                net.trunc()
            ));
        }
        return Ok(Place::Networks(vec![net]));
    }
    if text.is_empty() || text.contains(['/', ':', '=']) {
        return Err("write a network, for example 10.0.0.0/24 or 2001:db8:1::/64, an address, any, or a name of --names; before it, for one service alone, for example 443= or udp/53=".into());
    }
    Ok(Place::Name(text.to_owned()))
}

/// The services that a word stands for: a port, a protocol, or a name of /etc/services, with the protocol before it or not.
fn wanted(text: &str) -> Result<Vec<Wanted>, String> {
    let (protocol, service) = match text.split_once('/') {
        None => (None, text),
        Some((protocol, service)) => {
            let found = Protocol::parse(protocol).filter(|one| one.has_ports());
            let wrong =
                || format!("{protocol:?} is no protocol with ports: write for example udp/53");
            (Some(found.ok_or_else(wrong)?), service)
        }
    };
    if service.bytes().all(|byte| byte.is_ascii_digit()) {
        let port = service.parse::<u16>().ok().filter(|&port| port > 0);
        let port =
            port.ok_or_else(|| format!("{service:?} is no port: they go from 1 to 65535"))?;
        return Ok(vec![Wanted::Port(protocol, port)]);
    }
    let names = Services::load().unwrap_or_default();
    let ports = names.named(service);
    let ports: Vec<Wanted> = { ports.into_iter() }
        .filter(|(of, _)| protocol.is_none_or(|protocol| protocol == *of))
        .map(|(of, port)| Wanted::Port(Some(of), port))
        .collect();
    if !ports.is_empty() {
        return Ok(ports);
    }
    // Those that have ports are many services.
    let whole = Protocol::parse(service).filter(|one| protocol.is_none() && !one.has_ports());
    whole.map(|one| vec![Wanted::Protocol(one)]).ok_or_else(|| {
        format!(
            "{text:?} is no service that /etc/services has: write its port, for example 443 or udp/53"
        )
    })
}

/// Reads the files of names.
///
/// Errors: a file that can't be read.
pub fn names(paths: &[PathBuf]) -> Result<Names, Error> {
    let mut names = Names::default();
    for path in paths {
        let text = fs::read_to_string(path).map_err(|error| Error::file(path, error))?;
        let wrong = |why: String| Error::new(format!("--names {}: {why}", path.display()));
        names.read(&text).map_err(wrong)?;
    }
    Ok(names)
}

/// What the values stand for.
///
/// Errors: a name that no file has.
pub fn by_hand(clients: &[Value], servers: &[Value], names: &Names) -> Result<ByHand, Error> {
    let clients = clients.iter().map(|value| (End::Clients, value));
    let servers = servers.iter().map(|value| (End::Servers, value));
    let given = clients.chain(servers).map(|(end, value)| {
        let networks = match &value.place {
            Place::Networks(networks) => networks.clone(),
            Place::Name(name) => { names.networks(name) }
                .ok_or_else(|| {
                    Error::new(format!(
                        "{} {}: no file of --names has a network or host {name:?}",
                        end.option(),
                        value.text
                    ))
                })?
                .to_vec(),
        };
        Ok(Given {
            end,
            services: value.services.clone(),
            networks,
            text: value.text.clone(),
        })
    });
    Ok(ByHand(given.collect::<Result<_, Error>>()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_people_write_them() {
        let services = |text: &str| parse(text).unwrap().services;
        assert_eq!(services("10.0.0.0/24"), []);
        assert_eq!(services("443=any"), [Wanted::Port(None, 443)]);
        assert_eq!(
            services("udp/53=::/0"),
            [Wanted::Port(Some(Protocol::UDP), 53)]
        );
        assert_eq!(services("gre=10.0.0.1"), [Wanted::Protocol(Protocol::GRE)]);
        assert_eq!(parse("22=office").unwrap().name(), Some("office"));
        assert_eq!(parse("fe80::/10").unwrap().name(), None);
        for (wrong, part) in [
            ("", "write a network"),
            ("22=", "write a network"),
            ("10.0.0.1/24", "its network is 10.0.0.0/24"),
            ("10.0.0.0/33", "write a network"),
            ("0=any", "no port"),
            ("70000=any", "no port"),
            ("icmp/8=any", "no protocol with ports"),
            ("nothing-such=any", "no service"),
            ("=any", "no port"),
        ] {
            let error = parse(wrong).unwrap_err();
            assert!(error.contains(part), "{wrong}: {error}");
        }
    }

    #[test]
    fn names_are_looked_up_in_the_files() {
        let mut names = Names::default();
        names
            .read("[networks]\noffice = [\"10.1.0.0/24\", \"fd01::/64\"]\n")
            .unwrap();
        let value = |text: &str| vec![parse(text).unwrap()];
        let found = by_hand(&value("22=office"), &value("any"), &names).unwrap();
        assert_eq!(found.0[0].networks.len(), 2);
        assert_eq!(
            (found.0[1].end, found.0[1].networks.len()),
            (End::Servers, 2)
        );
        let error = by_hand(&[], &value("lan"), &names).unwrap_err().to_string();
        assert!(
            error.contains("--servers lan") && error.contains("--names"),
            "{error}"
        );
    }
}
