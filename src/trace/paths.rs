//! Paths of flows through the rules, put together from the events of their first packets.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::Arc;

use crate::model::path::{Outcome, Path, Step};
use crate::model::record::{Dnat, Identity, Service, SourcePort};
use crate::model::timestamp::Timestamp;
use crate::model::tuple::Tuple;
use crate::os::own_table::is_ours;

use super::event::Met;
use super::gate::BEHIND_NAT;
use super::legacy::Logged;
use super::ruleset::{Ruleset, outcome_of};

/// So many packets are under way at a time, on all processors. A packet that has gone makes room for the next with its number.
const PACKETS_MAX: usize = 1 << 16;
/// So many entries are asked for after a turn of listening, of some microseconds each; the flows of others are told by their
/// headers alone.
const LATELY_MAX: usize = 2000;
/// So many chains decide on one packet, also in rulesets of several programs.
const STEPS_MAX: usize = 64;

/// The paths of distinct flows.
#[derive(Debug)]
pub struct Paths {
    /// The table of the gate, whose rules are none of the firewall's.
    gate: String,
    max: usize,
    by_flow: HashMap<Tuple, Path>,
    /// The flow that each packet under way began.
    packets: HashMap<u32, Tuple>,
    /// What came as which flow, of packets whose destination was translated: messages of iptables-legacy have no number of the
    /// packet.
    translated: HashMap<Tuple, Tuple>,
    /// Flows whose entries can be asked for.
    begun_lately: Vec<Tuple>,
    /// Names that are in many steps.
    names: HashSet<Arc<str>>,
    refused: u64,
    /// Packets whose flow can't be told.
    unread: u64,
    begun: u64,
    /// Rules of iptables-legacy that are not known.
    unknown: u64,
}

impl Paths {
    /// Of at most `max` flows, picked by the gate of that table.
    pub fn new(gate: &str, max: usize) -> Self {
        Self {
            gate: gate.to_owned(),
            max,
            by_flow: HashMap::new(),
            packets: HashMap::new(),
            translated: HashMap::new(),
            begun_lately: Vec::new(),
            names: HashSet::new(),
            refused: 0,
            unread: 0,
            begun: 0,
            unknown: 0,
        }
    }

    /// Takes in an event. A packet begins with that of the gate, which has it as it came, before any translation.
    pub fn add(&mut self, met: &Met<'_>) {
        if met.table == self.gate && !met.chain.starts_with(BEHIND_NAT) {
            self.begin(met);
            return;
        }
        // Of another run of this program.
        if is_ours(met.table) && met.table != self.gate {
            return;
        }
        let Some(&flow) = self.packets.get(&met.packet) else {
            return;
        };
        let now = met
            .flow
            .filter(|now| (now.destination, now.service) != (flow.destination, flow.service));
        if let (Some(now), Some(path)) = (now, self.by_flow.get_mut(&flow)) {
            path.dnat = Some(destination(now));
            if self.translated.len() >= PACKETS_MAX {
                self.translated.clear();
            }
            let source_port = path.source_port.unwrap_or(SourcePort::None);
            let came = Tuple {
                source_port,
                ..flow
            };
            self.translated.insert(now, came);
        }
        if met.table == self.gate {
            return;
        }
        let Some(outcome) = met.outcome else {
            return;
        };
        let step = Step {
            family: met.family,
            table: self.name(met.table),
            chain: self.name(met.chain),
            handle: met.handle,
            text: None,
            outcome,
        };
        if let Some(path) = self.by_flow.get_mut(&flow) {
            if path.steps.len() < STEPS_MAX {
                path.steps.push(step);
            }
        }
    }

    /// Takes in what iptables-legacy says of a packet, by the rules that it has. The packet is that of the flow which the gate has
    /// picked, since no other is marked, or one that a rule of somebody else has traced.
    pub(super) fn add_logged(&mut self, logged: &Logged, rules: &Ruleset) {
        let translated = self.translated.get(&logged.flow);
        let came = translated.copied().unwrap_or(logged.flow);
        let flow = folded(came);
        let path = self.by_flow.get(&flow);
        if path.is_none_or(|path| path.source_port != Some(came.source_port)) {
            return;
        }
        let Some((handle, text)) = rules.numbered(logged) else {
            self.unknown += 1;
            return;
        };
        let step = outcome_of(&text).map(|outcome| Step {
            family: logged.family,
            table: self.name(&logged.table),
            chain: self.name(&logged.chain),
            handle,
            text: Some(self.name(&text)),
            outcome,
        });
        let Some(path) = self.by_flow.get_mut(&flow) else {
            return;
        };
        if let Some(step) = step.filter(|step| !path.steps.contains(step)) {
            if path.steps.len() < STEPS_MAX {
                // Both kinds of rules come by sockets of their own, so without an order. What stops a packet is the last.
                let stopped = path.outcome() != Outcome::Accepted;
                let at = path.steps.len() - usize::from(stopped);
                path.steps.insert(at, step);
            }
        }
    }

