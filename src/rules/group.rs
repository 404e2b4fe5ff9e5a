//! The rules that a class of flows gets: products as far as a person would read them, and lists of single
//! flows for what is too scattered.

use std::collections::BTreeMap;

use super::block::Block;
use super::bundle::{Bundle, Side, bundles};
use super::ports::PortRange;
use super::seen::Seen;
use super::widening::Widening;
use crate::model::record::Service;

/// As many products as this are written one by one, whatever they carry.
const FEW: usize = 128;
/// Where there are more, those that carry so many flows still are,
const LARGE: usize = 8;
/// as long as there are no more of them than this.
const MOST: usize = 128;
/// A service whose smaller products are so few keeps them.
const FEW_OF_A_SERVICE: usize = 4;
/// A service with so many scattered flows gets a list of its own.
const LIST: usize = 8;

/// What a rule matches by addresses.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Matching {
    /// Each source with each destination.
    Product {
        /// Blocks of sources, disjoint and in order.
        sources: Vec<Block>,
        /// Blocks of destinations, disjoint and in order.
        destinations: Vec<Block>,
    },
    /// These and no others. No two overlap.
    Listed(Vec<Element>),
}

/// An element of a list: what is `None` is the same for all of it, and the rule's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Element {
    /// The service, where those of the list differ.
    pub service: Option<Service>,
    /// The destination as a number, as the filter sees it.
    pub destination: u128,
    /// The block of sources.
    pub source: Block,
    /// The source ports, where those of the list differ.
    pub sports: Option<PortRange>,
}

/// Flows for one rule.
#[derive(Clone, Debug)]
pub struct Group {
    /// Addresses, and what else differs within a list.
    pub matching: Matching,
    /// Services, sorted; empty where they are in the list.
    pub services: Vec<Service>,
    /// The flows, as indices.
    pub members: Vec<usize>,
}

impl From<Bundle> for Group {
    fn from(bundle: Bundle) -> Self {
        Self {
            matching: Matching::Product {
                sources: bundle.sources,
                destinations: bundle.destinations,
            },
            services: bundle.services,
            members: bundle.members,
        }
    }
}

/// Groups the flows that `members` names, all of one class and one set of source ports, so that there are few rules and
/// each still says something:
///
/// 1. Products of all flows ([`bundles`]). If these are few, they are the groups.
/// 2. Else the largest of them are groups; the flows of all others count as scattered.
/// 3. Scattered flows of one service that make few products, by their clients or by their servers, or enough of a list,
///    get groups of their own ([`of_service`]), as long as there are not too many groups.
/// 4. What is left is pooled, whatever its services: a few products, or one list with the service in each element.
/// 5. Services whose lists are the same share one.
///
/// A gateway with three web servers, a name server and 5,000 peers of a file-sharing host so gets a rule for the web
/// servers (2), one for names (2 or 3), and one list of the peers (4).
///
/// Flows to networks of servers that count as a whole are products of their own before that: there are as many of these
/// as there are such networks, or combinations of them.
pub fn groups(flows: &[Seen], members: &[usize], widening: &Widening) -> Vec<Group> {
    let (whole, members): (Vec<usize>, Vec<usize>) =
        { members.iter() }.partition(|index| widening.is_of_servers(flows[**index].destination));
    let whole = bundles(flows, &whole, Side::Destinations, widening);
    let mut all: Vec<Group> = whole.into_iter().map(Group::from).collect();
    all.extend(groups_by_address(flows, &members, widening));
    all
}

fn groups_by_address(flows: &[Seen], members: &[usize], widening: &Widening) -> Vec<Group> {
    let all = bundles(flows, members, Side::Sources, widening);
    if all.len() <= FEW {
        return all.into_iter().map(Group::from).collect();
    }
    let (large, scattered) = largest(all);
    let mut groups: Vec<Group> = large.into_iter().map(Group::from).collect();
    let mut pool = Vec::new();
    for (service, members) in by_service(flows, scattered) {
        let own = of_service(flows, service, &members, widening);
        match own {
            Some(own) if groups.len() + own.len() <= 2 * MOST || !is_port(service) => {
                groups.extend(own);
            }
            _ => pool.extend(members),
        }
    }
    let pooled = bundles(flows, &pool, Side::Sources, widening);
    if pooled.len() <= FEW_OF_A_SERVICE {
        groups.extend(pooled.into_iter().map(Group::from));
    } else {
        groups.push(list(flows, pool, None, widening));
    }
    merge_lists(groups)
}

