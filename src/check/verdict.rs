//! The verdict on a flow.

use std::sync::Arc;

use serde::Serialize;

use crate::check::packet::Tuple;
use crate::check::wire::End;

/// The rule that decided.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Rule {
    /// Family of the table: `ip`, `ip6`, `inet`, `netdev`….
    pub family: String,
    /// The table that decided.
    pub table: String,
    /// The chain that decided.
    pub chain: String,
    /// Handle, as `nft -a list ruleset` shows it in the namespace. A policy has none.
    pub handle: Option<u64>,
    /// Its text: `policy drop` for a policy.
    #[serde(rename = "rule")]
    pub text: String,
}

/// What became of one packet.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    /// It got through.
    Accepted,
    /// A rule dropped it.
    Dropped(Arc<Rule>),
    /// A rule dropped it and told its sender.
    Rejected(Arc<Rule>),
    /// It did not get through, and the rules that were run don't say so: why, and the rule concerned.
    Undecided(Arc<str>, Option<Arc<Rule>>),
}

impl Outcome {
    /// In one word.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Dropped(_) => "dropped",
            Self::Rejected(_) => "rejected",
            Self::Undecided(..) => "undecided",
        }
    }

    /// The rule that decided, if one did.
    pub fn rule(&self) -> Option<&Arc<Rule>> {
        match self {
            Self::Accepted => None,
            Self::Dropped(rule) | Self::Rejected(rule) => Some(rule),
            Self::Undecided(_, rule) => rule.as_ref(),
        }
    }

    /// Why there is no verdict.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Undecided(reason, _) => Some(reason),
            _ => None,
        }
    }
}

/// The verdict on a flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// On its first packet.
    pub first: Outcome,
    /// On the first packet of the other direction: of confirmed flows whose first one is accepted.
    /// `None` too where the kind of packet has no answer.
    pub reply: Option<Outcome>,
    /// On a later packet of the first direction: of flows whose answer is accepted, where rules are traced.
    pub later: Option<Outcome>,
    /// How the first packet has come out, if it has.
    pub exit: Option<Exit>,
}

/// How a packet has come out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// By which end.
    pub end: End,
    /// What it was then, if it was translated.
    pub translated: Option<Box<Tuple>>,
}

impl Verdict {
    /// That on a first packet that nothing is known of beyond.
    pub const fn of_first(first: Outcome) -> Self {
        Self {
            first,
            reply: None,
            later: None,
            exit: None,
        }
    }

    /// What ends the flow, or that nothing does.
    pub fn worst(&self) -> &Outcome {
        match (&self.first, &self.reply) {
            (Outcome::Accepted, Some(reply)) => reply,
            (first, _) => first,
        }
    }

    /// Whether the flow passes.
    pub fn passes(&self) -> bool {
        *self.worst() == Outcome::Accepted
    }
}
