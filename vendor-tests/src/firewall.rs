//! Firewalls of one chain that the dice write, with a model of them: which rule a packet meets first is worked out here, by
//! comparing numbers, and not read from any program.
//!
//! Packets are forwarded between two sides of a gateway, `side1` with 10.1.0.0/16 and `side2` with 10.2.0.0/16.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use crate::world::Dice;

/// A packet that opens a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Packet {
    /// Where it is from. The second byte tells the side.
    pub source: u32,
    /// Where it goes to, on the other side.
    pub destination: u32,
    /// TCP, else UDP.
    pub tcp: bool,
    /// The port that it goes to.
    pub port: u16,
}

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Lets it pass.
    Accept,
    /// Stops it.
    Drop,
}

/// A rule: all that it asks for has to be so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Side that packets come from, 1 or 2.
    pub from: Option<u8>,
    /// Network of the source, and the length of its prefix.
    pub source: Option<(u32, u8)>,
    /// Network of the destination.
    pub destination: Option<(u32, u8)>,
    /// TCP or UDP.
    pub tcp: Option<bool>,
    /// Ranges of ports, where the protocol is asked for.
    pub ports: Vec<(u16, u16)>,
    /// What it does.
    pub verdict: Verdict,
    /// Its name, as a comment.
    pub name: String,
}

/// The chain: what is established passes, then come the rules, then the policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Firewall {
    /// The rules, in their order.
    pub rules: Vec<Rule>,
    /// What becomes of packets that no rule matches.
    pub policy: Verdict,
}

fn is_in(address: u32, net: Option<(u32, u8)>) -> bool {
    net.is_none_or(|(base, len)| {
        let shift = 32 - u32::from(len);
        address.checked_shr(shift).unwrap_or(0) == base.checked_shr(shift).unwrap_or(0)
    })
}

/// The side of an address.
pub const fn side(address: u32) -> u8 {
    (address >> 16) as u8
}

impl Rule {
    /// Whether it matches a packet.
    pub fn matches(&self, packet: &Packet) -> bool {
        self.from.is_none_or(|from| from == side(packet.source))
            && is_in(packet.source, self.source)
            && is_in(packet.destination, self.destination)
            && self.tcp.is_none_or(|tcp| tcp == packet.tcp)
            && (self.ports.is_empty() || { self.ports.iter() }
                .any(|(first, last)| (*first..=*last).contains(&packet.port)))
    }

    fn nft(&self) -> String {
        let mut text = String::new();
        if let Some(from) = self.from {
            let _ = write!(text, "iifname \"side{from}\" ");
        }
        for (word, net) in [("saddr", self.source), ("daddr", self.destination)] {
            if let Some((base, len)) = net {
                let _ = write!(text, "ip {word} {}/{len} ", Ipv4Addr::from(base));
            }
        }
        if let Some(tcp) = self.tcp {
            let protocol = if tcp { "tcp" } else { "udp" };
            let range = |(first, last): &(u16, u16)| match first == last {
                true => first.to_string(),
                false => format!("{first}-{last}"),
            };
            let ports: Vec<String> = self.ports.iter().map(range).collect();
            let _ = match ports.len() {
                0 => write!(text, "meta l4proto {protocol} "),
                1 => write!(text, "{protocol} dport {} ", ports[0]),
                _ => write!(text, "{protocol} dport {{ {} }} ", ports.join(", ")),
            };
        }
        let verdict = match self.verdict {
            Verdict::Accept => "accept",
            Verdict::Drop => "drop",
        };
        format!("{text}{verdict} comment \"{}\"", self.name)
    }

    fn iptables(&self) -> String {
        let mut text = String::from("-A FORWARD ");
        for (word, net) in [("-s", self.source), ("-d", self.destination)] {
            if let Some((base, len)) = net {
                let _ = write!(text, "{word} {}/{len} ", Ipv4Addr::from(base));
            }
        }
        if let Some(from) = self.from {
            let _ = write!(text, "-i side{from} ");
        }
        if let Some(tcp) = self.tcp {
            let protocol = if tcp { "tcp" } else { "udp" };
            let range = |(first, last): &(u16, u16)| match first == last {
                true => first.to_string(),
                false => format!("{first}:{last}"),
            };
            let ports: Vec<String> = self.ports.iter().map(range).collect();
            let _ = match ports.len() {
                0 => write!(text, "-p {protocol} "),
                1 => write!(text, "-p {protocol} -m {protocol} --dport {} ", ports[0]),
                _ => write!(
                    text,
                    "-p {protocol} -m multiport --dports {} ",
                    ports.join(",")
                ),
            };
        }
        let verdict = match self.verdict {
            Verdict::Accept => "ACCEPT",
            Verdict::Drop => "DROP",
        };
        format!("{text}-m comment --comment {} -j {verdict}", self.name)
    }
}

