//! Many flows are shared out to several judges, each with a namespace of its own.
//!
//! No verdict hangs on another flow: each is judged as the only one, and where a ruleset remembers packets (rates, sets that
//! fill up), its rules are in doubt or taken out. So it does not matter which judge a flow comes to.
//!
//! ```text
//! records   0 … 8191   8192 … 16383   16384 … 24575   …     shares, taken as judges get free
//!           judge 1    judge 2        judge 2
//! ```

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use super::{Judge, ROUND};
use crate::check::flow::Flow;
use crate::check::network::Hints;
use crate::check::ruleset::Ruleset;
use crate::check::verdict::{Outcome, Verdict};
use crate::model::capture::Capture;
use crate::model::error::Error;
use crate::model::record::Record;

/// A share of the flows: whole rounds.
const SHARE: usize = 2 * ROUND;
/// Flows that are worth another judge, who has to load the ruleset first: some tenths of a second of work.
const WORTH: usize = 25_000;
/// More would only wait for one another: the kernel has conntrack forget connections of one namespace at a time
/// (`nf_conntrack_mutex` of `nf_ct_iterate_cleanup`, net/netfilter/nf_conntrack_core.c, Linux 6.18).
const JUDGES_MAX: usize = 8;

impl Judge {
    /// Makes a judge for each processor of this process, as far as so many flows are worth it. `rulesets`, `captures` and
    /// `hints` are those that this one was made of. One that can't be made, for want of memory or namespaces, is done
    /// without.
    pub fn staff(
        &mut self,
        rulesets: &[Ruleset],
        captures: &[Capture],
        hints: &Hints,
        flows: usize,
    ) {
        let processors = thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let judges = processors.min(JUDGES_MAX).min(flows / WORTH + 1);
        self.crew = thread::scope(|scope| {
            let makers: Vec<_> = (1..judges)
                .map(|_| scope.spawn(|| Self::new(rulesets, captures, hints)))
                .collect();
            let made = makers.into_iter().map(|maker| maker.join());
            made.filter_map(|made| made.ok()?.ok()).collect()
        });
    }

    /// The verdicts of flows for which this judge is prepared, with those of whoever else is there.
    pub(super) fn share(
        &mut self,
        records: &[Record],
        progress: &mut dyn FnMut(u64),
    ) -> Result<Vec<Verdict>, Error> {
        // Ways through the rules are kept of all flows at once.
        if self.paths.is_some() {
            let all: Vec<&Record> = records.iter().collect();
            return self.in_zones(&all, &plan, progress);
        }
        let mut crew = std::mem::take(&mut self.crew);
        let next = AtomicUsize::new(0);
        let judged = AtomicU64::new(0);
        // In their places at once: many flows' verdicts are not held twice.
        let verdicts = Verdict::of_first(Outcome::Accepted);
        let verdicts = Mutex::new(vec![verdicts; records.len()]);
        thread::scope(|scope| {
            let helpers: Vec<_> = crew
                .iter_mut()
                .map(|judge| {
                    scope.spawn(|| {
                        judge.prepare(records)?;
                        judge.take_shares(records, &next, &verdicts, &mut |more| {
                            judged.fetch_add(more, Ordering::Relaxed);
                        })
                    })
                })
                .collect();
            let mut done = self.take_shares(records, &next, &verdicts, &mut |more| {
                progress(more + judged.swap(0, Ordering::Relaxed));
            });
            for helper in helpers {
                let others = helper
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                done = done.and(others);
            }
            done
        })?;
        progress(judged.into_inner());
        self.crew = crew;
        Ok(verdicts
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner))
    }

    /// Judges shares as long as there are any.
    fn take_shares(
        &mut self,
        records: &[Record],
        next: &AtomicUsize,
        verdicts: &Mutex<Vec<Verdict>>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), Error> {
        loop {
            let begin = next.fetch_add(SHARE, Ordering::Relaxed);
            if begin >= records.len() {
                return Ok(());
            }
            let end = (begin + SHARE).min(records.len());
            let share: Vec<&Record> = records[begin..end].iter().collect();
            let found = self.in_zones(&share, &plan, progress);
            if found.is_err() {
                // The others need not go on.
                next.store(records.len(), Ordering::Relaxed);
            }
            let mut verdicts = verdicts.lock().unwrap_or_else(PoisonError::into_inner);
            for (verdict, found) in verdicts[begin..end].iter_mut().zip(found?) {
                *verdict = found;
            }
        }
    }
}

fn plan(judge: &Judge, _: usize, record: &Record) -> Flow {
    Flow::new(record, &judge.setup.network, &judge.setup.wire)
}
