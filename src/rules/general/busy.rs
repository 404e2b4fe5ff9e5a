//! How busy networks are, and whether their addresses come and go.

use std::collections::{HashMap, HashSet};

use super::evidence::{Evidence, Kind, Used};
use super::links::{Links, NetworkId, ZoneId};
use super::sensitive::Gives;
use crate::model::record::{Protocol, Service};
use crate::rules::block::Family;
use crate::rules::direction::Chain;

/// What was seen of a network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Busy {
    /// Its addresses that were the source of a flow.
    pub sources: u64,
    /// Its addresses that were at either end of one.
    pub active: u64,
    /// Those of them that were there in the first third of the days,
    pub early: u64,
    /// of which these were not any more in the last third,
    pub gone: u64,
    /// in which these were new.
    pub late: u64,
    /// Those that were there in the last third and not in the first.
    pub come: u64,
    /// Whether the gateway gives addresses there, by DHCP.
    pub leases: bool,
}

impl Busy {
    /// Whether addresses come and go, as with DHCP, privacy addresses and containers: the gateway gives them, or of those
    /// that were there in the beginning a fifth is gone, and as many have come.
    pub const fn is_dynamic(&self) -> bool {
        self.leases || self.early > 0 && self.gone * 5 >= self.early && self.late * 5 >= self.early
    }

    /// Whether no address lasts, as with containers: half of those that were there in the beginning are gone, as many have
    /// come, and it is not that hosts which come back get other leases.
    pub const fn is_passing(&self) -> bool {
        !self.leases && self.early > 0 && self.gone * 2 >= self.early && self.come * 2 >= self.early
    }
}

/// An address, as long as flows are gathered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) network: Option<NetworkId>,
    pub(super) is_source: bool,
    pub(super) first: u16,
    pub(super) last: u16,
}

impl Evidence {
    /// Networks of zones in which the gateway is asked for addresses (RFC 2131, section 4.1).
    pub(super) fn find_leases(&mut self, links: &Links) {
        let asked = self.services.iter().filter(|used| {
            used.key.chain == Chain::Input
                && used.key.kind == Kind::Plain
                && (used.key.protocol, used.key.service) == (Protocol::UDP, Service::Port(67))
        });
        let zones: HashSet<ZoneId> = asked.filter_map(|used| used.key.from).collect();
        for (id, network) in links.networks.iter().enumerate() {
            if network.family == Family::V4 && zones.contains(&network.zone) {
                self.networks.entry(id).or_default().leases = true;
            }
        }
    }

    /// What a published service that leads to a sensitive one gives. Published inside, to a network where no address lasts,
    /// it is for containers, which are many and change, as the interface of a cluster is.
    pub fn published(&self, used: &Used, gives: Gives, links: &Links) -> Gives {
        let Some(zone) = used.key.from.filter(|zone| !links.zones[*zone].is_internet) else {
            return gives;
        };
        let networks = links.networks.iter().enumerate();
        let mut of_zone =
            networks.filter(|(_, net)| net.zone == zone && net.family == used.key.family);
        let passing = of_zone.all(|(id, _)| {
            let busy = self.networks.get(&id).copied().unwrap_or_default();
            busy.active == 0 || busy.is_passing()
        });
        if passing { Gives::Data } else { gives }
    }

    /// Counts the addresses of each network.
    pub(super) fn count(&mut self, places: &HashMap<(Family, u128), Place>) {
        let third = self.days / 3;
        for ((_, address), place) in places {
            let is_nowhere = *address == 0 || place.first > place.last;
            let (Some(network), false) = (place.network, is_nowhere) else {
                continue;
            };
            let busy = self.networks.entry(network).or_default();
            busy.active += 1;
            busy.sources += u64::from(place.is_source);
            let is_early = place.first < third;
            busy.early += u64::from(is_early);
            busy.gone += u64::from(is_early && place.last + third < self.days);
            busy.late += u64::from(place.first + third >= self.days);
            busy.come += u64::from(!is_early && place.last + third >= self.days);
        }
    }
}
