//! Whether the list is complete, and if not, how.

use std::fmt;

use crate::model::timestamp::Timestamp;
use crate::model::units::{agree, counted};

/// The time in which events were missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The last look before, at which nothing had been missed since the one before that.
    pub from: Timestamp,
    /// The last look at which events had been missed.
    pub to: Timestamp,
}

/// What happened on the way to the list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loss {
    /// Events that the kernel could not deliver. With reliable delivery the kernel counts every retry
    /// of an event, so this bounds the number from above.
    pub missed: u64,
    /// Of these, events that can be shown to stand for nothing but flows that are in the list:
    /// [`Recovery::shown`](crate::live::recovery::Recovery::shown).
    pub shown: u64,
    /// When events were missed.
    pub span: Option<Span>,
    /// Whether the kernel's table was read after the last loss.
    pub resynced: bool,
    /// Flows that reading it, or the ends of entries, added to the list.
    pub recovered: u64,
    /// Events whose flow was not recorded, because the table was full.
    pub refused: u64,
    /// Events that could not be read.
    pub malformed: u64,
    /// Everything else that takes from the list, as it is said to people.
    pub other: Vec<String>,
    /// What took from the list for a while and does so no longer.
    pub over: Vec<String>,
    /// What is over too, but has left connections that tell of nothing.
    pub effects: Vec<String>,
    /// What can't be seen where the capture is, as it is said to people.
    pub blind_spots: Vec<String>,
    /// Packets that the kernel could not assign to a connection (`CTA_STATS_INVALID`). They take nothing from the list.
    pub invalid: u64,
}

/// The judgement on a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every event was taken in.
    Complete,
    /// Events were missed, and each of them can be shown to stand for flows that are in the list.
    Recovered {
        /// Upper bound of the events missed.
        missed: u64,
        /// Flows that were added.
        recovered: u64,
    },
    /// Flows may be missing, for these reasons.
    Incomplete(Vec<String>),
}

impl Loss {
    /// What was lost after `earlier`, as far as that can be told apart.
    pub fn since(&self, earlier: &Self) -> Self {
        let over = self.over.iter();
        Self {
            missed: self.missed.saturating_sub(earlier.missed),
            shown: self.shown.saturating_sub(earlier.shown),
            recovered: self.recovered.saturating_sub(earlier.recovered),
            refused: self.refused.saturating_sub(earlier.refused),
            malformed: self.malformed.saturating_sub(earlier.malformed),
            over: over
                .filter(|trouble| !earlier.over.contains(trouble))
                .cloned()
                .collect(),
            ..self.clone()
        }
    }

    /// Judges whether a list with this loss is complete, recovered or incomplete.
    pub fn verdict(&self) -> Verdict {
        let mut reasons: Vec<String> = [&self.other, &self.over, &self.effects]
            .into_iter()
            .flatten()
            .cloned()
            .collect();
        let when = self.span.map_or(String::new(), |span| {
            format!(" between {} and {}", span.from, span.to)
        });
        let hidden = self.missed.saturating_sub(self.shown);
        if self.missed > 0 && !self.resynced {
            reasons.push(format!(
                "up to {} missed{when} and not made up for",
                counted(self.missed, "event")
            ));
        } else if hidden > 0 {
            reasons.push(format!(
                "up to {} missed{when}, of which the kernel's connection table gave back {}: up to {} may be missing \
                 because {they} began and ended in that time, or be listed as unanswered although {they} {} answered; a \
                 larger --buffer avoids such gaps, --reliable fills them",
                counted(self.missed, "event"),
                counted(self.recovered, "flow"),
                counted(hidden, "flow"),
                agree(hidden, "was", "were"),
                they = agree(hidden, "it", "they")
            ));
        }
        if self.refused > 0 {
            reasons.push(format!(
                "{} of flows beyond --max-flows not recorded",
                counted(self.refused, "event")
            ));
        }
        if self.malformed > 0 {
            reasons.push(format!("{} unreadable", counted(self.malformed, "event")));
        }
        if !reasons.is_empty() {
            Verdict::Incomplete(reasons)
        } else if self.missed > 0 {
            Verdict::Recovered {
                missed: self.missed,
                recovered: self.recovered,
            }
        } else {
            Verdict::Complete
        }
    }
}

impl Verdict {
    /// The names of all.
    pub const NAMES: [&str; 3] = ["complete", "recovered", "incomplete"];

    /// What it is called, without its reasons.
    pub const fn name(&self) -> &'static str {
        let [complete, recovered, incomplete] = Self::NAMES;
        match self {
            Self::Complete => complete,
            Self::Recovered { .. } => recovered,
            Self::Incomplete(_) => incomplete,
        }
    }

    /// The exit status it stands for.
    pub const fn exit_status(&self) -> u8 {
        match self {
            Self::Complete | Self::Recovered { .. } => 0,
            Self::Incomplete(_) => 3,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Complete => f.write_str("complete"),
            Self::Recovered { missed, recovered } => write!(
                f,
                "recovered ({} missed, {} recovered)",
                counted(*missed, "event"),
                counted(*recovered, "flow")
            ),
            Self::Incomplete(reasons) => write!(f, "incomplete ({})", reasons.join("; ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_shown_to_be_listed_is_recovered() {
        let mut loss = Loss::default();
        assert_eq!(loss.verdict(), Verdict::Complete);
        loss.missed = 7;
        assert_eq!(loss.verdict().exit_status(), 3);
        loss.resynced = true;
        loss.recovered = 9;
        loss.shown = 6;
        assert_eq!(loss.verdict().exit_status(), 3);
        assert!(
            loss.verdict()
                .to_string()
                .contains("up to 1 flow may be missing because it began")
        );
        loss.shown = 7;
        assert_eq!(loss.verdict().exit_status(), 0);
        let text = loss.verdict().to_string();
        assert!(text.starts_with("recovered (7 events missed"), "{text}");
        loss.refused = 1;
        assert_eq!(loss.verdict().exit_status(), 3);
    }

    #[test]
    fn what_is_over_belongs_to_the_interval_in_which_it_ended() {
        let earlier = Loss {
            over: vec!["a".into()],
            other: vec!["b".into()],
            ..Loss::default()
        };
        let later = Loss {
            over: vec!["a".into(), "c".into()],
            ..earlier.clone()
        };
        let Verdict::Incomplete(reasons) = later.since(&earlier).verdict() else {
            panic!("something is lasting");
        };
        assert_eq!(reasons, ["b", "c"]);
    }
}
