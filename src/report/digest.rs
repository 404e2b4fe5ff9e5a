//! All that a report shows, in no format.

use std::collections::HashSet;

use super::growth::Growth;
use super::matrix::Matrix;
use super::places::Places;
use super::services::{Names, Table, answering};
use crate::captures::difference::Difference;
use crate::model::capture::{Capture, Completeness};
use crate::model::evidence;
use crate::model::listing::{Flow, Listing};
use crate::model::names::Names as Hosts;
use crate::model::record::Record;
use crate::model::services::Services;
use crate::model::timestamp::Timestamp;
use crate::rules::general::coverage::Once;
use crate::rules::general::outlook::{DAYS_LEAST, Outlook};
use crate::rules::general::{self, Aim};
use crate::rules::left_out::LeftOut;
use crate::rules::summary::{self, Line};
use crate::rules::{Options, Plan, plan};

/// Bytes that parts of a page may take, about: a page of ten thousand flows stays below a megabyte.
const ROOM_SERVICES: usize = 520_000;
const ROOM_PART: usize = 70_000;
/// So many rules are shown.
const RULES: usize = 400;
/// So many captures are shown.
const CAPTURES: usize = 100;

/// What a report shows.
#[derive(Debug)]
pub struct Digest {
    /// The hosts that the captures are of.
    pub hosts: Vec<String>,
    /// The captures, the earliest first.
    pub captures: Vec<Capture>,
    /// Captures that are not among these for want of room.
    pub more_captures: usize,
    /// The worst verdict of a capture; `None` if one was not judged.
    pub verdict: Option<Completeness>,
    /// When the first capture began and the last one ended.
    pub span: (Option<Timestamp>, Option<Timestamp>),
    /// Sums over all flows.
    pub totals: Totals,
    /// When flows were new.
    pub growth: Option<Growth>,
    /// What rules of what was seen, and generalized ones, would have stopped and will.
    pub exact: Outlook,
    /// The same for generalized rules.
    pub general: Outlook,
    /// How many flows came on one day only, if that is known.
    pub once: Option<Once>,
    /// Who talks with whom.
    pub matrix: Matrix,
    /// Services that answered, with their clients.
    pub services: Table,
    /// Answered flows of one connection; `None` if the captures do not count connections.
    pub rare: Option<Table>,
    /// Flows that nobody answered.
    pub unanswered: Table,
    /// The rules that would be written.
    pub rules: Rules,
    /// What differs from an earlier capture, if one was given.
    pub changes: Option<Changes>,
}

/// Sums over all flows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Distinct flows.
    pub flows: u64,
    /// Those that were answered.
    pub confirmed: u64,
    /// Connections of them.
    pub connections: u64,
    /// Different sources.
    pub clients: usize,
    /// Different destinations.
    pub servers: usize,
}

