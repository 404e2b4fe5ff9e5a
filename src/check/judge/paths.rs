//! The rules that flows come to. Many flows go the same way, so that each way is kept once.

use std::collections::{BTreeSet, HashMap};

use crate::check::packet::Step;
use crate::check::trace::{Passed, Place};

/// A rule that a packet of a flow has met, or a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Met {
    /// Which, by its place among [`Paths::places`].
    pub place: u32,
    /// Whether the packet was the answer.
    pub answer: bool,
}

/// The way of a flow's packets through the rules.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Path {
    /// The rules that have matched, and the policies that were applied.
    pub met: Vec<Met>,
    /// Numbers of the rules in doubt that it came to.
    pub doubts: Vec<usize>,
    /// What accepted the first packet in each hook, by place.
    pub accepted: Vec<u32>,
    /// Whether something of it was not told.
    pub broken: bool,
}

/// The ways of all flows.
#[derive(Debug, Default)]
pub struct Paths {
    places: Vec<Place>,
    numbers: HashMap<Place, u32>,
    paths: Vec<Path>,
    known: HashMap<Path, u32>,
    current: Path,
    /// Ways of the flows of a pass, of a call, and of the flows that were judged.
    pass: Vec<u32>,
    call: Vec<u32>,
    flows: Vec<u32>,
}

/// A flow that was not injected.
const NONE: u32 = u32::MAX;

impl Paths {
    /// Rules and policies that flows have come to.
    pub fn places(&self) -> &[Place] {
        &self.places
    }

    /// The way of a flow; `None` if it was not injected.
    pub fn of(&self, flow: usize) -> Option<&Path> {
        let number = *self.flows.get(flow)?;
        self.paths.get(number as usize)
    }

    /// Rules that a flow may have met, since it is not known by which device it came: those of all ways that were tried.
    pub fn perhaps(&self) -> BTreeSet<u32> {
        // The ways of the flows themselves are among them.
        let mut places = BTreeSet::new();
        for path in &self.paths {
            places.extend(path.met.iter().map(|met| met.place));
        }
        places
    }

    /// So many flows are about to be injected.
    pub(super) fn expect(&mut self, flows: usize) {
        self.pass = vec![NONE; flows];
    }

    /// A flow's packets are about to be injected.
    pub(super) fn begin(&mut self) {
        self.current = Path::default();
    }

    pub(super) fn add(&mut self, step: Step, passed: &[Passed], doubts: &[usize], whole: bool) {
        for one in passed {
            let place = match self.numbers.get(&one.place) {
                Some(&number) => number,
                None => {
                    let number = self.places.len() as u32;
                    self.places.push(one.place.clone());
                    self.numbers.insert(one.place.clone(), number);
                    number
                }
            };
            let answer = step == Step::Answer;
            let met = Met { place, answer };
            if !self.current.met.contains(&met) {
                self.current.met.push(met);
            }
            if one.accepts && step == Step::First {
                self.current.accepted.push(place);
            }
        }
        for doubt in doubts {
            if !self.current.doubts.contains(doubt) {
                self.current.doubts.push(*doubt);
            }
        }
        self.current.broken |= !whole;
    }

    /// The packets of the flow with this number have been injected.
    pub(super) fn end(&mut self, flow: usize) {
        self.pass[flow] = self.keep();
    }

    /// The way since is that of this flow, of those that were judged.
    pub(super) fn replace(&mut self, flow: usize) {
        self.flows[flow] = self.keep();
    }

    /// The number of the way since.
    fn keep(&mut self) -> u32 {
        let path = std::mem::take(&mut self.current);
        match self.known.get(&path) {
            Some(&number) => number,
            None => {
                let number = self.paths.len() as u32;
                self.paths.push(path.clone());
                self.known.insert(path, number);
                number
            }
        }
    }

    /// The flows of the pass were these of all of them.
    pub(super) fn sort_in(&mut self, members: &[usize], all: usize) {
        self.call.resize(all, NONE);
        for (&at, number) in members.iter().zip(&self.pass) {
            self.call[at] = *number;
        }
    }

    /// The ways since are those of these flows.
    pub(super) fn settle_some(&mut self, members: &[usize], all: usize) {
        self.flows.resize(all, NONE);
        for (&at, number) in members.iter().zip(std::mem::take(&mut self.call)) {
            self.flows[at] = number;
        }
    }

    /// The ways since are those of the flows. Others that follow are only tried.
    pub(super) fn settle(&mut self) {
        self.flows = std::mem::take(&mut self.call);
    }
}
