//! Connections that helpers expect: `ct state related` carries them, as long as the helper is there.

use std::collections::BTreeMap;

use super::block::Family;
use super::direction::Chain;
use super::iptables::Families;
use super::seen::Tally;
use crate::model::origin::{Expected, Helper};
use crate::model::record::Protocol;
use crate::model::units::counted;

/// A helper for connections to a port, as the host of a capture had it assigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Assignment {
    /// The helper that is assigned.
    pub helper: Helper,
    /// Protocol of the connections that it follows.
    pub protocol: Protocol,
    /// Their destination port, as the filter sees it.
    pub port: u16,
    /// Whether the host itself opens them.
    pub from_here: bool,
    /// Their address family. nftables needs one rule for both, iptables has a program for each.
    pub family: Family,
}

/// Expected connections, by chain and by what expected them.
#[derive(Clone, Debug, Default)]
pub struct Related {
    /// How many there were.
    pub carried: BTreeMap<(Chain, Expected), Tally>,
    /// Helpers that have to be assigned. Sorted, none twice.
    pub assignments: Vec<Assignment>,
}

impl Related {
    /// What a chain's rule for related connections carries, in words.
    #[must_use]
    pub fn words(&self, chain: Chain) -> Vec<String> {
        let of_chain = self.carried.iter().filter(|((of, _), _)| *of == chain);
        let words = of_chain.map(|((_, by), tally)| {
            format!(
                "{}, related to {}",
                counted(tally.flows, "flow"),
                control(by)
            )
        });
        words.collect()
    }

    /// Flows that are carried.
    #[must_use]
    pub fn flows(&self) -> u64 {
        self.carried.values().map(|tally| tally.flows).sum()
    }

    /// The commands that assign the helpers with iptables or ip6tables, for rules of these families.
    #[must_use]
    pub fn commands(&self, families: Families) -> Vec<String> {
        let assignments = self.assignments.iter();
        let of = assignments.filter(|one| families.has(one.family));
        of.map(Assignment::command).collect()
    }

    /// What was expected without that it is known which helper has to be assigned to what.
    #[must_use]
    pub fn unassigned(&self) -> Vec<String> {
        let assigned = |by: &Expected| {
            let mut assignments = self.assignments.iter();
            assignments.any(|one| (one.protocol, one.port) == (by.protocol, by.port))
        };
        let open = self.carried.keys().filter(|(_, by)| !assigned(by));
        let mut words: Vec<String> = open.map(|(_, by)| control(by)).collect();
        words.sort_unstable();
        words.dedup();
        words
    }
}

/// What expected a connection, in words.
fn control(by: &Expected) -> String {
    let helper = by
        .helper
        .map_or_else(String::new, |helper| format!("{helper} on "));
    match by.port {
        0 => format!("{helper}a connection that a helper follows"),
        port => format!("{helper}{} port {port}", by.protocol),
    }
}

impl Assignment {
    /// What nft calls the helper's object.
    #[must_use]
    pub fn object(&self) -> String {
        let plain = |c: char| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_lowercase()
            } else {
                '_'
            }
        };
        let name: String = self.helper.name().chars().map(plain).collect();
        format!("{name}_{}", self.protocol)
    }

    fn command(&self) -> String {
        format!(
            "{} -t raw -A {} -p {} --dport {} -j CT --helper {}",
            match self.family {
                Family::V4 => "iptables",
                Family::V6 => "ip6tables",
            },
            if self.from_here {
                "OUTPUT"
            } else {
                "PREROUTING"
            },
            self.protocol,
            self.port,
            self.helper
        )
    }
}
