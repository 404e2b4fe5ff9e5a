//! Datagrams that were recorded on a machine of the other byte order.
//!
//! Netlink has its headers and those of its attributes in the byte order of the machine, and nothing in a recording
//! says which that was: the order of the file's own header is that of whatever wrote the file. The length of the first
//! message says it, though: a length that fits into a datagram of less than 64 KiB does not when it is read the other
//! way round.

use std::borrow::Cow;

use crate::netlink::framing::{HEADER_LEN, NFGENMSG_LEN};
use crate::netlink::uapi::{NFNL_SUBSYS_CTNETLINK, NLA_TYPE_MASK};

const ATTRIBUTE_HEADER_LEN: usize = 4;
/// Nests that are read are tuples, and the addresses and the protocol in a tuple. Of either kind the numbers are 1 and 2
/// (`CTA_TUPLE_ORIG` and `CTA_TUPLE_REPLY`; `CTA_TUPLE_IP` and `CTA_TUPLE_PROTO`).
const NESTS: [u16; 2] = [1, 2];
const NEST_DEPTH: u8 = 2;

/// The datagram in the byte order of this machine, as far as the decoder reads it. Values of attributes are big-endian
/// everywhere, and left as they are.
pub fn own(datagram: &[u8]) -> Cow<'_, [u8]> {
    if !is_other(datagram) {
        return Cow::Borrowed(datagram);
    }
    let mut own = datagram.to_vec();
    let mut rest = &mut own[..];
    while rest.len() >= HEADER_LEN {
        let len = swap4(rest, 0) as usize;
        let kind = swap2(rest, 4);
        swap2(rest, 6);
        swap4(rest, 8);
        swap4(rest, 12);
        if len < HEADER_LEN || len > rest.len() {
            break;
        }
        if kind >> 8 == NFNL_SUBSYS_CTNETLINK && len > HEADER_LEN + NFGENMSG_LEN {
            attributes(&mut rest[HEADER_LEN + NFGENMSG_LEN..len], NEST_DEPTH);
        }
        let next = len.next_multiple_of(4).min(rest.len());
        rest = &mut rest[next..];
    }
    Cow::Owned(own)
}

/// Whether the first message fits into the datagram in the other byte order alone.
fn is_other(datagram: &[u8]) -> bool {
    let Some(&len) = datagram.first_chunk() else {
        return false;
    };
    let fits = |len: u32| (HEADER_LEN..=datagram.len()).contains(&(len as usize));
    let len = u32::from_ne_bytes(len);
    !fits(len) && fits(len.swap_bytes())
}

fn attributes(mut rest: &mut [u8], depth: u8) {
    while rest.len() >= ATTRIBUTE_HEADER_LEN {
        let len = usize::from(swap2(rest, 0));
        let kind = swap2(rest, 2) & NLA_TYPE_MASK;
        if len < ATTRIBUTE_HEADER_LEN || len > rest.len() {
            break;
        }
        if depth > 0 && NESTS.contains(&kind) {
            attributes(&mut rest[ATTRIBUTE_HEADER_LEN..len], depth - 1);
        }
        let next = len.next_multiple_of(4).min(rest.len());
        rest = &mut rest[next..];
    }
}

/// Turns the two bytes at `at` round; the number that they then are.
fn swap2(bytes: &mut [u8], at: usize) -> u16 {
    bytes.swap(at, at + 1);
    u16::from_ne_bytes([bytes[at], bytes[at + 1]])
}

