//! Policy routing as the captures have recorded it: the rules that choose a routing table, and these tables (ip-rule(8)).

use std::fmt::Write as _;
use std::fs;
use std::net::IpAddr;

use crate::check::network::next_hop;
use crate::model::capture::{Capture, PolicyRule, Route, RoutingTable};

/// Numbers of the tables that every host has (`include/uapi/linux/rtnetlink.h`).
const MAIN: u32 = 254;
const LOCAL: u32 = 255;
const DEFAULT: u32 = 253;

/// Rules and tables, and what they leave open.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    rules: Vec<PolicyRule>,
    tables: Vec<RoutingTable>,
    /// Virtual routers: name, table, and the devices of each.
    routers: Vec<(String, u32, Vec<String>)>,
    /// Whether this kernel has no virtual routers, so that they could not be made.
    lacks_routers: bool,
    /// Whether a capture was made by a version that did not record them, on a host that may have had some.
    unrecorded: bool,
}

/// Where packets go that come from one end of a flow to the other.
#[derive(Clone, Copy, Debug)]
pub struct Way<'a> {
    /// Where they come from.
    pub from: IpAddr,
    /// Where they go to.
    pub to: IpAddr,
    /// The device that they came in by; `lo` if they are the host's own.
    pub by: &'a str,
}

impl Policy {
    /// Puts together what the captures know.
    pub fn new(captures: &[Capture]) -> Self {
        let mut policy = Self::default();
        for capture in captures {
            let recorded = capture.marks_picked_up || !capture.policy_rules.is_empty();
            policy.unrecorded |= capture.is_live() && !recorded;
            let new = |rule: &&PolicyRule| !policy.rules.contains(rule);
            let rules: Vec<PolicyRule> = capture.policy_rules.iter().filter(new).cloned().collect();
            policy.rules.extend(rules);
            policy.tables.extend(capture.tables.iter().cloned());
            for interface in &capture.interfaces {
                if let Some(table) = interface.table {
                    let devices = capture
                        .interfaces
                        .iter()
                        .filter(|device| device.master.as_deref() == Some(interface.name.as_str()));
                    let names = devices.map(|device| device.name.clone()).collect();
                    policy.routers.push((interface.name.clone(), table, names));
                }
            }
        }
        policy.rules.sort_by_key(|rule| rule.priority);
        policy
    }

    /// Whether captures may lack them.
    pub const fn is_unrecorded(&self) -> bool {
        self.unrecorded
    }

    /// Whether a device is a virtual router.
    pub fn is_router(&self, name: &str) -> bool {
        self.routers.iter().any(|(router, ..)| router == name)
    }

    /// Whether a device belongs to a virtual router.
    pub fn is_of_router(&self, name: &str) -> bool {
        { self.routers.iter() }.any(|(.., devices)| devices.iter().any(|device| device == name))
    }

    /// Whether the virtual routers are there, in the calling thread's namespace.
    pub fn routers_are_there(&self) -> bool {
        let made = fs::read_to_string("/proc/thread-self/net/dev").unwrap_or_default();
        let there = |name: &str| {
            let mut names = made.lines().filter_map(|line| line.split_once(':'));
            names.any(|(known, _)| known.trim() == name)
        };
        self.routers.iter().all(|(name, ..)| there(name))
    }

    /// The virtual routers could not be made.
    pub fn give_up_routers(&mut self) {
        self.lacks_routers = !self.routers.is_empty();
    }

    /// Whether virtual routers that could not be made may have routed what they do not here.
    pub const fn lacks_routers(&self) -> bool {
        self.lacks_routers
    }

    /// Whether there are rules for the packets of a family.
    pub fn has_rules(&self, v6: bool) -> bool {
        self.rules.iter().any(|rule| rule.is_ipv4() != v6)
    }

    /// The device of a way by another table than the main one; `None` if that is not what the rules choose.
    pub fn device(&self, way: Way<'_>) -> Option<&str> {
        let v6 = way.to.is_ipv6();
        for rule in self.rules.iter().filter(|rule| rule.is_ipv4() != v6) {
            if rule.l3mdev || !matches(rule, way) {
                continue;
            }
            match rule.table {
                Some(LOCAL) => {}
                // With suppress_prefixlength it is asked for its more specific routes only, and the caller knows those.
                Some(MAIN) if suppressed(rule).is_some() => {}
                Some(MAIN) => return None,
                Some(table) => {
                    if let Some(route) = self.lookup(table, way.to) {
                        return Some(&route.interface);
                    }
                }
                None => {}
            }
        }
        None
    }

