//! What is to be listed: flows, and the captures they were seen in.

use crate::model::capture::Capture;
use crate::model::record::Record;

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

impl From<Record> for Flow {
    fn from(record: Record) -> Self {
        Self {
            record,
            seen_in: Vec::new(),
        }
    }
}
