//! What stands before a datagram in a record: the cooked headers of the link types that can hold netlink.
//!
//! ```text
//! LINKTYPE_NETLINK (253), LINKTYPE_LINUX_SLL (113)   packet type, ARPHRD, unused, netlink family
//! LINKTYPE_LINUX_SLL2 (276)                          netlink family, unused, interface, ARPHRD, unused
//! ```
//!
//! <https://www.tcpdump.org/linktypes.html>; all numbers are big-endian.

use crate::netlink::uapi::ARPHRD_NETLINK;

/// `LINKTYPE_NETLINK`, of what is recorded on a netlink monitor.
pub(super) const NETLINK: u32 = 253;
/// `LINKTYPE_LINUX_SLL`, of what is recorded on all interfaces at once (`tcpdump -i any`).
pub(super) const SLL: u32 = 113;
/// `LINKTYPE_LINUX_SLL2`, the same since libpcap 1.10.
pub(super) const SLL2: u32 = 276;

const COOKED_LEN: usize = 16;
const COOKED2_LEN: usize = 20;

/// What a record is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Linked<'a> {
    /// A datagram of a netlink family.
    Netlink(u16, &'a [u8]),
    /// A packet of a network.
    Packet,
    /// Too short for its header.
    Short,
}

/// Whether a recording of that link type can have netlink in it.
pub(super) const fn may_have_netlink(link: u32) -> bool {
    matches!(link, NETLINK | SLL | SLL2)
}

/// Takes the header off.
pub(super) fn split(link: u32, record: &[u8]) -> Linked<'_> {
    let (header_len, family_at, arphrd_at) = match link {
        NETLINK | SLL => (COOKED_LEN, 14, 2),
        SLL2 => (COOKED2_LEN, 0, 8),
        _ => return Linked::Packet,
    };
    let Some((header, datagram)) = record.split_at_checked(header_len) else {
        return Linked::Short;
    };
    let number = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    if link != NETLINK && number(arphrd_at) != ARPHRD_NETLINK {
        return Linked::Packet;
    }
    Linked::Netlink(number(family_at), datagram)
}

/// The name of a link type, where packets of it are what people record.
pub(super) const fn name(link: u32) -> &'static str {
    match link {
        1 => ", Ethernet",
        101 | 228 | 229 => ", raw IP",
        105 | 127 => ", WLAN",
        SLL | SLL2 => ", all interfaces",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_header_is_taken_off() {
        let cooked = [0, 4, 3, 0x38, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 12, b'x'];
        assert_eq!(split(NETLINK, &cooked), Linked::Netlink(12, b"x"));
        assert_eq!(split(SLL, &cooked), Linked::Netlink(12, b"x"));
        let mut ethernet = cooked;
        ethernet[2..4].copy_from_slice(&[0, 1]);
        assert_eq!(split(SLL, &ethernet), Linked::Packet);
        let mut cooked2 = [0; 21];
        cooked2[1] = 12;
        cooked2[8..10].copy_from_slice(&[3, 0x38]);
        assert_eq!(split(SLL2, &cooked2), Linked::Netlink(12, &[0]));
        cooked2[9] = 1;
        assert_eq!(split(SLL2, &cooked2), Linked::Packet);
        assert_eq!(split(1, &cooked), Linked::Packet);
        for link in [NETLINK, SLL, SLL2] {
            assert_eq!(split(link, &cooked[..15]), Linked::Short);
        }
    }
}
