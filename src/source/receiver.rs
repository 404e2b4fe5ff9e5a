//! What all live receivers share: the intake, the order to stop, the recording, and how they wait.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use super::record::Recorder;
use crate::intake::Intake;

/// Shared by the receivers and whoever controls them.
#[derive(Debug)]
pub struct Shared<'a> {
    /// Where observations go.
    pub intake: &'a Intake,
    /// Where raw datagrams go, if anywhere.
    pub recorder: Option<Recorder>,
    stop: AtomicBool,
    /// Readable from the stop on: written once and never read, so that it wakes every receiver.
    wake: OwnedFd,
    overruns: AtomicU64,
}

impl<'a> Shared<'a> {
    /// Receivers that deliver to `intake`.
    ///
    /// # Errors
    ///
    /// Those of eventfd(2).
    pub fn new(intake: &'a Intake, recorder: Option<Recorder>) -> io::Result<Self> {
        Ok(Self {
            intake,
            recorder,
            stop: AtomicBool::new(false),
            wake: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            overruns: AtomicU64::new(0),
        })
    }

    /// Tells the receivers to drain their queues and return.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        // Fails only if the counter is at its maximum, and then the descriptor is readable already.
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }

    /// Whether [`stop`](Self::stop) was called.
    #[must_use]
    pub fn stopping(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// Times a receive failed with `ENOBUFS`.
    #[must_use]
    pub fn overruns(&self) -> u64 {
        self.overruns.load(Ordering::Relaxed)
    }

    /// Counts an overrun; an interrupted call is as good as none; any other error is the caller's.
    pub(super) fn overrun_or(&self, error: io::Error) -> io::Result<()> {
        match error.raw_os_error() {
            Some(libc::ENOBUFS) => {
                self.overruns.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            Some(libc::EINTR) => Ok(()),
            _ => Err(error),
        }
    }
}

/// Waits until the socket has something to read or the receivers are to stop.
pub(super) fn wait_readable(socket: impl AsFd, shared: &Shared<'_>) -> io::Result<()> {
    let mut fds = [
        PollFd::new(&socket, PollFlags::IN),
        PollFd::new(&shared.wake, PollFlags::IN),
    ];
    uninterrupted(poll(&mut fds, None))
}

/// Waits for a time, or until the receivers are to stop.
pub(super) fn wait_stop(time: Duration, shared: &Shared<'_>) -> io::Result<()> {
    if time.is_zero() {
        return Ok(());
    }
    let timeout = Timespec {
        tv_sec: time.as_secs() as i64,
        tv_nsec: time.subsec_nanos().into(),
    };
    let mut fds = [PollFd::new(&shared.wake, PollFlags::IN)];
    uninterrupted(poll(&mut fds, Some(&timeout)))
}

fn uninterrupted(result: rustix::io::Result<usize>) -> io::Result<()> {
    match result {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
