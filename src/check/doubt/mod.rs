//! What decides about packets and stands outside the ruleset: the mark that a program gives to its packets, the processor
//! that runs, what other packets have put into a set. No verdict holds where a rule asks for that.
//!
//! A rule with such a condition is loaded as one that never matches and that logs which packets come to it: those that
//! meet all of its other conditions. What becomes of a packet where each such rule does not match is then known, and so
//! is each rule whose match would have ended its way. If all that would have ended it in the same way, the verdict holds
//! however the conditions turn out: the first rule in its way that does match ends it so. Else the flow is undecided.
//!
//! Limits of rates and numbers are another matter: each flow is judged as the only one, which none of them stops.

mod conditions;
mod iptables;
pub mod marks;
mod matches;
mod nft;
mod options;
pub mod ports;
mod tables;
mod targets;
pub mod why;
mod words;

use std::sync::Arc;

use crate::check::verdict::{Outcome, Rule};

pub use iptables::{Known as Given, note_marks as note_marks_of_text, rewrite};
pub use nft::{edits, note_marks};
pub use words::words;

/// How a rule that doubts concern ends a packet's way if it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Effect {
    /// Accepted by its chain, and nothing that it passes by would have changed what comes later.
    Accept,
    /// Dropped.
    Drop,
    /// Dropped, and the sender is told.
    Reject,
    /// Something else happens: another chain, another address, a mark.
    Other,
}

/// Packets of which it is not known whether a rule matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Concerns {
    /// All that come to it.
    All,
    /// Those of this host's programs, which may give them any mark.
    Own,
    /// Those whose source port is one of many, since it was folded, or is not said.
    Folded,
}

/// A rule of which it is not known whether it matches.
#[derive(Clone, Debug)]
pub struct Doubt {
    /// Why that is not known.
    pub why: &'static str,
    /// What follows if it does.
    pub effect: Effect,
    /// The packets of which that is not known. Unless it is all, the rule is loaded as it is.
    pub concerns: Concerns,
    /// The source ports that it asks for, if that is what is in doubt and they are known.
    pub ports: Vec<(u16, u16)>,
    /// The rule.
    pub rule: Arc<Rule>,
}

impl Doubt {
    /// Whether the verdict is the same if the rule matches. Of a rule that is there it is not known whether it has.
    fn agrees(&self, outcome: &Outcome) -> bool {
        self.concerns != Concerns::Own
            && matches!(
                (self.effect, outcome),
                (Effect::Accept, Outcome::Accepted)
                    | (Effect::Drop, Outcome::Dropped(_))
                    | (Effect::Reject, Outcome::Rejected(_))
            )
    }

    fn undecided(&self) -> Outcome {
        let then = match self.effect {
            _ if self.concerns == Concerns::Own => "programs of this host may give it too",
            Effect::Accept => "it would be accepted where this rule matches",
            Effect::Drop => "it would be dropped where this rule matches",
            Effect::Reject => "it would be rejected where this rule matches",
            Effect::Other => "it would fare otherwise where this rule matches",
        };
        let why = format!("{}; {then}", self.why);
        Outcome::Undecided(Arc::from(why), Some(Arc::clone(&self.rule)))
    }
}

/// The verdict on a packet that fared so where no rule that it came to in doubt matches.
pub fn settle<'a>(outcome: Outcome, met: impl IntoIterator<Item = &'a Doubt>) -> Outcome {
    if matches!(outcome, Outcome::Undecided(..)) {
        return outcome;
    }
    let against = met.into_iter().find(|doubt| !doubt.agrees(&outcome));
    against.map_or(outcome, Doubt::undecided)
}

/// What the log says before a packet that has come to the rule of a doubt.
pub fn prefix(number: usize) -> String {
    format!("{}:{number}", crate::check::guard::PREFIX)
}

/// The comment of a rule that stands for another one, of this number.
pub fn comment(number: usize) -> String {
    format!("{}#{number}", crate::check::guard::PREFIX)
}

/// The number in the comment of a rule that stands for another one.
pub fn commented(rule: &str) -> Option<usize> {
    let begin = format!("{}#", crate::check::guard::PREFIX);
    let (_, rest) = rule.rsplit_once(&begin)?;
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule() -> Arc<Rule> {
        Arc::new(Rule {
            family: "inet".to_owned(),
            table: "t".to_owned(),
            chain: "c".to_owned(),
            handle: Some(7),
            text: "meta mark 1 accept".to_owned(),
        })
    }

    #[test]
    fn a_verdict_holds_only_if_it_is_the_same_either_way() {
        let doubt = |effect| Doubt {
            why: why::MARK,
            effect,
            concerns: Concerns::All,
            ports: Vec::new(),
            rule: rule(),
        };
        let [accept, drop, other] = [Effect::Accept, Effect::Drop, Effect::Other].map(doubt);
        let dropped = Outcome::Dropped(rule());
        assert_eq!(settle(dropped.clone(), []), dropped);
        assert_eq!(settle(dropped.clone(), [&drop, &drop]), dropped);
        assert_eq!(settle(Outcome::Accepted, [&accept]), Outcome::Accepted);
        for (outcome, met) in [
            (dropped.clone(), vec![&accept]),
            (dropped.clone(), vec![&drop, &accept]),
            (Outcome::Accepted, vec![&drop]),
            (Outcome::Accepted, vec![&other]),
            (Outcome::Rejected(rule()), vec![&drop]),
        ] {
            let settled = settle(outcome, met);
            assert!(
                settled
                    .reason()
                    .is_some_and(|reason| reason.starts_with(why::MARK)),
                "{settled:?}"
            );
        }
    }

    #[test]
    fn what_stands_for_another_rule_is_known_by_its_comment() {
        let text = format!("tcp dport 22 accept comment \"{}\"", comment(12));
        assert_eq!(commented(&text), Some(12));
        assert_eq!(commented("accept comment \"12\""), None);
    }
}