impl Firewall {
    /// One with a few rules.
    pub fn new(dice: &mut Dice) -> Self {
        let number = 3 + dice.below(8);
        let rules = (0..number).map(|at| rule(dice, format!("r{at}")));
        Self {
            rules: rules.collect(),
            policy: Verdict::Drop,
        }
    }

    /// The place of the rule that a packet meets first; `None` if it is the policy.
    pub fn first(&self, packet: &Packet) -> Option<usize> {
        self.rules.iter().position(|rule| rule.matches(packet))
    }

    /// Whether a packet passes.
    pub fn passes(&self, packet: &Packet) -> bool {
        let verdict = self
            .first(packet)
            .map_or(self.policy, |at| self.rules[at].verdict);
        verdict == Verdict::Accept
    }

    /// For nft(8).
    pub fn nft(&self) -> String {
        let policy = match self.policy {
            Verdict::Accept => "accept",
            Verdict::Drop => "drop",
        };
        let mut text = format!(
            "table inet fw {{\n\tchain forward {{\n\t\ttype filter hook forward priority 0; policy {policy};\n\
             \t\tct state established,related accept\n",
        );
        for rule in &self.rules {
            let _ = writeln!(text, "\t\t{}", rule.nft());
        }
        text.push_str("\t}\n}\n");
        text
    }

    /// For iptables-restore(8).
    pub fn iptables(&self) -> String {
        let policy = match self.policy {
            Verdict::Accept => "ACCEPT",
            Verdict::Drop => "DROP",
        };
        let mut text = format!(
            "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD {policy} [0:0]\n:OUTPUT ACCEPT [0:0]\n\
             -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n",
        );
        for rule in &self.rules {
            let _ = writeln!(text, "{}", rule.iptables());
        }
        text.push_str("COMMIT\n");
        text
    }

    /// The same with one edit by chance, as people make them.
    #[must_use]
    pub fn edited(&self, dice: &mut Dice) -> Self {
        let mut edited = self.clone();
        let rules = &mut edited.rules;
        let at = dice.below(rules.len() as u32) as usize;
        match dice.below(10) {
            0 => drop(rules.remove(at)),
            1 => {
                let new = rule(dice, "new".to_owned());
                rules.insert(at, new);
            }
            2 => {
                let other = dice.below(rules.len() as u32) as usize;
                rules.swap(at, other);
            }
            3 => {
                rules[at].verdict = match rules[at].verdict {
                    Verdict::Accept => Verdict::Drop,
                    Verdict::Drop => Verdict::Accept,
                };
            }
            // A range that begins or ends one earlier or later.
            4 | 5 => {
                let has_protocol = rules[at].tcp.is_some();
                let ports = &mut rules[at].ports;
                if let Some(range) = ports.last_mut() {
                    match dice.below(4) {
                        0 => range.0 -= 1,
                        1 if range.0 < range.1 => range.0 += 1,
                        2 if range.0 < range.1 => range.1 -= 1,
                        _ => range.1 += 1,
                    }
                } else if has_protocol {
                    ports.push((dice.pick(&[22, 80, 443]), 8000));
                }
            }
            // A prefix that is one longer or shorter.
            6 | 7 => {
                let one = &mut rules[at];
                let net = if dice.once_in(2) {
                    &mut one.source
                } else {
                    &mut one.destination
                };
                if let Some((base, len)) = net {
                    *len = if *len == 32 || dice.once_in(2) {
                        *len - 1
                    } else {
                        *len + 1
                    };
                    *base &= u32::MAX << (32 - u32::from(*len));
                }
            }
            8 => rules[at].tcp = rules[at].tcp.map(|tcp| !tcp),
            _ => {
                rules[at].from = match rules[at].from {
                    None => Some(1 + dice.below(2) as u8),
                    Some(_) if dice.once_in(2) => None,
                    Some(side) => Some(3 - side),
                };
            }
        }
        edited
    }

