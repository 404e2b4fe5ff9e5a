//! Whether the captures are long enough: what the rules would have stopped, and what to expect.

use super::Decision;
use super::choice::{self, Climb, mean};
use super::ladder::{Ladder, Trial, View, WEEK};
use super::side::Level;
use crate::model::units::{counted, show_count};

/// Fewer days say nothing of tomorrow.
pub const DAYS_LEAST: u16 = 3;
/// On no more days than these rules are made to be tried.
const TRIED_MOST: u16 = 4;
/// With fewer days than this before it, a week is no test.
const BEFORE_WEEK: u16 = 3;

/// What rules of the same kind would have done, had they been made earlier, of what was known then.
#[derive(Clone, Debug, Default)]
pub struct Outlook {
    /// The number of days.
    pub days: u16,
    /// For each of some days, the earliest first: what rules made at its beginning would have stopped on it and on each day
    /// after it. Their rungs are those that would have been chosen then, so that no day judges a choice that it had a part
    /// in.
    pub tried: Vec<Vec<u32>>,
    /// The same if time went the other way, of less than a week.
    pub backward: Vec<Vec<u32>>,
    /// Flows a day to servers on the Internet that the rules name by address or block.
    pub named: f64,
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

/// The days that the mean is of: the first ones say how little was known then, not how much is new. Of few days as many as
/// there are, since one of them may be a Sunday.
pub fn span(days: u16) -> usize {
    let later = days.saturating_sub(3);
    let most = later.max(3).min(days.saturating_sub(1));
    usize::from(most).clamp(1, 7)
}

/// The days at whose beginnings rules are made to be tried on the days from then on: the later half, four at most.
pub fn tried_days(days: u16) -> std::ops::Range<u16> {
    if days < DAYS_LEAST {
        return 0..0;
    }
    days - (days / 2).min(TRIED_MOST)..days
}

/// Those, and the day a week ago before them if there is one.
pub fn view_days(days: u16) -> Vec<u16> {
    let week = has_week(days).then(|| days - 7);
    week.into_iter().chain(tried_days(days)).collect()
}

/// Whether there is a week to test rules with that were made before it.
pub const fn has_week(days: u16) -> bool {
    days >= 7 + BEFORE_WEEK
}

impl Expected {
    /// What some days make expect, on which rules were tried that were made at so many different times. A day to come differs
    /// from the mean as the days did among themselves, or as chance has it (Poisson) if that is more; the mean of few days
    /// is itself not known better than that. How different rules of one time are from those of another nothing tells, where
    /// they were made at one time only: then it counts as much as the mean, and less the more times there are.
    pub fn of(last: &[u32], times: usize) -> Self {
        let count = last.len().max(1) as f64;
        let mean = mean(last);
        let squares = last.iter().map(|&one| (f64::from(one) - mean).powi(2));
        let variance = (squares.sum::<f64>() / (count - 1.0).max(1.0))
            .max(mean)
            .max(mean * mean / times.max(1) as f64);
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
    /// That of services with as many flows a day stopped as may be; or of the lowest rung of each.
    pub fn of(
        ladders: &[Ladder<'_>],
        decisions: &[Decision],
        days: u16,
        most_a_day: Option<f64>,
    ) -> Self {
        let active = |since: u16| {
            let relations = ladders.iter().flat_map(|ladder| ladder.relations);
            relations.filter(|one| one.last >= since).count() as u64
        };
        let stopped = |view: &dyn for<'b> Fn(&'b Trial) -> &'b View| {
            let climbs: Vec<Climb> = { decisions.iter() }
                .map(|decision| Climb::at(&decision.trials, view))
                .collect();
            let at = match most_a_day {
                Some(most_a_day) => choice::choose(&climbs, most_a_day),
                None => vec![0; climbs.len()],
            };
            let mut sum: Vec<u32> = Vec::new();
            for ((decision, climb), at) in decisions.iter().zip(&climbs).zip(at) {
                let trial = match most_a_day {
                    Some(_) => climb.rungs[at],
                    None => 0,
                };
                let stopped = &view(&decision.trials[trial]).stopped;
                sum.resize(stopped.len(), 0);
                sum.iter_mut()
                    .zip(stopped)
                    .for_each(|(sum, one)| *sum += one);
            }
            sum
        };
        let of = |side: fn(&Trial) -> &Vec<View>| {
            let views = { decisions.first() }.map_or(0, |one| side(&one.trials[0]).len());
            let tried = (0..views).map(|at| stopped(&|trial: &Trial| &side(trial)[at]));
            tried.collect()
        };
        let mut tried: Vec<Vec<u32>> = of(|trial| &trial.views);
        let last_week = has_week(days).then(|| {
            let week = tried.remove(0);
            (
                week.iter().map(|one| u64::from(*one)).sum(),
                active(days - 7),
            )
        });
        Self {
            days,
            tried,
            backward: of(|trial| &trial.backward),
            named: named(ladders, decisions, most_a_day.is_some()) / f64::from(days.max(1)),
            last_day: active(days.saturating_sub(1)),
            last_week,
        }
    }

