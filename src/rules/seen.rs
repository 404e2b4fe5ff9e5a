//! What the rules have to know of the flows that were seen.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use super::block::{Family, number};
use super::direction::{Chain, Host, Traversal, destination};
use super::plan::Options;
use super::ports::{PortRange, joined};
use super::related::{Assignment, Related};
use crate::model::icmp;
use crate::model::origin::Begun;
use crate::model::record::{Identity, Protocol, Record, Service, SourcePort};
use crate::model::timestamp::Timestamp;

/// What flows have to share so that one rule can be for them all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Class {
    /// The chain that their packets pass.
    pub chain: Chain,
    /// Whether it is for IPv4 or IPv6: no flow is both.
    pub family: Family,
    /// Conntrack zone; 0 unless a rule assigns another (`ct zone` of nft(8)).
    pub zone: u16,
    /// Its number in the IP header, by which rules and lists name it.
    pub protocol: Protocol,
    /// Type and code, for ICMP types that come with several codes.
    pub coded: Option<(u8, u8)>,
    /// Whether the host has translated the destination: the direct way there is another.
    pub translated: bool,
}

/// How much was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many flows that is.
    pub flows: u64,
    /// How many connections these had.
    pub connections: u64,
    /// When one was last seen.
    pub last_seen: Option<Timestamp>,
    /// The address that was asked for.
    pub asked: Asked,
    /// ICMP flows whose type the capture does not tell.
    pub guessed: u64,
}

/// The address that clients asked for, where DNAT made another of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Asked {
    /// Nothing is known yet.
    #[default]
    Unknown,
    /// The same that the rule has.
    Same,
    /// This destination, with the port that was asked for if there is one.
    Translated(IpAddr, Option<u16>),
    /// One or the other.
    Several,
}

impl Tally {
    fn of(record: &Record) -> Self {
        let identity = &record.identity;
        Self {
            flows: 1,
            connections: record.connections,
            last_seen: record.last_seen,
            asked: match (identity.dnat(), identity.service) {
                (None, _) => Asked::Same,
                (Some(_), Service::Port(port)) => {
                    Asked::Translated(identity.destination, Some(port))
                }
                (Some(_), _) => Asked::Translated(identity.destination, None),
            },
            guessed: u64::from(
                identity.protocol.is_icmp_of(identity.source) && identity.service == Service::None,
            ),
        }
    }

    /// Adds what another group of flows carries.
    pub fn add(&mut self, other: &Self) {
        self.flows += other.flows;
        self.connections += other.connections;
        self.last_seen = self.last_seen.max(other.last_seen);
        self.guessed += other.guessed;
        self.asked = match (self.asked, other.asked) {
            (Asked::Unknown, asked) | (asked, Asked::Unknown) => asked,
            (one, same) if one == same => one,
            _ => Asked::Several,
        };
    }
}

/// Flows that the filter can't tell apart.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// What they share with others.
    pub class: Class,
    /// Destination that the filter sees.
    pub destination: u128,
    /// Service that the filter sees.
    pub service: Service,
    /// The source address as a number.
    pub source: u128,
    /// Source ports: an index of [`Flows::sports`].
    pub sports: usize,
    /// How many flows and connections that are.
    pub tally: Tally,
}

/// Why a flow gets no rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// No packet came back.
    Unanswered,
    /// It went to a group, where answers don't count.
    Group,
    /// To a group, and the host's addresses are not known.
    GroupUnknown,
    /// Between link-local addresses, of which neither is known to be the host's.
    LinkLocal,
    /// The capture does not tell the ports.
    NoPort,
    /// It passed the filter of another network namespace.
    OtherNamespace,
    /// It was picked up in the middle, and which side had opened it is not known.
    PickedUp,
}

/// A flow that gets a rule, its source ports, and the index of its record.
pub(super) type Accepted = (Seen, Option<PortRange>, usize);
/// A flow that gets none, why, and the index of its record.
pub(super) type Unlisted = (Reason, Seen, usize);

/// All flows, by what becomes of them.
#[derive(Debug, Default)]
pub struct Flows {
    /// Those that get rules, sorted by class, source ports, destination, service and source.
    pub accepted: Vec<Seen>,
    /// Those that don't, sorted likewise.
    pub left_out: Vec<(Reason, Seen)>,
    /// Those that the rule for `lo` carries.
    pub loopback: Tally,
    /// Those that belong to connections that helpers follow.
    pub related: Related,
    /// Open connections that were picked up in the middle and are left out, the newest first.
    pub unclear: Vec<Identity>,
    /// Whether privileged source ports were folded.
    pub reserved: bool,
    /// Sets of source ports.
    pub sports: Vec<Vec<PortRange>>,
    /// Whether any is of another conntrack zone than 0.
    pub zoned: bool,
}

