//! The `callback` source: the C library's own path, `nfct_catch` and a callback an event.

use std::io;
use std::ops::ControlFlow;
use std::os::fd::AsFd;

use netfilter_conntrack::{EventType, Handle};

use super::entry::{observe, sighting};
use super::receiver::{Seat, Shared, wait_readable};
use super::tuning::Buffer;
use crate::intake::tally::Tally;
use crate::model::flow::Event;
use crate::model::timestamp::Timestamp;
use crate::os::socket::memory;

/// After so many events the receiver looks up: counts are added, and a list may wait for what was queued.
const EVENTS_AT_ONCE: usize = 1 << 12;

/// Whether an event means something else after a loss than before: an end, or a beginning that comes late. Only then the
/// socket is asked, as the loss may be as young as the event.
const fn matters_after_loss(event: Event, replied: bool) -> bool {
    matches!(event, Event::Destroy) || matches!(event, Event::New) && replied
}

/// Receives until told to stop and the queue is empty.
///
/// Errors: those of the socket that no retry helps.
pub fn receive(
    handle: &mut Handle,
    mut buffer: Buffer,
    shared: &Shared<'_>,
    seat: &Seat,
) -> io::Result<()> {
    rustix::io::ioctl_fionbio(&*handle, true)?;
    // The handle itself is lent to the library while events are read.
    let socket = handle.as_fd().try_clone_to_owned()?;
    let mut flush = None;
    let mut since_flush = 0;
    loop {
        let stopping = shared.stopping();
        if flush.is_none() {
            flush = seat.wanted(&*handle);
            since_flush = 0;
        }
        if !shared.closing() {
            buffer.grow_under_pressure(&*handle)?;
        }
        // Once that is so it stays so.
        let mut known = false;
        let mut missed = |matters: bool| {
            known |= matters && memory(&socket).map_or(true, |memory| memory.drops > 0);
            known
        };
        let mut tally = Tally::default();
        let mut caught = 0;
        let result = handle.catch(|event, entry| {
            caught += 1;
            let go_on = if caught < EVENTS_AT_ONCE {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            };
            let event = match event {
                EventType::New => Event::New,
                EventType::Update => Event::Update,
                EventType::Destroy => Event::Destroy,
                // The library has no other.
                _ => {
                    tally.malformed += 1;
                    return go_on;
                }
            };
            if let Some(detail) = shared.intake.detail() {
                match sighting(entry, event, detail.all_protocols) {
                    Ok(sighting) => {
                        let missed = missed(matters_after_loss(event, sighting.replied));
                        shared.intake.sighting(
                            detail,
                            &sighting,
                            Timestamp::now(),
                            missed,
                            &mut tally,
                        );
                    }
                    Err(skip) => tally.skipped(skip),
                }
                return go_on;
            }
            match observe(entry, event) {
                Ok(observation) if event != Event::Destroy => {
                    let missed = missed(matters_after_loss(event, observation.replied));
                    shared.intake.event(&observation, missed, &mut tally);
                }
                Ok(observation) => {
                    if tally.end(missed(true)) {
                        shared.intake.recovered(&observation, &mut tally);
                    }
                }
                Err(skip) => tally.skipped(skip),
            }
            go_on
        });
        shared.intake.count(tally);
        since_flush += caught;
        let empty = matches!(&result, Err(error) if error.kind() == io::ErrorKind::WouldBlock);
        if let Some(served) = flush.take_if(|flush| empty || flush.is_served_by(since_flush)) {
            seat.flushed(served);
        }
        match result {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if stopping {
                    return Ok(());
                }
                wait_readable(&*handle, shared, seat)?;
            }
            Err(error) => shared.overrun_or(error)?,
            Ok(()) => {}
        }
    }
}