/// The rules that would be written.
#[derive(Debug)]
pub struct Rules {
    /// Whether they are generalized.
    pub are_general: bool,
    /// The rules.
    pub lines: Vec<Line>,
    /// Rules that are not among these for want of room.
    pub more: usize,
    /// How many flows they carry.
    pub carried: u64,
    /// How many flows have no rule.
    pub missing: u64,
    /// These, by why that is so.
    pub left_out: Vec<(&'static str, u64)>,
    /// What has to be known before they are loaded.
    pub warnings: Vec<String>,
}

/// What differs from an earlier capture.
#[derive(Debug)]
pub struct Changes {
    /// The earlier captures.
    pub earlier: Vec<Capture>,
    /// Whether one of the two sides may lack flows, so that what differs may be what it missed.
    pub is_incomplete: bool,
    /// Which of the two, the earlier and the later, is a classic list, so that less could be compared.
    pub classic: [bool; 2],
    /// Flows that are new, gone, newly answered.
    pub parts: [Table; 3],
}

impl Digest {
    /// That of a list, compared with an earlier one if there is one.
    pub fn new(
        listing: Listing,
        earlier: Option<Listing>,
        services: Services,
        named: &Hosts,
    ) -> Self {
        let Listing {
            mut captures,
            mut flows,
            told,
        } = listing;
        let once = Once::count(&captures, &flows);
        let places = Places::new(&captures);
        let names = Names {
            places: &places,
            services: &services,
            hosts: named,
            told: &told,
        };
        let changes = earlier.map(|earlier| {
            let later = Listing {
                captures: captures.clone(),
                flows: flows.clone(),
                ..Listing::default()
            };
            Changes::new(earlier, later, names)
        });
        evidence::place_known(&mut flows, &captures);
        let records: Vec<Record> = flows.into_iter().map(|flow| flow.record).collect();
        let options = Options {
            services: services.clone(),
            ..Options::default()
        };
        let general = general::generalize(&captures, &records, &options, &Aim::default());
        let of_general = general.general.as_ref().expect("it was generalized");
        let (exact, outlook) = (of_general.exact.clone(), of_general.outlook.clone());
        let rules = match outlook.days >= DAYS_LEAST {
            true => Rules::new(&general),
            false => Rules::new(&plan(&captures, &records, &options)),
        };
        let all: Vec<&Record> = records.iter().collect();
        let confirmed: Vec<&Record> = { all.iter().copied() }
            .filter(|record| record.confirmed)
            .collect();
        let unconfirmed: Vec<&Record> = { all.iter().copied() }
            .filter(|record| !record.confirmed)
            .collect();
        let totals = Totals::of(&records);
        let rare = (totals.connections > 0).then(|| {
            let once = confirmed.iter().copied();
            let once: Vec<&Record> = once.filter(|record| record.connections == 1).collect();
            Table::new(&once, names, ROOM_PART)
        });
        let digest = Self {
            hosts: hosts(&captures),
            verdict: verdict(&captures),
            span: (
                captures.iter().filter_map(|capture| capture.start).min(),
                captures.iter().filter_map(|capture| capture.end).max(),
            ),
            totals,
            growth: Growth::new(&captures, &all, exact.expected()),
            exact,
            general: outlook,
            once,
            matrix: Matrix::new(&confirmed, names),
            services: Table::new(&answering(&all), names, ROOM_SERVICES),
            rare,
            unanswered: Table::new(&unconfirmed, names, ROOM_PART),
            rules,
            changes,
            more_captures: captures.len().saturating_sub(CAPTURES),
            captures: Vec::new(),
        };
        captures.sort_by_key(|capture| (capture.start, capture.end));
        captures.truncate(CAPTURES);
        Self { captures, ..digest }
    }
}

impl Totals {
    fn of(records: &[Record]) -> Self {
        let mut totals = Self::default();
        let (mut clients, mut servers) = (HashSet::new(), HashSet::new());
        for record in records {
            totals.flows += 1;
            totals.confirmed += u64::from(record.confirmed);
            totals.connections = totals.connections.saturating_add(record.connections);
            clients.insert(record.identity.source);
            servers.insert(record.identity.destination);
        }
        totals.clients = clients.len();
        totals.servers = servers.len();
        totals
    }
}

impl Rules {
    fn new(plan: &Plan) -> Self {
        let mut lines = summary::lines(plan);
        let more = lines.len().saturating_sub(RULES);
        lines.truncate(RULES);
        let mut left_out: Vec<(&'static str, u64)> = Vec::new();
        for LeftOut { reason, tally, .. } in &plan.left_out {
            match left_out.last_mut() {
                Some((text, flows)) if *text == reason.text() => *flows += tally.flows,
                _ => left_out.push((reason.text(), tally.flows)),
            }
        }
        Self {
            are_general: plan.general.is_some(),
            lines,
            more,
            carried: plan.carried().flows,
            missing: plan.missing().flows,
            left_out,
            warnings: plan.warnings.clone(),
        }
    }
}

impl Changes {
    fn new(earlier: Listing, later: Listing, names: Names<'_>) -> Self {
        let is_incomplete = |listing: &Listing| listing.captures.iter().any(Capture::is_incomplete);
        let is_incomplete = is_incomplete(&earlier) || is_incomplete(&later);
        let captures = earlier.captures.clone();
        let (difference, classic) = Difference::of(earlier, later);
        let part = |flows: Vec<Flow>| {
            let records: Vec<&Record> = flows.iter().map(|flow| &flow.record).collect();
            Table::new(&records, names, ROOM_PART)
        };
        Self {
            earlier: captures,
            is_incomplete,
            classic,
            parts: [difference.new, difference.gone, difference.confirmed].map(part),
        }
    }
}

/// The hosts of captures, each once.
pub fn hosts(captures: &[Capture]) -> Vec<String> {
    let hosts = captures.iter().filter_map(|capture| capture.host.clone());
    let mut hosts: Vec<String> = hosts.collect();
    hosts.sort_unstable();
    hosts.dedup();
    hosts
}

/// The worst verdict. An incomplete capture makes it all incomplete, whatever is not known of others.
fn verdict(captures: &[Capture]) -> Option<Completeness> {
    let judged: Vec<Option<Completeness>> = captures.iter().map(Capture::judged).collect();
    if judged.contains(&Some(Completeness::Incomplete)) {
        return Some(Completeness::Incomplete);
    }
    let judged: Option<Vec<Completeness>> = judged.into_iter().collect();
    judged?.into_iter().max()
}