impl Flows {
    /// Sorts out the flows of some records.
    pub fn gather(records: &[Record], host: &Host, options: &Options, keep_ports: bool) -> Self {
        let (mut flows, accepted, left_out) = Self::sort_out(records, host, options, keep_ports);
        flows.leave_out(left_out);
        let accepted = accepted.into_iter();
        let mut accepted: Vec<_> = accepted.map(|(seen, sports, _)| (seen, sports)).collect();
        if !keep_ports {
            flows.reserved = fold_reserved(&mut accepted);
        }
        flows.merge_same(accepted);
        flows
    }

    /// What becomes of each record: those that get rules, with their source ports and their indices, and those that
    /// don't.
    pub(super) fn sort_out(
        records: &[Record],
        host: &Host,
        options: &Options,
        keep_ports: bool,
    ) -> (Self, Vec<Accepted>, Vec<Unlisted>) {
        let mut flows = Self::default();
        let mut accepted: Vec<Accepted> = Vec::with_capacity(records.len());
        let mut left_out = Vec::new();
        let mut unclear = Vec::new();
        for (index, record) in records.iter().enumerate() {
            let way = host.way(&record.identity);
            if record.identity.netns.is_some() {
                let seen = Seen::of(record, way, keep_ports).0;
                left_out.push((Reason::OtherNamespace, seen, index));
                continue;
            }
            flows.zoned |= record.identity.zone != 0;
            if way == Traversal::Loopback {
                flows.loopback.add(&Tally::of(record));
                continue;
            }
            let (seen, sports) = Seen::of(record, way, keep_ports);
            let helper = record.origin.helper;
            if let (Some(helper), Service::Port(port), true) = (
                helper.filter(|helper| helper.follows(seen.class.protocol)),
                seen.service,
                record.confirmed || options.include_unconfirmed,
            ) {
                flows.related.assignments.push(Assignment {
                    helper,
                    protocol: seen.class.protocol,
                    port,
                    from_here: seen.class.chain == Chain::Output,
                    family: seen.class.family,
                });
            }
            if let Some(by) = record.origin.expected_by {
                let carried = (seen.class.chain, by);
                let tally = flows.related.carried.entry(carried).or_default();
                tally.add(&seen.tally);
                continue;
            }
            let reason = match way {
                _ if record.origin.begun == Begun::Unclear => {
                    unclear.push((record.last_seen, record.identity.clone()));
                    Some(Reason::PickedUp)
                }
                _ if !record.confirmed && !options.include_unconfirmed => {
                    let destination = seen.class.family.address(seen.destination);
                    match (host.is_group(destination), options.include_multicast) {
                        (false, _) => Some(Reason::Unanswered),
                        (true, false) => Some(Reason::Group),
                        (true, true) if way == Traversal::Group => Some(Reason::GroupUnknown),
                        (true, true) => None,
                    }
                }
                Traversal::LinkLocal => Some(Reason::LinkLocal),
                Traversal::Group => Some(Reason::GroupUnknown),
                _ if matches!(seen.class.protocol, Protocol::TCP | Protocol::UDP)
                    && seen.service == Service::None =>
                {
                    Some(Reason::NoPort)
                }
                _ => None,
            };
            match reason {
                None => accepted.push((seen, sports, index)),
                Some(reason) => left_out.push((reason, seen, index)),
            }
        }
        flows.related.assignments.sort_unstable();
        flows.related.assignments.dedup();
        unclear.sort_unstable_by(|one, other| other.cmp(one));
        if !unclear.is_empty() {
            // Whose service has a rule by other connections of the client needs none of its own.
            let known: HashSet<_> = accepted.iter().map(|(seen, ..)| seen.key()).collect();
            unclear.retain(|(_, identity)| {
                let turned = identity.turned();
                let mut ways = [Some(identity), turned.as_ref()].into_iter().flatten();
                !ways.any(|identity| known.contains(&Seen::key_of(identity, host)))
            });
        }
        flows.unclear = unclear.into_iter().map(|(_, identity)| identity).collect();
        (flows, accepted, left_out)
    }

    /// Takes over which flows get no rule.
    pub(super) fn leave_out(&mut self, left_out: Vec<Unlisted>) {
        let left_out = left_out.into_iter();
        self.left_out = left_out.map(|(reason, seen, _)| (reason, seen)).collect();
        { &mut self.left_out }.sort_by_key(|(reason, seen)| (*reason, seen.key()));
    }

    /// Folds flows that differ in the source port only.
    fn merge_same(&mut self, mut seen: Vec<(Seen, Option<PortRange>)>) {
        seen.sort_by_key(|(seen, sports)| (seen.key(), *sports));
        let mut known: HashMap<Vec<PortRange>, usize> = HashMap::new();
        for run in seen.chunk_by(|(one, _), (other, _)| one.key() == other.key()) {
            let ranges = joined(run.iter().filter_map(|(_, range)| *range).collect());
            let mut merged = run[0].0;
            for (other, _) in &run[1..] {
                merged.tally.add(&other.tally);
            }
            merged.sports = *known.entry(ranges).or_insert_with_key(|ranges| {
                self.sports.push(ranges.clone());
                self.sports.len() - 1
            });
            self.accepted.push(merged);
        }
        self.accepted
            .sort_by_key(|seen| (seen.class, seen.sports, seen.key()));
    }
}

