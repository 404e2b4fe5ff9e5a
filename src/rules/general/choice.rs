//! Which rung each service gets: the narrowest ones that together are expected to stop no more flows a day than asked for.
//!
//! All services begin at the bottom. As long as more flows are expected to be stopped than may be, the service climbs whose
//! step saves most for what it opens: flows a day, by how many times more pairs of addresses are admitted then (in powers of
//! two). In the end, steps are taken back that turn out not to be needed. Services share the flows that may be stopped.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use super::ladder::{Rung, Trial, View};

/// A step that saves less than such a part of what may be stopped is not worth taking.
const WORTH: f64 = 0.02;

/// The rungs of a service that are worth a thought, the narrowest first: each of the others is wider than one of these and
/// stops as much.
#[derive(Clone, Debug)]
pub struct Climb {
    /// Indices of the trials.
    pub rungs: Vec<usize>,
    /// Flows a day that each is expected to stop.
    missed: Vec<f64>,
    /// Binary logarithm of the pairs that each admits.
    bits: Vec<f64>,
}

impl Climb {
    /// Those of the trials of a service, by the mean of its last days.
    pub fn new(trials: &[Trial]) -> Self {
        Self::by(trials, |trial| mean(&trial.recent))
    }

    /// Those that would have been it as one of the views was.
    pub fn at(trials: &[Trial], view: impl Fn(&Trial) -> &View) -> Self {
        Self::by(trials, |trial| mean(&view(trial).ahead))
    }

    fn by(trials: &[Trial], mean_of: impl Fn(&Trial) -> f64) -> Self {
        let mut order: Vec<usize> = (0..trials.len()).collect();
        order.sort_by(|&one, &other| {
            let (a, b) = (&trials[one], &trials[other]);
            a.admitted.total_cmp(&b.admitted).then(one.cmp(&other))
        });
        let mut climb = Self {
            rungs: Vec::new(),
            missed: Vec::new(),
            bits: Vec::new(),
        };
        let means: Vec<f64> = { trials.iter() }.map(mean_of).collect();
        for index in order {
            let missed = means[index];
            // Where a wider rung does as well in a few words, many blocks are no rung.
            let is_short = |other: &usize| !trials[*other].is_long && means[*other] <= missed;
            if trials[index].is_long && (0..trials.len()).any(|other| is_short(&other)) {
                continue;
            }
            // Addresses that come and go are no rung where their network does as well.
            let lasts = |at: usize| {
                let other = &trials[at];
                let (one, other_rung) = (trials[index].rung, other.rung);
                !other.is_fleeting
                    && !other.is_long
                    && other_rung.sources >= one.sources
                    && other_rung.destinations >= one.destinations
                    && (other_rung.sources == one.sources
                        || other_rung.destinations == one.destinations
                        || one == Rung::default())
                    && (means[at] < missed || trials[index].is_passing && means[at] <= missed)
            };
            if trials[index].is_fleeting && (0..trials.len()).any(lasts) {
                continue;
            }
            if climb.missed.last().is_some_and(|best| missed >= *best) {
                continue;
            }
            climb.rungs.push(index);
            climb.missed.push(missed);
            climb.bits.push(trials[index].admitted.max(1.0).log2());
        }
        climb
    }

    /// The step up that is worth most, from where it stands: what it saves for a doubling of what is admitted.
    fn step(&self, at: usize) -> Option<(f64, usize)> {
        let steps = (at + 1..self.rungs.len()).map(|to| {
            let saved = self.missed[at] - self.missed[to];
            // A step that opens hardly anything counts as one that does a little.
            (saved / (self.bits[to] - self.bits[at]).max(0.1), to)
        });
        steps.max_by(|one, other| one.0.total_cmp(&other.0).then(other.1.cmp(&one.1)))
    }
}

/// The mean of some days.
pub fn mean(missed: &[u32]) -> f64 {
    let sum: u32 = missed.iter().sum();
    f64::from(sum) / (missed.len().max(1) as f64)
}

/// A step that a service could take.
#[derive(Clone, Copy, Debug)]
struct Step {
    worth: f64,
    service: usize,
    from: usize,
    to: usize,
}

/// What each service stands on in the end, as indices of [`Climb::rungs`].
pub fn choose(climbs: &[Climb], most_a_day: f64) -> Vec<usize> {
    let mut at = vec![0; climbs.len()];
    let mut total: f64 = climbs.iter().map(|climb| climb.missed[0]).sum();
    let step = |service: usize, from: usize| {
        let (worth, to) = climbs[service].step(from)?;
        Some(Step {
            worth,
            service,
            from,
            to,
        })
    };
    let mut steps: BinaryHeap<Step> = (0..climbs.len())
        .filter_map(|service| step(service, 0))
        .collect();
    while total > most_a_day {
        let Some(best) = steps.pop() else { break };
        let climb = &climbs[best.service];
        let saved = climb.missed[best.from] - climb.missed[best.to];
        if saved < WORTH * most_a_day {
            continue;
        }
        total -= saved;
        at[best.service] = best.to;
        steps.extend(step(best.service, best.to));
    }
    take_back(climbs, &mut at, total, most_a_day);
    at
}

/// Takes steps back where what may be stopped has room for it, those first that open most.
fn take_back(climbs: &[Climb], at: &mut [usize], mut total: f64, most_a_day: f64) {
    let mut order: Vec<usize> = (0..climbs.len()).filter(|&one| at[one] > 0).collect();
    order.sort_by(|&one, &other| {
        let bits = |service: usize| climbs[service].bits[at[service]];
        bits(other).total_cmp(&bits(one)).then(one.cmp(&other))
    });
    for service in order {
        let climb = &climbs[service];
        let narrower = (0..at[service])
            .find(|&to| total + climb.missed[to] - climb.missed[at[service]] <= most_a_day);
        if let Some(to) = narrower {
            total += climb.missed[to] - climb.missed[at[service]];
            at[service] = to;
        }
    }
}

impl Ord for Step {
    fn cmp(&self, other: &Self) -> Ordering {
        self.worth
            .total_cmp(&other.worth)
            .then(other.service.cmp(&self.service))
    }
}

impl PartialOrd for Step {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Step {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Step {}

#[cfg(test)]
mod tests {
    use super::*;

    fn trial(missed: u32, admitted: f64) -> Trial {
        Trial {
            rung: Rung::default(),
            missed: vec![missed],
            ahead: vec![missed],
            recent: vec![missed],
            views: Vec::new(),
            backward: Vec::new(),
            admitted,
            is_long: false,
            is_fleeting: false,
            is_passing: false,
        }
    }

    #[test]
    fn what_is_wider_and_stops_as_much_is_no_rung() {
        let trials = [
            trial(9, 10.0),
            trial(9, 20.0),
            trial(2, 40.0),
            trial(3, 99.0),
            trial(0, 100.0),
        ];
        assert_eq!(Climb::new(&trials).rungs, [0, 2, 4]);
    }

    #[test]
    fn services_share_what_may_be_stopped() {
        let quiet = Climb::new(&[trial(1, 10.0), trial(0, 1e9)]);
        let busy = Climb::new(&[trial(50, 10.0), trial(5, 100.0), trial(0, 1e9)]);
        let climbs = [quiet, busy];
        assert_eq!(choose(&climbs, 51.0), [0, 0]);
        assert_eq!(choose(&climbs, 6.0), [0, 1]);
        assert_eq!(choose(&climbs, 1.0), [0, 2]);
        assert_eq!(choose(&climbs, 0.5), [1, 2]);
    }
}
