//! How often a flow comes, as far as captures tell, and which flows are overdue.
//!
//! Captures tell when a flow was first and last seen and how many connections it had, so the mean of the times between
//! them, and not how they are spread. What is claimed is therefore the longest silence that the captures can stand for.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use crate::model::capture::Capture;
use crate::model::listing::Flow;
use crate::model::record::{Identity, Record};
use crate::model::timestamp::Timestamp;

/// So many connections it takes to call something usual.
const CONNECTIONS_MIN: u64 = 4;
/// A flow is overdue after so many of its usual gaps.
const FACTOR: u64 = 3;
/// No flow is overdue before this.
const OVERDUE_MIN_US: u64 = 10_000_000;

/// How often a flow comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The time between two connections of it.
    pub usual_us: u64,
    /// The flow as the captures have it.
    pub record: Record,
}

impl Gap {
    /// When it is overdue that was last seen at a time.
    const fn due_us(&self, last_us: u64) -> u64 {
        last_us.saturating_add(wait_us(self.usual_us))
    }

    /// The time between two connections.
    pub const fn usual(&self) -> Duration {
        Duration::from_micros(self.usual_us)
    }
}

/// After which silence a flow is overdue.
const fn wait_us(usual_us: u64) -> u64 {
    let wait = usual_us.saturating_mul(FACTOR);
    if wait < OVERDUE_MIN_US {
        OVERDUE_MIN_US
    } else {
        wait
    }
}

/// The captures that saw a flow.
pub fn seen_in<'a>(flow: &'a Flow, captures: &'a [Capture]) -> impl Iterator<Item = &'a Capture> {
    let only = captures
        .first()
        .filter(|_| flow.seen_in.is_empty() && captures.len() == 1);
    let several = { flow.seen_in.iter() }.filter_map(|part| captures.get(part.capture as usize));
    only.into_iter().chain(several)
}

/// The usual gap of a flow: the mean time between two connections, or the longest silence that is known to be longer. None
/// where that can't be known, as where captures were too short to show the silence after which it would be overdue.
pub fn usual(flow: &Flow, captures: &[Capture]) -> Option<Gap> {
    let record = &flow.record;
    let (first, last) = (record.first_seen?.us(), record.last_seen?.us());
    if record.connections < CONNECTIONS_MIN || last <= first {
        return None;
    }
    let mut usual_us = (last - first) / (record.connections - 1);
    let (mut from, mut to) = (u64::MAX, 0);
    for capture in seen_in(flow, captures) {
        from = from.min(capture.start?.us());
        to = to.max(capture.end?.us());
    }
    usual_us = usual_us.max(first.saturating_sub(from));
    usual_us = usual_us.max(to.saturating_sub(last));
    // It did not come at all while these ran.
    for (number, capture) in (0..).zip(captures) {
        let saw = captures.len() == 1 || { flow.seen_in.iter() }.any(|part| part.capture == number);
        // Lines that stand for themselves say of no time that nothing else came in it.
        if !saw && *capture != Capture::default() {
            let (start, end) = (capture.start?.us(), capture.end?.us());
            usual_us = usual_us.max(end.saturating_sub(start));
            from = from.min(start);
            to = to.max(end);
        }
    }
    (wait_us(usual_us) <= to.saturating_sub(from)).then(|| Gap {
        usual_us,
        record: record.clone(),
    })
}

/// The flows whose coming is watched.
#[derive(Debug, Default)]
pub struct Expected {
    flows: Vec<Awaited>,
    /// When flows are to be looked at next, by number.
    due: BinaryHeap<Reverse<(u64, usize)>>,
}

/// A flow whose coming is watched.
#[derive(Debug)]
pub struct Awaited {
    /// How often it comes.
    pub gap: Gap,
    /// When it was last seen, or the beginning.
    last_us: u64,
    /// Whether it was seen since the beginning.
    seen: bool,
    /// Whether it has been told that it is overdue.
    told: bool,
}

