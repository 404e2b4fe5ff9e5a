//! Requests to multicast and broadcast addresses, and their answers, which come from another address, so that neither
//! counts as answered: DHCP, mDNS, SSDP, NetBIOS, and what routers say to one another.
//!
//! A request that comes in is accepted if the gateway takes part: if it answers from that port, is asked there directly,
//! or says the same to the same group. What it says to groups itself is accepted, and so are its answers.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::days::Days;
use super::evidence::{Key, Kind, Relation, Target};
use super::links::{Links, ZoneId};
use crate::model::record::{Protocol, Record, Service, SourcePort};
use crate::rules::block::Family;
use crate::rules::direction::{Chain, Host};
use crate::rules::seen::{Reason, Seen, Unlisted};

/// Discovery of UPnP, whose answers go from this port to where the request came from.
const SSDP: u16 = 1900;
/// DHCP, server and client (RFC 2131, section 4.1).
const DHCP: (u16, u16) = (67, 68);

/// The first port that Linux gives clients by itself.
const LOCAL_FIRST: u16 = 32768;

/// A protocol and port of a family.
type Port = (Family, Protocol, u16);

/// What the gateway does.
#[derive(Debug, Default)]
struct Known {
    /// Ports that it answers from or is asked at, and the zones of those who are answered.
    serves: BTreeMap<Port, BTreeSet<ZoneId>>,
    /// Ports that it is asked at directly, and the zones that it is asked from.
    reached: BTreeSet<(Port, ZoneId)>,
    /// What it says to groups, and from which ports.
    announces: HashMap<(Family, Protocol, Service), HashSet<SourcePort>>,
    /// Ports at which groups are asked.
    asked: HashSet<Port>,
    /// Who asks for UPnP devices.
    searches: HashSet<u128>,
    /// Zones in which it gets its own address by DHCP.
    leases: BTreeSet<ZoneId>,
}

/// Flows as they are sorted out: what they are, and the index of the record.
type Flow = (Seen, usize);

/// Takes from what is left out those requests and answers that belong to the gateway, as flows of services.
pub fn take(
    records: &[Record],
    accepted: &[Flow],
    left_out: &mut Vec<Unlisted>,
    (host, links, days): (&Host, &Links, &Days),
) -> Vec<(Key, Relation)> {
    let known = Known::of(records, accepted, left_out, host, links);
    let mut taken = Vec::new();
    left_out.retain(|(reason, seen, index)| {
        if !matches!(reason, Reason::Unanswered | Reason::Group) {
            return true;
        }
        let record = &records[*index];
        let keys = known.keys(record, seen, host, links);
        let relation = relation(record, days);
        taken.extend(keys.iter().map(|key| (*key, relation)));
        keys.is_empty()
    });
    let first = Relation::default();
    for &zone in &known.leases {
        let key = |chain, from, to, source, service, target| Key {
            chain,
            from,
            to,
            family: Family::V4,
            conntrack_zone: 0,
            protocol: Protocol::UDP,
            coded: None,
            service: Service::Port(service),
            target,
            kind: Kind::From(source),
        };
        let (server, client) = DHCP;
        let asks = key(
            Chain::Output,
            None,
            Some(zone),
            client,
            server,
            Target::Addresses,
        );
        let gets = key(Chain::Input, Some(zone), None, server, client, Target::Own);
        taken.extend([(asks, first), (gets, first)]);
    }
    taken
}

fn relation(record: &Record, days: &Days) -> Relation {
    Relation {
        source: 0,
        destination: 0,
        first: days.of(record.first_seen),
        last: days.of(record.last_seen.max(record.first_seen)),
    }
}

fn zone_of(links: &Links, family: Family, address: u128) -> Option<ZoneId> {
    let network = links.network(family.address(address))?;
    Some(links.networks[network].zone)
}

