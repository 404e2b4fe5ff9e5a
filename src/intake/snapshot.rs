//! A copy of the table's flows, taken stripe by stripe, that sorting and writing work on.

use crate::intake::table::Entry;

/// Flows by address family and transport (TCP, UDP, ICMP), in no order.
///
/// Events that come in while it is taken may or may not be in it; each flow is in it at most once.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The flows of IPv4, for each transport protocol of the classic list.
    pub v4: [Vec<Entry<[u8; 4]>>; 3],
    /// The flows of IPv6, for each transport protocol of the classic list.
    pub v6: [Vec<Entry<[u8; 16]>>; 3],
}

impl Snapshot {
    /// Leaves those flows whose confirmation is wanted.
    pub fn retain_confirmed(&mut self, wanted: impl Fn(bool) -> bool) {
        for entries in &mut self.v4 {
            entries.retain(|entry| wanted(entry.confirmed()));
        }
        for entries in &mut self.v6 {
            entries.retain(|entry| wanted(entry.confirmed()));
        }
    }
}
