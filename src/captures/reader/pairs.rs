//! Records of one direction, and the pairs of them that are flows which were answered.
//!
//! A NetFlow record, a line of a cloud's flow log and a line of the C tool's lists from version 0.4 on tell of packets in
//! one direction. That a flow was answered is told by the record of the other direction. Which of the two asked is told by
//! the times and by the ports; where these don't say, or say different things, both are listed, and none as answered.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::net::IpAddr;

use super::line::Kind;
use crate::formats::exports::Span;
use crate::model::record::{Identity, Protocol, Record, Service, SourcePort};
use crate::model::timestamp::{Timestamp, earliest};

/// Where the ports begin that clients have by default (`net.ipv4.ip_local_port_range`; RFC 6335, 6: from 49152 on).
const CLIENT_PORT_MIN: u16 = 32_768;
/// Ports below belong to services (RFC 6335, 6).
const SERVICE_PORT_MAX: u16 = 1023;
/// Packets that are farther apart belong to different flows that happen to have the same addresses and ports. The longest
/// time over which those who export sum packets up without telling when they came is that of AWS, 10 minutes.
const APART_MAX_US: u64 = 600_000_000;

/// Records of one direction of one file.
#[derive(Debug, Default)]
pub struct Pairs {
    halves: HashMap<Key, Half>,
    /// In the order in which they came, so that the same file gives the same list.
    order: Vec<Key>,
}

type Key = (Kind, End, End, u8, u16);

/// What a record of one direction says, until that of the other one comes.
#[derive(Debug)]
struct Half {
    record: Record,
    /// When its packets came: times that are near one another are one of them. None where no time is known.
    spans: Vec<Span>,
}

/// An address and a port.
type End = (IpAddr, u16);

impl Pairs {
    /// Takes in a record of one direction, its source port as it was.
    pub fn add(&mut self, kind: Kind, mut record: Record, span: Option<Span>) {
        let of_record = || {
            let first = record.first_seen?.us();
            Some((
                first,
                record.last_seen.map_or(first, Timestamp::us).max(first),
            ))
        };
        let span = span.or_else(of_record);
        // A record of both directions that goes from a service to a client stands the wrong way round.
        if record.confirmed && by_ports(&record.identity).is_gt() {
            record.confirmed = false;
            record.classic = Record::usual_classic(false);
        }
        let key = key(kind, &record.identity);
        match self.halves.get_mut(&key) {
            None => {
                self.order.push(key);
                let spans = span.into_iter().collect();
                self.halves.insert(key, Half { record, spans });
            }
            Some(half) => {
                half.spans.extend(span);
                if half.spans.len() == half.spans.capacity() {
                    join(&mut half.spans);
                }
                let own = &mut half.record;
                own.first_seen = earliest(own.first_seen, record.first_seen);
                own.last_seen = own.last_seen.max(record.last_seen);
                own.confirmed |= record.confirmed;
                own.classic = Record::usual_classic(own.confirmed);
                // Those who export split a connection into records by time, so that their number says nothing.
                own.connections = own.connections.max(record.connections);
            }
        }
    }

    /// The flows that they are, in the order in which they came.
    pub fn finish(mut self) -> Vec<(Kind, Record)> {
        let mut flows = Vec::with_capacity(self.order.len());
        for half in self.halves.values_mut() {
            join(&mut half.spans);
        }
        for key in &self.order {
            let Some(one) = self.halves.remove(key) else {
                continue;
            };
            let (kind, from, to, protocol, zone) = *key;
            let back = (kind, to, from, protocol, zone);
            let other = self.halves.get(&back);
            let asked = other
                .filter(|other| are_near(&one.spans, &other.spans))
                .map(|other| asked_first(&one, other));
            match asked {
                Some(Ordering::Less) => {
                    if let Some(other) = self.halves.remove(&back) {
                        flows.push((kind, answered(one.record, &other.record)));
                    }
                }
                Some(Ordering::Greater) => {
                    if let Some(other) = self.halves.remove(&back) {
                        flows.push((kind, answered(other.record, &one.record)));
                    }
                }
                Some(Ordering::Equal) | None => flows.push((kind, one.record)),
            }
        }
        // What answers is no flow of its own, for conntrack as little.
        flows.retain(|(_, record)| is_request(&record.identity));
        flows
    }
}

