//! Whether a ruleset accepts a flow, and by what.

use super::block::number;
use super::direction::{Way, destination};
use super::plan::{Plan, Policy};
use super::ports::PortRange;
use super::rule::{Packet, Rule};
use super::seen::class;
use super::standing::Standing;
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

impl Plan {
    /// Whether the ruleset accepts the first packet of a flow, and by what. An [`Ephemeral`] source port
    /// asks for all that it stands for.
    ///
    /// [`Ephemeral`]: crate::model::record::SourcePort::Ephemeral
    #[must_use]
    pub fn admits(&self, identity: &Identity) -> Option<Admission> {
        if identity.netns.is_some() {
            return None;
        }
        let (way, packet) = self.packet(identity);
        let chain = match way {
            Way::Loopback => return Some(Admission::Loopback),
            Way::Chain(chain) => chain,
            Way::Group => return Some(Admission::Policy),
            Way::LinkLocal => return None,
        };
        if !self.chains.contains(&chain) {
            return Some(Admission::Policy);
        }
        let icmp_type = match packet.service {
            Service::Icmp(icmp_type, _) if packet.protocol == Protocol::ICMPV6 => Some(icmp_type),
            _ => None,
        };
        let standing = icmp_type.is_some_and(|icmp_type| {
            let mut standing = Standing::of(chain).iter();
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
    #[must_use]
    pub fn lists_as_extra(&self, identity: &Identity) -> bool {
        self.listing(identity).next().is_some()
    }

    /// The rules that admit a flow of which the report says that nobody saw it.
    pub(super) fn listing(&self, identity: &Identity) -> impl Iterator<Item = &Rule> {
        let (way, packet) = self.packet(identity);
        let uncoded =
            matches!(destination(identity).1, Service::Icmp(_, 1..)) && packet.coded.is_none();
        self.rules.iter().filter(move |rule| {
            way != Way::Loopback
                && rule.admits(&packet)
                && (uncoded || rule.lists_as_extra(&packet))
        })
    }

    fn packet(&self, identity: &Identity) -> (Way, Packet) {
        let way = self.host().way(identity);
        let (class, service) = class(identity, way);
        let (destination, _) = destination(identity);
        let packet = Packet {
            chain: class.chain,
            family: class.family,
            zone: class.zone,
            protocol: class.protocol,
            coded: class.coded,
            service,
            source: number(identity.source),
            destination: number(destination),
            sports: PortRange::of(identity.source_port),
        };
        (way, packet)
    }
}
