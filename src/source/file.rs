//! The file source: a capture of netlink messages, through the same decoder and table as live events.

use std::io::Read;

use crate::intake::{Intake, Pending, Received};
use crate::pcap::{HeaderError, Reader, Record};

/// Events taken in together.
const FOLD_LEN: usize = 512;

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
    let mut pending = Pending::default();
    let end = loop {
        match reader.next_record() {
            Ok(Some(Record::Datagram(time, datagram))) => {
                let received = Received::At(time.into());
                intake.gather_from(received, datagram, &mut pending, || false);
            }
            Ok(Some(Record::Foreign)) => pending.tally.malformed += 1,
            Ok(Some(Record::Truncated)) => break Ok(End::Truncated),
            Ok(None) => break Ok(End::Whole),
            Err(error) => break Err(HeaderError::Io(error)),
        }
        if pending.len() >= FOLD_LEN {
            intake.fold(&mut pending);
        }
    };
    intake.fold(&mut pending);
    end
}
