//! Judging flows: a fast pass that sees which packets come out, and a slow one, with traces, for those that
//! did not. A packet that comes out is proof that it passes; that one does not come out is none of a
//! drop, and so only a trace makes one.

mod around;
mod crew;
mod fast;
mod helped;
pub mod paths;
pub mod probing;
mod related;
mod slow;
mod zones;

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use self::paths::Paths;
use crate::check::doubt::{Concerns, Doubt, Effect};
use crate::check::flow::{Flow, free_ports};
use crate::check::groups::Groups;
use crate::check::guard;
use crate::check::limits::{self, flows};
use crate::check::network::Hints;
use crate::check::packet::{Packet, Step, Tuple};
use crate::check::ruleset::Ruleset;
use crate::check::setup::Setup;
use crate::check::tool::NFT;
use crate::check::trace::{Place, Tracer};
use crate::check::translation::{Translations, has_translated};
use crate::check::verdict::{Rule, Verdict};
use crate::check::wire::End;
use crate::model::capture::Capture;
use crate::model::error::Error;
use crate::model::record::Record;
use crate::netlink::build::netfilter_message;
use crate::netlink::request::transact;
use crate::netlink::uapi::{
    IPCTNL_MSG_CT_DELETE, NFNL_SUBSYS_CTNETLINK, NLM_F_ACK, NLM_F_REQUEST, message_type,
};

/// Flows that conntrack knows at once.
const ROUND: usize = 4096;
/// Ports of control connections that the kernel's helpers follow (the `ports` of net/netfilter/nf_conntrack_*.c).
const HELPED: [u16; 8] = [21, 69, 1719, 1720, 1723, 5060, 6566, 6667];
/// Answers have this bit in their number.
const ANSWER: u16 = 0x4000;

/// A ruleset that flows can be judged by.
#[derive(Debug)]
pub struct Judge {
    setup: Setup,
    round: usize,
    limits: Vec<String>,
    /// Rules that have decided.
    known: HashMap<Place, (bool, Arc<Rule>)>,
    groups: Groups,
    /// Rounds so far, counted modulo the `ROUNDS` of the fast pass.
    rounds: u16,
    /// Number of the slow pass's last packet.
    last_number: u16,
    /// Flows for which further attempts were in vain.
    hopeless: u32,
    /// Makes ephemeral ports differ.
    turn: u32,
    /// Source ports of flows whose own was folded.
    ports: Vec<u16>,
    /// The conntrack zone that packets belong to.
    zone: u16,
    /// Whether the captures tell which flows helpers expected.
    helpers_told: bool,
    /// Whether packets say that they are for many.
    tells_many: bool,
    /// The rules that flows come to, where that is asked for.
    paths: Option<Paths>,
    /// What the captures tell of translation.
    translations: Option<Translations>,
    /// Others with the same ruleset, each in a namespace of its own, who take a share of many flows.
    crew: Vec<Self>,
}

