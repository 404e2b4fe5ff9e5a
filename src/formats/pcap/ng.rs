//! Blocks of pcapng (draft-ietf-opsawg-pcapng), as tshark(1) and dumpcap(1) write them.
//!
//! ```text
//! section header, interface descriptions, enhanced packets …, interface statistics
//! ```
//!
//! Total: whatever the bytes are, it ends, and a block that claims to be long costs no memory.

use std::io::{self, Read};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{Packet, RECORD_MAX, read_full, word};

/// The type of a section header, which reads the same in both byte orders.
pub(super) const SECTION_HEADER: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];
const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;
const INTERFACE_DESCRIPTION: u32 = 1;
const SIMPLE_PACKET: u32 = 3;
/// Obsolete, and in old files still.
const PACKET: u32 = 2;
const INTERFACE_STATISTICS: u32 = 5;
const ENHANCED_PACKET: u32 = 6;
/// Type and length before the body of a block, and the length again behind it.
const AROUND: usize = 12;
/// What an enhanced packet has before its data.
const PACKET_HEADER: usize = 20;
/// The longest body that is kept: a record with its header and room for options.
const BODY_MAX: usize = RECORD_MAX + 65_536;
/// More interfaces than any machine records at once: what has more is no recording.
const INTERFACES_MAX: usize = 4096;

const OPTION_TICKS: u16 = 9;
const OPTION_OFFSET: u16 = 14;
/// `epb_dropcount`: packets lost before this one.
const OPTION_DROPPED_BEFORE: u16 = 4;
const OPTION_DROPPED: u16 = 5;
const OPTION_DROPPED_BY_SYSTEM: u16 = 7;

/// The section that is being read.
#[derive(Debug, Default)]
pub(super) struct Section {
    big_endian: bool,
    interfaces: Vec<Interface>,
    /// Packets that what recorded them could not keep, as it says itself.
    dropped: u64,
}

#[derive(Clone, Copy, Debug)]
struct Interface {
    link: u32,
    /// The resolution of times: the exponent, and whether its base is 2 instead of 10.
    ticks: (u8, bool),
    offset_s: i64,
}

impl Section {
    /// Reads the section header that a file begins with, behind its type; `None` if it is none.
    pub(super) fn begin(input: &mut impl Read) -> io::Result<Option<Self>> {
        let mut section = Self::default();
        let begun = section.header(input)?;
        Ok(begun.then_some(section))
    }

    pub(super) const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// The next packet, its bytes in `buffer`; `None` at the end.
    pub(super) fn next(
        &mut self,
        input: &mut impl Read,
        buffer: &mut Vec<u8>,
    ) -> io::Result<Option<Packet>> {
        loop {
            let mut kind = [0; 4];
            match read_full(input, &mut kind)? {
                0 => return Ok(None),
                4 => {}
                _ => return Ok(Some(Packet::Truncated)),
            }
            if kind == SECTION_HEADER {
                if !self.header(input)? {
                    return Ok(Some(Packet::Truncated));
                }
                continue;
            }
            let kind = word(kind, self.big_endian);
            let Some(len) = self.length(input)? else {
                return Ok(Some(Packet::Truncated));
            };
            let is_packet = matches!(kind, ENHANCED_PACKET | SIMPLE_PACKET | PACKET);
            if len > BODY_MAX {
                let rest = (len + 4) as u64;
                if io::copy(&mut input.take(rest), &mut io::sink())? < rest {
                    return Ok(Some(Packet::Truncated));
                }
                if is_packet {
                    return Ok(Some(Packet::Unreadable));
                }
                continue;
            }
            if !self.body(input, len, buffer)? {
                return Ok(Some(Packet::Truncated));
            }
            match kind {
                INTERFACE_DESCRIPTION => self.describe(buffer)?,
                INTERFACE_STATISTICS => self.statistics(buffer),
                ENHANCED_PACKET => {
                    self.drops(buffer);
                    return Ok(Some(self.packet(buffer)));
                }
                // The one has no time, the other is obsolete, and nobody who records netlink writes them.
                SIMPLE_PACKET | PACKET => return Ok(Some(Packet::Unreadable)),
                _ => {}
            }
        }
    }

