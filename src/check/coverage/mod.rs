//! What each rule is for: which flows need it, which rules no flow needs, which can't be reached, and which elements of
//! their sets nothing has used.
//!
//! The kernel tells which rules a flow's packets come to. That a rule is not needed is only said where that follows: if
//! every flow has a verdict, and the rule asks for nothing but what first packets, their answers and later packets
//! of the flows in a capture have.

mod elements;
mod shadow;
mod sight;
mod stage;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use self::elements::Tally;
use self::sight::Sight;
use self::stage::Stage;
use crate::check::catalog::{Catalog, Given};
use crate::check::judge::Judge;
use crate::check::shape::{Condition, Ending, Field, NEW};
use crate::check::verdict::{Outcome, Rule, Verdict};
use crate::model::capture::Capture;
use crate::model::error::Error;
use crate::model::record::Record;

pub use self::elements::ElementUse;

/// What is known of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// Packets of flows were matched.
    Needed,
    /// No packet of any flow was matched, and the capture would have held flows that need it.
    NotNeeded,
    /// No packet can be matched: why, and the rule that stands before it, if one does.
    Unreachable(&'static str, Option<Arc<Rule>>),
    /// Nothing was matched, and why that says nothing.
    Unknown(&'static str),
}

impl Status {
    /// In one word.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Needed => "needed",
            Self::NotNeeded => "not_needed",
            Self::Unreachable(..) => "unreachable",
            Self::Unknown(_) => "unknown",
        }
    }
}

/// What a rule is for.
#[derive(Clone, Debug)]
pub struct RuleUse {
    /// The rule, or a policy that was applied.
    pub rule: Arc<Rule>,
    /// Flows with a verdict of which a packet was matched.
    pub flows: u64,
    /// Their connections.
    pub connections: u64,
    /// What is known of it.
    pub status: Status,
    /// What it enumerates, element by element.
    pub elements: Vec<ElementUse>,
}

/// What all rules are for.
#[derive(Clone, Debug, Default)]
pub struct Coverage {
    /// Each rule, and each policy that was applied, by chain.
    pub rules: Vec<RuleUse>,
    /// How long was captured, without gaps; `None` if a capture does not tell.
    pub length: Option<Duration>,
    /// The rule that has accepted each flow's first packet, in the order of the flows.
    pub accepted_by: Vec<Option<Arc<Rule>>>,
    /// Flows of which it is not known which rules they need.
    pub open: u64,
}

const STOPS: &str = "it stops packets, and captures hold few of those that a firewall has stopped";
const VARIES: &str = "it asks for what differs from packet to packet, and captures hold flows";
const NO_FIRST: &str = "it is for packets that captures hold nothing of, such as invalid ones and errors of ICMP that belong to a flow";
const MESSAGES: &str =
    "it is for messages of ICMP that no flow is made of: errors and neighbour discovery";
const BEYOND: &str = "it is for what is beyond a limit, and flows are judged one at a time";
const OPEN: &str = "a flow that is undecided may need it";
const TRIED: &str = "a flow that is undecided, or whose device is not known, may need it";
const FILTERED: &str =
    "the capture was filtered, so that flows that need it may have been left out";
const DOUBT: &str = "flows have come to it, and whether it matches them is not known";
const UNTRACED: &str = "a rule of the ruleset switches tracing off (meta nftrace set 0), so that the kernel does not report rules behind it";
const OTHER_LAYER: &str = "it sees packets of other kinds than captures hold";
const AIMLESS: &str = "nothing leads to its chain";
const SHADOWED: &str = "an earlier rule takes whatever it would match";

/// A rule that names so many protocols at most is for ICMP if that is among them.
const FEW: u128 = 8;
/// Types of ICMP and of ICMPv6 that flows are made of (`valid_new`, net/netfilter/nf_conntrack_proto_icmp.c and
/// nf_conntrack_proto_icmpv6.c).
const QUERIES: [(Field, &[u128]); 2] = [
    (Field::Icmp4, &[8, 13, 15, 17]),
    (Field::Icmp6, &[128, 139]),
];

