//! The stream as a capture file: what a capture on a netlink monitor would have recorded.

use super::message;
use super::settings::Settings;
use std::io::{self, Write};
use std::time::Duration;

/// The time of the first record, in seconds since 1970: fixed, so that equal streams make equal files.
const START_S: u64 = 1_700_000_000;

/// The file's header: nanoseconds, version 2.4, no limit that a datagram could reach, LINKTYPE_NETLINK (253).
fn header() -> [u8; 24] {
    let mut header = [0; 24];
    header[0..4].copy_from_slice(&0xa1b2_3c4d_u32.to_le_bytes());
    header[4..6].copy_from_slice(&2_u16.to_le_bytes());
    header[6..8].copy_from_slice(&4_u16.to_le_bytes());
    header[16..20].copy_from_slice(&(256_u32 * 1024).to_le_bytes());
    header[20..24].copy_from_slice(&253_u32.to_le_bytes());
    header
}

/// What precedes a datagram: the header of a record, and the sixteen bytes that a netlink monitor puts before it
/// (PACKET_OUTGOING, ARPHRD_NETLINK, the protocol NETLINK_NETFILTER).
fn record_header(time: Duration, datagram: &[u8]) -> [u8; 32] {
    let length = 16 + datagram.len() as u32;
    let mut header = [0; 32];
    header[0..4].copy_from_slice(&(time.as_secs() as u32).to_le_bytes());
    header[4..8].copy_from_slice(&time.subsec_nanos().to_le_bytes());
    header[8..12].copy_from_slice(&length.to_le_bytes());
    header[12..16].copy_from_slice(&length.to_le_bytes());
    header[16..18].copy_from_slice(&4_u16.to_be_bytes());
    header[18..20].copy_from_slice(&824_u16.to_be_bytes());
    header[30..32].copy_from_slice(&12_u16.to_be_bytes());
    header
}

/// Writes the stream of `settings` to `out`, one event a record, as long as `go_on` says so; the times of the
/// records follow `events_per_s`, or are a microsecond apart if that is 0. Returns the number of records.
///
/// Errors: those of `out`.
pub fn write(
    out: &mut impl Write,
    settings: &Settings,
    timeout_s: u32,
    events_per_s: f64,
    go_on: impl Fn() -> bool,
) -> io::Result<u64> {
    let step_s = if events_per_s > 0.0 {
        1.0 / events_per_s
    } else {
        1e-6
    };
    out.write_all(&header())?;
    let mut datagram = Vec::with_capacity(512);
    let mut records = 0;
    for event in settings.plan() {
        if !go_on() {
            break;
        }
        datagram.clear();
        message::notification(&mut datagram, &event, timeout_s);
        let since_start = Duration::from_secs_f64(records as f64 * step_s);
        let time = Duration::from_secs(START_S) + since_start;
        out.write_all(&record_header(time, &datagram))?;
        out.write_all(&datagram)?;
        records += 1;
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::{Family, Profile, Protocol};
    use crate::settings::Repeat;

    #[test]
    fn records_follow_each_other() {
        let protocols = vec![(Protocol::Tcp, 1), (Protocol::Icmp, 1)];
        let profile = Profile {
            family: Family::Mixed,
            protocols,
            privileged_percent: 0,
            seed: 1,
        };
        let settings = Settings {
            entries: 100,
            distinct: 40,
            replied_percent: 50,
            repeat: Repeat::New,
            profile,
        };
        let mut file = Vec::new();
        assert_eq!(write(&mut file, &settings, 60, 0.5, || true).unwrap(), 100);
        let word = |offset: usize| u32::from_le_bytes(file[offset..offset + 4].try_into().unwrap());
        let (mut offset, mut records) = (24, 0);
        while offset < file.len() {
            assert_eq!(word(offset), START_S as u32 + records * 2);
            assert_eq!(word(offset + 8), word(offset + 12));
            // Netlink's own length, behind the headers of the record and of the link.
            let message = file[offset + 32..offset + 36].try_into().unwrap();
            assert_eq!(word(offset + 8), 16 + u32::from_ne_bytes(message));
            offset += 16 + word(offset + 8) as usize;
            records += 1;
        }
        assert_eq!((offset, records), (file.len(), 100));
    }
}
