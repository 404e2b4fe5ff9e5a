//! The layout that the kernel gives the events of TCP and UDP (`ctnetlink_conntrack_event`, Linux 6.18):
//! original and reply tuple of the same length, id, status, and then whatever else there is to tell.
//!
//! Where each of these attributes ends is known without having read its length, so that no load waits
//! for the one before it. A message of another layout is left to the general walk.

use crate::model::flow::{Key, Transport, collapse};
use crate::netlink::framing::attributes;
use crate::netlink::uapi::{
    CTA_ID, CTA_IP_V4_DST, CTA_IP_V4_SRC, CTA_IP_V6_DST, CTA_IP_V6_SRC, CTA_PROTO_DST_PORT,
    CTA_PROTO_NUM, CTA_PROTO_SRC_PORT, CTA_STATUS, CTA_TUPLE_IP, CTA_TUPLE_ORIG, CTA_TUPLE_PROTO,
    CTA_TUPLE_REPLY, IPPROTO_TCP, IPPROTO_UDP, IPS_SEEN_REPLY, NLA_F_NESTED,
};

/// Bytes of the protocol nest of TCP and UDP: number and two ports, each padded.
const PROTO_LEN: usize = 3 * 8;

/// Bytes of a tuple of TCP or UDP with addresses of `n` bytes.
const fn tuple_len(n: usize) -> usize {
    4 + 2 * (4 + n) + 4 + PROTO_LEN
}

/// The header of a nest whose content has `len` bytes.
const fn nest(kind: u16, len: usize) -> [u8; 4] {
    header(kind | NLA_F_NESTED, len)
}

/// The header of an attribute whose value has `len` bytes.
const fn header(kind: u16, len: usize) -> [u8; 4] {
    let [l0, l1] = (len as u16 + 4).to_ne_bytes();
    let [k0, k1] = kind.to_ne_bytes();
    [l0, l1, k0, k1]
}

/// Takes an attribute off the front if its header is that one; `LEN` is the value with its padding.
#[inline(always)]
fn expect<'a, const LEN: usize>(rest: &mut &'a [u8], header: [u8; 4]) -> Option<&'a [u8; LEN]> {
    let (found, after) = rest.split_first_chunk::<4>()?;
    let (value, after) = after.split_first_chunk::<LEN>()?;
    *rest = after;
    (*found == header).then_some(value)
}

