//! The orders of lists.

use std::cmp::Reverse;

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
            Self::Classic => {
                flows.sort_by_cached_key(|flow| {
                    (classic(&flow.record), flow.record.identity.clone())
                });
            }
            Self::Address => {
                flows.sort_unstable_by(|a, b| a.record.identity.cmp(&b.record.identity))
            }
            Self::Service => by(flows, |record| {
                let identity = &record.identity;
                (identity.protocol, identity.service, identity.destination)
            }),
            Self::Connections => by(flows, |record| Reverse(record.connections)),
            Self::FirstSeen => by(flows, |record| Reverse(record.first_seen)),
            Self::LastSeen => by(flows, |record| Reverse(record.last_seen)),
        }
    }
}

/// Sorts by a key, and where that leaves it open by address.
fn by<K: Ord>(flows: &mut [Listed], key: impl Fn(&Record) -> K) {
    flows.sort_unstable_by(|a, b| {
        let (a, b) = (&a.record, &b.record);
        key(a)
            .cmp(&key(b))
            .then_with(|| a.identity.cmp(&b.identity))
    });
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
