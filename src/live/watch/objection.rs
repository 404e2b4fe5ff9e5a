//! A ruleset as what is expected: flows that it would not accept are new.
//!
//! Whoever judges is given as a function, so that a capture knows nothing of how that is done.

use crate::model::error::Error;
use crate::model::record::Record;

/// Why a ruleset does not accept a flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Objection {
    /// `dropped`, `rejected` or `undecided`.
    pub verdict: &'static str,
    /// The rule, or why there is no verdict.
    pub reason: String,
}

/// Judges flows: for each of them an objection, if there is any.
pub type Judging = dyn FnMut(&[Record]) -> Result<Vec<Option<Objection>>, Error> + Send;

/// Judges while a capture runs.
pub struct Arbiter(Box<Judging>);

impl std::fmt::Debug for Arbiter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Arbiter").finish_non_exhaustive()
    }
}

impl Arbiter {
    /// By this function.
    pub fn new(judging: Box<Judging>) -> Self {
        Self(judging)
    }

    /// The flows that are not accepted, and why. What can't be judged is not taken for accepted. Where it is not known which side
    /// opened a connection, it is enough that the ruleset accepts it from one of them.
    pub fn object(&mut self, records: Vec<Record>) -> Vec<(Record, Option<Objection>)> {
        if records.is_empty() {
            return Vec::new();
        }
        let mut asked = records.clone();
        let turned: Vec<Option<usize>> = { records.iter() }
            .map(|record| {
                let other = record.origin.begun.is_picked_up();
                let other = other.then(|| record.identity.turned()).flatten()?;
                asked.push(Record::new(other, record.confirmed));
                Some(asked.len() - 1)
            })
            .collect();
        let objections = match (self.0)(&asked) {
            Ok(objections) if objections.len() == asked.len() => objections,
            outcome => {
                let why = outcome
                    .err()
                    .map_or_else(String::new, |error| error.to_string());
                let undecided = Objection {
                    verdict: "undecided",
                    reason: format!("flows can't be judged by the ruleset: {why}"),
                };
                vec![Some(undecided); asked.len()]
            }
        };
        let accepted = |at: usize| objections[at].is_none();
        { records.into_iter().enumerate() }
            .filter(|(at, _)| !accepted(*at) && !turned[*at].is_some_and(accepted))
            .map(|(at, record)| (record, objections[at].clone()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::record::Identity;
    use crate::model::tuple::Tuple;

    fn record(port: u16) -> Record {
        Record::new(
            Identity::of(&Tuple::tcp("10.0.0.1", "10.0.0.2", port)),
            false,
        )
    }

    #[test]
    fn what_cannot_be_judged_is_not_accepted() {
        let mut arbiter = Arbiter::new(Box::new(|records| {
            let objection = |record: &Record| {
                (record.identity.tuple() != self::record(443).identity.tuple()).then(|| Objection {
                    verdict: "dropped",
                    reason: "policy drop".into(),
                })
            };
            Ok(records.iter().map(objection).collect())
        }));
        let found = arbiter.object(vec![record(443), record(80)]);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].0, record(80));
        let mut broken = Arbiter::new(Box::new(|_| Err(Error::new("no"))));
        let found = broken.object(vec![record(443)]);
        assert_eq!(found[0].1.as_ref().map(|it| it.verdict), Some("undecided"));
        let mut short = Arbiter::new(Box::new(|_| Ok(Vec::new())));
        assert_eq!(short.object(vec![record(443)]).len(), 1);
    }
}
