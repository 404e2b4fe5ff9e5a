//! A copy of what was taken in, for lists and states to be made of while intake goes on.

use crate::intake::records::pack::Pack;
use crate::intake::snapshot::Snapshot;
use crate::model::flow::{Flow, Transport};
use crate::model::record::{Identity, Record};
use crate::model::tuple::Tuple;

/// The flows of a capture so far.
#[derive(Debug)]
pub enum Contents {
    /// What the classic list needs, and no more.
    Lean(Snapshot),
    /// Flows with all that is known of them.
    Records(Pack),
}

impl Contents {
    /// Hands over every flow as a record, as far as it is known. `Err` ends it.
    ///
    /// Errors: the first one of `take`.
    pub fn each<E>(&self, mut take: impl FnMut(&Record) -> Result<(), E>) -> Result<(), E> {
        match self {
            Self::Records(pack) => pack.iter().try_for_each(|record| take(&record)),
            Self::Lean(snapshot) => {
                for (transport, entries) in Transport::ALL.into_iter().zip(&snapshot.v4) {
                    for entry in entries {
                        let flow = Flow::V4(transport, entry.key());
                        take(&of_lean(&flow, entry.confirmed()))?;
                    }
                }
                for (transport, entries) in Transport::ALL.into_iter().zip(&snapshot.v6) {
                    for entry in entries {
                        let flow = Flow::V6(transport, entry.key());
                        take(&of_lean(&flow, entry.confirmed()))?;
                    }
                }
                Ok(())
            }
        }
    }
}

/// What the table of the classic list knows of a flow.
fn of_lean(flow: &Flow, confirmed: bool) -> Record {
    Record::new(Identity::of(&Tuple::of(flow)), confirmed)
}
