//! The file source: a capture of netlink messages, through the same decoder and table as live events.

use std::io::Read;

use crate::intake::{Intake, Tally};
use crate::pcap::{HeaderError, Reader, Record};

/// How a readable file ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// At the end of a record.
    Whole,
    /// Inside a record, which is not counted.
    Truncated,
}

/// Reads a whole capture into `intake`.
///
/// # Errors
///
/// [`HeaderError`] if the input is no such capture, or reading it fails; what was read before a failure
/// stays in the table.
pub fn read(input: impl Read, intake: &Intake) -> Result<End, HeaderError> {
    let mut reader = Reader::new(input)?;
    loop {
        let mut tally = Tally::default();
        let record = reader.next_record().map_err(HeaderError::Io)?;
        match record {
            Some(Record::Datagram(datagram)) => intake.datagram(datagram, &mut tally, || false),
            Some(Record::Foreign) => tally.malformed += 1,
            Some(Record::Truncated) => return Ok(End::Truncated),
            None => return Ok(End::Whole),
        }
        intake.count(tally);
    }
}

