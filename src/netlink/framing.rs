//! Netlink framing: the messages in a datagram, and the attributes in a message.
//!
//! Both walks are total: whatever the bytes are, they end, and they never look past the slice they
//! were given. Layouts: `include/uapi/linux/netlink.h`; integers are in host order.

use crate::netlink::uapi::NLA_TYPE_MASK;

/// `NLMSG_HDRLEN`: bytes of a netlink message header.
pub const HEADER_LEN: usize = 16;
/// Bytes of `struct nfgenmsg`, which follows the header in every netfilter message.
pub const NFGENMSG_LEN: usize = 4;
/// Bytes of an attribute header (`struct nlattr`).
const ATTRIBUTE_HEADER_LEN: usize = 4;

const fn align4(len: usize) -> usize {
    (len + 3) & !3
}

/// One message of a datagram, header included.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// `nlmsg_type`: subsystem in the upper byte, message in the lower for netfilter.
    pub kind: u16,
    /// The flags of the header (`nlmsg_flags`).
    pub flags: u16,
    /// `nlmsg_seq`: that of the request that it answers, 0 for an event.
    pub sequence: u32,
    /// Everything after the header: `struct nfgenmsg` and the attributes.
    pub payload: &'a [u8],
}

/// The messages of one datagram, in order.
#[derive(Clone, Debug)]
pub struct Messages<'a> {
    rest: &'a [u8],
}

/// A message length below the header's or beyond the datagram; the rest of the datagram is unreadable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadLength;

/// Walks over the messages of one datagram.
pub const fn messages(datagram: &[u8]) -> Messages<'_> {
    Messages { rest: datagram }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Result<Message<'a>, BadLength>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let Some((header, _)) = self.rest.split_first_chunk::<HEADER_LEN>() else {
            self.rest = &[];
            return Some(Err(BadLength));
        };
        let [l0, l1, l2, l3, t0, t1, f0, f1, s0, s1, s2, s3, ..] = *header;
        let len = u32::from_ne_bytes([l0, l1, l2, l3]) as usize;
        if len < HEADER_LEN || len > self.rest.len() {
            self.rest = &[];
            return Some(Err(BadLength));
        }
        let message = Message {
            kind: u16::from_ne_bytes([t0, t1]),
            flags: u16::from_ne_bytes([f0, f1]),
            sequence: u32::from_ne_bytes([s0, s1, s2, s3]),
            payload: &self.rest[HEADER_LEN..len],
        };
        self.rest = self.rest.get(align4(len)..).unwrap_or_default();
        Some(Ok(message))
    }
}

/// The attributes of a message or of a nest.
///
/// Ends at the first attribute whose length is below 4 or beyond the slice: what came before it
/// stands, as in the C library (libmnl 1.0.4, `mnl_attr_ok`).
#[derive(Clone, Debug)]
pub struct Attributes<'a> {
    rest: &'a [u8],
}

/// Walks over attributes laid out one after the other.
pub const fn attributes(bytes: &[u8]) -> Attributes<'_> {
    Attributes { rest: bytes }
}

impl<'a> Iterator for Attributes<'a> {
    /// Attribute type without its flag bits, and its value.
    type Item = (u16, &'a [u8]);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let (&[l0, l1, t0, t1], _) = self.rest.split_first_chunk::<ATTRIBUTE_HEADER_LEN>()?;
        let len = u16::from_ne_bytes([l0, l1]) as usize;
        let value = self.rest.get(ATTRIBUTE_HEADER_LEN..len)?;
        self.rest = self.rest.get(align4(len)..).unwrap_or_default();
        Some((u16::from_ne_bytes([t0, t1]) & NLA_TYPE_MASK, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(len: u16, kind: u16) -> Vec<u8> {
        [len.to_ne_bytes(), kind.to_ne_bytes()].concat()
    }

    fn message(len: u32, body: &[u8]) -> Vec<u8> {
        let mut bytes = len.to_ne_bytes().to_vec();
        bytes.extend_from_slice(&0x0100_u16.to_ne_bytes());
        bytes.extend_from_slice(&[0; 10]);
        bytes.extend_from_slice(body);
        bytes
    }

    #[test]
    fn a_lying_length_ends_the_datagram_but_not_what_came_before() {
        let mut datagram = message(20, &[2, 0, 0, 0]);
        datagram.extend(message(400, &[2, 0, 0, 0]));
        let seen: Vec<_> = messages(&datagram)
            .map(|m| m.map(|m| m.payload.len()))
            .collect();
        assert_eq!(seen, [Ok(4), Err(BadLength)]);
    }

    #[test]
    fn a_last_message_need_not_be_padded() {
        let datagram = message(18, &[2, 0]);
        let seen: Vec<_> = messages(&datagram)
            .map(|m| m.map(|m| m.payload.len()))
            .collect();
        assert_eq!(seen, [Ok(2)]);
    }

    #[test]
    fn attribute_flags_are_not_part_of_the_type() {
        let bytes = [attribute(5, 0xc001), vec![7, 0, 0, 0], attribute(4, 2)].concat();
        let seen: Vec<_> = attributes(&bytes).collect();
        assert_eq!(seen, [(1, &[7_u8][..]), (2, &[][..])]);
    }

    #[test]
    fn attributes_end_at_a_bad_length() {
        for len in [0, 1, 3, 13] {
            let bytes = [attribute(5, 1), vec![7, 0, 0, 0], attribute(len, 2)].concat();
            assert_eq!(attributes(&bytes).count(), 1, "length {len}");
        }
    }
}
