//! [`parse`] and [`build`]: entries from and to netlink messages, by the library.

use std::io;
use std::mem::size_of;

use libc::nlmsghdr;
use netfilter_conntrack_sys as sys;

use crate::{Conntrack, ConntrackBuf, Direction, EventType, screen};

/// Netlink header and the netfilter header after it (`struct nfgenmsg`,
/// linux/netfilter/nfnetlink.h, four bytes).
const HEADERS: usize = size_of::<nlmsghdr>() + 4;
/// Zero bytes kept after a message handed to the library: enough for the
/// longest text it copies without looking for the attribute's end
/// (`NFCT_HELPER_NAME_MAX`, 16) and for a header that ends the attribute walk.
const TAIL: usize = 64;
/// Room [`build`] gives for all attributes of fixed size; together they are
/// below 1 kB.
const FIXED_ROOM: usize = 4096;
/// Room for the two attributes of variable length, each below 64 kB as its
/// length came from a 16-bit field.
const VARIABLE_ROOM: usize = 256 * 1024;

/// Parses a ctnetlink message with the library's own parser
/// (`nfct_nlmsg_parse`), and tells what event it is.
///
/// `message` starts with the netlink header; bytes after its `nlmsg_len` are
/// ignored. Any alignment will do: the message is copied. The event is `None`
/// for a message that is neither about a new, changed or removed entry, such as
/// a request.
///
/// The C function trusts the kernel: it believes every length, ends the process
/// at an attribute of the wrong size, and writes past an array if the protocol
/// information is of an unknown kind (src/conntrack/parse_mnl.c, 1.0.9). All of
/// that is checked here first, so this function is safe on any bytes.
///
/// # Errors
///
/// `EBADMSG` for a message cut short, with a length that does not fit, not of
/// the ctnetlink subsystem, or with an attribute that is not as the kernel's
/// header says.
pub fn parse(message: &[u8]) -> io::Result<(Option<EventType>, ConntrackBuf)> {
    let bad = || io::Error::from_raw_os_error(libc::EBADMSG);
    let header = message.get(..HEADERS).ok_or_else(bad)?;
    let length = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
    let [message_type, subsystem] = u16::from_ne_bytes([header[4], header[5]]).to_le_bytes();
    let flags = u16::from_ne_bytes([header[6], header[7]]);
    if length < HEADERS || u32::from(subsystem) != sys::CONNTRACK {
        return Err(bad());
    }
    let message = message.get(..length).ok_or_else(bad)?;
    if !screen::passes(&message[HEADERS..]) {
        return Err(bad());
    }

    let mut copy = Aligned::zeroed(length + TAIL);
    copy.bytes_mut()[..length].copy_from_slice(message);
    let mut ct = ConntrackBuf::new();
    // SAFETY: the copy is aligned for a header, holds nlmsg_len bytes and a tail
    // of zeros, and has been screened for what the library does not check; the
    // entry is fresh, so nothing the parser allocates replaces, and leaks,
    // something older. No pointer into the copy stays in the entry.
    let result = unsafe { sys::nfct_nlmsg_parse(copy.header(), ct.as_mut_ptr()) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok((EventType::from_header(message_type, flags), ct))
}

/// Builds the message the kernel would send for an event, with the library's
/// own builder (`nfct_nlmsg_build`).
///
/// The header carries message type and flags of the event, sequence number and
/// port 0, and the family of the original tuple. The status, if set, gets
/// [`CONFIRMED`](crate::status::CONFIRMED) added. Attributes the library only
/// reads are left out: id, counters, timestamps.
///
/// # Errors
///
/// `EINVAL` if the original tuple has no addresses; the raw errno of the
/// library otherwise.
pub fn build(kind: EventType, ct: &Conntrack) -> io::Result<Vec<u8>> {
    let family = ct
        .l3_protocol(Direction::Original)
        .ok_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))?;
    let variable = [
        sys::ATTR_HELPER_NAME,
        sys::ATTR_HELPER_INFO,
        sys::ATTR_CONNLABELS,
        sys::ATTR_CONNLABELS_MASK,
        sys::ATTR_SECCTX,
    ];
    let room = if variable.iter().any(|&attribute| ct.is_set(attribute)) {
        VARIABLE_ROOM
    } else {
        FIXED_ROOM
    };
    let (message_type, flags) = kind.to_header();

    let mut buffer = Aligned::zeroed(room);
    let bytes = buffer.bytes_mut();
    bytes[0..4].copy_from_slice(&(HEADERS as u32).to_ne_bytes());
    bytes[4..6]
        .copy_from_slice(&u16::from_le_bytes([message_type, sys::CONNTRACK as u8]).to_ne_bytes());
    bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
    bytes[size_of::<nlmsghdr>()] = family;
    // SAFETY: the buffer is aligned and starts with a complete header whose
    // length covers what is written; the builder appends at that length and
    // does not check for room, which the two constants above provide.
    let result = unsafe { sys::nfct_nlmsg_build(buffer.header_mut(), ct.as_ptr()) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    let bytes = buffer.bytes_mut();
    let length = u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize;
    Ok(bytes[..length].to_vec())
}

