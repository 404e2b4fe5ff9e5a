//! ctnetlink messages: the requests that make the kernel emit events, and the events themselves.
//!
//! The layout is that of `linux/netlink.h`, `linux/netfilter/nfnetlink.h` and
//! `linux/netfilter/nfnetlink_conntrack.h`.

use super::flow::{Protocol, Tuple};
use super::plan::{Action, Event};
use super::random::draw;
use std::net::IpAddr;

/// Offset of `nlmsg_flags` in a message.
const FLAGS_OFFSET: usize = 6;
/// `(NFNL_SUBSYS_CTNETLINK << 8) | IPCTNL_MSG_CT_NEW`
const CT_NEW: u16 = 0x0100;
/// `(NFNL_SUBSYS_CTNETLINK << 8) | IPCTNL_MSG_CT_DELETE`
const CT_DELETE: u16 = 0x0102;

const NLM_F_REQUEST: u16 = 0x001;
const NLM_F_ACK: u16 = 0x004;
const NLM_F_EXCL: u16 = 0x200;
const NLM_F_CREATE: u16 = 0x400;
const NLA_F_NESTED: u16 = 0x8000;

const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_STATUS: u16 = 3;
const CTA_PROTOINFO: u16 = 4;
const CTA_TIMEOUT: u16 = 7;
const CTA_ID: u16 = 12;

const IPS_SEEN_REPLY: u32 = 1 << 1;
const IPS_CONFIRMED: u32 = 1 << 3;

const TCP_SYN_SENT: u8 = 1;
const TCP_SYN_RECV: u8 = 2;

/// Appends the request that makes the kernel emit `event`.
///
/// A creation carries `NLM_F_EXCL`: without it, `ctnetlink_new_conntrack` (net/netfilter/nf_conntrack_netlink.c)
/// would quietly turn the creation of an entry that is already there into an update. An update carries no
/// `NLM_F_CREATE`, so that a vanished entry is an error and not a creation.
///
/// The status always has `IPS_CONFIRMED`: `ctnetlink_change_status` compares with what the entry has and answers
/// EBUSY if that bit would go.
pub fn request(out: &mut Vec<u8>, event: &Event, timeout_s: u32, sequence: u32) {
    let flags = match event.action {
        Action::Create => NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL,
        Action::Update => NLM_F_REQUEST,
    };
    message(out, CT_NEW, flags, sequence, &event.tuple, |out| {
        tuple(out, CTA_TUPLE_ORIG, &event.tuple, false);
        tuple(out, CTA_TUPLE_REPLY, &event.tuple, true);
        be32(out, CTA_STATUS, status(event));
        be32(out, CTA_TIMEOUT, timeout_s);
        if event.tuple.protocol == Protocol::Tcp {
            nest(out, CTA_PROTOINFO, |out| {
                nest(out, 1, |out| octet(out, 1, tcp_state(event)))
            });
        }
    });
}

/// Appends the request that removes the entry of `tuple`.
pub fn deletion(out: &mut Vec<u8>, original: &Tuple, sequence: u32) {
    message(out, CT_DELETE, NLM_F_REQUEST, sequence, original, |out| {
        tuple(out, CTA_TUPLE_ORIG, original, false)
    });
}

/// Asks for an answer to the message at `offset` even if it succeeds.
pub fn demand_answer(buffer: &mut [u8], offset: usize) {
    let flags = &mut buffer[offset + FLAGS_OFFSET..offset + FLAGS_OFFSET + 2];
    let asked = u16::from_ne_bytes([flags[0], flags[1]]) | NLM_F_ACK;
    flags.copy_from_slice(&asked.to_ne_bytes());
}

/// Appends `event` as the kernel emits it for a packet (`ctnetlink_conntrack_event`, Linux 6.18): the tuples,
/// the identifier, status, timeout and, for TCP, the state of the connection.
///
/// For an entry made by a request, the kernel appends `CTA_SYNPROXY` and `CTA_MARK` and fills in sequence number
/// and port of the request; those say nothing about a flow, and a gateway's events do not have them.
pub fn notification(out: &mut Vec<u8>, event: &Event, timeout_s: u32) {
    let flags = if event.action == Action::Create {
        NLM_F_CREATE | NLM_F_EXCL
    } else {
        0
    };
    message(out, CT_NEW, flags, 0, &event.tuple, |out| {
        tuple(out, CTA_TUPLE_ORIG, &event.tuple, false);
        tuple(out, CTA_TUPLE_REPLY, &event.tuple, true);
        // Like the kernel's nf_ct_get_id, the identifier depends on the connection alone.
        let id = draw(u64::from(event.tuple.source_port), 5, event.flow) as u32;
        be32(out, CTA_ID, id);
        be32(out, CTA_STATUS, status(event));
        be32(out, CTA_TIMEOUT, timeout_s);
        if event.tuple.protocol == Protocol::Tcp {
            // Window scale 7 both ways; IP_CT_TCP_FLAG_WINDOW_SCALE | IP_CT_TCP_FLAG_SACK_PERM once a side has spoken.
            let (scale, spoken) = if event.replied { (7, 0x0023) } else { (0, 0) };
            nest(out, CTA_PROTOINFO, |out| {
                nest(out, 1, |out| {
                    octet(out, 1, tcp_state(event));
                    octet(out, 2, 7);
                    octet(out, 3, scale);
                    attribute(out, 4, &[0x03, 0]);
                    attribute(out, 5, &[spoken as u8, 0]);
                });
            });
        }
    });
}

