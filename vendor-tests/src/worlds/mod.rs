//! Made-up sites whose traffic goes on after the capture, to judge rules by the days that they have not seen.
//!
//! A world is a site with a seed. Each day has its flows, which an administrator wants to pass, and attacks, which nobody
//! wants to. Each site has a ruleset beside it that a person wrote who knows the site. [`judge`] makes rules of the first
//! days and has the kernel judge the flows of the days after them. Nothing of the program under test is used here but
//! its command line.
//!
//! Addresses of the Internet are drawn from all of the public space, since a network that holds them all would make
//! worlds too easy. Packets with them are only sent inside the namespaces that `conntracker check` makes.

pub mod attempts;
pub mod calendar;
pub mod campus;
pub mod clinic;
pub mod datacentre;
pub mod diary;
pub mod edge;
pub mod gateway;
pub mod home;
pub mod internet;
pub mod judge;
pub mod leases;
pub mod node;
pub mod office;
pub mod score;
pub mod shop;
pub mod statement;

use calendar::Calendar;
use diary::{Diary, Flow};
use gateway::Gateway;

/// What a site is like, day by day. Days are asked for in their order, each once.
pub trait Site {
    /// Interfaces and routes of the gateway on this day.
    fn gateway(&self, day: u32) -> Gateway;
    /// What happens on this day.
    fn live(&mut self, day: u32, diary: &mut Diary);
    /// What is tried on this day that has to be stopped, in the network as it is after [`Site::live`].
    fn attacks(&mut self, day: u32) -> Vec<Flow>;
    /// A ruleset for nft(8) by somebody who knows the site.
    fn ideal(&self) -> String;
}

/// The kinds of sites.
pub const SITES: [&str; 8] = [
    "home",
    "office",
    "datacentre",
    "node",
    "edge",
    "campus",
    "shop",
    "clinic",
];

/// A site with a seed.
///
/// Panics: if there is no such kind.
pub fn site(kind: &str, seed: u64, calendar: Calendar) -> Box<dyn Site> {
    match kind {
        "home" => Box::new(home::Home::new(seed, calendar)),
        "office" => Box::new(office::Office::new(seed, calendar)),
        "datacentre" => Box::new(datacentre::Datacentre::new(seed, calendar)),
        "node" => Box::new(node::Node::new(seed, calendar)),
        "shop" => Box::new(shop::Shop::new(seed, calendar)),
        "clinic" => Box::new(clinic::Clinic::new(seed, calendar)),
        "campus" => Box::new(campus::Campus::new(seed, calendar)),
        "edge" => Box::new(edge::Edge::new(seed, calendar)),
        other => panic!("no site is called {other:?}: there are {SITES:?}"),
    }
}

/// An address.
///
/// Panics: if the text is none.
pub fn ip(text: &str) -> std::net::IpAddr {
    text.parse()
        .unwrap_or_else(|_| panic!("{text}: no address"))
}

/// An address of a network, given as text up to the part that is added: `10.0.0.` or `fd00::`.
///
/// Panics: if that makes no address.
pub fn nth(begin: &str, number: u32) -> std::net::IpAddr {
    if begin.contains(':') {
        ip(&format!("{begin}{number:x}"))
    } else {
        ip(&format!("{begin}{number}"))
    }
}
