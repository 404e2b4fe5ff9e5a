//! Rules that hold tomorrow: from what was seen to the narrowest rules that new flows of the same kind pass too.
//!
//! 1. [`evidence`]: flows by service, with the day on which each was new ([`days`], [`links`]); [`groups`] adds requests to
//!    groups with their answers, [`join`] makes one service of several.
//! 2. [`side`] and [`ladder`]: for each service the rungs from addresses to everything behind an interface, and what rules
//!    of each rung would have stopped on each day.
//! 3. [`choice`]: which rung each service gets. [`sensitive`] services with few clients do not climb.
//! 4. [`accept`]: the rules, and [`joined`] few of them; [`nft`] and [`iptables`] write them, [`admits`] holds them against
//!    the flows. [`outlook`](mod@outlook): what to expect of them.

pub mod accept;
mod admits;
mod busy;
mod cells;
pub mod choice;
pub mod coverage;
pub mod days;
pub mod evidence;
pub mod explain;
mod found;
pub mod groups;
pub mod iptables;
pub mod join;
pub mod joined;
pub mod ladder;
mod levels;
pub mod links;
pub mod nft;
pub mod outlook;
mod policy;
pub mod sensitive;
pub mod side;
pub mod terms;
#[cfg(test)]
mod tests;
pub(crate) mod words;

use std::collections::HashMap;

use accept::Accept;
use admits::Filter;
use choice::Climb;
use days::Days;
use evidence::{Evidence, Key, Lasting, Target};
use ladder::{Ladder, Trial};
use links::Links;
use outlook::{DAYS_LEAST, Outlook};
use sensitive::{Gives, Sensitive};

use super::by_hand::Example;
use super::direction::Host;
use super::plan::{self, Answers, Options, Plan, Policy};
use super::seen::{Flows, Seen, Tally};
use super::text;
use crate::model::capture::Capture;
use crate::model::record::{Protocol, Record, Service};
use crate::model::units::{agree, counted};

/// What is asked of generalized rules.
#[derive(Clone, Debug, Default)]
pub struct Aim {
    /// At most so many flows a day are expected to be stopped though wanted. Unless given it is one, or a two-hundredth of
    /// the flows of a day where that is less.
    pub most_a_day: Option<f64>,
    /// Services that do not climb as long as they have few clients.
    pub sensitive: Sensitive,
    /// At most so many rules, however much has to be opened for it: as narrow as that allows, instead of as few flows
    /// stopped as asked for.
    pub most_rules: Option<usize>,
    /// Whether comments have counts and times.
    pub full_comments: bool,
    /// Whether each rule counts.
    pub counter: bool,
    /// Whether what the policy drops is logged.
    pub log_denied: bool,
}

/// How a service was decided.
#[derive(Clone, Debug)]
pub struct Decision {
    /// The service that was decided.
    pub key: Key,
    /// Its rungs, all of them.
    pub trials: Vec<Trial>,
    /// Names of the levels of each trial.
    pub levels: Vec<(&'static str, &'static str)>,
    /// Those worth a thought, as indices of the trials.
    pub rungs: Vec<usize>,
    /// The one chosen.
    pub chosen: usize,
    /// Whether it is sensitive.
    pub is_sensitive: bool,
    /// The options by which it was given how far sources and destinations go.
    pub by_hand: Vec<&'static str>,
    /// How many different flows of it were seen.
    pub flows: u64,
}

/// Rules that go beyond what was seen, and how that was decided.
#[derive(Clone, Debug)]
pub struct General {
    /// What was asked for.
    pub aim: Aim,
    /// Zones and networks.
    pub links: Links,
    /// The rules, by section.
    pub rules: Vec<Accept>,
    /// How each service was decided.
    pub decisions: Vec<Decision>,
    /// What to expect.
    pub outlook: Outlook,
    /// What to expect of rules of what was seen and nothing else.
    pub exact: Outlook,
    /// What the rules carry.
    pub carried: Tally,
}

/// So many flows that would be stopped are named.
const STOPPED_SHOWN: usize = 4;

