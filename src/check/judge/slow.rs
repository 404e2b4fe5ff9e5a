//! The slow pass: one packet at a time, with the kernel telling which rules it comes to.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::{ANSWER, Judge, fast};
use crate::check::flow::Flow;
use crate::check::guard::TRACED;
use crate::check::limits::without_quoted;
use crate::check::packet::{Packet, Step, Tuple};
use crate::check::trace::{Ending, Place};
use crate::check::verdict::{Outcome, Rule, Verdict};
use crate::check::wire::{End, Heard};
use crate::model::record::Protocol;

/// How often a packet is sent that neither comes out nor is dropped by a rule.
pub(super) const ATTEMPTS: u32 = 3;
/// So many flows for which no attempt was better than the first, and none for which one was, show that
/// nothing is lost here: the rest gets one attempt each.
const HOPELESS: u32 = 32;

/// Why nothing can be said when messages of the kernel are missing.
const LATE: &str =
    "the kernel could not deliver the whole trace: try again when the machine is less busy";

/// What became of a packet.
pub(super) enum Fate {
    /// It came out there.
    Arrived(End, Packet),
    /// It did not.
    Ended(Outcome),
    /// That is not known, and worth another attempt.
    Unclear,
}

impl Judge {
    /// Judges the flows that have no verdict yet.
    pub(super) fn slow(
        &mut self,
        flows: &[Flow],
        verdicts: &mut [Option<Verdict>],
        progress: &mut dyn FnMut(u64),
    ) -> io::Result<()> {
        let mut tuples: HashSet<Tuple> = HashSet::new();
        self.forget()?;
        for (at, (flow, verdict)) in flows.iter().zip(verdicts).enumerate() {
            if verdict.is_some() {
                continue;
            }
            let mut packet = self.place(flow, &tuples);
            if packet.is_none() || tuples.len() >= self.round {
                self.forget()?;
                tuples.clear();
                packet = self.place(flow, &tuples);
            }
            let packet = packet.expect("nothing is in the way of the only one");
            tuples.insert(packet.tuple);
            *verdict = Some(self.trace(flow, &packet, &mut tuples)?);
            if let Some(paths) = &mut self.paths {
                paths.end(at);
            }
            progress(1);
        }
        Ok(())
    }

