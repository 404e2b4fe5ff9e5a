//! The stream as a capture file: what a capture on a netlink monitor would have recorded.

use super::message;
use super::settings::Settings;
use std::io::{self, Write};

/// `LINKTYPE_NETLINK`
const LINK_TYPE: u32 = 253;
/// The classic format with microseconds.
const MAGIC: u32 = 0xa1b2_c3d4;
const SNAP_LENGTH: u32 = 1 << 18;
/// `PACKET_OUTGOING`, `ARPHRD_NETLINK`, ten unused octets, `NETLINK_NETFILTER`; all big-endian.
const COOKED: [u8; 16] = [0, 4, 0x03, 0x38, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 12];
/// The time of the first record, in seconds since 1970: fixed, so that equal streams make equal files.
const START_S: u64 = 1_700_000_000;

/// Writes the stream of `settings` to `out`, one event a record, as long as `go_on` says so; the times of the
/// records follow `events_per_s`, or are a microsecond apart if that is 0. Returns the number of records.
///
/// # Errors
/// Those of `out`.
pub fn write(
    out: &mut impl Write,
    settings: &Settings,
    timeout_s: u32,
    events_per_s: f64,
    go_on: impl Fn() -> bool,
) -> io::Result<u64> {
    let mut bytes = Vec::with_capacity(512);
    for word in [MAGIC, 2 | 4 << 16, 0, 0, SNAP_LENGTH, LINK_TYPE] {
        bytes.extend_from_slice(&word.to_le_bytes());
    }
    out.write_all(&bytes)?;
    let step_us = if events_per_s > 0.0 {
        1e6 / events_per_s
    } else {
        1.0
    };
    let mut records = 0;
    for event in settings.plan() {
        if !go_on() {
            break;
        }
        bytes.clear();
        bytes.resize(16, 0);
        bytes.extend_from_slice(&COOKED);
        message::notification(&mut bytes, &event, timeout_s);
        let length = bytes.len() as u32 - 16;
        let time_us = (records as f64 * step_us) as u64;
        let header = [
            (START_S + time_us / 1_000_000) as u32,
            (time_us % 1_000_000) as u32,
            length,
            length,
        ];
        for (place, word) in bytes.chunks_exact_mut(4).zip(header) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        out.write_all(&bytes)?;
        records += 1;
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::super::flow::{Family, Profile, Protocol};
    use super::super::settings::Repeat;
    use super::*;

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
        assert_eq!(file[..4], [0xd4, 0xc3, 0xb2, 0xa1]);
        assert_eq!(file[20..24], [253, 0, 0, 0]);
        let word = |offset: usize| u32::from_le_bytes(file[offset..offset + 4].try_into().unwrap());
        let (mut offset, mut records) = (24, 0);
        while offset < file.len() {
            assert_eq!(word(offset), START_S as u32 + records * 2);
            assert_eq!(word(offset + 8), word(offset + 12));
            assert_eq!(word(offset + 8), 16 + word(offset + 32));
            assert_eq!(file[offset + 16..offset + 32], COOKED);
            offset += 16 + word(offset + 8) as usize;
            records += 1;
        }
        assert_eq!((offset, records), (file.len(), 100));
    }
}
