//! What every ruleset accepts, whatever was seen.
//!
//! IPv6 does not work without some ICMPv6, and conntrack knows nothing of most of it: neighbour discovery is
//! not tracked (`noct_valid_new`, net/netfilter/nf_conntrack_proto_icmpv6.c, Linux 6.18), so no capture has it.

use super::direction::Chain;

/// ICMPv6 types that are accepted together.
#[derive(Clone, Copy, Debug)]
pub struct Baseline {
    /// The ICMPv6 types that are accepted.
    pub types: &'static [u8],
    /// What they are needed for, as the ruleset says it.
    pub why: &'static str,
}

impl Baseline {
    /// Errors that have to reach the sender. RFC 4890, 4.3.1 and 4.4.1. Those that belong to an accepted
    /// connection are `related` and have passed before; the others are harmless.
    const ERRORS: Self = Self {
        types: &[1, 2, 3, 4],
        why: "errors: without packet-too-big large packets vanish",
    };
    /// Neighbour and router discovery. RFC 4890, 4.4.1.
    const DISCOVERY: Self = Self {
        types: &[133, 134, 135, 136],
        why: "neighbour discovery: without it no IPv6 on the link",
    };
    /// Multicast listener discovery. RFC 4890, 4.4.1: switches that snoop pass neighbour discovery only to
    /// those that have reported.
    const LISTENERS: Self = Self {
        types: &[130, 131, 132, 143],
        why: "multicast listeners: switches that snoop rely on them",
    };

    /// Those of a chain. Discovery does not leave its link, so it is not forwarded.
    pub const fn of(chain: Chain) -> &'static [Self] {
        match chain {
            Chain::Forward => &[Self::ERRORS],
            Chain::Input | Chain::Output => &[Self::ERRORS, Self::DISCOVERY, Self::LISTENERS],
        }
    }
}