impl Judge {
    /// Makes a network namespace, loads the rulesets there, and sets up the network that the captures and
    /// `hints` tell of.
    ///
    /// Errors: a lack of privilege, of programs or of the kernel's; a ruleset that does not load.
    pub fn new(rulesets: &[Ruleset], captures: &[Capture], hints: &Hints) -> Result<Self, Error> {
        let mut setup = Setup::new(rulesets, captures, hints)?;
        let (ports, are_free) = free_ports(&setup.doubts);
        let of_ports = |doubt: &&mut Doubt| doubt.concerns == Concerns::Folded;
        for doubt in setup.doubts.iter_mut().filter(of_ports) {
            // A packet may have met such a rule then, or not.
            if !are_free {
                doubt.effect = Effect::Other;
            }
        }
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
            ports,
            zone: 0,
            helpers_told: captures.iter().all(|capture| capture.marks_picked_up),
            tells_many: false,
            paths: None,
            translations: None,
            crew: Vec::new(),
        })
    }

    /// From now on notes which rules each flow comes to. That takes a trace of each packet.
    ///
    /// Errors: the namespace can't be entered; the kernel's trace can't be had.
    pub fn note_paths(&mut self) -> Result<(), Error> {
        let tracer = self.setup.namespace.run(|| Tracer::new(true))?;
        self.setup.tracer = tracer
            .map_err(|error| Error::caused(format!("rules can't be traced: {error}"), error))?;
        self.paths = Some(Paths::default());
        Ok(())
    }

    /// The rules that the flows judged last came to, if that was asked for.
    pub const fn paths(&self) -> Option<&Paths> {
        self.paths.as_ref()
    }

    /// What is loaded, and where.
    pub const fn setup(&self) -> &Setup {
        &self.setup
    }

    /// What can't be judged as on the host, as far as it is known by now.
    pub fn limits(&self) -> &[String] {
        &self.limits
    }

    /// Judges flows: of each its first packet, and of confirmed ones that pass the first answer too.
    /// `progress` is called with the number of flows that have been judged since the last call.
    ///
    /// Errors: failing system calls. That a flow can't be judged is a verdict.
    ///
    /// Panics: if nftables answers what it can't.
    pub fn judge(
        &mut self,
        records: &[Record],
        progress: &mut dyn FnMut(u64),
    ) -> Result<Vec<Verdict>, Error> {
        for limit in limits::of_flows(records, &self.setup.network, &self.setup.rules) {
            self.limit(limit);
        }
        self.prepare(records)?;
        let mut verdicts = self.share(records, progress)?;
        self.tell_translations()?;
        if let Some(paths) = &mut self.paths {
            paths.settle();
        }
        self.question_ways(records, &mut verdicts);
        let helped = self.follow_helpers(records, &mut verdicts)?;
        self.question_helpers(records, &mut verdicts, &helped);
        self.question_devices(records, &mut verdicts)?;
        Ok(verdicts)
    }

    /// Sets up what these flows need besides.
    fn prepare(&mut self, records: &[Record]) -> Result<(), Error> {
        self.translate(records)?;
        self.let_loopback_in(records)?;
        self.tell_what_is_for_many(records)?;
        let setup = &self.setup;
        self.groups
            .join(records, &setup.namespace, &setup.network, &setup.wire)?;
        self.forget().map_err(|error| {
            Error::new(format!(
                "conntrack can't be made to forget connections ({error}): load the module with \
                 modprobe nf_conntrack_netlink, or use a kernel that has CONFIG_NF_CT_NETLINK"
            ))
        })
    }

    fn send(&self, at: End, scope: u32, packet: &Packet, step: Step) -> io::Result<()> {
        let bytes = packet.bytes(step);
        let wire = &self.setup.wire;
        wire.send(at, &bytes, packet.tuple.destination, scope)
    }

    /// A flow's first packet, with a tuple that neither is nor answers one of `tuples`; `None` if there
    /// is none.
    fn place(&mut self, flow: &Flow, tuples: &HashSet<Tuple>) -> Option<Packet> {
        let tries = if flow.free_port { 64 } else { 1 };
        for _ in 0..tries {
            self.turn = self.turn.wrapping_add(1);
            let tuple = flow.tuple(&self.ports, self.turn);
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
        let kind = message_type(NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_DELETE);
        netfilter_message(&mut bytes, kind, NLM_F_REQUEST | NLM_F_ACK, 0, 0, |_| {});
        transact(&self.setup.conntrack, &bytes, 1)
    }

    /// Has the captured translation done for what the ruleset does not translate: other tables do on the host.
    fn translate(&mut self, records: &[Record]) -> Result<(), Error> {
        self.translations = Translations::of(records, &self.setup.network);
        if let Some(translations) = &self.translations {
            let table = translations.table.as_bytes();
            NFT.output(&self.setup.namespace, &["-f", "-"], table)?;
        }
        Ok(())
    }

    /// Says what of the captured translation was done for the ruleset.
    fn tell_translations(&mut self) -> Result<(), Error> {
        let Some(translations) = &self.translations else {
            return Ok(());
        };
        let (number, ambiguous) = (translations.flows, translations.ambiguous);
        let mut any = false;
        for judge in std::iter::once(&*self).chain(&self.crew) {
            any = any || has_translated(&judge.setup.namespace)?;
        }
        if !any {
            return Ok(());
        }
        let number = flows(number as u64);
        self.limit(if self.setup.rules.translates() {
            format!(
                "what the ruleset does not translate gets the DNAT that the capture has seen, which is done elsewhere then \
                 ({number} with DNAT)"
            )
        } else {
            format!("the ruleset translates no addresses: the captured DNAT is done for it ({number})")
        });
        if ambiguous > 0 {
            self.limit(format!(
                "different DNAT of the same source, destination and service: all were judged with that of \
                 one of them ({})",
                flows(ambiguous as u64)
            ));
        }
        Ok(())
    }

    /// Has packets from elsewhere reach addresses of the loopback, where captured ones did: the host lets them
    /// (`route_localnet`, Documentation/networking/ip-sysctl.rst).
    fn let_loopback_in(&self, records: &[Record]) -> Result<(), Error> {
        let reached = records.iter().any(|record| {
            let identity = &record.identity;
            let to = identity
                .dnat()
                .map_or(identity.destination, |dnat| dnat.address);
            to.is_ipv4() && to.is_loopback() && !identity.source.is_loopback()
        });
        if !reached {
            return Ok(());
        }
        let path = Path::new("/proc/sys/net/ipv4/conf/all/route_localnet");
        let written = self.setup.namespace.run(|| fs::write(path, "1"))?;
        written.map_err(|error| Error::file(path, format!("can't be set: {error}")))
    }

    /// Has packets that are for many say so, where there are any.
    fn tell_what_is_for_many(&mut self, records: &[Record]) -> Result<(), Error> {
        let network = &self.setup.network;
        let mut destinations = records.iter().map(|record| record.identity.destination);
        if !self.tells_many && destinations.any(|address| network.is_for_many(address)) {
            let rules = guard::for_many();
            NFT.output(&self.setup.namespace, &["-f", "-"], rules.as_bytes())?;
            self.tells_many = true;
        }
        Ok(())
    }

    fn limit(&mut self, limit: String) {
        if !self.limits.contains(&limit) {
            self.limits.push(limit);
        }
    }
}