impl Coverage {
    /// Finds out what rules are for, of a judge that has noted paths. `open` are flows that were not judged and might
    /// have been.
    ///
    /// Errors: nft(8) fails.
    pub fn new(
        judge: &Judge,
        records: &[Record],
        verdicts: &[Verdict],
        open: &[Record],
        captures: &[Capture],
    ) -> Result<Self, Error> {
        let catalog = Catalog::new(judge.setup())?;
        let Some(paths) = judge.paths() else {
            return Ok(Self::default());
        };
        let places: Vec<Option<usize>> = paths
            .places()
            .iter()
            .map(|place| catalog.find(place))
            .collect();
        let stages: Vec<[Stage; 2]> = { paths.places().iter() }
            .map(|place| {
                [false, true].map(|answer| {
                    let stages = catalog.origins(place);
                    let stages = stages.map(|hooked| {
                        Stage::of(&hooked.kind, &hooked.hook, hooked.priority, answer)
                    });
                    stages.reduce(Stage::or).unwrap_or_default()
                })
            })
            .collect();
        let mut tallies: Vec<Tally> = catalog
            .rules
            .iter()
            .map(|given| Tally::new(&given.shape))
            .collect();
        let mut uses: Vec<(u64, u64)> = vec![(0, 0); catalog.rules.len()];
        let mut policies: HashMap<u32, (u64, u64)> = HashMap::new();
        let mut undecided: Vec<[Sight; 2]> = open.iter().map(|record| both(record, None)).collect();
        let mut doubted: BTreeSet<usize> = BTreeSet::new();
        let mut accepted_by = Vec::with_capacity(records.len());
        for (at, (record, verdict)) in records.iter().zip(verdicts).enumerate() {
            let path = paths.of(at).filter(|path| !path.broken);
            let decided = !matches!(verdict.worst(), Outcome::Undecided(..));
            let (Some(path), true) = (path, decided) else {
                undecided.push(both(record, Some(verdict)));
                accepted_by.push(None);
                continue;
            };
            doubted.extend(path.doubts.iter().copied());
            let mut sights: Vec<(bool, Stage, Sight)> = Vec::new();
            let mut seen: BTreeSet<u32> = BTreeSet::new();
            for met in &path.met {
                let first = seen.insert(met.place);
                let count = match places[met.place as usize] {
                    Some(rule) => {
                        let stage = stages[met.place as usize][usize::from(met.answer)];
                        let known = { sights.iter() }
                            .position(|(answer, of, _)| (*answer, *of) == (met.answer, stage));
                        let at = known.unwrap_or_else(|| {
                            let sight = Sight::new(record, Some(verdict), met.answer, stage);
                            sights.push((met.answer, stage, sight));
                            sights.len() - 1
                        });
                        tallies[rule].add(&catalog.rules[rule].shape, &sights[at].2);
                        &mut uses[rule]
                    }
                    None if paths.places()[met.place as usize].handle.is_none() => {
                        policies.entry(met.place).or_default()
                    }
                    None => continue,
                };
                if first {
                    count.0 += 1;
                    count.1 += record.connections;
                }
            }
            let accepted = verdict.first == Outcome::Accepted;
            let by = accepted.then(|| catalog.decider(paths, path));
            accepted_by.push(by.flatten());
        }
        let perhaps = paths.perhaps().into_iter();
        let perhaps: BTreeSet<usize> = perhaps.filter_map(|place| places[place as usize]).collect();
        let filtered = captures.iter().any(|capture| !capture.filters.is_empty());
        let untraced = judge.setup().rules.stops_trace();
        let mut rules = Vec::new();
        for (at, (given, tally)) in catalog.rules.iter().zip(tallies).enumerate() {
            let (flows, connections) = uses[at];
            let in_doubt = given.stands_in;
            let status = if flows > 0 && !in_doubt {
                Status::Needed
            } else if flows > 0 || given.doubts.iter().any(|doubt| doubted.contains(doubt)) {
                Status::Unknown(DOUBT)
            } else if given.beyond {
                Status::Unknown(BEYOND)
            } else if untraced {
                Status::Unknown(UNTRACED)
            } else if !catalog.leads_to(&given.rule) {
                Status::Unreachable(AIMLESS, None)
            } else if let Some(before) = shadow::before(&catalog, at) {
                Status::Unreachable(SHADOWED, Some(before))
            } else if let Some(why) = why_unknown(given) {
                Status::Unknown(why)
            } else if filtered {
                Status::Unknown(FILTERED)
            } else if perhaps.contains(&at) {
                Status::Unknown(TRIED)
            } else if undecided
                .iter()
                .flatten()
                .any(|sight| sight.may_meet(&given.shape))
            {
                Status::Unknown(OPEN)
            } else {
                Status::NotNeeded
            };
            let (flows, connections) = if in_doubt {
                (0, 0)
            } else {
                (flows, connections)
            };
            rules.push(RuleUse {
                rule: Arc::clone(&given.rule),
                flows,
                connections,
                elements: if status == Status::Needed {
                    tally.finish(&given.shape, &undecided)
                } else {
                    Vec::new()
                },
                status,
            });
        }
        for (place, (flows, connections)) in policies {
            let place = &paths.places()[place as usize];
            rules.push(RuleUse {
                rule: catalog.policy(place),
                flows,
                connections,
                status: Status::Needed,
                elements: Vec::new(),
            });
        }
        // By chain, and the policy behind the rules, which keep their order.
        let chain = |rule: &Rule| (rule.family.clone(), rule.table.clone(), rule.chain.clone());
        rules.sort_by_key(|used| (chain(&used.rule), used.rule.text.starts_with("policy ")));
        Ok(Self {
            rules,
            length: length(captures),
            accepted_by,
            open: undecided.len() as u64,
        })
    }
}