/// Bytes aligned for `struct nlmsghdr`, which asks for 4.
struct Aligned(Vec<u32>);

impl Aligned {
    /// At least `length` zero bytes.
    fn zeroed(length: usize) -> Aligned {
        Aligned(vec![0; length.div_ceil(4)])
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        let length = self.0.len() * 4;
        // SAFETY: the same memory as bytes, borrowed for as long; every byte of
        // a u32 is initialised and any bytes make a u32.
        unsafe { std::slice::from_raw_parts_mut(self.0.as_mut_ptr().cast::<u8>(), length) }
    }

    fn header(&self) -> *const nlmsghdr {
        self.0.as_ptr().cast()
    }

    fn header_mut(&mut self) -> *mut nlmsghdr {
        self.0.as_mut_ptr().cast()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow() -> ConntrackBuf {
        let mut ct = ConntrackBuf::new();
        ct.set_ipv4(
            Direction::Original,
            [10, 0, 0, 1].into(),
            [10, 0, 0, 2].into(),
        );
        ct.set_l4_protocol(Direction::Original, 17);
        ct.set_ports(Direction::Original, 4000, 53);
        ct.set_reply_from_original();
        ct
    }

    #[test]
    fn every_prefix_is_refused_or_parsed() {
        let message = build(EventType::New, &flow()).unwrap();
        for end in 0..message.len() {
            let error = parse(&message[..end]).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EBADMSG), "prefix of {end}");
        }
        let (kind, ct) = parse(&message).unwrap();
        assert_eq!(kind, Some(EventType::New));
        assert_eq!(ct.dst_port(Direction::Reply), Some(4000));
    }

    #[test]
    fn trailing_bytes_and_odd_alignment_do_not_matter() {
        let message = build(EventType::Destroy, &flow()).unwrap();
        let mut shifted = vec![0xff];
        shifted.extend_from_slice(&message);
        shifted.extend_from_slice(&[0xff; 7]);
        let (kind, ct) = parse(&shifted[1..]).unwrap();
        assert_eq!(kind, Some(EventType::Destroy));
        assert_eq!(ct.src_port(Direction::Original), Some(4000));
    }

    #[test]
    fn attributes_the_library_has_no_room_for_are_refused() {
        let mut message = build(EventType::Update, &flow()).unwrap();
        for inner in [4u16, 5, 6, 0x3fff] {
            let mut bad = message.clone();
            for half in [8, 4 | 0x8000, 4, inner] {
                bad.extend_from_slice(&half.to_ne_bytes());
            }
            let length = bad.len() as u32;
            bad[..4].copy_from_slice(&length.to_ne_bytes());
            assert_eq!(
                parse(&bad).unwrap_err().raw_os_error(),
                Some(libc::EBADMSG),
                "type {inner}"
            );
        }
        message[5] = 7;
        assert!(parse(&message).is_err(), "another subsystem");
    }

    #[test]
    fn nothing_set_cannot_be_built() {
        assert_eq!(
            build(EventType::New, &ConntrackBuf::new())
                .unwrap_err()
                .raw_os_error(),
            Some(libc::EINVAL)
        );
    }
}
