//! Names of services, from the local services file (services(5)).

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::{fs, io};

use crate::model::record::Protocol;

/// Where the system keeps them.
pub const FILE: &str = "/etc/services";

/// The names of ports.
#[derive(Clone, Debug, Default)]
pub struct Services(HashMap<(Protocol, u16), Box<str>>);

impl Services {
    /// Reads /etc/services; without that file nothing has a name.
    ///
    /// Errors: a file that is there but can't be read.
    pub fn load() -> io::Result<Self> {
        match fs::read_to_string(Path::new(FILE)) {
            Ok(text) => Ok(Self::parse(&text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    /// Reads lines of `name port/protocol aliases # comment`; others are passed over, and so are names with
    /// other characters than services have (RFC 6335, section 5.1), since they end up in rulesets and on terminals.
    pub fn parse(text: &str) -> Self {
        let mut names = HashMap::new();
        for line in text.lines() {
            let line = line.split('#').next().unwrap_or_default();
            let mut words = line.split_whitespace();
            let (Some(name), Some(port)) = (words.next(), words.next()) else {
                continue;
            };
            let Some((port, protocol)) = port.split_once('/') else {
                continue;
            };
            let (Ok(port), Some(protocol)) = (port.parse(), Protocol::parse(protocol)) else {
                continue;
            };
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_.+".contains(c);
            if name.chars().all(plain) {
                // The first name of a port is its official one.
                names.entry((protocol, port)).or_insert_with(|| name.into());
            }
        }
        Self(names)
    }

    /// The ports of an official name, each once: most services have the same one with every protocol.
    pub fn ports(&self, name: &str) -> Vec<u16> {
        let named = self.0.iter().filter(|(_, known)| &***known == name);
        let ports: BTreeSet<u16> = named.map(|((_, port), _)| *port).collect();
        ports.into_iter().collect()
    }

    /// The ports of an official name, with the protocol of each, in order.
    pub fn named(&self, name: &str) -> Vec<(Protocol, u16)> {
        let named = self.0.iter().filter(|(_, known)| &***known == name);
        let mut ports: Vec<(Protocol, u16)> = named.map(|(port, _)| *port).collect();
        ports.sort_unstable();
        ports
    }

    /// The name of a port.
    pub fn name(&self, protocol: Protocol, port: u16) -> Option<&str> {
        self.0.get(&(protocol, port)).map(|name| &**name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_name_counts_and_odd_lines_do_not() {
        let services = Services::parse(
            "# services\nhttps\t443/tcp\t# secure\nalias 443/tcp\nhttps 443/udp\nbad\nx 99999/tcp\n\
             a\"b 5/tcp\n\n",
        );
        assert_eq!(services.name(Protocol::TCP, 443), Some("https"));
        assert_eq!(services.name(Protocol::UDP, 443), Some("https"));
        assert_eq!(services.name(Protocol::TCP, 5), None);
        assert_eq!(services.ports("https"), [443]);
        assert_eq!(services.ports("alias"), [0; 0]);
        assert_eq!(
            services.named("https"),
            [(Protocol::TCP, 443), (Protocol::UDP, 443)]
        );
        assert_eq!(services.0.len(), 2);
    }
}
