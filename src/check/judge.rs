//! Judging flows: a fast pass that sees which packets come out, and a slow one, with traces, for those that
//! did not. A packet that comes out is proof that it passes; that one does not come out is none of a
//! drop, and so only a trace makes one.

mod slow;

use std::collections::{HashMap, HashSet, VecDeque};
use std::fs;
use std::io;
use std::sync::Arc;

use crate::capture::Capture;
use crate::check::flow::Flow;
use crate::check::groups::Groups;
use crate::check::guard::TRACED;
use crate::check::limits::{self, flows};
use crate::check::network::Hints;
use crate::check::packet::{Packet, Step, Tuple};
use crate::check::ruleset::Ruleset;
use crate::check::setup::Setup;
use crate::check::tool::NFT;
use crate::check::trace::Place;
use crate::check::translation::Translations;
use crate::check::verdict::{Outcome, Rule, Verdict};
use crate::check::wire::End;
use crate::error::Error;
use crate::netlink::build::netfilter_message;
use crate::netlink::request::{NLM_F_ACK, NLM_F_REQUEST, transact};
use crate::record::Record;

/// Packets under way at once: what comes out of them fits the queue of a device (500 packets,
/// `TUN_READQ_SIZE` of drivers/net/tun.c) and the log's buffer.
const BATCH: usize = 32;
/// Flows that conntrack knows at once.
const ROUND: usize = 4096;
/// Numbers are used again after so many rounds, so that a packet that is late by a round is not taken for
/// another flow's. All are below [`ANSWER`].
const ROUNDS: u16 = 3;
/// Answers have this bit in their number.
const ANSWER: u16 = 0x4000;
/// Flows in a row that may have to wait for another round.
const PATIENCE: usize = 4096;

// include/uapi/linux/netfilter/nfnetlink.h and nfnetlink_conntrack.h
const NFNL_SUBSYS_CTNETLINK: u16 = 1;
const IPCTNL_MSG_CT_DELETE: u16 = 2;

