//! The `callback` source: the C library's own path, `nfct_catch` and a callback an event.

use std::io;
use std::ops::ControlFlow;

use netfilter_conntrack::{EventType, Handle};

use super::entry::{observe, sighting};
use super::receiver::{Shared, wait_readable};
use super::tuning::Buffer;
use crate::flow::Event;
use crate::socket::memory;
use crate::tally::Tally;
use crate::timestamp::Timestamp;

/// Receives until told to stop and the queue is empty.
///
/// # Errors
///
/// Errors of the socket that no retry helps.
pub fn receive(handle: &mut Handle, mut buffer: Buffer, shared: &Shared<'_>) -> io::Result<()> {
    rustix::io::ioctl_fionbio(&*handle, true)?;
    loop {
        let stopping = shared.stopping();
        buffer.grow_under_pressure(&*handle)?;
        let missed = memory(&*handle).map_or(true, |memory| memory.drops > 0);
        let mut tally = Tally::default();
        let result = handle.catch(|event, entry| {
            let event = match event {
                EventType::New => Event::New,
                EventType::Update => Event::Update,
                EventType::Destroy => Event::Destroy,
            };
            if let Some(detail) = shared.intake.detail() {
                match sighting(entry, event, detail.all_protocols) {
                    Ok(sighting) => shared.intake.sighting(
                        detail,
                        &sighting,
                        Timestamp::now(),
                        missed,
                        &mut tally,
                    ),
                    Err(skip) => tally.skipped(skip),
                }
                return ControlFlow::Continue(());
            }
            match observe(entry, event) {
                Ok(observation) if event != Event::Destroy => {
                    shared.intake.event(&observation, &mut tally);
                }
                Ok(observation) => {
                    tally.ended += 1;
                    if missed {
                        shared.intake.made_up(&observation, &mut tally);
                    } else {
                        tally.not_events += 1;
                    }
                }
                Err(skip) => tally.skipped(skip),
            }
            ControlFlow::Continue(())
        });
        shared.intake.count(tally);
        match result {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if stopping {
                    return Ok(());
                }
                wait_readable(&*handle, shared)?;
            }
            Err(error) => shared.overrun_or(error)?,
            Ok(()) => {}
        }
    }
}