/// Such a part of the flows of a day may be stopped unless somebody says how many.
const PART: f64 = 0.005;

/// How many flows a day may be stopped, from narrow rules to wide ones: rules get fewer as they get wider, since networks
/// take the place of lists.
const FROM_NARROW: [f64; 12] = [
    1e6, 1e5, 1e4, 1e3, 300.0, 100.0, 30.0, 10.0, 3.0, 1.0, 0.3, 0.0,
];

/// Plans a ruleset that new flows of the same kinds pass too.
pub fn generalize(captures: &[Capture], records: &[Record], options: &Options, aim: &Aim) -> Plan {
    let host = Host::new(captures, &options.local);
    let links = Links::new(captures);
    let days = Days::new(captures);
    let (mut flows, accepted, mut left_out) = Flows::sort_out(records, &host, options, true);
    let mut carried = Tally::default();
    for (seen, ..) in &accepted {
        carried.add(&seen.tally);
    }
    let accepted: Vec<_> = { accepted.into_iter() }
        .map(|(seen, _, index)| (seen, index))
        .collect();
    let asides = groups::take(records, &accepted, &mut left_out, (&host, &links, &days));
    flows.leave_out(left_out);
    carried.flows += asides.len() as u64;
    let evidence = Evidence::gather(
        records,
        &accepted,
        asides,
        (&host, &Lasting::new(captures)),
        (&links, &days),
        (&aim.sensitive, &options.by_hand),
    );
    let examples = accepted.iter().map(|(seen, index)| Example {
        service: evidence::asked(seen, &records[*index]),
        ..Example::from(seen)
    });
    let unused = plan::unused(options, examples);
    let behind = behind(records, &accepted, &aim.sensitive);
    let ladders: Vec<Ladder<'_>> = { evidence.services.iter() }
        .map(|used| {
            let protocols = used.key.protocols().into_iter();
            let gives = protocols.filter_map(|one| match used.key.target {
                Target::Translated(..) => { behind.get(&(one, used.key.service)) }
                    .map(|gives| evidence.published(used, *gives, &links)),
                _ => aim.sensitive.gives(one, used.key.service),
            });
            Ladder::new(used, gives.min(), &links, &evidence)
        })
        .collect();
    let mut decisions: Vec<Decision> = ladders.iter().map(decision).collect();
    let written = |decisions: &[Decision]| {
        let services = ladders.iter().zip(decisions);
        let rules = services.flat_map(|(ladder, decision)| {
            accept::of_service(ladder, decision.trials[decision.chosen].rung)
        });
        joined::joined(rules.collect(), &links)
    };
    let mut most_a_day = aim.most_a_day.unwrap_or_else(|| few(&evidence));
    choose(&mut decisions, &evidence, most_a_day);
    let mut rules = written(&decisions);
    if let Some(most_rules) = aim.most_rules {
        for most in FROM_NARROW {
            most_a_day = most;
            choose(&mut decisions, &evidence, most_a_day);
            rules = written(&decisions);
            if rules.len() <= most_rules {
                break;
            }
        }
    }
    let exact = Outlook::of(&ladders, &decisions, evidence.days, None);
    let outlook = Outlook::of(&ladders, &decisions, evidence.days, Some(most_a_day));
    let general = General {
        aim: aim.clone(),
        links,
        rules,
        decisions,
        outlook,
        exact,
        carried,
    };
    let tcp = Answers::of(records);
    let stopped = stopped(&general, options, &accepted, records);
    let mut plan = Plan::general(captures, options, (flows, tcp), host, general);
    plan.warnings.splice(0..0, stopped);
    plan.warnings.extend(contradictions(captures, records));
    plan.warnings.extend(unused);
    plan
}

