//! The report as JUnit's XML, which GitLab, Jenkins and others show as tests: a case for each flow.
//!
//! There is no standard; these are the elements that all readers know (testsuites, testsuite, testcase, failure, error).

use std::fmt::Write as _;
use std::io::{self, Write};

use super::Report;
use super::text::{name_flow, show_outcome};
use crate::check::verdict::{Outcome, Verdict};

/// A case, and what it says if it is not as it should be.
struct Case<'a> {
    suite: &'a str,
    name: String,
    /// `failure` or `error`, and why.
    wrong: Option<(&'static str, String)>,
}

impl Report<'_> {
    /// Writes it as JUnit's XML: a flow that does not pass is a failure, one that is undecided an error.
    ///
    /// Errors: those of `out`.
    pub fn write_junit(&self, out: &mut impl Write) -> io::Result<()> {
        let cases = self.cases();
        let count = |kind| {
            let of_kind = |case: &&Case<'_>| case.wrong.as_ref().is_some_and(|(it, _)| *it == kind);
            cases.iter().filter(of_kind).count()
        };
        let counts = format!(
            "tests=\"{}\" failures=\"{}\" errors=\"{}\"",
            cases.len(),
            count("failure"),
            count("error")
        );
        let name = escaped(&self.names().collect::<Vec<_>>().join(" and "));
        let mut text = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"conntracker check\" {counts}>\n  \
             <testsuite name=\"{name}\" {counts}>\n"
        );
        for case in &cases {
            let _ = write!(
                text,
                "    <testcase classname=\"{}\" name=\"{}\"",
                escaped(case.suite),
                escaped(&case.name)
            );
            let _ = match &case.wrong {
                None => writeln!(text, "/>"),
                Some((kind, why)) => writeln!(
                    text,
                    ">\n      <{kind} message=\"{}\"/>\n    </testcase>",
                    escaped(why)
                ),
            };
        }
        let limits = self.limits.join("\n");
        if !limits.is_empty() {
            let _ = writeln!(text, "    <system-out>{}</system-out>", escaped(&limits));
        }
        text.push_str("  </testsuite>\n</testsuites>\n");
        out.write_all(text.as_bytes())
    }

    fn cases(&self) -> Vec<Case<'_>> {
        let pairs = self.records.iter().zip(self.verdicts);
        // What nobody answers need not pass.
        let confirmed = pairs.filter(|(record, _)| record.confirmed);
        let flows = confirmed.map(|(record, verdict)| Case {
            suite: "captured flows",
            name: name_flow(record),
            wrong: (!verdict.passes()).then(|| wrong(verdict)),
        });
        let mut cases: Vec<Case<'_>> = flows.collect();
        if self.incomplete {
            cases.push(Case {
                suite: "captured flows",
                name: "the captures are complete".to_owned(),
                wrong: Some(("error", "flows may be missing from the captures".to_owned())),
            });
        }
        cases.extend(self.of_expected().map(|(expectation, verdict, met)| Case {
            suite: &expectation.file,
            name: format!(
                "{}: {}",
                expectation.title(),
                name_flow(&expectation.record)
            ),
            wrong: (met != Some(true)).then(|| {
                let (kind, why) = wrong(verdict);
                (
                    kind,
                    format!("has to be {}, is {why}", expectation.wanted.name()),
                )
            }),
        }));
        cases
    }
}

fn wrong(verdict: &Verdict) -> (&'static str, String) {
    let kind = match verdict.worst() {
        Outcome::Undecided(..) => "error",
        _ => "failure",
    };
    (kind, show_outcome(verdict))
}

/// Text as XML has it in attributes and elements. Control characters can't be in XML at all (XML 1.0, section 2.2).
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' => escaped.push_str("&#10;"),
            control if control.is_control() || matches!(control, '\u{fffe}' | '\u{ffff}') => {
                escaped.push('\u{fffd}');
            }
            other => escaped.push(other),
        }
    }
    escaped
}
