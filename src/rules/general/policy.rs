//! What policy routing (ip-rule(8)) changes of where networks lie.
//!
//! Rules of policy routing have some packets, or all, look for their way in other tables than the main one. Where such a
//! table leads elsewhere than the main one, nothing is known of the network. Where it has a way to the Internet only, as
//! that of a VPN or of another provider, its interface is one more of the Internet side. What is known wrongly here makes
//! no rule wider: a rule names the interface that it is for, and packets that go by another one do not match it.

use std::collections::BTreeSet;

use ipnet::IpNet;

use super::found::{Found, is_on_every_link, is_wide};
use crate::model::capture::{Capture, PolicyRule, Route};
use crate::rules::block::Family;

/// The tables `default`, `main` and `local` (ip-route(8)).
const USUAL: [u32; 3] = [253, 254, 255];
const MAIN: u32 = 254;
/// That a rule passes over the default routes of its table, as the one that wg-quick(8) has before its own.
const SUPPRESS: &str = "suppress_prefixlength";

/// What the rules of a family change.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Effect {
    /// Interfaces of default routes that all packets take which the main table has no other route for.
    pub always: BTreeSet<String>,
    /// Interfaces of default routes that some packets take: of one source, with a mark, by an interface.
    pub sometimes: BTreeSet<String>,
    /// Networks that only other tables have, and the interfaces that they lie behind.
    pub networks: Vec<(IpNet, String)>,
    /// Networks of which it is not known where they lie.
    pub unknown: BTreeSet<IpNet>,
}

impl Effect {
    /// Takes in the rules of a family of a capture.
    ///
    /// Errors: why nothing is known of the family, in words.
    pub fn take(&mut self, capture: &Capture, family: Family, found: &Found) -> Result<(), String> {
        let of_family =
            { capture.policy_rules.iter() }.filter(|rule| rule.is_ipv4() == (family == Family::V4));
        let mut rules: Vec<&PolicyRule> = of_family.collect();
        rules.sort_by_key(|rule| rule.priority);
        // Whether the main table has been asked for all but its default routes.
        let mut main_first = false;
        for rule in rules {
            let closed = |why: &str| {
                Err(format!(
                    "the rule of policy routing with priority {} {why}: rules for {} have the addresses that were seen",
                    rule.priority,
                    if family == Family::V4 { "IPv4" } else { "IPv6" }
                ))
            };
            if rule.l3mdev {
                return closed("is for virtual routers");
            }
            match rule.action.as_str() {
                "lookup" if !rule.others.iter().any(|word| word == "goto") => {}
                // Packets that go nowhere lie nowhere.
                "nop" | "blackhole" | "unreachable" | "prohibit" => continue,
                _ => return closed("does what is not known here"),
            }
            let table = rule.table.unwrap_or(0);
            if USUAL.contains(&table) {
                main_first |= table == MAIN && is_for_all(rule) && !rule.not;
                continue;
            }
            if let Some(to) = rule.to {
                if is_wide(to) {
                    return closed("chooses a table by destinations of the Internet");
                }
                self.unknown.insert(to.trunc());
                continue;
            }
            let Some(table) = { capture.tables.iter() }.find(|one| one.table == table) else {
                return closed("chooses a table that the capture does not have");
            };
            let routes = table.routes.iter();
            let routes = routes.filter(|route| Family::of(route.destination.addr()) == family);
            let routes: Vec<&Route> = routes.collect();
            if !self.add(rule, &routes, family, found, main_first) {
                return closed("sends packets to inner networks elsewhere than the main table");
            }
        }
        Ok(())
    }

