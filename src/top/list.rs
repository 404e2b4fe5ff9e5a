//! The flows that are shown, what is known besides of each, and how they grew.

use std::collections::{HashSet, VecDeque};
use std::net::IpAddr;

use crate::captures::difference::Known;
use crate::live::session::view::Figures;
use crate::model::capture::Capture;
use crate::model::learnt::{self, Learnt};
use crate::model::listing::Flow;
use crate::model::names::Names;
use crate::model::record::{Identity, Protocol, Record};
use crate::model::ruled::{Ruled, Told};
use crate::model::services::Services;
use crate::model::timestamp::Timestamp;
use crate::report::places::Places;

/// So many steps of time a curve has.
pub const STEPS: usize = 60;

/// What is shown of the past, in equal steps of time.
#[derive(Clone, Debug, Default)]
pub struct Curves {
    /// Events a second, or of files flows that were last seen in the step.
    pub events: VecDeque<u64>,
    /// Flows that were new in the step.
    pub new: VecDeque<u64>,
}

/// What marks a flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// It was not there when the view began.
    pub is_new: bool,
    /// The baseline does not have it.
    pub is_unknown: bool,
    /// It did not get through.
    pub is_denied: bool,
}

/// All of it.
#[derive(Debug)]
pub struct List {
    /// The flows.
    pub flows: Vec<Flow>,
    /// What marks each.
    pub marks: Vec<Marks>,
    /// The captures that they are of.
    pub captures: Vec<Capture>,
    /// Where addresses lie.
    pub places: Places,
    /// Names of ports.
    pub services: Services,
    /// Names of hosts and networks.
    pub names: Names,
    /// What is known besides of rules and names.
    pub told: Told,
    /// What times are told from: now, or the end of the captures.
    pub now: Option<Timestamp>,
    /// What was there at the beginning, of a capture that runs.
    first: Option<HashSet<Identity>>,
    baseline: Option<Known>,
    /// How it grew.
    pub curves: Curves,
    last: Option<Figures>,
}

/// Flows by class: TCP, UDP, ICMP, others.
pub const CLASSES: [&str; 4] = ["TCP", "UDP", "ICMP", "other"];

impl List {
    /// Nothing yet.
    pub fn new(services: Services, names: Names, baseline: Option<Known>) -> Self {
        Self {
            flows: Vec::new(),
            marks: Vec::new(),
            captures: Vec::new(),
            places: Places::new(&[]),
            services,
            names,
            told: Told::default(),
            now: None,
            first: None,
            baseline,
            curves: Curves::default(),
            last: None,
        }
    }

    /// Whether there is something to compare with.
    pub const fn has_baseline(&self) -> bool {
        self.baseline.is_some()
    }

    /// Takes note of the captures.
    pub fn describe(&mut self, captures: Vec<Capture>) {
        self.places = Places::new(&captures);
        self.captures = captures;
    }

    /// Takes the flows of a capture that runs, and the names that led to them.
    pub fn take_live(&mut self, flows: Vec<Flow>, told: Told) {
        self.told = told;
        self.now = Some(Timestamp::now());
        let first = self.first.get_or_insert_with(|| {
            { flows.iter() }
                .map(|flow| flow.record.identity.clone())
                .collect()
        });
        let marks = flows.iter().map(|flow| Marks {
            is_new: !first.contains(&flow.record.identity),
            is_unknown: is_unknown(self.baseline.as_ref(), &flow.record),
            is_denied: false,
        });
        self.marks = marks.collect();
        self.flows = flows;
    }

    /// Takes the flows of files, and behind them those that did not get through. None of them is new: that is a question of a
    /// capture that runs.
    pub fn take_stored(&mut self, mut flows: Vec<Flow>, told: Told) {
        self.told = told;
        let end = self.captures.iter().filter_map(|capture| capture.end).max();
        let last = flows.iter().filter_map(|flow| flow.record.last_seen).max();
        self.now = end.max(last);
        self.curves = Curves::stored(&flows, self.now);
        let marks = flows.iter().map(|flow| Marks {
            is_new: false,
            is_unknown: is_unknown(self.baseline.as_ref(), &flow.record),
            is_denied: false,
        });
        self.marks = marks.collect();
        for denied in &self.told.denied {
            flows.push(denied.flow.clone());
            self.marks.push(Marks {
                is_denied: true,
                ..Marks::default()
            });
        }
        self.flows = flows;
    }

