//! The fast pass: as many packets at a time as fit, of which it sees those that come out.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io;

use super::{ANSWER, Judge, ROUND};
use crate::check::doubt::{Concerns, settle};
use crate::check::flow::Flow;
use crate::check::guard::TRACED;
use crate::check::packet::{Packet, Step, Tuple};
use crate::check::verdict::{Exit, Outcome, Verdict};
use crate::check::wire::{End, Heard};

/// Packets under way at once: what comes out of them fits the queue of a device (500 packets,
/// `TUN_READQ_SIZE` of drivers/net/tun.c) and the log's buffer.
const BATCH: usize = 32;
/// Numbers are used again after so many rounds, so that a packet that is late by a round is not taken for
/// another flow's. All are below [`ANSWER`].
const ROUNDS: u16 = 3;
/// Flows in a row that may have to wait for another round.
const PATIENCE: usize = 4096;

/// What has come out of a flow's packets.
#[derive(Clone, Copy, Debug, Default)]
struct Arrivals {
    first: Option<(End, Packet)>,
    answer: bool,
    /// conntrack has taken the first one for another flow's.
    mistaken: bool,
}

/// Flows that conntrack knows at the same time.
#[derive(Debug, Default)]
struct Round {
    /// Their tuples, before and after translation.
    tuples: HashSet<Tuple>,
    /// Flows, and their first packets.
    sent: Vec<(usize, Packet)>,
    /// What has come out of each.
    arrivals: Vec<Arrivals>,
    /// Places among these of packets that came to a rule in doubt, whether it was the answer, and the doubt.
    doubts: Vec<(usize, bool, usize)>,
}

impl Round {
    fn add(&mut self, flow: usize, packet: Packet) {
        self.tuples.insert(packet.tuple);
        self.sent.push((flow, packet));
        self.arrivals.push(Arrivals::default());
    }

    /// What each of the flows came to.
    fn met(&self) -> HashMap<usize, Vec<(bool, usize)>> {
        let mut met: HashMap<usize, Vec<(bool, usize)>> = HashMap::new();
        for (slot, answer, doubt) in &self.doubts {
            met.entry(*slot).or_default().push((*answer, *doubt));
        }
        met
    }

    /// Finds flows from `begin` on whose first packet is an answer to an earlier one as the ruleset has
    /// translated it: A:123 to X:123 leaves as G:123 to X:123, and then X:123 to G:123 is no new flow.
    /// That shows only when the former has come out; later flows are kept apart by `tuples`.
    fn find_mistaken(&mut self, begin: usize) {
        for slot in begin..self.sent.len() {
            let tuple = self.sent[slot].1.tuple;
            let Some((_, seen)) = self.arrivals[slot].first else {
                continue;
            };
            if seen.tuple == tuple {
                continue;
            }
            self.tuples.insert(seen.tuple);
            for later in slot + 1..self.sent.len() {
                let other = self.sent[later].1.tuple;
                self.arrivals[later].mistaken |=
                    other == seen.tuple || other == seen.tuple.reversed();
            }
        }
    }
}

impl Judge {
    /// Injects all flows and sees which get through, in rounds:
    ///
    /// 1. conntrack forgets what it knows, so that no packet counts as the answer to one of an earlier round.
    /// 2. Flows are sent, a batch at a time, that conntrack can't take for one another. The others wait.
    /// 3. What has come out is accepted, with its answer if it has one. What conntrack has mistaken for an answer waits
    ///    too: say A:123 to X:123 leaves as G:123 to X:123, then X:123 to G:123, sent in the same batch, is no new flow.
    /// 4. Flows that wait are the first of the next round. Those that did not come out are left to the slow pass.
    pub(super) fn fast(
        &mut self,
        flows: &[Flow],
        verdicts: &mut [Option<Verdict>],
        progress: &mut dyn FnMut(u64),
    ) -> io::Result<()> {
        let mut pending: VecDeque<usize> = (0..flows.len())
            .filter(|&flow| verdicts[flow].is_none())
            .collect();
        while !pending.is_empty() {
            self.forget()?;
            self.rounds = (self.rounds + 1) % ROUNDS;
            let mut later = Vec::new();
            let round = self.round(flows, &mut pending, &mut later)?;
            let mut judged = 0;
            let mut met = round.met();
            for (slot, ((flow, _), arrived)) in round.sent.iter().zip(&round.arrivals).enumerate() {
                if arrived.mistaken {
                    later.push(*flow);
                } else if let Some(verdict) = accepted(&flows[*flow], &round.sent[slot].1, arrived)
                {
                    let met = met.remove(&slot).unwrap_or_default();
                    verdicts[*flow] = Some(self.settle(&flows[*flow], verdict, &met));
                    judged += 1;
                }
            }
            progress(judged);
            for flow in later.into_iter().rev() {
                pending.push_front(flow);
            }
        }
        Ok(())
    }

