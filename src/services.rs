//! Names of ports, from services(5).

use std::collections::HashMap;
use std::fs;

use crate::record::Protocol;

/// Where the system keeps them.
const PATH: &str = "/etc/services";

/// Names of ports.
#[derive(Clone, Debug, Default)]
pub struct Services(HashMap<(Protocol, u16), String>);

impl Services {
    /// Those of this system. It may have none, and ports then have no names.
    #[must_use]
    pub fn load() -> Self {
        let bytes = fs::read(PATH).unwrap_or_default();
        Self::parse(&String::from_utf8_lossy(&bytes))
    }

    /// Those of a text in the form of services(5). Lines of another form are passed over, as getservent(3)
    /// does; of several names for a port the first counts.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut names = HashMap::new();
        for line in text.lines() {
            let entry = line.split('#').next().unwrap_or_default();
            let mut words = entry.split_ascii_whitespace();
            let (Some(name), Some((port, protocol))) = (
                words.next(),
                words.next().and_then(|word| word.split_once('/')),
            ) else {
                continue;
            };
            let (Ok(port), Some(protocol)) = (port.parse(), Protocol::parse(protocol)) else {
                continue;
            };
            names
                .entry((protocol, port))
                .or_insert_with(|| name.to_owned());
        }
        Self(names)
    }

    /// The name of a port.
    #[must_use]
    pub fn name(&self, protocol: Protocol, port: u16) -> Option<&str> {
        self.0.get(&(protocol, port)).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_name_counts_and_junk_does_not() {
        let services = Services::parse(
            "# Network services\n\
             http\t\t80/tcp\t\twww # WorldWideWeb HTTP\n\
             www 80/tcp\n\
             domain 53/udp\n\
             wrong 99999/tcp\n\
             words\n\
             #off 81/tcp\n",
        );
        assert_eq!(services.name(Protocol::TCP, 80), Some("http"));
        assert_eq!(services.name(Protocol::UDP, 53), Some("domain"));
        assert_eq!(services.name(Protocol::UDP, 80), None);
        assert_eq!(services.0.len(), 2);
    }
}
