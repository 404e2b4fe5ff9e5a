//! `conntracker check` on rulesets of the field (`rulesets/field`), with what packets did where they were found.

use serde_json::Value;

use crate::capture::{Launch, Outcome};
use crate::checking::{check_text, ruleset, text};

/// Runs `conntracker check` on files of the field, named as words that begin with `@`, and other words.
pub fn on(words: &str) -> Outcome {
    let words: Vec<String> = words
        .split_whitespace()
        .map(|word| match word.split_once('@') {
            Some((before, name)) => format!("{before}{}", text(&ruleset("field").join(name))),
            None => word.to_owned(),
        })
        .collect();
    Launch::new(
        ["check", "--format=json"]
            .into_iter()
            .map(str::to_owned)
            .chain(words),
    )
    .run()
}

/// The verdicts of a report, each with that on the answer, as far as there is one.
pub fn verdicts(outcome: &Outcome) -> Vec<String> {
    let lines = outcome.text();
    let lines = lines
        .lines()
        .skip(1)
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let named = |verdict: &Value| verdict["verdict"].as_str().unwrap_or_default().to_owned();
    lines
        .map(|line| match line["reply"].is_object() {
            true => format!("{}/{}", named(&line), named(&line["reply"])),
            false => named(&line),
        })
        .collect()
}

/// Compares the verdicts on flows of the field.
pub fn judged(words: &str, expected: &[&str]) {
    let outcome = on(words);
    assert_eq!(
        verdicts(&outcome),
        expected,
        "{words}: {}{}",
        outcome.text(),
        outcome.stderr
    );
}

/// Compares with cases, of which some confirmed flow is dropped, or none, or some are undecided.
pub fn compare(rules: &str, cases: &str) {
    let (cases, outcome) = check_text(rules, cases, &["--format", "json"]);
    assert!(!outcome.stdout.is_empty(), "{rules}: {}", outcome.stderr);
    cases.compare(&outcome.text());
}

/// Accepted in both directions.
pub const PASSES: &str = "accepted/accepted";
