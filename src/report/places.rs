//! Where an address lies, in words for people.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::model::capture::Capture;
use crate::rules::block::Family;
use crate::rules::direction::Host;
use crate::rules::general::links::{LINK_LOCAL, Links};

/// Prefix lengths of what counts as one network where no capture says what networks there are: what one segment usually has.
const USUAL_V4: u8 = 24;
const USUAL_V6: u8 = 64;

/// How finely places are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grain {
    /// Each network.
    Network,
    /// All networks behind the same interfaces are one place.
    Zone,
}

/// What the captures say of addresses.
#[derive(Debug)]
pub struct Places {
    links: Links,
    host: Host,
}

/// A place. The order is that of a drawing: what is near the gateway comes first.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Place {
    /// The host that the captures are of.
    Gateway,
    /// Behind an interface that is not on the Internet side.
    Inside(String),
    /// A network of inner addresses of which no capture says where it lies.
    Inner(String),
    /// Addresses that hold for one link only.
    LinkLocal,
    /// Behind the interfaces that a default route leads out of.
    Outside(String),
    /// Other addresses, of which no capture says where they lie.
    Public,
    /// All hosts of a link, or a group of them.
    Group,
    /// Several places that are too small to be shown by themselves.
    Others,
}

impl Place {
    /// What it is called.
    pub fn name(&self) -> &str {
        match self {
            Self::Gateway => "the gateway",
            Self::Inside(name) | Self::Inner(name) | Self::Outside(name) => name,
            Self::LinkLocal => "link-local",
            Self::Public => "public addresses",
            Self::Group => "multicast, broadcast",
            Self::Others => "other networks",
        }
    }
}

impl Places {
    /// Those of some captures.
    pub fn new(captures: &[Capture]) -> Self {
        Self {
            links: Links::new(captures),
            host: Host::new(captures, &[]),
        }
    }

    /// Where an address lies.
    pub fn of(&self, address: IpAddr, grain: Grain) -> Place {
        if self.host.owns(address) {
            return Place::Gateway;
        }
        if self.host.is_group(address) {
            return Place::Group;
        }
        let Some(network) = self.links.network(address) else {
            return unknown(address);
        };
        let network = self.links.networks[network];
        if network.zone == LINK_LOCAL {
            return Place::LinkLocal;
        }
        let zone = self.links.name(Some(network.zone));
        if network.is_default {
            return Place::Outside(format!("Internet ({zone})"));
        }
        let name = match grain {
            Grain::Zone => zone,
            Grain::Network => {
                let family = Family::of(address);
                format!("{zone} {}", network.block.show(family))
            }
        };
        match self.links.zones[network.zone].is_internet {
            true => Place::Outside(name),
            false => Place::Inside(name),
        }
    }
}

/// The place of an address that no route of the captures leads to.
fn unknown(address: IpAddr) -> Place {
    let (is_inner, is_link_local, prefix) = match address {
        IpAddr::V4(v4) => (v4.is_private(), v4.is_link_local(), USUAL_V4),
        IpAddr::V6(v6) => (
            v6.segments()[0] & 0xfe00 == 0xfc00,
            v6.segments()[0] & 0xffc0 == 0xfe80,
            USUAL_V6,
        ),
    };
    match (is_link_local, is_inner) {
        (true, _) => Place::LinkLocal,
        (_, true) => Place::Inner(IpNet::new_assert(address, prefix).trunc().to_string()),
        _ => Place::Public,
    }
}
