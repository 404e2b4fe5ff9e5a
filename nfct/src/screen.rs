//! What a message must look like before the library may see it.
//!
//! The library's parser trusts the kernel. At an attribute of the wrong size it
//! prints "ctnetlink kernel ABI is broken, contact your vendor." and ends the
//! process (`__abi_breakage`, src/conntrack/parse_mnl.c, 1.0.9), and an unknown
//! kind of protocol information makes it write past an array
//! (`nfct_parse_protoinfo_attr_cb` there allows types up to
//! `CTA_PROTOINFO_TCP_MAX`, the array ends at `CTA_PROTOINFO_MAX`). Bytes from a
//! file or a peer must do neither, so everything it would check is checked here
//! first, and a bit more.

/// What an attribute may contain.
#[derive(Clone, Copy)]
enum Rule {
    /// Anything; also for types the library does not look at.
    Any,
    /// So many bytes.
    Exactly(usize),
    /// At least one byte.
    Text,
    /// Attributes, by their type: the index into the list. What is not in the
    /// list is skipped by the library, and passes.
    Nested(&'static [Rule]),
    /// Like `Nested`, but what is not in the list is refused.
    Closed(&'static [Rule]),
}

use Rule::{Any, Closed, Exactly, Nested, Text};

const U8: Rule = Exactly(1);
const U16: Rule = Exactly(2);
const U32: Rule = Exactly(4);
const U64: Rule = Exactly(8);
const IN6_ADDR: Rule = Exactly(16);

// The lists follow the enums of linux/netfilter/nfnetlink_conntrack.h; index 0
// is the unused type 0 of each.

/// `enum ctattr_type`.
const MESSAGE: &[Rule] = &[
    Any,
    TUPLE,              // CTA_TUPLE_ORIG
    TUPLE,              // CTA_TUPLE_REPLY
    U32,                // CTA_STATUS
    PROTOINFO,          // CTA_PROTOINFO
    Nested(HELP),       // CTA_HELP
    Any,                // CTA_NAT_SRC
    U32,                // CTA_TIMEOUT
    U32,                // CTA_MARK
    Nested(COUNTERS),   // CTA_COUNTERS_ORIG
    Nested(COUNTERS),   // CTA_COUNTERS_REPLY
    U32,                // CTA_USE
    U32,                // CTA_ID
    Any,                // CTA_NAT_DST
    TUPLE,              // CTA_TUPLE_MASTER
    Nested(THREE_U32S), // CTA_SEQ_ADJ_ORIG
    Nested(THREE_U32S), // CTA_SEQ_ADJ_REPLY
    U32,                // CTA_SECMARK
    U16,                // CTA_ZONE
    Nested(SECCTX),     // CTA_SECCTX
    Nested(TIMESTAMP),  // CTA_TIMESTAMP
    Any,                // CTA_MARK_MASK
    Any,                // CTA_LABELS
    Any,                // CTA_LABELS_MASK
    Nested(THREE_U32S), // CTA_SYNPROXY
];
/// `enum ctattr_tuple`: address, protocol, zone.
const TUPLE: Rule = Nested(&[Any, Nested(IP), Nested(PROTO), U16]);
/// `enum ctattr_ip`: IPv4 source and destination, the same for IPv6.
const IP: &[Rule] = &[Any, U32, U32, IN6_ADDR, IN6_ADDR];
/// `enum ctattr_l4proto`: number; ports; ICMP id, type, code; ICMPv6 the same.
const PROTO: &[Rule] = &[Any, U8, U16, U16, U16, U8, U8, U16, U8, U8];
/// `enum ctattr_protoinfo`: TCP, DCCP, SCTP.
const PROTOINFO: Rule = Closed(&[
    Any,
    Nested(&[Any, U8, U8, U8, U16, U16]),
    Nested(&[Any, U8, U8, U64]),
    Nested(&[Any, U8, U32, U32]),
]);
/// `enum ctattr_help`: name, private data.
const HELP: &[Rule] = &[Any, Text, Any];
/// `enum ctattr_counters`: packets and bytes, the same in 32 bits.
const COUNTERS: &[Rule] = &[Any, U64, U64, U32, U32];
/// `enum ctattr_seqadj` and `enum ctattr_synproxy`.
const THREE_U32S: &[Rule] = &[Any, U32, U32, U32];
/// `enum ctattr_secctx`: name.
const SECCTX: &[Rule] = &[Any, Text];
/// `enum ctattr_tstamp`: start, stop.
const TIMESTAMP: &[Rule] = &[Any, U64, U64];

/// Size of `struct nlattr`.
const HEADER: usize = 4;
/// The bits of an attribute's type that are no flags (`NLA_TYPE_MASK`,
/// linux/netlink.h).
const TYPE_MASK: u16 = 0x3fff;

/// Whether the library's parser can be given a message with these attributes.
pub fn passes(attributes: &[u8]) -> bool {
    all_pass(attributes, MESSAGE, Any)
}

fn all_pass(attributes: &[u8], rules: &[Rule], otherwise: Rule) -> bool {
    Attributes(attributes).all(|(kind, payload)| {
        match rules.get(usize::from(kind)).unwrap_or(&otherwise) {
            Any => true,
            Exactly(length) => payload.len() == *length,
            Text => !payload.is_empty(),
            Nested(rules) => holds_attributes(payload) && all_pass(payload, rules, Any),
            // No payload has this length.
            Closed(rules) => {
                holds_attributes(payload) && all_pass(payload, rules, Exactly(usize::MAX))
            }
        }
    })
}

/// libmnl's condition for a nest (`__mnl_attr_validate`, src/attr.c).
fn holds_attributes(payload: &[u8]) -> bool {
    payload.is_empty() || payload.len() >= HEADER
}

/// The attributes in a slice: type without flags, and payload. Walks as libmnl
/// does (`mnl_attr_ok`, `mnl_attr_next`, src/attr.c) so that it sees each one
/// the library would.
struct Attributes<'a>(&'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<(u16, &'a [u8])> {
        let header = self.0.get(..HEADER)?;
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let kind = u16::from_ne_bytes([header[2], header[3]]) & TYPE_MASK;
        let payload = self.0.get(HEADER..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, payload))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(kind: u16, payload: &[u8]) -> Vec<u8> {
        let mut bytes = ((payload.len() + HEADER) as u16).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(payload);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn sizes_are_held_to() {
        assert!(passes(&attribute(3, &[0; 4])));
        assert!(!passes(&attribute(3, &[0; 3])));
        assert!(!passes(&attribute(3, &[0; 5])));
        assert!(
            !passes(&attribute(3 | 0x8000, &[0; 5])),
            "flags do not hide a type"
        );
        assert!(passes(&attribute(5, &attribute(1, b"ftp\0"))));
        assert!(!passes(&attribute(5, &attribute(1, b""))));
        assert!(
            !passes(&attribute(1, &[0; 3])),
            "a nest too short for a header"
        );
        assert!(passes(&attribute(1, &[])), "an empty nest");
        assert!(
            !passes(&attribute(1, &attribute(1, &attribute(3, &[0; 4])))),
            "IPv6 address of 4 bytes"
        );
    }

    #[test]
    fn unknown_types_pass_but_for_protocol_information() {
        assert!(passes(&attribute(25, &[1])));
        assert!(passes(&attribute(1, &attribute(9, &[1]))));
        for kind in [4, 5, 6, 0x3fff] {
            assert!(!passes(&attribute(4, &attribute(kind, &[]))), "{kind}");
        }
        assert!(passes(&attribute(4, &attribute(1, &attribute(1, &[3])))));
    }

    #[test]
    fn the_walk_ends_where_the_library_ends() {
        assert!(passes(&[]));
        assert!(passes(&[8, 0, 3]), "no room for a header");
        let mut cut = attribute(3, &[0; 4]);
        cut.truncate(7);
        assert!(passes(&cut), "longer than what is left: never looked at");
        assert!(passes(&[3, 0, 3, 0, 0, 0, 0, 0]), "shorter than its header");
    }
}
