//! What is to be listed: flows, and the captures they were seen in.

use crate::capture::Capture;
use crate::record::Record;

/// Flows and the captures they were seen in.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// The captures, sorted.
    pub captures: Vec<Capture>,
    /// The flows, in any order.
    pub flows: Vec<Flow>,
}

/// A flow of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    /// What is known of it.
    pub record: Record,
    /// Indices of captures, where there are several, and connections seen there.
    pub seen_in: Vec<(u32, u64)>,
}

impl Listing {
    /// The flows of one capture.
    #[must_use]
    pub fn of_one(capture: Capture, records: Vec<Record>) -> Self {
        let flows = records.into_iter().map(|record| Flow {
            record,
            seen_in: Vec::new(),
        });
        Self {
            captures: vec![capture],
            flows: flows.collect(),
        }
    }
}
