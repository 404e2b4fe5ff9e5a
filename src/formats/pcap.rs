//! Captures of netlink messages: classic pcap with link type 253 (`LINKTYPE_NETLINK`).
//!
//! The file format is draft-ietf-opsawg-pcap; a record is the 16-byte cooked netlink header
//! (unused, ARPHRD type 824, unused, netlink family; both big-endian) followed by one datagram as the
//! socket delivered it, in the byte order of the host that recorded it ([`byte_order`]).

pub mod audit;
pub mod byte_order;
pub mod mark;

use crate::netlink::uapi::{ARPHRD_NETLINK, NETLINK_NETFILTER, PACKET_OUTGOING};
use std::io::{self, Read, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// `LINKTYPE_NETLINK`.
const LINKTYPE_NETLINK: u32 = 253;
const COOKED_LEN: usize = 16;
const MAGIC_MICROSECONDS: u32 = 0xa1b2_c3d4;
const MAGIC_NANOSECONDS: u32 = 0xa1b2_3c4d;
/// The longest record kept in memory: four times the largest datagram a netlink reader asks for. A
/// longer one is no recording of this socket; it is skipped, whatever its header claims.
const RECORD_MAX: usize = 256 * 1024;
const SNAPLEN: u32 = RECORD_MAX as u32;

/// Whether a file that begins so is a recording, of a machine of either byte order.
pub fn is_magic(magic: &[u8]) -> bool {
    let known = [MAGIC_MICROSECONDS, MAGIC_NANOSECONDS];
    let first = <[u8; 4]>::try_from(magic).map(u32::from_be_bytes);
    first.is_ok_and(|first| known.contains(&first) || known.contains(&first.swap_bytes()))
}

/// Why a file can't be read as a capture at all.
#[derive(Debug)]
pub enum HeaderError {
    /// Reading failed.
    Io(io::Error),
    /// The file ends before the 24 bytes of the header do.
    Short,
    /// The first four bytes are no pcap magic.
    Magic([u8; 4]),
    /// The capture is of another link type.
    LinkType(u32),
}

impl std::fmt::Display for HeaderError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Short => f.write_str("not a capture: the 24-byte pcap header is incomplete"),
            Self::Magic([0x0a, 0x0d, 0x0d, 0x0a]) => f.write_str(
                "a pcapng file; convert it with: editcap -F pcap FILE NEW, or tshark -F pcap -r FILE -w NEW",
            ),
            Self::Magic(_) => f.write_str("not a pcap capture: unknown magic number"),
            Self::LinkType(found) => write!(
                f,
                "link type {found} instead of {LINKTYPE_NETLINK} (netlink): record one with \
                 conntracker -w FILE, or tcpdump -i nlmon0 -w FILE"
            ),
        }
    }
}

impl std::error::Error for HeaderError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            Self::Short | Self::Magic(_) | Self::LinkType(_) => None,
        }
    }
}

