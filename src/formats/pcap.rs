//! Captures of netlink messages: classic pcap with link type 253 (`LINKTYPE_NETLINK`), as it is written here and by most;
//! [`ng`] is the newer form, [`link`] what else stands before a datagram.
//!
//! The file format is draft-ietf-opsawg-pcap; a record is the 16-byte cooked netlink header
//! (unused, ARPHRD type 824, unused, netlink family; both big-endian) followed by one datagram as the
//! socket delivered it, in the byte order of the host that recorded it ([`byte_order`]).

pub mod audit;
pub mod byte_order;
mod link;
pub mod mark;
mod ng;

use crate::netlink::uapi::{ARPHRD_NETLINK, NETLINK_NETFILTER, PACKET_OUTGOING};
use std::io::{self, Read, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use link::Linked;

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
    magic == ng::SECTION_HEADER
        || first.is_ok_and(|first| known.contains(&first) || known.contains(&first.swap_bytes()))
}

/// Why a file can't be read as a capture at all.
#[derive(Debug)]
pub enum HeaderError {
    /// The file can't be read.
    Io(io::Error),
    /// The file ends before the 24 bytes of the header do.
    Short,
    /// The first four bytes are no pcap magic.
    Magic([u8; 4]),
    /// The capture is of another link type.
    LinkType(u32),
    /// The capture is of a link type that has netlink among other things, where only netlink is read.
    Cooked(u32),
}

impl std::fmt::Display for HeaderError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Short => f.write_str("not a capture: the 24-byte pcap header is incomplete"),
            Self::Magic(_) => f.write_str(
                "not a pcap capture: unknown magic number (conntracker show FILE reads lists, JSON and CSV)",
            ),
            Self::Cooked(found) => write!(
                f,
                "a recording of all interfaces at once (link type {found}), and -r reads those of netlink alone: \
                 conntracker show FILE reads it"
            ),
            Self::LinkType(found) => write!(
                f,
                "packets of a network (link type {found}{}) and not the kernel's events: make flows of them with \
                 nfpcapd -r FILE -l FOLDER and nfdump -R FOLDER -o csv, with zeek -r FILE (its conn.log) or suricata -r FILE \
                 (its eve.json), which are read; events are recorded with conntracker -w FILE or tcpdump -i nlmon0 -w FILE",
                link::name(*found)
            ),
        }
    }
}

impl std::error::Error for HeaderError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            Self::Short | Self::Magic(_) | Self::LinkType(_) | Self::Cooked(_) => None,
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
    /// A packet of a network of that link type, as is recorded on all interfaces at once.
    Packet(u32),
    /// A record that can't hold any: too short for the cooked header, or too long.
    Unreadable,
    /// The file ends inside this record.
    Truncated,
}

/// Reads a capture record by record, with one buffer for all of them.
#[derive(Debug)]
pub struct Reader<R> {
    input: R,
    form: Form,
    /// Whether the file's header is as [`Writer`] writes it.
    as_written: bool,
    buffer: Vec<u8>,
}

/// Which of the two forms of file.
#[derive(Debug)]
enum Form {
    Classic(Classic),
    Ng(ng::Section),
}

/// What the header of a classic file says of its records.
#[derive(Debug)]
struct Classic {
    big_endian: bool,
    /// What one unit of the second time field is.
    fraction: Duration,
    link: u32,
}

/// A packet of a file of either form.
#[derive(Debug, PartialEq, Eq)]
enum Packet {
    /// It is in the buffer.
    Kept {
        time: SystemTime,
        /// Whether less than the whole of it was recorded.
        is_snapped: bool,
        link: u32,
    },
    Unreadable,
    Truncated,
}

impl<R: Read> Reader<R> {
    /// Reads the file header.
    ///
    /// Errors: [`HeaderError`] when the input is no capture of netlink messages.
    pub fn new(mut input: R) -> Result<Self, HeaderError> {
        let mut magic = [0; 4];
        let mut rest = [0; 20];
        if read_full(&mut input, &mut magic).map_err(HeaderError::Io)? < magic.len() {
            return Err(HeaderError::Short);
        }
        if magic == ng::SECTION_HEADER {
            let section = ng::Section::begin(&mut input).map_err(HeaderError::Io)?;
            return Ok(Self {
                input,
                form: Form::Ng(section.ok_or(HeaderError::Short)?),
                as_written: false,
                buffer: Vec::new(),
            });
        }
        let (microsecond, nanosecond) = (Duration::from_micros(1), Duration::from_nanos(1));
        let known = match (u32::from_le_bytes(magic), u32::from_be_bytes(magic)) {
            (MAGIC_MICROSECONDS, _) => Some((false, microsecond)),
            (MAGIC_NANOSECONDS, _) => Some((false, nanosecond)),
            (_, MAGIC_MICROSECONDS) => Some((true, microsecond)),
            (_, MAGIC_NANOSECONDS) => Some((true, nanosecond)),
            _ => None,
        };
        if read_full(&mut input, &mut rest).map_err(HeaderError::Io)? < rest.len() {
            return Err(HeaderError::Short);
        }
        let (big_endian, fraction) = known.ok_or(HeaderError::Magic(magic))?;
        let [.., k0, k1, k2, k3] = rest;
        // The upper four bits carry the length of a frame check sequence, which netlink has not.
        let link = word([k0, k1, k2, k3], big_endian) & 0x0fff_ffff;
        if !link::may_have_netlink(link) {
            return Err(HeaderError::LinkType(link));
        }
        let as_written = [&magic[..], &rest].concat() == Writer::<Vec<u8>>::header();
        Ok(Self {
            input,
            form: Form::Classic(Classic {
                big_endian,
                fraction,
                link,
            }),
            as_written,
            buffer: Vec::new(),
        })
    }

