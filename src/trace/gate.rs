//! The gate: rules that have the first packet of each distinct flow traced, and no other.
//!
//! To trace every packet costs the sender 2 to 3.6 µs each on Linux 6.18, a gated one 0.1 to 0.6 µs a new connection. What it
//! amounts to, for each of the two hooks at which packets enter the rules, behind connection tracking (−200) and before any
//! usual chain:
//!
//! ```text
//! table inet conntracker-trace-PID {
//!     flags owner
//!     set flows4 { type ipv4_addr . ipv4_addr . inet_proto . inet_service; flags dynamic; size N; }
//!     chain prerouting {
//!         type filter hook prerouting priority -199
//!         meta nfproto ipv4 ct state new ip saddr . ip daddr . meta l4proto . th dport != @flows4 \
//!             counter add @flows4 { … } counter meta nftrace set 1
//!     }
//! }
//! ```
//!
//! The key is a flow's as lists have it, but for the source port: addresses, protocol, and the destination port or type and
//! code of ICMP, the first two bytes of whose header they are. Protocols without either have sets of their own.
//!
//! A set that is full, or that loses an element that two processors add at a time, lets the packet pass untraced. What the
//! first counter has more than the second one is how many: [`Picked::missed`].

use std::io;
use std::ops::ControlFlow;

use crate::netlink::build::{Body, netfilter_message};
use crate::netlink::framing::{NFGENMSG_LEN, attributes};
use crate::netlink::nftables::{Batch, compare, ct_state_new, expression};
use crate::netlink::request::{self, Family};
use crate::netlink::uapi::{
    NF_INET_LOCAL_OUT, NF_INET_PRE_ROUTING, NFNL_SUBSYS_NFTABLES, NFPROTO_INET, NFPROTO_IPV4,
    NFPROTO_IPV6, NFT_CMP_EQ, NFT_CMP_NEQ, NFT_DYNSET_OP_ADD, NFT_LOOKUP_F_INV, NFT_META_L4PROTO,
    NFT_META_NFPROTO, NFT_META_NFTRACE, NFT_MSG_DELSETELEM, NFT_MSG_GETGEN, NFT_MSG_GETRULE,
    NFT_MSG_NEWRULE, NFT_MSG_NEWSET, NFT_PAYLOAD_NETWORK_HEADER, NFT_PAYLOAD_TRANSPORT_HEADER,
    NFT_RANGE_NEQ, NFT_REG_1, NFT_REG32_00, NFT_SET_EVAL, NFTA_COUNTER_PACKETS, NFTA_DATA_VALUE,
    NFTA_EXPR_DATA, NFTA_EXPR_NAME, NFTA_GEN_ID, NFTA_RULE_EXPRESSIONS, NFTA_RULE_TABLE,
    NLM_F_APPEND, NLM_F_CREATE, NLM_F_DUMP, NLM_F_REQUEST,
};
use crate::os::own_table::{OwnTable, Purpose};

/// Behind connection tracking (`NF_IP_PRI_CONNTRACK`, −200), before whatever else.
pub(super) const PRIORITY: i32 = -199;
/// How names of chains begin that tell how packets leave translation. They have no rule.
pub(super) const BEHIND_NAT: &str = "translated";
/// Translation of destinations (`NF_IP_PRI_NAT_DST`).
const NAT: i32 = -100;
/// Protocols whose destination port is the second pair of bytes of their header.
const WITH_PORTS: [u8; 5] = [6, 17, 33, 132, 136];
/// All others.
const BETWEEN: [(u8, u8); 6] = [(0, 5), (7, 16), (18, 32), (34, 131), (133, 135), (137, 255)];

/// An address family, and where its header has the addresses.
struct Side {
    nfproto: u8,
    icmp: u8,
    source_at: u32,
    destination_at: u32,
    address_len: u32,
    /// Names of the sets of flows with a service, and of those without.
    sets: [&'static str; 2],
}

const SIDES: [Side; 2] = [
    Side {
        nfproto: NFPROTO_IPV4,
        icmp: 1,
        source_at: 12,
        destination_at: 16,
        address_len: 4,
        sets: ["flows4", "others4"],
    },
    Side {
        nfproto: NFPROTO_IPV6,
        icmp: 58,
        source_at: 8,
        destination_at: 24,
        address_len: 16,
        sets: ["flows6", "others6"],
    },
];

/// The gate, in this network namespace until it is dropped.
#[derive(Debug)]
pub struct Gate {
    table: OwnTable,
}

impl Gate {
    /// Makes the table. Each of its four sets has room for `flows`. With `legacy`, chains behind translation tell what packets are
    /// translated to.
    ///
    /// Errors: no privilege, or a kernel without nf_tables or one of the expressions (nft_ct, nft_dynset, Linux 4.1).
    pub fn new(flows: u32, legacy: bool) -> io::Result<Self> {
        let table = OwnTable::new(Purpose::Trace, |batch, table| {
            fill(batch, table, flows);
            if legacy {
                look_behind_nat(batch, table);
            }
        })?;
        Ok(Self { table })
    }

