//! The ruleset before it is in any language.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use ipnet::IpNet;

use super::by_hand::{ByHand, Example, Networks};
use super::covering::Covering;
use super::direction::{Chain, Host};
use super::extra::Observed;
use super::general::General;
use super::group::{Group, groups, list_with_sports};
use super::left_out::{LeftOut, left_out};
use super::names::Names;
use super::related::Related;
use super::rule::{Rule, merge_protocols};
use super::seen::{Class, Flows, Seen, Tally};
use super::widening::Widening;
use crate::model::capture::Capture;
use crate::model::record::{Identity, Protocol, Record, Service};
use crate::model::selection::SourcePorts;
use crate::model::services::Services;

/// So many sets of source ports within a class get rules of their own. There are more only in captures that
/// keep every port, where they mean nothing.
const SPORT_SETS: usize = 32;
/// And where there are more, those of so many flows still do.
const SPORT_FLOWS: usize = 8;

/// What a chain does with packets that no rule accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Policy {
    /// What no rule accepts is dropped.
    Drop,
    /// What no rule accepts is accepted all the same.
    Accept,
}

impl Policy {
    /// The word for it in nft's and iptables' languages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Drop => "drop",
            Self::Accept => "accept",
        }
    }
}

/// The policy of each chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policies(pub [Policy; 3]);

impl Policies {
    /// That of a chain.
    pub const fn of(self, chain: Chain) -> Policy {
        self.0[chain as usize]
    }
}

impl Default for Policies {
    fn default() -> Self {
        Self([Policy::Drop; 3])
    }
}

/// What a ruleset is to be like.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// What becomes of packets that no rule accepts, by chain.
    pub policies: Policies,
    /// Addresses and networks of the host, besides those that captures have.
    pub local: Vec<IpNet>,
    /// Whether flows that nobody answered get rules too.
    pub include_unconfirmed: bool,
    /// Whether those to multicast and broadcast addresses do, where answers never count as such.
    pub include_multicast: bool,
    /// Per cent of a block's addresses that need not have been seen: 0 to 99.
    pub widen: u8,
    /// Networks of clients and servers that are accepted as a whole where one of their addresses is one.
    pub by_hand: ByHand,
    /// Names of ports.
    pub services: Services,
    /// Names of networks and hosts.
    pub names: Names,
}

impl Options {
    /// How far rules may go for a service.
    fn widening(&self, class: Class, service: Service) -> Widening {
        let ends = self.by_hand.ends(class.family, class.protocol, service);
        // What the gateway sends has its own addresses, whatever network these are of; and it is asked at those.
        let clients = match class.chain {
            Chain::Output => Networks::default(),
            _ => ends.clients,
        };
        let servers = match class.chain {
            Chain::Input => Networks::default(),
            _ => ends.servers,
        };
        Widening::new(self.widen, clients, servers)
    }
}

/// How many flows were answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answers {
    /// How many flows there are.
    pub all: u64,
    /// Those without an answer.
    pub unanswered: u64,
}

impl Answers {
    /// Those of the TCP flows.
    pub(super) fn of(records: &[Record]) -> Self {
        let mut answers = Self::default();
        let tcp = { records.iter() }.filter(|record| record.identity.protocol == Protocol::TCP);
        for record in tcp {
            answers.all += 1;
            answers.unanswered += u64::from(!record.confirmed);
        }
        answers
    }
}

/// A ruleset, in no firewall's language.
#[derive(Debug)]
pub struct Plan {
    /// The captures it is from.
    pub captures: Vec<Capture>,
    /// The options that it was planned with.
    pub options: Options,
    /// The chains that it has. Without the host's addresses that is forward alone: nothing is known then of
    /// what the others need.
    pub chains: Vec<Chain>,
    /// The rules that accept, sorted by chain.
    pub rules: Vec<Rule>,
    /// What the rule for `lo` carries.
    pub loopback: Tally,
    /// What the rules for related connections carry.
    pub related: Related,
    /// Open connections that were picked up in the middle and are left out, the newest first.
    pub unclear: Vec<Identity>,
    /// Whether privileged source ports were folded.
    pub reserved: bool,
    /// TCP flows, and how many of them nobody answered.
    pub tcp: Answers,
    /// Flows without a rule.
    pub left_out: Vec<LeftOut>,
    /// What the administrator has to know before anything else.
    pub warnings: Vec<String>,
    /// What stands instead of the rules where they were generalized.
    pub general: Option<General>,
    host: Host,
}

