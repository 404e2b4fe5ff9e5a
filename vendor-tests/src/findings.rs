//! What `conntracker doctor` finds.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::capture::{Launch, Outcome};

/// Every check, in the order of the lines.
pub const CHECKS: [&str; 14] = [
    "kernel",
    "privileges",
    "events",
    "tracking",
    "table",
    "traffic",
    "buffer",
    "listeners",
    "offload",
    "kernel-source",
    "bpf-jit",
    "names",
    "accounting",
    "timestamps",
];

/// What a run found, by the names of checks.
#[derive(Debug)]
pub struct Findings(pub BTreeMap<String, Value>);

impl Findings {
    /// Reads the JSON form.
    ///
    /// Panics: if it is none, or the exit status another than it says.
    pub fn of(outcome: &Outcome) -> Self {
        assert_eq!(outcome.stderr, "", "{outcome:?}");
        let lines: Vec<Value> = outcome
            .text()
            .lines()
            .map(|line| {
                serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"))
            })
            .collect();
        let names: Vec<&str> = lines
            .iter()
            .filter_map(|line| line["name"].as_str())
            .collect();
        assert_eq!(names, CHECKS);
        let prevented = lines.iter().any(|line| line["prevents_capture"] == true);
        assert_eq!(outcome.code, Some(i32::from(prevented)), "{outcome:?}");
        let by_name = lines.iter().map(|line| {
            assert_eq!(line["type"], "finding");
            (line["name"].as_str().unwrap().to_owned(), line.clone())
        });
        Self(by_name.collect())
    }

    /// Checks one of them: its state, and words of its text and next step.
    ///
    /// Panics: if they are others.
    pub fn assert(&self, name: &str, state: &str, words: &[&str]) -> &Value {
        let finding = &self.0[name];
        assert_eq!(finding["state"], state, "{finding}");
        let said = format!("{}; {}", finding["text"], finding["next"]);
        for word in words {
            // As within a JSON text.
            let word = word.replace('"', "\\\"");
            assert!(said.contains(&word), "{word} is not in: {said}");
        }
        finding
    }
}

/// A run that tells them as JSON.
pub fn launch() -> Launch {
    Launch::new(["doctor", "--format", "json"])
}

/// What it finds here.
pub fn doctor() -> Findings {
    Findings::of(&launch().run())
}