    /// How often a rule of iptables-legacy was met that is not among those that are known.
    pub(super) fn unknown(&self) -> u64 {
        self.unknown
    }

    fn begin(&mut self, met: &Met<'_>) {
        self.begun += u64::from(met.handle.is_some());
        let source_port = met.flow.map(|flow| flow.source_port);
        let Some(flow) = met.flow.map(folded) else {
            // Its policy, or a packet that is none of a flow that is told apart.
            if met.handle.is_some() {
                self.packets.remove(&met.packet);
                self.unread += 1;
            }
            return;
        };
        if !self.by_flow.contains_key(&flow) && self.by_flow.len() >= self.max {
            self.refused += 1;
            self.packets.remove(&met.packet);
            return;
        }
        // Told again, after the gate was flushed, it may fare otherwise.
        let path = self.by_flow.entry(flow).or_default();
        let mut earlier = std::mem::take(&mut path.steps);
        earlier.append(&mut path.earlier);
        earlier.sort_unstable();
        earlier.dedup();
        earlier.truncate(STEPS_MAX);
        *path = Path {
            steps: Vec::new(),
            earlier,
            seen: Some(Timestamp::now()),
            source_port,
            connection: met.connection,
            identity: None,
            dnat: None,
        };
        if met.connection.is_some() && self.begun_lately.len() < LATELY_MAX {
            self.begun_lately.push(flow);
        }
        if let Some(flow) = met.flow {
            self.translated.remove(&flow);
        }
        if self.packets.len() >= PACKETS_MAX {
            self.packets.clear();
        }
        self.packets.insert(met.packet, flow);
    }

    fn name(&mut self, name: &str) -> Arc<str> {
        match self.names.get(name) {
            Some(known) => Arc::clone(known),
            None => {
                let name: Arc<str> = name.into();
                self.names.insert(Arc::clone(&name));
                name
            }
        }
    }

    /// Whether a flow is among them, by its tuple without its source port.
    pub fn has(&self, tuple: &Tuple) -> bool {
        self.by_flow.contains_key(tuple)
    }

    /// All flows with their paths, in no order. Their source ports are those of nobody.
    pub fn iter(&self) -> impl Iterator<Item = (&Tuple, &Path)> {
        self.by_flow.iter()
    }

    /// How many flows there are, and how many of them did not get through.
    pub fn counts(&self) -> (u64, u64) {
        let denied = self
            .by_flow
            .values()
            .filter(|path| path.outcome() == Outcome::Dropped);
        (self.by_flow.len() as u64, denied.count() as u64)
    }

    /// Asks for the entries of the flows that have begun since the last call. `ask` is given the tuple in zone 0, with its source
    /// port, and the number of the entry.
    ///
    /// Errors: the first one of `ask`.
    pub(super) fn identify(
        &mut self,
        mut ask: impl FnMut(&Tuple, u32) -> io::Result<Option<Identity>>,
    ) -> io::Result<()> {
        for flow in std::mem::take(&mut self.begun_lately) {
            let Some(path) = self.by_flow.get_mut(&flow) else {
                continue;
            };
            // What was stopped made none.
            if let (Some(id), Outcome::Accepted) = (path.connection, path.outcome()) {
                let tuple = Tuple {
                    source_port: path.source_port.unwrap_or(SourcePort::None),
                    ..flow
                };
                path.identity = ask(&tuple, id)?.map(Box::new);
            }
        }
        Ok(())
    }

    /// Packets that the gate has had traced and that were reported.
    pub fn begun(&self) -> u64 {
        self.begun
    }

    /// First packets whose flow is not told by their headers: IPv6 with extension headers.
    pub fn unread(&self) -> u64 {
        self.unread
    }

    /// Flows that found no room.
    pub fn refused(&self) -> u64 {
        self.refused
    }
}

/// Where a packet goes.
const fn destination(now: Tuple) -> Dnat {
    Dnat {
        address: now.destination,
        port: match now.service {
            Service::Port(port) => Some(port),
            Service::None | Service::Icmp(..) => None,
        },
    }
}

/// A flow as the gate tells flows apart: without its source port and zone.
pub const fn folded(tuple: Tuple) -> Tuple {
    Tuple {
        source_port: SourcePort::None,
        zone: 0,
        ..tuple
    }
}
