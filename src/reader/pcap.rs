//! Recordings of events as captures.

use std::io::Read;
use std::path::Path;

use crate::capture::Capture;
use crate::console::Console;
use crate::error::Error;
use crate::intake::{Detail, Intake, Pending, Received};
use crate::namespaces::OWN;
use crate::pcap::{HeaderError, Reader, Record};
use crate::reader::Sink;
use crate::records::Records;
use crate::select::Selection;
use crate::table::Table;
use crate::timestamp::Timestamp;
use crate::units::show_count;

/// Events taken in together.
const FOLD_LEN: usize = 512;

/// Whether a file that begins so is a recording.
#[must_use]
pub fn is_magic(magic: &[u8]) -> bool {
    matches!(
        magic,
        [0xa1, 0xb2, 0xc3, 0xd4]
            | [0xd4, 0xc3, 0xb2, 0xa1]
            | [0xa1, 0xb2, 0x3c, 0x4d]
            | [0x4d, 0x3c, 0xb2, 0xa1]
    )
}

/// Reads a recording into `sink`, flows of all protocols. `keep_ports` is whether ephemeral source ports are
/// still needed.
///
/// # Errors
///
/// A recording of something else.
pub fn read(
    input: impl Read,
    path: &Path,
    keep_ports: bool,
    sink: &mut dyn Sink,
    console: &Console,
) -> Result<(), Error> {
    let failed = |error: HeaderError| Error::file(path, error);
    let mut reader = Reader::new(input).map_err(failed)?;
    let intake = Intake::with_detail(
        Table::new(usize::MAX),
        Some(Detail {
            selection: Selection::default(),
            all_protocols: true,
            records: Some(Records::new(usize::MAX, keep_ports)),
        }),
    );
    let mut pending = Pending::default();
    let mut foreign = 0;
    let mut span: Option<(Timestamp, Timestamp)> = None;
    loop {
        match reader.next_record() {
            Ok(Some(Record::Datagram(time, datagram))) => {
                let time = Timestamp::from(time);
                span = Some(span.map_or((time, time), |(first, last)| {
                    (first.min(time), last.max(time))
                }));
                intake.gather_from(Received::At(time), OWN, datagram, &mut pending, || false);
            }
            Ok(Some(Record::Foreign)) => foreign += 1,
            Ok(Some(Record::Truncated)) => {
                console.note(&format!(
                    "{}: the file ends in the middle of a record; everything before it is read",
                    path.display()
                ));
                break;
            }
            Ok(None) => break,
            Err(error) => return Err(failed(HeaderError::Io(error))),
        }
        if pending.len() >= FOLD_LEN {
            intake.fold(&mut pending);
        }
    }
    intake.fold(&mut pending);
    let malformed = intake.tally().malformed + foreign;
    if malformed > 0 {
        console.note(&format!(
            "{}: {} messages can't be read and are skipped",
            path.display(),
            show_count(malformed)
        ));
    }
    let number = sink.capture(Capture {
        source: Some("pcap".into()),
        start: span.map(|(first, _)| first),
        end: span.map(|(_, last)| last),
        ..Capture::default()
    });
    let records = intake
        .records()
        .map(|records| records.snapshot(intake.table(), &[], Some));
    // Its tables are as large as what has just been copied from them.
    drop(intake);
    for record in records.unwrap_or_default() {
        let seen_in = [(number, record.connections)];
        if sink.flow(record, &seen_in).is_break() {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_recordings_have_the_magic() {
        let mut file = Vec::new();
        crate::pcap::Writer::new(&mut file).unwrap();
        assert!(is_magic(&file[..4]));
        assert!(!is_magic(b"{\"ty"));
        assert!(!is_magic(&[]));
    }
}
