//! How rules fared in a world.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::diary::{Flow, Key};
use super::statement::Statement;

/// Examples of a kind that are kept.
const EXAMPLES: usize = 4;

/// A number of flows of a kind, and how many of them did not go as they should.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// All.
    pub all: usize,
    /// Wanted ones that were stopped, attacks that got through.
    pub wrong: usize,
    /// Some of those.
    pub examples: Vec<String>,
}

impl Tally {
    fn add(&mut self, flow: &Flow, right: bool) {
        self.all += 1;
        if !right {
            self.wrong += 1;
            if self.examples.len() < EXAMPLES {
                self.examples.push(flow.shown());
            }
        }
    }

    /// Per cent that went as they should.
    pub fn right(&self) -> f64 {
        100.0 * (1.0 - self.wrong as f64 / self.all.max(1) as f64)
    }
}

/// Tallies by what flows are for.
pub type Kinds = BTreeMap<&'static str, Tally>;

/// The whole of a kind of tallies.
pub fn sum(kinds: &Kinds) -> Tally {
    Tally {
        all: kinds.values().map(|tally| tally.all).sum(),
        wrong: kinds.values().map(|tally| tally.wrong).sum(),
        examples: Vec::new(),
    }
}

/// How rules fared.
#[derive(Clone, Debug, Default)]
pub struct Score {
    /// Kind of site.
    pub kind: &'static str,
    /// Its seed.
    pub seed: u64,
    /// Rules.
    pub rules: usize,
    /// Rules of the person who knows the site.
    pub ideal: usize,
    /// Lines of the ruleset.
    pub lines: usize,
    /// What the rules say that they will stop.
    pub statement: Option<Statement>,
    /// What was said when they were made.
    pub said: String,
    /// The rules themselves.
    pub ruleset: String,
    /// Wanted flows of each day, and how many of them were stopped.
    pub days: Vec<(usize, usize)>,
    /// What was stopped of each day that somebody would have answered, be it wanted or not: rules can't tell.
    pub answered: Vec<usize>,
    /// What is wanted.
    pub wanted: Kinds,
    /// What is not.
    pub attacks: Kinds,
}

impl Score {
    /// Takes in a day.
    ///
    /// Panics: if a flow has no verdict.
    pub fn day<'a>(
        &mut self,
        wanted: impl Iterator<Item = &'a Flow>,
        attacks: &[Flow],
        verdicts: &BTreeMap<Key, bool>,
    ) {
        let passes = |flow: &Flow| {
            let verdict = verdicts.get(&flow.key);
            *verdict.unwrap_or_else(|| panic!("no verdict on {}", flow.shown()))
        };
        let (mut all, mut stopped, mut knocks) = (0, 0, 0);
        for flow in wanted {
            let right = passes(flow);
            if flow.is_scan() {
                knocks += usize::from(!right);
                continue;
            }
            self.wanted.entry(flow.what).or_default().add(flow, right);
            all += 1;
            stopped += usize::from(!right);
        }
        for flow in attacks {
            let tally = self.attacks.entry(flow.what).or_default();
            tally.add(flow, !passes(flow));
        }
        self.days.push((all, stopped));
        self.answered.push(stopped + knocks);
    }

    /// Per cent of what is wanted that passes, over all days.
    pub fn passed(&self) -> f64 {
        sum(&self.wanted).right()
    }

    /// Per cent of what is wanted that passes, on the worst day.
    pub fn worst_day(&self) -> f64 {
        let parts = self
            .days
            .iter()
            .map(|(all, stopped)| 100.0 * (1.0 - *stopped as f64 / (*all).max(1) as f64));
        parts.fold(100.0, f64::min)
    }

    /// Per cent of the attacks that are stopped.
    pub fn stopped(&self) -> f64 {
        sum(&self.attacks).right()
    }

    /// Rules for each one of the person who knows the site.
    pub fn ratio(&self) -> f64 {
        self.rules as f64 / self.ideal.max(1) as f64
    }

    /// Days on which the rules stopped as many as they said they would.
    pub fn covered(&self) -> Option<usize> {
        let statement = self.statement?;
        let days = self.answered.iter();
        Some(days.filter(|stopped| statement.covers(**stopped)).count())
    }

    /// A line of the table that [`HEAD`] begins.
    pub fn line(&self) -> String {
        let statement = self.statement.map_or_else(
            || "-".to_owned(),
            |it| format!("{} ({} to {})", it.about, it.low, it.high),
        );
        let covered = self.covered().map_or_else(
            || "-".to_owned(),
            |days| format!("{days}/{}", self.days.len()),
        );
        let stopped: Vec<String> = self.answered.iter().map(usize::to_string).collect();
        format!(
            "{:<10} {:>4} {:>8.2} {:>8.2} {:>8.2} {:>5}/{:<3} {:>5.2} {:>6}  {covered:>5}  {statement}; was {}",
            self.kind,
            self.seed,
            self.passed(),
            self.worst_day(),
            self.stopped(),
            self.rules,
            self.ideal,
            self.ratio(),
            self.lines,
            stopped.join(" "),
        )
    }
}

/// What the columns are.
pub const HEAD: &str =
    "world      seed  wanted%   worst%  stopped%  rules/ideal ratio  lines  covers  says";

/// What went wrong in several worlds of a kind, the most first.
pub fn faults(scores: &[Score]) -> String {
    let mut text = String::new();
    for (title, kinds) in [
        (
            "wanted, and stopped",
            together(scores, |score| &score.wanted),
        ),
        (
            "attacks that got through",
            together(scores, |score| &score.attacks),
        ),
    ] {
        let mut wrong: Vec<_> = kinds.iter().filter(|(_, tally)| tally.wrong > 0).collect();
        wrong.sort_by_key(|(_, tally)| std::cmp::Reverse(tally.wrong));
        // Writing to a string does not fail.
        let _ = writeln!(text, "  {title}:");
        for (what, tally) in wrong {
            let _ = writeln!(text, "    {what}: {} of {}", tally.wrong, tally.all);
            for example in &tally.examples {
                let _ = writeln!(text, "        {example}");
            }
        }
    }
    text
}

fn together(scores: &[Score], which: impl Fn(&Score) -> &Kinds) -> Kinds {
    let mut all = Kinds::new();
    for score in scores {
        for (what, tally) in which(score) {
            let sum = all.entry(what).or_default();
            sum.all += tally.all;
            sum.wrong += tally.wrong;
            let room = EXAMPLES.saturating_sub(sum.examples.len());
            sum.examples
                .extend(tally.examples.iter().take(room.min(2)).cloned());
        }
    }
    all
}
