//! The gateway of a world, as a capture describes the host that it was taken on.

use serde_json::{Value, json};

use super::calendar::Calendar;

/// Interfaces and routes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// Name, and addresses with the prefix lengths of their networks.
    pub interfaces: Vec<(String, Vec<String>)>,
    /// Destination, next hop, interface; those of the interfaces' own networks are added.
    pub routes: Vec<(String, Option<String>, String)>,
}

impl Gateway {
    /// Reads lines like `wan0 203.0.113.2/24 2001:db8::2/64` , `0.0.0.0/0 via 203.0.113.1 wan0`
    /// and `0.0.0.0/0 dev ppp0`.
    ///
    /// Panics: if they are others.
    pub fn parse(text: &str) -> Self {
        let mut gateway = Self {
            interfaces: vec![(
                "lo".to_owned(),
                vec!["127.0.0.1/8".into(), "::1/128".into()],
            )],
            routes: Vec::new(),
        };
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words[..] {
                [to, "via", hop, device] => {
                    let route = (to.to_owned(), Some(hop.to_owned()), device.to_owned());
                    gateway.routes.push(route);
                }
                [to, "dev", device] => {
                    let route = (to.to_owned(), None, device.to_owned());
                    gateway.routes.push(route);
                }
                [name, ref addresses @ ..] => {
                    let addresses = addresses.iter().map(|it| (*it).to_owned());
                    gateway
                        .interfaces
                        .push((name.to_owned(), addresses.collect()));
                }
                [] => {}
            }
        }
        gateway
    }

    /// The first line of a capture of one day. `besides` are more routes: addresses, and the interface that each
    /// lies behind.
    pub fn head(&self, calendar: &Calendar, day: u32, besides: &[(String, String)]) -> Value {
        let interfaces: Vec<Value> = { self.interfaces.iter() }
            .map(|(name, addresses)| json!({"name": name, "addresses": addresses}))
            .collect();
        let mut routes: Vec<Value> = Vec::new();
        for (to, hop, device) in &self.routes {
            let mut route = json!({"destination": to, "interface": device});
            if let Some(hop) = hop {
                route["gateway"] = hop.as_str().into();
            }
            routes.push(route);
        }
        for (name, addresses) in self.interfaces.iter().filter(|(name, _)| name != "lo") {
            for address in addresses {
                let network = network(address);
                // Of a point-to-point link there is nothing but the address.
                if network.ends_with("/32") {
                    continue;
                }
                routes.push(json!({"destination": network, "interface": name}));
            }
        }
        for (to, device) in besides {
            routes.push(json!({"destination": to, "interface": device}));
        }
        json!({
            "type": "capture", "schema": 1, "host": "gw1", "boot_id": "4f0d3c9e-0000-4000-8000-000000000001",
            "kernel": "6.18.0", "start": calendar.time(day, 0.0), "end": calendar.time(day, 86_399.0),
            "program": "conntracker 1.0.0", "source": "batch", "options": ["--track", "--existing", "--all-protocols"], "marks_picked_up": true,
            "verdict": "complete", "loss": {"missed": 0, "recovered": 0, "refused": 0, "malformed": 0},
            "interfaces": interfaces, "routes": routes,
        })
    }
}

/// The network of an address with a prefix length.
fn network(address: &str) -> String {
    use std::net::IpAddr;
    let (address, length) = address.split_once('/').expect("a prefix length");
    let length: u32 = length.parse().expect("a prefix length");
    let address = match super::ip(address) {
        IpAddr::V4(it) => {
            let mask = u32::MAX.checked_shl(32 - length).unwrap_or(0);
            IpAddr::V4((it.to_bits() & mask).into())
        }
        IpAddr::V6(it) => {
            let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
            IpAddr::V6((it.to_bits() & mask).into())
        }
    };
    format!("{address}/{length}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_have_routes_to_their_networks() {
        let gateway =
            Gateway::parse("lan0 192.168.10.1/24 fd00::1/64\n0.0.0.0/0 via 192.168.10.2 lan0");
        let head = gateway.head(&Calendar::new(0), 0, &[]);
        let routes: Vec<&str> = { head["routes"].as_array().unwrap().iter() }
            .map(|route| route["destination"].as_str().unwrap())
            .collect();
        assert_eq!(routes, ["0.0.0.0/0", "192.168.10.0/24", "fd00::/64"]);
    }
}
