//! The deterministic stream of events a flood consists of.

use super::flow::Tuple;
use super::random::Order;
use super::settings::{Repeat, Settings, share};

/// How many flows later the reply of a flow follows its first packet.
///
/// A reply straight after its request would find the flow in every cache; a real one comes after a round trip.
const REPLY_LAG: u64 = 32;

/// What an event does to its entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The entry is created: NEW.
    Create,
    /// The entry exists and is updated: UPDATE.
    Update,
}

/// One event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// Number of the flow, from 0.
    pub flow: u64,
    /// The connection.
    pub tuple: Tuple,
    /// New or not.
    pub action: Action,
    /// Whether `IPS_SEEN_REPLY` is set after the event.
    pub replied: bool,
}

/// The iterator over the events: first every flow and the replies, then the repetitions round by round.
#[derive(Clone, Debug)]
pub struct Plan<'a> {
    settings: &'a Settings,
    first: u64,
    flows: u64,
    repeats: u64,
    step: u64,
    reply_due: bool,
    repeated: u64,
    order: Order,
}

impl Settings {
    /// The whole stream.
    pub fn plan(&self) -> Plan<'_> {
        self.part(0, 1)
    }

    /// Part `number` of `parts`: the parts have no flow in common, so they can be sent by sockets that know
    /// nothing of each other, and an update never overtakes its entry.
    pub fn part(&self, number: u64, parts: u64) -> Plan<'_> {
        let (first, end) = (
            share(self.distinct, number, parts),
            share(self.distinct, number + 1, parts),
        );
        let repeats =
            share(self.repeats(), end, self.distinct) - share(self.repeats(), first, self.distinct);
        let order = Order::new(end - first, self.profile.seed, 0);
        Plan {
            settings: self,
            first,
            flows: end - first,
            repeats,
            step: 0,
            reply_due: false,
            repeated: 0,
            order,
        }
    }
}

impl Plan<'_> {
    fn event(&self, flow: u64, round: u64, action: Action, replied: bool) -> Event {
        Event {
            flow,
            tuple: self.settings.profile.tuple(flow, round),
            action,
            replied,
        }
    }

    fn sighting(&mut self) -> Option<Event> {
        while self.step < self.flows + REPLY_LAG {
            if !self.reply_due {
                self.reply_due = true;
                if self.step < self.flows {
                    let flow = self.first + self.order.at(self.step);
                    return Some(self.event(flow, 0, Action::Create, false));
                }
            }
            self.reply_due = false;
            let step = self.step;
            self.step += 1;
            if step >= REPLY_LAG && step - REPLY_LAG < self.flows {
                let flow = self.first + self.order.at(step - REPLY_LAG);
                if self.settings.is_replied(flow) {
                    return Some(self.event(flow, 0, Action::Update, true));
                }
            }
        }
        None
    }

    fn repetition(&mut self) -> Option<Event> {
        if self.repeated == self.repeats {
            return None;
        }
        let (round, position) = (1 + self.repeated / self.flows, self.repeated % self.flows);
        if position == 0 {
            self.order = Order::new(self.flows, self.settings.profile.seed, round);
        }
        self.repeated += 1;
        let flow = self.first + self.order.at(position);
        let connections = self.settings.profile.connections(flow);
        let (connection, action) = match self.settings.repeat {
            Repeat::New if round < connections => (round, Action::Create),
            Repeat::New => (round % connections, Action::Update),
            Repeat::Update => (0, Action::Update),
        };
        // Only the first connection of a flow is ever replied to.
        Some(self.event(
            flow,
            connection,
            action,
            connection == 0 && self.settings.is_replied(flow),
        ))
    }
}

impl Iterator for Plan<'_> {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        self.sighting().or_else(|| self.repetition())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::{Family, Profile, Protocol};
    use std::collections::{HashMap, HashSet};
    use std::net::IpAddr;

    fn settings(entries: u64, distinct: u64, replied_percent: u8, repeat: Repeat) -> Settings {
        let protocols = vec![(Protocol::Tcp, 5), (Protocol::Udp, 4), (Protocol::Icmp, 1)];
        let profile = Profile {
            family: Family::Mixed,
            protocols,
            privileged_percent: 10,
            seed: 3,
        };
        Settings {
            entries,
            distinct,
            replied_percent,
            repeat,
            profile,
        }
    }

    /// conntracker's idea of a flow, written down a second time and in another way.
    type Classic = (bool, Protocol, IpAddr, IpAddr, u16, u16);

    fn classic(tuple: &Tuple) -> Classic {
        let source_port = if tuple.protocol == Protocol::Icmp {
            0
        } else {
            tuple.source_port.min(1024)
        };
        let six = tuple.source.is_ipv6();
        (
            six,
            tuple.protocol,
            tuple.source,
            tuple.destination,
            source_port,
            tuple.destination_port,
        )
    }

    #[test]
    fn numbers_are_exact_whatever_the_parts() {
        for repeat in [Repeat::New, Repeat::Update] {
            for (entries, distinct, percent) in [
                (1, 1, 0),
                (20_000, 3000, 30),
                (500, 3, 100),
                (9000, 9000, 0),
            ] {
                let settings = settings(entries, distinct, percent, repeat);
                assert_eq!(settings.check(), Ok(()));
                for parts in [1, 2, 3, 7] {
                    let mut table: HashMap<Classic, bool> = HashMap::new();
                    let mut sent = 0;
                    for event in (0..parts).flat_map(|number| settings.part(number, parts)) {
                        sent += 1;
                        *table.entry(classic(&event.tuple)).or_default() |= event.replied;
                    }
                    assert_eq!(sent, entries);
                    assert_eq!(table.len() as u64, distinct);
                    let confirmed = table.values().filter(|confirmed| **confirmed).count() as u64;
                    assert_eq!(confirmed, settings.replies());
                }
            }
        }
    }

    #[test]
    fn created_once_and_updated_only_when_there() {
        for repeat in [Repeat::New, Repeat::Update] {
            let settings = settings(200_000, 700, 40, repeat);
            let mut replied: HashMap<Tuple, bool> = HashMap::new();
            for event in settings.plan() {
                match event.action {
                    Action::Create => {
                        assert_eq!(replied.insert(event.tuple, event.replied), None);
                        assert!(!event.replied);
                    }
                    // The kernel refuses to take IPS_SEEN_REPLY back.
                    Action::Update => {
                        let before = replied
                            .insert(event.tuple, event.replied)
                            .expect("no entry to update");
                        assert!(event.replied >= before);
                    }
                }
            }
            assert!(replied.len() as u64 <= settings.most_entries());
        }
    }

    #[test]
    fn used_up_ports_are_updated() {
        let mut settings = settings(70_000, 1, 100, Repeat::New);
        settings.profile.privileged_percent = 0;
        settings.profile.protocols = vec![(Protocol::Tcp, 1)];
        let created: HashSet<Tuple> = settings
            .plan()
            .filter(|event| event.action == Action::Create)
            .map(|event| event.tuple)
            .collect();
        assert_eq!(created.len(), 64_511);
        assert!(
            settings
                .plan()
                .last()
                .is_some_and(|event| event.action == Action::Update)
        );
    }

    #[test]
    fn the_seed_decides() {
        let one = settings(5000, 1000, 20, Repeat::New);
        let mut other = one.clone();
        assert!(one.plan().eq(other.plan()));
        other.profile.seed += 1;
        assert!(!one.plan().eq(other.plan()));
    }
}
