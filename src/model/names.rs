//! Names of hosts and networks, by address: what people call what a list has as numbers.

pub mod files;
mod pattern;

use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::IpNet;

pub use pattern::{Pattern, are_wanted};

/// Names by address. A host's own name goes before that of a network that it is in, and the smallest network before
/// larger ones; of several names for one the first is taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    hosts: HashMap<IpAddr, String>,
    /// The longest prefix first.
    networks: Vec<(IpNet, String)>,
}

impl Names {
    /// Takes in the text of a file: see [`files::read`].
    ///
    /// Errors: what is wrong with it, in words that name the line or the entry.
    pub fn read(&mut self, text: &str) -> Result<(), String> {
        for entry in files::read(text)? {
            if entry.network.prefix_len() == entry.network.max_prefix_len() {
                self.add(entry.network.addr(), entry.name);
            } else if !self.networks.iter().any(|(net, _)| *net == entry.network) {
                self.networks.push((entry.network, entry.name));
            }
        }
        self.networks
            .sort_by_key(|(net, _)| std::cmp::Reverse(net.prefix_len()));
        Ok(())
    }

    /// Gives a host a name, unless it has one.
    pub fn add(&mut self, address: IpAddr, name: String) {
        self.hosts.entry(address).or_insert(name);
    }

    /// Whether a host has a name of its own.
    pub fn has(&self, address: IpAddr) -> bool {
        self.hosts.contains_key(&address)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.hosts.is_empty() && self.networks.is_empty()
    }

    /// The name of an address.
    pub fn of(&self, address: IpAddr) -> Option<&str> {
        let host = self.hosts.get(&address);
        let network = || {
            let mut networks = self.networks.iter();
            networks
                .find(|(net, _)| net.contains(&address))
                .map(|(_, name)| name)
        };
        host.or_else(network).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_taken() {
        let mut names = Names::default();
        let text = "[networks]\nall = \"10.0.0.0/8\"\nlan = [\"10.1.0.0/24\", \"fd01::/64\"]\n[hosts]\nprinter = \"10.1.0.30\"\n";
        names.read(text).unwrap();
        names.read("10.1.0.30 other\n10.1.0.31 disk\n").unwrap();
        for (address, name) in [
            ("10.1.0.30", Some("printer")),
            ("10.1.0.31", Some("disk")),
            ("10.1.0.32", Some("lan")),
            ("10.2.0.32", Some("all")),
            ("fd01::1", Some("lan")),
            ("192.0.2.1", None),
        ] {
            assert_eq!(names.of(address.parse().unwrap()), name, "{address}");
        }
    }
}