    /// Reads a section header behind its type; whether it is there as a whole.
    fn header(&mut self, input: &mut impl Read) -> io::Result<bool> {
        let mut start = [0; 8];
        if read_full(input, &mut start)? < start.len() {
            return Ok(false);
        }
        let [l0, l1, l2, l3, m0, m1, m2, m3] = start;
        self.big_endian = match [m0, m1, m2, m3] {
            magic if word(magic, false) == BYTE_ORDER_MAGIC => false,
            magic if word(magic, true) == BYTE_ORDER_MAGIC => true,
            _ => return Err(damaged("a section has no byte order")),
        };
        self.interfaces.clear();
        let len = word([l0, l1, l2, l3], self.big_endian) as usize;
        if len < AROUND + 4 || len % 4 != 0 {
            return Err(damaged("a section header is too short"));
        }
        let rest = (len - AROUND) as u64;
        Ok(io::copy(&mut input.take(rest), &mut io::sink())? == rest)
    }

    /// Reads the length of a block, and returns that of its body; `None` if the file ends before.
    fn length(&self, input: &mut impl Read) -> io::Result<Option<usize>> {
        let mut len = [0; 4];
        if read_full(input, &mut len)? < len.len() {
            return Ok(None);
        }
        let len = word(len, self.big_endian) as usize;
        if len < AROUND || len % 4 != 0 {
            return Err(damaged("a block has a length that can't be"));
        }
        Ok(Some(len - AROUND))
    }

    /// Reads a body and the length behind it; whether they are there as a whole.
    fn body(&self, input: &mut impl Read, len: usize, buffer: &mut Vec<u8>) -> io::Result<bool> {
        buffer.clear();
        // `take` and not a buffer of the claimed size: a header that lies costs no memory.
        let read = input.take(len as u64).read_to_end(buffer)?;
        let mut again = [0; 4];
        if read < len || read_full(input, &mut again)? < again.len() {
            return Ok(false);
        }
        if word(again, self.big_endian) as usize != len + AROUND {
            return Err(damaged(
                "a block has another length at its end than at its beginning",
            ));
        }
        Ok(true)
    }

    fn describe(&mut self, body: &[u8]) -> io::Result<()> {
        let (Some(link), true) = (self.short(body, 0), body.len() >= 8) else {
            return Err(damaged("an interface description is too short"));
        };
        if self.interfaces.len() == INTERFACES_MAX {
            return Err(damaged("it describes too many interfaces"));
        }
        let mut interface = Interface {
            link: link.into(),
            ticks: (6, false),
            offset_s: 0,
        };
        for (option, value) in self.options(&body[8..]) {
            match (option, value) {
                (OPTION_TICKS, &[ticks, ..]) => {
                    interface.ticks = (ticks & 0x7f, ticks & 0x80 != 0);
                }
                (OPTION_OFFSET, value) => interface.offset_s = self.long(value).unwrap_or(0) as i64,
                _ => {}
            }
        }
        self.interfaces.push(interface);
        Ok(())
    }

    fn statistics(&mut self, body: &[u8]) {
        let options = body.get(12..).unwrap_or_default();
        let dropped = self
            .options(options)
            .filter(|(option, _)| matches!(*option, OPTION_DROPPED | OPTION_DROPPED_BY_SYSTEM))
            .filter_map(|(_, value)| self.long(value))
            .fold(0, u64::saturating_add);
        self.dropped = self.dropped.saturating_add(dropped);
    }