    /// Adds what a rule changes. Returns false if nothing is known then.
    fn add(
        &mut self,
        rule: &PolicyRule,
        routes: &[&Route],
        family: Family,
        found: &Found,
        main_first: bool,
    ) -> bool {
        let is_ordinary = is_for_all(rule);
        let inner = { found.networks.iter() }
            .filter(|(net, _)| Family::of(net.addr()) == family && !is_wide(**net));
        let agrees = |net: &IpNet, name: &str| {
            let around = inner.clone().filter(|(of, _)| of.contains(net));
            let closest = around.max_by_key(|(of, _)| of.prefix_len());
            closest.is_some_and(|(_, names)| names.contains(name))
        };
        for route in routes {
            let (net, name) = (route.destination.trunc(), found.name(&route.interface));
            if name == "lo" || is_on_every_link(net.addr()) {
                continue;
            }
            if is_wide(net) && is_ordinary {
                let has_own = |net: &IpNet| {
                    let mut own = routes.iter();
                    own.any(|route| route.destination.trunc() == *net)
                };
                if !main_first && !inner.clone().all(|(net, _)| has_own(net)) {
                    return false;
                }
                self.always.insert(name);
            } else if is_wide(net) {
                self.sometimes.insert(name);
            } else if !agrees(&net, &name) {
                let around = inner.clone().any(|(of, _)| of.contains(&net));
                let within = inner.clone().filter(|(of, _)| net.contains(*of));
                let within: Vec<IpNet> = within.map(|(of, _)| *of).collect();
                if is_ordinary && !around && within.is_empty() {
                    self.networks.push((net, name));
                    continue;
                }
                self.unknown.insert(net);
                if !main_first {
                    self.unknown.extend(within);
                }
            }
        }
        true
    }
}

