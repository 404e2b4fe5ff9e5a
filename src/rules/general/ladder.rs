//! The rungs of a service's ladder, and how each would have done on the days that were seen.
//!
//! A rung is a level of sources and a level of destinations. At a rung the flows of a service fall into cells: an atom of
//! sources with an atom of destinations. A rule is made of a cell as soon as it is ripe, which is when it has as many
//! members as its atoms need ([`Steps::need`]); what lies in other cells stays as it was seen, flow by flow.
//!
//! The hold-out: rules made at the beginning of a day know what was seen until then. A flow that was new on that day would
//! have been stopped, unless its cell was ripe on a day before.
//!
//! ```text
//! 443 from lan0 to the Internet      addresses to addresses   addresses to all    network to all
//! day 0  .11 to A, .11 to B, ...     -                        -                   -
//! day 1  .11 to C                    stopped                  passes              passes
//! day 1  .12 to A                    stopped                  stopped: .12 is new passes
//! ```

use super::cells::{Cells, Firsts};
use super::evidence::{Key, Relation, Target, Used};
use super::sensitive::Gives;
use super::side::{Level, Side, Steps, Which};
use super::{Evidence, Links, outlook};

/// More blocks than these say no more than that everybody may.
const BLOCKS: usize = 40;

/// So many days have all days of the week.
pub const WEEK: u16 = 7;

/// A rung: indices of the levels of both sides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Rung {
    /// Of [`Side::steps`] of the sources.
    pub sources: usize,
    /// Of those of the destinations.
    pub destinations: usize,
}

/// What rules of a rung would have done, and what they admit.
#[derive(Clone, Debug)]
pub struct Trial {
    /// The rung that was tried.
    pub rung: Rung,
    /// Flows that would have been stopped, by day. On the first day nothing is counted.
    pub missed: Vec<u32>,
    /// The same as far as it says something of the days to come: flows of a cell that is ripe in the end count only where
    /// they are its first ones. That a cell was not ripe yet is over.
    pub ahead: Vec<u32>,
    /// What a choice goes by: the last days of `ahead`, and of few days also what it would be if time went the other way.
    pub recent: Vec<u32>,
    /// How rules made earlier would have done since.
    pub views: Vec<View>,
    /// The same if time went the other way, of few days.
    pub backward: Vec<View>,
    /// Pairs of a source and a destination that are admitted.
    pub admitted: f64,
    /// Whether it takes so many blocks that nobody would read them.
    pub is_long: bool,
    /// Whether it names addresses that come and go.
    pub is_fleeting: bool,
    /// Whether it names addresses in a network where none lasts.
    pub is_passing: bool,
}

/// A rung as it looked at the beginning of a day, and how its rules would have done from then on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// The day.
    pub day: u16,
    /// What [`Trial::ahead`] was then, of the last days before it.
    pub ahead: Vec<u32>,
    /// Flows that rules made then would have stopped, on that day and on each day after it. A flow counts on each day from
    /// its first to its last one, since the rules stay as they are.
    pub stopped: Vec<u32>,
}

/// A service with its sides.
#[derive(Clone, Debug)]
pub struct Ladder<'a> {
    /// The service that the ladder is of.
    pub key: Key,
    /// Its flows, by day.
    pub relations: &'a [Relation],
    /// The steps that its sources can climb.
    pub sources: Side,
    /// The steps that its destinations can climb.
    pub destinations: Side,
    /// What it gives, if it is sensitive.
    pub gives: Option<Gives>,
    /// The options by which it was given how far its sides go.
    pub by_hand: Vec<&'static str>,
    pub(super) days: u16,
    /// Source and destination of each flow, as indices of the addresses of the sides.
    pub(super) ends: Vec<(u32, u32)>,
}

impl<'a> Ladder<'a> {
    /// That of a service.
    pub fn new(used: &'a Used, gives: Option<Gives>, links: &Links, evidence: &Evidence) -> Self {
        let relations = &used.relations;
        let side = |which, address: fn(&Relation) -> u128| {
            let mut addresses: Vec<u128> = relations.iter().map(address).collect();
            addresses.sort_unstable();
            addresses.dedup();
            Side::new(which, &used.key, addresses, gives, (links, evidence))
        };
        let sources = side(Which::Sources, |one| one.source);
        let destinations = side(Which::Destinations, |one| one.destination);
        let index = |side: &Side, address| {
            let found = side.addresses.binary_search(&address);
            found.expect("it is one of them") as u32
        };
        let ends = relations.iter().map(|one| {
            let source = index(&sources, one.source);
            (source, index(&destinations, one.destination))
        });
        Self {
            key: used.key,
            relations,
            ends: ends.collect(),
            sources,
            destinations,
            gives,
            by_hand: evidence.by_hand.options(
                used.key.family,
                &used.key.protocols(),
                used.key.service,
            ),
            days: evidence.days,
        }
    }