/// What the next record turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// A netfilter datagram, and when it was received.
    Datagram(SystemTime, &'a [u8]),
    /// The same, less than the whole of it: what recorded keeps no more of a record (its snapshot length).
    Snapped(SystemTime, &'a [u8]),
    /// A record of another netlink family, as a monitor of all of them records.
    Foreign,
    /// A record that can't hold any: too short for the cooked header, or too long.
    Unreadable,
    /// The file ends inside this record.
    Truncated,
}

/// Reads a capture record by record, with one buffer for all of them.
#[derive(Debug)]
pub struct Reader<R> {
    input: R,
    big_endian: bool,
    /// Whether the file's header is as [`Writer`] writes it.
    as_written: bool,
    /// What one unit of the second time field is.
    fraction: Duration,
    buffer: Vec<u8>,
}

impl<R: Read> Reader<R> {
    /// Reads the file header.
    ///
    /// Errors: [`HeaderError`] when the input is no capture of netlink messages.
    pub fn new(mut input: R) -> Result<Self, HeaderError> {
        let mut header = [0; 24];
        if read_full(&mut input, &mut header).map_err(HeaderError::Io)? < header.len() {
            // A pcapng or a text file may be shorter than our header; its first bytes say more.
            return Err(match header[..4] {
                [0x0a, 0x0d, 0x0d, 0x0a] => HeaderError::Magic([0x0a, 0x0d, 0x0d, 0x0a]),
                _ => HeaderError::Short,
            });
        }
        let [m0, m1, m2, m3, .., k0, k1, k2, k3] = header;
        let magic = [m0, m1, m2, m3];
        let (microsecond, nanosecond) = (Duration::from_micros(1), Duration::from_nanos(1));
        let (big_endian, fraction) = match (u32::from_le_bytes(magic), u32::from_be_bytes(magic)) {
            (MAGIC_MICROSECONDS, _) => (false, microsecond),
            (MAGIC_NANOSECONDS, _) => (false, nanosecond),
            (_, MAGIC_MICROSECONDS) => (true, microsecond),
            (_, MAGIC_NANOSECONDS) => (true, nanosecond),
            _ => return Err(HeaderError::Magic(magic)),
        };
        // The upper four bits carry the length of a frame check sequence, which netlink has not.
        match word([k0, k1, k2, k3], big_endian) & 0x0fff_ffff {
            LINKTYPE_NETLINK => Ok(Self {
                input,
                as_written: header == Writer::<Vec<u8>>::header(),
                big_endian,
                fraction,
                buffer: Vec::new(),
            }),
            other => Err(HeaderError::LinkType(other)),
        }
    }

    /// Whether the file's header is as this program writes it, though others may too.
    pub const fn as_written(&self) -> bool {
        self.as_written
    }

    /// The next record, or `None` at the end of the file.
    ///
    /// Errors: those of the underlying reader.
    pub fn next_record(&mut self) -> io::Result<Option<Record<'_>>> {
        let mut header = [0; 16];
        match read_full(&mut self.input, &mut header)? {
            0 => return Ok(None),
            16 => {}
            _ => return Ok(Some(Record::Truncated)),
        }
        let [
            s0,
            s1,
            s2,
            s3,
            f0,
            f1,
            f2,
            f3,
            c0,
            c1,
            c2,
            c3,
            o0,
            o1,
            o2,
            o3,
        ] = header;
        let seconds = word([s0, s1, s2, s3], self.big_endian);
        let fraction = word([f0, f1, f2, f3], self.big_endian);
        let time = UNIX_EPOCH
            + Duration::from_secs(seconds.into())
            + self.fraction.saturating_mul(fraction);
        let captured = word([c0, c1, c2, c3], self.big_endian) as usize;
        let original = word([o0, o1, o2, o3], self.big_endian) as usize;
        self.buffer.clear();
        let kept = captured.min(RECORD_MAX);
        // `take` and not a buffer of the claimed size: a header that lies costs no memory.
        let read = (&mut self.input)
            .take(kept as u64)
            .read_to_end(&mut self.buffer)?;
        if read < kept {
            return Ok(Some(Record::Truncated));
        }
        let excess = (captured - kept) as u64;
        if excess > 0 {
            let skipped = io::copy(&mut (&mut self.input).take(excess), &mut io::sink())?;
            return Ok(Some(if skipped < excess {
                Record::Truncated
            } else {
                Record::Unreadable
            }));
        }
        let Some((cooked, datagram)) = self.buffer.split_first_chunk::<COOKED_LEN>() else {
            return Ok(Some(Record::Unreadable));
        };
        let [.., family_high, family_low] = *cooked;
        if u16::from_be_bytes([family_high, family_low]) != NETLINK_NETFILTER {
            return Ok(Some(Record::Foreign));
        }
        Ok(Some(if captured < original {
            Record::Snapped(time, datagram)
        } else {
            Record::Datagram(time, datagram)
        }))
    }
}

fn word(bytes: [u8; 4], big_endian: bool) -> u32 {
    if big_endian {
        u32::from_be_bytes(bytes)
    } else {
        u32::from_le_bytes(bytes)
    }
}