impl Awaited {
    /// When it was last seen: before the beginning by the captures.
    pub fn last_seen(&self) -> Option<Timestamp> {
        if self.seen {
            Timestamp::from_us(self.last_us)
        } else {
            self.gap.record.last_seen
        }
    }

    /// Takes note of when it was seen.
    fn see(&mut self, at_us: u64) {
        if at_us > self.last_us {
            self.last_us = at_us;
            self.seen = true;
            self.told = false;
        }
    }
}

impl Expected {
    /// These, from a time on.
    pub fn new<'a>(gaps: impl Iterator<Item = &'a Gap>, now: Timestamp) -> Self {
        let mut expected = Self::default();
        for (at, gap) in gaps.enumerate() {
            let last_us = now.us();
            expected.due.push(Reverse((gap.due_us(last_us), at)));
            expected.flows.push(Awaited {
                gap: gap.clone(),
                last_us,
                seen: false,
                told: false,
            });
        }
        expected
    }

    /// Number of flows.
    pub fn len(&self) -> usize {
        self.flows.len()
    }

    /// The flows that are overdue by what `seen` tells of each, which is when it was last seen.
    pub fn overdue(
        &mut self,
        now: Timestamp,
        mut seen: impl FnMut(&Identity) -> Option<Timestamp>,
    ) -> Vec<usize> {
        let mut overdue = Vec::new();
        while let Some(&Reverse((due, at))) = self.due.peek() {
            if due > now.us() {
                break;
            }
            self.due.pop();
            let flow = &mut self.flows[at];
            if let Some(seen) = seen(&flow.gap.record.identity) {
                flow.see(seen.us());
            }
            let due = flow.gap.due_us(flow.last_us);
            if due > now.us() {
                self.due.push(Reverse((due, at)));
            } else if flow.told {
                // Looked at again for whether it has come.
                let again = flow.gap.due_us(now.us());
                self.due.push(Reverse((again, at)));
            } else {
                overdue.push(at);
            }
        }
        overdue
    }

    /// Settles what [`overdue`](Self::overdue) gave: a flow that was seen after all is not overdue. Returns the flow if it is,
    /// which is told once.
    pub fn settle(
        &mut self,
        at: usize,
        seen: Option<Timestamp>,
        now: Timestamp,
    ) -> Option<&Awaited> {
        let flow = &mut self.flows[at];
        if let Some(seen) = seen {
            flow.see(seen.us());
        }
        let is_overdue = flow.gap.due_us(flow.last_us) <= now.us();
        let due = flow
            .gap
            .due_us(if is_overdue { now.us() } else { flow.last_us });
        self.due.push(Reverse((due, at)));
        flow.told |= is_overdue;
        is_overdue.then_some(&self.flows[at])
    }

    /// Has those looked at again at a later time, that can't be settled now.
    pub fn postpone(&mut self, overdue: Vec<usize>, until: Timestamp) {
        { overdue.into_iter() }.for_each(|at| self.due.push(Reverse((until.us(), at))));
    }

    /// The identity of a flow.
    pub fn identity(&self, at: usize) -> &Identity {
        &self.flows[at].gap.record.identity
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::listing::Part;
    use crate::model::tuple::Tuple;

    const SECOND: u64 = 1_000_000;
    const DAY: u64 = 86_400 * SECOND;

    fn at(us: u64) -> Timestamp {
        Timestamp::from_us(us).unwrap()
    }

    fn capture(start: u64, end: u64) -> Capture {
        Capture {
            start: Timestamp::from_us(start),
            end: Timestamp::from_us(end),
            ..Capture::default()
        }
    }

    fn flow(connections: u64, first: u64, last: u64, seen_in: &[u32]) -> Flow {
        let tuple = Tuple::tcp("10.0.0.1", "10.0.0.2", 443);
        let mut record = Record::new(Identity::of(&tuple), true);
        record.connections = connections;
        record.first_seen = Timestamp::from_us(first);
        record.last_seen = Timestamp::from_us(last);
        Flow {
            record,
            seen_in: { seen_in.iter() }
                .map(|&number| Part::new(number, 1))
                .collect(),
        }
    }

    #[test]
    fn a_gap_is_claimed_as_far_as_captures_tell() {
        let day = [capture(DAY, 2 * DAY)];
        let usual =
            |flow: &Flow, captures: &[Capture]| usual(flow, captures).map(|gap| gap.usual_us);
        // All day long, each hour.
        let hourly = flow(24, DAY + 1800 * SECOND, 2 * DAY - 1800 * SECOND, &[]);
        assert_eq!(usual(&hourly, &day), Some(3600 * SECOND));
        // A burst at noon says nothing of a shorter gap than the rest of the day, and no day shows three of these.
        let noon = flow(1000, DAY + DAY / 2, DAY + DAY / 2 + SECOND, &[]);
        assert_eq!(usual(&noon, &day), None);
        assert_eq!(usual(&noon, &[capture(DAY, 9 * DAY)]), None);
        // A morning without it, and days in which that would show.
        let days = [
            capture(DAY, 2 * DAY),
            capture(5 * DAY, 5 * DAY + DAY / 4),
            capture(6 * DAY, 7 * DAY),
        ];
        let first = DAY + 1800 * SECOND;
        let mornings = flow(100, first, 7 * DAY - 1800 * SECOND, &[0, 2]);
        assert_eq!(usual(&mornings, &days), Some(DAY / 4));
        // In a capture of some seconds nothing is usual.
        let burst = flow(1000, DAY, DAY + SECOND, &[]);
        assert_eq!(usual(&burst, &[capture(DAY, DAY + 2 * SECOND)]), None);
        for unknown in [
            flow(3, DAY, DAY + SECOND, &[]),
            flow(9, 0, DAY, &[]),
            flow(9, DAY, DAY, &[]),
        ] {
            assert_eq!(usual(&unknown, &day), None, "{unknown:?}");
        }
        assert_eq!(usual(&hourly, &[capture(0, DAY)]), None);
        assert_eq!(usual(&hourly, &[]), None);
    }

    #[test]
    fn a_flow_is_overdue_once_until_it_comes_again() {
        let gap = Gap {
            usual_us: 100 * SECOND,
            record: flow(9, 1, 2, &[]).record,
        };
        let mut expected = Expected::new([gap].iter(), at(DAY));
        let never = |_: &Identity| None;
        assert!(expected.overdue(at(DAY + 299 * SECOND), never).is_empty());
        // Seen meanwhile.
        let seen = at(DAY + 200 * SECOND);
        let later = at(DAY + 301 * SECOND);
        assert!(expected.overdue(later, |_| Some(seen)).is_empty());
        let later = at(DAY + 501 * SECOND);
        assert_eq!(expected.overdue(later, |_| Some(seen)), [0]);
        // Not now, and then it is open still.
        let then = at(DAY + 510 * SECOND);
        expected.postpone(vec![0], then);
        assert!(expected.overdue(at(DAY + 509 * SECOND), never).is_empty());
        assert_eq!(expected.overdue(then, never), [0]);
        assert!(expected.settle(0, Some(then), then).is_none());
        let later = at(DAY + 811 * SECOND);
        assert_eq!(expected.overdue(later, never), [0]);
        let told = expected.settle(0, None, later).unwrap();
        assert_eq!(told.last_seen(), Some(then));
        assert!(expected.overdue(at(DAY * 2), never).is_empty());
        // It comes, and stays away again.
        let back = at(DAY * 2 + 400 * SECOND);
        assert!(expected.overdue(back, |_| Some(back)).is_empty());
        assert_eq!(expected.overdue(at(DAY * 3), never), [0]);
    }

    #[test]
    fn nothing_is_overdue_at_once() {
        let gap = Gap {
            usual_us: SECOND,
            record: flow(9, 1, 2, &[]).record,
        };
        assert_eq!(gap.due_us(DAY), DAY + 10 * SECOND);
    }
}
