//! Checksums of packet headers.

/// The internet checksum (RFC 1071) of `bytes`, with a sum of 16-bit words to begin from.
pub fn internet(bytes: &[u8], begin: u32) -> u16 {
    let pairs = bytes.chunks_exact(2);
    let rest = pairs.remainder();
    let mut sum = u64::from(begin);
    for pair in pairs {
        sum += u64::from(u16::from_be_bytes([pair[0], pair[1]]));
    }
    if let [high] = rest {
        sum += u64::from(*high) << 8;
    }
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// CRC32c as SCTP uses it (RFC 9260, appendix A). Bit by bit: a packet has 32 bytes.
pub fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for &byte in bytes {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ ((crc & 1) * 0x82f6_3b78);
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_sums() {
        // The example of RFC 1071, 3.
        assert_eq!(
            internet(&[0, 1, 0xf2, 3, 0xf4, 0xf5, 0xf6, 0xf7], 0),
            !0xddf2
        );
        assert_eq!(internet(&[1], 0), !0x0100);
        // RFC 3720, B.4: 32 bytes of zeros, and of ones.
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
    }
}
