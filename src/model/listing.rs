//! What is to be listed: flows, and the captures they were seen in.

use crate::model::capture::Capture;
use crate::model::record::Record;
use crate::model::ruled::Told;
use crate::model::usage::Usage;

/// Flows and the captures they were seen in.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// The captures, sorted.
    pub captures: Vec<Capture>,
    /// The flows, in any order.
    pub flows: Vec<Flow>,
    /// What is told of rules.
    pub told: Told,
}

/// A flow of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    /// What is known of it.
    pub record: Record,
    /// Where it was seen, if there are several captures.
    pub seen_in: Vec<Part>,
}

/// What one of several captures has seen of a flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The index of the capture.
    pub capture: u32,
    /// Connections seen there.
    pub connections: u64,
    /// What ended connections have carried there. If only one capture has the flow, its record says it.
    pub usage: Option<Box<Usage>>,
}

impl Part {
    /// So many connections, of which nothing else is known.
    pub const fn new(capture: u32, connections: u64) -> Self {
        Self {
            capture,
            connections,
            usage: None,
        }
    }
}

impl AsRef<Record> for Flow {
    fn as_ref(&self) -> &Record {
        &self.record
    }
}

impl AsMut<Record> for Flow {
    fn as_mut(&mut self) -> &mut Record {
        &mut self.record
    }
}

impl From<Record> for Flow {
    fn from(record: Record) -> Self {
        Self {
            record,
            seen_in: Vec::new(),
        }
    }
}