/// What a flow's packets are in both directions.
fn both(record: &Record, verdict: Option<&Verdict>) -> [Sight; 2] {
    [false, true].map(|answer| Sight::new(record, verdict, answer, Stage::default()))
}

/// Why it says nothing that no flow has come to a rule.
fn why_unknown(given: &Given) -> Option<&'static str> {
    let shape = &given.shape;
    if !["ip", "ip6", "inet"].contains(&given.rule.family.as_str()) {
        return Some(OTHER_LAYER);
    }
    let of = |field: Field| {
        let conditions = shape
            .conditions
            .iter()
            .filter(move |known| known.field == field);
        conditions.filter_map(|known| known.numbers())
    };
    let later = |known: &Condition| {
        known.field == Field::State && known.numbers().is_some_and(|states| !states.contains(NEW))
    };
    let branches = shape.branches.iter().flat_map(|(conditions, _)| conditions);
    if shape.conditions.iter().chain(branches).any(later) {
        return Some(NO_FIRST);
    }
    for (field, queries) in QUERIES {
        let mut types = of(field);
        if types.any(|types| {
            types
                .iter()
                .any(|(first, last)| !queries.contains(&first) || first != last)
        }) {
            return Some(MESSAGES);
        }
    }
    let protocols = [1, 58]
        .map(|number| of(Field::Protocol).any(|all| all.contains(number) && all.size() <= FEW));
    let typed = QUERIES.iter().any(|(field, _)| of(*field).next().is_some());
    if protocols.contains(&true) && !typed {
        return Some(MESSAGES);
    }
    if shape.varies {
        return Some(VARIES);
    }
    let stops = shape
        .branches
        .iter()
        .any(|(_, ending)| *ending == Ending::Stop);
    stops.then_some(STOPS)
}

/// How long the captures have listened, all in all.
fn length(captures: &[Capture]) -> Option<Duration> {
    let mut spans = Vec::new();
    let mut gaps = Duration::ZERO;
    for capture in captures {
        spans.push((capture.start?.us(), capture.end?.us()));
        gaps += capture
            .gaps
            .iter()
            .map(|gap| gap.length())
            .sum::<Duration>();
    }
    spans.sort_unstable();
    let (mut all, mut until) = (0, 0);
    for (from, to) in spans {
        all += to.saturating_sub(from.max(until));
        until = until.max(to);
    }
    let length = Duration::from_micros(all).saturating_sub(gaps);
    (!length.is_zero()).then_some(length)
}
