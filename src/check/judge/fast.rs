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
    /// Injects all flows and sees which get through.
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
            let mut round = Round::default();
            let mut later = Vec::new();
            while round.sent.len() < self.round && later.len() < PATIENCE && !pending.is_empty() {
                let begin = round.sent.len();
                let end = (begin + BATCH).min(self.round);
                while round.sent.len() < end && later.len() < PATIENCE {
                    let Some(flow) = pending.pop_front() else {
                        break;
                    };
                    match self.place(&flows[flow], &round.tuples) {
                        Some(packet) => round.add(flow, packet),
                        // conntrack would take it for an answer to another one.
                        None => later.push(flow),
                    }
                }
                self.batch(flows, &mut round, begin)?;
            }
            let mut judged = 0;
            for ((flow, _), arrived) in round.sent.iter().zip(&round.arrivals) {
                if arrived.mistaken {
                    later.push(*flow);
                }
                let Some((_, packet)) = arrived.first.filter(|_| !arrived.mistaken) else {
                    continue;
                };
                let answered = flows[*flow].answered && packet.answer(1).is_some();
                if arrived.answer || !answered {
                    verdicts[*flow] = Some(Verdict {
                        first: Outcome::Accepted,
                        reply: answered.then_some(Outcome::Accepted),
                    });
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

    /// Injects the flows of a round from `begin` on, and answers those that get through.
    fn batch(&mut self, flows: &[Flow], round: &mut Round, begin: usize) -> io::Result<()> {
        for (slot, (flow, packet)) in round.sent.iter().enumerate().skip(begin) {
            let flow = &flows[*flow];
            let number = self.number(slot);
            let packet = Packet { number, ..*packet };
            // An error is found again, and told of, in the slow pass.
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
