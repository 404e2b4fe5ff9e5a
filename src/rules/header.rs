//! What stands at the top of a ruleset, and what was left out at its end: lines without comment signs.

use super::plan::{Plan, Policy};
use super::seen::Reason;
use super::text::{left_out, minute, plain};
use crate::model::capture::{Capture, Completeness};
use crate::model::units::{agree, counted, show_count};

/// So many entries are listed in the ruleset; the report has all.
const SHOWN: usize = 40;
/// So many blocks or ports of an entry.
const SHOWN_OF_ONE: usize = 6;

/// So long is a line of words at most.
const COLUMNS: usize = 100;

/// The lines above the rules: the captures, how many flows have rules, and the warnings.
pub fn top(plan: &Plan) -> Vec<String> {
    let mut lines = vec![
        format!(
            "Written by conntracker {}: accepts the flows that it observed, and nothing else.",
            env!("CARGO_PKG_VERSION")
        ),
        String::new(),
    ];
    lines.extend(plan.captures.iter().map(capture));
    let (carried, missing) = (plan.carried(), plan.missing());
    lines.push(format!(
        "{} accepted by {}; {} left out, listed at the end.",
        counted(carried.flows, "flow"),
        counted(plan.rules.len() as u64, "rule"),
        show_count(missing.flows)
    ));
    lines.push(match extra(plan) {
        0 => "Nothing is admitted that was not observed, but for what every ruleset needs (marked below)."
            .to_owned(),
        number => format!(
            "Admitted though not observed: {} {} of address and port; the report (--report) lists {}.",
            show_extra(number),
            agree(number, "combination", "combinations"),
            agree(number, "it", "them")
        ),
    });
    if plan.reserved {
        lines.push(
            "Where clients of a service used several source ports from 512 to 1023, all of these are accepted: such \
             ports are random."
                .to_owned(),
        );
    }
    for text in &plan.warnings {
        lines.push(String::new());
        lines.extend(warning(text));
    }
    lines
}

/// The lines of a warning.
pub fn warning(text: &str) -> Vec<String> {
    wrapped("WARNING:".to_owned(), &format!("{text}."))
}

/// Words in lines, the first of which begins with `line`.
pub fn wrapped(mut line: String, text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for word in text.split_whitespace() {
        if line.len() + 1 + word.len() > COLUMNS {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push(line);
    lines
}

/// Combinations of source, destination and service that are admitted and were not seen.
pub fn extra(plan: &Plan) -> u64 {
    let extras = plan.rules.iter().flat_map(|rule| &rule.extras);
    extras.fold(0, |sum: u64, extra| sum.saturating_add(extra.count()))
}

/// Such a number as text. That of an IPv6 network would tell nobody anything.
pub fn show_extra(count: u64) -> String {
    const MOST: u64 = 1_000_000_000_000;
    if count > MOST {
        format!("more than {}", show_count(MOST))
    } else {
        show_count(count)
    }
}

/// One line on a capture.
pub fn capture(capture: &Capture) -> String {
    let mut parts = vec![match &capture.host {
        Some(host) => plain(host, 64),
        None => "host unknown".to_owned(),
    }];
    let time = |time: Option<_>| time.map_or_else(|| "unknown".to_owned(), minute);
    if capture.start.is_some() || capture.end.is_some() {
        parts.push(format!(
            "{} to {} UTC",
            time(capture.start),
            time(capture.end)
        ));
    }
    parts.push(
        match capture.judged() {
            Some(Completeness::Complete) => "complete",
            Some(Completeness::Recovered) => "complete after recovery",
            Some(Completeness::Incomplete) => "INCOMPLETE",
            None => "completeness unknown",
        }
        .to_owned(),
    );
    if let Some(gaps) = capture.gaps_in_words() {
        parts.push(gaps);
    }
    if !capture.filters.is_empty() {
        parts.push(format!(
            "filtered by {}",
            plain(&capture.filters.join(" "), 100)
        ));
    }
    format!("Capture: {}.", parts.join(", "))
}

/// The end: what was left out.
pub fn bottom(plan: &Plan) -> Vec<String> {
    if plan.left_out.is_empty() {
        return vec!["Left out: nothing.".to_owned()];
    }
    let drops = plan
        .chains
        .iter()
        .any(|&chain| plan.options.policies.of(chain) == Policy::Drop);
    let mut lines = vec![format!(
        "Left out: {}{}",
        counted(plan.missing().flows, "flow"),
        if drops {
            ", which the policy drops."
        } else {
            "."
        }
    )];
    let mut last: Option<Reason> = None;
    for left in plan.left_out.iter().take(SHOWN) {
        if last.replace(left.reason) != Some(left.reason) {
            let reason = left.reason.text();
            lines.push(format!(
                "{}{}:",
                reason[..1].to_ascii_uppercase(),
                &reason[1..]
            ));
        }
        lines.push(format!(
            "  {}",
            left_out(left, &plan.options.services, SHOWN_OF_ONE)
        ));
    }
    if plan.left_out.len() > SHOWN {
        lines.push(format!(
            "  and {} more: --report lists them.",
            show_count((plan.left_out.len() - SHOWN) as u64)
        ));
    }
    lines
}