    /// Counts what was lost before the packet of an enhanced packet block (`epb_dropcount`).
    fn drops(&mut self, body: &[u8]) {
        let captured = body.get(12..16).and_then(|bytes| bytes.try_into().ok());
        let captured = captured.map_or(0, |bytes| word(bytes, self.big_endian)) as usize;
        let begin = captured
            .checked_next_multiple_of(4)
            .map(|len| len.saturating_add(PACKET_HEADER));
        let options = begin
            .and_then(|begin| body.get(begin..))
            .unwrap_or_default();
        let dropped = self
            .options(options)
            .filter(|(option, _)| *option == OPTION_DROPPED_BEFORE)
            .filter_map(|(_, value)| self.long(value))
            .fold(0, u64::saturating_add);
        self.dropped = self.dropped.saturating_add(dropped);
    }

    /// The packet of an enhanced packet block, whose data are left in `body`.
    fn packet(&self, body: &mut Vec<u8>) -> Packet {
        let field = |at: usize| {
            let bytes = body.get(at..at + 4)?.try_into().ok()?;
            Some(word(bytes, self.big_endian))
        };
        let fields = || Some((field(0)?, field(4)?, field(8)?, field(12)?, field(16)?));
        let Some((interface, high, low, captured, original)) = fields() else {
            return Packet::Unreadable;
        };
        let captured = captured as usize;
        let Some(interface) = self.interfaces.get(interface as usize) else {
            return Packet::Unreadable;
        };
        if captured > body.len() - PACKET_HEADER || captured > RECORD_MAX {
            return Packet::Unreadable;
        }
        let time = interface.time(u64::from(high) << 32 | u64::from(low));
        body.drain(..PACKET_HEADER);
        body.truncate(captured);
        Packet::Kept {
            time,
            is_snapped: captured < original as usize,
            link: interface.link,
        }
    }

    fn short(&self, bytes: &[u8], at: usize) -> Option<u16> {
        let two: [u8; 2] = bytes.get(at..at + 2)?.try_into().ok()?;
        Some(if self.big_endian {
            u16::from_be_bytes(two)
        } else {
            u16::from_le_bytes(two)
        })
    }

    fn long(&self, bytes: &[u8]) -> Option<u64> {
        let eight = bytes.try_into().ok()?;
        Some(if self.big_endian {
            u64::from_be_bytes(eight)
        } else {
            u64::from_le_bytes(eight)
        })
    }

    fn options<'a>(&'a self, mut rest: &'a [u8]) -> impl Iterator<Item = (u16, &'a [u8])> {
        std::iter::from_fn(move || {
            let (kind, len) = (self.short(rest, 0)?, usize::from(self.short(rest, 2)?));
            let value = rest.get(4..4 + len)?;
            rest = rest.get(4 + len.next_multiple_of(4)..).unwrap_or_default();
            // The option that ends them is 0.
            (kind != 0).then_some((kind, value))
        })
    }
}

impl Interface {
    fn time(&self, ticks: u64) -> SystemTime {
        let ns = match self.ticks {
            (exponent, true) => (u128::from(ticks) * 1_000_000_000) >> exponent.min(127),
            (exponent @ ..=9, false) => u128::from(ticks) * 10_u128.pow(9 - u32::from(exponent)),
            (exponent, false) => u128::from(ticks) / 10_u128.pow(u32::from(exponent.min(40)) - 9),
        };
        let offset_ns = i128::from(self.offset_s) * 1_000_000_000;
        let ns = i128::try_from(ns)
            .unwrap_or(i128::MAX)
            .saturating_add(offset_ns);
        let ns = u64::try_from(ns.max(0)).unwrap_or(u64::MAX);
        UNIX_EPOCH + Duration::from_nanos(ns)
    }
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::pcap::{Reader, Record};
    use proptest::prelude::*;

    fn block(kind: u32, body: &[u8]) -> Vec<u8> {
        let mut body = body.to_vec();
        body.resize(body.len().next_multiple_of(4), 0);
        let len = (body.len() as u32 + 12).to_le_bytes();
        [&kind.to_le_bytes()[..], &len, &body, &len].concat()
    }

    fn section() -> Vec<u8> {
        let body = [
            &BYTE_ORDER_MAGIC.to_le_bytes()[..],
            &[1, 0, 0, 0],
            &[0xff; 8],
        ]
        .concat();
        block(u32::from_le_bytes(SECTION_HEADER), &body)
    }

