//! The file source: a capture of netlink messages, through the same decoder and table as live events.

use std::io;

use crate::intake::{Intake, Pending, Received};
use crate::namespaces::OWN;
use crate::pcap::{HeaderError, Reader, Record};
use crate::timestamp::Timestamp;

/// Events taken in together.
const FOLD_LEN: usize = 512;

/// What there is to say of a file that was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Read {
    /// Whether it ends inside a record, which is not counted.
    pub truncated: bool,
    /// The time of its earliest datagram.
    pub first: Option<Timestamp>,
    /// The time of its latest.
    pub last: Option<Timestamp>,
}

/// Reads a whole capture into `intake`.
///
/// # Errors
///
/// [`HeaderError`] if the input is no such capture, or reading it fails; what was read before a failure
/// stays in the table.
pub fn read(input: impl io::Read, intake: &Intake) -> Result<Read, HeaderError> {
    let mut reader = Reader::new(input)?;
    let mut pending = Pending::default();
    let mut read = Read::default();
    let end = loop {
        match reader.next_record() {
            Ok(Some(Record::Datagram(time, datagram))) => {
                let time = Timestamp::from(time);
                read.first = Some(read.first.map_or(time, |first| first.min(time)));
                read.last = read.last.max(Some(time));
                intake.gather_from(Received::At(time), OWN, datagram, &mut pending, || false);
            }
            Ok(Some(Record::Foreign)) => pending.tally.malformed += 1,
            Ok(Some(Record::Truncated)) => {
                read.truncated = true;
                break Ok(read);
            }
            Ok(None) => break Ok(read),
            Err(error) => break Err(HeaderError::Io(error)),
        }
        if pending.len() >= FOLD_LEN {
            intake.fold(&mut pending);
        }
    };
    intake.fold(&mut pending);
    end
}