    /// Takes note of what a second has brought.
    pub fn step(&mut self, figures: Figures, seconds: f64) {
        if let Some(last) = self.last.replace(figures) {
            let a_second = |now: u64, before: u64| {
                (now.saturating_sub(before) as f64 / seconds.max(0.001)).round() as u64
            };
            let curves = &mut self.curves;
            for (curve, value) in [
                (&mut curves.events, a_second(figures.events, last.events)),
                (&mut curves.new, a_second(figures.flows, last.flows)),
            ] {
                if curve.len() == STEPS {
                    curve.pop_front();
                }
                curve.push_back(value);
            }
        }
    }

    /// Flows by class.
    pub fn classes(&self) -> [u64; 4] {
        let mut counts = [0; 4];
        let passed = self.flows.len() - self.told.denied.len();
        for flow in &self.flows[..passed] {
            let class = match flow.record.identity.protocol {
                Protocol::TCP => 0,
                Protocol::UDP => 1,
                protocol if protocol.is_icmp() => 2,
                _ => 3,
            };
            counts[class] += 1;
        }
        counts
    }

    /// What decided on a flow, if that is known.
    pub fn ruled(&self, at: usize) -> Option<&Ruled> {
        let passed = self.flows.len() - self.told.denied.len();
        match at.checked_sub(passed) {
            Some(denied) => self.told.denied[denied].ruled.as_deref(),
            None => { self.told.rules.get(&self.flows[at].record.identity) }.map(AsRef::as_ref),
        }
    }

    /// What became of the first packet of a flow, if that is known.
    pub fn verdict(&self, at: usize) -> Option<&str> {
        match self.ruled(at) {
            Some(ruled) => Some(&ruled.verdict),
            None => self.marks[at].is_denied.then_some("dropped"),
        }
    }

    /// Whether something is known of rules.
    pub fn has_rules(&self) -> bool {
        self.told.has_rules()
    }

    /// The names that a flow's source has.
    pub fn source_names(&self, identity: &Identity) -> Vec<&str> {
        self.names.of(identity.source).into_iter().collect()
    }

    /// The names that a flow's destination has: that of a file, and those by which its client came.
    pub fn destination_names(&self, identity: &Identity) -> Vec<&str> {
        let own = self.names.of(identity.destination).into_iter();
        let learnt = self.told.names(identity).iter();
        own.chain(learnt.map(|one| one.name.as_str())).collect()
    }

    /// The name of an address that flows come from.
    pub fn client_name(&self, client: IpAddr) -> Option<String> {
        self.names.of(client).map(str::to_owned)
    }

    /// The name of an address that these flows go to: that of a file, or the one by which their clients came.
    pub fn server_name<'a>(
        &self,
        server: IpAddr,
        flows: impl Iterator<Item = &'a Identity>,
    ) -> Option<String> {
        self.names.of(server).map(str::to_owned).or_else(|| {
            let mut names: Vec<Learnt> = Vec::new();
            for identity in flows {
                learnt::join(&mut names, self.told.names(identity).to_vec());
            }
            learnt::in_short(&names)
        })
    }

    /// How many flows have each mark.
    pub fn marked(&self) -> (u64, u64) {
        let count =
            |of: fn(&Marks) -> bool| self.marks.iter().filter(|marks| of(marks)).count() as u64;
        (count(|marks| marks.is_new), count(|marks| marks.is_unknown))
    }
}

fn is_unknown(baseline: Option<&Known>, record: &Record) -> bool {
    baseline.is_some_and(|known| known.has(record) == Some(false))
}

impl Curves {
    /// Those of files, over the time in which flows were seen.
    fn stored(flows: &[Flow], end: Option<Timestamp>) -> Self {
        let times = |of: fn(&Record) -> Option<Timestamp>| {
            move |flow: &Flow| of(&flow.record).map(Timestamp::us)
        };
        let first = flows.iter().filter_map(times(|record| record.first_seen));
        let Some(start) = first.min() else {
            return Self::default();
        };
        let end = end.map_or(start, Timestamp::us).max(start);
        let step = ((end - start) / STEPS as u64 + 1).max(1);
        let counts = |of: fn(&Record) -> Option<Timestamp>| {
            let mut counts = vec![0_u64; STEPS];
            for us in flows.iter().filter_map(times(of)) {
                let at = us.saturating_sub(start) / step;
                counts[usize::try_from(at).map_or(STEPS - 1, |at| at.min(STEPS - 1))] += 1;
            }
            counts.into()
        };
        Self {
            events: counts(|record| record.last_seen),
            new: counts(|record| record.first_seen),
        }
    }
}
