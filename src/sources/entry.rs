//! An entry as the C library hands it over, to an [`Observation`].

use netfilter_conntrack::{Conntrack, Direction, status};

use crate::model::flow::{Event, Flow, Key, Observation, Transport, collapse, icmp_service};
use crate::model::origin::{Expected, Helper};
use crate::model::record::{Protocol, Service, SourcePort};
use crate::model::sighting::OWN;
use crate::model::sighting::Sighting;
use crate::model::tuple::{Reply, Tuple};
use crate::model::usage::Usage;
use crate::netlink::conntrack::beginning::Progress;
use crate::netlink::conntrack::{Skip, duration_us};
use crate::netlink::uapi::{
    AF_INET, AF_INET6, IPPROTO_ICMP, IPPROTO_ICMPV6, IPPROTO_TCP, IPPROTO_UDP,
};

/// Reads what the list needs of an entry.
///
/// Errors: [`Skip`] says why the entry gives no observation: the same reasons as in [`crate::netlink::conntrack::decode`].
pub fn observe(entry: &Conntrack, event: Event) -> Result<Observation, Skip> {
    let original = Direction::Original;
    let family = entry.l3_protocol(original).ok_or(Skip::Malformed)?;
    if family != AF_INET && family != AF_INET6 {
        return Err(Skip::NotListed);
    }
    let transport = match (entry.l4_protocol(original).ok_or(Skip::Malformed)?, family) {
        (IPPROTO_TCP, _) => Transport::Tcp,
        (IPPROTO_UDP, _) => Transport::Udp,
        (IPPROTO_ICMP, AF_INET) | (IPPROTO_ICMPV6, AF_INET6) => Transport::Icmp,
        _ => return Err(Skip::NotListed),
    };
    let replied = entry.is_replied().ok_or(Skip::Malformed)?;
    let (service, source_port) = ports(entry, transport).ok_or(Skip::Malformed)?;
    let flow = if family == AF_INET {
        let source = entry.ipv4_src(original).ok_or(Skip::Malformed)?.octets();
        let destination = entry.ipv4_dst(original).ok_or(Skip::Malformed)?.octets();
        Flow::V4(
            transport,
            Key {
                source,
                destination,
                service,
                source_port,
            },
        )
    } else {
        let source = entry.ipv6_src(original).ok_or(Skip::Malformed)?.octets();
        let destination = entry.ipv6_dst(original).ok_or(Skip::Malformed)?.octets();
        Flow::V6(
            transport,
            Key {
                source,
                destination,
                service,
                source_port,
            },
        )
    };
    Ok(Observation {
        flow,
        replied,
        event,
    })
}

/// Reads all that a record keeps of an entry; of protocols that the classic list does not have only if
/// they are asked for.
///
/// Errors: as those of [`observe`].
pub fn sighting(entry: &Conntrack, event: Event, all_protocols: bool) -> Result<Sighting, Skip> {
    let known = match observe(entry, event) {
        Ok(_) => true,
        Err(Skip::NotListed) if all_protocols => false,
        Err(skip) => return Err(skip),
    };
    let original = Direction::Original;
    let protocol = Protocol(entry.l4_protocol(original).ok_or(Skip::Malformed)?);
    // Of other families there is no address.
    let source = entry.src(original).ok_or(Skip::NotListed)?;
    let destination = entry.dst(original).ok_or(Skip::NotListed)?;
    let (service, source_port) = if protocol.has_ports() {
        // Of protocols that the kernel has no tracker for it knows no ports.
        let known = |port: Option<u16>| port.or((!known).then_some(0)).ok_or(Skip::Malformed);
        let service = known(entry.dst_port(original))?;
        let source_port = known(entry.src_port(original))?;
        (Service::Port(service), SourcePort::Exact(source_port))
    } else if known {
        let icmp_type = entry.icmp_type().ok_or(Skip::Malformed)?;
        let code = entry.icmp_code().ok_or(Skip::Malformed)?;
        (Service::Icmp(icmp_type, code), SourcePort::None)
    } else {
        (Service::None, SourcePort::None)
    };
    let tuple = Tuple {
        source,
        destination,
        protocol,
        service,
        source_port,
        zone: entry
            .zone()
            .or_else(|| entry.zone_of(original))
            .unwrap_or(0),
    };
    let flags = entry.status().ok_or(Skip::Malformed)?;
    let replied = flags & status::SEEN_REPLY != 0;
    Ok(Sighting {
        tuple,
        translation: reply(entry).and_then(|reply| tuple.translation(&reply)),
        replied,
        event,
        beginning: progress(entry, protocol, flags).beginning(protocol, event, replied),
        helper: entry.helper_name().map(|name| Helper::parse(&name)),
        expected_by: (flags & status::EXPECTED != 0).then(|| Expected {
            helper: None,
            protocol: Protocol(entry.master_l4_protocol().unwrap_or(0)),
            port: entry.master_dst_port().unwrap_or(0),
        }),
        namespace: OWN,
        // The library has a getter for the entry's beginning only.
        time: None,
        usage: (event == Event::Destroy).then(|| usage(entry)).flatten(),
    })
}

/// What the connection has carried, if the kernel has counted that.
fn usage(entry: &Conntrack) -> Option<Usage> {
    let (original, reply) = (Direction::Original, Direction::Reply);
    Some(Usage {
        ended: 1,
        bytes: entry.bytes(original)?,
        reply_bytes: entry.bytes(reply)?,
        packets: entry.packets(original)?,
        reply_packets: entry.packets(reply)?,
        duration_us: duration_us(entry.start_ns(), entry.stop_ns()),
    })
}

/// What the protocol's tracker says.
fn progress(entry: &Conntrack, protocol: Protocol, flags: u32) -> Progress {
    let tcp = |direction| entry.tcp_flags(direction);
    Progress {
        state: match protocol {
            Protocol::TCP => entry.tcp_state(),
            Protocol::SCTP => entry.sctp_state(),
            Protocol::DCCP => entry.dccp_state(),
            _ => None,
        },
        tcp_flags: (tcp(Direction::Original))
            .zip(tcp(Direction::Reply))
            .map(|(one, other)| [one, other]),
        offloaded: flags & status::OFFLOAD != 0,
    }
}

fn reply(entry: &Conntrack) -> Option<Reply> {
    let direction = Direction::Reply;
    Some(Reply {
        source: entry.src(direction)?,
        source_port: entry.src_port(direction),
        destination: entry.dst(direction)?,
        destination_port: entry.dst_port(direction),
    })
}

fn ports(entry: &Conntrack, transport: Transport) -> Option<(u16, u16)> {
    if transport == Transport::Icmp {
        return Some((icmp_service(entry.icmp_type()?, entry.icmp_code()?), 0));
    }
    let destination_port = entry.dst_port(Direction::Original)?;
    Some((
        destination_port,
        collapse(entry.src_port(Direction::Original)?),
    ))
}
