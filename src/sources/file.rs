//! The file source: a capture of netlink messages, through the same decoder and table as live events.

use std::io;

use crate::formats::pcap::audit::Audit;
use crate::formats::pcap::{HeaderError, Reader};
use crate::intake::{Intake, Pending, Received};
use crate::model::sighting::OWN;
use crate::model::timestamp::{Timestamp, earliest};
use crate::sources::monitor::Monitor;

/// Events taken in together.
const COMMIT_LEN: usize = 512;

/// What there is to say of a file that was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Read {
    /// What was met in it.
    pub audit: Audit,
    /// The time of its earliest datagram.
    pub first: Option<Timestamp>,
    /// The time of its latest.
    pub last: Option<Timestamp>,
}

/// Reads a whole capture into `intake`, out of recordings of everything too. Where reading fails in the middle, what was
/// read before is in the table, and the audit says so.
///
/// Errors: [`HeaderError`] if the input is no such capture.
pub fn read(input: impl io::Read, intake: &Intake) -> Result<Read, HeaderError> {
    take_in(Reader::new(input)?, intake)
}

/// The same of recordings of netlink and no others, which is what the list of `-r` is defined for.
///
/// Errors: as those of [`read`].
pub fn read_netlink(input: impl io::Read, intake: &Intake) -> Result<Read, HeaderError> {
    let reader = Reader::new(input)?;
    match reader.cooked() {
        None => take_in(reader, intake),
        Some(link) => Err(HeaderError::Cooked(link)),
    }
}

fn take_in(mut reader: Reader<impl io::Read>, intake: &Intake) -> Result<Read, HeaderError> {
    let mut pending = Pending::default();
    let mut read = Read {
        audit: Audit::new(&reader),
        ..Read::default()
    };
    let mut monitor = Monitor::default();
    loop {
        match reader.next_record() {
            Ok(Some(record)) => {
                let Some((time, datagram)) = read.audit.take(record) else {
                    continue;
                };
                let time = Timestamp::from(time);
                read.first = earliest(read.first, Some(time));
                read.last = read.last.max(Some(time));
                let datagram = if read.audit.is_own() {
                    datagram
                } else {
                    monitor.events(time, datagram)
                };
                intake.gather_from(Received::At(time), OWN, &datagram, &mut pending, || false);
            }
            Ok(None) => break,
            Err(error) => {
                read.audit.failed(error.to_string());
                break;
            }
        }
        if pending.len() >= COMMIT_LEN {
            intake.commit(&mut pending);
        }
    }
    intake.commit(&mut pending);
    if let Some(link) = read.audit.only_packets() {
        return Err(HeaderError::LinkType(link));
    }
    read.audit.dropped(reader.dropped());
    Ok(read)
}
