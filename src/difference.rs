//! What two captures have not in common.

use std::collections::HashMap;

use crate::output::listing::Flow;
use crate::record::Identity;

/// Flows by what became of them.
#[derive(Clone, Debug, Default)]
pub struct Difference {
    /// In the new capture only.
    pub new: Vec<Flow>,
    /// In the old capture only.
    pub gone: Vec<Flow>,
    /// In both, and confirmed in the new one only. They are shown as they are there.
    pub confirmed: Vec<Flow>,
}

impl Difference {
    /// Compares two lists without repetitions.
    #[must_use]
    pub fn new(old: Vec<Flow>, new: Vec<Flow>) -> Self {
        let mut difference = Self::default();
        let mut left: HashMap<Identity, Flow> = old
            .into_iter()
            .map(|flow| (flow.record.identity.clone(), flow))
            .collect();
        for flow in new {
            match left.remove(&flow.record.identity) {
                None => difference.new.push(flow),
                Some(old) if flow.record.confirmed && !old.record.confirmed => {
                    difference.confirmed.push(flow);
                }
                Some(_) => {}
            }
        }
        difference.gone.extend(left.into_values());
        difference
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.new.is_empty() && self.gone.is_empty() && self.confirmed.is_empty()
    }
}
