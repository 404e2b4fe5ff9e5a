//! Services with their clients, as finely as there is room for.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::IpAddr;

use super::places::{Grain, Place, Places};
use crate::captures::groups::Sum;
use crate::model::learnt::{self, Learnt};
use crate::model::names::Names as Hosts;
use crate::model::record::{Identity, Protocol, Record, Service};
use crate::model::ruled::Told;
use crate::model::services::Services;
use crate::model::units::{counted, show_count};
use crate::rules::block::{Family, cover, number};
use crate::rules::direction::destination;
use crate::rules::text;

/// So many blocks of clients are named where clients are not listed one by one.
const BLOCKS: usize = 6;
/// What a row takes of a page besides its texts, in bytes.
const ROW: usize = 190;
/// What a client takes besides its text.
const CLIENT: usize = 12;

/// How finely flows are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Detail {
    /// Each server with each of its clients.
    Flows,
    /// Each server; clients as networks.
    Servers,
    /// Networks of servers; clients as networks.
    Networks,
    /// Services wherever they are; clients as networks.
    Services,
}

impl Detail {
    const ALL: [Self; 4] = [Self::Flows, Self::Servers, Self::Networks, Self::Services];

    /// What a reader has to know of it; nothing if every flow is listed.
    pub const fn remark(self) -> Option<&'static str> {
        match self {
            Self::Flows => None,
            Self::Servers => {
                Some("There are too many flows to list each: clients are summed up as networks.")
            }
            Self::Networks => Some(
                "There are too many flows to list each server: servers and clients are summed up as networks.",
            ),
            Self::Services => Some(
                "There are too many flows to list servers: each service is one line, and clients are summed up as networks.",
            ),
        }
    }
}

/// A service of a server, or of several.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its name, where it has one.
    pub name: String,
    /// Protocol and port, or type.
    pub number: String,
    /// The server, or the network of servers; empty where all are meant.
    pub server: String,
    /// Where it lies.
    pub place: String,
    /// Different clients.
    pub clients: usize,
    /// The clients, each with its connections and whether it was answered, or the networks that they make.
    pub who: Vec<String>,
    /// What the flows add up to.
    pub sum: Sum,
}

/// What rows are told apart by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    protocol: Protocol,
    service: Service,
    place: Option<Place>,
    /// Where clients sent packets, and where these were sent on to.
    server: Option<(IpAddr, IpAddr, Service)>,
}

/// Rows, as finely as there was room for.
#[derive(Clone, Debug)]
pub struct Table {
    /// How finely.
    pub detail: Detail,
    /// The rows, those of most flows first.
    pub rows: Vec<Row>,
    /// Rows that found no room, and the flows of these.
    pub rest: Option<(usize, u64)>,
}

/// What names things.
#[derive(Clone, Copy, Debug)]
pub struct Names<'a> {
    /// Names of places.
    pub places: &'a Places,
    /// Names of ports.
    pub services: &'a Services,
    /// Names of hosts and networks.
    pub hosts: &'a Hosts,
    /// The names by which clients came.
    pub told: &'a Told,
}

impl Table {
    /// The rows of some flows, in about so many bytes at most.
    pub fn new(records: &[&Record], names: Names<'_>, room: usize) -> Self {
        for detail in Detail::ALL {
            let mut rows = rows(records, names, detail);
            let mut used = 0;
            let fits = rows.iter().take_while(|row| {
                used += row.size();
                used <= room
            });
            let fits = fits.count();
            if fits == rows.len() {
                return Self {
                    detail,
                    rows,
                    rest: None,
                };
            }
            if detail == Detail::Services {
                let rest = rows.split_off(fits);
                let flows = rest.iter().map(|row| row.sum.flows).sum();
                return Self {
                    detail,
                    rows,
                    rest: Some((rest.len(), flows)),
                };
            }
        }
        unreachable!("the last of them returns")
    }

    /// Flows of all rows, those without room too.
    pub fn flows(&self) -> u64 {
        let shown: u64 = self.rows.iter().map(|row| row.sum.flows).sum();
        shown + self.rest.map_or(0, |(_, flows)| flows)
    }
}

/// The flows of services that answered somebody at least, in their order.
pub fn answering<'a>(records: &[&'a Record]) -> Vec<&'a Record> {
    let key = |record: &Record| {
        let identity = &record.identity;
        (identity.destination, identity.protocol, identity.service)
    };
    let answered: std::collections::HashSet<_> = { records.iter() }
        .filter(|record| record.confirmed)
        .map(|record| key(record))
        .collect();
    let answering = records.iter().copied();
    answering
        .filter(|record| answered.contains(&key(record)))
        .collect()
}

impl Row {
    /// What it takes of a page, about.
    fn size(&self) -> usize {
        let who: usize = self.who.iter().map(|one| one.len() + CLIENT).sum();
        ROW + self.name.len() + self.number.len() + self.server.len() + self.place.len() + who
    }
}