/// Plans a ruleset for the flows of some captures.
pub fn plan(captures: &[Capture], records: &[Record], options: &Options) -> Plan {
    let host = Host::new(captures, &options.local);
    let kept = |capture: &Capture| {
        let mut options = capture.options.iter();
        options.any(|option| option == SourcePorts::KEPT)
    };
    let keep_ports = captures.iter().any(kept);
    let flows = Flows::gather(records, &host, options, keep_ports);
    let mut rules = Vec::new();
    let all: Vec<usize> = (0..flows.accepted.len()).collect();
    let class = |index: &usize| flows.accepted[*index].class;
    for members in all.chunk_by(|one, other| class(one) == class(other)) {
        for (widening, members) in by_widening(&flows, members, options) {
            rules.extend(of_class(&flows, &members, &widening));
        }
    }
    let mut rules = merge_protocols(rules);
    rules.sort_by_cached_key(Rule::order);
    let tcp = Answers::of(records);
    let unused = unused(options, flows.accepted.iter().map(Example::from));
    let mut plan = Plan::new(captures, options, (flows, tcp), host, (rules, None));
    plan.warnings.extend(unused);
    plan
}

/// Warnings of values that no flow is an example of.
pub(super) fn unused(options: &Options, examples: impl Iterator<Item = Example>) -> Vec<String> {
    let unused = options.by_hand.unused(examples).into_iter();
    unused
        .map(|what| {
            format!("{what} changes nothing: no such flow was seen from or to one of its addresses")
        })
        .collect()
}

impl From<&Seen> for Example {
    fn from(seen: &Seen) -> Self {
        Self {
            chain: seen.class.chain,
            family: seen.class.family,
            protocol: seen.class.protocol,
            service: seen.service,
            source: seen.source,
            destination: seen.destination,
        }
    }
}

/// The flows of a class by how far their rules may go, which hangs on the service where values were given for some.
fn by_widening(flows: &Flows, members: &[usize], options: &Options) -> Vec<(Widening, Vec<usize>)> {
    let class = flows.accepted[members[0]].class;
    let given = options.by_hand.0.iter();
    if given.clone().all(|given| given.services.is_empty()) {
        // One for all services.
        return vec![(options.widening(class, Service::None), members.to_vec())];
    }
    let mut known: HashMap<Service, Widening> = HashMap::new();
    let mut parts: BTreeMap<Widening, Vec<usize>> = BTreeMap::new();
    for &member in members {
        let service = flows.accepted[member].service;
        let widening = known
            .entry(service)
            .or_insert_with(|| options.widening(class, service));
        match parts.get_mut(widening) {
            Some(part) => part.push(member),
            None => {
                parts.insert(widening.clone(), vec![member]);
            }
        }
    }
    parts.into_iter().collect()
}

/// The rules for the flows of one class, which come sorted by their sets of source ports:
///
/// 1. Flows of one set are a chunk, which is grouped by itself: the set is a condition of each of its rules.
/// 2. Where there are many sets, as in a capture that keeps every port, small chunks are put together in one list, each
///    element of which has its own source ports.
/// 3. With widening, a rule says which of the flows that it admits nobody saw. Seen counts here what a chunk whose source
///    ports include those of the rule has: of 1.2.3.4 with any port, a rule for port 123 has seen 1.2.3.4.
fn of_class(flows: &Flows, members: &[usize], widening: &Widening) -> Vec<Rule> {
    let sports = |index: &usize| flows.accepted[*index].sports;
    let chunks: Vec<&[usize]> = members
        .chunk_by(|one, other| sports(one) == sports(other))
        .collect();
    let many = chunks.len() > SPORT_SETS;
    let is_small = |chunk: &&&[usize]| many && chunk.len() < SPORT_FLOWS;
    let ports = |chunk: &[usize]| flows.sports[sports(&chunk[0])].as_slice();
    let covering = (!widening.is_exact())
        .then(|| Covering::new(chunks.iter().map(|chunk| ports(chunk)).collect()));
    let observed = |chunk: &[usize]| {
        let covering = covering.as_ref()?.of(ports(chunk));
        let members = covering.flat_map(|other| chunks[other]).copied();
        Some(Observed::new(&flows.accepted, members, widening))
    };
    let mut rules = Vec::new();
    for chunk in chunks.iter().filter(|chunk| !is_small(chunk)) {
        let observed = observed(chunk);
        for group in groups(&flows.accepted, chunk, widening) {
            rules.push(rule(flows, group, observed.as_ref()));
        }
    }
    let mixed: Vec<usize> = chunks
        .iter()
        .filter(is_small)
        .copied()
        .flatten()
        .copied()
        .collect();
    if !mixed.is_empty() {
        let group = list_with_sports(&flows.accepted, &mixed, &flows.sports);
        rules.push(Rule {
            sports: Vec::new(),
            ..rule(flows, group, None)
        });
    }
    rules
}

