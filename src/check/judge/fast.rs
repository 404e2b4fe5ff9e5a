//! The fast pass: as many packets at a time as fit, of which it sees those that come out.

use std::collections::{HashSet, VecDeque};
use std::io;

use super::{ANSWER, Judge, ROUND};
use crate::check::flow::Flow;
use crate::check::guard::TRACED;
use crate::check::packet::{Packet, Step, Tuple};
use crate::check::verdict::{Outcome, Verdict};
use crate::check::wire::End;

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
pub(super) struct Arrivals {
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
}

impl Round {
    fn add(&mut self, flow: usize, packet: Packet) {
        self.tuples.insert(packet.tuple);
        self.sent.push((flow, packet));
        self.arrivals.push(Arrivals::default());
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
            for ((flow, _), arrived) in round.sent.iter().zip(&round.arrivals) {
                if arrived.mistaken {
                    later.push(*flow);
                } else if let Some(verdict) = accepted(&flows[*flow], arrived) {
                    verdicts[*flow] = Some(verdict);
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
        self.collect(&mut round.arrivals)?;
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
        self.collect(&mut round.arrivals)
    }

    /// The number of a packet in this round.
    const fn number(&self, slot: usize) -> u16 {
        self.rounds * ROUND as u16 + slot as u16 + 1
    }

    /// Notes what has come out since.
    pub(super) fn collect(&mut self, arrivals: &mut [Arrivals]) -> io::Result<()> {
        let begin = self.number(0);
        self.setup.wire.drain(|end, bytes| {
            let Some(packet) = Packet::read(bytes) else {
                return;
            };
            if packet.number & TRACED != 0 {
                return;
            }
            let slot = (packet.number & !ANSWER).wrapping_sub(begin);
            let Some(arrived) = arrivals.get_mut(usize::from(slot)) else {
                return;
            };
            if packet.number & ANSWER != 0 {
                arrived.answer = true;
            } else {
                arrived.first.get_or_insert((end, packet));
            }
        })
    }
}

/// The verdict on a flow whose packets have come out: the first one and, if it was answered and can be, the answer.
fn accepted(flow: &Flow, arrived: &Arrivals) -> Option<Verdict> {
    let (_, packet) = arrived.first?;
    let answered = flow.answered && packet.answer(1).is_some();
    (arrived.answer || !answered).then_some(Verdict {
        first: Outcome::Accepted,
        reply: answered.then_some(Outcome::Accepted),
    })
}
