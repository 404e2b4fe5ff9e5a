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
    /// Readable while a flush is wanted; read by the one receiver that serves it.
    prod: OwnedFd,
    flush_wanted: AtomicU64,
    flushed: AtomicU64,
    overruns: AtomicU64,
    lost: AtomicU64,
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
            prod: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            flush_wanted: AtomicU64::new(0),
            flushed: AtomicU64::new(0),
            overruns: AtomicU64::new(0),
            lost: AtomicU64::new(0),
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

    /// Has a receiver that naps over a ring take in what lies in it, and waits for that; for a second at
    /// the most, since a list that is a nap old is better than none.
    pub fn flush(&self) {
        let wanted = self.flush_wanted.fetch_add(1, Ordering::AcqRel) + 1;
        let _ = rustix::io::write(&self.prod, &1_u64.to_ne_bytes());
        for _ in 0..1000 {
            if self.flushed.load(Ordering::Acquire) >= wanted || self.stopping() {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// The number of the flush that is wanted last. To be read before the ring is.
    #[must_use]
    pub fn flush_wanted(&self) -> u64 {
        self.flush_wanted.load(Ordering::Acquire)
    }

    /// Says that the ring was empty after that flush was wanted.
    pub fn flushed(&self, wanted: u64) {
        self.flushed.store(wanted, Ordering::Release);
    }

    /// Counts events that were lost other than by a full socket.
    pub fn lose(&self, events: u64) {
        if events > 0 {
            self.lost.fetch_add(events, Ordering::Relaxed);
        }
    }

    /// Events lost other than by a full socket.
    #[must_use]
    pub const fn lost(&self) -> &AtomicU64 {
        &self.lost
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
    let timeout = timespec(time);
    let mut fds = [PollFd::new(&shared.wake, PollFlags::IN)];
    uninterrupted(poll(&mut fds, Some(&timeout)))
}

/// Waits for a time, or until the receivers are to stop or a flush is wanted.
#[cfg(feature = "ebpf")]
pub(super) fn wait_flush(time: Duration, shared: &Shared<'_>) -> io::Result<()> {
    let timeout = timespec(time);
    let mut fds = [
        PollFd::new(&shared.wake, PollFlags::IN),
        PollFd::new(&shared.prod, PollFlags::IN),
    ];
    uninterrupted(poll(&mut fds, Some(&timeout)))?;
    // Empty unless prodded.
    let _ = rustix::io::read(&shared.prod, &mut [0; 8]);
    Ok(())
}

/// A duration as poll(2) takes it.
#[must_use]
pub const fn timespec(time: Duration) -> Timespec {
    Timespec {
        tv_sec: time.as_secs() as i64,
        tv_nsec: time.subsec_nanos() as i64,
    }
}

fn uninterrupted(result: rustix::io::Result<usize>) -> io::Result<()> {
    match result {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
