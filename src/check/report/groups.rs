//! Flows that do not pass, by what stops them.

use std::collections::BTreeMap;

use super::Report;
use crate::check::ruleset::Ruleset;
use crate::check::verdict::{Outcome, Rule};
use crate::model::record::Record;

/// Flows with one outcome, by one rule.
#[derive(Debug)]
pub(super) struct Group<'a> {
    /// Whether their first packets pass, and the answers do not.
    pub reply: bool,
    /// What became of them.
    pub outcome: &'a Outcome,
    /// The flows.
    pub records: Vec<&'a Record>,
}

impl<'a> Report<'a> {
    /// What does not pass, by what it does not pass.
    pub(super) fn stopped(&self) -> Vec<Group<'a>> {
        let mut groups: BTreeMap<(bool, &Outcome), Vec<&Record>> = BTreeMap::new();
        for (record, verdict) in self.records.iter().zip(self.verdicts) {
            let worst = verdict.worst();
            if *worst != Outcome::Accepted {
                let reply = verdict.first == Outcome::Accepted;
                groups.entry((reply, worst)).or_default().push(record);
            }
        }
        let groups = groups.into_iter();
        groups
            .map(|((reply, outcome), records)| Group {
                reply,
                outcome,
                records,
            })
            .collect()
    }

    /// Unconfirmed flows that pass.
    pub(super) fn open(&self) -> Vec<&'a Record> {
        let pairs = self.records.iter().zip(self.verdicts);
        pairs
            .filter(|(record, verdict)| !record.confirmed && verdict.passes())
            .map(|(record, _)| record)
            .collect()
    }

    /// The ruleset that a rule is of, and the line that says it, from 1, if exactly one does: nft(8) shows rules in words
    /// of its own. Of several rulesets that could be it, `None`.
    pub(super) fn place(&self, rule: &Rule) -> Option<(&'a Ruleset, Option<usize>)> {
        let lines = |ruleset: &'a Ruleset| -> Vec<usize> {
            let wanted = plain(&rule.text);
            let lines = ruleset.text.lines().zip(1..);
            // A policy stands in its chain's line, and many have the same.
            let of_rule = lines.filter(|(line, _)| rule.handle.is_some() && says(line, &wanted));
            of_rule.map(|(_, number)| number).collect()
        };
        let found: Vec<(&Ruleset, Vec<usize>)> = self
            .rulesets
            .iter()
            .map(|ruleset| (ruleset, lines(ruleset)))
            .collect();
        let mut said = found.iter().filter(|(_, lines)| !lines.is_empty());
        match (said.next(), said.next()) {
            (Some((ruleset, lines)), None) => match lines.as_slice() {
                [line] => Some((ruleset, Some(*line))),
                _ => Some((ruleset, None)),
            },
            (None, _) => match self.rulesets {
                [ruleset] => Some((ruleset, None)),
                _ => None,
            },
            _ => None,
        }
    }
}

/// With one blank between words, and without what counters have counted.
fn plain(line: &str) -> String {
    let mut words = Vec::new();
    let mut rest = line.split_whitespace().peekable();
    while let Some(word) = rest.next() {
        words.push(word);
        if word == "counter" && rest.peek() == Some(&"packets") {
            rest.by_ref().take(4).for_each(drop);
        }
    }
    words.join(" ")
}

/// Whether a line of a ruleset has a rule, alone or between the braces and semicolons of nft(8).
fn says(line: &str, wanted: &str) -> bool {
    let line = plain(line);
    let line = match line.strip_prefix('[') {
        // iptables-save -c counts in front of the rule.
        Some(rest) => rest.split_once("] ").map_or(&*line, |(_, rest)| rest),
        None => &line,
    };
    line == wanted
        || line
            .split([';', '{', '}'])
            .any(|part| part.trim() == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_found_in_its_line() {
        assert!(says("\ttcp  dport 23   drop", "tcp dport 23 drop"));
        assert!(says(
            "chain i { type filter hook input priority 0; tcp dport 23 drop; }",
            "tcp dport 23 drop"
        ));
        assert!(says(
            "tcp dport 23 counter drop",
            &plain("tcp dport 23 counter packets 4 bytes 160 drop")
        ));
        assert!(says(
            "[3:180] -A INPUT -p tcp -j DROP",
            "-A INPUT -p tcp -j DROP"
        ));
        assert!(!says("tcp dport 234 drop", "tcp dport 23 drop"));
        assert!(!says(
            "ip saddr 10.0.0.1 tcp dport 23 drop",
            "tcp dport 23 drop"
        ));
    }
}