    /// Whether the main table goes before other ones, for routes longer than this.
    pub fn main_first(&self, v6: bool) -> Option<u8> {
        let mut rules = { self.rules.iter() }.filter(|rule| rule.is_ipv4() != v6);
        let rule = rules.find(|rule| rule.table == Some(MAIN))?;
        suppressed(rule)
    }

    /// Why it is not known which table packets of this host, or those that pass, are routed by.
    pub fn doubt(&self, v6: bool, own: bool) -> Option<&'static str> {
        let mut rules = self.rules.iter().filter(|rule| rule.is_ipv4() != v6);
        let open = |rule: &PolicyRule| {
            let known = |word: &String| word.starts_with("suppress_prefixlength ");
            !rule.others.iter().all(known) || own && (rule.mark.is_some() || rule.oif.is_some())
        };
        let lacks = |rule: &&PolicyRule| {
            let table = rule
                .table
                .filter(|table| ![LOCAL, MAIN, DEFAULT].contains(table));
            table.is_some_and(|table| !self.tables.iter().any(|known| known.table == table))
        };
        if { self.rules.iter() }
            .filter(|rule| rule.is_ipv4() != v6 && !rule.l3mdev)
            .any(|rule| lacks(&rule))
        {
            return Some(
                "the host's rules of policy routing (ip rule) name a table that the capture does not have: by which device \
                 the flow leaves is not known",
            );
        }
        rules.any(open).then_some(
            "the host's rules of policy routing (ip rule) ask for more than the capture says about a flow, such as the mark \
             that a program gives to its packets: by which device it leaves is not known",
        )
    }

    fn lookup(&self, number: u32, to: IpAddr) -> Option<&Route> {
        let tables = self.tables.iter().filter(|table| table.table == number);
        let routes = tables.flat_map(|table| &table.routes);
        let found = routes.filter(|route| route.destination.contains(&to));
        found.max_by_key(|route| route.destination.prefix_len())
    }

    /// What makes the virtual routers, for `ip -batch`: before addresses and routes.
    pub fn routers(&self) -> String {
        let mut text = String::new();
        for (name, table, devices) in &self.routers {
            let _ = writeln!(text, "link add {name} type vrf table {table}");
            let _ = writeln!(text, "link set dev {name} up");
            for device in devices {
                let _ = writeln!(text, "link set dev {device} master {name}");
            }
        }
        text
    }

    /// What sets up the rules of a family and the tables, for `ip -batch` of it.
    pub fn commands(&self, v6: bool) -> String {
        let mut text = String::new();
        for table in &self.tables {
            let routes = table.routes.iter();
            for route in routes.filter(|route| route.destination.addr().is_ipv6() == v6) {
                let Route {
                    destination,
                    gateway,
                    interface,
                } = route;
                let via = next_hop(*destination, *gateway);
                let table = table.table;
                let _ = writeln!(
                    text,
                    "route replace {destination}{via} dev {interface} table {table}"
                );
            }
        }
        if self.has_rules(v6) {
            // All but the one for the local table.
            text.push_str("rule flush\n");
        }
        let is_local = |rule: &&PolicyRule| rule.priority == 0 && rule.table == Some(LOCAL);
        let family = self.rules.iter().filter(|rule| rule.is_ipv4() != v6);
        for rule in family.filter(|rule| !is_local(rule)) {
            text.push_str(&command(rule));
        }
        text
    }
}

