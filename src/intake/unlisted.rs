//! Replies to flows that are not listed, noted for as long as something that lists them may come late.
//!
//! The kernel writes down a piece of its table, and what it says comes in somewhat later. A reply between the two
//! makes an event for a flow that is not listed yet, which changes nothing, and the entry that then lists the flow is
//! from before the reply. So the one has to wait for the other. The same holds for events that a BPF program keeps back
//! for a while, beside those that it passes on at once.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use rustix::time::{ClockId, clock_gettime};

use crate::model::flow::Flow;

/// The flows that were replied to, and when that was noted last.
#[derive(Debug, Default)]
pub struct Unlisted(HashMap<Flow, u64>);

/// The flows that were listed by what was not kept back, while something else is, and the earliest time of that.
#[derive(Debug, Default)]
pub struct Recent(HashMap<Flow, u64>);

impl Recent {
    /// Notes that a flow was listed at that time or later. What there is no room for counts as listed before.
    pub fn note(&mut self, flow: Flow, since_ns: u64, max: usize) {
        if self.0.len() < max {
            self.0.insert(flow, since_ns);
        }
    }

    /// When a listed flow was listed, or 0 for long ago.
    pub fn listed_ns(&self, flow: &Flow) -> u64 {
        self.0.get(flow).copied().unwrap_or(0)
    }

    /// Forgets what was noted before a time.
    pub fn clear_before(&mut self, before_ns: u64) {
        self.0.retain(|_, noted| *noted >= before_ns);
    }
}

/// The clock of notes, which never goes back, in nanoseconds: that of `bpf_ktime_get_ns`.
pub fn now_ns() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

impl Unlisted {
    /// Notes a reply, if there are not `max` yet: strangers send them. Whether it is noted.
    pub fn note(&mut self, flow: Flow, max: usize) -> bool {
        let has_room = self.0.len() < max;
        match self.0.entry(flow) {
            Entry::Occupied(mut known) => {
                known.insert(now_ns());
                true
            }
            Entry::Vacant(place) if has_room => {
                place.insert(now_ns());
                true
            }
            Entry::Vacant(_) => false,
        }
    }

    /// Whether a reply to a flow was noted at that time or later.
    pub fn has_since(&self, flow: &Flow, since_ns: u64) -> bool {
        !self.0.is_empty() && self.0.get(flow).is_some_and(|&noted| noted >= since_ns)
    }

    /// Forgets what was noted before a time.
    pub fn clear_before(&mut self, before_ns: u64) {
        self.0.retain(|_, noted| *noted >= before_ns);
    }

    /// Forgets all, and gives the memory back.
    pub fn clear(&mut self) {
        self.0 = HashMap::new();
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
        let has = |to| unlisted.has_since(&sighting(to, true).flow, 0);
        assert!(has(99) && !has(100));
    }

    #[test]
    fn what_was_kept_back_is_confirmed_by_a_reply_that_came_after_it() {
        let table = Table::with_stripes(100, 4);
        table.hear_late();
        let begun = super::now_ns();
        assert_eq!(
            table.apply(&sighting(1, true), Unseen::Ignore),
            Effect::Unlisted
        );
        let after = super::now_ns() + 1;
        let listed = |to, at| table.apply(&sighting(to, false), Unseen::KeptBack(at));
        let confirmed = |to| table.state(&sighting(to, false).flow);
        assert_eq!(listed(1, after), Effect::Listed);
        assert_eq!(confirmed(1), Some(false));
        listed(1, begun);
        assert_eq!(confirmed(1), Some(true));
        // A reply alone lists nothing, however late that is heard.
        assert_eq!(
            table.apply(&sighting(2, true), Unseen::KeptBack(after)),
            Effect::Unlisted
        );
        table.forget_notes(u64::MAX);
        listed(2, begun);
        assert_eq!(confirmed(2), Some(false));
    }
}
