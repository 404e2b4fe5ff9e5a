//! The `batch` source: `recvmmsg` into reused buffers, decoded in place.
//!
//! After a drain the receiver naps instead of being woken by every event: at 60,000 events a second,
//! reading each as it comes costs half as much again in the kernel as draining every 2 ms.

use std::io;
use std::time::{Duration, SystemTime};

use netfilter_conntrack::Handle;

use super::receiver::{Shared, wait_readable, wait_stop};
use super::tuning::{Buffer, EVENT_TRUESIZE_BYTES};
use crate::intake::Pending;
use crate::socket::{BATCH_LEN, Batch, memory};

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
/// # Errors
///
/// Errors of the socket that no retry helps.
pub fn receive(handle: &Handle, mut buffer: Buffer, shared: &Shared<'_>) -> io::Result<()> {
    let mut batch = Batch::new();
    let mut pending = Pending::default();
    let mut missed = false;
    loop {
        // Before the drain, so that what comes between the two is still drained.
        let stopping = shared.stopping();
        buffer.grow_under_pressure(handle)?;
        let mut drained = 0;
        loop {
            let received = match batch.receive(handle) {
                Ok(received) => received,
                Err(error) => {
                    shared.overrun_or(error)?;
                    continue;
                }
            };
            drained += received;
            take(&batch, received, handle, shared, &mut pending, &mut missed);
            if received < BATCH_LEN {
                break;
            }
        }
        if stopping {
            return Ok(());
        }
        if drained == 0 {
            wait_readable(handle, shared)?;
        }
        wait_stop(nap(buffer.granted_bytes()), shared)?;
    }
}

fn take(
    batch: &Batch,
    received: usize,
    handle: &Handle,
    shared: &Shared<'_>,
    pending: &mut Pending,
    missed: &mut bool,
) {
    let mut asked = *missed;
    for datagram in batch.datagrams(received) {
        if datagram.truncated {
            pending.tally.malformed += 1;
            continue;
        }
        shared.intake.gather(datagram.bytes, pending, || {
            // Once a batch: a message dropped later than that belongs to an entry that ends later.
            if !asked {
                asked = true;
                *missed = memory(handle).map_or(true, |memory| memory.drops > 0);
            }
            *missed
        });
    }
    shared.intake.fold(pending);
    if let Some(recorder) = &shared.recorder {
        let datagrams = batch.datagrams(received).map(|datagram| datagram.bytes);
        recorder.record(SystemTime::now(), datagrams);
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