/// Transport, whether replied, and key of a message of the usual layout.
#[inline]
pub(super) fn read<const N: usize>(body: &[u8]) -> Option<(Transport, bool, Key<[u8; N]>)> {
    let (source_kind, destination_kind) = const {
        if N == 4 {
            (CTA_IP_V4_SRC, CTA_IP_V4_DST)
        } else {
            (CTA_IP_V6_SRC, CTA_IP_V6_DST)
        }
    };
    let mut at = body;
    let rest = &mut at;
    expect::<0>(rest, const { nest(CTA_TUPLE_ORIG, tuple_len(N)) })?;
    expect::<0>(rest, const { nest(CTA_TUPLE_IP, 2 * (4 + N)) })?;
    let source = expect::<N>(rest, header(source_kind, N))?;
    let destination = expect::<N>(rest, header(destination_kind, N))?;
    expect::<0>(rest, const { nest(CTA_TUPLE_PROTO, PROTO_LEN) })?;
    let number = expect::<4>(rest, const { header(CTA_PROTO_NUM, 1) })?;
    let source_port_be = expect::<4>(rest, const { header(CTA_PROTO_SRC_PORT, 2) })?;
    let destination_port_be = expect::<4>(rest, const { header(CTA_PROTO_DST_PORT, 2) })?;
    expect::<0>(rest, const { nest(CTA_TUPLE_REPLY, tuple_len(N)) })?;
    *rest = rest.get(const { tuple_len(N) }..)?;
    expect::<4>(rest, const { header(CTA_ID, 4) })?;
    let status = expect::<4>(rest, const { header(CTA_STATUS, 4) })?;
    // The last one of a kind would win.
    if attributes(rest).any(|(kind, _)| kind == CTA_TUPLE_ORIG || kind == CTA_STATUS) {
        return None;
    }
    let transport = match number[0] {
        IPPROTO_TCP => Transport::Tcp,
        IPPROTO_UDP => Transport::Udp,
        _ => return None,
    };
    let port = |be: &[u8; 4]| u16::from_be_bytes([be[0], be[1]]);
    Some((
        transport,
        u32::from_be_bytes(*status) & IPS_SEEN_REPLY != 0,
        Key {
            source: *source,
            destination: *destination,
            service: port(destination_port_be),
            source_port: collapse(port(source_port_be)),
        },
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::flow::Flow;
    use crate::netlink::conntrack::any;
    use crate::netlink::framing::{NFGENMSG_LEN, messages};
    use crate::netlink::uapi::{AF_INET, AF_INET6};
    use conntracker_flood::flow::{Family, Profile, Protocol};
    use conntracker_flood::message::notification;
    use conntracker_flood::settings::{Repeat, Settings};

    /// Bodies of events as the kernel lays them out, with their family.
    fn bodies() -> Vec<(u8, Vec<u8>)> {
        let settings = Settings {
            entries: 60,
            distinct: 30,
            replied_percent: 50,
            repeat: Repeat::Update,
            profile: Profile {
                family: Family::Mixed,
                protocols: vec![(Protocol::Tcp, 1), (Protocol::Udp, 1), (Protocol::Icmp, 1)],
                privileged_percent: 30,
                seed: 7,
            },
        };
        let body = |event| {
            let mut bytes = Vec::new();
            notification(&mut bytes, &event, 120);
            let message = messages(&bytes).next().expect("one").expect("whole");
            (message.payload[0], message.payload[NFGENMSG_LEN..].to_vec())
        };
        settings.plan().map(body).collect()
    }

    fn usual(family: u8, body: &[u8]) -> Option<(Flow, bool)> {
        if family == AF_INET {
            read::<4>(body).map(|(transport, replied, key)| (Flow::V4(transport, key), replied))
        } else {
            assert_eq!(family, AF_INET6);
            read::<16>(body).map(|(transport, replied, key)| (Flow::V6(transport, key), replied))
        }
    }

    /// Whatever this reads, the general walk reads the same.
    #[track_caller]
    fn agree(family: u8, body: &[u8]) -> bool {
        let found = usual(family, body);
        if let Some(found) = found {
            assert_eq!(any(family, body), Ok(found), "{body:02x?}");
        }
        found.is_some()
    }

    #[test]
    fn the_kernels_tcp_and_udp_events_are_of_this_layout() {
        let bodies = bodies();
        let read = bodies.iter().filter(|(family, body)| agree(*family, body));
        let others = bodies.iter().filter(|(family, body)| {
            any(*family, body).is_ok_and(|(flow, _)| {
                matches!(
                    flow,
                    Flow::V4(Transport::Icmp, _) | Flow::V6(Transport::Icmp, _)
                )
            })
        });
        let (read, others) = (read.count(), others.count());
        assert!(read > 0 && others > 0);
        assert_eq!(read + others, bodies.len());
    }

    #[test]
    fn it_agrees_with_the_general_walk_on_every_changed_byte_and_every_end() {
        for (family, body) in bodies() {
            for at in 0..body.len() {
                agree(family, &body[..at]);
                let mut changed = body.clone();
                for flip in [1, 2, 3, 4, 8, 0x40, 0x80, 0xff] {
                    changed[at] = body[at] ^ flip;
                    agree(family, &changed);
                }
            }
        }
    }

    #[test]
    fn a_later_tuple_or_status_is_left_to_the_general_walk() {
        for (family, body) in bodies() {
            for kind in [CTA_TUPLE_ORIG, CTA_STATUS, CTA_TUPLE_ORIG | NLA_F_NESTED] {
                let mut longer = body.clone();
                longer.extend_from_slice(&header(kind, 4));
                longer.extend_from_slice(&[0, 0, 0, 2]);
                assert_eq!(usual(family, &longer), None);
            }
        }
    }
}
