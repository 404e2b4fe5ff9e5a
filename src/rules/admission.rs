//! Whether a ruleset accepts a flow, and by what: what tests hold plans to.

use super::baseline::Baseline;
use super::block::number;
use super::block::{Family, contain};
use super::direction::Chain;
use super::direction::{Traversal, destination};
use super::extra::Extra;
use super::group::{Element, Matching};
use super::plan::{Plan, Policy};
use super::ports::PortRange;
use super::rule::Rule;
use super::seen::class;
use crate::model::record::{Identity, Protocol, Service};

/// Why a flow is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// By this rule of [`Plan::rules`].
    Rule(usize),
    /// By the rule for `lo`.
    Loopback,
    /// By the standing rules for ICMPv6.
    Icmpv6,
    /// By the policy, or because the ruleset does not have the chain.
    Policy,
}

/// A packet that opens a connection, as the filter sees it.
#[derive(Clone, Copy, Debug)]
pub struct Packet {
    /// The chain that it passes.
    pub chain: Chain,
    /// Whether it is for IPv4 or IPv6: no flow is both.
    pub family: Family,
    /// Conntrack zone; 0 unless a rule assigns another (`ct zone` of nft(8)).
    pub zone: u16,
    /// Its number in the IP header, by which rules and lists name it.
    pub protocol: Protocol,
    /// Type and code of ICMP, where there are several codes.
    pub coded: Option<(u8, u8)>,
    /// Whether its destination was translated.
    pub translated: bool,
    /// What it asks for, after translation.
    pub service: Service,
    /// The source address as a number.
    pub source: u128,
    /// The destination address as a number, after translation.
    pub destination: u128,
    /// The source ports that it may come from.
    pub sports: Option<PortRange>,
}

impl Plan {
    /// Whether the ruleset accepts the first packet of a flow, and by what. An [`Ephemeral`] source port
    /// asks for all that it stands for.
    ///
    /// [`Ephemeral`]: crate::model::record::SourcePort::Ephemeral
    pub fn admits(&self, identity: &Identity) -> Option<Admission> {
        if identity.netns.is_some() {
            return None;
        }
        let (way, packet) = self.packet(identity);
        let chain = match way {
            Traversal::Loopback => return Some(Admission::Loopback),
            Traversal::Chain(chain) => chain,
            Traversal::Group => return Some(Admission::Policy),
            Traversal::LinkLocal => return None,
        };
        if !self.chains.contains(&chain) {
            return Some(Admission::Policy);
        }
        let icmp_type = match packet.service {
            Service::Icmp(icmp_type, _) if packet.protocol == Protocol::ICMPV6 => Some(icmp_type),
            _ => None,
        };
        let standing = icmp_type.is_some_and(|icmp_type| {
            let mut standing = Baseline::of(chain).iter();
            standing.any(|standing| standing.types.contains(&icmp_type))
        });
        if standing {
            return Some(Admission::Icmpv6);
        }
        let rule = self.rules.iter().position(|rule| rule.admits(&packet));
        rule.map(Admission::Rule).or_else(|| {
            (self.options.policies.of(chain) == Policy::Accept).then_some(Admission::Policy)
        })
    }

    /// Whether the report lists a flow as admitted though nobody saw it.
    pub fn lists_as_extra(&self, identity: &Identity) -> bool {
        self.listing(identity).next().is_some()
    }

    /// The rules that admit a flow of which the report says that nobody saw it.
    pub(super) fn listing(&self, identity: &Identity) -> impl Iterator<Item = &Rule> {
        let (way, packet) = self.packet(identity);
        let uncoded =
            matches!(destination(identity).1, Service::Icmp(_, 1..)) && packet.coded.is_none();
        self.rules.iter().filter(move |rule| {
            way != Traversal::Loopback
                && rule.admits(&packet)
                && (uncoded || rule.lists_as_extra(&packet))
        })
    }

    fn packet(&self, identity: &Identity) -> (Traversal, Packet) {
        let way = self.host().way(identity);
        let (class, service) = class(identity, way);
        let (destination, _) = destination(identity);
        let packet = Packet {
            chain: class.chain,
            family: class.family,
            zone: class.zone,
            protocol: class.protocol,
            coded: class.coded,
            translated: class.translated,
            service,
            source: number(identity.source),
            destination: number(destination),
            sports: PortRange::of(identity.source_port),
        };
        (way, packet)
    }
}

impl Rule {
    /// Whether it accepts a packet.
    pub fn admits(&self, packet: &Packet) -> bool {
        self.chain == packet.chain
            && self.family == packet.family
            && self.zone.is_none_or(|zone| zone == packet.zone)
            && self.protocols.contains(&packet.protocol)
            && self.coded == packet.coded
            && (packet.translated || !self.translated)
            && (self.services.is_empty() || self.services.binary_search(&packet.service).is_ok())
            && (self.sports.is_empty() || holds(&self.sports, packet.sports))
            && match &self.matching {
                Matching::Product {
                    sources,
                    destinations,
                } => contain(sources, packet.source) && contain(destinations, packet.destination),
                Matching::Listed(elements) => {
                    let key = (
                        packet.destination,
                        self.services.is_empty().then_some(packet.service),
                    );
                    let of = |element: &Element| (element.service, element.destination);
                    let from = elements.partition_point(|element| of(element) < (key.1, key.0));
                    let elements = elements[from..].iter();
                    let elements = elements.take_while(|element| of(element) == (key.1, key.0));
                    let mut elements =
                        elements.filter(|element| element.source.contains(packet.source));
                    elements.any(|element| {
                        element
                            .sports
                            .is_none_or(|range| holds(&[range], packet.sports))
                    })
                }
            }
    }

    /// Whether its extras list a packet.
    pub fn lists_as_extra(&self, packet: &Packet) -> bool {
        let mut extras = self.extras.iter();
        extras.any(|extra| {
            extra.holds(
                packet.protocol,
                packet.service,
                packet.source,
                packet.destination,
            )
        })
    }
}

impl Extra {
    /// Whether a flow is one of them.
    pub fn holds(
        &self,
        protocol: Protocol,
        service: Service,
        source: u128,
        destination: u128,
    ) -> bool {
        self.protocol == protocol
            && self.services.contains(&service)
            && self.sources.contains(source)
            && self.destinations.contains(destination)
    }
}

fn holds(ranges: &[PortRange], sports: Option<PortRange>) -> bool {
    sports.is_some_and(|sports| ranges.iter().any(|range| range.holds(sports)))
}