    /// What to expect; `None` if there are too few days to tell.
    pub fn expected(&self) -> Option<Expected> {
        let tried = self.tried.iter().chain(&self.backward).flatten();
        let tried: Vec<u32> = tried.copied().collect();
        let mut expected =
            (self.days >= DAYS_LEAST).then(|| Expected::of(&tried, self.tried.len()))?;
        // What has stood still for some days moves within a week by the rule of succession (Laplace) so likely. In a week,
        // enough of what moves at all has moved.
        if self.days < WEEK {
            let week = f64::from(WEEK);
            expected.most += self.named * week / (f64::from(self.days) + week + 1.0);
        }
        Some(expected)
    }

    /// All of it in sentences.
    pub fn sentences(&self) -> Vec<String> {
        let Some(expected) = self.expected() else {
            return vec![
                format!(
                    "Captures of {} can't tell what tomorrow brings: capture for three days at least; in a week, each day \
                     of the week has been seen once",
                    self.length()
                ),
                self.blind(),
            ];
        };
        let missed = self.tried.last().and_then(|days| days.first()).copied();
        let missed = missed.unwrap_or(0);
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
            "What comes less often than once in {} may not have been seen",
            self.length()
        );
        if self.days < 32 {
            text += ": jobs at the end of a month, for example";
        }
        text
    }

    /// How long the captures are, in words.
    fn length(&self) -> String {
        match self.days {
            0 => "less than a day".to_owned(),
            days => counted(u64::from(days), "day"),
        }
    }
}

/// Days of flows to servers on the Internet that rules name.
fn named(ladders: &[Ladder<'_>], decisions: &[Decision], is_chosen: bool) -> f64 {
    let services = ladders.iter().zip(decisions);
    let named = services.filter(|(ladder, decision)| {
        let trial = if is_chosen { decision.chosen } else { 0 };
        let rung = decision.trials[trial].rung;
        let step = &ladder.destinations.steps[rung.destinations];
        ladder.destinations.is_internet && step.level != Level::Zone
    });
    let relations = named.flat_map(|(ladder, _)| ladder.relations);
    relations
        .map(|one| f64::from(one.last - one.first) + 1.0)
        .sum()
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
        let expected = Expected::of(&[2, 3, 5, 2], 4);
        assert_eq!(expected.mean, 3.0);
        assert!(
            expected.least < 1.0 && (6.0..13.0).contains(&expected.most),
            "{expected:?}"
        );
        let nothing = Expected::of(&[0, 0, 0, 0], 4);
        assert_eq!((nothing.mean, nothing.least), (0.0, 0.0));
        assert!(nothing.most > 0.0);
        let wild = Expected::of(&[0, 100, 0, 0], 4);
        assert!(wild.most > 100.0);
        // Of one time nothing is known but that.
        assert!(Expected::of(&[20], 1).most > 80.0);
    }

    #[test]
    fn two_days_do_not_tell() {
        let outlook = Outlook {
            days: 2,
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
