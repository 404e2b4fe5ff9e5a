//! Events that were added up before they come here, by a BPF program: all that was seen of each flow in a while.
//!
//! The classic list asks for the order of events: a reply confirms a flow only if it was listed before. Several of what
//! comes here may be one line of that list, so it is their times that tell.

use std::collections::HashMap;

use super::Intake;
use crate::intake::table::Unseen;
use crate::model::flow::{Event, Flow, Observation};
use crate::model::record::Translation;
use crate::model::timestamp::Timestamp;
use crate::model::tuple::Tuple;

/// All that was seen of one flow in a while.
///
/// Nothing of it is in doubt: no helper has to do with the flow, a TCP connection of it was seen to begin, and datagrams
/// have a port by which the side that asks is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Folded {
    /// The flow. Source ports may stand for all from 1024 on; then they are that number.
    pub tuple: Tuple,
    /// Its translation, ports likewise.
    pub translation: Option<Translation>,
    /// How many connections began.
    pub connections: u64,
    /// When it was seen first.
    pub first: Timestamp,
    /// When it was seen last.
    pub last: Timestamp,
    /// When it was first seen unanswered, in nanoseconds of the clock of `intake::unlisted`.
    pub unanswered_ns: Option<u64>,
    /// When it was last seen answered, by the same clock.
    pub answered_ns: Option<u64>,
}

impl Folded {
    /// Whether an answer was seen that may have come before all that lists its line.
    const fn may_be_early(&self) -> bool {
        match (self.answered_ns, self.unanswered_ns) {
            (Some(answered), Some(unanswered)) => answered <= unanswered,
            (answered, None) => answered.is_some(),
            (None, _) => false,
        }
    }
}

/// Lines of the classic list that have an answer, of which it is not clear whether they were listed before.
#[derive(Debug, Default)]
pub struct Early(HashMap<Flow, Line>);

#[derive(Clone, Copy, Debug)]
struct Line {
    listed_ns: Option<u64>,
    answered_ns: u64,
}

impl Intake {
    /// Takes note of what may be answered before it was listed. To be told of all that is folded before any of it is
    /// taken in.
    pub fn look_for_early(&self, folded: &Folded, early: &mut Early) {
        if !folded.may_be_early() || !self.wants(folded) {
            return;
        }
        let (Some(flow), Some(answered_ns)) = (folded.tuple.flow(), folded.answered_ns) else {
            return;
        };
        let line = early.0.entry(flow).or_insert_with(|| Line {
            listed_ns: self.table.listed_ns(&flow),
            answered_ns,
        });
        line.answered_ns = line.answered_ns.max(answered_ns);
    }

    /// Takes in what was folded of a flow.
    pub fn fold(&self, folded: &Folded, early: &mut Early) {
        if !self.wants(folded) {
            return;
        }
        if let Some(flow) = folded.tuple.flow() {
            let observation = Observation {
                flow,
                replied: false,
                event: if folded.connections > 0 {
                    Event::New
                } else {
                    Event::Update
                },
            };
            if let Some(listed_ns) = folded.unanswered_ns {
                self.table.apply(&observation, Unseen::KeptBack(listed_ns));
                if let Some(line) = early.0.get_mut(&flow) {
                    let known = line.listed_ns.unwrap_or(u64::MAX);
                    line.listed_ns = Some(known.min(listed_ns));
                }
            }
            if folded.answered_ns.is_some() && !folded.may_be_early() {
                self.answered(&flow);
            }
        }
        if let Some(records) = self.records() {
            records.fold(folded);
        }
    }

    /// Takes in the answers that were in doubt, once all that was folded is.
    pub fn settle_early(&self, early: Early) {
        for (flow, line) in early.0 {
            // One whose line is not listed at all changes nothing now, and may be noted.
            if line
                .listed_ns
                .is_none_or(|listed| listed < line.answered_ns)
            {
                self.answered(&flow);
            }
        }
    }

    fn answered(&self, flow: &Flow) {
        let observation = Observation {
            flow: *flow,
            replied: true,
            event: Event::Update,
        };
        self.table.apply(&observation, Unseen::Ignore);
    }

    fn wants(&self, folded: &Folded) -> bool {
        self.detail
            .as_ref()
            .is_none_or(|detail| detail.selection.wants(&folded.tuple))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intake::table::Table;
    use crate::model::record::SourcePort;

    const PORT: u16 = 443;

    fn folded(zone: u16, unanswered_ns: Option<u64>, answered_ns: Option<u64>) -> Folded {
        let time = Timestamp::from_us(1_000_000).unwrap();
        Folded {
            tuple: Tuple {
                zone,
                source_port: SourcePort::Exact(1024),
                ..Tuple::tcp("10.0.0.1", "10.0.0.2", PORT)
            },
            translation: None,
            connections: u64::from(unanswered_ns.is_some()),
            first: time,
            last: time,
            unanswered_ns,
            answered_ns,
        }
    }

    /// The state of the line after these have been taken in, in this order.
    fn line(listed_before: bool, all: &[Folded]) -> Option<bool> {
        let intake = Intake::new(Table::with_stripes(100, 4));
        let flow = folded(0, None, None).tuple.flow().unwrap();
        if listed_before {
            let observation = Observation {
                flow,
                replied: false,
                event: Event::New,
            };
            intake.table.apply(&observation, Unseen::Ignore);
        }
        let mut early = Early::default();
        all.iter()
            .for_each(|folded| intake.look_for_early(folded, &mut early));
        all.iter()
            .for_each(|folded| intake.fold(folded, &mut early));
        intake.settle_early(early);
        intake.table.state(&flow)
    }

    #[test]
    fn a_reply_confirms_what_was_listed_before_it_whichever_record_that_is_of() {
        for (all, listed) in [
            (&[folded(0, Some(5), None)][..], Some(false)),
            (&[folded(0, Some(5), Some(6))], Some(true)),
            (&[folded(0, Some(5), Some(4))], Some(false)),
            (&[folded(0, None, Some(4))], None),
            (
                &[folded(0, None, Some(4)), folded(7, Some(5), None)],
                Some(false),
            ),
            (
                &[folded(0, None, Some(6)), folded(7, Some(5), None)],
                Some(true),
            ),
            (
                &[folded(7, Some(5), None), folded(0, None, Some(6))],
                Some(true),
            ),
            (
                &[
                    folded(7, Some(5), Some(4)),
                    folded(0, Some(3), None),
                    folded(8, None, Some(2)),
                ],
                Some(true),
            ),
        ] {
            assert_eq!(line(false, all), listed, "{all:?}");
            let answered = all.iter().any(|folded| folded.answered_ns.is_some());
            assert_eq!(line(true, all), Some(answered), "{all:?}");
        }
    }
}
