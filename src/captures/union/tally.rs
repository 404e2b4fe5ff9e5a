//! How many connections several captures have seen together.
//!
//! Captures that ran on one host at the same time have seen the same connections, so only those that don't
//! overlap may be added. Of a host's captures the greatest sum over any that don't is taken; this never
//! counts a connection twice, and does not depend on the order in which captures come.

use crate::model::capture::Capture;
use crate::model::listing::Part;
use crate::model::timestamp::Timestamp;
use crate::model::usage::Usage;

/// What is to be known of the captures to add up connections.
#[derive(Debug)]
pub struct Tally {
    /// By number of capture.
    spans: Vec<Span>,
}

/// When and where a capture was taken.
#[derive(Clone, Copy, Debug)]
struct Span {
    /// Number of the host; captures of unknown hosts share one.
    host: u32,
    /// Start and end. Without both, it may overlap with any other of its host.
    time: Option<(Timestamp, Timestamp)>,
}

impl Tally {
    /// For these captures.
    pub fn new(captures: &[Capture]) -> Self {
        let mut hosts: Vec<&Option<String>> = captures.iter().map(|one| &one.host).collect();
        hosts.sort_unstable();
        hosts.dedup();
        let spans = captures.iter().map(|capture| Span {
            host: hosts.binary_search(&&capture.host).unwrap_or_default() as u32,
            time: match (&capture.host, capture.start, capture.end) {
                (Some(_), Some(start), Some(end)) if start <= end => Some((start, end)),
                _ => None,
            },
        });
        Self {
            spans: spans.collect(),
        }
    }

    /// Connections of a flow, given what each capture has seen of it.
    pub fn connections(&self, parts: &[Part]) -> u64 {
        self.sum(parts, |seen| seen.connections, u64::saturating_add)
    }

    /// What its ended connections have carried, if any capture knows it. The most connections are taken here too.
    pub fn usage(&self, parts: &[Part]) -> Option<Usage> {
        let usage = |seen: &Part| seen.usage.as_deref().copied();
        parts
            .iter()
            .any(|seen| seen.usage.is_some())
            .then(|| self.sum(parts, |seen| usage(seen).unwrap_or_default(), Usage::and))
    }

    /// The greatest sum that counts nothing twice. Adding the same to two sums must not turn their order round.
    fn sum<T: Copy + Default + Ord>(
        &self,
        parts: &[Part],
        of: impl Fn(&Part) -> T,
        add: fn(T, T) -> T,
    ) -> T {
        let mut parts: Vec<(Span, T)> = parts
            .iter()
            .map(|seen| (self.spans[seen.capture as usize], of(seen)))
            .collect();
        parts.sort_unstable_by_key(|(span, _)| (span.host, span.time.map(|(_, end)| end)));
        parts
            .chunk_by(|(one, _), (other, _)| one.host == other.host)
            .map(|parts| of_host(parts, add))
            .fold(T::default(), add)
    }
}

/// The greatest sum over captures of one host that don't overlap, by the usual recurrence over
/// captures in the order of their ends.
fn of_host<T: Copy + Default + Ord>(parts: &[(Span, T)], add: fn(T, T) -> T) -> T {
    let mut alone = T::default();
    // The end of a capture, and the best sum of those that end by then.
    let mut best: Vec<(Timestamp, T)> = Vec::with_capacity(parts.len());
    for &(span, seen) in parts {
        let Some((start, end)) = span.time else {
            alone = alone.max(seen);
            continue;
        };
        // Captures that meet in one microsecond may share a connection.
        let before = best.partition_point(|&(end, _)| end < start);
        let before = before
            .checked_sub(1)
            .map_or_else(T::default, |last| best[last].1);
        let with = add(before, seen);
        let without = best.last().map_or_else(T::default, |&(_, sum)| sum);
        best.push((end, with.max(without)));
    }
    let last = best.last().map_or_else(T::default, |&(_, sum)| sum);
    last.max(alone)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capture(host: Option<&str>, span: Option<(u64, u64)>) -> Capture {
        Capture {
            host: host.map(str::to_owned),
            start: span.and_then(|(start, _)| Timestamp::from_us(start)),
            end: span.and_then(|(_, end)| Timestamp::from_us(end)),
            ..Capture::default()
        }
    }

    fn total(captures: &[(Capture, u64)]) -> u64 {
        let tally = Tally::new(
            &captures
                .iter()
                .map(|(one, _)| one.clone())
                .collect::<Vec<_>>(),
        );
        let connections = captures.iter().map(|(_, connections)| *connections);
        let parts: Vec<Part> = { (0..).zip(connections) }
            .map(|(capture, connections)| Part::new(capture, connections))
            .collect();
        tally.connections(&parts)
    }

    #[test]
    fn only_what_does_not_overlap_adds_up() {
        let a = |start, end, connections| (capture(Some("a"), Some((start, end))), connections);
        assert_eq!(total(&[a(1, 9, 4)]), 4);
        assert_eq!(total(&[a(1, 9, 4), a(10, 19, 5)]), 9);
        assert_eq!(total(&[a(1, 10, 4), a(10, 19, 5)]), 5);
        assert_eq!(total(&[a(1, 9, 4), a(5, 15, 5), a(10, 19, 3)]), 7);
        assert_eq!(total(&[a(1, 9, 4), a(5, 15, 9), a(10, 19, 3)]), 9);
        let elsewhere = (capture(Some("b"), Some((1, 9))), 100);
        assert_eq!(total(&[a(1, 9, 4), elsewhere, a(1, 8, 3)]), 104);
    }

    #[test]
    fn what_is_not_known_to_be_apart_overlaps() {
        let unknown = (capture(None, Some((1, 2))), 4);
        let later = (capture(None, Some((3, 4))), 5);
        assert_eq!(total(&[unknown, later.clone()]), 5);
        let timeless = (capture(Some("a"), None), 7);
        let backwards = (capture(Some("a"), Some((9, 1))), 8);
        let timed = (capture(Some("a"), Some((1, 9))), 3);
        assert_eq!(total(&[timeless, backwards, timed, later]), 8 + 5);
    }

    #[test]
    fn any_choice_of_captures_is_no_better() {
        // Every set of four spans over six moments, against trying all choices.
        let spans: Vec<(u64, u64)> = (1..6).flat_map(|a| (a..6).map(move |b| (a, b))).collect();
        for seed in 0..3000_usize {
            let pick = |i: usize| spans[(seed * 7919 + i * 104_729 + seed / 3 * i) % spans.len()];
            let chosen: Vec<((u64, u64), u64)> = (0..4)
                .map(|i| (pick(i), 1 + ((seed >> i) % 5) as u64))
                .collect();
            let captures: Vec<(Capture, u64)> = chosen
                .iter()
                .map(|&(span, n)| (capture(Some("a"), Some(span)), n))
                .collect();
            let apart = |a: (u64, u64), b: (u64, u64)| a.1 < b.0 || b.1 < a.0;
            let best = (0..16_u32)
                .filter_map(|set| {
                    let set: Vec<_> = (0..4).filter(|i| set >> i & 1 == 1).collect();
                    let valid = set.iter().all(|&i| {
                        set.iter()
                            .all(|&j| i == j || apart(chosen[i].0, chosen[j].0))
                    });
                    valid.then(|| set.iter().map(|&i| chosen[i].1).sum::<u64>())
                })
                .max();
            assert_eq!(Some(total(&captures)), best, "{chosen:?}");
        }
    }
}