    /// What the table is called, so that its own rules can be told from others.
    pub fn table(&self) -> &str {
        self.table.name()
    }

    /// Has every flow traced again.
    ///
    /// Errors: the kernel's.
    pub fn flush(&self) -> io::Result<()> {
        let batch = Batch::new(|batch| {
            for set in SIDES.iter().flat_map(|side| side.sets) {
                // Without elements, all of them (`nf_tables_delsetelem`).
                batch.request(NFT_MSG_DELSETELEM, 0, |body| {
                    body.text(1, self.table.name());
                    body.text(2, set);
                });
            }
        });
        batch.transact(&self.table)
    }

    /// The generation of the rules of this namespace, which each change makes one more.
    ///
    /// Errors: the kernel's.
    pub fn generation(&self) -> io::Result<u32> {
        let mut bytes = Vec::new();
        let kind = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETGEN;
        netfilter_message(&mut bytes, kind, NLM_F_REQUEST, 0, 0, |_| {});
        let socket = request::open(Family::Netfilter, 0)?;
        let mut generation = None;
        request::query(&socket, &bytes, None, |payload| {
            let mut attributes = attributes(payload.get(NFGENMSG_LEN..).unwrap_or_default());
            let found = attributes.find(|(kind, _)| *kind == NFTA_GEN_ID);
            generation = found.and_then(|(_, id)| Some(u32::from_be_bytes(*id.first_chunk()?)));
            ControlFlow::Break(())
        })?;
        generation.ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// What its counters say.
    ///
    /// Errors: the kernel's.
    pub fn picked(&self) -> io::Result<Picked> {
        let socket = request::open(Family::Netfilter, 0)?;
        let mut bytes = Vec::new();
        let kind = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETRULE;
        let flags = NLM_F_REQUEST | NLM_F_DUMP;
        netfilter_message(&mut bytes, kind, flags, NFPROTO_INET, 0, |body| {
            body.text(NFTA_RULE_TABLE, self.table.name());
        });
        request::again(|| {
            let mut picked = Picked::default();
            request::query(&socket, &bytes, None, |payload| {
                let body = payload.get(NFGENMSG_LEN..).unwrap_or_default();
                if let [tried, added] = counters(body)[..] {
                    picked.missed += tried.saturating_sub(added);
                    picked.traced += added;
                }
                ControlFlow::Continue(())
            })?;
            Ok(picked)
        })
    }
}

/// First packets that came to the gate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Picked {
    /// Those that it has had traced.
    pub traced: u64,
    /// Those that it let pass untraced, because they found no place in a set.
    pub missed: u64,
}

/// What the counters of a rule say, in their order.
fn counters(rule: &[u8]) -> Vec<u64> {
    let within = |body, wanted| {
        attributes(body)
            .find(move |(kind, _)| *kind == wanted)
            .map(|(_, value): (u16, &[u8])| value)
    };
    let expressions = within(rule, NFTA_RULE_EXPRESSIONS).unwrap_or_default();
    let expressions = attributes(expressions).map(|(_, expression)| expression);
    expressions
        .filter(|expression| within(expression, NFTA_EXPR_NAME) == Some(b"counter\0"))
        .filter_map(|expression| {
            let packets = within(within(expression, NFTA_EXPR_DATA)?, NFTA_COUNTER_PACKETS)?;
            Some(u64::from_be_bytes(*packets.first_chunk()?))
        })
        .collect()
}

fn fill(batch: &mut Batch, table: &str, flows: u32) {
    for (number, set) in SIDES.iter().flat_map(|side| side.sets).enumerate() {
        let side = &SIDES[number / 2];
        let has_service = number % 2 == 0;
        batch.request(NFT_MSG_NEWSET, NLM_F_CREATE, |body| {
            body.text(1, table);
            body.text(2, set);
            body.word_be(3, NFT_SET_EVAL);
            body.word_be(4, key_type(side, has_service));
            body.word_be(5, key_len(side, has_service));
            body.nest(9, |body| body.word_be(1, flows));
            body.word_be(10, number as u32 + 1);
        });
    }
    for (chain, hook) in [
        ("prerouting", NF_INET_PRE_ROUTING),
        ("output", NF_INET_LOCAL_OUT),
    ] {
        batch.base_chain(table, chain, hook, PRIORITY);
        for (number, side) in SIDES.iter().enumerate() {
            for kind in [Kind::Ports, Kind::Icmp, Kind::Other] {
                batch.request(NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND, |body| {
                    body.text(1, table);
                    body.text(2, chain);
                    body.nest(4, |body| rule(body, side, number as u32, &kind));
                });
            }
        }
    }
}

/// Adds chains without a rule, whose policy is traced with the packet's headers.
fn look_behind_nat(batch: &mut Batch, table: &str) {
    for (chain, hook) in [
        ("translated", NF_INET_PRE_ROUTING),
        ("translated-output", NF_INET_LOCAL_OUT),
    ] {
        batch.base_chain(table, chain, hook, NAT + 1);
    }
}

/// Which protocols a rule is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Ports,
    Icmp,
    Other,
}

