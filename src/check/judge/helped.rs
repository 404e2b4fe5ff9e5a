//! What connection tracking helpers expect, judged behind the connection that they follow.
//!
//! Helpers read what is said on a connection, and the packets here say nothing. What a helper would have made of the words
//! is asked of the kernel instead: an expectation, which it makes only if the rulesets have assigned a helper to the control
//! connection. A flow that meets it is related, as on the host:
//!
//! ```text
//! 192.0.2.7:40000 → 198.51.100.7:21      is new, and a rule assigns the helper "ftp" to it
//! 192.0.2.7:40001 → 198.51.100.7:39083   is expected by that connection from now on (IPCTNL_MSG_EXP_NEW)
//! 192.0.2.7:40001 → 198.51.100.7:39083   is injected, and is related to it
//! ```

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::IpAddr;

use super::around::{alike, ends, pairs, undecided};
use super::related::{Answer, Expectation, entry};
use super::slow::{ATTEMPTS, Fate};
use super::{HELPED, Judge};
use crate::check::flow::Flow;
use crate::check::packet::Step;
use crate::check::verdict::{Outcome, Verdict};
use crate::model::error::Error;
use crate::model::origin::Expected;
use crate::model::record::{Protocol, Record, Service};

/// Control connections between the same hosts that are tried for a flow, at most.
const CONTROLS_MAX: usize = 4;

/// What became of a flow behind a control connection.
enum Behind {
    /// It was related to it, and this is the verdict.
    Related(Verdict),
    /// The rulesets stop the control connection, so that nothing is expected.
    Stopped,
    /// No ruleset assigns the helper to the control connection.
    NoHelper,
    /// That is not known.
    Unclear,
}

/// Why nothing is known of a flow behind its control connection.
const NO_HELPER: &str = "a conntrack helper expected it: it passes as related where that helper is assigned to its control \
     connection, which no rule here does; give the file that does with --also";
const NO_CONTROL: &str = "a conntrack helper expected it, and the captures have no control connection between the same two hosts \
     behind which it could be judged: where the helper is assigned it passes as related";
const UNCLEAR: &str = "a conntrack helper expected it, and what becomes of its control connection is not known: where that passes \
     and the helper is assigned, it passes as related";

/// What is known of flows that helpers expected, by their places.
#[derive(Debug, Default)]
pub(super) struct Helped {
    /// Those whose verdict stands.
    pub known: HashSet<usize>,
    /// Why nothing is known of the others.
    pub reasons: HashMap<usize, &'static str>,
}

impl Judge {
    /// Judges the flows that helpers expected behind their control connections.
    ///
    /// Errors: failing system calls.
    pub(super) fn follow_helpers(
        &mut self,
        records: &[Record],
        verdicts: &mut [Verdict],
    ) -> Result<Helped, Error> {
        let mut helped = Helped::default();
        let controls = controls(records);
        let devices = self.setup.rules.names_devices();
        let by_ruleset = self.setup.rules.sets_zones();
        // Controls behind which nothing is related, and whether that is since they are stopped.
        let mut vain: HashMap<usize, bool> = HashMap::new();
        for (at, record) in records.iter().enumerate() {
            let Some(by) = record.origin.expected_by else {
                continue;
            };
            let carried = [Protocol::TCP, Protocol::UDP].contains(&record.identity.protocol);
            let network = &self.setup.network;
            let on_known_devices = |record| !devices || !ends(record, network).contains(&true);
            if !carried || !on_known_devices(record) {
                helped.reasons.insert(at, UNCLEAR);
                continue;
            }
            let mut candidates: Vec<usize> = pairs(record)
                .flat_map(|pair| controls.get(&pair).into_iter().flatten().copied())
                .filter(|&control| is_by(&records[control], by))
                .filter(|&control| records[control].identity.zone == record.identity.zone)
                .filter(|&control| on_known_devices(&records[control]))
                .collect();
            candidates.sort_unstable();
            candidates.dedup();
            candidates.truncate(CONTROLS_MAX);
            let mut found: Option<Verdict> = None;
            let mut all_stopped = !candidates.is_empty();
            let mut reason = match candidates.is_empty() {
                true => NO_CONTROL,
                false => NO_HELPER,
            };
            for control in candidates {
                if let Some(stopped) = vain.get(&control) {
                    all_stopped &= stopped;
                    continue;
                }
                self.enter(if by_ruleset { 0 } else { record.identity.zone })?;
                let plan = |record| Flow::new(record, &self.setup.network, &self.setup.wire);
                let (control_flow, flow) = (plan(&records[control]), plan(record));
                let behind = self.behind(&control_flow, &flow, by, &verdicts[at]);
                match behind
                    .map_err(|error| Error::caused(format!("judging failed: {error}"), error))?
                {
                    Behind::Related(verdict) => {
                        all_stopped = false;
                        match &found {
                            Some(before) if !alike(before, &verdict) => {
                                found = Some(undecided(
                                    "a conntrack helper expected it, and it fares differently behind the control connections \
                                     that it may belong to",
                                ));
                                break;
                            }
                            Some(_) => {}
                            None => {
                                found = Some(verdict);
                                if let Some(paths) = &mut self.paths {
                                    paths.replace(at);
                                }
                            }
                        }
                    }
                    Behind::Stopped => {
                        vain.insert(control, true);
                    }
                    Behind::NoHelper => {
                        all_stopped = false;
                        vain.insert(control, false);
                    }
                    Behind::Unclear => {
                        all_stopped = false;
                        reason = UNCLEAR;
                    }
                }
            }
            if let Some(found) = found {
                verdicts[at] = found;
                helped.known.insert(at);
            } else if all_stopped {
                // It would come as a new one.
                helped.known.insert(at);
            } else {
                helped.reasons.insert(at, reason);
            }
        }
        Ok(helped)
    }

