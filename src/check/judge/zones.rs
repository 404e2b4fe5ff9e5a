//! Conntrack zones: flows of one are judged in it, unless the ruleset says which packets belong to which.

use std::collections::BTreeMap;

use super::Judge;
use crate::check::flow::Flow;
use crate::check::guard;
use crate::check::tool::NFT;
use crate::check::verdict::{Outcome, Verdict};
use crate::model::error::Error;
use crate::model::record::Record;

impl Judge {
    /// Judges each flow in its zone. The flows are planned by `plan`, which also gets the place of each.
    pub(super) fn in_zones(
        &mut self,
        records: &[&Record],
        plan: &dyn Fn(&Self, usize, &Record) -> Flow,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Vec<Verdict>, Error> {
        let mut zones: BTreeMap<u16, Vec<usize>> = BTreeMap::new();
        let by_ruleset = self.setup.rules.sets_zones();
        for (at, record) in records.iter().enumerate() {
            let zone = if by_ruleset { 0 } else { record.identity.zone };
            zones.entry(zone).or_default().push(at);
        }
        let mut verdicts: Vec<Option<Verdict>> = vec![None; records.len()];
        for (zone, members) in zones {
            self.enter(zone)?;
            let flows: Vec<Flow> = { members.iter() }
                .map(|&at| plan(self, at, records[at]))
                .collect();
            let found = self.pass(&flows, progress)?;
            if let Some(paths) = &mut self.paths {
                paths.sort_in(&members, records.len());
            }
            for (at, verdict) in members.into_iter().zip(found) {
                verdicts[at] = Some(verdict);
            }
        }
        Ok(verdicts
            .into_iter()
            .map(|verdict| verdict.expect("each is in one zone"))
            .collect())
    }

    /// Has packets belong to a zone.
    pub(super) fn enter(&mut self, zone: u16) -> Result<(), Error> {
        if self.zone != zone {
            let table = guard::zone(zone);
            NFT.output(&self.setup.namespace, &["-f", "-"], table.as_bytes())?;
            self.zone = zone;
        }
        Ok(())
    }

    /// Judges flows of one zone.
    fn pass(
        &mut self,
        flows: &[Flow],
        progress: &mut dyn FnMut(u64),
    ) -> Result<Vec<Verdict>, Error> {
        let impossible = |flow: &Flow| {
            let why = flow.impossible.clone()?;
            Some(Verdict::of_first(Outcome::Undecided(why, None)))
        };
        let mut verdicts: Vec<Option<Verdict>> = flows.iter().map(impossible).collect();
        let broken =
            |error: std::io::Error| Error::caused(format!("judging failed: {error}"), error);
        match &mut self.paths {
            None => self.fast(flows, &mut verdicts, progress).map_err(broken)?,
            Some(paths) => paths.expect(flows.len()),
        }
        self.slow(flows, &mut verdicts, progress).map_err(broken)?;
        let verdicts = verdicts.into_iter();
        Ok(verdicts
            .map(|verdict| verdict.expect("the slow pass leaves none out"))
            .collect())
    }
}
