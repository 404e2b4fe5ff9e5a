//! When flows were new: whether there are still more to come.

use crate::model::capture::Capture;
use crate::model::record::Record;
use crate::model::timestamp::Timestamp;
use crate::rules::general::days::Days;
use crate::rules::general::outlook::{DAYS_LEAST, Expected};

/// Microseconds of a day.
const DAY_US: u64 = 86_400_000_000;
/// Short captures are cut into so many slices.
const SLICES: usize = 24;
/// So many bars are drawn at most; days beyond that are drawn together.
const BARS: usize = 62;

/// A part of the time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// When it begins; of a day its middle.
    pub start: Option<Timestamp>,
    /// Flows that were first seen in it.
    pub new: u64,
    /// Flows that were seen by its end.
    pub known: u64,
}

/// The curve.
#[derive(Clone, Debug, PartialEq)]
pub struct Growth {
    /// The parts of the time, in their order.
    pub steps: Vec<Step>,
    /// Days that a part stands for; none if it is a slice of a short capture.
    pub days: Option<usize>,
    /// New flows to expect on the next day, where that can be told.
    pub expected: Option<Expected>,
}

impl Growth {
    /// That of flows that were answered. `None` if captures or flows have no times.
    pub fn new(
        captures: &[Capture],
        records: &[&Record],
        expected: Option<Expected>,
    ) -> Option<Self> {
        let answered = { records.iter() }.filter(|record| record.confirmed);
        let times: Vec<Option<Timestamp>> = answered.map(|record| record.first_seen).collect();
        if times.iter().all(Option::is_none) {
            return None;
        }
        let days = Days::new(captures);
        if days.count() >= DAYS_LEAST {
            // Days are counted back from the end of the captures: the middle of one lies on the date that people call it by.
            let starts = days.starts().into_iter().map(|start| {
                let middle = start?.us() + DAY_US / 2;
                Timestamp::from_us(middle)
            });
            let starts: Vec<_> = starts.collect();
            let at = times.into_iter().map(|time| usize::from(days.of(time)));
            let together = starts.len().div_ceil(BARS);
            let starts: Vec<_> = starts.into_iter().step_by(together).collect();
            return Some(Self {
                steps: steps(starts, at.map(|day| day / together)),
                days: Some(together),
                expected: expected.filter(|_| together == 1),
            });
        }
        let start = captures
            .iter()
            .filter_map(|capture| capture.start)
            .min()?
            .us();
        let end = captures
            .iter()
            .filter_map(|capture| capture.end)
            .max()?
            .us();
        let slice = end.checked_sub(start)?.div_ceil(SLICES as u64).max(1);
        let starts = (0..SLICES as u64).map(|slot| Timestamp::from_us(start + slot * slice));
        let at = times.into_iter().map(|time| {
            let since = time.map_or(0, |time| time.us().saturating_sub(start));
            usize::try_from(since / slice).map_or(SLICES - 1, |slot| slot.min(SLICES - 1))
        });
        Some(Self {
            steps: steps(starts.collect(), at),
            days: None,
            expected: None,
        })
    }
}

fn steps(starts: Vec<Option<Timestamp>>, at: impl Iterator<Item = usize>) -> Vec<Step> {
    let mut new = vec![0; starts.len()];
    for slot in at {
        new[slot.min(starts.len() - 1)] += 1;
    }
    let mut known = 0;
    let steps = starts.into_iter().zip(new).map(|(start, new)| {
        known += new;
        Step { start, new, known }
    });
    steps.collect()
}
