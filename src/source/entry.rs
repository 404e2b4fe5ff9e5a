//! An entry as the C library hands it over, to an [`Observation`].

use netfilter_conntrack::{Conntrack, Direction};

use crate::decode::Skip;
use crate::flow::{Event, Flow, Key, Observation, Transport, collapse, icmp_service};

const AF_INET: u8 = libc::AF_INET as u8;
const AF_INET6: u8 = libc::AF_INET6 as u8;
const IPPROTO_ICMP: u8 = libc::IPPROTO_ICMP as u8;
const IPPROTO_TCP: u8 = libc::IPPROTO_TCP as u8;
const IPPROTO_UDP: u8 = libc::IPPROTO_UDP as u8;
const IPPROTO_ICMPV6: u8 = libc::IPPROTO_ICMPV6 as u8;

/// Reads what the list needs of an entry.
///
/// # Errors
///
/// [`Skip`] says why the entry gives no observation: the same reasons as in [`crate::decode::decode`].
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
