//! The days of the captures: what a hold-out counts in.

use crate::model::capture::Capture;
use crate::model::timestamp::Timestamp;

/// Microseconds of a day.
const DAY_US: u64 = 86_400_000_000;

/// Spans of 24 hours, counted back from the end of the captures, of which those count in which somebody listened for at
/// least half of the time. So the last day is always whole, and the times at which nobody listened are no days without
/// anything new.
#[derive(Clone, Debug, Default)]
pub struct Days {
    end_us: u64,
    /// For each span back from the end, the latest first: which day it is, or the one after it where it is none.
    days: Vec<u16>,
    count: u16,
}

impl Days {
    /// The most spans that are looked at: ten years. What is older counts as the first day.
    const MOST: u64 = 3660;

    /// The days of some captures; none if the captures have no times.
    pub fn new(captures: &[Capture]) -> Self {
        let spans = captures.iter().filter_map(|capture| {
            let (start, end) = (capture.start?.us(), capture.end?.us());
            (start < end).then_some((start, end))
        });
        let mut spans: Vec<(u64, u64)> = spans.collect();
        spans.sort_unstable();
        let mut merged: Vec<(u64, u64)> = Vec::new();
        for (start, end) in spans {
            match merged.last_mut() {
                Some(last) if start <= last.1 => last.1 = last.1.max(end),
                _ => merged.push((start, end)),
            }
        }
        let (Some(first), Some(last)) = (merged.first(), merged.last()) else {
            return Self::default();
        };
        let end_us = last.1;
        let windows = (end_us - first.0).div_ceil(DAY_US).min(Self::MOST);
        let listened = (0..windows).map(|back| {
            let to = end_us - back * DAY_US;
            let from = to.saturating_sub(DAY_US);
            let within = merged
                .iter()
                .map(|(start, end)| (*end).min(to).saturating_sub((*start).max(from)));
            within.sum::<u64>() >= DAY_US / 2
        });
        let listened: Vec<bool> = listened.collect();
        let count = listened.iter().filter(|listened| **listened).count() as u16;
        let mut left = count;
        let days = listened.iter().map(|listened| {
            left -= u16::from(*listened);
            if *listened {
                left
            } else {
                left.min(count.saturating_sub(1))
            }
        });
        Self {
            end_us,
            days: days.collect(),
            count,
        }
    }

    /// When each of them began, the earliest first.
    pub fn starts(&self) -> Vec<Option<Timestamp>> {
        let mut starts = vec![None; usize::from(self.count)];
        for (back, day) in (0..).zip(&self.days) {
            // A span in which nobody listened has the number of the day after it, which is found first.
            if let Some(start @ None) = starts.get_mut(usize::from(*day)) {
                let before: u64 = (back + 1) * DAY_US;
                *start = Timestamp::from_us(self.end_us.saturating_sub(before));
            }
        }
        starts
    }

    /// How many there are.
    pub const fn count(&self) -> u16 {
        self.count
    }

    /// The day of a time, from 0. What is not known counts as the first day, on which nothing is a surprise.
    pub fn of(&self, time: Option<Timestamp>) -> u16 {
        let Some(time) = time else { return 0 };
        let back = self.end_us.saturating_sub(time.us()) / DAY_US;
        let day = usize::try_from(back)
            .ok()
            .and_then(|back| self.days.get(back));
        day.copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(hours: u64) -> Option<Timestamp> {
        Timestamp::from_us(1 + hours * 3_600_000_000)
    }

    fn capture(start: u64, end: u64) -> Capture {
        Capture {
            start: time(start),
            end: time(end),
            ..Capture::default()
        }
    }

    #[test]
    fn days_are_those_in_which_somebody_listened() {
        // Two days, two in which nobody listened, and another one; then what is left of a day.
        let days = Days::new(&[capture(0, 48), capture(96, 120)]);
        assert_eq!(days.count(), 3);
        let of: Vec<u16> = [1, 23, 25, 47, 97, 119, 120]
            .map(|hours| days.of(time(hours)))
            .to_vec();
        assert_eq!(of, [0, 0, 1, 1, 2, 2, 2]);
        assert_eq!(days.of(None), 0);
        assert_eq!(days.starts(), [time(0), time(24), time(96)]);
        assert_eq!(Days::new(&[capture(0, 11)]).count(), 0);
        assert_eq!(Days::new(&[capture(0, 23)]).count(), 1);
        assert_eq!(Days::new(&[capture(0, 35)]).count(), 1);
        assert_eq!(Days::new(&[]).count(), 0);
    }
}
