//! Pacing of a stream.

use std::time::{Duration, Instant};

/// How far apart the batches of a paced stream are, at most. Short against a listener's naps, long against a
/// timer's jitter.
const TICK: Duration = Duration::from_millis(2);

/// Spreads events evenly: the schedule is kept from the start of the stream, so a late batch delays no other.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    start: Instant,
    events_per_s: f64,
}

impl Pace {
    /// A pace of `events_per_s` from now on; 0 is no limit.
    pub fn start(events_per_s: f64) -> Self {
        Self {
            start: Instant::now(),
            events_per_s,
        }
    }

    /// The number of events to send at once: what falls due in one tick, at most `capacity`.
    pub fn batch(events_per_s: f64, capacity: usize) -> usize {
        if events_per_s <= 0.0 {
            return capacity;
        }
        ((events_per_s * TICK.as_secs_f64()) as usize).clamp(1, capacity)
    }

    /// Sleeps until event number `number` is due, in slices of 100 ms as long as `go_on` says so.
    pub fn wait(&self, number: u64, go_on: impl Fn() -> bool) {
        if self.events_per_s <= 0.0 {
            return;
        }
        let due = self.start + Duration::from_secs_f64(number as f64 / self.events_per_s);
        while go_on() {
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            std::thread::sleep(left.min(Duration::from_millis(100)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_fit_the_rate() {
        assert_eq!(Pace::batch(0.0, 128), 128);
        assert_eq!(Pace::batch(10.0, 128), 1);
        assert_eq!(Pace::batch(20_000.0, 128), 40);
        assert_eq!(Pace::batch(1e9, 128), 128);
    }

    #[test]
    fn waits_until_due_and_no_longer_than_wanted() {
        let pace = Pace::start(1000.0);
        pace.wait(20, || true);
        assert!(pace.start.elapsed() >= Duration::from_millis(20));
        pace.wait(1_000_000, || false);
        Pace::start(0.0).wait(1_000_000, || true);
        assert!(pace.start.elapsed() < Duration::from_secs(10));
    }
}
