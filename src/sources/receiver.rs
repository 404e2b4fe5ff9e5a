//! What all live receivers share: the intake, the order to stop, the recording, and how they wait.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use super::record::Recorder;
use crate::intake::Intake;
use crate::os::socket::memory;

/// How long a list that is asked for waits for what was queued before.
const FLUSH_PATIENCE: Duration = Duration::from_secs(10);
/// What the kernel charges a receive buffer for one datagram at the least (`struct sk_buff`, its data and
/// `struct skb_shared_info`, Linux 5.10 to 6.18, are never below 640 bytes together).
const DATAGRAM_TRUESIZE_BYTES_MIN: u32 = 512;

/// Shared by the receivers and whoever controls them.
#[derive(Debug)]
pub struct Shared<'a> {
    /// Where observations go.
    pub intake: &'a Intake,
    /// Where raw datagrams go, if anywhere.
    pub recorder: Option<Recorder>,
    /// One for each receiver.
    seats: Vec<Seat>,
    stop: AtomicBool,
    closing: AtomicBool,
    keeps_back: bool,
    /// Readable from the stop on: written once and never read, so that it wakes every receiver.
    wake: OwnedFd,
    overruns: AtomicU64,
    lost: AtomicU64,
}

/// What one receiver and those who wait for it have in common.
#[derive(Debug)]
pub struct Seat {
    /// Readable while a flush is wanted.
    prod: OwnedFd,
    wanted: AtomicU64,
    flushed: AtomicU64,
}

/// A flush that a receiver has set out to serve.
#[derive(Clone, Copy, Debug)]
pub struct Flush {
    number: u64,
    /// So many datagrams at the most were queued when it began.
    datagrams: u64,
}

impl Seat {
    fn new() -> io::Result<Self> {
        Ok(Self {
            prod: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            wanted: AtomicU64::new(0),
            flushed: AtomicU64::new(0),
        })
    }

    /// The flush that is wanted last, if it has not been served yet. To be asked for before anything is drained.
    pub fn wanted(&self, socket: impl AsFd) -> Option<Flush> {
        let number = self.wanted.load(Ordering::Acquire);
        if number <= self.flushed.load(Ordering::Relaxed) {
            return None;
        }
        let queued = memory(socket).map_or(u32::MAX, |memory| memory.queued_bytes);
        Some(Flush {
            number,
            datagrams: u64::from(queued / DATAGRAM_TRUESIZE_BYTES_MIN),
        })
    }

    /// Wants a flush, and returns its number.
    fn want(&self) -> u64 {
        let number = self.wanted.fetch_add(1, Ordering::AcqRel) + 1;
        self.prod();
        number
    }

    /// Wakes the receiver.
    fn prod(&self) {
        // Fails only if the counter is at its maximum, and then the descriptor is readable already.
        let _ = rustix::io::write(&self.prod, &1_u64.to_ne_bytes());
    }