fn rule(flows: &Flows, group: Group, observed: Option<&Observed<'_>>) -> Rule {
    let members: Vec<&Seen> = group
        .members
        .iter()
        .map(|&index| &flows.accepted[index])
        .collect();
    let mut tally = Tally::default();
    for seen in &members {
        tally.add(&seen.tally);
    }
    let class = members[0].class;
    Rule {
        chain: class.chain,
        family: class.family,
        zone: flows.zoned.then_some(class.zone),
        protocols: vec![class.protocol],
        coded: class.coded,
        translated: class.translated,
        sports: flows.sports[members[0].sports].clone(),
        tally,
        sources: different(members.iter().map(|seen| seen.source)),
        destinations: different(members.iter().map(|seen| seen.destination)),
        extras: observed.map_or_else(Vec::new, |observed| observed.extras(class.protocol, &group)),
        services: group.services,
        matching: group.matching,
    }
}

fn different(addresses: impl Iterator<Item = u128>) -> usize {
    let mut addresses: Vec<u128> = addresses.collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses.len()
}

impl Plan {
    /// That of generalized rules.
    pub(super) fn general(
        captures: &[Capture],
        options: &Options,
        flows: (Flows, Answers),
        host: Host,
        general: General,
    ) -> Self {
        let rules = (Vec::new(), Some(general));
        Self::new(captures, options, flows, host, rules)
    }

    fn new(
        captures: &[Capture],
        options: &Options,
        (flows, tcp): (Flows, Answers),
        host: Host,
        (rules, general): (Vec<Rule>, Option<General>),
    ) -> Self {
        let chains = if host.is_known() {
            Chain::ALL.to_vec()
        } else {
            vec![Chain::Forward]
        };
        let mut plan = Self {
            captures: captures.to_vec(),
            options: options.clone(),
            chains,
            rules,
            loopback: flows.loopback,
            related: flows.related,
            unclear: flows.unclear,
            reserved: flows.reserved,
            tcp,
            left_out: left_out(&flows.left_out),
            warnings: Vec::new(),
            general,
            host,
        };
        plan.warnings = plan.warn();
        plan
    }

    /// The number of rules that accept what was observed.
    pub fn count(&self) -> usize {
        let general = self.general.as_ref();
        general.map_or(self.rules.len(), |general| general.rules.len())
    }

    /// Whether a rule of its own accepts anything in a chain.
    pub(super) fn accepts_in(&self, chain: Chain) -> bool {
        match &self.general {
            None => self.rules.iter().any(|rule| rule.chain == chain),
            Some(general) => { general.rules.iter() }.any(|rule| rule.place.key.chain == chain),
        }
    }

    /// Flows and connections that rules carry, those for `lo` and for related connections included.
    pub fn carried(&self) -> Tally {
        let mut sum = self.loopback;
        for tally in self.related.carried.values() {
            sum.add(tally);
        }
        for rule in &self.rules {
            sum.add(&rule.tally);
        }
        if let Some(general) = &self.general {
            sum.add(&general.carried);
        }
        sum
    }

    /// Flows and connections that are left out.
    pub fn missing(&self) -> Tally {
        let mut sum = Tally::default();
        for left in &self.left_out {
            sum.add(&left.tally);
        }
        sum
    }

    /// Whether a capture may have missed flows.
    pub fn is_incomplete(&self) -> bool {
        let mut captures = self.captures.iter();
        captures.any(Capture::is_incomplete)
    }

    pub(super) const fn host(&self) -> &Host {
        &self.host
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
