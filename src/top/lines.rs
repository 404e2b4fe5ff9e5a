//! Flows as lines: filtered, grouped and sorted.

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, HashSet};

use super::list::List;
use super::words::{ago, host, short_count};
use crate::captures::groups::Sum;
use crate::model::names::{Pattern, are_wanted};
use crate::model::printable::printable;
use crate::model::record::{Identity, Protocol, Record, Service};
use crate::model::ruled::Ruled;
use crate::model::selection::{Not, Selection};
use crate::report::places::{Grain, Place};
use crate::report::services::service;
use crate::rules::direction::destination;

/// So many members of a line are shown when it is expanded.
const MEMBERS: usize = 200;

/// What lines are made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Group {
    /// Each flow.
    #[default]
    Flow,
    /// Flows to the same service of any server.
    Service,
    /// Flows of the same client.
    Client,
    /// Flows to the same server.
    Server,
    /// Flows between the same interfaces.
    Pair,
    /// Flows that the same rule decided on.
    Rule,
    /// Flows of the same fate.
    Verdict,
}

/// What comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sort {
    /// What was first seen last.
    #[default]
    New,
    /// What was last seen last.
    Seen,
    /// What has most connections.
    Connections,
    /// What has most flows.
    Flows,
    /// By name and address.
    Name,
}

impl Group {
    /// All of them, in the order in which the key shows them.
    pub const ALL: [Self; 7] = [
        Self::Flow,
        Self::Service,
        Self::Client,
        Self::Server,
        Self::Pair,
        Self::Rule,
        Self::Verdict,
    ];

    /// What it is called.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Flow => "flow",
            Self::Service => "service",
            Self::Client => "client",
            Self::Server => "server",
            Self::Pair => "interfaces",
            Self::Rule => "rule",
            Self::Verdict => "verdict",
        }
    }

    /// The one after it, where nothing may be known of rules.
    pub fn next(self, has_rules: bool) -> Self {
        let next = after(&Self::ALL, self);
        match next {
            Self::Rule | Self::Verdict if !has_rules => Self::Flow,
            next => next,
        }
    }
}

impl Sort {
    /// All of them, in the order in which the key shows them.
    pub const ALL: [Self; 5] = [
        Self::New,
        Self::Seen,
        Self::Connections,
        Self::Flows,
        Self::Name,
    ];

    /// What it is called.
    pub const fn name(self) -> &'static str {
        match self {
            Self::New => "newest",
            Self::Seen => "last-seen",
            Self::Connections => "connections",
            Self::Flows => "flows",
            Self::Name => "name",
        }
    }

    /// The one after it.
    pub fn next(self) -> Self {
        after(&Self::ALL, self)
    }
}

fn after<T: Copy + PartialEq>(all: &[T], one: T) -> T {
    let at = all.iter().position(|other| *other == one).unwrap_or(0);
    all[(at + 1) % all.len()]
}

/// Which flows are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// By what they are.
    pub selection: Selection,
    /// By the name of the source.
    pub source_names: Vec<Not<Pattern>>,
    /// By the names of the destination.
    pub destination_names: Vec<Not<Pattern>>,
}

impl Filter {
    /// The options that say the same.
    pub fn describe(&self) -> Vec<String> {
        let mut options = self.selection.describe();
        for (option, conditions) in [
            ("--src-name", &self.source_names),
            ("--dst-name", &self.destination_names),
        ] {
            let conditions: Vec<String> = conditions.iter().map(ToString::to_string).collect();
            if !conditions.is_empty() {
                options.push(format!("{option}={}", conditions.join(",")));
            }
        }
        options
    }

    fn wants(&self, list: &List, record: &Record) -> bool {
        let identity = &record.identity;
        self.selection.wants(&identity.tuple())
            && self.selection.wants_confirmed(record.confirmed)
            && are_wanted(&self.source_names, &list.source_names(identity))
            && are_wanted(&self.destination_names, &list.destination_names(identity))
    }
}

/// Which lines are wanted.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// What they are made of.
    pub group: Group,
    /// What comes first.
    pub sort: Sort,
    /// The other way round.
    pub reverse: bool,
    /// Which flows.
    pub filter: Option<Filter>,
    /// Flows with a mark alone: new ones, or those that the baseline does not have.
    pub only_marked: bool,
    /// The lines that are expanded.
    pub expanded: HashSet<Key>,
}

/// What stands for an answer where the first packet was stopped.
pub const DENIED: &str = "denied";

/// What makes a line this line and no other.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Key {
    /// A flow.
    Flow(Identity),
    /// A service.
    Service(Protocol, Service),
    /// A client or a server.
    Host(std::net::IpAddr),
    /// Two places.
    Pair(Place, Place),
    /// A rule, or a verdict; `None` where that is not known.
    Decision(Option<String>),
}