    /// Packets of all kinds that can matter: each address and port at which a condition of one of the firewalls begins or
    /// ends, and its neighbours.
    pub fn universe(firewalls: &[&Self]) -> Vec<Packet> {
        let rules = || firewalls.iter().flat_map(|firewall| &firewall.rules);
        let mut addresses: Vec<u32> = vec![0x0a01_0105, 0x0a02_0105];
        let nets = rules().flat_map(|rule| [rule.source, rule.destination]);
        for (base, len) in nets.flatten() {
            let last = base | u32::MAX.checked_shr(len.into()).unwrap_or(0);
            addresses.extend([base, last, base.wrapping_sub(1), last.wrapping_add(1)]);
        }
        // What a host of either side can have.
        addresses.retain(|address| {
            address >> 24 == 10 && [1, 2].contains(&side(*address)) && !is_of_gateway(*address)
        });
        addresses.sort_unstable();
        addresses.dedup();
        let mut ports: Vec<u16> = vec![4000];
        for (first, last) in rules().flat_map(|rule| rule.ports.clone()) {
            let around = [first, last, first.wrapping_sub(1), last.wrapping_add(1)];
            ports.extend(around.iter().filter(|port| **port > 0));
        }
        ports.sort_unstable();
        ports.dedup();
        let mut packets = Vec::new();
        for &source in &addresses {
            for &destination in &addresses {
                if side(source) == side(destination) {
                    continue;
                }
                for &port in &ports {
                    packets.extend([true, false].map(|tcp| Packet {
                        source,
                        destination,
                        tcp,
                        port,
                    }));
                }
            }
        }
        packets
    }
}

/// Addresses that the gateway has itself, and those of its networks as a whole.
const fn is_of_gateway(address: u32) -> bool {
    let host = address & 0xffff;
    host == 0 || host == 1 || host == 0xffff
}

/// A rule with conditions by chance.
pub fn rule(dice: &mut Dice, name: String) -> Rule {
    let net = |dice: &mut Dice| {
        if !dice.once_in(2) {
            return None;
        }
        let side = 1 + dice.below(2);
        let address = 0x0a00_0000 | side << 16 | dice.below(4) << 8 | (2 + dice.below(6));
        let len = dice.pick(&[32, 32, 24, 24, 29, 16]);
        Some((address & u32::MAX << (32 - u32::from(len)), len))
    };
    let tcp = if dice.below(4) > 0 {
        Some(dice.below(3) > 0)
    } else {
        None
    };
    let mut ports = Vec::new();
    if tcp.is_some() {
        let common = [22, 53, 80, 443, 8080];
        match dice.below(5) {
            0 => {}
            1 => {
                let first = dice.pick(&[20_u16, 50, 80, 1000]);
                ports.push((first, first + 1 + dice.below(500) as u16));
            }
            2 => {
                let (one, other) = (dice.pick(&common), 9000 + dice.below(100) as u16);
                ports.extend([(one, one), (other, other)]);
            }
            _ => {
                let port = dice.pick(&common);
                ports.push((port, port));
            }
        }
    }
    let from = dice.once_in(3).then(|| 1 + dice.below(2) as u8);
    Rule {
        from,
        source: net(dice),
        destination: net(dice),
        tcp,
        ports,
        verdict: if dice.below(3) > 0 {
            Verdict::Accept
        } else {
            Verdict::Drop
        },
        name,
    }
}

/// A capture of these packets' flows on the gateway, over so many days.
pub fn capture(packets: &[Packet], days: u32) -> String {
    let mut text = format!(
        r#"{{"type":"capture","schema":1,"host":"gw","start":"2026-01-01T00:00:00.000000Z","end":"2026-01-{:02}T00:00:00.000000Z","marks_picked_up":true,"interfaces":[{{"name":"side1","addresses":["10.1.0.1/16"]}},{{"name":"side2","addresses":["10.2.0.1/16"]}}]}}"#,
        days + 1
    );
    text.push('\n');
    for packet in packets {
        let (name, number) = if packet.tcp { ("tcp", 6) } else { ("udp", 17) };
        let _ = writeln!(
            text,
            r#"{{"type":"flow","family":"ipv4","protocol":"{name}","protocol_number":{number},"src":"{}","src_port":1024,"src_port_collapsed":true,"dst":"{}","dst_port":{},"confirmed":true,"connections":2}}"#,
            Ipv4Addr::from(packet.source),
            Ipv4Addr::from(packet.destination),
            packet.port
        );
    }
    text
}
