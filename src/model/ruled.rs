//! Which rules of a firewall decided on the first packet of a flow, in words: what lists have of it.

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::learnt::{self, Learnt};
use crate::model::listing::Flow;
use crate::model::record::Identity;
use crate::model::timestamp::Timestamp;

/// A rule, or the policy of a chain, that decided on a packet.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Decision {
    /// The hook at which the kernel calls the chain, where it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hook: Option<String>,
    /// `ip`, `ip6`, `inet`….
    pub family: String,
    /// The table that it is in.
    pub table: String,
    /// The chain that it is in.
    pub chain: String,
    /// Handle of the rule; none of a policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handle: Option<u64>,
    /// The rule as the firewall's own program writes it, where it is still known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// What it did: `accepted`, `dropped`, `queued`, `stolen`.
    pub verdict: String,
}

/// What became of the first packet of a flow, and which rules decided that, in their order.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ruled {
    /// When the packet came.
    pub seen: Option<Timestamp>,
    /// `accepted`, `dropped`, `rejected`, `queued` or `stolen`.
    pub verdict: String,
    /// The rules.
    pub rules: Vec<Decision>,
}

/// What is known beside the flows of a list: which rules decided on them, and which names led to them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Names that the client of a flow had asked for when it went to its destination, in their order.
    pub names: HashMap<Identity, Vec<Learnt>>,
    /// What decided on the flows of the list, as far as that is known.
    pub rules: HashMap<Identity, Arc<Ruled>>,
    /// Flows that did not get through. They are no flows of the list: nothing takes them for such that were seen to pass.
    pub denied: Vec<Denied>,
}

/// What is known beside one flow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Beside {
    /// Which rules decided on it.
    pub ruled: Option<Box<Ruled>>,
    /// Names that led to it.
    pub names: Vec<Learnt>,
}

impl Beside {
    /// Whether nothing is.
    pub fn is_empty(&self) -> bool {
        self.ruled.is_none() && self.names.is_empty()
    }
}

/// A flow that did not get through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    /// The flow. Its connections are none, since none came about.
    pub flow: Flow,
    /// What decided that, where it is told.
    pub ruled: Option<Arc<Ruled>>,
}

impl Told {
    /// Whether something is said of rules.
    pub fn has_rules(&self) -> bool {
        !self.rules.is_empty() || !self.denied.is_empty()
    }

    /// The names that led to a flow.
    pub fn names(&self, identity: &Identity) -> &[Learnt] {
        self.names.get(identity).map_or(&[], Vec::as_slice)
    }

    /// Takes in names that led to a flow.
    pub fn learn(&mut self, identity: &Identity, names: Vec<Learnt>) {
        if names.is_empty() {
            return;
        }
        match self.names.get_mut(identity) {
            Some(known) => learnt::join(known, names),
            None => {
                let mut known = Vec::new();
                learnt::join(&mut known, names);
                self.names.insert(identity.clone(), known);
            }
        }
    }
}

/// Takes note of what decided on a flow. Of several the last one counts.
pub fn keep_last(
    rules: &mut HashMap<Identity, Arc<Ruled>>,
    identity: &Identity,
    ruled: Arc<Ruled>,
) {
    match rules.get_mut(identity) {
        Some(known) if *known >= ruled => {}
        Some(known) => *known = ruled,
        None => {
            rules.insert(identity.clone(), ruled);
        }
    }
}

impl Decision {
    /// The rule of which a column says that, as [`Ruled::last_word`] has it; `None` if it is none.
    pub fn of_last_word(word: &str, verdict: &str) -> Option<Self> {
        let (place, text) = word.split_once(": ")?;
        let mut names = place.splitn(3, ' ');
        let mut name = || names.next().filter(|name| !name.is_empty());
        let (family, table, chain) = (name()?, name()?, name()?);
        Some(Self {
            hook: None,
            family: family.to_owned(),
            table: table.to_owned(),
            chain: chain.to_owned(),
            handle: None,
            text: Some(text.to_owned()),
            verdict: match verdict {
                "rejected" => "dropped",
                other => other,
            }
            .to_owned(),
        })
    }
}

impl Ruled {
    /// Whether a verdict says that a packet did not get through.
    pub fn is_denial(verdict: &str) -> bool {
        matches!(verdict, "dropped" | "rejected")
    }

    /// The rule that had the last word, as a column shows it: of policies only one that stopped the packet.
    pub fn last_word(&self) -> String {
        let worth = |rule: &&Decision| rule.handle.is_some() || rule.verdict != "accepted";
        let last = { self.rules.iter() }.rfind(worth).or(self.rules.last());
        let Some(rule) = last else {
            return "-".to_owned();
        };
        let place = format!("{} {} {}", rule.family, rule.table, rule.chain);
        match (&rule.text, rule.handle) {
            (Some(text), _) => format!("{place}: {text}"),
            (None, Some(handle)) => format!("{place}: rule {handle}, which is not loaded any more"),
            (None, None) => format!("{place}: its policy"),
        }
    }
}