/// A line.
#[derive(Clone, Debug)]
pub struct Line {
    /// What it is of.
    pub key: Key,
    /// The flows in it, as indices of the list.
    pub members: Vec<usize>,
    /// What they add up to.
    pub sum: Sum,
    /// Whether it stands below the line that it is a member of.
    pub is_member: bool,
    /// Whether one of its flows was not there when the view began.
    pub is_new: bool,
    /// Whether the baseline lacks one of its flows.
    pub is_unknown: bool,
    /// Whether all of its flows were denied.
    pub is_denied: bool,
}

/// The lines that are wanted, and the flows in them.
pub fn lines(list: &List, wanted: &Wanted) -> (Vec<Line>, u64) {
    let selected = { list.flows.iter().enumerate() }.filter(|(at, flow)| {
        let marks = list.marks[*at];
        let filter = wanted.filter.as_ref();
        filter.is_none_or(|filter| filter.wants(list, &flow.record))
            && (!wanted.only_marked || marks.is_new || marks.is_unknown)
    });
    let selected: Vec<usize> = selected.map(|(at, _)| at).collect();
    let flows = selected.len() as u64;
    let mut lines: Vec<Line> = match wanted.group {
        Group::Flow => { selected.into_iter() }
            .map(|at| of_flow(list, at, false))
            .collect(),
        group => {
            let mut groups: BTreeMap<Key, Vec<usize>> = BTreeMap::new();
            for at in selected {
                let key = key(list, at, group);
                groups.entry(key).or_default().push(at);
            }
            { groups.into_iter() }
                .map(|(key, members)| line(list, key, members))
                .collect()
        }
    };
    sort(&mut lines, wanted);
    if wanted.expanded.is_empty() || wanted.group == Group::Flow {
        return (lines, flows);
    }
    let mut with_members = Vec::with_capacity(lines.len());
    for line in lines {
        let is_expanded = wanted.expanded.contains(&line.key);
        let mut members: Vec<Line> = match is_expanded {
            true => { line.members.iter() }
                .map(|at| of_flow(list, *at, true))
                .collect(),
            false => Vec::new(),
        };
        with_members.push(line);
        sort(&mut members, wanted);
        with_members.extend(members.into_iter().take(MEMBERS));
    }
    (with_members, flows)
}

/// An address with its name.
fn named(address: std::net::IpAddr, name: Option<String>) -> String {
    match name {
        Some(name) => format!("{address} {name}"),
        None => address.to_string(),
    }
}

fn key(list: &List, at: usize, group: Group) -> Key {
    let identity = &list.flows[at].record.identity;
    match group {
        Group::Flow => Key::Flow(identity.clone()),
        Group::Service => Key::Service(identity.protocol, identity.service),
        Group::Client => Key::Host(identity.source),
        Group::Server => Key::Host(identity.destination),
        Group::Pair => {
            let (to, _) = destination(identity);
            let [from, to] =
                [identity.source, to].map(|address| list.places.of(address, Grain::Zone));
            Key::Pair(from, to)
        }
        Group::Rule => Key::Decision(list.ruled(at).map(Ruled::last_word)),
        Group::Verdict => Key::Decision(list.verdict(at).map(str::to_owned)),
    }
}

fn of_flow(list: &List, at: usize, is_member: bool) -> Line {
    let key = Key::Flow(list.flows[at].record.identity.clone());
    Line {
        is_member,
        ..line(list, key, vec![at])
    }
}

fn line(list: &List, key: Key, members: Vec<usize>) -> Line {
    let mut sum = Sum::default();
    for at in &members {
        sum.add(&list.flows[*at].record);
    }
    let marks = members.iter().map(|at| list.marks[*at]);
    Line {
        key,
        is_new: marks.clone().any(|marks| marks.is_new),
        is_unknown: marks.clone().any(|marks| marks.is_unknown),
        is_denied: marks.clone().all(|marks| marks.is_denied),
        members,
        sum,
        is_member: false,
    }
}

fn sort(lines: &mut [Line], wanted: &Wanted) {
    lines.sort_unstable_by(|one, other| {
        let (a, b) = (&one.sum, &other.sum);
        let order = match wanted.sort {
            Sort::New => b.first_seen.cmp(&a.first_seen),
            Sort::Seen => b.last_seen.cmp(&a.last_seen),
            Sort::Connections => Reverse(a.connections).cmp(&Reverse(b.connections)),
            Sort::Flows => Reverse(a.flows).cmp(&Reverse(b.flows)),
            Sort::Name => Ordering::Equal,
        };
        let order = order.then_with(|| one.key.cmp(&other.key));
        if wanted.reverse {
            order.reverse()
        } else {
            order
        }
    });
}

