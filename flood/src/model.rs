//! The outcome a listener should arrive at, as text.

use super::flow::{PRIVILEGED_PORT_MAX, Protocol, Tuple};
use super::plan::Event;
use super::settings::Settings;
use std::io::{self, Write};

const SEEN: u8 = 1;
const CONFIRMED: u8 = 2;

/// The flows of a stream, or of what was sent of it, with their state.
#[derive(Clone, Debug)]
pub struct Model<'a> {
    settings: &'a Settings,
    /// One octet for each flow.
    states: Vec<u8>,
}

impl<'a> Model<'a> {
    /// A model that has seen nothing.
    pub fn new(settings: &'a Settings) -> Self {
        Self {
            settings,
            states: vec![0; settings.distinct as usize],
        }
    }

    /// The model after the first `sent[i]` events of part `i` of the stream.
    pub fn replay(settings: &'a Settings, sent: &[u64]) -> Self {
        let mut model = Self::new(settings);
        for (number, count) in sent.iter().enumerate() {
            for event in settings
                .part(number as u64, sent.len() as u64)
                .take(*count as usize)
            {
                model.observe(&event);
            }
        }
        model
    }

    /// Takes in one event: unreplied, it lists its flow; replied, it confirms a listed one.
    pub fn observe(&mut self, event: &Event) {
        let state = &mut self.states[event.flow as usize];
        if !event.replied {
            *state |= SEEN;
        } else if *state & SEEN != 0 {
            *state |= CONFIRMED;
        }
    }

    /// How many flows are listed.
    pub fn listed(&self) -> u64 {
        self.states
            .iter()
            .filter(|state| **state & SEEN != 0)
            .count() as u64
    }

    /// Writes the listed flows, unsorted: class, source, source port, destination, destination port, and
    /// `confirmed` or `unconfirmed`, separated by tabs. For ICMP the ports are the type and the code.
    ///
    /// Errors: those of `out`.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        for (flow, state) in self
            .states
            .iter()
            .enumerate()
            .filter(|(_, state)| **state & SEEN != 0)
        {
            let Tuple {
                protocol,
                source,
                destination,
                source_port,
                destination_port,
            } = self.settings.profile.tuple(flow as u64, 0);
            let six = source.is_ipv6();
            let (name, source_port, destination_port) = match protocol {
                Protocol::Tcp => (
                    "tcp",
                    source_port.min(PRIVILEGED_PORT_MAX),
                    destination_port,
                ),
                Protocol::Udp => (
                    "udp",
                    source_port.min(PRIVILEGED_PORT_MAX),
                    destination_port,
                ),
                Protocol::Icmp => ("icmp", if six { 128 } else { 8 }, 0),
            };
            let version = if six { 6 } else { 4 };
            let state = if state & CONFIRMED != 0 {
                "confirmed"
            } else {
                "unconfirmed"
            };
            writeln!(
                out,
                "{name}{version}\t{source}\t{source_port}\t{destination}\t{destination_port}\t{state}"
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::{Family, Profile};
    use crate::settings::Repeat;
    use std::collections::HashSet;

    fn settings() -> Settings {
        let protocols = vec![(Protocol::Tcp, 1), (Protocol::Udp, 1), (Protocol::Icmp, 1)];
        let profile = Profile {
            family: Family::Mixed,
            protocols,
            privileged_percent: 20,
            seed: 5,
        };
        Settings {
            entries: 5000,
            distinct: 1000,
            replied_percent: 25,
            repeat: Repeat::New,
            profile,
        }
    }

    #[test]
    fn every_flow_has_one_line() {
        let settings = settings();
        let model = Model::replay(&settings, &[u64::MAX >> 1]);
        assert_eq!(model.listed(), 1000);
        let mut text = Vec::new();
        model.write(&mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        let flows: HashSet<&str> = text
            .lines()
            .map(|line| line.rsplit_once('\t').unwrap().0)
            .collect();
        assert_eq!(flows.len(), 1000);
        assert_eq!(
            text.lines()
                .filter(|line| line.ends_with("\tconfirmed"))
                .count(),
            250
        );
        assert!(text.lines().all(|line| line.split('\t').count() == 6));
        assert!(text.contains("icmp6\t2001:db8:"));
    }

    #[test]
    fn what_was_not_sent_is_not_listed() {
        let settings = settings();
        assert_eq!(Model::replay(&settings, &[0, 0]).listed(), 0);
        assert_eq!(Model::replay(&settings, &[10, 5]).listed(), 15);
    }
}