/// A ruleset that flows can be judged by.
#[derive(Debug)]
pub struct Judge {
    setup: Setup,
    round: usize,
    limits: Vec<String>,
    /// Rules that have decided.
    known: HashMap<Place, (bool, Arc<Rule>)>,
    groups: Groups,
    /// Rounds so far, modulo [`ROUNDS`].
    rounds: u16,
    /// Number of the slow pass's last packet.
    last_number: u16,
    /// Flows for which further attempts were in vain.
    hopeless: u32,
    /// Makes ephemeral ports differ.
    turn: u32,
}

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
    /// Makes a network namespace, loads the rulesets there, and sets up the network that the captures and
    /// `hints` tell of.
    ///
    /// # Errors
    ///
    /// A lack of privilege, of programs or of the kernel's; a ruleset that does not load.
    pub fn new(rulesets: &[Ruleset], captures: &[Capture], hints: &Hints) -> Result<Self, Error> {
        let setup = Setup::new(rulesets, captures, hints)?;
        let max = fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_max");
        let max = max.ok().and_then(|text| text.trim().parse().ok());
        // 0 is no limit. Both ends of the table's life, entries being made and dying, need room.
        let room = max
            .filter(|max| *max > 0)
            .map_or(ROUND, |max: usize| max / 4);
        let mut limits = limits::of(rulesets, &setup.rules);
        limits.extend(setup.notes.iter().cloned());
        let hosts: HashSet<_> = captures.iter().map(|capture| &capture.host).collect();
        if hosts.len() > 1 {
            limits.push(
                "the captures are of several hosts, whose addresses and routes are taken for those of one"
                    .to_owned(),
            );
        }
        Ok(Self {
            setup,
            round: room.clamp(1, ROUND),
            limits,
            known: HashMap::new(),
            groups: Groups::default(),
            rounds: 0,
            last_number: 0,
            hopeless: 0,
            turn: 0,
        })
    }

    /// What can't be judged as on the host, as far as it is known by now.
    #[must_use]
    pub fn limits(&self) -> &[String] {
        &self.limits
    }

    /// Judges flows: of each its first packet, and of confirmed ones that pass the first answer too.
    /// `progress` is called with the number of flows that have been judged since the last call.
    ///
    /// # Errors
    ///
    /// Failing system calls. That a flow can't be judged is a verdict.
    ///
    /// # Panics
    ///
    /// If nftables answers what it can't.
    pub fn judge(
        &mut self,
        records: &[Record],
        progress: &mut dyn FnMut(u64),
    ) -> Result<Vec<Verdict>, Error> {
        self.translate(records)?;
        let setup = &self.setup;
        self.groups
            .join(records, &setup.namespace, &setup.network, &setup.wire)?;
        for limit in limits::of_flows(records, &setup.network, &setup.rules) {
            self.limit(limit);
        }
        let (network, wire) = (&self.setup.network, &self.setup.wire);
        let flows: Vec<Flow> = records
            .iter()
            .map(|record| Flow::new(record, network, wire))
            .collect();
        let mut verdicts: Vec<Option<Verdict>> = flows
            .iter()
            .map(|flow| {
                let why = flow.impossible.clone()?;
                Some(Verdict {
                    first: Outcome::Undecided(why, None),
                    reply: None,
                })
            })
            .collect();
        self.forget().map_err(|error| {
            Error::new(format!(
                "conntrack can't be told to forget connections ({error}): load the module with \
                 modprobe nf_conntrack_netlink, or use a kernel that has CONFIG_NF_CT_NETLINK"
            ))
        })?;
        let broken = |error: io::Error| Error::new(format!("judging failed: {error}"));
        self.fast(&flows, &mut verdicts, progress).map_err(broken)?;
        self.slow(&flows, &mut verdicts, progress).map_err(broken)?;
        Ok(verdicts
            .into_iter()
            .map(|verdict| verdict.expect("the slow pass leaves none out"))
            .collect())
    }

    /// Injects all flows and sees which get through.
    fn fast(
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

    fn send(&self, at: End, scope: u32, packet: &Packet, step: Step) -> io::Result<()> {
        let bytes = packet.bytes(step);
        let wire = &self.setup.wire;
        wire.send(at, &bytes, packet.tuple.destination, scope)
    }

    /// The number of a packet in this round.
    const fn number(&self, slot: usize) -> u16 {
        self.rounds * ROUND as u16 + slot as u16 + 1
    }

    /// Notes what has come out since.
    fn collect(&mut self, arrivals: &mut [Arrivals]) -> io::Result<()> {
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

    /// A flow's first packet, with a tuple that neither is nor answers one of `tuples`; `None` if there
    /// is none.
    fn place(&mut self, flow: &Flow, tuples: &HashSet<Tuple>) -> Option<Packet> {
        let tries = if flow.free_port { 64 } else { 1 };
        for _ in 0..tries {
            self.turn = self.turn.wrapping_add(1);
            let tuple = flow.tuple(self.turn);
            if !tuples.contains(&tuple) && !tuples.contains(&tuple.reversed()) {
                return Some(Packet {
                    tuple,
                    ..flow.packet
                });
            }
        }
        None
    }

    /// Has conntrack forget all connections.
    fn forget(&mut self) -> io::Result<()> {
        let mut bytes = Vec::new();
        let kind = NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_DELETE;
        netfilter_message(&mut bytes, kind, NLM_F_REQUEST | NLM_F_ACK, 0, 0, |_| {});
        transact(&self.setup.conntrack, &bytes, 1)
    }

    /// Has the captured DNAT done, if the ruleset does none at all.
    fn translate(&mut self, records: &[Record]) -> Result<(), Error> {
        if self.setup.rules.translates() {
            return Ok(());
        }
        let Some(translations) = Translations::of(records) else {
            return Ok(());
        };
        let table = translations.table.as_bytes();
        NFT.output(&self.setup.namespace, &["-f", "-"], table)?;
        self.limit(format!(
            "the ruleset translates no addresses: the captured DNAT is done for it ({})",
            flows(translations.flows as u64)
        ));
        if translations.ambiguous > 0 {
            self.limit(format!(
                "different DNAT of the same source, destination and service: all were judged with that of \
                 one of them ({})",
                flows(translations.ambiguous as u64)
            ));
        }
        Ok(())
    }

    fn limit(&mut self, limit: String) {
        if !self.limits.contains(&limit) {
            self.limits.push(limit);
        }
    }
}
