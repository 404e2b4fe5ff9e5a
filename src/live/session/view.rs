//! A capture for somebody who looks at it while it runs.

use std::fmt::Debug;
use std::time::{Duration, Instant};

use super::Session;
use crate::intake::contents::Contents;
use crate::intake::records::Records;
use crate::model::capture::Capture;
use crate::model::listing::Flow;
use crate::model::ruled::Told;
use crate::model::verdict::Verdict;

/// Looks at a capture, in the thread that would wait for its end.
pub trait Viewer: Debug {
    /// Looks until the capture is over or there has been enough of it: it ends when this returns.
    fn watch(&mut self, view: &View<'_, '_>);
}

/// The capture while it runs.
#[derive(Debug)]
pub struct View<'s, 'a> {
    session: &'s Session<'a>,
    began: Instant,
}

/// What is cheap to know of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Events that were taken in.
    pub events: u64,
    /// Flows that there are.
    pub flows: u64,
    /// Upper bound of the events that the kernel could not deliver.
    pub missed: u64,
}

impl<'s, 'a> View<'s, 'a> {
    /// Of a capture that has begun.
    pub fn new(session: &'s Session<'a>) -> Self {
        Self {
            session,
            began: Instant::now(),
        }
    }

    /// Whether it is to end: by a signal, because its time is over, or because a part of the program has failed.
    pub fn is_over(&self) -> bool {
        let session = self.session;
        session.supervisor.alive();
        session.signals.drain();
        let duration = session.options.duration;
        session.signals.end() || duration.is_some_and(|duration| self.began.elapsed() >= duration)
    }

    /// How long it runs.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// What is known without a look at any flow. What receivers keep back until a list is made may not be in it.
    pub fn figures(&self) -> Figures {
        let intake = self.session.intake;
        let flows = intake.records().map_or(intake.table().len(), Records::len);
        Figures {
            events: intake.tally().events,
            flows: flows as u64,
            missed: self.session.recovery.missed(),
        }
    }

    /// The flows up to now, the rules that decided on them, and the names that led to them.
    pub fn flows(&self) -> (Vec<Flow>, Told) {
        let session = self.session;
        // What is still queued is in the next look; that it is missing takes nothing from the list at the end.
        session.shared.settle();
        let contents = session.intake.contents();
        let mut told = Told::default();
        if let Contents::Records(pack) = &contents {
            // What can't be read now is said at the end.
            if let Some(rulings) = session.rulings {
                told = rulings.told_now(pack.iter()).unwrap_or_default();
            }
            if let Some(lookups) = session.lookups {
                let _ = lookups.name(pack.iter(), &mut told);
            }
        }
        let flows = match &contents {
            Contents::Records(pack) => pack.iter().map(Flow::from).collect(),
            Contents::Lean(_) => {
                let mut flows = Vec::new();
                let _ = contents.each(|record| {
                    flows.push(Flow::from(record.clone()));
                    Ok::<_, ()>(())
                });
                flows
            }
        };
        (flows, told)
    }

    /// The verdict up to now.
    pub fn verdict(&self) -> Verdict {
        let loss = self.session.assess();
        self.session.dumps.of_next(&loss).verdict()
    }

    /// The capture, as a list would describe it.
    pub fn capture(&self) -> Capture {
        self.session.dumps.describe(&self.session.assess())
    }

    /// The last message that was meant for the terminal.
    pub fn message(&self) -> Option<String> {
        self.session.console.last_held()
    }
}