    /// Judges a flow behind a control connection. `new` is the verdict on it as one that nobody expects.
    fn behind(
        &mut self,
        control: &Flow,
        flow: &Flow,
        by: Expected,
        new: &Verdict,
    ) -> io::Result<Behind> {
        if control.impossible.is_some() || flow.impossible.is_some() {
            return Ok(Behind::Unclear);
        }
        for attempt in 1..=ATTEMPTS {
            let last = attempt == ATTEMPTS;
            self.forget()?;
            let mut tuples = HashSet::new();
            let Some(packet) = self.place(control, &tuples) else {
                return Ok(Behind::Unclear);
            };
            let packet = self.numbered(&packet);
            let mut met = Vec::new();
            let at = (control.entrance, control.scope);
            match self.follow(at, &packet, Step::First, last, &mut met)? {
                Fate::Arrived(_, seen) => tuples.extend([packet.tuple, seen.tuple]),
                Fate::Ended(outcome) => {
                    let verdict = Verdict::of_first(outcome);
                    let first = self.settle(control, verdict, &met).first;
                    let stopped = matches!(first, Outcome::Dropped(_) | Outcome::Rejected(_));
                    return Ok(if stopped {
                        Behind::Stopped
                    } else {
                        Behind::Unclear
                    });
                }
                Fate::Unclear => {
                    self.again(attempt)?;
                    continue;
                }
            }
            let passed = self.settle(control, Verdict::of_first(Outcome::Accepted), &met);
            if !passed.passes() {
                return Ok(Behind::Unclear);
            }
            let Some(entry) = entry(&self.setup.conntrack, &packet.tuple, self.zone)? else {
                return Ok(Behind::Unclear);
            };
            // Another helper would not have expected it.
            let is_other = |helper| by.helper.is_some_and(|by| by != helper);
            if entry.helper.is_none_or(is_other) {
                return Ok(Behind::NoHelper);
            }
            let Some(data) = self.place(flow, &tuples) else {
                return Ok(Behind::Unclear);
            };
            let expectation = Expectation {
                master: packet.tuple,
                expected: data.tuple,
                zone: entry.zone,
            };
            match expectation.make(&self.setup.conntrack) {
                Answer::Made => {}
                Answer::NoHelper => return Ok(Behind::NoHelper),
                Answer::Refused => return Ok(Behind::Unclear),
            }
            let verdict = self.attempt(attempt, last, flow, &data, &mut tuples)?;
            let was_met = expectation.was_met(&self.setup.conntrack);
            let Some(verdict) = verdict else {
                self.again(attempt)?;
                continue;
            };
            // What is stopped before conntrack sees it is stopped in the same way whether it is expected or not.
            let same = !verdict.passes() && verdict.worst() == new.worst();
            return Ok(if was_met || same {
                Behind::Related(verdict)
            } else {
                Behind::Unclear
            });
        }
        Ok(Behind::Unclear)
    }
}

/// Flows that may be control connections, by the hosts that they connect.
fn controls(records: &[Record]) -> HashMap<(IpAddr, IpAddr), Vec<usize>> {
    let told: HashSet<(Protocol, u16)> = { records.iter() }
        .filter_map(|record| record.origin.expected_by)
        .map(|by| (by.protocol, by.port))
        .collect();
    let mut controls: HashMap<_, Vec<usize>> = HashMap::new();
    for (at, record) in records.iter().enumerate() {
        let Service::Port(port) = record.identity.service else {
            continue;
        };
        let of = |port| told.contains(&(record.identity.protocol, port));
        if of(port) || (of(0) && HELPED.contains(&port)) {
            for pair in pairs(record) {
                let of_pair = controls.entry(pair).or_default();
                if of_pair.last() != Some(&at) {
                    of_pair.push(at);
                }
            }
        }
    }
    controls
}

/// Whether a flow may be the control connection that is told.
fn is_by(record: &Record, by: Expected) -> bool {
    let identity = &record.identity;
    let helpers = (record.origin.helper, by.helper);
    let is_of_helper = !matches!(helpers, (Some(one), Some(other)) if one != other);
    let is_on_port = match identity.service {
        Service::Port(port) if by.port == 0 => HELPED.contains(&port),
        Service::Port(port) => port == by.port,
        _ => false,
    };
    identity.protocol == by.protocol && is_on_port && is_of_helper
}