/// Each address and each of the other fields has registers of 4 bytes of its own.
const fn key_len(side: &Side, has_service: bool) -> u32 {
    2 * side.address_len + if has_service { 8 } else { 4 }
}

/// The types of a key's fields, by which nft(8) shows elements: `TYPE_IPADDR` 7, `TYPE_IP6ADDR` 8, `TYPE_INET_PROTOCOL` 12 and
/// `TYPE_INET_SERVICE` 13, six bits each (nftables 1.0.6, `include/datatype.h`, `concat_type_alloc`).
fn key_type(side: &Side, has_service: bool) -> u32 {
    let address = if side.nfproto == NFPROTO_IPV4 { 7 } else { 8 };
    let service = has_service.then_some(13);
    let fields = [address, address, 12].into_iter().chain(service);
    fields.fold(0, |types, field| types << 6 | field)
}

fn rule(body: &mut Body<'_>, side: &Side, number: u32, kind: &Kind) {
    let words = side.address_len / 4;
    let register = |word: u32| NFT_REG32_00 + word;
    let (protocol_at, service_at) = (register(2 * words), register(2 * words + 1));

    meta(body, NFT_META_NFPROTO, NFT_REG_1);
    compare(body, NFT_REG_1, NFT_CMP_EQ, &[side.nfproto]);
    ct_state_new(body);
    // Which protocols: one rule for each kind, of which the last takes what the others do not.
    meta(body, NFT_META_L4PROTO, NFT_REG_1);
    match kind {
        Kind::Ports => ports(body),
        Kind::Icmp => compare(body, NFT_REG_1, NFT_CMP_EQ, &[side.icmp]),
        Kind::Other => {
            for protocol in WITH_PORTS.into_iter().chain([side.icmp]) {
                compare(body, NFT_REG_1, NFT_CMP_NEQ, &[protocol]);
            }
        }
    }
    let network = NFT_PAYLOAD_NETWORK_HEADER;
    let len = side.address_len;
    payload(body, register(0), network, (side.source_at, len));
    payload(body, register(words), network, (side.destination_at, len));
    meta(body, NFT_META_L4PROTO, protocol_at);
    let transport = NFT_PAYLOAD_TRANSPORT_HEADER;
    match kind {
        Kind::Ports => payload(body, service_at, transport, (2, 2)),
        Kind::Icmp => payload(body, service_at, transport, (0, 2)),
        Kind::Other => {}
    }
    let which = usize::from(*kind == Kind::Other);
    let (set, id) = (side.sets[which], 2 * number + which as u32 + 1);
    expression(body, "lookup", |body| {
        body.text(1, set);
        body.word_be(2, NFT_REG32_00);
        body.word_be(4, id);
        body.word_be(5, NFT_LOOKUP_F_INV);
    });
    expression(body, "counter", |_| {});
    expression(body, "dynset", |body| {
        body.text(1, set);
        body.word_be(2, id);
        body.word_be(3, NFT_DYNSET_OP_ADD);
        body.word_be(4, NFT_REG32_00);
    });
    expression(body, "counter", |_| {});
    expression(body, "immediate", |body| {
        body.word_be(1, NFT_REG_1);
        body.nest(2, |body| body.attribute(NFTA_DATA_VALUE, &[1]));
    });
    expression(body, "meta", |body| {
        body.word_be(2, NFT_META_NFTRACE);
        body.word_be(3, NFT_REG_1);
    });
}

/// Breaks off unless the protocol in the first register is one of [`WITH_PORTS`].
fn ports(body: &mut Body<'_>) {
    for (begin, end) in BETWEEN {
        expression(body, "range", |body| {
            body.word_be(1, NFT_REG_1);
            body.word_be(2, NFT_RANGE_NEQ);
            body.nest(3, |body| body.attribute(NFTA_DATA_VALUE, &[begin]));
            body.nest(4, |body| body.attribute(NFTA_DATA_VALUE, &[end]));
        });
    }
}

fn meta(body: &mut Body<'_>, key: u32, register: u32) {
    expression(body, "meta", |body| {
        body.word_be(2, key);
        body.word_be(1, register);
    });
}

fn payload(body: &mut Body<'_>, register: u32, base: u32, (at, len): (u32, u32)) {
    expression(body, "payload", |body| {
        body.word_be(1, register);
        body.word_be(2, base);
        body.word_be(3, at);
        body.word_be(4, len);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_protocol_has_ports_or_stands_between() {
        for protocol in 0..=u8::MAX {
            let between = BETWEEN
                .iter()
                .any(|(begin, end)| (*begin..=*end).contains(&protocol));
            assert_ne!(WITH_PORTS.contains(&protocol), between, "{protocol}");
        }
    }

    #[test]
    fn registers_hold_a_key_of_either_family() {
        for side in &SIDES {
            // `NFT_REG32_00` to `NFT_REG32_15`.
            assert!(key_len(side, true) <= 64);
        }
    }
}