fn key(kind: Kind, identity: &Identity) -> Key {
    let source = identity.source_port.number().unwrap_or_default();
    let (source, port) = match identity.service {
        Service::Port(port) => (source, port),
        Service::None => (0, 0),
        // Types differ between the directions, and both stand for the request.
        Service::Icmp(icmp_type, _) => {
            let asked = request_of(identity.protocol, icmp_type);
            (asked, asked)
        }
    };
    let source = (identity.source, source);
    let destination = (identity.destination, port);
    (
        kind,
        source,
        destination,
        identity.protocol.0,
        identity.zone,
    )
}

/// Sorts spans and joins those that are near one another.
fn join(spans: &mut Vec<Span>) {
    spans.sort_unstable();
    spans.dedup_by(|next, one| {
        let is_near = next.0.saturating_sub(one.1) <= APART_MAX_US;
        if is_near {
            one.1 = one.1.max(next.1);
        }
        is_near
    });
}

/// Whether some of two directions' packets came near one another, as far as times tell. Both are sorted, and have no two
/// that are near.
fn are_near(one: &[Span], other: &[Span]) -> bool {
    let (mut left, mut right) = (one.iter().peekable(), other.iter().peekable());
    if left.peek().is_none() || right.peek().is_none() {
        return true;
    }
    while let (Some(one), Some(other)) = (left.peek(), right.peek()) {
        if one.1.saturating_add(APART_MAX_US) < other.0 {
            left.next();
        } else if other.1.saturating_add(APART_MAX_US) < one.0 {
            right.next();
        } else {
            return true;
        }
    }
    false
}

fn answered(asked: Record, answer: &Record) -> Record {
    let last_seen = asked.last_seen.max(answer.last_seen);
    Record {
        confirmed: true,
        classic: Record::usual_classic(true),
        last_seen,
        ..asked
    }
}

/// Whether `one` asked (`Less`) or `other` did; `Equal` if it can't be told.
fn asked_first(one: &Half, other: &Half) -> Ordering {
    let by_time = match (one.spans.first(), other.spans.first()) {
        (Some((one, _)), Some((other, _))) => one.cmp(other),
        _ => Ordering::Equal,
    };
    let (one, other) = (&one.record, &other.record);
    if one.identity.protocol.is_icmp() {
        return is_request(&other.identity).cmp(&is_request(&one.identity));
    }
    // A record of what was under way when recording began may be of either direction, so ports must not say otherwise.
    match (by_time, by_ports(&one.identity)) {
        (time, Ordering::Equal) => time,
        (Ordering::Equal, ports) => ports,
        (time, ports) if time == ports => time,
        _ => Ordering::Equal,
    }
}

/// Whether this direction goes to a service (`Less`) or comes from one.
fn by_ports(identity: &Identity) -> Ordering {
    let (SourcePort::Exact(source), Service::Port(destination)) =
        (identity.source_port, identity.service)
    else {
        return Ordering::Equal;
    };
    let is_service = |port: u16| port <= SERVICE_PORT_MAX;
    let is_client = |port: u16| port >= CLIENT_PORT_MIN;
    if is_service(source) == is_service(destination) && is_client(source) == is_client(destination)
    {
        return Ordering::Equal;
    }
    destination.cmp(&source)
}

/// The type of the request that a type of ICMP is or answers (`invmap` of nf_conntrack_proto_icmp.c and
/// nf_conntrack_proto_icmpv6.c), and one more, so that it is not 0; what neither asks nor answers stands for itself.
fn request_of(protocol: Protocol, icmp_type: u8) -> u16 {
    let request = match (protocol, icmp_type) {
        (Protocol::ICMP, 0) => 8,
        (Protocol::ICMP, 14 | 16 | 18) | (Protocol::ICMPV6, 129 | 140) => icmp_type - 1,
        _ => icmp_type,
    };
    u16::from(request) + 1
}

