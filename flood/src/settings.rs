//! What a flood is to contain, and whether the numbers agree with each other.

use super::flow::{FLOWS_MAX, Profile};
use std::fmt;

/// How a flow that has been seen comes up again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// As a new connection from another source port (or with another echo identifier): a NEW event. Flows
    /// with a privileged source port, and flows that have used up their ports, are updated instead.
    New,
    /// As an update of the first connection: an UPDATE event, and no further entry in the kernel's table.
    Update,
}

/// What the stream is to contain.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Events in all; the stream has exactly this many.
    pub entries: u64,
    /// Distinct flows as conntracker counts them; the stream has exactly this many.
    pub distinct: u64,
    /// Percentage of the flows that are replied to, once each.
    pub replied_percent: u8,
    /// Form of the repetitions.
    pub repeat: Repeat,
    /// The flows.
    pub profile: Profile,
}

impl Settings {
    /// The number of distinct flows that uses up `entries` without repeating any.
    pub fn most_distinct(entries: u64, replied_percent: u8) -> u64 {
        let entries = u128::from(entries);
        let estimate = entries * 100 / (100 + u128::from(replied_percent));
        // The number of replies is rounded down, so one flow more may fit.
        let fits =
            |distinct: u128| distinct + distinct * u128::from(replied_percent) / 100 <= entries;
        let most = if fits(estimate + 1) {
            estimate + 1
        } else {
            estimate
        };
        most.min(u128::from(FLOWS_MAX)) as u64
    }

    /// The number of flows that are replied to.
    pub fn replies(&self) -> u64 {
        (u128::from(self.distinct) * u128::from(self.replied_percent) / 100) as u64
    }

    /// The number of events that repeat a flow.
    pub fn repeats(&self) -> u64 {
        self.entries.saturating_sub(self.distinct + self.replies())
    }

    /// An upper bound of the entries the kernel will hold for this stream, if none dies meanwhile.
    pub fn most_entries(&self) -> u64 {
        match self.repeat {
            Repeat::New => self.distinct + self.repeats(),
            Repeat::Update => self.distinct,
        }
    }

    /// Errors: if the numbers contradict each other; the message is meant for the user.
    pub fn check(&self) -> Result<(), SettingsError> {
        let weights: u64 = self
            .profile
            .protocols
            .iter()
            .map(|(_, weight)| u64::from(*weight))
            .sum();
        if self.replied_percent > 100 || self.profile.privileged_percent > 100 {
            return Err(SettingsError::Percentage);
        }
        if weights == 0 {
            return Err(SettingsError::NoProtocol);
        }
        if self.distinct == 0 || self.distinct > FLOWS_MAX {
            return Err(SettingsError::Distinct);
        }
        let least = self.distinct + self.replies();
        if self.entries < least {
            return Err(SettingsError::TooFewEntries {
                least,
                distinct: self.distinct,
                replies: self.replies(),
            });
        }
        Ok(())
    }

    /// Whether flow `index` is one of the replied ones; they are spread evenly, and their number is exact.
    pub fn is_replied(&self, index: u64) -> bool {
        share(self.replies(), index + 1, self.distinct)
            > share(self.replies(), index, self.distinct)
    }
}

/// `total * part / parts`, rounded down.
pub(super) fn share(total: u64, part: u64, parts: u64) -> u64 {
    (u128::from(total) * u128::from(part) / u128::from(parts)) as u64
}

/// Why settings make no stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettingsError {
    /// A percentage above 100.
    Percentage,
    /// No protocol, or weights that are all 0.
    NoProtocol,
    /// No flow, or more than there are.
    Distinct,
    /// Not even one event for each flow and reply.
    TooFewEntries {
        /// The entries needed.
        least: u64,
        /// The flows asked for.
        distinct: u64,
        /// The replies asked for.
        replies: u64,
    },
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Percentage => write!(f, "a percentage is at most 100"),
            Self::NoProtocol => write!(f, "at least one protocol needs a weight above 0"),
            Self::Distinct => write!(
                f,
                "the number of distinct flows must be from 1 to {FLOWS_MAX}"
            ),
            Self::TooFewEntries {
                least,
                distinct,
                replies,
            } => {
                write!(
                    f,
                    "{distinct} distinct flows and {replies} replies need --entries {least} or more"
                )
            }
        }
    }
}

impl std::error::Error for SettingsError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::{Family, Protocol};

    fn settings(entries: u64, distinct: u64, replied_percent: u8) -> Settings {
        let protocols = vec![(Protocol::Tcp, 1)];
        let profile = Profile {
            family: Family::V4,
            protocols,
            privileged_percent: 0,
            seed: 0,
        };
        Settings {
            entries,
            distinct,
            replied_percent,
            repeat: Repeat::New,
            profile,
        }
    }

    #[test]
    fn most_distinct_is_the_most() {
        for percent in [0, 1, 30, 50, 99, 100] {
            for entries in 2..500 {
                let most = Settings::most_distinct(entries, percent);
                assert_eq!(
                    settings(entries, most, percent).check(),
                    Ok(()),
                    "{entries} {percent}"
                );
                assert!(
                    settings(entries, most + 1, percent).check().is_err(),
                    "{entries} {percent}"
                );
            }
        }
    }

    #[test]
    fn replies_are_spread_and_exact() {
        for percent in [0, 1, 33, 100] {
            let settings = settings(2000, 1000, percent);
            let replied = (0..1000).filter(|flow| settings.is_replied(*flow)).count() as u64;
            assert_eq!(replied, settings.replies());
            assert_eq!(replied, u64::from(percent) * 10);
        }
    }

    #[test]
    fn contradictions_are_told() {
        assert_eq!(settings(10, 0, 0).check(), Err(SettingsError::Distinct));
        assert_eq!(settings(10, 1, 101).check(), Err(SettingsError::Percentage));
        let error = settings(10, 10, 50).check().unwrap_err();
        assert_eq!(
            error.to_string(),
            "10 distinct flows and 5 replies need --entries 15 or more"
        );
        let mut settings = settings(10, 1, 0);
        settings.profile.protocols.clear();
        assert_eq!(settings.check(), Err(SettingsError::NoProtocol));
    }
}
