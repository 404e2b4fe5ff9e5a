//! Names of ICMP and ICMPv6 types, as nft(8) spells them (`src/proto.c`, nftables 1.0.6).

use crate::model::record::Protocol;

const ICMP: [(u8, &str); 15] = [
    (0, "echo-reply"),
    (3, "destination-unreachable"),
    (4, "source-quench"),
    (5, "redirect"),
    (8, "echo-request"),
    (9, "router-advertisement"),
    (10, "router-solicitation"),
    (11, "time-exceeded"),
    (12, "parameter-problem"),
    (13, "timestamp-request"),
    (14, "timestamp-reply"),
    (15, "info-request"),
    (16, "info-reply"),
    (17, "address-mask-request"),
    (18, "address-mask-reply"),
];

const ICMPV6: [(u8, &str); 18] = [
    (1, "destination-unreachable"),
    (2, "packet-too-big"),
    (3, "time-exceeded"),
    (4, "parameter-problem"),
    (128, "echo-request"),
    (129, "echo-reply"),
    (130, "mld-listener-query"),
    (131, "mld-listener-report"),
    (132, "mld-listener-done"),
    (133, "nd-router-solicit"),
    (134, "nd-router-advert"),
    (135, "nd-neighbor-solicit"),
    (136, "nd-neighbor-advert"),
    (137, "nd-redirect"),
    (138, "router-renumbering"),
    (141, "ind-neighbor-solicit"),
    (142, "ind-neighbor-advert"),
    (143, "mld2-listener-report"),
];

/// The name of a type of ICMP or ICMPv6.
pub fn name(protocol: Protocol, icmp_type: u8) -> Option<&'static str> {
    let names: &[_] = match protocol {
        Protocol::ICMP => &ICMP,
        Protocol::ICMPV6 => &ICMPV6,
        _ => return None,
    };
    let found = names.iter().find(|(number, _)| *number == icmp_type);
    found.map(|(_, name)| *name)
}

/// Whether a type has no code but 0, so that rules need not name it: requests and answers, as opposed to
/// errors (<https://www.iana.org/assignments/icmp-parameters>, <https://www.iana.org/assignments/icmpv6-parameters>).
pub const fn is_codeless(protocol: Protocol, icmp_type: u8) -> bool {
    match protocol {
        Protocol::ICMP => matches!(icmp_type, 0 | 8 | 10 | 13..=18),
        Protocol::ICMPV6 => matches!(icmp_type, 128..=136 | 143),
        _ => false,
    }
}
