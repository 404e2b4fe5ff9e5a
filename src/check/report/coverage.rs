//! What each rule is for.

use std::io::{self, Write};
use std::time::Duration;

use serde::Serialize;

use super::Report;
use super::text::show_place;
use crate::check::coverage::{Coverage, ElementUse, RuleUse, Status};
use crate::check::limits::flows;
use crate::check::verdict::Rule;
use crate::formats::json;
use crate::model::printable::printable;
use crate::model::units::{counted, show_count};

/// Of what has fewer values every one may well be used.
const WIDE: u128 = 16;

/// The coverage in the summary.
#[derive(Serialize)]
pub(super) struct Head {
    /// How long was captured.
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds: Option<u64>,
    needed: u64,
    not_needed: u64,
    unreachable: u64,
    unknown: u64,
    /// Flows of which it is not known which rules they need.
    undecided: u64,
}

#[derive(Serialize)]
struct RuleOut<'a> {
    r#type: &'static str,
    #[serde(flatten)]
    rule: &'a Rule,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    behind: Option<&'a Rule>,
    flows: u64,
    connections: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    elements: Vec<ElementOut<'a>>,
}

#[derive(Serialize)]
struct ElementOut<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    set: Option<&'a str>,
    element: &'a str,
    /// `null` if that is not known.
    used: Option<bool>,
    seen: u64,
    /// `null` beyond what numbers of JSON hold exactly.
    size: Option<u64>,
}

impl Head {
    pub fn new(coverage: &Coverage) -> Self {
        let rules = || coverage.rules.iter().filter(|used| !is_policy(&used.rule));
        let count = |name: &str| rules().filter(|used| used.status.name() == name).count() as u64;
        Self {
            seconds: coverage.length.map(|length| length.as_secs()),
            needed: count("needed"),
            not_needed: count("not_needed"),
            unreachable: count("unreachable"),
            unknown: count("unknown"),
            undecided: coverage.open,
        }
    }
}

impl Report<'_> {
    pub(super) fn write_coverage_json(&self, out: &mut impl Write) -> io::Result<()> {
        for used in self.coverage.iter().flat_map(|coverage| &coverage.rules) {
            let (reason, behind) = match &used.status {
                Status::Unknown(why) => (Some(*why), None),
                Status::Unreachable(why, before) => (Some(*why), before.as_deref()),
                Status::Needed | Status::NotNeeded => (None, None),
            };
            let elements = used.elements.iter().map(|element| ElementOut {
                set: element.set.as_deref(),
                element: &element.text,
                used: element.used,
                seen: element.seen,
                size: u64::try_from(element.size)
                    .ok()
                    .filter(|size| *size < 1 << 53),
            });
            let object = RuleOut {
                r#type: "rule",
                rule: &used.rule,
                status: used.status.name(),
                reason,
                behind,
                flows: used.flows,
                connections: used.connections,
                elements: elements.collect(),
            };
            json::to_writer(out, &object)?;
            out.write_all(b"\n")?;
        }
        Ok(())
    }

    pub(super) fn write_coverage_text(&self, out: &mut impl Write) -> io::Result<()> {
        let Some(coverage) = self.coverage else {
            return Ok(());
        };
        let head = Head::new(coverage);
        writeln!(
            out,
            "\nWhat each rule is for: {} needed, {} not needed {}, {} unreachable, {} unknown",
            show_count(head.needed),
            show_count(head.not_needed),
            during(coverage.length),
            show_count(head.unreachable),
            show_count(head.unknown),
        )?;
        if coverage.open > 0 {
            writeln!(
                out,
                "  {} undecided or not judged: which rules they need is not known",
                flows(coverage.open)
            )?;
        }
        if self.incomplete {
            writeln!(
                out,
                "  the captures are incomplete: a flow that is missing from them may need a rule that no other one does"
            )?;
        }
        let mut chain = None;
        for used in &coverage.rules {
            let rule = &used.rule;
            let own = (&rule.family, &rule.table, &rule.chain);
            if chain != Some(own) {
                chain = Some(own);
                writeln!(
                    out,
                    "\n  table {} {}, chain {}\n      flows  connections",
                    rule.family,
                    printable(&rule.table),
                    printable(&rule.chain)
                )?;
            }
            write_rule(out, used, coverage.length)?;
        }
        Ok(())
    }
}

fn write_rule(out: &mut impl Write, used: &RuleUse, length: Option<Duration>) -> io::Result<()> {
    let number = used.rule.handle.map(|handle| format!("rule {handle}: "));
    writeln!(
        out,
        "  {:>9}  {:>11}  {}{}",
        show_count(used.flows),
        show_count(used.connections),
        number.unwrap_or_default(),
        printable(&used.rule.text),
    )?;
    let margin = " ".repeat(26);
    match &used.status {
        Status::Needed => {}
        Status::NotNeeded => writeln!(out, "{margin}not needed {}", during(length))?,
        Status::Unknown(why) => writeln!(out, "{margin}whether it is needed can't be said: {why}")?,
        Status::Unreachable(why, None) => writeln!(out, "{margin}can't be reached: {why}")?,
        Status::Unreachable(why, Some(before)) => writeln!(
            out,
            "{margin}can't be reached: {why}: {}: {}",
            show_place(before),
            printable(&before.text)
        )?,
    }
    let unused = used
        .elements
        .iter()
        .filter(|element| element.used == Some(false));
    let unused: Vec<&str> = unused.map(|element| element.text.as_str()).collect();
    if !unused.is_empty() {
        let list = unused.join(", ");
        writeln!(
            out,
            "{margin}not used {}: {}",
            during(length),
            printable(&list)
        )?;
    }
    for element in used.elements.iter().filter(|element| is_wide(element)) {
        writeln!(
            out,
            "{margin}{}: {} of {} seen",
            printable(&element.text),
            show_count(element.seen),
            u64::try_from(element.size).map_or_else(|_| "very many".to_owned(), show_count),
        )?;
    }
    Ok(())
}

/// Whether an element is far wider than what was seen of it.
fn is_wide(element: &ElementUse) -> bool {
    element.used == Some(true)
        && element.size >= WIDE
        && u128::from(element.seen).saturating_mul(WIDE) <= element.size
}

fn is_policy(rule: &Rule) -> bool {
    rule.handle.is_none() && rule.text.starts_with("policy ")
}

/// "in 30 days".
fn during(length: Option<Duration>) -> String {
    let Some(length) = length else {
        return "in a capture that does not tell how long it is".to_owned();
    };
    let seconds = length.as_secs();
    for (unit, name) in [(86_400, "days"), (3600, "hours"), (60, "minutes")] {
        if seconds >= 2 * unit {
            return format!("in {} {name}", show_count(seconds / unit));
        }
    }
    format!("in {}", counted(seconds, "second"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_told_in_a_fitting_unit_and_never_rounded_up() {
        let of = |seconds| during(Some(Duration::from_secs(seconds)));
        assert_eq!(of(30 * 86_400 + 80_000), "in 30 days");
        assert_eq!(of(2 * 86_400 - 1), "in 47 hours");
        assert_eq!(of(119), "in 119 seconds");
        assert!(during(None).contains("does not tell"));
    }
}