/// A warning of flows that the rules are made of and would stop.
fn stopped(
    general: &General,
    options: &Options,
    accepted: &[(Seen, usize)],
    records: &[Record],
) -> Option<String> {
    let filter = Filter::new(general, &options.by_hand);
    let drops = |chain| options.policies.of(chain) == Policy::Drop;
    let stopped = accepted
        .iter()
        .filter(|(seen, index)| drops(seen.class.chain) && !filter.accepts(seen, &records[*index]));
    let mut words: Vec<String> = Vec::new();
    let mut count = 0_u64;
    for (seen, _) in stopped {
        count += 1;
        if words.len() < STOPPED_SHOWN {
            let address = |number| seen.class.family.address(number);
            words.push(format!(
                "{}: {} to {}, {}",
                seen.class.chain.name(),
                address(seen.source),
                address(seen.destination),
                text::numbers(seen.class.protocol, &[seen.service], &options.services, 1)
            ));
        }
    }
    (count > 0).then(|| {
        format!(
            "these rules would stop {} that they were made of, so do not load them as they are ({})",
            counted(count, "flow"),
            words.join("; ")
        )
    })
}

/// Warnings of times that can't be.
fn contradictions(captures: &[Capture], records: &[Record]) -> Vec<String> {
    let mut warnings = Vec::new();
    for capture in captures {
        if let (Some(start), Some(end)) = (capture.start, capture.end) {
            if end < start {
                warnings.push(format!(
                    "a capture ends at {} and begins at {}, after that: its days do not count as days of a capture",
                    text::minute(end),
                    text::minute(start)
                ));
            }
        }
    }
    let odd = records
        .iter()
        .filter(|record| evidence::is_contradictory(record))
        .count();
    if odd > 0 {
        warnings.push(format!(
            "{} {} seen first after the last time: such flows have rules for the addresses that were seen, and count for no \
             network",
            counted(odd as u64, "flow"),
            agree(odd as u64, "was", "were")
        ));
    }
    warnings
}

/// How many flows a day may be stopped unless somebody says it.
fn few(evidence: &Evidence) -> f64 {
    let days = f64::from(evidence.days.max(1));
    let relations = evidence.services.iter().flat_map(|used| &used.relations);
    let active: u64 = relations
        .map(|one| u64::from(one.last - one.first) + 1)
        .sum();
    (active as f64 / days * PART).min(1.0)
}

/// What published ports lead to, where that is sensitive: SSH is no web server for being published as port 8022.
fn behind(
    records: &[Record],
    accepted: &[(Seen, usize)],
    sensitive: &Sensitive,
) -> HashMap<(Protocol, Service), Gives> {
    let mut behind = HashMap::new();
    for (seen, index) in accepted {
        let identity = &records[*index].identity;
        let protocol = identity.protocol;
        if let (true, Some(gives)) = (
            identity.dnat().is_some(),
            sensitive.gives(protocol, seen.service),
        ) {
            let known = behind.entry((protocol, identity.service)).or_insert(gives);
            *known = gives.min(*known);
        }
    }
    behind
}

fn decision(ladder: &Ladder<'_>) -> Decision {
    let trials = ladder.trials();
    let levels = trials.iter().map(|trial| {
        let source = ladder.sources.steps[trial.rung.sources].level;
        let destination = ladder.destinations.steps[trial.rung.destinations].level;
        (source.name(), destination.name())
    });
    Decision {
        key: ladder.key,
        levels: levels.collect(),
        trials,
        rungs: vec![0],
        chosen: 0,
        is_sensitive: ladder.gives.is_some(),
        by_hand: ladder.by_hand.clone(),
        flows: ladder.relations.len() as u64,
    }
}

/// Chooses the rungs. Fewer than three days do not tell which sets still grow, so that everything stays as it was seen.
fn choose(decisions: &mut [Decision], evidence: &Evidence, most_a_day: f64) {
    if evidence.days < DAYS_LEAST {
        return;
    }
    let climbs: Vec<Climb> = { decisions.iter() }
        .map(|decision| Climb::new(&decision.trials))
        .collect();
    let at = choice::choose(&climbs, most_a_day);
    for ((decision, climb), at) in decisions.iter_mut().zip(climbs).zip(at) {
        decision.chosen = climb.rungs[at];
        decision.rungs = climb.rungs;
    }
}