impl Known {
    fn of(
        records: &[Record],
        accepted: &[Flow],
        left_out: &[Unlisted],
        host: &Host,
        links: &Links,
    ) -> Self {
        let mut known = Self::default();
        let left = left_out.iter().map(|(_, seen, index)| (seen, index, false));
        let accepted = accepted.iter().map(|(seen, index)| (seen, index, true));
        for (seen, index, is_accepted) in accepted.chain(left) {
            let class = seen.class;
            let to_group = host.is_group(class.family.address(seen.destination));
            let port = |port: u16| (class.family, class.protocol, port);
            match (class.chain, to_group) {
                (Chain::Output, true) => {
                    let asked = (class.family, class.protocol, seen.service);
                    let from = records[*index].identity.source_port;
                    known.announces.entry(asked).or_default().insert(from);
                }
                (Chain::Output, false) => {
                    let zone = zone_of(links, class.family, seen.destination);
                    if let (SourcePort::Exact(from), Some(zone)) =
                        (records[*index].identity.source_port, zone)
                    {
                        let is_lease = (from, seen.service) == (DHCP.1, Service::Port(DHCP.0))
                            && class.family == Family::V4;
                        if is_lease {
                            known.leases.insert(zone);
                        } else {
                            known.serves.entry(port(from)).or_default().insert(zone);
                        }
                    }
                }
                (Chain::Input, true) => {
                    if let Service::Port(at) = seen.service {
                        known.asked.insert(port(at));
                        if at == SSDP {
                            known.searches.insert(seen.source);
                        }
                    }
                }
                (Chain::Input, false) if is_accepted => {
                    let zone = zone_of(links, class.family, seen.source);
                    if let (Service::Port(at), Some(zone)) = (seen.service, zone) {
                        known.serves.entry(port(at)).or_default().insert(zone);
                        known.reached.insert((port(at), zone));
                    }
                }
                _ => {}
            }
        }
        known
    }

    /// The services that an unanswered flow is of, one for each zone that it may have come from; none if it belongs to
    /// nobody here.
    fn keys(&self, record: &Record, seen: &Seen, host: &Host, links: &Links) -> Vec<Key> {
        let class = seen.class;
        let destination = class.family.address(seen.destination);
        let to_group = host.is_group(destination);
        let key = |from, to, target, kind, service| Key {
            chain: class.chain,
            from,
            to,
            family: class.family,
            conntrack_zone: class.zone,
            protocol: class.protocol,
            coded: class.coded,
            service,
            target,
            kind,
        };
        let group = Target::Group(seen.destination);
        let is_inner = |zone: &ZoneId| !links.zones[*zone].is_internet;
        let source_port = match record.identity.source_port {
            SourcePort::Exact(port) => Some(port),
            _ => None,
        };
        match (class.chain, to_group) {
            (Chain::Output, true) => vec![key(None, None, group, Kind::Plain, seen.service)],
            (Chain::Input, true) => {
                let zones = self.zones_of_request(seen, links);
                let keys = zones.into_iter().filter(is_inner);
                keys.map(|zone| key(Some(zone), None, group, Kind::Plain, seen.service))
                    .collect()
            }
            (Chain::Output, false) => {
                let zone = zone_of(links, class.family, seen.destination).filter(is_inner);
                let kind = zone.and_then(|zone| self.answer(seen, source_port, zone));
                let (Some(zone), Some((kind, service))) = (zone, kind) else {
                    return Vec::new();
                };
                vec![key(None, Some(zone), Target::Addresses, kind, service)]
            }
            (Chain::Input, false) => {
                // The answer to what the gateway asked a group.
                let zone = zone_of(links, class.family, seen.source).filter(is_inner);
                let answer = source_port.and_then(|port| {
                    let asked = (class.family, class.protocol, Service::Port(port));
                    let from = self.announces.get(&asked)?;
                    Some((port, answered(seen.service, from)?))
                });
                match (zone, answer) {
                    (Some(zone), Some((port, service))) => {
                        let kind = Kind::From(port);
                        vec![key(Some(zone), None, Target::Own, kind, service)]
                    }
                    _ => Vec::new(),
                }
            }
            (Chain::Forward, _) => Vec::new(),
        }
    }

