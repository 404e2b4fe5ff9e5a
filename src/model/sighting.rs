//! One sighting of a flow with everything that a record keeps of it.
//!
//! The lean counterpart, all that the classic list needs, is [`Observation`].

use crate::model::flow::{Event, Observation};
use crate::model::origin::{Expected, Helper};
use crate::model::record::Translation;
use crate::model::timestamp::Timestamp;
use crate::model::tuple::Tuple;
use crate::model::usage::Usage;

/// The number that stands for this program's own namespace.
pub const OWN: u16 = 0;

/// One sighting of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// The flow, its source port as it was.
    pub tuple: Tuple,
    /// Its translation, ports as they were.
    pub translation: Option<Translation>,
    /// Whether the kernel has seen packets in both directions (`IPS_SEEN_REPLY`).
    pub replied: bool,
    /// Which kind of message showed it.
    pub event: Event,
    /// The namespace it was seen in, as [`Namespaces`](crate::os::namespaces::Namespaces) counts them.
    pub namespace: u16,
    /// When the kernel says it happened, where it does (nf_conntrack_timestamp).
    pub time: Option<Timestamp>,
    /// Whether the connection began with what was seen.
    pub beginning: Beginning,
    /// The helper that follows it.
    pub helper: Option<Helper>,
    /// The connection whose helper expected this one.
    pub expected_by: Option<Expected>,
    /// Of the end of an entry: what its connection has carried, where the kernel counted that.
    pub usage: Option<Usage>,
}

/// Whether a connection began with its entry, as far as a message says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beginning {
    /// The connection began with this packet.
    Seen,
    /// It was there before.
    PickedUp,
    /// The protocol or the message does not tell.
    Untold,
}

impl Sighting {
    /// What the classic list needs of it, if it lists the protocol.
    pub fn observation(&self) -> Option<Observation> {
        Some(Observation {
            flow: self.tuple.flow()?,
            replied: self.replied,
            event: self.event,
        })
    }
}