/// Whether it may begin a flow: of ICMP, requests do (`nf_conntrack_proto_icmp.c` and `nf_conntrack_proto_icmpv6.c`,
/// `valid_new`), and what has no type may.
fn is_request(identity: &Identity) -> bool {
    match (identity.protocol, identity.service) {
        (Protocol::ICMP, Service::Icmp(icmp_type, _)) => matches!(icmp_type, 8 | 13 | 15 | 17),
        (Protocol::ICMPV6, Service::Icmp(icmp_type, _)) => matches!(icmp_type, 128 | 139),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::tuple::Tuple;

    fn half(from: (u8, u16), to: (u8, u16), us: Option<u64>) -> Record {
        let address = |last: u8| IpAddr::from([10, 0, 0, last]);
        let tuple = Tuple {
            source: address(from.0),
            destination: address(to.0),
            protocol: Protocol::TCP,
            service: Service::Port(to.1),
            source_port: SourcePort::Exact(from.1),
            zone: 0,
        };
        Record {
            connections: 1,
            first_seen: us.and_then(Timestamp::from_us),
            last_seen: us.and_then(Timestamp::from_us),
            ..Record::new(Identity::of(&tuple), false)
        }
    }

    /// Source and whether confirmed of the flows of some records.
    fn flows(halves: &[Record]) -> Vec<(u16, bool, u64)> {
        let mut pairs = Pairs::default();
        for half in halves {
            pairs.add(Kind::Classic, half.clone(), None);
        }
        let flows = pairs.finish().into_iter();
        let port = |record: &Record| record.identity.source_port.number().unwrap();
        flows
            .map(|(_, flow)| (port(&flow), flow.confirmed, flow.connections))
            .collect()
    }

    #[test]
    fn both_directions_are_one_flow_that_was_answered() {
        let (client, server) = ((1, 40_000), (2, 443));
        let (asks, answers) = (half(client, server, Some(5)), half(server, client, Some(6)));
        let expected = [(40_000, true, 1)];
        assert_eq!(
            flows(&[asks.clone(), answers.clone(), asks.clone()]),
            expected
        );
        assert_eq!(flows(&[answers.clone(), asks.clone()]), expected);
        assert_eq!(flows(std::slice::from_ref(&asks)), [(40_000, false, 1)]);
        // Ports alone, where there are no times or they are the same.
        for time in [None, Some(5)] {
            assert_eq!(
                flows(&[half(server, client, time), half(client, server, time)]),
                expected
            );
        }
    }

    #[test]
    fn where_it_cannot_be_told_none_is_answered() {
        let (client, server) = ((1, 40_000), (2, 443));
        let contradiction = [half(server, client, Some(5)), half(client, server, Some(6))];
        assert_eq!(flows(&contradiction), [(443, false, 1), (40_000, false, 1)]);
        for (one, other) in [
            ((1, 123), (2, 123)),
            ((1, 40_000), (2, 50_000)),
            ((1, 5000), (2, 8080)),
        ] {
            let found = flows(&[half(one, other, None), half(other, one, None)]);
            assert_eq!(found, [(one.1, false, 1), (other.1, false, 1)]);
            let timed = flows(&[half(one, other, Some(2)), half(other, one, Some(1))]);
            assert_eq!(timed, [(other.1, true, 1)]);
        }
    }

    #[test]
    fn of_icmp_the_request_asks() {
        let icmp = |from, to, icmp_type| {
            let mut half = half((from, 0), (to, 0), None);
            half.identity.protocol = Protocol::ICMP;
            half.identity.source_port = SourcePort::None;
            half.identity.service = Service::Icmp(icmp_type, 0);
            half
        };
        let mut pairs = Pairs::default();
        // Echo and its answer, and an error that answers nothing.
        for (from, to, icmp_type) in [(2, 1, 0), (1, 2, 8), (3, 4, 3), (5, 6, 8)] {
            pairs.add(Kind::Classic, icmp(from, to, icmp_type), None);
        }
        let found: Vec<_> = pairs.finish().into_iter().map(|(_, flow)| flow).collect();
        let shown: Vec<_> = found
            .iter()
            .map(|flow| (flow.identity.source.to_string(), flow.confirmed))
            .collect();
        assert_eq!(
            shown,
            [("10.0.0.1".into(), true), ("10.0.0.5".into(), false)]
        );
    }
}