/// Whether a rule is for all packets, or for all without a mark: those that a VPN wraps have one, so that they do not go
/// through it again.
fn is_for_all(rule: &PolicyRule) -> bool {
    let has_place = rule.from.is_some() || rule.iif.is_some() || rule.oif.is_some();
    !has_place
        && rule.to.is_none()
        && rule.mark.is_some() == rule.not
        && rule.others.iter().all(|word| word == SUPPRESS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::capture::{Interface, RoutingTable};
    use crate::rules::general::links::Links;

    fn route(to: &str, name: &str) -> Route {
        Route {
            destination: to.parse().unwrap(),
            gateway: None,
            interface: name.to_owned(),
        }
    }

    /// A gateway with two providers and a VPN, and the rules of the tables besides the main one.
    fn links(rules: Vec<PolicyRule>, tables: &[(u32, &[(&str, &str)])]) -> Links {
        let interface = |name: &str, address: &str| Interface {
            name: name.to_owned(),
            addresses: vec![address.parse().unwrap()],
            ..Interface::default()
        };
        let usual = [(0, 255), (32_766, 254), (32_767, 253)];
        let usual = usual.map(|(priority, table)| PolicyRule::usual(true, priority, table));
        let tables = tables.iter().map(|(table, routes)| RoutingTable {
            table: *table,
            routes: routes.iter().map(|(to, name)| route(to, name)).collect(),
        });
        Links::new(&[Capture {
            interfaces: vec![
                interface("lan0", "10.1.0.1/24"),
                interface("wan1", "203.0.113.2/30"),
                interface("wan2", "198.51.100.2/30"),
                interface("wg0", "10.64.0.2/32"),
            ],
            routes: vec![route("0.0.0.0/0", "wan1"), route("10.2.0.0/16", "lan0")],
            policy_rules: rules.into_iter().chain(usual).collect(),
            tables: tables.collect(),
            ..Capture::default()
        }])
    }

    fn zone(links: &Links, address: &str) -> Option<String> {
        let network = links.network(address.parse().unwrap())?;
        Some(links.name(Some(links.networks[network].zone)))
    }

    fn rule(priority: u32, table: u32) -> PolicyRule {
        PolicyRule::usual(true, priority, table)
    }

    #[test]
    fn a_vpn_that_takes_all_is_one_more_way_to_the_internet() {
        // As wg-quick(8) has them.
        let main = PolicyRule {
            others: vec![SUPPRESS.to_owned()],
            ..rule(32_764, MAIN)
        };
        let all = PolicyRule {
            not: true,
            mark: Some(51_820),
            ..rule(32_765, 51_820)
        };
        let tables: &[(u32, &[(&str, &str)])] = &[(51_820, &[("0.0.0.0/0", "wg0")])];
        let found = links(vec![main, all.clone()], tables);
        assert_eq!(zone(&found, "8.8.8.8").as_deref(), Some("wan1+wg0"));
        assert_eq!(zone(&found, "10.1.0.7").as_deref(), Some("lan0"));
        assert_eq!(zone(&found, "10.2.3.4").as_deref(), Some("lan0"));
        assert!(found.warnings.is_empty());
        // Without the first rule inner networks lie behind it too.
        let found = links(vec![all], tables);
        assert_eq!(zone(&found, "10.1.0.7"), None);
        assert!(
            found.warnings[0].contains("priority 32765"),
            "{:?}",
            found.warnings
        );
    }

    #[test]
    fn several_providers_are_one_internet_side() {
        let from = PolicyRule {
            from: Some("203.0.113.2/32".parse().unwrap()),
            ..rule(100, 1)
        };
        let mark = PolicyRule {
            mark: Some(0x200),
            mask: Some(0x3f00),
            ..rule(101, 2)
        };
        let tables: &[(u32, &[(&str, &str)])] = &[
            (1, &[("0.0.0.0/0", "wan1"), ("10.1.0.0/24", "lan0")]),
            (2, &[("0.0.0.0/0", "wan2"), ("10.1.0.0/24", "lan0")]),
        ];
        let found = links(vec![from.clone(), mark], tables);
        assert_eq!(zone(&found, "8.8.8.8").as_deref(), Some("wan1+wan2"));
        assert_eq!(zone(&found, "10.1.0.7").as_deref(), Some("lan0"));
        // A table whose default route leads inside is no way to the Internet.
        let found = links(vec![from], &[(1, &[("0.0.0.0/0", "lan0")])]);
        assert_eq!(zone(&found, "8.8.8.8"), None);
        assert_eq!(found.warnings.len(), 1);
    }

    #[test]
    fn what_other_tables_have_elsewhere_is_not_known() {
        let one = |rule: PolicyRule, routes: &[(&str, &str)]| links(vec![rule], &[(52, routes)]);
        // A network of a VPN that the main table does not have.
        let found = one(rule(5270, 52), &[("100.64.7.0/24", "wg0")]);
        assert_eq!(zone(&found, "100.64.7.9").as_deref(), Some("wg0"));
        assert_eq!(zone(&found, "10.1.0.7").as_deref(), Some("lan0"));
        // One that lies behind lan0 by the main table.
        let found = one(rule(5270, 52), &[("10.2.7.0/24", "wg0")]);
        assert_eq!(zone(&found, "10.2.7.9"), None);
        assert_eq!(zone(&found, "10.2.8.9").as_deref(), Some("lan0"));
        // One that inner networks are part of.
        let found = one(rule(5270, 52), &[("10.0.0.0/8", "wg0")]);
        assert_eq!(zone(&found, "10.1.0.7"), None);
        assert_eq!(zone(&found, "8.8.8.8").as_deref(), Some("wan1"));
        // For some packets only.
        let marked = PolicyRule {
            mark: Some(7),
            ..rule(5270, 52)
        };
        let found = one(marked, &[("100.64.7.0/24", "wg0")]);
        assert_eq!(zone(&found, "100.64.7.9"), None);
        let to = PolicyRule {
            to: Some("10.2.0.0/16".parse().unwrap()),
            ..rule(5270, 52)
        };
        let found = one(to, &[("0.0.0.0/0", "wg0")]);
        assert_eq!(zone(&found, "10.2.3.4"), None);
        assert_eq!(zone(&found, "10.1.0.7").as_deref(), Some("lan0"));
    }

    #[test]
    fn rules_of_which_the_effect_is_not_known_close_their_family() {
        for closing in [
            PolicyRule {
                l3mdev: true,
                ..rule(1000, 0)
            },
            PolicyRule {
                action: "goto".to_owned(),
                ..rule(1000, 0)
            },
            // Its table is not there.
            rule(1000, 7),
        ] {
            let found = links(vec![closing], &[]);
            assert_eq!(zone(&found, "10.1.0.7"), None);
            assert_eq!(zone(&found, "8.8.8.8"), None);
            assert_eq!(found.warnings.len(), 1, "{:?}", found.warnings);
        }
        // What goes nowhere does not matter.
        let prohibit = PolicyRule {
            action: "prohibit".to_owned(),
            ..rule(1000, 0)
        };
        let found = links(vec![prohibit], &[]);
        assert_eq!(zone(&found, "8.8.8.8").as_deref(), Some("wan1"));
    }
}
