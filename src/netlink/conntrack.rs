//! One ctnetlink message to one [`Observation`], in place and without allocation.
//!
//! Total: any byte string gives an observation or a [`Skip`]. `nfct_nlmsg_parse` of the C library is
//! the oracle it is tested against, and the vectors of the C tool decide what is skipped. The
//! attribute numbers are those of `include/uapi/linux/netfilter/nfnetlink_conntrack.h`.

pub mod beginning;
mod fast;
mod full;
pub mod tuple;

pub(crate) use full::duration_us;
pub use full::sighting;

use crate::model::flow::{Event, Flow, Key, Observation, Transport, collapse, icmp_service};
use crate::netlink::framing::{Message, NFGENMSG_LEN, attributes};
use crate::netlink::uapi::{
    AF_INET, AF_INET6, CTA_IP_V4_DST, CTA_IP_V4_SRC, CTA_IP_V6_DST, CTA_IP_V6_SRC,
    CTA_PROTO_DST_PORT, CTA_PROTO_ICMP_CODE, CTA_PROTO_ICMP_TYPE, CTA_PROTO_ICMPV6_CODE,
    CTA_PROTO_ICMPV6_TYPE, CTA_PROTO_NUM, CTA_PROTO_SRC_PORT, CTA_STATUS, CTA_TUPLE_IP,
    CTA_TUPLE_ORIG, CTA_TUPLE_PROTO, IPCTNL_MSG_CT_DELETE, IPCTNL_MSG_CT_NEW, IPPROTO_ICMP,
    IPPROTO_ICMPV6, IPPROTO_TCP, IPPROTO_UDP, IPS_SEEN_REPLY, NFNL_SUBSYS_CTNETLINK, NLM_F_CREATE,
    message_type,
};

/// `NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_NEW`: both NEW and UPDATE events have it.
const CT_NEW: u16 = message_type(NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_NEW);
/// `NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_DELETE`.
const CT_DELETE: u16 = message_type(NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_DELETE);

/// Why a message gave no observation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skip {
    /// Another subsystem, a control message, or a conntrack message that is no event of an entry.
    NotAnEvent,
    /// An address family or protocol that is not listed.
    NotListed,
    /// A needed attribute is missing or has the wrong size.
    Malformed,
}

/// The attributes of a protocol nest that matter; the last one of a kind wins.
#[derive(Default)]
struct Proto<'a> {
    number: Option<&'a [u8]>,
    source_port_be: Option<&'a [u8]>,
    destination_port_be: Option<&'a [u8]>,
    icmp_type: Option<&'a [u8]>,
    icmp_code: Option<&'a [u8]>,
    icmpv6_type: Option<&'a [u8]>,
    icmpv6_code: Option<&'a [u8]>,
}

impl<'a> Proto<'a> {
    #[inline]
    fn read(nest: &'a [u8]) -> Self {
        let mut proto = Self::default();
        for (kind, value) in attributes(nest) {
            match kind {
                CTA_PROTO_NUM => proto.number = Some(value),
                CTA_PROTO_SRC_PORT => proto.source_port_be = Some(value),
                CTA_PROTO_DST_PORT => proto.destination_port_be = Some(value),
                CTA_PROTO_ICMP_TYPE => proto.icmp_type = Some(value),
                CTA_PROTO_ICMP_CODE => proto.icmp_code = Some(value),
                CTA_PROTO_ICMPV6_TYPE => proto.icmpv6_type = Some(value),
                CTA_PROTO_ICMPV6_CODE => proto.icmpv6_code = Some(value),
                _ => {}
            }
        }
        proto
    }

    /// Service and collapsed source port.
    #[inline]
    fn ports(&self, transport: Transport) -> Result<(u16, u16), Skip> {
        if transport == Transport::Icmp {
            // The C library reads both families' numbers into one attribute, ICMPv6 last.
            let icmp_type = array::<1>(self.icmpv6_type.or(self.icmp_type))?;
            let icmp_code = array::<1>(self.icmpv6_code.or(self.icmp_code))?;
            return Ok((icmp_service(icmp_type[0], icmp_code[0]), 0));
        }
        let source_port = u16::from_be_bytes(array(self.source_port_be)?);
        let destination_port = u16::from_be_bytes(array(self.destination_port_be)?);
        Ok((destination_port, collapse(source_port)))
    }
}

/// A value of exactly `N` bytes, the only size that the kernel sends and the C library takes.
#[inline]
fn array<const N: usize>(value: Option<&[u8]>) -> Result<[u8; N], Skip> {
    value
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or(Skip::Malformed)
}