    /// Judges one flow, and adds what became of its tuple by translation.
    fn trace(
        &mut self,
        flow: &Flow,
        packet: &Packet,
        tuples: &mut HashSet<Tuple>,
    ) -> io::Result<Verdict> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let last = attempt == ATTEMPTS || self.hopeless >= HOPELESS;
            if let Some(verdict) = self.attempt(attempt, last, flow, packet, tuples)? {
                return Ok(verdict);
            }
            self.again(attempt)?;
        }
    }

    /// Judges one flow, unless its fate is unclear and this is not the `last` attempt.
    pub(super) fn attempt(
        &mut self,
        attempt: u32,
        last: bool,
        flow: &Flow,
        packet: &Packet,
        tuples: &mut HashSet<Tuple>,
    ) -> io::Result<Option<Verdict>> {
        if let Some(paths) = &mut self.paths {
            paths.begin();
        }
        let mut met = Vec::new();
        let packet = self.numbered(packet);
        let at = (flow.entrance, flow.scope);
        let (at, seen) = match self.follow(at, &packet, Step::First, last, &mut met)? {
            Fate::Arrived(at, seen) => (at, seen),
            Fate::Ended(first) => {
                self.learn(attempt, &first);
                return Ok(Some(self.settle(flow, Verdict::of_first(first), &met)));
            }
            Fate::Unclear => return Ok(None),
        };
        tuples.insert(seen.tuple);
        let exit = fast::exit(at, &packet, &seen);
        let accepted = |judge: &Self, reply, met: &[_]| {
            let verdict = Verdict {
                reply,
                exit: Some(exit.clone()),
                ..Verdict::of_first(Outcome::Accepted)
            };
            judge.settle(flow, verdict, met)
        };
        let answer = seen.answer(packet.number | ANSWER);
        let Some(answer) = answer.filter(|_| flow.answered) else {
            return Ok(Some(accepted(self, None, &met)));
        };
        match self.follow((at, flow.scope), &answer, Step::Answer, last, &mut met)? {
            Fate::Arrived(..) => {
                let mut verdict = accepted(self, Some(Outcome::Accepted), &met);
                if verdict.passes() {
                    verdict.later = self.later(flow, &packet)?;
                }
                Ok(Some(verdict))
            }
            Fate::Ended(reply) => {
                self.learn(attempt, &reply);
                Ok(Some(accepted(self, Some(reply), &met)))
            }
            Fate::Unclear => Ok(None),
        }
    }

    /// The packet with another number each time, so that a late one is not taken for the next.
    pub(super) const fn numbered(&mut self, packet: &Packet) -> Packet {
        self.last_number = self.last_number % (ANSWER - 1) + 1;
        Packet {
            number: TRACED | self.last_number,
            ..*packet
        }
    }

    /// Where it is asked which rules are needed, sends another packet of the first direction: it is of an established
    /// connection by then, for which there are rules of their own. For protocols whose later packets are not built here
    /// that is left out.
    fn later(&mut self, flow: &Flow, packet: &Packet) -> io::Result<Option<Outcome>> {
        let built = ![Protocol::SCTP, Protocol::DCCP].contains(&packet.tuple.protocol);
        if self.paths.is_none() || !built {
            return Ok(None);
        }
        let packet = self.numbered(packet);
        let at = (flow.entrance, flow.scope);
        let mut met = Vec::new();
        let outcome = match self.follow(at, &packet, Step::Later, true, &mut met)? {
            Fate::Arrived(..) => Outcome::Accepted,
            Fate::Ended(outcome) => outcome,
            Fate::Unclear => return Ok(None),
        };
        let verdict = Verdict::of_first(outcome);
        Ok(Some(self.settle(flow, verdict, &met).first))
    }

    /// Takes in how the attempts on a flow ended.
    fn learn(&mut self, attempts: u32, outcome: &Outcome) {
        match outcome {
            Outcome::Undecided(..) => self.hopeless = self.hopeless.saturating_add(1),
            _ if attempts > 1 => self.hopeless = 0,
            _ => {}
        }
    }

    /// Before another attempt: a fresh connection, and time for whatever was late.
    pub(super) fn again(&mut self, attempt: u32) -> io::Result<()> {
        std::thread::sleep(Duration::from_millis(u64::from(attempt) * 5));
        self.setup.wire.drain(|_, _| ())?;
        self.forget()
    }

    /// Sends a packet, finds out what becomes of it, and notes the doubts that it came to. After the `last` attempt that is
    /// never unclear.
    pub(super) fn follow(
        &mut self,
        (at, scope): (End, u32),
        packet: &Packet,
        step: Step,
        last: bool,
        met: &mut Vec<(bool, usize)>,
    ) -> io::Result<Fate> {
        self.setup.tracer.ending()?;
        let sent = self.send(at, scope, packet, step);
        let mut arrived = None;
        let mut doubts = Vec::new();
        let whole = self.setup.wire.drain(|heard, bytes| {
            let read = Packet::read(bytes).filter(|read| read.number == packet.number);
            match (heard, read) {
                (Heard::Doubt(doubt), Some(_)) => {
                    met.push((step == Step::Answer, doubt));
                    doubts.push(doubt);
                }
                (Heard::Out(end), Some(read)) => arrived = arrived.or(Some((end, read))),
                (_, None) => {}
            }
        })?;
        let mut followed = None;
        if let Some(paths) = &mut self.paths {
            let mut passed = Vec::new();
            let ending = self.setup.tracer.path(&mut passed)?;
            paths.add(step, &passed, &doubts, whole && ending.is_some());
            followed = Some(ending);
        }
        if !whole && !self.setup.doubts.is_empty() {
            if !last {
                return Ok(Fate::Unclear);
            }
            return Ok(Fate::Ended(Outcome::Undecided(Arc::from(LATE), None)));
        }
        if let Some((end, packet)) = arrived {
            return Ok(Fate::Arrived(end, packet));
        }
        let ending = match followed {
            Some(ending) => ending,
            None => self.setup.tracer.ending()?,
        };
        let undecided = |why: &str, rule| Outcome::Undecided(Arc::from(why), rule);
        Ok(Fate::Ended(match ending {
            Some(Ending::Dropped(place)) => {
                let (rejects, rule) = self.rule(place);
                if rejects {
                    Outcome::Rejected(rule)
                } else {
                    Outcome::Dropped(rule)
                }
            }
            Some(Ending::Queued(place)) => undecided(
                "a rule hands it to a program, which does not run here",
                Some(self.rule(place).1),
            ),
            Some(Ending::Stolen(place)) => undecided(
                "a rule takes it over (synproxy or the like), which does not work here",
                Some(self.rule(place).1),
            ),
            _ if !last => return Ok(Fate::Unclear),
            None => undecided(LATE, None),
            Some(ending) => match (sent, ending) {
                (Err(error), _) => undecided(
                    &format!("not by the ruleset: the kernel does not send it: {error}"),
                    None,
                ),
                (Ok(()), _) if self.setup.rules.stops_trace() => undecided(
                    "it does not come out, and a rule of the ruleset switches tracing off (meta nftrace set 0), so that \
                     the kernel does not report what drops it: take that rule out",
                    None,
                ),
                (Ok(()), Ending::Unseen) => undecided(
                    "not by the ruleset: the kernel drops it before any rule sees it (no route, or an \
                     address that can't come from there)",
                    None,
                ),
                (Ok(()), _) => undecided(
                    "not by the ruleset: every rule lets it pass, and the kernel drops it (no route, or \
                     an address that can't come from there)",
                    None,
                ),
            },
        }))
    }

    /// The rule of a place, and whether it rejects.
    fn rule(&mut self, place: Place) -> (bool, Arc<Rule>) {
        let rules = &self.setup.rules;
        let (rejects, rule) = self.known.entry(place).or_insert_with_key(|place| {
            let (handle, text) = rules.rule(place);
            let rule = Rule {
                family: place.family.to_owned(),
                table: place.table.clone(),
                chain: place.chain.clone(),
                handle,
                text,
            };
            (rejects(&rule.text), Arc::new(rule))
        });
        (*rejects, Arc::clone(rule))
    }
}

