//! Networks of clients and servers that somebody who knows the site gives by hand, for all services or for some.

use std::collections::HashMap;

use ipnet::IpNet;

use super::block::{Block, Family, contain, cover};
use super::direction::Chain;
use crate::model::record::{Protocol, Service};

/// Which end of a flow a value is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum End {
    /// Where flows come from.
    Clients,
    /// Where they go to.
    Servers,
}

impl End {
    /// The option that gives it.
    pub const fn option(self) -> &'static str {
        match self {
            Self::Clients => "--clients",
            Self::Servers => "--servers",
        }
    }
}

/// A service that a value is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wanted {
    /// This port, of one protocol or of all that have ports.
    Port(Option<Protocol>, u16),
    /// All of a protocol.
    Protocol(Protocol),
}

impl Wanted {
    fn is(self, protocol: Protocol, service: Service) -> bool {
        match self {
            Self::Protocol(wanted) => wanted == protocol,
            Self::Port(wanted, port) => {
                wanted.is_none_or(|wanted| wanted == protocol) && service == Service::Port(port)
            }
        }
    }
}

/// A value that was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// Which end it is for.
    pub end: End,
    /// The services that it is for; all of them if there are none.
    pub services: Vec<Wanted>,
    /// The networks: each counts as a whole as soon as one of its addresses was seen.
    pub networks: Vec<IpNet>,
    /// As it was written.
    pub text: String,
}

impl Given {
    fn is_for(&self, protocol: Protocol, service: Service) -> bool {
        let mut services = self.services.iter();
        self.services.is_empty() || services.any(|wanted| wanted.is(protocol, service))
    }

    fn holds(&self, family: Family, address: u128) -> bool {
        let mut networks = self.networks.iter();
        networks
            .any(|net| Family::of(net.addr()) == family && Block::of_net(*net).contains(address))
    }
}

/// Networks that are disjoint and in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Networks(Vec<Block>);

impl Networks {
    /// Those of some blocks: what lies in a larger one adds nothing.
    pub fn new(mut blocks: Vec<Block>) -> Self {
        // Blocks are within one another or disjoint, and the larger comes first.
        blocks.sort_unstable_by_key(|block| (block.first(), u128::MAX - block.last()));
        blocks.dedup_by(|inner, outer| outer.contains(inner.first()));
        Self(blocks)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The blocks.
    pub fn into_blocks(self) -> Vec<Block> {
        self.0
    }

    /// Whether they are all addresses of a family.
    pub fn is_everybody(&self, family: Family) -> bool {
        self.0 == [Block::new(0, family.bits())]
    }

    /// The one that holds an address.
    pub fn of(&self, address: u128) -> Option<Block> {
        let after = self.0.partition_point(|network| network.first() <= address);
        let network = *self.0[..after].last()?;
        network.contains(address).then_some(network)
    }

    /// The blocks of addresses, sorted and without repetition: whole networks, and the rest with at most `percent` of them
    /// that are not among the addresses.
    pub fn blocks(&self, addresses: &[u128], percent: u8) -> Vec<Block> {
        if self.is_empty() {
            return cover(addresses, percent);
        }
        let (mut networks, mut rest) = (Vec::new(), Vec::new());
        for &address in addresses {
            match self.of(address) {
                Some(network) if networks.last() == Some(&network) => {}
                Some(network) => networks.push(network),
                None => rest.push(address),
            }
        }
        let mut blocks = cover(&rest, percent);
        networks.retain(|network| !contain(&blocks, network.first()));
        blocks.extend(networks);
        blocks.sort_unstable();
        blocks
    }
}

/// What was given for the two ends of one service in one family.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ends {
    /// Networks of clients.
    pub clients: Networks,
    /// Networks of servers.
    pub servers: Networks,
    /// Whether the service is named by a value for clients, and by one for servers.
    pub named: [bool; 2],
}

impl Ends {
    /// The networks of an end.
    pub const fn networks(&self, end: End) -> &Networks {
        match end {
            End::Clients => &self.clients,
            End::Servers => &self.servers,
        }
    }

    /// Whether a value for this end names the service.
    pub const fn is_named(&self, end: End) -> bool {
        self.named[end as usize]
    }
}

/// All that was given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ByHand(pub Vec<Given>);

impl ByHand {
    /// These networks of clients, for all services.
    pub fn clients(networks: Vec<IpNet>) -> Self {
        let given = Given {
            end: End::Clients,
            services: Vec::new(),
            text: String::new(),
            networks,
        };
        Self(if given.networks.is_empty() {
            Vec::new()
        } else {
            vec![given]
        })
    }

    /// What was given for a service.
    pub fn ends(&self, family: Family, protocol: Protocol, service: Service) -> Ends {
        let mut blocks = [Vec::new(), Vec::new()];
        let mut named = [false; 2];
        for given in { self.0.iter() }.filter(|given| given.is_for(protocol, service)) {
            let of_family = { given.networks.iter() }
                .filter(|net| Family::of(net.addr()) == family)
                .map(|net| Block::of_net(*net));
            blocks[given.end as usize].extend(of_family);
            named[given.end as usize] |= !given.services.is_empty();
        }
        let [clients, servers] = blocks.map(Networks::new);
        Ends {
            clients,
            servers,
            named,
        }
    }

    /// Whether a value names the service.
    pub fn names(&self, protocol: Protocol, service: Service) -> bool {
        { self.0.iter() }.any(|given| !given.services.is_empty() && given.is_for(protocol, service))
    }