    /// All rungs, each tried. The first is that of what was seen and nothing else.
    ///
    /// Of less than a week some days of the week are missing, and the last day may be a Sunday. There is no reason then why
    /// rules should hold from the earlier days to the later ones rather than from the later to the earlier: both are tried.
    pub fn trials(&self) -> Vec<Trial> {
        let mut trials = self.tried();
        if self.days < WEEK {
            let mut relations: Vec<Relation> = { self.relations.iter() }
                .map(|one| match one.first < self.days {
                    true => Relation {
                        first: self.days - 1 - one.last,
                        last: self.days - 1 - one.first,
                        ..*one
                    },
                    false => *one,
                })
                .collect();
            let mut order: Vec<usize> = (0..relations.len()).collect();
            order.sort_by_key(|&at| relations[at].first);
            relations.sort_by_key(|one| one.first);
            let mirrored = Ladder {
                relations: &relations,
                ends: order.iter().map(|&at| self.ends[at]).collect(),
                sources: self.sources.clone(),
                destinations: self.destinations.clone(),
                by_hand: Vec::new(),
                ..*self
            };
            for (trial, back) in trials.iter_mut().zip(mirrored.tried()) {
                trial.recent.extend(back.recent);
                trial.backward = back.views;
            }
        }
        trials
    }

    fn tried(&self) -> Vec<Trial> {
        let missed = self.count_missed(|_, _| false);
        let views = outlook::view_days(self.days);
        let views = views
            .into_iter()
            .map(|day| self.view(day, |_| None))
            .collect();
        let narrow = Trial {
            rung: Rung::default(),
            recent: recent(&missed),
            ahead: missed.clone(),
            missed,
            views,
            backward: Vec::new(),
            admitted: self.seen_pairs(),
            is_long: false,
            is_fleeting: self.is_fleeting(Rung::default()),
            is_passing: self.is_passing(Rung::default()),
        };
        let mut trials = vec![narrow];
        // One flow makes no cell of several members.
        if self.relations.len() < 2 && self.is_narrow() {
            return trials;
        }
        let firsts = Firsts::new(self);
        for sources in 0..self.sources.steps.len() {
            for destinations in 0..self.destinations.steps.len() {
                let rung = Rung {
                    sources,
                    destinations,
                };
                if rung == Rung::default() {
                    continue;
                }
                let cells = self.cells_by(rung, &firsts);
                let missed = self.count_missed(|flow, day| {
                    cells.ripe[cells.of[flow] as usize].is_some_and(|ripe| ripe < day)
                });
                let ahead = self.count_missed(|flow, day| {
                    let cell = cells.of[flow] as usize;
                    cells.ripe[cell].is_some() && cells.first[cell] < day
                });
                let cell = |flow: usize| {
                    let cell = cells.of[flow] as usize;
                    Some((cells.ripe[cell]?, cells.first[cell]))
                };
                let views = outlook::view_days(self.days).into_iter();
                let views = views.map(|day| self.view(day, cell)).collect();
                trials.push(Trial {
                    rung,
                    missed,
                    recent: recent(&ahead),
                    ahead,
                    views,
                    backward: Vec::new(),
                    admitted: self.admitted(rung, &cells),
                    is_long: self.is_long(rung, &cells),
                    is_fleeting: self.is_fleeting(rung),
                    is_passing: self.is_passing(rung),
                });
            }
        }
        trials
    }

    /// Pairs that the flows stand for: each for itself, or for a network that was given by hand.
    fn seen_pairs(&self) -> f64 {
        let pairs = self.ends.iter().map(|&(source, destination)| {
            let source = self.sources.steps[0].bits_of(source);
            (source + self.destinations.steps[0].bits_of(destination)).exp2()
        });
        pairs.sum()
    }

    /// Whether a single flow could not be more than what it is.
    fn is_narrow(&self) -> bool {
        self.sources.steps.len() == 1 || self.destinations.steps.len() == 1 || self.days < 3
    }

    /// The cells of a rung.
    pub fn cells(&self, rung: Rung) -> Cells {
        self.cells_by(rung, &Firsts::new(self))
    }