    /// An interface of netlink whose times are nanoseconds.
    fn interface(link: u16) -> Vec<u8> {
        let ticks = [9, 0, 1, 0, 9, 0, 0, 0, 0, 0, 0, 0];
        let body = [&link.to_le_bytes()[..], &[0, 0], &[0, 0, 4, 0], &ticks].concat();
        block(INTERFACE_DESCRIPTION, &body)
    }

    fn packet(interface: u32, ns: u64, data: &[u8], original: u32) -> Vec<u8> {
        let fields = [
            interface,
            (ns >> 32) as u32,
            ns as u32,
            data.len() as u32,
            original,
        ];
        let mut body: Vec<u8> = fields
            .iter()
            .flat_map(|field| field.to_le_bytes())
            .collect();
        body.extend_from_slice(data);
        block(ENHANCED_PACKET, &body)
    }

    /// A record of LINKTYPE_NETLINK from netfilter.
    fn cooked(datagram: &[u8]) -> Vec<u8> {
        let mut record = vec![0, 4, 3, 0x38, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 12];
        record.extend_from_slice(datagram);
        record
    }

    #[test]
    fn packets_of_netlink_are_read() {
        let ns = 1_795_692_376_000_000_007;
        let first = cooked(b"first");
        let file = [
            section(),
            interface(1),
            interface(253),
            packet(1, ns, &first, first.len() as u32),
            block(0x0bad, b"of a later version"),
            packet(0, ns, b"an Ethernet frame", 17),
            packet(1, ns, &first, 1000),
            packet(7, ns, &first, 1000),
            section(),
            interface(253),
            packet(0, ns, &first, first.len() as u32),
            block(
                INTERFACE_STATISTICS,
                &[[0; 12].as_slice(), &[5, 0, 8, 0, 3, 0, 0, 0, 0, 0, 0, 0]].concat(),
            ),
        ]
        .concat();
        let mut reader = Reader::new(&file[..]).unwrap();
        let time = UNIX_EPOCH + Duration::from_nanos(ns);
        let expected = [
            Record::Datagram(time, b"first"),
            Record::Packet(1),
            Record::Snapped(time, b"first"),
            Record::Unreadable,
            Record::Datagram(time, b"first"),
        ];
        for record in expected {
            assert_eq!(reader.next_record().unwrap(), Some(record));
        }
        assert_eq!(reader.next_record().unwrap(), None);
        assert_eq!(reader.dropped(), 3);
    }

    #[test]
    fn times_of_any_resolution() {
        let at = |ticks, offset_s, count| {
            let interface = Interface {
                link: 253,
                ticks,
                offset_s,
            };
            interface.time(count).duration_since(UNIX_EPOCH).unwrap()
        };
        assert_eq!(
            at((6, false), 0, 1_500_000),
            Duration::from_micros(1_500_000)
        );
        assert_eq!(at((3, false), 10, 1500), Duration::from_millis(11_500));
        assert_eq!(
            at((12, false), 0, 1_500_000_000_000),
            Duration::from_millis(1500)
        );
        assert_eq!(at((10, true), 0, 1536), Duration::from_millis(1500));
        for exponent in 0..=127 {
            for base in [false, true] {
                at((exponent, base), i64::MIN, u64::MAX);
                at((exponent, base), i64::MAX, u64::MAX);
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_end(damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6), cut in 0_usize..200) {
            let data = cooked(b"datagram");
            let mut file = [section(), interface(253), packet(0, 1, &data, 24), packet(0, 2, &data, 24)].concat();
            for (at, byte) in damage {
                let at = at.index(file.len());
                file[at] = byte;
            }
            file.truncate(cut.max(4));
            if let Ok(mut reader) = Reader::new(&file[..]) {
                for _ in 0..100 {
                    match reader.next_record() {
                        Ok(Some(_)) => {}
                        Ok(None) | Err(_) => return Ok(()),
                    }
                }
                prop_assert!(false, "it does not end");
            }
        }
    }
}
