//! What the rules of a firewall did with the first packet of a flow.

use std::sync::Arc;

use crate::model::record::{Dnat, Identity, SourcePort};
use crate::model::timestamp::Timestamp;

/// What a rule or the policy of a chain did with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    /// It may go on.
    Accepted,
    /// It was dropped, or rejected with an answer.
    Dropped,
    /// It was handed to a program (`queue`).
    Queued,
    /// The kernel took it for something else, as a proxy or a `synproxy` does.
    Stolen,
}

impl Outcome {
    /// Its name in lists.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Dropped => "dropped",
            Self::Queued => "queued",
            Self::Stolen => "stolen",
        }
    }
}

/// A rule, or the policy of a chain, that decided on a packet at one hook.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Step {
    /// `ip`, `ip6`, `inet`, `netdev`….
    pub family: &'static str,
    /// The table that it is in.
    pub table: Arc<str>,
    /// The chain that it is in.
    pub chain: Arc<str>,
    /// Handle of the rule, as `nft -a list ruleset` shows it, or the number of a rule of iptables-legacy; `None` is the policy
    /// of the chain.
    pub handle: Option<u64>,
    /// The rule as it was, where its number may be another one's by now.
    pub text: Option<Arc<str>>,
    /// What it did.
    pub outcome: Outcome,
}

/// The rules and policies that decided on the first packet of a flow, in the order in which it met them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Path {
    /// One for each chain of a hook that decided.
    pub steps: Vec<Step>,
    /// Those that decided on it before the rules were changed, or before it was told again.
    pub earlier: Vec<Step>,
    /// When the packet came.
    pub seen: Option<Timestamp>,
    /// The source port that it came from, where the protocol has one.
    pub source_port: Option<SourcePort>,
    /// The number of the entry that it made in connection tracking, where the kernel tells.
    pub connection: Option<u32>,
    /// What makes the flow of that entry, as far as it was there to be asked for: with zone and translation, which headers do not
    /// have.
    pub identity: Option<Box<Identity>>,
    /// Where it went instead, if its destination was translated on the way.
    pub dnat: Option<Dnat>,
}

impl Path {
    /// What became of the packet, as far as it was seen: a hook that does not let it pass is the last one.
    pub fn outcome(&self) -> Outcome {
        self.steps
            .last()
            .map_or(Outcome::Accepted, |step| step.outcome)
    }
}