    fn zones_of_request(&self, seen: &Seen, links: &Links) -> Vec<ZoneId> {
        let class = seen.class;
        let serves = match seen.service {
            Service::Port(port) => self.serves.get(&(class.family, class.protocol, port)),
            _ => None,
        };
        let said = (class.family, class.protocol, seen.service);
        let announces = self.announces.contains_key(&said);
        let answers_all = (class.family, class.protocol, Service::Port(DHCP.1));
        let leases =
            seen.service == Service::Port(DHCP.0) && self.announces.contains_key(&answers_all);
        let searched = seen.service == Service::Port(SSDP)
            && self
                .serves
                .contains_key(&(class.family, class.protocol, SSDP));
        if serves.is_none() && !announces && !leases && !searched {
            return Vec::new();
        }
        match (zone_of(links, class.family, seen.source), serves) {
            (Some(zone), _) if seen.source != 0 => vec![zone],
            // Who has no address yet asks from nowhere.
            (_, Some(zones)) => zones.iter().copied().collect(),
            _ => {
                let zones = links.zones.iter().enumerate();
                let inner = zones.filter(|(_, zone)| !zone.names.is_empty());
                inner.map(|(zone, _)| zone).collect()
            }
        }
    }

    /// What tells an answer of the gateway to a zone, and the service that it goes to. A server of DHCP that is asked
    /// directly, for a lease that is renewed, answers those too whose first question nobody saw.
    fn answer(
        &self,
        seen: &Seen,
        source_port: Option<u16>,
        zone: ZoneId,
    ) -> Option<(Kind, Service)> {
        let class = seen.class;
        let asked = |port: u16| {
            let key = (class.family, class.protocol, port);
            let is_lease = (port, seen.service) == (DHCP.0, Service::Port(DHCP.1));
            self.asked.contains(&key) || is_lease && self.reached.contains(&(key, zone))
        };
        if let Some(port) = source_port.filter(|port| asked(*port)) {
            return Some((Kind::From(port), fixed(seen.service)));
        }
        match seen.service {
            // From the port of the group to the port of the group, as mDNS (RFC 6762, section 5.5).
            Service::Port(port) if asked(port) => Some((Kind::Plain, seen.service)),
            Service::Port(1024..) if self.searches.contains(&seen.destination) => {
                Some((Kind::From(SSDP), Service::None))
            }
            _ => None,
        }
    }
}

/// The port that an answer to the gateway goes to: the one that it has asked from. Where it has asked from one that happened
/// to be free, one of those that the kernel chooses from (`ip_local_port_range`); that somebody sends from the port of a
/// group's service to another is no answer.
fn answered(service: Service, asked_from: &HashSet<SourcePort>) -> Option<Service> {
    let Service::Port(port) = service else {
        return None;
    };
    if asked_from.contains(&SourcePort::Exact(port)) {
        return Some(service);
    }
    let chosen = asked_from.contains(&SourcePort::Ephemeral) || { asked_from.iter() }
        .any(|from| matches!(from, SourcePort::Exact(LOCAL_FIRST..)));
    (chosen && port >= LOCAL_FIRST).then_some(Service::None)
}

