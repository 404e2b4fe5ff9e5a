//! Netlink messages to send.

use super::framing::HEADER_LEN;
use crate::netlink::uapi::NLA_F_NESTED;

/// Appends a message: netlink's header, that of the family, and the attributes that `write` adds.
pub fn message(
    bytes: &mut Vec<u8>,
    kind: u16,
    flags: u16,
    family_header: &[u8],
    write: impl FnOnce(&mut Body<'_>),
) {
    let start = bytes.len();
    bytes.extend_from_slice(&[0; HEADER_LEN]);
    bytes.extend_from_slice(family_header);
    write(&mut Body(bytes));
    let len = (bytes.len() - start) as u32;
    let header = &mut bytes[start..start + HEADER_LEN];
    header[0..4].copy_from_slice(&len.to_ne_bytes());
    header[4..6].copy_from_slice(&kind.to_ne_bytes());
    header[6..8].copy_from_slice(&flags.to_ne_bytes());
}

/// Appends a netfilter message, whose family's header is `struct nfgenmsg`.
pub fn netfilter_message(
    bytes: &mut Vec<u8>,
    kind: u16,
    flags: u16,
    family: u8,
    resource: u16,
    write: impl FnOnce(&mut Body<'_>),
) {
    let [r0, r1] = resource.to_be_bytes();
    message(bytes, kind, flags, &[family, 0, r0, r1], write);
}

/// The attributes of one message.
#[derive(Debug)]
pub struct Body<'a>(&'a mut Vec<u8>);

impl Body<'_> {
    /// Appends an attribute.
    pub fn attribute(&mut self, kind: u16, value: &[u8]) {
        self.0
            .extend_from_slice(&(4 + value.len() as u16).to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    /// Appends a 32-bit attribute in network order.
    pub fn word_be(&mut self, kind: u16, value: u32) {
        self.attribute(kind, &value.to_be_bytes());
    }

    /// Appends a text that ends in a zero.
    pub fn text(&mut self, kind: u16, value: &str) {
        self.attribute(kind, &[value.as_bytes(), &[0]].concat());
    }

    /// Appends an attribute that holds attributes.
    pub fn nest(&mut self, kind: u16, write: impl FnOnce(&mut Body<'_>)) {
        let start = self.0.len();
        self.attribute(kind | NLA_F_NESTED, &[]);
        write(&mut Body(self.0));
        let len = (self.0.len() - start) as u16;
        self.0[start..start + 2].copy_from_slice(&len.to_ne_bytes());
    }
}
