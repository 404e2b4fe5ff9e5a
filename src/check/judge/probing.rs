//! Flows that were not captured: each comes in and leaves by the devices that it is tried with.

use std::collections::BTreeMap;

use super::Judge;
use crate::check::setup;
use crate::check::verdict::Verdict;
use crate::model::error::Error;
use crate::model::record::Record;

/// A flow to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The flow.
    pub record: Record,
    /// The device that it comes in by, unless it is the host's own.
    pub by: Option<String>,
    /// The device that lies before what no route leads to.
    pub out: Option<String>,
}

impl Judge {
    /// Judges flows that were made up. What is not known around captured flows is known of these.
    ///
    /// Errors: failing system calls.
    ///
    /// Panics: if nftables answers what it can't.
    pub fn judge_probes(
        &mut self,
        probes: &[Probe],
        progress: &mut dyn FnMut(u64),
    ) -> Result<Vec<Verdict>, Error> {
        self.forget()
            .map_err(|error| Error::caused(format!("judging failed: {error}"), error))?;
        let mut groups: BTreeMap<Option<&str>, Vec<usize>> = BTreeMap::new();
        for (at, probe) in probes.iter().enumerate() {
            groups.entry(probe.out.as_deref()).or_default().push(at);
        }
        let before = self.setup.network.clone();
        let mut verdicts: Vec<Option<Verdict>> = vec![None; probes.len()];
        for (out, members) in groups {
            if let Some(out) = out {
                self.assume(out)?;
            }
            let records: Vec<&Record> = members.iter().map(|&at| &probes[at].record).collect();
            let plan = |judge: &Self, at: usize, record: &Record| {
                let by = probes[members[at]].by.as_deref();
                judge.plan_coming_by(record, by)
            };
            let found = self.in_zones(&records, &plan, progress)?;
            if let Some(paths) = &mut self.paths {
                paths.settle_some(&members, probes.len());
            }
            for (&at, verdict) in members.iter().zip(found) {
                verdicts[at] = Some(verdict);
            }
        }
        let restored = before.assumed_routes();
        self.setup.network = before;
        setup::set_up(&self.setup.namespace, None, &restored)?;
        Ok(verdicts
            .into_iter()
            .map(|verdict| verdict.expect("each is in one group"))
            .collect())
    }
}