/// The port that an answer goes to, unless it is one that happened to be free.
const fn fixed(service: Service) -> Service {
    match service {
        Service::Port(1024..) => Service::None,
        service => service,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::capture::{Capture, Interface, Route};
    use crate::model::record::Identity;
    use crate::model::tuple::Tuple;
    use crate::rules::plan::Options;
    use crate::rules::seen::Flows;

    fn capture() -> Capture {
        let interface = |name: &str, address: &str| Interface {
            name: name.to_owned(),
            addresses: vec![address.parse().unwrap()],
            ..Interface::default()
        };
        Capture {
            interfaces: vec![
                interface("lan0", "10.1.0.1/24"),
                interface("wan0", "203.0.113.2/30"),
            ],
            routes: vec![Route {
                destination: "0.0.0.0/0".parse().unwrap(),
                gateway: None,
                interface: "wan0".to_owned(),
            }],
            ..Capture::default()
        }
    }

    /// A flow of UDP, answered or not.
    fn udp(from: (&str, u16), to: (&str, u16), confirmed: bool) -> Record {
        let tuple = Tuple {
            protocol: Protocol::UDP,
            source_port: SourcePort::Exact(from.1),
            ..Tuple::tcp(from.0, to.0, to.1)
        };
        Record {
            connections: 1,
            ..Record::new(Identity::of(&tuple), confirmed)
        }
    }

    /// What is taken, as chain, zones and port, and how much is left.
    fn taken(records: &[Record]) -> (Vec<(Chain, String, Service, Kind)>, usize) {
        let captures = [capture()];
        let host = Host::new(&captures, &[]);
        let (links, days) = (Links::new(&captures), Days::new(&captures));
        let options = Options::default();
        let (_, accepted, mut left_out) = Flows::sort_out(records, &host, &options, true);
        let accepted: Vec<Flow> = accepted
            .into_iter()
            .map(|(seen, _, at)| (seen, at))
            .collect();
        let taken = take(records, &accepted, &mut left_out, (&host, &links, &days));
        let keys = taken.into_iter().map(|(key, _)| {
            let zone = links.name(key.from.or(key.to));
            (key.chain, zone, key.service, key.kind)
        });
        (keys.collect(), left_out.len())
    }

    #[test]
    fn a_server_of_dhcp_is_asked_and_answers() {
        let question = udp(("0.0.0.0", 68), ("255.255.255.255", 67), false);
        let answer = udp(("10.1.0.1", 67), ("10.1.0.50", 68), false);
        let lan = "lan0".to_owned();
        let asked = (Chain::Input, lan.clone(), Service::Port(67), Kind::Plain);
        let answers = (Chain::Output, lan, Service::Port(68), Kind::From(67));
        let (keys, left) = taken(&[question.clone(), answer.clone()]);
        assert_eq!((keys, left), (vec![asked, answers.clone()], 0));
        // It was only seen to renew a lease.
        let renewal = udp(("10.1.0.50", 68), ("10.1.0.1", 67), true);
        let other = udp(("10.1.0.1", 67), ("10.1.0.51", 68), false);
        let (keys, left) = taken(&[renewal, other]);
        assert_eq!((keys, left), (vec![answers], 0));
        // Another host's server is none of ours.
        let (keys, left) = taken(&[question]);
        assert_eq!((keys, left), (Vec::new(), 1));
    }

    #[test]
    fn who_takes_no_part_in_a_group_hears_nothing_of_it() {
        let asked = udp(("10.1.0.50", 5353), ("224.0.0.251", 5353), false);
        assert_eq!(taken(std::slice::from_ref(&asked)), (Vec::new(), 1));
        let says = udp(("10.1.0.1", 5353), ("224.0.0.251", 5353), false);
        let (keys, left) = taken(&[asked, says.clone()]);
        assert_eq!((keys.len(), left), (2, 0));
        // Nor does the Internet side.
        let outside = udp(("203.0.113.1", 5353), ("224.0.0.251", 5353), false);
        let (keys, left) = taken(&[outside, says]);
        assert_eq!((keys.len(), left), (1, 1));
    }

    #[test]
    fn an_own_lease_by_dhcp_goes_on() {
        let lease = udp(("203.0.113.2", 68), ("203.0.113.1", 67), true);
        let (keys, _) = taken(&[lease]);
        let wan = "wan0".to_owned();
        let asks = (
            Chain::Output,
            wan.clone(),
            Service::Port(67),
            Kind::From(68),
        );
        let gets = (Chain::Input, wan, Service::Port(68), Kind::From(67));
        assert_eq!(keys, [asks, gets]);
    }

    #[test]
    fn an_answer_comes_to_the_port_that_was_asked_from() {
        let from = |ports: &[SourcePort]| ports.iter().copied().collect::<HashSet<_>>();
        let exact = from(&[SourcePort::Exact(1900)]);
        assert_eq!(
            answered(Service::Port(1900), &exact),
            Some(Service::Port(1900))
        );
        assert_eq!(answered(Service::Port(40_000), &exact), None);
        let free = from(&[SourcePort::Ephemeral]);
        assert_eq!(answered(Service::Port(40_000), &free), Some(Service::None));
        assert_eq!(answered(Service::Port(22), &free), None);
    }
}