    /// What was known of a rung at the beginning of a day, by the days on which each flow's cell was ripe and had its first
    /// flow.
    fn view(&self, day: u16, cell: impl Fn(usize) -> Option<(u16, u16)>) -> View {
        let span = outlook::span(day) as u16;
        let mut ahead = vec![0; usize::from(span)];
        let mut stopped = vec![0; usize::from(self.days - day)];
        let from = { self.relations }.partition_point(|one| one.first < day - span);
        let counts = |relation: &Relation| relation.first < self.days;
        let relations = self.relations.iter().enumerate().skip(from);
        for (flow, relation) in relations.take_while(|(_, one)| counts(one)) {
            let known = cell(flow).filter(|(ripe, _)| *ripe < day);
            if relation.first < day {
                let passes = known.is_some_and(|(_, first)| first < relation.first);
                // On the first day nothing is counted.
                let at = usize::from(relation.first + span - day);
                ahead[at] += u32::from(!passes && relation.first > 0);
            } else if known.is_none() {
                let days = usize::from(relation.first - day)..=usize::from(relation.last - day);
                stopped[days].iter_mut().for_each(|on| *on += 1);
            }
        }
        View {
            day,
            ahead,
            stopped,
        }
    }

    fn count_missed(&self, passes: impl Fn(usize, u16) -> bool) -> Vec<u32> {
        let mut missed = vec![0; usize::from(self.days)];
        for (flow, relation) in self.relations.iter().enumerate() {
            let counts = (1..self.days).contains(&relation.first);
            if counts && !passes(flow, relation.first) {
                missed[usize::from(relation.first)] += 1;
            }
        }
        missed
    }

    /// Whether it names addresses that will be others': of containers, or such as the gateway gives, for what it gives itself
    /// and for what may go to everybody on the Internet. Which of its addresses may do that keeps nobody out tomorrow.
    fn is_passing(&self, rung: Rung) -> bool {
        let is_own = matches!(self.key.target, Target::Own | Target::Group(_));
        let to_everybody = self.destinations.is_internet
            && self.destinations.steps[rung.destinations].level == Level::Zone;
        let passing = |side: &Side, step: usize| {
            (side.is_passing || (is_own || to_everybody) && side.is_dynamic)
                && side.steps[step].level == Level::Address
                && side.steps.len() > 1
        };
        self.gives.is_none()
            && (passing(&self.sources, rung.sources)
                || passing(&self.destinations, rung.destinations))
    }

    fn is_fleeting(&self, rung: Rung) -> bool {
        let fleeting = |side: &Side, step: usize| {
            side.is_dynamic && side.steps[step].level == Level::Address && side.steps.len() > 1
        };
        self.gives.is_none()
            && (fleeting(&self.sources, rung.sources)
                || fleeting(&self.destinations, rung.destinations))
    }

    /// Whether the blocks of the ripe cells are too many to be read.
    fn is_long(&self, rung: Rung, cells: &Cells) -> bool {
        let ripe = || {
            let cells = cells.atoms.iter().zip(&cells.ripe);
            cells
                .filter(|(_, ripe)| ripe.is_some())
                .map(|(cell, _)| *cell)
        };
        let many = |steps: &Steps, atoms: &mut dyn Iterator<Item = u32>| {
            let mut different: Vec<u32> = atoms.collect();
            different.sort_unstable();
            different.dedup();
            matches!(steps.level, Level::Near | Level::Far) && different.len() > BLOCKS
        };
        let (sources, destinations) = (rung.sources, rung.destinations);
        many(&self.sources.steps[sources], &mut ripe().map(|cell| cell.0))
            || many(
                &self.destinations.steps[destinations],
                &mut ripe().map(|cell| cell.1),
            )
    }

    /// How many pairs of addresses rules of these cells admit.
    fn admitted(&self, rung: Rung, cells: &Cells) -> f64 {
        let sources = &self.sources.steps[rung.sources];
        let destinations = &self.destinations.steps[rung.destinations];
        let size = |steps: &Steps, atom: u32| steps.bits[atom as usize];
        let ripe = cells.atoms.iter().zip(&cells.ripe);
        let ripe = ripe.filter(|(_, ripe)| ripe.is_some()).map(|(cell, _)| {
            let bits = size(sources, cell.0) + size(destinations, cell.1);
            bits.exp2()
        });
        let single = { cells.of.iter() }.filter(|cell| cells.ripe[**cell as usize].is_none());
        ripe.sum::<f64>() + single.count() as f64
    }
}