/// The same with four bytes.
fn swap4(bytes: &mut [u8], at: usize) -> u32 {
    let word = &mut bytes[at..at + 4];
    word.reverse();
    u32::from_ne_bytes([word[0], word[1], word[2], word[3]])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::pcap::mark::Mark;
    use crate::netlink::conntrack::{decode, sighting};
    use crate::netlink::framing::messages;
    use proptest::prelude::*;

    /// Which way round numbers are written.
    #[derive(Clone, Copy)]
    struct Order(bool);

    impl Order {
        fn two(self, number: u16) -> [u8; 2] {
            let number = if self.0 { number.swap_bytes() } else { number };
            number.to_ne_bytes()
        }

        fn four(self, number: u32) -> [u8; 4] {
            let number = if self.0 { number.swap_bytes() } else { number };
            number.to_ne_bytes()
        }

        fn attribute(self, kind: u16, value: &[u8]) -> Vec<u8> {
            let mut bytes = self.two(4 + value.len() as u16).to_vec();
            bytes.extend(self.two(kind));
            bytes.extend_from_slice(value);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            bytes
        }

        fn message(self, kind: u16, flags: u16, payload: &[u8]) -> Vec<u8> {
            let mut bytes = self.four(16 + payload.len() as u32).to_vec();
            bytes.extend(self.two(kind));
            bytes.extend(self.two(flags));
            bytes.extend(self.four(7));
            bytes.extend(self.four(0));
            bytes.extend_from_slice(payload);
            bytes
        }

        fn tuple(self, kind: u16, [from, to]: [u8; 2], ports: [u16; 2]) -> Vec<u8> {
            let addresses = [
                self.attribute(1, &[10, 0, 0, from]),
                self.attribute(2, &[10, 0, 0, to]),
            ];
            let protocol = [
                self.attribute(1, &[6]),
                self.attribute(2, &ports[0].to_be_bytes()),
                self.attribute(3, &ports[1].to_be_bytes()),
            ];
            let parts = [
                self.attribute(0x8001, &addresses.concat()),
                self.attribute(0x8002, &protocol.concat()),
            ];
            self.attribute(kind, &parts.concat())
        }

        /// Two events in a datagram: a connection that is new, and one that was translated and answered.
        fn events(self) -> Vec<u8> {
            let fresh = [
                vec![2, 0, 0, 0],
                self.tuple(0x8001, [1, 2], [40_000, 443]),
                self.tuple(0x8002, [2, 1], [443, 40_000]),
                self.attribute(3, &8_u32.to_be_bytes()),
            ];
            let answered = [
                vec![2, 0, 0, 0],
                self.attribute(3, &10_u32.to_be_bytes()),
                self.tuple(0x8001, [1, 9], [40_001, 80]),
                self.tuple(0x8002, [3, 1], [8080, 40_001]),
                self.attribute(18, &5_u16.to_be_bytes()),
            ];
            [
                self.message(0x0100, 0x0600, &fresh.concat()),
                self.message(0x0100, 0, &answered.concat()),
            ]
            .concat()
        }
    }

    #[test]
    fn events_of_the_other_order_are_those_of_ours() {
        let (ours, theirs) = (Order(false).events(), Order(true).events());
        assert_ne!(ours, theirs);
        assert_eq!(own(&theirs), ours);
        assert!(matches!(own(&ours), Cow::Borrowed(_)));
        let seen: Vec<_> = messages(&own(&theirs))
            .map(|message| {
                let message = message.unwrap();
                decode(message).unwrap();
                sighting(message, true).unwrap()
            })
            .collect();
        assert_eq!(seen.len(), 2);
        assert!(seen[1].replied && seen[1].translation.is_some());
        assert_eq!(seen[1].tuple.zone, 5);
    }

    #[test]
    fn marks_of_the_other_order_are_read() {
        let mark = Mark::Begin {
            program: "conntracker 1.2.0".into(),
        };
        let mut theirs = mark.datagram();
        theirs[0..4].reverse();
        theirs[4..6].reverse();
        assert_eq!(Mark::of(&theirs), None);
        assert_eq!(Mark::of(&own(&theirs)), Some(mark));
    }

    proptest! {
        #[test]
        fn whatever_the_bytes_are_it_ends_and_keeps_their_number(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            at in 0_usize..500,
            byte in any::<u8>(),
        ) {
            prop_assert_eq!(own(&bytes).len(), bytes.len());
            let mut broken = Order(true).events();
            let len = broken.len();
            broken[at % len] = byte;
            broken.truncate(len - at % 7);
            prop_assert_eq!(own(&broken).len(), broken.len());
        }
    }

    #[test]
    fn datagrams_that_were_cut_are_read_alike() {
        let (ours, theirs) = (Order(false).events(), Order(true).events());
        let read = |datagram: &[u8]| -> Vec<_> {
            messages(datagram)
                .map(|message| message.map(decode))
                .collect()
        };
        for len in 0..=ours.len() {
            assert_eq!(
                read(&own(&theirs[..len])),
                read(&ours[..len]),
                "{len} bytes"
            );
        }
    }
}