/// Fills `buffer` as far as the input goes.
fn read_full(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match input.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Writes a capture, nanosecond time stamps, little-endian.
#[derive(Debug)]
pub struct Writer<W> {
    output: W,
}

impl<W: Write> Writer<W> {
    /// Writes the file header.
    ///
    /// Errors: those of the underlying writer.
    pub fn new(mut output: W) -> io::Result<Self> {
        output.write_all(&Self::header())?;
        Ok(Self { output })
    }

    fn header() -> [u8; 24] {
        let mut header = [0; 24];
        header[0..4].copy_from_slice(&MAGIC_NANOSECONDS.to_le_bytes());
        header[4..6].copy_from_slice(&2_u16.to_le_bytes());
        header[6..8].copy_from_slice(&4_u16.to_le_bytes());
        header[16..20].copy_from_slice(&SNAPLEN.to_le_bytes());
        header[20..24].copy_from_slice(&LINKTYPE_NETLINK.to_le_bytes());
        header
    }

    /// Writes one datagram as it came from the socket.
    ///
    /// Errors: those of the underlying writer, and a datagram too long for the format's snapshot length.
    pub fn write(&mut self, time: SystemTime, datagram: &[u8]) -> io::Result<()> {
        let captured = u32::try_from(COOKED_LEN + datagram.len())
            .ok()
            .filter(|&len| len <= SNAPLEN)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "datagram too long"))?;
        let since_epoch = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let mut header = [0; 16 + COOKED_LEN];
        // 32 bits of seconds are what the format has; they last until 2106.
        header[0..4].copy_from_slice(&(since_epoch.as_secs() as u32).to_le_bytes());
        header[4..8].copy_from_slice(&since_epoch.subsec_nanos().to_le_bytes());
        header[8..12].copy_from_slice(&captured.to_le_bytes());
        header[12..16].copy_from_slice(&captured.to_le_bytes());
        // The kernel to a process: `PACKET_OUTGOING`, as a netlink monitor says of it.
        header[16..18].copy_from_slice(&PACKET_OUTGOING.to_be_bytes());
        header[18..20].copy_from_slice(&ARPHRD_NETLINK.to_be_bytes());
        header[30..32].copy_from_slice(&NETLINK_NETFILTER.to_be_bytes());
        self.output.write_all(&header)?;
        self.output.write_all(datagram)
    }

    /// Where it is written to.
    pub const fn get_mut(&mut self) -> &mut W {
        &mut self.output
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_back() {
        let mut file = Vec::new();
        let mut writer = Writer::new(&mut file).unwrap();
        let time = UNIX_EPOCH + Duration::from_micros(1_600_000_000_000_001);
        writer.write(time, b"first").unwrap();
        writer.write(SystemTime::now(), b"").unwrap();
        let mut reader = Reader::new(&file[..]).unwrap();
        assert_eq!(
            reader.next_record().unwrap(),
            Some(Record::Datagram(time, b"first"))
        );
        assert!(matches!(
            reader.next_record().unwrap(),
            Some(Record::Datagram(_, b""))
        ));
        assert_eq!(reader.next_record().unwrap(), None);
    }

    #[test]
    fn a_record_over_the_bound_is_passed_over_without_being_kept() {
        let mut file = Vec::new();
        Writer::new(&mut file).unwrap();
        let len = RECORD_MAX as u32 + 1;
        file.extend_from_slice(&[0; 8]);
        file.extend_from_slice(&len.to_le_bytes());
        file.extend_from_slice(&len.to_le_bytes());
        file.resize(file.len() + len as usize, 0);
        let mut reader = Reader::new(&file[..]).unwrap();
        assert_eq!(reader.next_record().unwrap(), Some(Record::Unreadable));
        assert_eq!(reader.next_record().unwrap(), None);
        assert!(reader.buffer.capacity() <= 2 * RECORD_MAX);
    }
}
