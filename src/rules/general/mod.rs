//! Rules that hold tomorrow: from what was seen to the narrowest rules that new flows of the same kind pass too.
//!
//! 1. [`evidence`]: flows by service, with the day on which each was new ([`days`], [`links`]); [`groups`] adds requests to
//!    groups with their answers, [`join`] makes one service of several.
//! 2. [`side`] and [`ladder`]: for each service the rungs from addresses to everything behind an interface, and what rules
//!    of each rung would have stopped on each day.
//! 3. [`choice`]: which rung each service gets. [`sensitive`] services with few clients do not climb.
//! 4. [`accept`]: the rules; [`nft`] writes them. [`outlook`](mod@outlook): what to expect of them.

pub mod accept;
pub mod choice;
pub mod coverage;
pub mod days;
pub mod evidence;
pub mod explain;
pub mod groups;
pub mod join;
pub mod ladder;
pub mod links;
pub mod nft;
pub mod outlook;
pub mod sensitive;
pub mod side;

use std::collections::HashMap;

use accept::Accept;
use choice::Climb;
use days::Days;
use evidence::{Evidence, Key, Lasting, Target};
use ladder::{Ladder, Trial};
use links::Links;
use outlook::{DAYS_LEAST, Outlook};
use sensitive::{Gives, Sensitive};

use super::by_hand::Example;
use super::direction::Host;
use super::plan::{self, Answers, Options, Plan};
use super::seen::{Flows, Seen, Tally};
use crate::model::capture::Capture;
use crate::model::record::{Protocol, Record, Service};

/// What is asked of generalized rules.
#[derive(Clone, Debug)]
pub struct Aim {
    /// At most so many flows a day are expected to be stopped though wanted.
    pub most_a_day: f64,
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

impl Default for Aim {
    fn default() -> Self {
        Self {
            most_a_day: 1.0,
            sensitive: Sensitive::default(),
            most_rules: None,
            full_comments: false,
            counter: false,
            log_denied: false,
        }
    }
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
    drop(accepted);
    let ladders: Vec<Ladder<'_>> = { evidence.services.iter() }
        .map(|used| {
            let protocols = used.key.protocols().into_iter();
            let gives = protocols.filter_map(|one| match used.key.target {
                Target::Translated(..) => behind.get(&(one, used.key.service)).copied(),
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
        accept::joined(rules.collect(), &links)
    };
    choose(&mut decisions, &evidence, aim.most_a_day);
    let mut rules = written(&decisions);
    if let Some(most_rules) = aim.most_rules {
        for most_a_day in FROM_NARROW {
            choose(&mut decisions, &evidence, most_a_day);
            rules = written(&decisions);
            if rules.len() <= most_rules {
                break;
            }
        }
    }
    let exact = outlook(&ladders, &decisions, evidence.days, |_| 0);
    let outlook = outlook(&ladders, &decisions, evidence.days, |one| one.chosen);
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
    let mut plan = Plan::general(captures, options, (flows, tcp), host, general);
    plan.warnings.extend(unused);
    plan
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
    let span = outlook::span(evidence.days);
    let climbs: Vec<Climb> = { decisions.iter() }
        .map(|decision| Climb::new(&decision.trials, span))
        .collect();
    let at = choice::choose(&climbs, most_a_day);
    for ((decision, climb), at) in decisions.iter_mut().zip(climbs).zip(at) {
        decision.chosen = climb.rungs[at];
        decision.rungs = climb.rungs;
    }
}

/// What to expect of one of the trials of each service.
fn outlook(
    ladders: &[Ladder<'_>],
    decisions: &[Decision],
    days: u16,
    which: impl Fn(&Decision) -> usize,
) -> Outlook {
    let mut outlook = Outlook {
        days,
        missed: vec![0; usize::from(days)],
        ahead: vec![0; usize::from(days)],
        ..Outlook::default()
    };
    let week = days.saturating_sub(7);
    let mut of_week = (0, 0);
    for (ladder, decision) in ladders.iter().zip(decisions) {
        let trial = &decision.trials[which(decision)];
        for (sum, missed) in outlook.missed.iter_mut().zip(&trial.missed) {
            *sum += missed;
        }
        for (sum, ahead) in outlook.ahead.iter_mut().zip(&trial.ahead) {
            *sum += ahead;
        }
        let on_last = ladder.relations.iter().filter(|one| one.last + 1 >= days);
        outlook.last_day += on_last.count() as u64;
        if outlook::has_week(days) {
            of_week.0 += ladder.missed_since(trial.rung, week);
            let since = ladder.relations.iter().filter(|one| one.last >= week);
            of_week.1 += since.count() as u64;
        }
    }
    outlook.last_week = outlook::has_week(days).then_some(of_week);
    outlook
}
