//! Judging flows: a fast pass that sees which packets come out, and a slow one, with traces, for those that
//! did not. A packet that comes out is proof that it passes; that one does not come out is none of a
//! drop, and so only a trace makes one.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::sockopt::{set_ip_add_membership_with_ifindex, set_ipv6_add_membership};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use crate::capture::Capture;
use crate::check::flow::Flow;
use crate::check::guard::TRACED;
use crate::check::limits;
use crate::check::network::Hints;
use crate::check::packet::{Packet, Step, Tuple};
use crate::check::ruleset::Ruleset;
use crate::check::setup::Setup;
use crate::check::tool::NFT;
use crate::check::trace::{Ending, Place};
use crate::check::translation::Translations;
use crate::check::verdict::{Outcome, Rule, Verdict};
use crate::check::wire::End;
use crate::error::Error;
use crate::netlink::build::netfilter_message;
use crate::netlink::request::{NLM_F_ACK, NLM_F_REQUEST, transact};
use crate::record::Record;
use crate::units::show_count;

/// Packets under way at once: what comes out of them fits the queue of a device (500 packets,
/// `TUN_READQ_SIZE` of drivers/net/tun.c) and the log's buffer.
const BATCH: usize = 32;
/// Flows that conntrack knows at once. Their numbers are below [`ANSWER`].
const ROUND: usize = 8192;
/// Answers have this bit in their number.
const ANSWER: u16 = 0x4000;
/// How often a packet is sent that neither comes out nor is dropped by a rule.
const ATTEMPTS: u32 = 3;
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
    /// Multicast groups that this host belongs to, by the device's index.
    groups: HashMap<(IpAddr, u32), Option<OwnedFd>>,
    /// Makes ephemeral ports differ.
    turn: u32,
}

