//! Recordings of events as captures.

use std::io::Read;
use std::path::Path;

use super::complaints::Complaints;
use crate::captures::reader::Sink;
use crate::intake::records::Records;
use crate::intake::table::Table;
use crate::intake::{Detail, Intake};
use crate::model::capture::Capture;
use crate::model::error::Error;
use crate::model::listing::Part;
use crate::model::printable::printable;
use crate::model::selection::Selection;
use crate::sources::file;

/// Reads a recording into `sink`, flows of all protocols, and returns what is wrong with it. `keep_ports` is whether
/// ephemeral source ports are still needed; if `strict`, whatever is wrong is an error.
///
/// Errors: a recording of something else.
pub fn read(
    input: impl Read,
    path: &Path,
    (keep_ports, strict): (bool, bool),
    sink: &mut dyn Sink,
) -> Result<Complaints, Error> {
    let intake = Intake::with_detail(
        Table::new(usize::MAX),
        Some(Detail {
            selection: Selection::default(),
            all_protocols: true,
            records: Some(Records::new(usize::MAX, keep_ports)),
        }),
    );
    let read = file::read(input, &intake).map_err(|error| Error::file(path, error))?;
    let reasons = read.audit.reasons(intake.tally().malformed);
    let mut complaints = Complaints::default();
    for reason in &reasons {
        if strict {
            return Err(Error::file(path, printable(reason)));
        }
        complaints.fault(printable(reason).into_owned());
    }
    let number = sink.capture(Capture {
        source: Some("pcap".into()),
        start: read.first,
        end: read.last,
        verdict: read.audit.verdict(&[]),
        ..Capture::default()
    });
    for reason in &reasons {
        sink.incomplete(number, reason);
    }
    let taken = intake.table().take();
    let records = { intake.records() }.map(|records| records.take(&taken, intake.table(), &[]));
    // Only the records are needed from here on.
    drop(taken);
    for record in records.unwrap_or_default().iter() {
        let seen_in = [Part::new(number, record.connections)];
        if sink.flow(record, &seen_in).is_break() {
            break;
        }
    }
    Ok(complaints)
}

#[cfg(test)]
mod tests {
    use crate::formats::pcap::{Writer, is_magic};

    #[test]
    fn only_recordings_have_the_magic() {
        let mut file = Vec::new();
        Writer::new(&mut file).unwrap();
        assert!(is_magic(&file[..4]));
        assert!(!is_magic(b"{\"ty"));
        assert!(!is_magic(&[]));
    }
}
