//! What rules say that decided on a packet: the events have handles, the rules that are loaded the texts.

use super::ruleset::Ruleset;
use crate::model::path::{Outcome, Path, Step};
use crate::model::ruled::{Decision, Ruled};

/// Where the texts of rules are looked up.
#[derive(Clone, Copy, Debug)]
pub struct Words<'a> {
    /// The rules that are loaded.
    pub ruleset: &'a Ruleset,
    /// Those that were loaded at the beginning, for the texts of rules that are gone.
    pub before: &'a Ruleset,
}

impl Words<'_> {
    /// The text of the rule of a step; of a policy, what it says.
    pub fn text(&self, step: &Step) -> Option<String> {
        let then = step.text.as_deref().map(str::to_owned);
        then.or_else(|| self.ruleset.text(step))
            .or_else(|| self.before.text(step))
    }

    /// What became of the flow: `rejected` where the rule answers what it drops.
    pub fn verdict(&self, path: &Path) -> &'static str {
        let last = path.steps.last().and_then(|step| self.text(step));
        let rejects = last.is_some_and(|text| {
            let mut words = text.split_whitespace();
            words.any(|word| matches!(word, "reject" | "REJECT"))
        });
        match path.outcome() {
            Outcome::Dropped if rejects => "rejected",
            outcome => outcome.name(),
        }
    }

    /// A step in words.
    pub fn decision(&self, step: &Step) -> Decision {
        let chain = (self.ruleset.chain(step)).or_else(|| self.before.chain(step));
        Decision {
            hook: chain.and_then(|chain| chain.hook.clone()),
            family: step.family.to_owned(),
            table: step.table.to_string(),
            chain: step.chain.to_string(),
            handle: step.handle,
            text: self.text(step),
            verdict: step.outcome.name().to_owned(),
        }
    }

    /// A path in words.
    pub fn ruled(&self, path: &Path) -> Ruled {
        Ruled {
            seen: path.seen,
            verdict: self.verdict(path).to_owned(),
            rules: path.steps.iter().map(|step| self.decision(step)).collect(),
        }
    }
}