/// The headings of columns and their widths, in so many characters. 0 stands for what is left.
pub fn columns(group: Group, width: usize) -> Vec<(&'static str, usize)> {
    let rest = width.saturating_sub(2);
    match group {
        Group::Flow => {
            // What stands besides the two addresses, with a blank behind each.
            let ends = rest.saturating_sub(17 + 6 + 6 + 5 + 5 + 6) / 2;
            vec![
                ("SERVICE", 16),
                ("CLIENT", ends),
                ("SERVER", ends),
                ("ANSWER", 6),
                ("CONNS", 6),
                ("FIRST", 5),
                ("LAST", 5),
            ]
        }
        _ => {
            let name = rest.saturating_sub(7 + 8 + 9 + 7 + 6 + 6);
            vec![
                (
                    match group {
                        Group::Service => "SERVICE",
                        Group::Client => "CLIENT",
                        Group::Server => "SERVER",
                        Group::Rule => "RULE",
                        Group::Verdict => "VERDICT",
                        _ => "FROM AND TO",
                    },
                    name,
                ),
                ("FLOWS", 6),
                ("CLIENTS", 7),
                ("ANSWERED", 8),
                ("CONNS", 6),
                ("FIRST", 5),
                ("LAST", 5),
            ]
        }
    }
}

impl Line {
    /// The mark before it: `!` what the baseline does not have, `+` what was not there at the beginning.
    pub const fn mark(&self) -> char {
        match (self.is_unknown, self.is_new) {
            (true, _) => '!',
            (_, true) => '+',
            _ => ' ',
        }
    }

    /// Its cells, one for each column.
    pub fn cells(&self, list: &List, columns: &[(&'static str, usize)]) -> Vec<String> {
        let sum = &self.sum;
        let times = [sum.first_seen, sum.last_seen].map(|time| ago(time, list.now));
        let [first, last] = times;
        if let (Key::Flow(identity), true) = (&self.key, columns[1].0 == "CLIENT") {
            let room = |column: usize| columns[column].1;
            return vec![
                self.service(list, identity),
                host(identity.source, list.client_name(identity.source), room(1)),
                host(identity.destination, self.server_name(list), room(2)),
                match (self.is_denied, sum.confirmed) {
                    (true, _) => DENIED,
                    (_, 1..) => "yes",
                    _ => "no",
                }
                .to_owned(),
                short_count(sum.connections),
                first,
                last,
            ];
        }
        vec![
            self.name(list, columns[0].0),
            short_count(sum.flows),
            short_count(sum.clients.len() as u64),
            match sum.confirmed {
                _ if self.is_denied => DENIED.to_owned(),
                0 => "none".to_owned(),
                all if all == sum.flows => "all".to_owned(),
                some => format!("{}%", (some * 100 / sum.flows).clamp(1, 99)),
            },
            short_count(sum.connections),
            first,
            last,
        ]
    }

    /// The name of the server, if all of its flows go to one.
    fn server_name(&self, list: &List) -> Option<String> {
        let identities = { self.members.iter() }.map(|at| &list.flows[*at].record.identity);
        let server = identities.clone().next()?.destination;
        list.server_name(server, identities)
    }

    fn service(&self, list: &List, identity: &Identity) -> String {
        let (name, number) = service(identity.protocol, identity.service, &list.services);
        match (name.is_empty(), identity.protocol) {
            (true, _) => number,
            // Of a name alone it is not known what it goes over.
            (false, Protocol::TCP) => name,
            (false, protocol) if protocol.has_ports() => format!("{name}/{protocol}"),
            _ => name,
        }
    }

    /// What it is of, in words; of a member without what its group says.
    pub fn name(&self, list: &List, heading: &str) -> String {
        let name = match &self.key {
            Key::Flow(identity) => {
                let (of, from, to) = (
                    self.service(list, identity),
                    named(identity.source, list.client_name(identity.source)),
                    named(identity.destination, self.server_name(list)),
                );
                match (self.is_member, heading) {
                    (true, "SERVICE") => format!("  {from} > {to}"),
                    (true, "CLIENT") => format!("  {of} > {to}"),
                    (true, "SERVER") => format!("  {of} < {from}"),
                    (true, _) => format!("  {of} {from} > {to}"),
                    (false, _) => format!("{of} {from} > {to}"),
                }
            }
            Key::Service(protocol, of) => {
                let (name, number) = service(*protocol, *of, &list.services);
                match name.is_empty() {
                    true => number,
                    false => format!("{name} ({number})"),
                }
            }
            Key::Host(address) => {
                let is_server =
                    |at: &usize| list.flows[*at].record.identity.destination == *address;
                let name = match self.members.iter().all(is_server) {
                    true => self.server_name(list),
                    false => list.client_name(*address),
                };
                named(*address, name)
            }
            Key::Decision(None) => "not known".to_owned(),
            Key::Decision(Some(text)) => text.clone(),
            Key::Pair(from, to) => format!("{} > {}", from.name(), to.name()),
        };
        printable(&name).into_owned()
    }
}