/// The largest bundles, and the flows of all others.
fn largest(all: Vec<Bundle>) -> (Vec<Bundle>, Vec<usize>) {
    let (mut large, small): (Vec<Bundle>, Vec<Bundle>) = all
        .into_iter()
        .partition(|bundle| bundle.members.len() >= LARGE);
    large.sort_by_key(|bundle| (usize::MAX - bundle.members.len(), bundle.members[0]));
    let rest = large.split_off(large.len().min(MOST));
    let scattered = rest.into_iter().chain(small);
    (large, scattered.flat_map(|bundle| bundle.members).collect())
}

/// Flows by service, those of the most flows first, so that what finds no place any more is small.
fn by_service(flows: &[Seen], members: Vec<usize>) -> Vec<(Service, Vec<usize>)> {
    let mut services: BTreeMap<Service, Vec<usize>> = BTreeMap::new();
    for member in members {
        let service = flows[member].service;
        services.entry(service).or_default().push(member);
    }
    let mut services: Vec<_> = services.into_iter().collect();
    services.sort_by_key(|(service, members)| (usize::MAX - members.len(), *service));
    services
}

/// The rules for the scattered flows of one service, if it deserves its own.
fn of_service(
    flows: &[Seen],
    service: Service,
    members: &[usize],
    widening: &Widening,
) -> Option<Vec<Group>> {
    for side in [Side::Sources, Side::Destinations] {
        let bundles = bundles(flows, members, side, widening);
        if bundles.len() <= FEW_OF_A_SERVICE {
            return Some(bundles.into_iter().map(Group::from).collect());
        }
    }
    // Other services than ports are few, and have no place in a list of several.
    let own = members.len() >= LIST || !is_port(service);
    own.then(|| vec![list(flows, members.to_vec(), Some(service), widening)])
}

const fn is_port(service: Service) -> bool {
    matches!(service, Service::Port(_))
}

/// A list of flows: of one service, or with the service in each element.
fn list(
    flows: &[Seen],
    mut members: Vec<usize>,
    service: Option<Service>,
    widening: &Widening,
) -> Group {
    let key = |&index: &usize| {
        let seen = &flows[index];
        (seen.service, seen.destination, seen.source)
    };
    members.sort_unstable_by_key(key);
    let element = |index: &usize, source| {
        let seen = &flows[*index];
        Element {
            service: service.is_none().then_some(seen.service),
            destination: seen.destination,
            source,
            sports: None,
        }
    };
    let blocks = members.chunk_by(|one, other| {
        let ((a, b, _), (c, d, _)) = (key(one), key(other));
        (a, b) == (c, d)
    });
    let blocks = blocks.flat_map(|run| {
        let sources: Vec<u128> = run.iter().map(|index| flows[*index].source).collect();
        let blocks = widening.sources(&sources);
        blocks
            .into_iter()
            .map(|block| element(&run[0], block))
            .collect::<Vec<_>>()
    });
    let mut elements: Vec<Element> = blocks.collect();
    // A set without intervals is a hash in the kernel, found in one step. It is worth some more elements.
    if widening.is_exact() && elements.len() * 3 > members.len() * 2 {
        let single = |index: &usize| element(index, Block::single(flows[*index].source));
        elements = members.iter().map(single).collect();
    }
    Group {
        matching: Matching::Listed(elements),
        services: service.into_iter().collect(),
        members,
    }
}

/// A list of flows that differ in their source ports too.
pub fn list_with_sports(flows: &[Seen], members: &[usize], sports: &[Vec<PortRange>]) -> Group {
    let elements = members.iter().flat_map(|&index| {
        let seen = &flows[index];
        sports[seen.sports].iter().map(|&range| Element {
            service: Some(seen.service),
            destination: seen.destination,
            source: Block::single(seen.source),
            sports: Some(range),
        })
    });
    let mut elements: Vec<Element> = elements.collect();
    elements.sort_unstable();
    Group {
        matching: Matching::Listed(elements),
        services: Vec::new(),
        members: members.to_vec(),
    }
}

/// Has services share a list where theirs are the same.
fn merge_lists(groups: Vec<Group>) -> Vec<Group> {
    let mut merged: Vec<Group> = Vec::with_capacity(groups.len());
    for group in groups {
        let same = merged.iter_mut().find(|other| {
            matches!(group.matching, Matching::Listed(_))
                && !group.services.is_empty()
                && !other.services.is_empty()
                && other.matching == group.matching
        });
        match same {
            Some(same) => {
                same.services.extend(group.services);
                same.services.sort_unstable();
                same.members.extend(group.members);
            }
            None => merged.push(group),
        }
    }
    merged
}
