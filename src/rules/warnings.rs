//! What the administrator has to know before anything else.

use super::direction::Chain;
use super::plan::{Plan, Policy};
use super::text::plain;
use crate::model::capture::Capture;

/// So much of the reasons why a capture is incomplete.
const REASONS_MAX: usize = 400;

impl Plan {
    /// Warnings, the gravest first.
    pub(super) fn warn(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.is_incomplete() {
            let mut reasons: Vec<String> =
                self.captures.iter().flat_map(Capture::reasons).collect();
            reasons.sort_unstable();
            reasons.dedup();
            // What others wrote; the first of them is enough to know where to look.
            let reasons = plain(&reasons.join("; "), REASONS_MAX);
            let why = if reasons.is_empty() {
                String::new()
            } else {
                format!(" ({reasons})")
            };
            warnings.push(format!(
                "the capture is incomplete{why}: flows that it missed have no rule. Capture again before \
                 you rely on these rules"
            ));
        }
        let gaps = self
            .captures
            .iter()
            .filter(|capture| !capture.is_incomplete());
        for gaps in gaps.filter_map(Capture::gaps_in_words) {
            warnings.push(format!("{gaps}: what passed only then has no rule"));
        }
        if self
            .captures
            .iter()
            .any(|capture| !capture.filters.is_empty())
        {
            warnings.push(
                "the capture was filtered: what the filters kept out has no rule and will be dropped"
                    .to_owned(),
            );
        }
        let partial = |capture: &Capture| {
            let ours = capture
                .program
                .as_ref()
                .is_some_and(|program| program.starts_with("conntracker"));
            ours && !capture
                .options
                .iter()
                .any(|option| option == "--all-protocols")
        };
        if self.captures.iter().any(partial) {
            warnings.push(
                "the capture holds TCP, UDP and ICMP only: other protocols, such as those of tunnels, have \
                 no rule. Capture with --all-protocols"
                    .to_owned(),
            );
        }
        let mut hosts: Vec<&String> = self
            .captures
            .iter()
            .filter_map(|capture| capture.host.as_ref())
            .collect();
        hosts.sort_unstable();
        hosts.dedup();
        if hosts.len() > 1 {
            warnings.push(format!(
                "the captures are from {} hosts: the addresses of all of them count as the gateway's own",
                hosts.len()
            ));
        }
        let dropped = |chain| {
            self.options.policies.of(chain) == Policy::Drop
                && self.rules.iter().all(|rule| rule.chain != chain)
        };
        if !self.host().is_known() {
            warnings.push(
                "the gateway's own addresses are not known: every flow is taken as forwarded, and what goes to \
                 or comes from the gateway itself is not filtered. Give each address with --local"
                    .to_owned(),
            );
        } else if dropped(Chain::Input) {
            warnings.push(
                "no flow to the gateway itself was seen: with these rules nobody can open a new \
                 connection to it, not even to administer it"
                    .to_owned(),
            );
        }
        if self.host().is_known() && dropped(Chain::Output) {
            warnings.push(
                "no flow from the gateway itself was seen: with these rules it can open no connection"
                    .to_owned(),
            );
        }
        let guessed: u64 = self.rules.iter().map(|rule| rule.tally.guessed).sum();
        if guessed > 0 {
            warnings.push(format!(
                "{guessed} ICMP flows come from a list that does not tell the type: taken for echo requests"
            ));
        }
        warnings
    }
}