/// What has come out of a flow's packets.
#[derive(Clone, Copy, Debug, Default)]
struct Arrivals {
    first: Option<(End, Packet)>,
    answer: bool,
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
        Ok(Self {
            setup,
            round: room.clamp(1, ROUND),
            limits,
            known: HashMap::new(),
            groups: HashMap::new(),
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
        self.join(records)?;
        self.note_unknown(records);
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
            let mut tuples: HashSet<Tuple> = HashSet::new();
            let mut round: Vec<(usize, Packet)> = Vec::new();
            let mut later = Vec::new();
            while round.len() < self.round && later.len() < PATIENCE {
                let Some(flow) = pending.pop_front() else {
                    break;
                };
                match self.place(&flows[flow], &tuples) {
                    Some(packet) => {
                        tuples.insert(packet.tuple);
                        round.push((flow, packet));
                    }
                    // conntrack would take it for an answer to another one.
                    None => later.push(flow),
                }
            }
            for flow in later.into_iter().rev() {
                pending.push_front(flow);
            }
            let mut arrivals = vec![Arrivals::default(); round.len()];
            for begin in (0..round.len()).step_by(BATCH) {
                let end = (begin + BATCH).min(round.len());
                for (slot, (flow, packet)) in round[begin..end].iter().enumerate() {
                    let flow = &flows[*flow];
                    let number = (begin + slot + 1) as u16;
                    let packet = Packet { number, ..*packet };
                    // An error is found again, and told of, in the slow pass.
                    let _ = self.send(flow.entrance, flow.scope, &packet, Step::First);
                }
                self.collect(&mut arrivals)?;
                for (slot, (flow, _)) in round[begin..end].iter().enumerate() {
                    let flow = &flows[*flow];
                    let number = (begin + slot + 1) as u16 | ANSWER;
                    let (Some((at, packet)), true) = (arrivals[begin + slot].first, flow.answered)
                    else {
                        continue;
                    };
                    if let Some(answer) = packet.answer(number) {
                        let _ = self.send(at, flow.scope, &answer, Step::Answer);
                    }
                }
                self.collect(&mut arrivals)?;
            }
            let mut judged = 0;
            for ((flow, _), arrived) in round.iter().zip(&arrivals) {
                let Some((_, packet)) = arrived.first else {
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
        }
        Ok(())
    }

    /// Injects those that have no verdict yet one by one, and has the kernel tell what becomes of them.
    fn slow(
        &mut self,
        flows: &[Flow],
        verdicts: &mut [Option<Verdict>],
        progress: &mut dyn FnMut(u64),
    ) -> io::Result<()> {
        let mut tuples: HashSet<Tuple> = HashSet::new();
        self.forget()?;
        for (flow, verdict) in flows.iter().zip(verdicts) {
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
            *verdict = Some(self.trace(flow, &packet)?);
            progress(1);
        }
        Ok(())
    }

    /// Finds out what becomes of one flow.
    fn trace(&mut self, flow: &Flow, packet: &Packet) -> io::Result<Verdict> {
        let number = TRACED | 1;
        let first = Packet { number, ..*packet };
        let mut attempt = 0;
        loop {
            attempt += 1;
            let last = attempt == ATTEMPTS;
            let (arrived, outcome) =
                self.follow(flow.entrance, flow.scope, &first, Step::First, last)?;
            let Some((at, seen)) = arrived else {
                match outcome {
                    Some(first) => return Ok(Verdict { first, reply: None }),
                    None => {
                        self.again(attempt)?;
                        continue;
                    }
                }
            };
            let answer = seen.answer(number | ANSWER).filter(|_| flow.answered);
            let Some(answer) = answer else {
                return Ok(Verdict {
                    first: Outcome::Accepted,
                    reply: None,
                });
            };
            let (arrived, outcome) = self.follow(at, flow.scope, &answer, Step::Answer, last)?;
            let reply = arrived.map(|_| Outcome::Accepted).or(outcome);
            match reply {
                Some(reply) => {
                    return Ok(Verdict {
                        first: Outcome::Accepted,
                        reply: Some(reply),
                    });
                }
                None => self.again(attempt)?,
            }
        }
    }

    /// Before another attempt: a fresh connection, and time for whatever was late.
    fn again(&mut self, attempt: u32) -> io::Result<()> {
        std::thread::sleep(Duration::from_millis(u64::from(attempt) * 5));
        self.collect(&mut [])?;
        self.forget()
    }

    /// Sends a packet with its trace on: where it came out, or what the trace says. Neither, if that is
    /// worth another attempt.
    fn follow(
        &mut self,
        at: End,
        scope: u32,
        packet: &Packet,
        step: Step,
        last: bool,
    ) -> io::Result<(Option<(End, Packet)>, Option<Outcome>)> {
        self.setup.tracer.ending()?;
        let sent = self.send(at, scope, packet, step);
        let mut arrived = None;
        self.setup.wire.drain(|end, bytes| {
            let read = Packet::read(bytes).filter(|read| read.number == packet.number);
            arrived = arrived.or(read.map(|read| (end, read)));
        })?;
        if arrived.is_some() {
            return Ok((arrived, None));
        }
        let undecided = |why: &str| Outcome::Undecided(Arc::from(why), None);
        let outcome = match self.setup.tracer.ending()? {
            Some(Ending::Dropped(place)) => {
                let (rejects, rule) = self.rule(place);
                Some(if rejects {
                    Outcome::Rejected(rule)
                } else {
                    Outcome::Dropped(rule)
                })
            }
            Some(Ending::Queued(place)) => {
                let (_, rule) = self.rule(place);
                let why = "a rule hands it to a program, which does not run here";
                Some(Outcome::Undecided(Arc::from(why), Some(rule)))
            }
            Some(Ending::Stolen(place)) => {
                let (_, rule) = self.rule(place);
                let why = "a rule takes it over (synproxy or the like), which does not work here";
                Some(Outcome::Undecided(Arc::from(why), Some(rule)))
            }
            _ if !last => None,
            None => Some(undecided(
                "the kernel could not deliver all of its trace: try again when the machine is less busy",
            )),
            Some(ending) => Some(match sent {
                // A drop in the output hook is that too, but that has a trace.
                Err(error) => undecided(&format!(
                    "not by the ruleset: the kernel does not send it: {error}"
                )),
                Ok(()) if ending == Ending::Unseen => undecided(
                    "not by the ruleset: no rule sees it, and the kernel does not let it through \
                     (an address that can't come from there, or no route)",
                ),
                Ok(()) => undecided(
                    "not by the ruleset: every rule lets it pass, but the kernel does not (an address \
                     that can't come from there, or no route)",
                ),
            }),
        };
        Ok((None, outcome))
    }

    fn send(&self, at: End, scope: u32, packet: &Packet, step: Step) -> io::Result<()> {
        let bytes = packet.bytes(step);
        let wire = &self.setup.wire;
        wire.send(at, &bytes, packet.tuple.destination, scope)
    }

    /// Notes what has come out since.
    fn collect(&mut self, arrivals: &mut [Arrivals]) -> io::Result<()> {
        self.setup.wire.drain(|end, bytes| {
            let Some(packet) = Packet::read(bytes) else {
                return;
            };
            if packet.number & TRACED != 0 {
                return;
            }
            let slot = usize::from(packet.number & !ANSWER).wrapping_sub(1);
            let Some(arrived) = arrivals.get_mut(slot) else {
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

    /// The rule of a place, and whether it rejects.
    fn rule(&mut self, place: Place) -> (bool, Arc<Rule>) {
        let rules = &self.setup.rules;
        let (rejects, rule) = self.known.entry(place).or_insert_with_key(|place| {
            let text = rules.text(place);
            let rule = Rule {
                family: place.family.to_owned(),
                table: place.table.clone(),
                chain: place.chain.clone(),
                handle: place.handle,
                text,
            };
            (rejects(&rule.text), Arc::new(rule))
        });
        (*rejects, Arc::clone(rule))
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
        self.limits.push(format!(
            "the ruleset translates no addresses; the DNAT of {} flows is done as captured",
            show_count(translations.flows as u64)
        ));
        if translations.ambiguous > 0 {
            self.limits.push(format!(
                "{} flows go to another destination by DNAT than others of the same source, destination \
                 and service, and were judged with the same",
                show_count(translations.ambiguous as u64)
            ));
        }
        Ok(())
    }

    /// Makes this host a member of the multicast groups that flows to it go to: the kernel drops others
    /// before any rule but those of prerouting sees them.
    fn join(&mut self, records: &[Record]) -> Result<(), Error> {
        let (network, wire) = (&self.setup.network, &self.setup.wire);
        let mut wanted = HashSet::new();
        for identity in records.iter().map(|record| &record.identity) {
            if identity.destination.is_multicast() && !network.is_local(identity.source) {
                let device = network.towards(identity.source);
                wanted.extend(
                    wire.index(device)
                        .map(|index| (identity.destination, index)),
                );
            }
        }
        wanted.retain(|group| !self.groups.contains_key(group));
        if wanted.is_empty() {
            return Ok(());
        }
        let joined = self.setup.namespace.run(|| {
            let join = |(group, index)| (((group, index)), member(group, index).ok());
            wanted.into_iter().map(join).collect::<Vec<_>>()
        })?;
        self.groups.extend(joined);
        Ok(())
    }

    /// Notes what is not known of these flows.
    fn note_unknown(&mut self, records: &[Record]) {
        let network = &self.setup.network;
        let rules = &self.setup.rules;
        let mut assumed: BTreeMap<&str, (u64, IpAddr)> = BTreeMap::new();
        let (mut zoned, mut unspecified) = (0, 0);
        let mut unseen: BTreeMap<&str, u64> = BTreeMap::new();
        for identity in records.iter().map(|record| &record.identity) {
            zoned += u64::from(identity.zone != 0);
            unspecified += u64::from(identity.source.is_unspecified());
            for address in [identity.source, identity.destination] {
                if network.is_local(address) || network.is_for_many(address) {
                    continue;
                }
                if let Some(device) = network.assumed(address) {
                    assumed.entry(device).or_insert((0, address)).0 += 1;
                    break;
                }
            }
            let family = if identity.source.is_ipv4() {
                "ip"
            } else {
                "ip6"
            };
            if !rules.sees(family) {
                *unseen.entry(family).or_default() += 1;
            }
        }
        let mut limits = Vec::new();
        if !network.knows_addresses() && !records.is_empty() {
            limits.push(
                "the capture does not tell the host's own addresses, so every flow counts as passing \
                 through: name them with --local ADDRESS/PREFIX"
                    .to_owned(),
            );
        }
        for (device, (flows, example)) in assumed {
            limits.push(format!(
                "nobody tells which device {} flows come in or go out by ({example} among them); it was taken \
                 to be {device}: say so with --interface NETWORK=DEVICE",
                show_count(flows)
            ));
        }
        for (family, flows) in unseen {
            let (version, hint) = if family == "ip" {
                ("IPv4", "")
            } else {
                (
                    "IPv6",
                    "; rules of ip6tables-save are given with --also FILE",
                )
            };
            limits.push(format!(
                "no chain of the ruleset sees {version}: {} flows pass for that reason alone{hint}",
                show_count(flows)
            ));
        }
        if zoned > 0 {
            limits.push(format!(
                "{} flows are of conntrack zones other than 0, and are judged in zone 0 unless the ruleset \
                 itself sets zones",
                show_count(zoned)
            ));
        }
        if unspecified > 0 {
            limits.push(format!(
                "{} flows have no source address yet (DHCP): the device they came in by can't be known",
                show_count(unspecified)
            ));
        }
        for limit in limits {
            if !self.limits.contains(&limit) {
                self.limits.push(limit);
            }
        }
    }
}

/// Whether a rule that drops also tells the sender.
fn rejects(rule: &str) -> bool {
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

/// A socket that is a member of a group, and makes this host one.
fn member(group: IpAddr, index: u32) -> io::Result<OwnedFd> {
    let family = if group.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let socket = socket_with(family, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    match group {
        IpAddr::V4(group) => set_ip_add_membership_with_ifindex(
            &socket,
            &group,
            &std::net::Ipv4Addr::UNSPECIFIED,
            index,
        )?,
        IpAddr::V6(group) => set_ipv6_add_membership(&socket, &group, index)?,
    }
    Ok(socket)
}