    /// The options that have a network for a service.
    pub fn options(
        &self,
        family: Family,
        protocols: &[Protocol],
        service: Service,
    ) -> Vec<&'static str> {
        let ends = protocols.iter().map(|one| self.ends(family, *one, service));
        let ends: Vec<Ends> = ends.collect();
        let has = |end: &End| ends.iter().any(|ends| !ends.networks(*end).is_empty());
        let given = [End::Clients, End::Servers].into_iter().filter(has);
        given.map(End::option).collect()
    }

    /// The ports of a protocol that values name, from one to another.
    pub fn within(&self, protocol: Protocol, (first, last): (u16, u16)) -> Vec<Service> {
        let wanted = self.0.iter().flat_map(|given| &given.services);
        wanted
            .filter_map(|wanted| match *wanted {
                Wanted::Port(of, port)
                    if of.is_none_or(|of| of == protocol) && (first..=last).contains(&port) =>
                {
                    Some(Service::Port(port))
                }
                _ => None,
            })
            .collect()
    }

    /// What each value that no flow is an example of is called, so that it changes nothing.
    pub fn unused(&self, flows: impl Iterator<Item = Example>) -> Vec<String> {
        let mut left: Vec<&Given> = self.0.iter().collect();
        for flow in flows {
            if left.is_empty() {
                break;
            }
            left.retain(|given| {
                let address = match given.end {
                    // What the gateway sends has its own addresses, whatever network these are of.
                    End::Clients if flow.chain == Chain::Output => return true,
                    End::Servers if flow.chain == Chain::Input => return true,
                    End::Clients => flow.source,
                    End::Servers => flow.destination,
                };
                !(given.is_for(flow.protocol, flow.service) && given.holds(flow.family, address))
            });
        }
        let left = left.into_iter();
        left.map(|given| format!("{} {}", given.end.option(), given.text))
            .collect()
    }
}

/// A flow that a value may be for.
#[derive(Clone, Copy, Debug)]
pub struct Example {
    /// The chain that it passes.
    pub chain: Chain,
    /// Its family.
    pub family: Family,
    /// Its protocol.
    pub protocol: Protocol,
    /// What it asks for.
    pub service: Service,
    /// The source address as a number.
    pub source: u128,
    /// The destination address as a number.
    pub destination: u128,
}

/// What was given for each service, looked up once.
#[derive(Debug)]
pub struct Lookup<'a> {
    by_hand: &'a ByHand,
    known: HashMap<(Family, Protocol, Service), Ends>,
}

impl<'a> Lookup<'a> {
    /// None looked up yet.
    pub fn new(by_hand: &'a ByHand) -> Self {
        Self {
            by_hand,
            known: HashMap::new(),
        }
    }

    /// What was given for a service; `None` if that is nothing.
    pub fn ends(&mut self, family: Family, protocol: Protocol, service: Service) -> Option<&Ends> {
        if self.by_hand.0.is_empty() {
            return None;
        }
        let known = self.known.entry((family, protocol, service));
        Some(known.or_insert_with(|| self.by_hand.ends(family, protocol, service)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(end: End, services: Vec<Wanted>, networks: &[&str]) -> Given {
        Given {
            end,
            services,
            networks: networks.iter().map(|net| net.parse().unwrap()).collect(),
            text: networks.join(","),
        }
    }

    #[test]
    fn values_are_for_their_services_and_the_wider_network_counts() {
        let ssh = vec![Wanted::Port(None, 22)];
        let names = vec![Wanted::Port(Some(Protocol::UDP), 53)];
        let by_hand = ByHand(vec![
            given(End::Clients, ssh, &["10.0.9.0/24", "10.0.8.0/23"]),
            given(End::Servers, names, &["0.0.0.0/0", "::/0"]),
            given(End::Clients, Vec::new(), &["fd00::/64"]),
        ]);
        let ends = |family, protocol, port| by_hand.ends(family, protocol, Service::Port(port));
        let of = ends(Family::V4, Protocol::TCP, 22);
        assert_eq!(of.clients.0.len(), 1);
        assert_eq!(of.named, [true, false]);
        assert!(
            ends(Family::V4, Protocol::UDP, 53)
                .servers
                .is_everybody(Family::V4)
        );
        assert!(
            ends(Family::V6, Protocol::UDP, 53)
                .servers
                .is_everybody(Family::V6)
        );
        assert!(ends(Family::V4, Protocol::TCP, 53).servers.is_empty());
        let of = ends(Family::V6, Protocol::TCP, 80);
        assert!(!of.clients.is_empty() && of.named == [false, false]);
        assert!(by_hand.names(Protocol::SCTP, Service::Port(22)));
        assert!(!by_hand.names(Protocol::TCP, Service::Port(80)));
        assert_eq!(by_hand.within(Protocol::UDP, (50, 60)), [Service::Port(53)]);
        assert_eq!(by_hand.within(Protocol::TCP, (50, 60)), []);
    }

    #[test]
    fn what_no_flow_is_an_example_of_is_told() {
        let ssh = vec![Wanted::Port(None, 22)];
        let by_hand = ByHand(vec![given(End::Clients, ssh, &["10.0.9.0/24"])]);
        let example = |chain, port, source: &str| Example {
            chain,
            family: Family::V4,
            protocol: Protocol::TCP,
            service: Service::Port(port),
            source: super::super::block::number(source.parse().unwrap()),
            destination: 0,
        };
        let unused = |one: Example| by_hand.unused(std::iter::once(one)).len();
        assert_eq!(unused(example(Chain::Forward, 22, "10.0.9.7")), 0);
        assert_eq!(unused(example(Chain::Forward, 22, "10.0.8.7")), 1);
        assert_eq!(unused(example(Chain::Forward, 80, "10.0.9.7")), 1);
        assert_eq!(unused(example(Chain::Output, 22, "10.0.9.7")), 1);
    }
}
