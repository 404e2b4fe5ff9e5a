//! The time by which flows are forgotten: the system's clock, as far as it can be right.
//!
//! A clock that is set forward by a year makes everything a year old. Between two looks no more time can have passed
//! than the machine was up, which the kernel counts by itself (`CLOCK_BOOTTIME` of `clock_gettime(2)`).

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::model::timestamp::Timestamp;

/// Clocks are set by a little all the time.
const TOLERANCE: Duration = Duration::from_secs(60);

/// A clock that does not believe in leaps forward.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// A time, and how long the machine had been up then.
    base: (Timestamp, Duration),
    /// Since when the system's clock has been ahead of what is believed, by the machine's uptime.
    ahead_since: Option<Duration>,
    /// By how much it was at the last look.
    ahead: Duration,
    /// The same, if it was not told yet.
    leap: Option<Duration>,
}

impl Clock {
    /// A clock, given the last time that an earlier run knew of.
    pub fn start(last: Option<Timestamp>) -> Self {
        Self::at(Timestamp::now(), uptime(), last)
    }

    fn at(now: Timestamp, uptime: Duration, last: Option<Timestamp>) -> Self {
        let most = last.map(|last| later(last, uptime));
        Self {
            base: (most.map_or(now, |most| most.min(now)), uptime),
            ahead_since: None,
            ahead: Duration::ZERO,
            leap: None,
        }
    }

    /// By how much the system's clock was ahead of what is believed, at the last look.
    pub const fn ahead(&self) -> Duration {
        self.ahead
    }

    /// By how much the system's clock is ahead of what is believed, once for each leap.
    pub const fn take_leap(&mut self) -> Option<Duration> {
        self.leap.take()
    }

    /// The time now. What is older than `patience` is forgotten by it: a clock that has been ahead for that long was
    /// right, or makes no difference any more.
    pub fn now(&mut self, patience: Duration) -> Timestamp {
        self.look(Timestamp::now(), uptime(), patience)
    }

    fn look(&mut self, now: Timestamp, uptime: Duration, patience: Duration) -> Timestamp {
        let (base, since) = self.base;
        let most = later(base, uptime.saturating_sub(since).saturating_add(TOLERANCE));
        if now <= most {
            // Back too: what is stamped while the clock is behind would be old at once when it is set forth again.
            self.base = (now, uptime);
            self.ahead_since = None;
            self.ahead = Duration::ZERO;
            return now;
        }
        let first = self.ahead_since.is_none();
        let ahead_since = *self.ahead_since.get_or_insert(uptime);
        if uptime.saturating_sub(ahead_since) >= patience {
            self.base = (now, uptime);
            self.ahead_since = None;
            self.ahead = Duration::ZERO;
            return now;
        }
        self.ahead = Duration::from_micros(now.us() - most.us());
        if first {
            self.leap = Some(self.ahead);
        }
        most
    }
}

/// How long the machine has been up, sleep included.
pub fn uptime() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    Duration::try_from(time).unwrap_or_default()
}

/// A time so much earlier, if there is one.
pub fn earlier(time: Timestamp, by: Duration) -> Option<Timestamp> {
    let by = u64::try_from(by.as_micros()).ok()?;
    Timestamp::from_us(time.us().checked_sub(by)?)
}

/// A time so much later.
pub fn later(time: Timestamp, by: Duration) -> Timestamp {
    let by = u64::try_from(by.as_micros()).unwrap_or(u64::MAX);
    Timestamp::from_us(time.us().saturating_add(by)).unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400;
    const YEAR: u64 = 365 * DAY;
    const PATIENCE: Duration = Duration::from_secs(30 * DAY);

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_us((1_700_000_000 + seconds) * 1_000_000).unwrap()
    }

    fn up(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_clock_that_goes_right_is_believed() {
        let mut clock = Clock::at(at(0), up(100), None);
        for day in 1..100 {
            let now = clock.look(at(day * DAY), up(100 + day * DAY), PATIENCE);
            assert_eq!(now, at(day * DAY));
        }
    }

    #[test]
    fn a_clock_that_is_set_back_and_forth_makes_nothing_old() {
        let mut clock = Clock::at(at(DAY), up(100), None);
        assert_eq!(clock.look(at(0), up(110), PATIENCE), at(0));
        // What is stamped now is no day old a moment later.
        assert_eq!(clock.look(at(DAY), up(120), PATIENCE), at(70));
        assert!(clock.take_leap().is_some());
        let now = clock.look(at(32 * DAY), up(120 + 31 * DAY), PATIENCE);
        assert_eq!(now, at(32 * DAY));
    }

    #[test]
    fn a_leap_is_told_once_and_believed_when_it_has_lasted() {
        let mut clock = Clock::at(at(0), up(100), None);
        assert_eq!(clock.look(at(YEAR), up(200), PATIENCE), at(160));
        assert!(clock.take_leap().is_some());
        clock.look(at(YEAR + 100), up(300), PATIENCE);
        assert_eq!(clock.take_leap(), None);
        // Back again: as if nothing had been.
        assert_eq!(clock.look(at(300), up(400), PATIENCE), at(300));
        // Ahead for good: a clock that was wrong at first.
        clock.look(at(YEAR), up(1000), PATIENCE);
        let now = clock.look(at(YEAR + 31 * DAY), up(1000 + 31 * DAY), PATIENCE);
        assert_eq!(now, at(YEAR + 31 * DAY));
    }

    #[test]
    fn between_two_runs_no_more_time_passes_than_the_machine_was_up() {
        let mut clock = Clock::at(at(YEAR), up(500), Some(at(0)));
        assert_eq!(clock.look(at(YEAR), up(500), PATIENCE), at(560));
        let mut clock = Clock::at(at(400), up(500), Some(at(0)));
        assert_eq!(clock.look(at(400), up(500), PATIENCE), at(400));
    }
}