    /// Waits for the descriptors, of which the first one is [`prod`](Self::prod), and returns whether it was that.
    ///
    /// That is taken back here, and not where a flush is served: a receiver may see the number of a flush and serve it before
    /// it is prodded, and would never sleep again.
    fn wait(&self, fds: &mut [PollFd<'_>], time: Duration) -> io::Result<bool> {
        match poll(fds, Some(&timespec(time))) {
            Ok(_) if fds[0].revents().contains(PollFlags::IN) => {
                rustix::io::read(&self.prod, &mut [0; 8])?;
                Ok(true)
            }
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Says that everything queued before that flush was wanted has been taken in.
    pub fn flushed(&self, flush: Flush) {
        self.flushed.store(flush.number, Ordering::Release);
    }

    /// Says that the receiver is gone, so that no flush waits for it any more. It has taken in all that was queued, or
    /// what kept it from doing so is known already.
    pub fn leave(&self) {
        self.flushed.store(u64::MAX, Ordering::Release);
    }
}

impl Flush {
    /// Whether so many datagrams are all that were queued when it began: under a flood, a queue never runs empty.
    pub const fn is_served_by(&self, datagrams: usize) -> bool {
        datagrams as u64 > self.datagrams
    }
}

impl<'a> Shared<'a> {
    /// Of `receivers` receivers that deliver to `intake`. `keeps_back` is whether a receiver keeps what it knows
    /// elsewhere until a flush is wanted.
    ///
    /// Errors: those of eventfd(2).
    pub fn new(
        intake: &'a Intake,
        recorder: Option<Recorder>,
        receivers: usize,
        keeps_back: bool,
    ) -> io::Result<Self> {
        if keeps_back {
            intake.table().hear_late();
            if let Some(records) = intake.records() {
                records.wait_with_ends();
            }
        }
        Ok(Self {
            intake,
            recorder,
            seats: (0..receivers)
                .map(|_| Seat::new())
                .collect::<io::Result<_>>()?,
            stop: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            keeps_back,
            wake: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            overruns: AtomicU64::new(0),
            lost: AtomicU64::new(0),
        })
    }

    /// The seat of a receiver.
    ///
    /// Panics: if there are not so many receivers.
    pub fn seat(&self, receiver: usize) -> &Seat {
        &self.seats[receiver]
    }

    /// Tells the receivers to drain their queues and return.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        // Fails only if the counter is at its maximum, and then the descriptor is readable already.
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }

    /// Readable from [`stop`](Self::stop) on.
    pub fn stop_wakes(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    /// Whether [`stop`](Self::stop) was called.
    pub fn stopping(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// Tells the receivers that the end has begun, and that buffers are not to grow any more.
    pub fn close(&self) {
        self.closing.store(true, Ordering::Release);
    }

    /// Whether [`close`](Self::close) was called.
    pub fn closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// Has all receivers take in what lies in their queues and rings now, and waits for that. Returns whether all of
    /// it was taken in: a receiver that is starved of processor time is not waited for without end. One that is told
    /// to stop meanwhile takes in everything before it goes.
    pub fn flush(&self) -> bool {
        let wanted = self.seats.iter().map(|seat| (seat, seat.want()));
        let wanted: Vec<_> = wanted.collect();
        let deadline = Instant::now() + FLUSH_PATIENCE;
        loop {
            let served =
                |(seat, number): &(&Seat, u64)| seat.flushed.load(Ordering::Acquire) >= *number;
            if wanted.iter().all(served) {
                return true;
            }
            if Instant::now() > deadline {
                return false;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Has the tables know what receivers keep back, if they do: for whoever compares with them. What is not there in
    /// time comes later.
    pub fn settle(&self) {
        if self.keeps_back {
            self.flush();
        }
    }

    /// Counts events that were lost other than by a full socket.
    #[cfg(feature = "ebpf")]
    pub fn lose(&self, events: u64) {
        if events > 0 {
            self.lost.fetch_add(events, Ordering::Relaxed);
        }
    }

    /// Events lost other than by a full socket.
    pub const fn lost(&self) -> &AtomicU64 {
        &self.lost
    }

    /// Times a receive failed with `ENOBUFS`.
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

/// Waits until the socket has something to read, a flush is wanted, or the receivers are to stop. Returns whether a flush
/// is wanted.
pub(super) fn wait_readable(
    socket: impl AsFd,
    shared: &Shared<'_>,
    seat: &Seat,
) -> io::Result<bool> {
    let mut fds = [
        PollFd::new(&seat.prod, PollFlags::IN),
        PollFd::new(&shared.wake, PollFlags::IN),
        PollFd::new(&socket, PollFlags::IN),
    ];
    // Should waking ever fail, the end is late and not missing.
    seat.wait(&mut fds, LATE)
}

/// Waits for a time, or until a flush is wanted or the receivers are to stop.
pub(super) fn wait_time(time: Duration, shared: &Shared<'_>, seat: &Seat) -> io::Result<()> {
    if time.is_zero() {
        return Ok(());
    }
    let mut fds = [
        PollFd::new(&seat.prod, PollFlags::IN),
        PollFd::new(&shared.wake, PollFlags::IN),
    ];
    seat.wait(&mut fds, time).map(|_| ())
}

/// How long a receiver sleeps at most that nobody wakes.
const LATE: Duration = Duration::from_secs(5);

/// A duration as poll(2) takes it.
pub const fn timespec(time: Duration) -> Timespec {
    Timespec {
        tv_sec: time.as_secs() as i64,
        tv_nsec: time.subsec_nanos() as i64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(seat: &Seat) -> bool {
        let mut fds = [PollFd::new(&seat.prod, PollFlags::IN)];
        seat.wait(&mut fds, Duration::ZERO).unwrap()
    }

    #[test]
    fn a_receiver_is_woken_once_for_a_flush_that_it_has_served_before() {
        let (seat, socket) = (Seat::new().unwrap(), io::stdin());
        // The number is there, and the receiver is awake for another reason.
        seat.wanted.fetch_add(1, Ordering::AcqRel);
        seat.flushed(seat.wanted(&socket).unwrap());
        seat.prod();
        assert!(wait(&seat));
        assert!(seat.wanted(&socket).is_none());
        assert!(!wait(&seat));
    }

    #[test]
    fn a_flush_that_is_wanted_while_another_is_served_is_not_slept_through() {
        let (seat, socket) = (Seat::new().unwrap(), io::stdin());
        seat.want();
        let first = seat.wanted(&socket).unwrap();
        let second = seat.want();
        seat.flushed(first);
        assert!(wait(&seat));
        assert_eq!(seat.wanted(&socket).unwrap().number, second);
    }
}
