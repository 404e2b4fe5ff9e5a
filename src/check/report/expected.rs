//! What came of the expectations.

use std::io::{self, Write};

use serde::Serialize;

use super::text::{show_flow, show_outcome};
use super::{Report, write_verdict};
use crate::check::expectation::Expectation;
use crate::check::verdict::Verdict;
use crate::formats::json;
use crate::model::printable::printable;
use crate::model::units::counted;

/// How many flows are as they were expected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Flows of which the kernel has decided what was wanted.
    pub met: u64,
    /// Flows of which it has decided otherwise.
    pub unmet: u64,
    /// Without a verdict.
    pub undecided: u64,
}

impl Tally {
    /// Whether all are met; `None` if that is not known of one, and none is known not to be.
    pub const fn is_met(self) -> Option<bool> {
        match (self.unmet, self.undecided) {
            (0, 0) => Some(true),
            (0, _) => None,
            _ => Some(false),
        }
    }
}

#[derive(Serialize)]
struct ExpectationOut<'a> {
    r#type: &'static str,
    file: &'a str,
    line: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    wanted: &'static str,
    /// `null` without a verdict.
    met: Option<bool>,
}

impl Expectation {
    /// Its file and line, and its name if it has one.
    pub(super) fn title(&self) -> String {
        let name = self.name.as_deref().map(|name| format!(" ({name})"));
        format!("{}:{}{}", self.file, self.line, name.unwrap_or_default())
    }
}

impl Report<'_> {
    /// Expectations, what became of them, and whether that was wanted.
    pub(super) fn of_expected(
        &self,
    ) -> impl Iterator<Item = (&Expectation, &Verdict, Option<bool>)> {
        let pairs = self.expectations.iter().zip(self.expected);
        pairs.map(|(wanted, verdict)| (wanted, verdict, wanted.wanted.is_met_by(verdict)))
    }

    /// Counts what became of the expectations.
    pub fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        for (_, _, met) in self.of_expected() {
            *match met {
                Some(true) => &mut tally.met,
                Some(false) => &mut tally.unmet,
                None => &mut tally.undecided,
            } += 1;
        }
        tally
    }

    pub(super) fn write_expected_text(&self, out: &mut impl Write) -> io::Result<()> {
        if self.expectations.is_empty() {
            return Ok(());
        }
        let Tally {
            met,
            unmet,
            undecided,
        } = self.tally();
        let all = counted(self.expectations.len() as u64, "expected flow");
        write!(out, "\n{all}: {met} as expected, {unmet} not")?;
        if undecided > 0 {
            write!(out, ", {undecided} undecided")?;
        }
        writeln!(out)?;
        for (expectation, verdict, met) in self.of_expected() {
            if met == Some(true) {
                continue;
            }
            writeln!(
                out,
                "  {}: has to be {}, is {}",
                printable(&expectation.title()),
                expectation.wanted.name(),
                show_outcome(verdict),
            )?;
            writeln!(out, "    {}", show_flow(&expectation.record))?;
        }
        Ok(())
    }

    pub(super) fn write_expected_json(&self, out: &mut impl Write) -> io::Result<()> {
        for (expectation, verdict, met) in self.of_expected() {
            let head = ExpectationOut {
                r#type: "expectation",
                file: &expectation.file,
                line: expectation.line,
                name: expectation.name.as_deref(),
                wanted: expectation.wanted.name(),
                met,
            };
            let mut text = Vec::new();
            json::to_writer(&mut text, &head)?;
            out.write_all(&text[..text.len() - 1])?;
            out.write_all(b",")?;
            write_verdict(&expectation.record, verdict, out)?;
        }
        Ok(())
    }
}
