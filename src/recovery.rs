//! Making up for missed events: watching the sockets' drop counters, and reading the kernel's table
//! when one has moved.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::intake::Intake;
use crate::socket::memory;
use crate::source::{dump, tuning};

/// How often the drop counters are read.
pub const CLOCK: Duration = Duration::from_millis(500);
/// Between two reads of the kernel's table lies at least this many times what the last one took: under
/// a lasting flood, recovery must not become a load of its own.
const REST_FACTOR: u32 = 4;
/// Reliability is given up when the kernel's table is this full.
const RELIABLE_PERCENT_MAX: u64 = 75;

/// The loss of one capture, and what was done about it.
#[derive(Debug)]
pub struct Recovery<'a> {
    intake: &'a Intake,
    sockets: Vec<Watched>,
    /// Events lost elsewhere than in a socket's queue.
    lost: &'a AtomicU64,
    lost_seen: AtomicU64,
    missed: AtomicU64,
    /// What `missed` was when the last successful read of the table began.
    covered: AtomicU64,
    resyncs: AtomicU64,
    reliable: bool,
    gave_up: AtomicBool,
    failure: Mutex<Option<String>>,
}

/// Figures of the sockets and of what was done about a loss.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// How often the kernel's table was read to make up for a loss.
    pub resyncs: u64,
    /// Bytes that the sockets may queue, and bytes that they have queued, as the kernel charges them; of all
    /// sockets together. `None` if the kernel does not tell.
    pub queues: Option<(u64, u64)>,
}

#[derive(Debug)]
struct Watched {
    fd: OwnedFd,
    drops: AtomicU64,
}

impl<'a> Recovery<'a> {
    /// Watches these sockets, and a counter of what is lost elsewhere.
    ///
    /// # Errors
    ///
    /// Those of dup(2).
    pub fn new<S: AsFd>(
        intake: &'a Intake,
        sockets: &[S],
        lost: &'a AtomicU64,
        reliable: bool,
    ) -> io::Result<Self> {
        let watched = |socket: &S| -> io::Result<Watched> {
            Ok(Watched {
                fd: socket.as_fd().try_clone_to_owned()?,
                drops: AtomicU64::new(0),
            })
        };
        Ok(Self {
            intake,
            sockets: sockets.iter().map(watched).collect::<io::Result<_>>()?,
            lost,
            lost_seen: AtomicU64::new(0),
            missed: AtomicU64::new(0),
            covered: AtomicU64::new(0),
            resyncs: AtomicU64::new(0),
            reliable,
            gave_up: AtomicBool::new(false),
            failure: Mutex::new(None),
        })
    }

    /// Upper bound of the events missed so far, as of the last look.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }

    /// Reads the drop counters.
    ///
    /// # Errors
    ///
    /// Those of getsockopt(2).
    pub fn look(&self) -> io::Result<u64> {
        for socket in &self.sockets {
            let drops = memory(&socket.fd)?.drops;
            let before = socket.drops.load(Ordering::Relaxed);
            // The kernel's counter has 32 bits and wraps.
            let more = u64::from(drops.wrapping_sub(before as u32));
            socket.drops.store(before + more, Ordering::Relaxed);
            self.missed.fetch_add(more, Ordering::Relaxed);
        }
        let lost = self.lost.load(Ordering::Relaxed);
        let more = lost - self.lost_seen.swap(lost, Ordering::Relaxed);
        self.missed.fetch_add(more, Ordering::Relaxed);
        Ok(self.missed())
    }

    /// Reads the kernel's table if events were missed since it was last read.
    pub fn resync(&self) {
        let missed = match self.look() {
            Ok(missed) => missed,
            Err(error) => return self.fail(format!("the drop counter can't be read: {error}")),
        };
        if missed == self.covered.load(Ordering::Relaxed) {
            return;
        }
        match dump::merge(self.intake) {
            Ok(tally) => {
                self.intake.count(tally);
                self.covered.store(missed, Ordering::Relaxed);
                self.resyncs.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => self.fail(format!("the kernel's table can't be read: {error}")),
        }
    }

    fn fail(&self, cause: String) {
        *self.failure.lock() = Some(cause);
    }

    /// Watches until `wait` returns false; `wait` sleeps for the time it is given.
    pub fn watch(&self, mut wait: impl FnMut(Duration) -> bool) {
        let mut rest = CLOCK;
        while wait(rest) {
            self.guard_table();
            let began = Instant::now();
            self.resync();
            rest = CLOCK.max(began.elapsed() * REST_FACTOR);
        }
    }

    /// Gives reliability up before entries that were not reported could fill the kernel's table.
    fn guard_table(&self) {
        if !self.reliable || self.gave_up.load(Ordering::Relaxed) || self.missed() == 0 {
            return;
        }
        let (Some(count), Some(max)) = (sysctl("nf_conntrack_count"), sysctl("nf_conntrack_max"))
        else {
            return;
        };
        if count * 100 < max * RELIABLE_PERCENT_MAX {
            return;
        }
        for socket in &self.sockets {
            if let Err(error) = tuning::give_up_reliability(&socket.fd) {
                return self.fail(format!("reliability can't be given up: {error}"));
            }
        }
        self.gave_up.store(true, Ordering::Relaxed);
    }

    /// Whether the watchdog has given reliability up.
    #[must_use]
    pub fn gave_up(&self) -> bool {
        self.gave_up.load(Ordering::Relaxed)
    }

    /// Whether ends of entries are still listened to.
    #[must_use]
    pub fn reliable(&self) -> bool {
        self.reliable && !self.gave_up()
    }

    /// Whether the kernel's table was read since the last loss.
    #[must_use]
    pub fn resynced(&self) -> bool {
        self.covered.load(Ordering::Relaxed) == self.missed()
    }

    /// What it has come to so far.
    #[must_use]
    pub fn report(&self) -> Report {
        let queues = self.sockets.iter().try_fold((0, 0), |sum, socket| {
            let memory = memory(&socket.fd).ok()?;
            Some((
                sum.0 + u64::from(memory.limit_bytes),
                sum.1 + u64::from(memory.queued_bytes),
            ))
        });
        Report {
            resyncs: self.resyncs.load(Ordering::Relaxed),
            queues,
        }
    }

    /// What keeps the recovery from working, if anything did last.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        self.failure.lock().clone()
    }

    /// Stops the delivery of events to all sockets.
    ///
    /// # Errors
    ///
    /// Those of setsockopt(2).
    pub fn cut_off(&self) -> io::Result<()> {
        self.sockets
            .iter()
            .try_for_each(|socket| tuning::cut_off(&socket.fd))
    }
}

/// A number below /proc/sys/net/netfilter (nf_conntrack-sysctl in the kernel's documentation).
#[must_use]
pub fn sysctl(name: &str) -> Option<u64> {
    std::fs::read_to_string(format!("/proc/sys/net/netfilter/{name}"))
        .ok()?
        .trim()
        .parse()
        .ok()
}
