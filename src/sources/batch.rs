//! The `batch` source: `recvmmsg` into reused buffers, decoded in place.
//!
//! After a drain the receiver naps instead of being woken by every event: at 60,000 events a second,
//! reading each as it comes costs half as much again in the kernel as draining every 2 ms.

use std::io;
use std::time::{Duration, SystemTime};

use netfilter_conntrack::Handle;

use super::receiver::{Flush, Seat, Shared, wait_readable, wait_time};
use super::tuning::{Buffer, EVENT_TRUESIZE_BYTES};
use crate::intake::{Intake, Pending, Received};
use crate::model::sighting::OWN;
use crate::os::socket::{BATCH_LEN, Batch, memory};

/// The longest nap. A flow's place in the list does not depend on when its event is read.
const NAP_MAX: Duration = Duration::from_millis(4);
/// A nap ends before this rate, above what ctnetlink can deliver to one socket, would fill a quarter of
/// the buffer.
const RATE_MAX_PER_US: u32 = 1;

/// How long the receiver may sleep over an empty queue with a buffer of that size.
fn nap(limit_bytes: u32) -> Duration {
    let quarter_in_events = limit_bytes / 4 / EVENT_TRUESIZE_BYTES;
    Duration::from_micros(u64::from(quarter_in_events / RATE_MAX_PER_US)).min(NAP_MAX)
}

/// Receives until told to stop and the queue is empty.
///
/// Errors: those of the socket that no retry helps.
pub fn receive(
    handle: &Handle,
    mut buffer: Buffer,
    shared: &Shared<'_>,
    seat: &Seat,
) -> io::Result<()> {
    let mut drain = Drain::new(shared.intake);
    loop {
        // Before the drain, so that what comes between the two is still drained.
        let stopping = shared.stopping();
        let flush = seat.wanted(handle);
        if !shared.closing() {
            buffer.grow_under_pressure(handle)?;
        }
        let drained = drain.run(handle, shared, flush.map(|flush| (seat, flush)), || false)?;
        if stopping {
            return Ok(());
        }
        let flush_waits = drained == 0 && wait_readable(handle, shared, seat)?;
        if !flush_waits {
            wait_time(nap(buffer.granted_bytes()), shared, seat)?;
        }
    }
}

/// Empties a socket's queue into the table, over and over with the same buffers.
#[derive(Debug, Default)]
pub struct Drain {
    batch: Batch,
    pending: Pending,
    missed: bool,
}

impl Drain {
    /// For what a socket of that intake takes in.
    pub fn new(intake: &Intake) -> Self {
        Self {
            batch: match intake.namespaces() {
                Some(_) => Batch::with_controls(),
                None => Batch::new(),
            },
            ..Self::default()
        }
    }

    /// Takes all that is queued, and returns how many datagrams that were. A flush is served on the way.
    /// `lost_elsewhere` counts events that were missed without the socket's counter showing it.
    ///
    /// Errors: those of the socket that no retry helps.
    pub fn run(
        &mut self,
        handle: &Handle,
        shared: &Shared<'_>,
        mut flush: Option<(&Seat, Flush)>,
        lost_elsewhere: impl Fn() -> bool,
    ) -> io::Result<usize> {
        let mut drained = 0;
        loop {
            let received = match self.batch.receive(handle) {
                Ok(received) => received,
                Err(error) => {
                    shared.overrun_or(error)?;
                    continue;
                }
            };
            drained += received;
            self.take(received, handle, shared, &lost_elsewhere);
            let empty = received < BATCH_LEN;
            if let Some((seat, served)) =
                flush.take_if(|(_, flush)| empty || flush.is_served_by(drained))
            {
                seat.flushed(served);
            }
            if empty {
                return Ok(drained);
            }
        }
    }

    fn take(
        &mut self,
        received: usize,
        handle: &Handle,
        shared: &Shared<'_>,
        lost_elsewhere: &impl Fn() -> bool,
    ) {
        let mut asked = self.missed;
        let namespaces = shared.intake.namespaces();
        if let Some(namespaces) = namespaces {
            namespaces.catch_up();
        }
        for datagram in self.batch.datagrams(received) {
            if datagram.truncated {
                self.pending.tally.malformed += 1;
                continue;
            }
            let namespace = datagram
                .namespace_id
                .and_then(|id| Some(namespaces?.number(id)));
            let namespace = namespace.unwrap_or(OWN);
            let received = Received::Now;
            let pending = &mut self.pending;
            shared
                .intake
                .gather_from(received, namespace, datagram.bytes, pending, || {
                    // Once a batch: a message dropped later than that belongs to an entry that ends later.
                    if !asked {
                        asked = true;
                        self.missed = lost_elsewhere()
                            || memory(handle).map_or(true, |memory| memory.drops > 0);
                    }
                    self.missed
                });
        }
        shared.intake.commit(&mut self.pending);
        if let Some(recorder) = &shared.recorder {
            let datagrams = self
                .batch
                .datagrams(received)
                .map(|datagram| datagram.bytes);
            recorder.record(SystemTime::now(), datagrams);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn naps_are_shorter_than_a_quarter_of_the_buffer() {
        assert_eq!(nap(64 << 20), NAP_MAX);
        assert_eq!(nap(0), Duration::ZERO);
        assert!(nap(212_992) < Duration::from_micros(50));
    }
}
