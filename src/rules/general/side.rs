//! One side of a service, its sources or its destinations, at each level that a rule could have for it.

use super::evidence::{Evidence, Key, Kind, Target};
use super::levels::{Levels, follows_web};
use super::links::Links;
use super::sensitive::Gives;
use crate::model::record::Service;
use crate::rules::block::Block;
use crate::rules::by_hand::{ByHand, End, Networks};
use crate::rules::direction::Chain;

/// How far a rule goes beyond an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Level {
    /// The addresses that were seen, and no others.
    Address,
    /// The block around it: 256 addresses of IPv4, a /64 of IPv6.
    Near,
    /// A larger one: 65,536 addresses of IPv4, a /48 of IPv6.
    Far,
    /// The network that it lies in.
    Network,
    /// Everything behind the interface.
    Zone,
}

impl Level {
    /// The level in words, for people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Address => "addresses",
            Self::Near => "blocks seen",
            Self::Far => "large blocks seen",
            Self::Network => "networks",
            Self::Zone => "all behind the interface",
        }
    }
}

/// What stands in a rule for an address at some level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Atom {
    /// All addresses of a block.
    Block(Block),
    /// Everything: the interface is the condition, or there is none to make.
    All,
}

/// A level of a side.
#[derive(Clone, Debug)]
pub struct Steps {
    /// How wide the step is.
    pub level: Level,
    /// The atom of each address of the side, as an index.
    pub of: Vec<u32>,
    /// What is admitted on it.
    pub atoms: Vec<Atom>,
    /// As many members an atom has to have before a rule is made of it; `None` if none is, whatever it has.
    pub need: Vec<Option<u32>>,
    /// The binary logarithm of the number of its addresses.
    pub bits: Vec<f64>,
}

impl Steps {
    /// The binary logarithm of what stands for an address, by its index.
    pub fn bits_of(&self, address: u32) -> f64 {
        self.bits[self.of[address as usize] as usize]
    }
}

/// A side of a service.
#[derive(Clone, Debug)]
pub struct Side {
    /// Its addresses, sorted.
    pub addresses: Vec<u128>,
    /// Its levels, the narrowest first. At least one.
    pub steps: Vec<Steps>,
    /// Whether members have to have come on several days, as those from the Internet.
    pub is_internet: bool,
    /// Whether it is of networks whose addresses come and go.
    pub is_dynamic: bool,
    /// Whether no address lasts there.
    pub is_passing: bool,
}

/// Which end of a flow a side stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// The clients' end.
    Sources,
    /// The servers' end.
    Destinations,
}

impl Side {
    /// A side whose addresses no rule looks at: those of the gateway itself.
    fn fixed(addresses: Vec<u128>) -> Self {
        Self {
            steps: vec![Steps {
                level: Level::Address,
                of: vec![0; addresses.len()],
                atoms: vec![Atom::All],
                need: vec![Some(1)],
                bits: vec![0.0],
            }],
            addresses,
            is_internet: false,
            is_dynamic: false,
            is_passing: false,
        }
    }

    /// The side of a service which has these addresses, sorted and without repetition.
    pub fn new(
        which: Which,
        key: &Key,
        addresses: Vec<u128>,
        gives: Option<Gives>,
        (links, evidence): (&Links, &Evidence),
    ) -> Self {
        let zone = match which {
            Which::Sources => key.from,
            Which::Destinations => key.to,
        };
        let is_told = matches!(key.kind, Kind::From(_));
        let is_group = matches!(key.target, Target::Group(_));
        let is_fixed = match which {
            Which::Sources => key.chain == Chain::Output || zone.is_some() && (is_told || is_group),
            Which::Destinations => key.target != Target::Addresses || is_told,
        };
        let given = Given::of(which, key, &evidence.by_hand);
        if is_fixed || given.networks.is_everybody(key.family) {
            return Self::fixed(addresses);
        }
        let mut side = Self {
            steps: vec![given.singles(&addresses)],
            addresses,
            is_internet: zone.is_some_and(|zone| links.zones[zone].is_internet),
            is_dynamic: false,
            is_passing: false,
        };
        // What nobody knows the place of has no network, and no end.
        let Some(zone) = zone else { return side };
        // What was given for this service is as wide as it shall be.
        if given.is_final {
            return side;
        }
        let ladder = Levels {
            which,
            key,
            zone,
            gives,
            links,
            evidence,
            follows: follows_web(key, links, evidence),
        };
        side.is_dynamic = !side.is_internet && ladder.of_zone().is_dynamic();
        side.is_passing = !side.is_internet && ladder.of_zone().is_passing();
        for level in [Level::Near, Level::Far, Level::Network, Level::Zone] {
            if let Some(mut steps) = ladder.steps(level, &side.addresses) {
                given.keep(&side.addresses, &mut steps);
                // Of two levels that are the same here, the wider one says what it is.
                if side.steps.len() > 1
                    && side
                        .steps
                        .last()
                        .is_some_and(|last| last.atoms == steps.atoms)
                {
                    side.steps.pop();
                }
                side.steps.push(steps);
            }
        }
        side
    }
}

/// What was given by hand for a side of a service.
struct Given {
    networks: Networks,
    /// Whether it was given for this service, and not for all of them.
    is_final: bool,
}

impl Given {
    fn of(which: Which, key: &Key, by_hand: &ByHand) -> Self {
        let end = match which {
            Which::Sources => End::Clients,
            Which::Destinations => End::Servers,
        };
        let ends = by_hand.ends(key.family, key.protocol, key.service);
        let is_high = matches!(key.kind, Kind::High(..));
        // A range of ports is no service that anything is given for, but what is given for all is.
        let ends = if is_high {
            by_hand.ends(key.family, key.protocol, Service::None)
        } else {
            ends
        };
        Self {
            networks: ends.networks(end).clone(),
            is_final: ends.is_named(end),
        }
    }

    fn singles(&self, addresses: &[u128]) -> Steps {
        let of = |address: &u128| {
            let network = self.networks.of(*address);
            network.unwrap_or(Block::single(*address))
        };
        Steps {
            level: Level::Address,
            of: (0..addresses.len() as u32).collect(),
            atoms: { addresses.iter() }
                .map(|address| Atom::Block(of(address)))
                .collect(),
            need: vec![Some(1); addresses.len()],
            bits: addresses.iter().map(|address| bits(of(address))).collect(),
        }
    }

    /// Has addresses of networks that were given stand for these on each step.
    fn keep(&self, addresses: &[u128], steps: &mut Steps) {
        for (at, address) in addresses.iter().enumerate() {
            let Some(network) = self.networks.of(*address) else {
                continue;
            };
            steps.of[at] = steps.atoms.len() as u32;
            steps.atoms.push(Atom::Block(network));
            steps.need.push(Some(1));
            steps.bits.push(bits(network));
        }
    }
}

/// The binary logarithm of the number of a block's addresses.
fn bits(block: Block) -> f64 {
    ((block.last() - block.first()) as f64 + 1.0).log2()
}
