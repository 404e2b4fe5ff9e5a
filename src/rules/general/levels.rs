//! What each level of a side admits, and how many members it takes before a rule is made of that.

use std::collections::{HashMap, HashSet};

use super::busy::Busy;
use super::evidence::{Evidence, Key, Kind, Target};
use super::links::{Links, Network, NetworkId, ZoneId};
use super::sensitive::Gives;
use super::side::{Atom, Level, Steps, Which};
use crate::model::record::{Protocol, Service};
use crate::rules::block::{Block, Family};
use crate::rules::direction::Chain;

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

/// What levels and their conditions hang on.
pub(super) struct Levels<'a> {
    pub(super) which: Which,
    pub(super) key: &'a Key,
    pub(super) zone: ZoneId,
    pub(super) gives: Option<Gives>,
    pub(super) links: &'a Links,
    pub(super) evidence: &'a Evidence,
    /// Whether it is the plain web, of clients that use the other one everywhere.
    pub(super) follows: bool,
}

/// So many clients and servers of the encrypted web are a network that uses it everywhere.
const WEB: (usize, usize) = (3, 10);
/// Then so many are enough for the plain one: whoever lets a network browse means both.
const WEB_TOO: u32 = 2;

/// Whether a service is the plain web (HTTP) to the Internet, and what its clients' zone does with the encrypted one
/// (HTTPS) shows that it goes everywhere.
pub(super) fn follows_web(key: &Key, links: &Links, evidence: &Evidence) -> bool {
    let is_plain = key.service == Service::Port(80)
        && key.protocol == Protocol::TCP
        && key.kind == Kind::Plain
        && key.chain == Chain::Forward
        && key.target == Target::Addresses
        && key.to.is_some_and(|zone| links.zones[zone].is_internet);
    if !is_plain {
        return false;
    }
    let encrypted = [Kind::Both, Kind::Plain].map(|kind| Key {
        service: Service::Port(443),
        kind,
        ..*key
    });
    let used = { evidence.services.iter() }.filter(|used| encrypted.contains(&used.key));
    let relations = || used.clone().flat_map(|used| &used.relations);
    let are_several = |addresses: &mut dyn Iterator<Item = u128>, several: usize| {
        let mut different = HashSet::new();
        for address in addresses {
            different.insert(address);
            if different.len() == several {
                return true;
            }
        }
        false
    };
    are_several(&mut relations().map(|one| one.source), WEB.0)
        && are_several(&mut relations().map(|one| one.destination), WEB.1)
}

impl Levels<'_> {
    fn is_internet(&self) -> bool {
        self.links.zones[self.zone].is_internet
    }

    /// A level of a side; `None` if it has none such.
    pub(super) fn steps(&self, level: Level, addresses: &[u128]) -> Option<Steps> {
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
            _ if self.follows => WEB_TOO,
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
            (None, true) if self.follows => u64::from(WEB_TOO),
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
    pub(super) fn of_zone(&self) -> Busy {
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
            sum.come += busy.come;
            sum.leases |= busy.leases;
        }
        sum
    }
}