    /// Whether the file's header is as this program writes it, though others may too.
    pub const fn as_written(&self) -> bool {
        self.as_written
    }

    /// Whether it is a recording of netlink alone.
    const fn is_netlink(&self) -> bool {
        match &self.form {
            Form::Classic(classic) => classic.link == link::NETLINK,
            Form::Ng(_) => false,
        }
    }

    /// The link type, if it is one that has netlink among other things.
    pub const fn cooked(&self) -> Option<u32> {
        match &self.form {
            Form::Classic(classic) if classic.link != link::NETLINK => Some(classic.link),
            Form::Classic(_) | Form::Ng(_) => None,
        }
    }

    /// Packets that what recorded could not keep, as the file says itself: pcapng has a place for that.
    pub const fn dropped(&self) -> u64 {
        match &self.form {
            Form::Classic(_) => 0,
            Form::Ng(section) => section.dropped(),
        }
    }

    /// The next record, or `None` at the end of the file.
    ///
    /// Errors: those of the underlying reader.
    pub fn next_record(&mut self) -> io::Result<Option<Record<'_>>> {
        let packet = match &mut self.form {
            Form::Classic(classic) => classic.next(&mut self.input, &mut self.buffer)?,
            Form::Ng(section) => section.next(&mut self.input, &mut self.buffer)?,
        };
        let Some(packet) = packet else {
            return Ok(None);
        };
        let (time, is_snapped, link) = match packet {
            Packet::Truncated => return Ok(Some(Record::Truncated)),
            Packet::Unreadable => return Ok(Some(Record::Unreadable)),
            Packet::Kept {
                time,
                is_snapped,
                link,
            } => (time, is_snapped, link),
        };
        Ok(Some(match link::split(link, &self.buffer) {
            Linked::Short => Record::Unreadable,
            Linked::Packet => Record::Packet(link),
            Linked::Netlink(NETLINK_NETFILTER, datagram) if is_snapped => {
                Record::Snapped(time, datagram)
            }
            Linked::Netlink(NETLINK_NETFILTER, datagram) => Record::Datagram(time, datagram),
            Linked::Netlink(..) => Record::Foreign,
        }))
    }
}

impl Classic {
    /// The next packet, its bytes in `buffer`; `None` at the end.
    fn next(&mut self, input: &mut impl Read, buffer: &mut Vec<u8>) -> io::Result<Option<Packet>> {
        let mut header = [0; 16];
        match read_full(input, &mut header)? {
            0 => return Ok(None),
            16 => {}
            _ => return Ok(Some(Packet::Truncated)),
        }
        let field = |at: usize| {
            let bytes = [header[at], header[at + 1], header[at + 2], header[at + 3]];
            word(bytes, self.big_endian)
        };
        let time = UNIX_EPOCH
            + Duration::from_secs(field(0).into())
            + self.fraction.saturating_mul(field(4));
        let (captured, original) = (field(8) as usize, field(12) as usize);
        buffer.clear();
        let kept = captured.min(RECORD_MAX);
        // `take` and not a buffer of the claimed size: a header that lies costs no memory.
        let read = (&mut *input).take(kept as u64).read_to_end(buffer)?;
        if read < kept {
            return Ok(Some(Packet::Truncated));
        }
        let excess = (captured - kept) as u64;
        if excess > 0 {
            let skipped = io::copy(&mut input.take(excess), &mut io::sink())?;
            return Ok(Some(if skipped < excess {
                Packet::Truncated
            } else {
                Packet::Unreadable
            }));
        }
        Ok(Some(Packet::Kept {
            time,
            is_snapped: captured < original,
            link: self.link,
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
        header[20..24].copy_from_slice(&link::NETLINK.to_le_bytes());
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