/// Makes one range of the privileged source ports where clients of a service used several of them: such a port is as
/// random then as one from 1024 on (`bindresvport`(3), `xs_bind`, net/sunrpc/xprtsock.c). Whether there was any.
fn fold_reserved(accepted: &mut [(Seen, Option<PortRange>)]) -> bool {
    let service = |seen: &Seen| (seen.class, seen.destination, seen.service);
    let reserved = |seen: &Seen, range: Option<PortRange>| {
        range.filter(|range| match seen.service {
            Service::Port(port) => is_random(range, port),
            Service::None | Service::Icmp(..) => false,
        })
    };
    let mut used: HashMap<_, (PortRange, bool)> = HashMap::new();
    for (seen, range) in accepted.iter() {
        if let Some(range) = reserved(seen, *range) {
            let (first, several) = used.entry(service(seen)).or_insert((range, false));
            *several |= *first != range;
        }
    }
    used.retain(|_, (_, several)| *several);
    for (seen, range) in accepted {
        if reserved(seen, *range).is_some() && used.contains_key(&service(seen)) {
            *range = Some(PortRange::RESERVED);
        }
    }
    !used.is_empty()
}

/// Whether a source port may be one of those that privileged clients get at random.
fn is_random(range: &PortRange, destination: u16) -> bool {
    /// Source and destination of protocols that insist on both, besides those that have the same for both: DHCPv6 (RFC
    /// 8415, 7.2). Those of others, as of DHCP, are below 512.
    const INSIST: [(u16, u16); 2] = [(546, 547), (547, 546)];
    range.first == range.last
        && PortRange::RESERVED.holds(*range)
        && range.first != destination
        && !INSIST.contains(&(range.first, destination))
}

impl Seen {
    fn key(&self) -> (Class, u128, Service, u128) {
        (self.class, self.destination, self.service, self.source)
    }

    /// That of a flow.
    fn key_of(identity: &Identity, host: &Host) -> (Class, u128, Service, u128) {
        let (class, service) = class(identity, host.way(identity));
        let (destination, source) = (destination(identity).0, identity.source);
        (class, number(destination), service, number(source))
    }

    fn of(record: &Record, way: Traversal, keep_ports: bool) -> (Self, Option<PortRange>) {
        let identity = &record.identity;
        let (destination, _) = destination(identity);
        let (class, service) = class(identity, way);
        let seen = Self {
            class,
            destination: number(destination),
            service,
            source: number(identity.source),
            sports: 0,
            tally: Tally::of(record),
        };
        let sports = match service {
            // Connections that were picked up in the middle have the port that they had then.
            Service::Port(_) if record.origin.begun.is_picked_up() && !keep_ports => {
                PortRange::of(identity.source_port.collapsed())
            }
            Service::Port(_) => PortRange::of(identity.source_port),
            Service::None | Service::Icmp(..) => None,
        };
        (seen, sports)
    }
}

/// The class of a flow, and its service as rules know it.
pub fn class(identity: &Identity, way: Traversal) -> (Class, Service) {
    let protocol = identity.protocol;
    let (destination, service) = destination(identity);
    let icmp = protocol.is_icmp_of(destination);
    let (service, coded) = match service {
        // The ICMP of the other family is a protocol like any other to conntrack, and to firewalls.
        Service::Icmp(..) if !icmp => (Service::None, None),
        // Lists that leave the type out: pings, as far as conntrack goes, since nothing else that it lists
        // is in use (`valid_new`, net/netfilter/nf_conntrack_proto_icmp.c and …_icmpv6.c, Linux 6.18).
        Service::None if icmp => (Service::Icmp(echo_request(protocol), 0), None),
        Service::Icmp(icmp_type, _) if icmp::is_codeless(protocol, icmp_type) => {
            (Service::Icmp(icmp_type, 0), None)
        }
        Service::Icmp(icmp_type, code) => (service, Some((icmp_type, code))),
        // A kernel without a tracker of the protocol has both ports 0 for all of it (`generic`,
        // net/netfilter/nf_conntrack_core.c): the two hosts are all that makes the flow.
        Service::Port(0)
            if identity.source_port == SourcePort::Exact(0)
                && !matches!(protocol, Protocol::TCP | Protocol::UDP) =>
        {
            (Service::None, None)
        }
        service => (service, None),
    };
    let class = Class {
        chain: match way {
            Traversal::Chain(chain) => chain,
            _ => Chain::Input,
        },
        family: Family::of(destination),
        zone: identity.zone,
        protocol,
        coded,
        translated: identity.dnat().is_some(),
    };
    (class, service)
}

const fn echo_request(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::ICMPV6 => 128,
        _ => 8,
    }
}