fn rows(records: &[&Record], names: Names<'_>, detail: Detail) -> Vec<Row> {
    let mut groups: BTreeMap<Key, Vec<&Record>> = BTreeMap::new();
    for record in records {
        let key = key(&record.identity, names.places, detail);
        groups.entry(key).or_default().push(record);
    }
    let mut rows: Vec<(Key, Row)> = { groups.into_iter() }
        .map(|(key, members)| {
            let row = row(&key, &members, names, detail);
            (key, row)
        })
        .collect();
    rows.sort_by(|(one, a), (other, b)| {
        (Reverse(a.sum.flows), one).cmp(&(Reverse(b.sum.flows), other))
    });
    rows.into_iter().map(|(_, row)| row).collect()
}

fn key(identity: &Identity, places: &Places, detail: Detail) -> Key {
    let (behind, service) = destination(identity);
    let place = (detail < Detail::Services).then(|| places.of(behind, Grain::Network));
    Key {
        protocol: identity.protocol,
        service: identity.service,
        place,
        server: (detail < Detail::Networks).then_some((identity.destination, behind, service)),
    }
}

fn row(key: &Key, members: &[&Record], names: Names<'_>, detail: Detail) -> Row {
    let mut sum = Sum::default();
    members.iter().for_each(|record| sum.add(record));
    let who = match detail {
        Detail::Flows => one_by_one(members, names.hosts),
        _ => as_networks(&sum, names.places),
    };
    let place = key.place.as_ref().map_or("", Place::name).to_owned();
    let server = match &key.server {
        None if key.place.is_some() => place.clone(),
        None => String::new(),
        Some((asked, behind, _)) if asked == behind => named(*asked, members, names),
        Some((asked, behind, service)) => {
            let port = match service {
                Service::Port(port) => format!(" port {port}"),
                _ => String::new(),
            };
            let asked = named(*asked, members, names);
            format!("{asked}, sent on to {behind}{port}")
        }
    };
    let (name, number) = service(key.protocol, key.service, names.services);
    Row {
        name,
        number,
        place: if key.server.is_some() {
            place
        } else {
            String::new()
        },
        server,
        clients: sum.clients.len(),
        who,
        sum,
    }
}

/// A service's name, if it has one, and its number.
pub fn service(protocol: Protocol, service: Service, names: &Services) -> (String, String) {
    let name = text::service(protocol, service, names);
    let number = match service {
        Service::Port(port) => format!("{protocol}/{port}"),
        Service::Icmp(icmp_type, 0) => format!("{protocol} type {icmp_type}"),
        Service::Icmp(icmp_type, code) => format!("{protocol} type {icmp_type} code {code}"),
        Service::None => format!("protocol {}", protocol.0),
    };
    let name = if name == number { String::new() } else { name };
    (name, number)
}

/// A server with its name, or with the one by which clients came to it last and the number of others.
fn named(server: IpAddr, members: &[&Record], names: Names<'_>) -> String {
    let learnt = || {
        let mut all: Vec<Learnt> = Vec::new();
        for record in members {
            learnt::join(&mut all, names.told.names(&record.identity).to_vec());
        }
        learnt::in_short(&all)
    };
    match names.hosts.of(server).map(str::to_owned).or_else(learnt) {
        Some(name) => format!("{server} {name}"),
        None => server.to_string(),
    }
}

fn one_by_one(members: &[&Record], hosts: &Hosts) -> Vec<String> {
    let mut clients: BTreeMap<IpAddr, (u64, bool)> = BTreeMap::new();
    for record in members {
        let (connections, answered) = clients.entry(record.identity.source).or_default();
        *connections = connections.saturating_add(record.connections);
        *answered |= record.confirmed;
    }
    let shown = clients
        .into_iter()
        .map(|(address, (connections, answered))| {
            let mut text = match hosts.of(address) {
                Some(name) => format!("{address} {name}"),
                None => address.to_string(),
            };
            if connections > 1 {
                text += &format!(" ×{connections}");
            }
            if !answered {
                text += " no answer";
            }
            text
        });
    shown.collect()
}

/// The networks that clients make: exactly, where these are few, else by where they lie.
fn as_networks(sum: &Sum, places: &Places) -> Vec<String> {
    let exact: [Vec<String>; 2] = [Family::V4, Family::V6].map(|family| {
        let of_family = { sum.clients.iter() }.filter(|client| Family::of(**client) == family);
        let mut numbers: Vec<u128> = of_family.map(|client| number(*client)).collect();
        numbers.sort_unstable();
        let blocks = cover(&numbers, 0).into_iter();
        blocks.map(|block| block.show(family).to_string()).collect()
    });
    let exact: Vec<String> = exact.concat();
    if exact.len() <= BLOCKS {
        return exact;
    }
    let mut by_place: BTreeMap<Place, u64> = BTreeMap::new();
    for client in &sum.clients {
        *by_place
            .entry(places.of(*client, Grain::Network))
            .or_default() += 1;
    }
    let mut by_place: Vec<(Place, u64)> = by_place.into_iter().collect();
    by_place.sort_by_key(|(_, clients)| Reverse(*clients));
    let more = by_place.len().saturating_sub(BLOCKS);
    let shown = by_place.iter().take(BLOCKS);
    let mut shown: Vec<String> = shown
        .map(|(place, clients)| format!("{} of {}", show_count(*clients), place.name()))
        .collect();
    if more > 0 {
        shown.push(format!("and {}", counted(more as u64, "more network")));
    }
    shown
}