fn status(event: &Event) -> u32 {
    IPS_CONFIRMED | if event.replied { IPS_SEEN_REPLY } else { 0 }
}

fn tcp_state(event: &Event) -> u8 {
    if event.replied {
        TCP_SYN_RECV
    } else {
        TCP_SYN_SENT
    }
}

/// A netlink header, a netfilter header and what `body` appends; the length is filled in afterwards.
fn message(
    out: &mut Vec<u8>,
    kind: u16,
    flags: u16,
    sequence: u32,
    of: &Tuple,
    body: impl FnOnce(&mut Vec<u8>),
) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&kind.to_ne_bytes());
    out.extend_from_slice(&flags.to_ne_bytes());
    out.extend_from_slice(&sequence.to_ne_bytes());
    out.extend_from_slice(&[0; 4]);
    let family = if of.source.is_ipv4() {
        libc::AF_INET
    } else {
        libc::AF_INET6
    };
    out.extend_from_slice(&[family as u8, 0, 0, 0]);
    body(out);
    let length = (out.len() - start) as u32;
    out[start..start + 4].copy_from_slice(&length.to_ne_bytes());
}

/// `CTA_TUPLE_ORIG` or, with the ends exchanged, `CTA_TUPLE_REPLY`.
fn tuple(out: &mut Vec<u8>, kind: u16, tuple: &Tuple, reply: bool) {
    let (source, destination) = if reply {
        (tuple.destination, tuple.source)
    } else {
        (tuple.source, tuple.destination)
    };
    let (source_port, destination_port) = if reply {
        (tuple.destination_port, tuple.source_port)
    } else {
        (tuple.source_port, tuple.destination_port)
    };
    nest(out, kind, |out| {
        nest(out, 1, |out| {
            address(out, [1, 3], source);
            address(out, [2, 4], destination);
        });
        nest(out, 2, |out| match (tuple.protocol, tuple.source) {
            (Protocol::Tcp, _) => {
                ports(out, libc::IPPROTO_TCP as u8, source_port, destination_port)
            }
            (Protocol::Udp, _) => {
                ports(out, libc::IPPROTO_UDP as u8, source_port, destination_port)
            }
            // The reply of an echo request (8, and 128 with IPv6) is an echo reply (0, 129) of the same identifier.
            (Protocol::Icmp, IpAddr::V4(_)) => {
                echo(
                    out,
                    libc::IPPROTO_ICMP as u8,
                    4,
                    tuple.source_port,
                    if reply { 0 } else { 8 },
                );
            }
            (Protocol::Icmp, IpAddr::V6(_)) => {
                echo(
                    out,
                    libc::IPPROTO_ICMPV6 as u8,
                    7,
                    tuple.source_port,
                    if reply { 129 } else { 128 },
                );
            }
        });
    });
}

fn address(out: &mut Vec<u8>, kinds: [u16; 2], address: IpAddr) {
    match address {
        IpAddr::V4(address) => attribute(out, kinds[0], &address.octets()),
        IpAddr::V6(address) => attribute(out, kinds[1], &address.octets()),
    }
}

fn ports(out: &mut Vec<u8>, protocol: u8, source: u16, destination: u16) {
    octet(out, 1, protocol);
    attribute(out, 2, &source.to_be_bytes());
    attribute(out, 3, &destination.to_be_bytes());
}

fn echo(out: &mut Vec<u8>, protocol: u8, first: u16, identifier: u16, kind: u8) {
    octet(out, 1, protocol);
    attribute(out, first, &identifier.to_be_bytes());
    octet(out, first + 1, kind);
    octet(out, first + 2, 0);
}

fn nest(out: &mut Vec<u8>, kind: u16, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; 2]);
    out.extend_from_slice(&(kind | NLA_F_NESTED).to_ne_bytes());
    body(out);
    let length = (out.len() - start) as u16;
    out[start..start + 2].copy_from_slice(&length.to_ne_bytes());
}

fn octet(out: &mut Vec<u8>, kind: u16, value: u8) {
    attribute(out, kind, &[value]);
}

fn be32(out: &mut Vec<u8>, kind: u16, value: u32) {
    attribute(out, kind, &value.to_be_bytes());
}

/// One attribute, padded with zeros to a multiple of 4 as `nla_put` does.
fn attribute(out: &mut Vec<u8>, kind: u16, value: &[u8]) {
    out.extend_from_slice(&(4 + value.len() as u16).to_ne_bytes());
    out.extend_from_slice(&kind.to_ne_bytes());
    out.extend_from_slice(value);
    out.resize(out.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests;
