//! The orders of lists.

use std::cmp::Ordering;

use crate::model::flow::Flow;
use crate::model::listing::Flow as Listed;
use crate::model::order::{Rank4, Rank6};
use crate::model::record::Record;

/// The order of a list. What it leaves open is by address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// The C tool's
    Classic,
    /// By source address, then destination, protocol and port, as numbers
    Address,
    /// By protocol and destination port, then destination
    Service,
    /// Most connections first
    Connections,
    /// The newest first: by when they were first seen
    FirstSeen,
    /// Seen last first
    LastSeen,
}

impl Sort {
    /// Puts flows in this order.
    pub fn sort(self, flows: &mut [Listed]) {
        match self {
            // Its key takes longer to make than to compare.
            Self::Classic => flows
                .sort_by_cached_key(|flow| (classic(&flow.record), flow.record.identity.clone())),
            _ => flows.sort_unstable_by(|a, b| self.compare(&a.record, &b.record)),
        }
    }

    /// Which of two flows comes first.
    pub fn compare(self, a: &Record, b: &Record) -> Ordering {
        let by_service = |record: &Record| {
            let identity = &record.identity;
            (identity.protocol, identity.service, identity.destination)
        };
        let order = match self {
            Self::Classic => classic(a).cmp(&classic(b)),
            Self::Address => Ordering::Equal,
            Self::Service => by_service(a).cmp(&by_service(b)),
            Self::Connections => b.connections.cmp(&a.connections),
            Self::FirstSeen => b.first_seen.cmp(&a.first_seen),
            Self::LastSeen => b.last_seen.cmp(&a.last_seen),
        };
        order.then_with(|| a.identity.cmp(&b.identity))
    }
}

/// A flow's place in the classic list; behind it come the protocols that it does not have.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    V4(u8, Rank4),
    V6(u8, Rank6),
    Other,
}

fn classic(record: &Record) -> Place {
    match record.classic_flow() {
        Some(Flow::V4(transport, key)) => {
            Place::V4(transport as u8, Rank4::new(transport, &key, false))
        }
        Some(Flow::V6(transport, key)) => {
            Place::V6(transport as u8, Rank6::new(transport, &key, false))
        }
        None => Place::Other,
    }
}
