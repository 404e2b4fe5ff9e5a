//! Whether the list is complete, and if not, how.

use std::fmt;

use crate::units::show_count;

/// What happened on the way to the list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loss {
    /// Events that the kernel could not deliver. With reliable delivery the kernel counts every retry
    /// of an event, so this bounds the number from above.
    pub missed: u64,
    /// Whether the kernel's table was read after the last loss.
    pub resynced: bool,
    /// Flows that reading it, or the ends of entries, added to the list.
    pub recovered: u64,
    /// Whether ends of entries were listened to as well, so that nothing can be missing.
    pub reliable: bool,
    /// Events whose flow was not recorded, because the table was full.
    pub refused: u64,
    /// Events that could not be read.
    pub malformed: u64,
    /// Everything else that takes from the list, as it is to be told.
    pub other: Vec<String>,
}

/// The judgement on a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every event was taken in.
    Complete,
    /// Events were missed, and what they stood for was read from the kernel's table.
    Recovered {
        /// Upper bound of the events missed.
        missed: u64,
        /// Flows that were added.
        recovered: u64,
        /// Whether a flow that began and ended within a gap is listed too.
        reliable: bool,
    },
    /// Flows may be missing, for these reasons.
    Incomplete(Vec<String>),
}

impl Loss {
    /// What was lost after `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            missed: self.missed.saturating_sub(earlier.missed),
            recovered: self.recovered.saturating_sub(earlier.recovered),
            refused: self.refused.saturating_sub(earlier.refused),
            malformed: self.malformed.saturating_sub(earlier.malformed),
            ..self.clone()
        }
    }

    /// Judges.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let mut reasons = self.other.clone();
        if self.missed > 0 && !self.resynced {
            reasons.push(format!(
                "up to {} events missed and not made up for",
                show_count(self.missed)
            ));
        }
        if self.refused > 0 {
            reasons.push(format!(
                "{} events of flows beyond --max-flows not recorded",
                show_count(self.refused)
            ));
        }
        if self.malformed > 0 {
            reasons.push(format!("{} events unreadable", show_count(self.malformed)));
        }
        if !reasons.is_empty() {
            Verdict::Incomplete(reasons)
        } else if self.missed > 0 {
            Verdict::Recovered {
                missed: self.missed,
                recovered: self.recovered,
                reliable: self.reliable,
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
    #[must_use]
    pub const fn name(&self) -> &'static str {
        let [complete, recovered, incomplete] = Self::NAMES;
        match self {
            Self::Complete => complete,
            Self::Recovered { .. } => recovered,
            Self::Incomplete(_) => incomplete,
        }
    }

    /// The exit status it stands for.
    #[must_use]
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
            Self::Recovered {
                missed,
                recovered,
                reliable,
            } => {
                write!(
                    f,
                    "recovered ({} events missed, {} flows recovered)",
                    show_count(*missed),
                    show_count(*recovered)
                )?;
                if !reliable {
                    f.write_str(
                        "; flows that began and ended in the gap are not listed: \
                         a larger --buffer avoids gaps, --reliable fills them",
                    )?;
                }
                Ok(())
            }
            Self::Incomplete(reasons) => write!(f, "incomplete ({})", reasons.join("; ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_made_up_for_is_recovered() {
        let mut loss = Loss::default();
        assert_eq!(loss.verdict(), Verdict::Complete);
        loss.missed = 7;
        assert_eq!(loss.verdict().exit_status(), 3);
        loss.resynced = true;
        assert_eq!(loss.verdict().exit_status(), 0);
        assert!(
            loss.verdict()
                .to_string()
                .starts_with("recovered (7 events missed")
        );
        loss.refused = 1;
        assert_eq!(loss.verdict().exit_status(), 3);
    }
}
