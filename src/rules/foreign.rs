//! What programs above the kernel's firewall are given: files, and what such a program can't be told.

use std::collections::BTreeMap;

use super::general::words;
use super::header;
use super::plan::Plan;
use super::term::Term;
use crate::model::units::{counted, show_count};

/// So many terms of a reason are listed at the head.
const SHOWN: usize = 40;
/// And so many blocks of one.
const SHOWN_OF_ONE: usize = 4;

/// Files for a program.
#[derive(Clone, Debug, Default)]
pub struct Foreign {
    /// Their names, below the folder that was asked for, and contents. A single file needs no name.
    pub files: Vec<(String, String)>,
    /// What they do not say.
    pub unsaid: Unsaid,
    /// Which of them has that at its head.
    pub head: &'static str,
    /// How names of ours begin in folders that are shared with others, and what such files of ours say: those that are not
    /// among these files any more are of rules that are no more.
    pub owned: Option<(&'static str, &'static str)>,
}

/// Terms that a program has no words for, by reason. What they would accept is not accepted.
#[derive(Clone, Debug, Default)]
pub struct Unsaid {
    by_reason: BTreeMap<&'static str, Vec<String>>,
}

impl Unsaid {
    /// Takes note of a term.
    pub fn add(&mut self, why: &'static str, term: &Term) {
        let places = self.by_reason.entry(why).or_default();
        places.push(term.place(SHOWN_OF_ONE));
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.by_reason.values().map(Vec::len).sum()
    }

    /// The lines at the head of the files.
    pub fn lines(&self, program: &str) -> Vec<String> {
        if self.count() == 0 {
            return Vec::new();
        }
        let are = if self.count() == 1 { "is" } else { "are" };
        let what = format!(
            "{} can't be expressed in {program} and {are} not here, though what stands above counts the flows as accepted.",
            counted(self.count() as u64, "rule")
        );
        let mut lines = vec![String::new()];
        lines.extend(header::wrapped("LEFT OUT:".to_owned(), &what));
        for (why, places) in &self.by_reason {
            lines.extend(header::wrapped(String::new(), &format!("{why}:")));
            let shown = places.iter().take(SHOWN);
            lines.extend(shown.map(|place| format!("  {place}")));
            if places.len() > SHOWN {
                let more = (places.len() - SHOWN) as u64;
                lines.push(format!("  and {} more", show_count(more)));
            }
        }
        lines
    }
}

/// The lines above the rules, for whatever program.
pub fn top(plan: &Plan) -> Vec<String> {
    match &plan.general {
        None => header::top(plan),
        Some(general) => words::top(plan, general),
    }
}

/// Lines as comments behind a sign.
pub fn comments(lines: &[String], sign: &str) -> String {
    let lines = lines.iter();
    lines
        .map(|line| format!("{}\n", format!("{sign} {line}").trim_end()))
        .collect()
}
