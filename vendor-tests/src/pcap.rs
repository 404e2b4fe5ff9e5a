//! Captures of netlink datagrams, read and written without the program's own code.

use std::path::Path;

/// `LINKTYPE_NETLINK`.
const LINKTYPE: u32 = 253;
/// `NETLINK_NETFILTER` in the cooked header, which is big-endian.
const NETFILTER: [u8; 2] = [0, 12];

/// The netfilter datagrams of a capture, up to the first record that the file does not hold whole.
/// `None` if the file is no such capture.
///
/// Panics: if it can't be read.
pub fn read(path: &Path) -> Option<Vec<Vec<u8>>> {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let (header, mut rest) = bytes.split_at_checked(24)?;
    let big_endian = match header[..4] {
        [0xd4, 0xc3, 0xb2, 0xa1] | [0x4d, 0x3c, 0xb2, 0xa1] => false,
        [0xa1, 0xb2, 0xc3, 0xd4] | [0xa1, 0xb2, 0x3c, 0x4d] => true,
        _ => return None,
    };
    let word = |bytes: &[u8]| {
        let bytes = bytes.try_into().expect("four bytes");
        if big_endian {
            u32::from_be_bytes(bytes)
        } else {
            u32::from_le_bytes(bytes)
        }
    };
    if word(&header[20..]) != LINKTYPE {
        return None;
    }
    let mut datagrams = Vec::new();
    while let Some((header, behind)) = rest.split_at_checked(16) {
        let Some((record, behind)) = behind.split_at_checked(word(&header[8..12]) as usize) else {
            break;
        };
        rest = behind;
        if record.len() >= 16 && record[14..16] == NETFILTER {
            datagrams.push(record[16..].to_vec());
        }
    }
    Some(datagrams)
}

/// A capture of these datagrams.
///
/// Panics: if one is longer than a record can be.
pub fn write(datagrams: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in [0xa1b2_c3d4, 0x0004_0002, 0, 0, 0x0004_0000, LINKTYPE] {
        bytes.extend(u32::to_le_bytes(word));
    }
    for datagram in datagrams {
        let len = u32::try_from(16 + datagram.len()).expect("datagrams are short");
        for word in [0, 0, len, len] {
            bytes.extend(u32::to_le_bytes(word));
        }
        // ARPHRD_NETLINK is 824.
        bytes.extend([0, 4, 0x03, 0x38, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend(NETFILTER);
        bytes.extend(datagram);
    }
    bytes
}

/// Takes a datagram apart, as the kernel sends it: one message in each. What can't be taken apart stays
/// with what is before it.
pub fn split(datagram: &[u8]) -> Vec<Vec<u8>> {
    let mut parts: Vec<Vec<u8>> = Vec::new();
    let mut rest = datagram;
    while let Some(len) = rest
        .first_chunk()
        .map(|len| u32::from_le_bytes(*len) as usize)
    {
        if len < 16 || len > rest.len() {
            break;
        }
        let (message, behind) = rest.split_at(len.next_multiple_of(4).min(rest.len()));
        parts.push(message.to_vec());
        rest = behind;
    }
    match parts.last_mut() {
        Some(last) => last.extend(rest),
        None => parts.push(rest.to_vec()),
    }
    parts
}
