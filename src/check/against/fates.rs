//! What became of a flow by each ruleset, and whether that is the same.

use std::net::IpAddr;
use std::sync::Arc;

use super::{Fate, Kind, Which};
use crate::check::judge::Judge;
use crate::check::verdict::{Outcome, Rule, Verdict};

/// How a flow has come out: the device, and addresses and port after translation.
pub(super) type Exit = (Option<String>, Option<(IpAddr, IpAddr, u16)>);

pub(super) fn exit(judge: &Judge, verdict: &Verdict) -> Option<Exit> {
    let exit = verdict.exit.as_ref()?;
    let name = judge.setup().wire.name(exit.end).map(str::to_owned);
    // Which port a translated client is given is the kernel's choice.
    let translated = exit.translated.as_deref();
    let to = translated.map(|tuple| (tuple.source, tuple.destination, tuple.destination_port));
    Some((name, to))
}

/// What decides about a flow: the first packet that does not pass.
fn deciding(verdict: &Verdict) -> (&Outcome, Which) {
    let rest = [
        (verdict.reply.as_ref(), Which::Answer),
        (verdict.later.as_ref(), Which::Later),
    ];
    let stopped = rest
        .into_iter()
        .filter_map(|(outcome, which)| Some((outcome?, which)))
        .find(|(outcome, _)| **outcome != Outcome::Accepted);
    match &verdict.first {
        Outcome::Accepted => stopped.unwrap_or((&verdict.first, Which::First)),
        first => (first, Which::First),
    }
}

pub(super) fn fate(verdict: &Verdict, accepted_by: Option<Arc<Rule>>) -> Fate {
    let (outcome, which) = deciding(verdict);
    Fate {
        outcome: outcome.clone(),
        which,
        accepted_by: accepted_by.filter(|_| verdict.first == Outcome::Accepted),
    }
}

/// Whether the kernel, and no rule, keeps a flow from coming out.
pub(super) fn by_no_rule(verdict: &Verdict) -> bool {
    verdict
        .first
        .reason()
        .is_some_and(|reason| reason.starts_with("not by the ruleset"))
}

pub(super) fn kind(old: &Verdict, new: &Verdict, exits: &[Option<Exit>; 2]) -> Option<Kind> {
    let (old, new) = (deciding(old).0, deciding(new).0);
    let passes = |outcome: &Outcome| match outcome {
        Outcome::Accepted => Some(true),
        Outcome::Dropped(_) | Outcome::Rejected(_) => Some(false),
        Outcome::Undecided(..) => None,
    };
    match (passes(old), passes(new)) {
        (None, _) | (_, None) => Some(Kind::Undecided),
        (Some(false), Some(true)) => Some(Kind::NewlyPasses),
        (Some(true), Some(false)) => Some(Kind::NewlyStopped),
        (Some(true), Some(true)) => (exits[0] != exits[1]).then_some(Kind::Elsewhere),
        (Some(false), Some(false)) => None,
    }
}