/// The last days of what was counted by day.
fn recent(ahead: &[u32]) -> Vec<u32> {
    let span = outlook::span(ahead.len() as u16);
    ahead[ahead.len().saturating_sub(span)..].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::capture::{Capture, Interface, Route};
    use crate::model::record::{Protocol, Service};
    use crate::rules::block::{Family, number};
    use crate::rules::direction::Chain;
    use crate::rules::general::busy::Busy;
    use crate::rules::general::evidence::Kind;

    fn links() -> Links {
        let interface = |name: &str, address: &str| Interface {
            name: name.to_owned(),
            addresses: vec![address.parse().unwrap()],
            ..Interface::default()
        };
        Links::new(&[Capture {
            interfaces: vec![
                interface("lan0", "10.1.0.1/24"),
                interface("wan0", "203.0.113.2/30"),
            ],
            routes: vec![Route {
                destination: "0.0.0.0/0".parse().unwrap(),
                gateway: None,
                interface: "wan0".to_owned(),
            }],
            ..Capture::default()
        }])
    }

    /// The ladder of a service from lan0 to wan0, of flows that are new on some day.
    fn trials(
        port: u16,
        days: u16,
        active: u64,
        flows: &[(&str, &str, u16)],
    ) -> Vec<(Rung, Vec<u32>)> {
        let links = links();
        let zone = |address: &str| {
            let network = links.network(address.parse().unwrap()).unwrap();
            (network, links.networks[network].zone)
        };
        let mut evidence = Evidence {
            days,
            ..Evidence::default()
        };
        let busy = Busy {
            sources: active,
            ..Busy::default()
        };
        evidence.networks.insert(zone("10.1.0.9").0, busy);
        let mut relations: Vec<Relation> = { flows.iter() }
            .map(|(source, destination, first)| Relation {
                source: number(source.parse().unwrap()),
                destination: number(destination.parse().unwrap()),
                first: *first,
                last: *first,
            })
            .collect();
        relations.sort_by_key(|one| one.first);
        let used = Used {
            key: Key {
                chain: Chain::Forward,
                from: Some(zone("10.1.0.9").1),
                to: Some(zone("8.8.8.8").1),
                family: Family::V4,
                conntrack_zone: 0,
                protocol: Protocol::TCP,
                coded: None,
                service: Service::Port(port),
                target: Target::Addresses,
                kind: Kind::Plain,
            },
            relations,
        };
        let ladder = Ladder::new(
            &used,
            (port == 22).then_some(Gives::Access),
            &links,
            &evidence,
        );
        let trials = ladder.trials().into_iter();
        trials.map(|trial| (trial.rung, trial.missed)).collect()
    }

    fn of(trials: &[(Rung, Vec<u32>)], sources: usize, destinations: usize) -> Vec<u32> {
        let rung = Rung {
            sources,
            destinations,
        };
        let found = trials.iter().find(|(one, _)| *one == rung);
        found.expect("it was tried").1.clone()
    }

    #[test]
    fn a_flow_passes_if_its_cell_was_ripe_the_day_before() {
        // Three clients, each of ten servers far apart on the first day; then another server, and another client.
        let servers: Vec<String> = (1..=10).map(|one| format!("{}.0.0.1", 20 + one)).collect();
        let mut flows = Vec::new();
        for client in ["10.1.0.2", "10.1.0.3", "10.1.0.4"] {
            flows.extend(servers.iter().map(|server| (client, server.as_str(), 0)));
        }
        flows.push(("10.1.0.2", "99.0.0.1", 1));
        flows.push(("10.1.0.5", "21.0.0.1", 2));
        let trials = trials(443, 3, 4, &flows);
        // Sources: addresses, network. Destinations: addresses, blocks, large blocks, everybody.
        assert_eq!(of(&trials, 0, 0), [0, 1, 1]);
        assert_eq!(of(&trials, 0, 3), [0, 0, 1]);
        assert_eq!(of(&trials, 1, 0), [0, 1, 0]);
        assert_eq!(of(&trials, 1, 3), [0, 0, 0]);
    }

    #[test]
    fn a_network_of_which_few_use_it_never_passes() {
        let flows: Vec<(&str, &str, u16)> = ["21.0.0.1", "22.0.0.1", "23.0.0.1"]
            .iter()
            .flat_map(|server| [("10.1.0.2", *server, 0), ("10.1.0.3", *server, 1)])
            .collect();
        assert_eq!(of(&trials(443, 3, 100, &flows), 1, 3), [0, 3, 0]);
        assert_eq!(of(&trials(443, 3, 100, &flows), 1, 0), [0, 3, 0]);
    }

    #[test]
    fn few_clients_of_a_sensitive_service_stay_addresses() {
        let clients: Vec<String> = (2..6).map(|one| format!("10.1.0.{one}")).collect();
        let flows: Vec<(&str, &str, u16)> = { clients.iter().enumerate() }
            .map(|(day, client)| (client.as_str(), "21.0.0.1", day as u16))
            .collect();
        assert_eq!(of(&trials(22, 4, 4, &flows), 1, 0), [0, 1, 1, 1]);
        assert_eq!(of(&trials(80, 4, 4, &flows), 1, 0), [0, 1, 1, 0]);
    }
}