/// Which event a message is, if it is one.
#[inline]
fn event_kind(message: Message<'_>) -> Option<Event> {
    match message.kind {
        CT_NEW if message.flags & NLM_F_CREATE != 0 => Some(Event::New),
        CT_NEW => Some(Event::Update),
        CT_DELETE => Some(Event::Destroy),
        _ => None,
    }
}

/// Decodes one message to what the classic list needs of it.
///
/// Errors: [`Skip`] says why the message gives no observation; nothing else can go wrong.
#[inline]
pub fn decode(message: Message<'_>) -> Result<Observation, Skip> {
    let event = event_kind(message).ok_or(Skip::NotAnEvent)?;
    let Some((nfgenmsg, body)) = message.payload.split_first_chunk::<NFGENMSG_LEN>() else {
        return Err(Skip::Malformed);
    };
    let family = nfgenmsg[0];
    if family != AF_INET && family != AF_INET6 {
        return Err(Skip::NotListed);
    }

    let usual = if family == AF_INET {
        fast::read::<4>(body).map(|(transport, replied, key)| (Flow::V4(transport, key), replied))
    } else {
        fast::read::<16>(body).map(|(transport, replied, key)| (Flow::V6(transport, key), replied))
    };
    let (flow, replied) = match usual {
        Some(found) => found,
        None => any(family, body)?,
    };
    Ok(Observation {
        flow,
        replied,
        event,
    })
}

/// Whether reading the usual layout and reading any layout come to the same, for the fuzzer.
#[doc(hidden)]
pub fn layouts_agree(message: Message<'_>) -> bool {
    let Some((&[family, ..], body)) = message.payload.split_first_chunk::<NFGENMSG_LEN>() else {
        return true;
    };
    let usual = match family {
        AF_INET => fast::read::<4>(body)
            .map(|(transport, replied, key)| (Flow::V4(transport, key), replied)),
        AF_INET6 => fast::read::<16>(body)
            .map(|(transport, replied, key)| (Flow::V6(transport, key), replied)),
        _ => None,
    };
    usual.is_none_or(|usual| any(family, body) == Ok(usual))
}

/// Reads a message whatever the order of its attributes is, and whatever else is among them.
fn any(family: u8, body: &[u8]) -> Result<(Flow, bool), Skip> {
    let (mut tuple, mut status) = (None, None);
    for (kind, value) in attributes(body) {
        match kind {
            CTA_TUPLE_ORIG => tuple = Some(value),
            CTA_STATUS => status = Some(value),
            _ => {}
        }
    }
    let (mut addresses, mut proto) = (None, None);
    for (kind, value) in attributes(tuple.ok_or(Skip::Malformed)?) {
        match kind {
            CTA_TUPLE_IP => addresses = Some(value),
            CTA_TUPLE_PROTO => proto = Some(value),
            _ => {}
        }
    }
    let proto = Proto::read(proto.ok_or(Skip::Malformed)?);
    let transport = match (array::<1>(proto.number)?[0], family) {
        (IPPROTO_TCP, _) => Transport::Tcp,
        (IPPROTO_UDP, _) => Transport::Udp,
        (IPPROTO_ICMP, AF_INET) | (IPPROTO_ICMPV6, AF_INET6) => Transport::Icmp,
        _ => return Err(Skip::NotListed),
    };
    let status = u32::from_be_bytes(array(status)?);
    let ports = proto.ports(transport)?;
    let addresses = addresses.ok_or(Skip::Malformed)?;
    let flow = if family == AF_INET {
        Flow::V4(
            transport,
            key(addresses, CTA_IP_V4_SRC, CTA_IP_V4_DST, ports)?,
        )
    } else {
        Flow::V6(
            transport,
            key(addresses, CTA_IP_V6_SRC, CTA_IP_V6_DST, ports)?,
        )
    };
    Ok((flow, status & IPS_SEEN_REPLY != 0))
}

#[inline]
fn key<const N: usize>(
    addresses: &[u8],
    source_kind: u16,
    destination_kind: u16,
    (service, source_port): (u16, u16),
) -> Result<Key<[u8; N]>, Skip> {
    let (mut source, mut destination) = (None, None);
    for (kind, value) in attributes(addresses) {
        if kind == source_kind {
            source = Some(value);
        } else if kind == destination_kind {
            destination = Some(value);
        }
    }
    Ok(Key {
        source: array(source)?,
        destination: array(destination)?,
        service,
        source_port,
    })
}