/// A rule in the words of ip-rule(8).
fn command(rule: &PolicyRule) -> String {
    let mut text = format!("rule add priority {}", rule.priority);
    if rule.not {
        text.push_str(" not");
    }
    match rule.from {
        Some(from) => {
            let _ = write!(text, " from {from}");
        }
        None => text.push_str(" from all"),
    }
    if let Some(to) = rule.to {
        let _ = write!(text, " to {to}");
    }
    for (word, device) in [("iif", &rule.iif), ("oif", &rule.oif)] {
        if let Some(device) = device {
            let _ = write!(text, " {word} {device}");
        }
    }
    if let Some(mark) = rule.mark {
        let _ = write!(
            text,
            " fwmark {mark:#x}/{:#x}",
            rule.mask.unwrap_or(u32::MAX)
        );
    }
    if rule.l3mdev {
        text.push_str(" l3mdev");
    } else if let Some(table) = rule.table {
        let _ = write!(text, " lookup {table}");
    } else {
        let _ = write!(text, " {}", rule.action);
    }
    if let Some(length) = suppressed(rule) {
        let _ = write!(text, " suppress_prefixlength {length}");
    }
    text.push('\n');
    text
}

/// The prefix length up to which a rule passes over the routes of its table.
fn suppressed(rule: &PolicyRule) -> Option<u8> {
    let mut lengths = { rule.others.iter() }
        .filter_map(|word| word.strip_prefix("suppress_prefixlength ")?.parse().ok());
    lengths.next()
}

/// Whether a rule is for the packets of a way, which have no mark.
fn matches(rule: &PolicyRule, way: Way<'_>) -> bool {
    let marked = rule.mark.is_none_or(|mark| mark == 0);
    let from = rule.from.is_none_or(|net| net.contains(&way.from));
    let to = rule.to.is_none_or(|net| net.contains(&way.to));
    let by = rule.iif.as_ref().is_none_or(|device| device == way.by);
    (marked && from && to && by && rule.oif.is_none()) != rule.not
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capture() -> Capture {
        let rule = |priority, from: Option<&str>, table| PolicyRule {
            from: from.map(|net| net.parse().unwrap()),
            ..PolicyRule::usual(true, priority, table)
        };
        Capture {
            program: Some("conntracker 1.0.0".to_owned()),
            source: Some("batch".to_owned()),
            policy_rules: vec![
                rule(0, None, LOCAL),
                rule(100, Some("192.168.1.0/24"), 100),
                rule(32_766, None, MAIN),
            ],
            tables: vec![RoutingTable {
                table: 100,
                routes: vec![Route {
                    destination: "0.0.0.0/0".parse().unwrap(),
                    gateway: None,
                    interface: "wg0".to_owned(),
                }],
            }],
            ..Capture::default()
        }
    }

    #[test]
    fn rules_choose_tables_by_where_packets_come_from() {
        let policy = Policy::new(&[capture()]);
        let way = |from: &str| Way {
            from: from.parse().unwrap(),
            to: "198.51.100.7".parse().unwrap(),
            by: "lan",
        };
        assert_eq!(policy.device(way("192.168.1.10")), Some("wg0"));
        assert_eq!(policy.device(way("192.168.2.10")), None);
        let commands = policy.commands(false);
        for expected in [
            "route replace 0.0.0.0/0 dev wg0 table 100\n",
            "rule flush\n",
            "rule add priority 100 from 192.168.1.0/24 lookup 100\n",
        ] {
            assert!(commands.contains(expected), "{commands}");
        }
        assert!(!commands.contains("lookup 255"), "{commands}");
        assert_eq!(policy.commands(true), "");
    }

    #[test]
    fn what_the_rules_ask_for_beyond_a_flow_is_told() {
        let mut capture = capture();
        let policy = Policy::new(std::slice::from_ref(&capture));
        assert_eq!(policy.doubt(false, true), None);
        assert!(!policy.is_unrecorded());
        capture.policy_rules[1].mark = Some(0xca6c);
        capture.policy_rules[1].not = true;
        let policy = Policy::new(std::slice::from_ref(&capture));
        assert!(policy.doubt(false, true).is_some());
        assert_eq!(policy.doubt(false, false), None);
        capture.policy_rules[1].others.push("uidrange".to_owned());
        assert!(
            Policy::new(std::slice::from_ref(&capture))
                .doubt(false, false)
                .is_some()
        );
        capture.policy_rules.clear();
        assert!(Policy::new(std::slice::from_ref(&capture)).is_unrecorded());
        capture.marks_picked_up = true;
        assert!(!Policy::new(&[capture]).is_unrecorded());
    }
}
