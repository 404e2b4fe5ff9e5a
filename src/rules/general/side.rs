//! One side of a service, its sources or its destinations, at each level that a rule could have for it.

use std::collections::HashMap;

use super::evidence::{Busy, Evidence, Key, Kind, Target};
use super::links::{Links, Network, NetworkId, ZoneId};
use super::sensitive::Gives;
use crate::model::record::Service;
use crate::rules::block::{Block, Family};
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

/// Fewer than so many clients never make a network of it.
const CLIENTS: u64 = 3;
/// And so many always do, however large the network is.
const CLIENTS_MANY: u64 = 10;
/// Fewer clients of a sensitive service never do.
const CLIENTS_SENSITIVE: u64 = 5;
/// Such a part of the addresses of a network that were active at all, in per cent, has to use an inner service before
/// all of it may,
const SHARE_INNER: u64 = 10;
/// such a part where it goes to the Internet,
const SHARE_INTERNET: u64 = 5;
/// and such a part where the service is sensitive.
const SHARE_SENSITIVE: u64 = 50;
/// Or such a part, and so many of them, if it gives data only.
const SHARE_DATA: u64 = 20;
const CLIENTS_DATA: u64 = 15;
/// Such a part of the active addresses of a network has to be a server before all of it is.
const SHARE_SERVERS: u64 = 50;
/// And so many where addresses come and go.
const SERVERS_DYNAMIC: u32 = 3;
/// and so many of a sensitive service.
const SERVERS_SENSITIVE: u32 = 6;
/// Fewer clients from the Internet never make everybody of it.
const STRANGERS: u32 = 10;
/// Nor do fewer servers there, for one client or one network.
const SERVERS: u32 = 5;

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
        let ladder = Ladder {
            which,
            key,
            zone,
            gives,
            links,
            evidence,
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

/// What levels and their conditions hang on.
struct Ladder<'a> {
    which: Which,
    key: &'a Key,
    zone: ZoneId,
    gives: Option<Gives>,
    links: &'a Links,
    evidence: &'a Evidence,
}