/// Whether a rule that drops also tells the sender.
fn rejects(rule: &str) -> bool {
    let rule = without_quoted(rule);
    let words: Vec<&str> = rule
        .split(|c: char| c.is_whitespace() || c == ',')
        .filter(|word| !word.is_empty())
        .collect();
    // "reject" may also be the name of a chain.
    words.iter().enumerate().any(|(at, word)| {
        let before = at.checked_sub(1).map(|at| words[at]);
        match *word {
            "reject" => !matches!(before, Some("jump" | "goto")),
            "REJECT" => before == Some("-j"),
            _ => false,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejecting_is_told_from_dropping_by_the_rule() {
        let rejecting = [
            "tcp dport 113 reject with tcp reset",
            "-A INPUT -p udp -j REJECT --reject-with icmp-port-unreachable",
            "counter packets 0 bytes 0 reject",
        ];
        let dropping = [
            "drop",
            "policy drop",
            "tcp dport vmap { 22 : drop, 80 : jump reject, 81 : goto reject }",
            "drop comment \"instead of reject\"",
            "-A INPUT -m comment --comment \"no -j REJECT\" -j DROP",
        ];
        assert!(rejecting.iter().all(|rule| rejects(rule)));
        assert!(!dropping.iter().any(|rule| rejects(rule)));
    }
}
