//! The headers around a message: IPv4 (RFC 791) or IPv6 (RFC 8200), and UDP (RFC 768).

use std::net::IpAddr;

/// The port of name servers.
pub const DOMAIN: u16 = 53;
const UDP: u8 = 17;
const UDP_HEADER: usize = 8;

/// A UDP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Where it is from.
    pub source: (IpAddr, u16),
    /// Where it goes.
    pub destination: (IpAddr, u16),
    /// What it carries.
    pub payload: &'a [u8],
}

/// Reads a packet, which begins with its IP header. `None` for everything but a whole UDP packet: fragments and extension
/// headers of IPv6 are not followed.
pub fn read(packet: &[u8]) -> Option<Packet<'_>> {
    let (source, destination, udp) = match packet.first()? >> 4 {
        4 => {
            let header = usize::from(packet[0] & 0xf) * 4;
            let length = usize::from(number(packet, 2)?);
            // More fragments, or an offset of one.
            let is_fragment = number(packet, 6)? & 0x3fff != 0;
            if header < 20 || is_fragment || *packet.get(9)? != UDP {
                return None;
            }
            (
                address::<4>(packet, 12)?,
                address::<4>(packet, 16)?,
                packet.get(header..length)?,
            )
        }
        6 => {
            let end = 40 + usize::from(number(packet, 4)?);
            if *packet.get(6)? != UDP {
                return None;
            }
            (
                address::<16>(packet, 8)?,
                address::<16>(packet, 24)?,
                packet.get(40..end)?,
            )
        }
        _ => return None,
    };
    let length = usize::from(number(udp, 4)?);
    Some(Packet {
        source: (source, number(udp, 0)?),
        destination: (destination, number(udp, 2)?),
        payload: udp.get(UDP_HEADER..length)?,
    })
}

fn number(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..at + 2)?;
    Some(u16::from_be_bytes([bytes[0], bytes[1]]))
}

fn address<const N: usize>(packet: &[u8], at: usize) -> Option<IpAddr>
where
    IpAddr: From<[u8; N]>,
{
    let bytes: [u8; N] = packet.get(at..at + N)?.try_into().ok()?;
    Some(bytes.into())
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A UDP packet of IPv4.
    pub fn ipv4(source: (&str, u16), destination: (&str, u16), payload: &[u8]) -> Vec<u8> {
        let octets = |text: &str| text.parse::<std::net::Ipv4Addr>().unwrap().octets();
        let length = 28 + payload.len() as u16;
        let mut packet = vec![0x45, 0];
        packet.extend(length.to_be_bytes());
        packet.extend([0, 1, 0x40, 0, 64, UDP, 0, 0]);
        packet.extend(octets(source.0));
        packet.extend(octets(destination.0));
        for number in [source.1, destination.1, length - 20, 0] {
            packet.extend(number.to_be_bytes());
        }
        packet.extend(payload);
        packet
    }

    #[test]
    fn whole_packets_of_udp_are_read() {
        let whole = ipv4(("192.0.2.53", 53), ("10.0.0.7", 40_000), b"message");
        let read_back = read(&whole).unwrap();
        assert_eq!(read_back.source, ("192.0.2.53".parse().unwrap(), 53));
        assert_eq!(read_back.destination, ("10.0.0.7".parse().unwrap(), 40_000));
        assert_eq!(read_back.payload, b"message");
        for end in 0..whole.len() {
            assert_eq!(read(&whole[..end]), None, "{end}");
        }
        // What a device has put behind it is none of it.
        let padded = [&whole[..], &[0; 9]].concat();
        assert_eq!(read(&padded).unwrap().payload, b"message");
        for (place, value) in [(0, 0x44), (0, 0x75), (6, 0x20), (7, 1), (9, 6), (25, 3)] {
            let mut other = whole.clone();
            other[place] = value;
            assert_eq!(read(&other), None, "{place}");
        }
        let mut six = vec![0x60, 0, 0, 0, 0, 8 + 3, UDP, 64];
        six.extend([0xfd; 32]);
        six.extend([0, 53, 0x9c, 0x40, 0, 8 + 3, 0, 0]);
        six.extend(b"abc");
        assert_eq!(read(&six).unwrap().payload, b"abc");
        six[6] = 44;
        assert_eq!(read(&six), None);
    }
}