impl Ladder<'_> {
    fn is_internet(&self) -> bool {
        self.links.zones[self.zone].is_internet
    }

    fn steps(&self, level: Level, addresses: &[u128]) -> Option<Steps> {
        // The Internet has no network but the whole.
        if self.is_internet() && level == Level::Network {
            return None;
        }
        let family = self.key.family;
        let mut steps = Steps {
            level,
            of: Vec::with_capacity(addresses.len()),
            atoms: Vec::new(),
            need: Vec::new(),
            bits: Vec::new(),
        };
        let mut known: HashMap<Atom, u32> = HashMap::new();
        for &address in addresses {
            let id = self.links.network(family.address(address))?;
            let network = &self.links.networks[id];
            let atom = self.atom(level, address, network);
            let index = *known.entry(atom).or_insert_with(|| {
                steps.atoms.push(atom);
                let is_network = atom == Atom::Block(network.block);
                let level = if is_network {
                    level.max(Level::Network)
                } else {
                    level
                };
                steps.need.push(self.need(level, id));
                steps.bits.push(self.bits(atom));
                steps.atoms.len() as u32 - 1
            });
            steps.of.push(index);
        }
        Some(steps)
    }

    fn atom(&self, level: Level, address: u128, network: &Network) -> Atom {
        let (near, far) = match self.key.family {
            Family::V4 => (8, 16),
            Family::V6 => (64, 80),
        };
        let around = |host_bits: u8| {
            let block = Block::new(address >> host_bits << host_bits, host_bits);
            // A block does not reach beyond the network that the address lies in.
            let within = network.block.contains(block.first())
                && network.block.contains(block.last())
                && block.size() <= network.block.size();
            Atom::Block(if within { block } else { network.block })
        };
        match level {
            Level::Address => Atom::Block(Block::single(address)),
            Level::Near => around(near),
            Level::Far => around(far),
            Level::Network => Atom::Block(network.block),
            Level::Zone => {
                let mut networks = self.links.of_zone(self.zone, self.key.family);
                match (networks.next(), networks.next()) {
                    (Some(only), None) if !self.is_internet() => Atom::Block(only.block),
                    _ => Atom::All,
                }
            }
        }
    }

    fn bits(&self, atom: Atom) -> f64 {
        let size = |block: Block| (block.last() - block.first()) as f64 + 1.0;
        match atom {
            Atom::Block(block) => size(block).log2(),
            Atom::All if self.is_internet() => f64::from(self.key.family.bits()),
            Atom::All => {
                let networks = self.links.of_zone(self.zone, self.key.family);
                networks.map(|net| size(net.block)).sum::<f64>().log2()
            }
        }
    }

    /// As many members make a rule of it.
    fn need(&self, level: Level, network: NetworkId) -> Option<u32> {
        match (self.which, self.is_internet()) {
            (Which::Sources, true) => self.strangers(level),
            (Which::Destinations, true) => self.servers(level),
            (Which::Sources, false) => self.clients(level, network),
            (Which::Destinations, false) => self.inner_servers(level, network),
        }
    }

    fn strangers(&self, level: Level) -> Option<u32> {
        if self.gives.is_some() {
            return None;
        }
        Some(match level {
            Level::Near => 3,
            Level::Far => 6,
            _ => STRANGERS,
        })
    }

    fn servers(&self, level: Level) -> Option<u32> {
        if self.gives.is_some() {
            return None;
        }
        Some(match level {
            Level::Near => 3,
            Level::Far => 4,
            _ if self.key.protocol.is_icmp() => 4,
            _ => SERVERS,
        })
    }

    fn clients(&self, level: Level, network: NetworkId) -> Option<u32> {
        let to_internet = self
            .key
            .to
            .is_some_and(|zone| self.links.zones[zone].is_internet);
        let of = match level {
            Level::Near | Level::Far if self.gives.is_some() => return None,
            Level::Near => return Some(4),
            Level::Far => return Some(8),
            Level::Zone => self.of_zone().sources,
            _ => self.busy(network).sources,
        };
        let share = |percent: u64| (of * percent).div_ceil(100);
        let busy = self.busy(network);
        // Where no address lasts, naming one says nothing of who uses the service tomorrow.
        if self.gives.is_none() && busy.is_passing() {
            return Some(1);
        }
        let is_dynamic = busy.is_dynamic();
        let half = share(SHARE_SENSITIVE).max(CLIENTS_SENSITIVE);
        let need = match (self.gives, to_internet) {
            (Some(Gives::Access), _) => half,
            (Some(Gives::Data), _) if busy.is_passing() => {
                half.min(share(SHARE_DATA).max(CLIENTS_SENSITIVE))
            }
            (Some(Gives::Data), _) => half.min(share(SHARE_DATA).max(CLIENTS_DATA)),
            // Whoever sends an echo request does no harm by it.
            (None, true) if self.key.protocol.is_icmp() => 2,
            (None, true) if is_dynamic => CLIENTS,
            (None, true) => share(SHARE_INTERNET).clamp(CLIENTS, CLIENTS_MANY),
            (None, false) => share(SHARE_INNER).clamp(CLIENTS, CLIENTS_MANY),
        };
        u32::try_from(need).ok()
    }

    fn inner_servers(&self, level: Level, network: NetworkId) -> Option<u32> {
        let of = match level {
            Level::Near | Level::Far if self.gives.is_some() => return None,
            Level::Near => return Some(8),
            Level::Far => return Some(16),
            Level::Zone => self.of_zone(),
            _ => self.busy(network),
        };
        // Where addresses come and go, none of them is a server for long.
        match self.gives {
            None if of.is_passing() => return Some(1),
            None if of.is_dynamic() => return Some(SERVERS_DYNAMIC),
            Some(_) if of.is_dynamic() => return Some(SERVERS_SENSITIVE),
            _ => {}
        }
        let share = (of.active * SHARE_SERVERS).div_ceil(100);
        u32::try_from(share.max(3)).ok()
    }

    fn busy(&self, network: NetworkId) -> Busy {
        let busy = self.evidence.networks.get(&network);
        busy.copied().unwrap_or_default()
    }

    /// What was seen of all the networks of the zone.
    fn of_zone(&self) -> Busy {
        let networks = self.links.networks.iter().enumerate();
        let of_zone =
            networks.filter(|(_, net)| net.zone == self.zone && net.family == self.key.family);
        let mut sum = Busy::default();
        for (id, _) in of_zone {
            let busy = self.busy(id);
            sum.sources += busy.sources;
            sum.active += busy.active;
            sum.early += busy.early;
            sum.gone += busy.gone;
            sum.late += busy.late;
            sum.leases |= busy.leases;
        }
        sum
    }
}
