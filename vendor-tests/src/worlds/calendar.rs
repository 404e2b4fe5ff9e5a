//! Which date a day of a world is.

use std::time::{Duration, SystemTime};

const DAY: u64 = 86_400;
/// 2026-01-01, in days since 1970.
const NEW_YEAR: u64 = 20_454;

/// Dates of days, counted from the first day of the capture.
#[derive(Clone, Copy, Debug)]
pub struct Calendar {
    first: u64,
}

impl Calendar {
    /// One whose first day the seed decides.
    pub const fn new(seed: u64) -> Self {
        Self {
            first: NEW_YEAR + seed * 11 % 300,
        }
    }

    /// One in which a month ends after so many days of capture, and not before.
    ///
    /// Panics: if the capture is as long as a month.
    pub fn before_month_end(seed: u64, captured: u32) -> Self {
        assert!(captured < 25, "a month would end during the capture");
        let mut calendar = Self::new(seed);
        while !calendar.is_last_of_month(captured + 2) {
            calendar.first += 1;
        }
        calendar
    }

    /// Saturday or Sunday.
    pub const fn is_weekend(&self, day: u32) -> bool {
        // 1970-01-01 was a Thursday.
        (self.first + day as u64 + 3) % 7 >= 5
    }

    /// Whether a month ends with this day.
    pub fn is_last_of_month(&self, day: u32) -> bool {
        self.time(day + 1, 0.0)[..10].ends_with("-01")
    }

    /// A time of a day in the captures' form.
    pub fn time(&self, day: u32, seconds: f64) -> String {
        let begin = Duration::from_secs((self.first + u64::from(day)) * DAY);
        let time = SystemTime::UNIX_EPOCH + begin + Duration::from_secs_f64(seconds);
        humantime::format_rfc3339_micros(time).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        let calendar = Calendar::new(0);
        assert_eq!(calendar.time(30, 0.5), "2026-01-31T00:00:00.500000Z");
        assert!(calendar.is_last_of_month(30) && !calendar.is_last_of_month(29));
        // 2026-01-03 was a Saturday.
        let weekend = [1, 2, 3, 4].map(|day| calendar.is_weekend(day));
        assert_eq!(weekend, [false, true, true, false]);
        let calendar = Calendar::before_month_end(3, 7);
        let ends: Vec<u32> = (0..14)
            .filter(|day| calendar.is_last_of_month(*day))
            .collect();
        assert_eq!(ends, [9]);
    }
}
