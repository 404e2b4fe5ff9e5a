//! Replies to flows that are not listed, noted for as long as the kernel's table is read.
//!
//! The kernel writes down a piece of its table, and what it says comes in somewhat later. A reply between the two
//! makes an event for a flow that is not listed yet, which changes nothing, and the entry that then lists the flow is
//! from before the reply. So the one has to wait for the other.

use std::collections::HashSet;

use crate::model::flow::Flow;

/// The flows that were replied to.
#[derive(Debug, Default)]
pub struct Unlisted(HashSet<Flow>);

impl Unlisted {
    /// Notes a reply, if there are not `max` yet: strangers send them. Whether it is noted.
    pub fn note(&mut self, flow: Flow, max: usize) -> bool {
        if self.0.len() < max {
            self.0.insert(flow);
        }
        self.0.len() < max || self.0.contains(&flow)
    }

    /// Whether a flow was replied to.
    pub fn has(&self, flow: &Flow) -> bool {
        self.0.contains(flow)
    }

    /// Forgets all, and gives the memory back.
    pub fn clear(&mut self) {
        self.0 = HashSet::new();
    }
}

#[cfg(test)]
mod tests {
    use crate::intake::table::{Effect, Table, Unseen};
    use crate::model::flow::{Event, Flow, Key, Observation, Transport};

    fn sighting(destination: u8, replied: bool) -> Observation {
        Observation {
            flow: Flow::V4(
                Transport::Udp,
                Key {
                    source: [10, 0, 0, 1],
                    destination: [10, 0, 0, destination],
                    service: 53,
                    source_port: 1024,
                },
            ),
            replied,
            event: Event::Update,
        }
    }

    #[test]
    fn a_reply_before_the_entry_that_lists_its_flow_confirms_it() {
        let table = Table::with_stripes(100, 4);
        let reply = |to| table.apply(&sighting(to, true), Unseen::Ignore);
        let entry = |to| table.apply(&sighting(to, false), Unseen::List);
        let confirmed = |to| table.state(&sighting(to, false).flow);

        reply(1);
        let (first, second) = (table.merging(), table.merging());
        assert_eq!(reply(2), Effect::Unlisted);
        drop(first);
        assert_eq!(reply(3), Effect::Unlisted);
        for to in 1..=3 {
            assert_eq!(entry(to), Effect::Listed);
        }
        // What came before the kernel was asked is in what it says.
        assert_eq!(confirmed(1), Some(false));
        assert_eq!(confirmed(2), Some(true));
        assert_eq!(confirmed(3), Some(true));
        reply(4);
        drop(second);
        let _later = table.merging();
        entry(4);
        assert_eq!(confirmed(4), Some(false));
    }

    #[test]
    fn strangers_do_not_fill_the_memory() {
        let mut unlisted = super::Unlisted::default();
        for to in 0..=255 {
            let noted = unlisted.note(sighting(to, true).flow, 100);
            assert_eq!(noted, to < 100);
        }
        assert!(unlisted.has(&sighting(99, true).flow) && !unlisted.has(&sighting(100, true).flow));
    }
}
