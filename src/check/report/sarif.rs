//! The report as SARIF 2.1.0 (OASIS), which shows in code review which line of the ruleset stops what.

use std::io::{self, Write};

use serde_json::{Value, json};

use super::Report;
use super::text::{name_flow, show_outcome, show_place};
use crate::check::limits::flows;
use crate::check::verdict::{Outcome, Rule};
use crate::formats::json;
use crate::model::record::Record;

/// So many flows are named in a message.
const SHOWN: usize = 5;

/// What a result can be of: identifier, and what it means.
const KINDS: [(&str, &str); 5] = [
    ("dropped", "The ruleset drops confirmed flows"),
    ("rejected", "The ruleset rejects confirmed flows"),
    ("undecided", "It is not known whether confirmed flows pass"),
    ("unexpected", "A flow is not as it is expected to be"),
    ("incomplete", "Flows may be missing from the captures"),
];

impl Report<'_> {
    /// Writes it as SARIF: a result for each rule that stops confirmed flows, at the rule's line if one line of the
    /// ruleset has the rule, and one for each expectation that is not met.
    ///
    /// Errors: those of `out`.
    pub fn write_sarif(&self, out: &mut impl Write) -> io::Result<()> {
        let rules: Vec<Value> = KINDS
            .iter()
            .map(|(id, text)| json!({"id": id, "shortDescription": {"text": text}}))
            .collect();
        let report = json!({
            "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
            "version": "2.1.0",
            "runs": [{
                "tool": {"driver": {
                    "name": "conntracker check",
                    "version": env!("CARGO_PKG_VERSION"),
                    "rules": rules,
                }},
                "results": self.results(),
            }],
        });
        json::to_writer(out, &report)?;
        out.write_all(b"\n")
    }

    fn results(&self) -> Vec<Value> {
        let mut results = Vec::new();
        for group in self.stopped() {
            let confirmed: Vec<&Record> = group
                .records
                .into_iter()
                .filter(|record| record.confirmed)
                .collect();
            if confirmed.is_empty() {
                continue;
            }
            let what = if group.reply { "replies of " } else { "" };
            let mut text = format!(
                "{what}{} {}",
                flows(confirmed.len() as u64),
                group.outcome.name()
            );
            if let Some(rule) = group.outcome.rule() {
                text += &format!(" by {}: {}", show_place(rule), rule.text);
            }
            if let Some(reason) = group.outcome.reason() {
                text += &format!(": {reason}");
            }
            for record in confirmed.iter().take(SHOWN) {
                text += &format!("\n{}", name_flow(record));
            }
            if confirmed.len() > SHOWN {
                text += &format!("\nand {} more", confirmed.len() - SHOWN);
            }
            let place = self.location(group.outcome.rule().map(|rule| &**rule));
            results.push(result(group.outcome.name(), &text, place));
        }
        for (expectation, verdict, met) in self.of_expected() {
            if met == Some(true) {
                continue;
            }
            let text = format!(
                "{}: {} has to be {}, is {}",
                expectation.title(),
                name_flow(&expectation.record),
                expectation.wanted.name(),
                show_outcome(verdict)
            );
            let place = location(&expectation.file, Some(expectation.line));
            let kind = match verdict.worst() {
                Outcome::Undecided(..) => "undecided",
                _ => "unexpected",
            };
            results.push(result(kind, &text, place));
        }
        if self.incomplete {
            let text = "flows may be missing from the captures: they were not judged";
            results.push(result("incomplete", text, self.location(None)));
        }
        results
    }

    /// Where a rule stands; the first ruleset where that is not known.
    fn location(&self, rule: Option<&Rule>) -> Value {
        let found = rule.and_then(|rule| self.place(rule));
        match found {
            Some((ruleset, line)) => location(&ruleset.name, line),
            None => location(self.names().next().unwrap_or_default(), None),
        }
    }
}

fn result(kind: &str, text: &str, place: Value) -> Value {
    let level = if kind == "incomplete" {
        "warning"
    } else {
        "error"
    };
    json!({"ruleId": kind, "level": level, "message": {"text": text}, "locations": [place]})
}

fn location(file: &str, line: Option<usize>) -> Value {
    let mut place = json!({"artifactLocation": {"uri": uri(file)}});
    if let Some(line) = line {
        place["region"] = json!({"startLine": line});
    }
    json!({"physicalLocation": place})
}

/// A path as a relative reference (RFC 3986, section 4.2): what is no unreserved character is escaped.
fn uri(path: &str) -> String {
    let mut uri = String::new();
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            uri.push(byte.into());
        } else {
            uri += &format!("%{byte:02X}");
        }
    }
    uri
}
