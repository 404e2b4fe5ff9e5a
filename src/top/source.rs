//! Where the flows come from: a capture that runs, or files that were read.

use std::time::Duration;

use crate::live::session::view::{Figures, View};
use crate::model::capture::{Capture, Completeness};
use crate::model::listing::{Flow, Listing};
use crate::model::ruled::Told;
use crate::os::signals::Signals;

/// What is looked at.
pub trait Source {
    /// Whether more is to come.
    fn is_live(&self) -> bool;

    /// Whether it is over: a capture that was told to end, or a signal.
    fn is_over(&self) -> bool;

    /// How long it has been running.
    fn elapsed(&self) -> Duration;

    /// What is cheap to know.
    fn figures(&self) -> Figures;

    /// All flows, and what is known besides of them. May be asked for once, if it is not live.
    fn flows(&mut self) -> (Vec<Flow>, Told);

    /// The captures that they are of.
    fn captures(&self) -> Vec<Capture>;

    /// The verdict in a word, and the reasons.
    fn verdict(&self) -> (&'static str, Vec<String>);

    /// A message of the program that has not been shown otherwise.
    fn message(&self) -> Option<String>;
}

impl Source for &View<'_, '_> {
    fn is_live(&self) -> bool {
        true
    }

    fn is_over(&self) -> bool {
        View::is_over(self)
    }

    fn elapsed(&self) -> Duration {
        View::elapsed(self)
    }

    fn figures(&self) -> Figures {
        View::figures(self)
    }

    fn flows(&mut self) -> (Vec<Flow>, Told) {
        View::flows(self)
    }

    fn captures(&self) -> Vec<Capture> {
        vec![self.capture()]
    }

    fn verdict(&self) -> (&'static str, Vec<String>) {
        let verdict = View::verdict(self);
        let reasons = match &verdict {
            crate::model::verdict::Verdict::Incomplete(reasons) => reasons.clone(),
            _ => Vec::new(),
        };
        (verdict.name(), reasons)
    }

    fn message(&self) -> Option<String> {
        View::message(self)
    }
}

/// Flows of files.
#[derive(Debug)]
pub struct Stored<'a> {
    listing: Listing,
    signals: &'a Signals,
    flows: u64,
}

impl<'a> Stored<'a> {
    /// Those that were read.
    pub fn new(listing: Listing, signals: &'a Signals) -> Self {
        Self {
            flows: listing.flows.len() as u64,
            listing,
            signals,
        }
    }
}

impl Source for Stored<'_> {
    fn is_live(&self) -> bool {
        false
    }

    fn is_over(&self) -> bool {
        self.signals.drain();
        self.signals.end()
    }

    fn elapsed(&self) -> Duration {
        let captures = &self.listing.captures;
        let start = captures.iter().filter_map(|capture| capture.start).min();
        let end = captures.iter().filter_map(|capture| capture.end).max();
        match (start, end) {
            (Some(start), Some(end)) => Duration::from_micros(end.us().saturating_sub(start.us())),
            _ => Duration::ZERO,
        }
    }

    fn figures(&self) -> Figures {
        let losses = { self.listing.captures.iter() }.filter_map(|capture| capture.loss.as_ref());
        Figures {
            events: 0,
            flows: self.flows,
            missed: losses.map(|loss| loss.missed).fold(0, u64::saturating_add),
        }
    }

    fn flows(&mut self) -> (Vec<Flow>, Told) {
        let Listing { flows, told, .. } = &mut self.listing;
        (std::mem::take(flows), std::mem::take(told))
    }

    fn captures(&self) -> Vec<Capture> {
        self.listing.captures.clone()
    }

    fn verdict(&self) -> (&'static str, Vec<String>) {
        let captures = &self.listing.captures;
        let reasons = captures.iter().flat_map(Capture::reasons).collect();
        if captures.iter().any(Capture::is_incomplete) {
            return ("incomplete", reasons);
        }
        let judged: Option<Vec<Completeness>> = captures.iter().map(Capture::judged).collect();
        let word = match judged.and_then(|judged| judged.into_iter().max()) {
            Some(Completeness::Complete) => "complete",
            Some(Completeness::Recovered) => "recovered",
            Some(Completeness::Incomplete) => "incomplete",
            None => "not judged",
        };
        (word, reasons)
    }

    fn message(&self) -> Option<String> {
        None
    }
}