    /// Sends a round of flows, a batch at a time, and puts into `later` those that conntrack would take for an answer to
    /// another one of it.
    fn round(
        &mut self,
        flows: &[Flow],
        pending: &mut VecDeque<usize>,
        later: &mut Vec<usize>,
    ) -> io::Result<Round> {
        let mut round = Round::default();
        while round.sent.len() < self.round && later.len() < PATIENCE && !pending.is_empty() {
            let begin = round.sent.len();
            let end = (begin + BATCH).min(self.round);
            while round.sent.len() < end && later.len() < PATIENCE {
                let Some(flow) = pending.pop_front() else {
                    break;
                };
                match self.place(&flows[flow], &round.tuples) {
                    Some(packet) => round.add(flow, packet),
                    None => later.push(flow),
                }
            }
            self.batch(flows, &mut round, begin)?;
        }
        Ok(round)
    }

    /// Injects the flows of a round from `begin` on, and answers those that get through.
    fn batch(&mut self, flows: &[Flow], round: &mut Round, begin: usize) -> io::Result<()> {
        for (slot, (flow, packet)) in round.sent.iter().enumerate().skip(begin) {
            let flow = &flows[*flow];
            let number = self.number(slot);
            let packet = Packet { number, ..*packet };
            // The slow pass meets an error again, and reports it.
            let _ = self.send(flow.entrance, flow.scope, &packet, Step::First);
        }
        let whole = self.collect(round)?;
        round.find_mistaken(begin);
        for (slot, (flow, _)) in round.sent.iter().enumerate().skip(begin) {
            let flow = &flows[*flow];
            let arrived = &round.arrivals[slot];
            if let (Some((at, packet)), true, false) =
                (arrived.first, flow.answered, arrived.mistaken)
            {
                if let Some(answer) = packet.answer(self.number(slot) | ANSWER) {
                    let _ = self.send(at, flow.scope, &answer, Step::Answer);
                }
            }
        }
        let whole = self.collect(round)? && whole;
        if !whole && !self.setup.doubts.is_empty() {
            // Which rules in doubt they came to is not known of all.
            round.arrivals[begin..].fill(Arrivals::default());
        }
        Ok(())
    }

    /// The number of a packet in this round.
    const fn number(&self, slot: usize) -> u16 {
        self.rounds * ROUND as u16 + slot as u16 + 1
    }

    /// Notes what has come out since, and returns whether that is all.
    fn collect(&mut self, round: &mut Round) -> io::Result<bool> {
        let begin = self.number(0);
        self.setup.wire.drain(|heard, bytes| {
            let Some(packet) = Packet::read(bytes) else {
                return;
            };
            if packet.number & TRACED != 0 {
                return;
            }
            let slot = usize::from((packet.number & !ANSWER).wrapping_sub(begin));
            let is_answer = packet.number & ANSWER != 0;
            let Some(arrived) = round.arrivals.get_mut(slot) else {
                return;
            };
            match heard {
                Heard::Doubt(doubt) => round.doubts.push((slot, is_answer, doubt)),
                Heard::Out(_) if is_answer => arrived.answer = true,
                Heard::Out(end) => {
                    arrived.first.get_or_insert((end, packet));
                }
            }
        })
    }

    /// The verdict, as far as the rules in doubt that the packets came to leave one.
    pub(super) fn settle(&self, flow: &Flow, verdict: Verdict, met: &[(bool, usize)]) -> Verdict {
        let doubts = &self.setup.doubts;
        let own = flow.entrance == End::Host;
        let of = |answer: bool| {
            let met = met
                .iter()
                .filter(move |(of_answer, _)| *of_answer == answer);
            let doubts = met.filter_map(|(_, doubt)| doubts.get(*doubt));
            // The host sends the answers to what comes to it.
            doubts.filter(move |doubt| match doubt.concerns {
                Concerns::All => true,
                Concerns::Own => own != answer,
                Concerns::Folded => flow.free_port && !answer,
            })
        };
        let first = settle(verdict.first, of(false));
        let passed = first == Outcome::Accepted;
        Verdict {
            first,
            reply: { verdict.reply.filter(|_| passed) }.map(|reply| settle(reply, of(true))),
            later: verdict.later.filter(|_| passed),
            exit: verdict.exit,
        }
    }
}

/// How a packet has come out.
pub(super) fn exit(end: End, sent: &Packet, seen: &Packet) -> Exit {
    let translated = seen.tuple != sent.tuple;
    Exit {
        end,
        translated: translated.then(|| Box::new(seen.tuple)),
    }
}

/// The verdict on a flow whose packets have come out: the first one and, if it was answered and can be, the answer.
fn accepted(flow: &Flow, sent: &Packet, arrived: &Arrivals) -> Option<Verdict> {
    let (end, packet) = arrived.first?;
    let answered = flow.answered && packet.answer(1).is_some();
    (arrived.answer || !answered).then_some(Verdict {
        first: Outcome::Accepted,
        reply: answered.then_some(Outcome::Accepted),
        later: None,
        exit: Some(exit(end, sent, &packet)),
    })
}
