//! Whether the captures are long enough: what the rules would have stopped, and what to expect.

use super::choice::mean;
use crate::model::units::show_count;
use crate::rules::text::counted;

/// Fewer days say nothing of tomorrow.
pub const DAYS_LEAST: u16 = 3;
/// With fewer days than this before it, a week is no test.
const BEFORE_WEEK: u16 = 3;

/// What rules of the same kind would have done, had they been made earlier.
#[derive(Clone, Debug, Default)]
pub struct Outlook {
    /// The number of days.
    pub days: u16,
    /// Flows that would have been stopped, by day, by rules made at its beginning.
    pub missed: Vec<u32>,
    /// The same as far as it says something of the days to come ([`Trial::ahead`]).
    ///
    /// [`Trial::ahead`]: super::ladder::Trial::ahead
    pub ahead: Vec<u32>,
    /// Flows that were seen on the last day.
    pub last_day: u64,
    /// Flows of the last week that rules made before it would have stopped, and all that were seen in it.
    pub last_week: Option<(u64, u64)>,
}

/// How many flows a day are expected, with the bounds that nine of ten days should stay within.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Expected {
    /// The mean of what is expected to be stopped in a day.
    pub mean: f64,
    /// The lower bound.
    pub least: f64,
    /// The upper bound.
    pub most: f64,
}

/// The days that the mean is of: the first ones say how little was known then, not how much is new.
pub fn span(days: u16) -> usize {
    usize::from(days.saturating_sub(3)).clamp(1, 7)
}

/// Whether there is a week to test rules with that were made before it.
pub const fn has_week(days: u16) -> bool {
    days >= 7 + BEFORE_WEEK
}

impl Expected {
    /// What the last days make expect. A day to come differs from the mean as the days did among themselves, or as chance
    /// has it (Poisson) if that is more; the mean of few days is itself not known better than that.
    pub fn of(missed: &[u32], span: usize) -> Self {
        let last = &missed[missed.len().saturating_sub(span)..];
        let count = last.len().max(1) as f64;
        let mean = mean(missed, span);
        let squares = last.iter().map(|&one| (f64::from(one) - mean).powi(2));
        let variance = (squares.sum::<f64>() / (count - 1.0).max(1.0)).max(mean);
        let reach = 2.5 * (variance * (1.0 + 1.0 / count)).sqrt();
        let seen = || last.iter().map(|&one| f64::from(one));
        Self {
            mean,
            least: (mean - reach - 0.5)
                .min(seen().fold(mean, f64::min))
                .max(0.0),
            // New hosts bring several flows at once, so that even where none came, three on a day are no surprise.
            most: (mean + reach + 3.0).max(seen().fold(mean, f64::max)),
        }
    }
}

impl Outlook {
    /// What to expect; `None` if there are too few days to tell.
    pub fn expected(&self) -> Option<Expected> {
        (self.days >= DAYS_LEAST).then(|| Expected::of(&self.ahead, span(self.days)))
    }

    /// All of it in sentences.
    pub fn sentences(&self) -> Vec<String> {
        let Some(expected) = self.expected() else {
            return vec![
                format!(
                    "Captures of {} can't tell what tomorrow brings: that takes three days at least, and a week has all \
                     of its days",
                    counted(u64::from(self.days), "day")
                ),
                self.blind(),
            ];
        };
        let missed = self.missed.last().copied().unwrap_or(0);
        let mut past = format!(
            "Had these rules been made a day ago, they would have stopped {} of {} since",
            show_count(u64::from(missed)),
            counted(self.last_day, "flow")
        );
        if let Some((missed, all)) = self.last_week {
            past += &format!(
                "; a week ago, {} of {}",
                show_count(missed),
                counted(all, "flow")
            );
        }
        past += &format!(
            "; expect about {} a day ({} to {})",
            about(expected.mean),
            expected.least.floor(),
            expected.most.ceil()
        );
        vec![past, self.blind()]
    }

    fn blind(&self) -> String {
        let mut text = format!(
            "Blind to what comes less often than the capture is long, {}",
            counted(u64::from(self.days), "day")
        );
        if self.days < 32 {
            text += ": jobs at the end of a month, for example";
        }
        text
    }
}

fn about(mean: f64) -> String {
    if mean < 10.0 {
        format!("{mean:.1}")
    } else {
        format!("{mean:.0}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_expected_lies_around_the_last_days() {
        let expected = Expected::of(&[0, 900, 40, 2, 3, 5, 2], span(7));
        assert_eq!(expected.mean, 3.0);
        assert!(
            expected.least < 1.0 && (6.0..13.0).contains(&expected.most),
            "{expected:?}"
        );
        let nothing = Expected::of(&[0, 0, 0, 0, 0, 0, 0], span(7));
        assert_eq!((nothing.mean, nothing.least), (0.0, 0.0));
        assert!(nothing.most > 0.0);
        let wild = Expected::of(&[0, 9, 0, 0, 100, 0, 0], span(7));
        assert!(wild.most > 100.0);
    }

    #[test]
    fn two_days_do_not_tell() {
        let outlook = Outlook {
            days: 2,
            missed: vec![0, 1],
            ..Outlook::default()
        };
        assert_eq!(outlook.expected(), None);
        let text = outlook.sentences().join(". ");
        assert!(
            text.contains("2 days can't tell") && text.contains("end of a month"),
            "{text}"
        );
    }
}
