//! The report on a check: for people (`text`), as JSON, and for what runs checks (JUnit, SARIF, Markdown).

pub mod against;
mod coverage;
mod expected;
mod groups;
mod junit;
mod markdown;
mod sarif;
mod text;

use std::io::{self, Write};

use serde::Serialize;

use self::expected::Tally;

use crate::check::coverage::Coverage;
use crate::check::expectation::Expectation;
use crate::check::ruleset::Ruleset;
use crate::check::verdict::{Outcome, Rule, Verdict};
use crate::formats::json;
use crate::model::record::Record;

/// A check that is over.
#[derive(Clone, Copy, Debug)]
pub struct Report<'a> {
    /// The rulesets.
    pub rulesets: &'a [Ruleset],
    /// Flows that were judged, in the order they are to be shown.
    pub records: &'a [Record],
    /// What the kernel decided of each, in the same order.
    pub verdicts: &'a [Verdict],
    /// Unconfirmed flows that were left out.
    pub left_out: u64,
    /// What could not be judged as on the host.
    pub limits: &'a [String],
    /// Whether flows may be missing from the captures.
    pub incomplete: bool,
    /// What was expected.
    pub expectations: &'a [Expectation],
    /// What the kernel decided of each expected flow, in the same order.
    pub expected: &'a [Verdict],
    /// What each rule is for, if that was asked for.
    pub coverage: Option<&'a Coverage>,
}

/// How many flows had which verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Flows that were judged.
    pub flows: u64,
    /// Whose first packet was accepted.
    pub accepted: u64,
    /// Flows of which the first packet was dropped.
    pub dropped: u64,
    /// Flows that were refused with an answer.
    pub rejected: u64,
    /// Without a verdict.
    pub undecided: u64,
}

impl Counts {
    fn add(&mut self, outcome: &Outcome) {
        self.flows += 1;
        *match outcome {
            Outcome::Accepted => &mut self.accepted,
            Outcome::Dropped(_) => &mut self.dropped,
            Outcome::Rejected(_) => &mut self.rejected,
            Outcome::Undecided(..) => &mut self.undecided,
        } += 1;
    }
}

/// All counts of a report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// First packets of confirmed flows.
    pub confirmed: Counts,
    /// First packets of unconfirmed flows.
    pub unconfirmed: Counts,
    /// Answers of confirmed flows whose first packet was accepted.
    pub replies: Counts,
    /// Unconfirmed flows that were left out.
    pub left_out: u64,
}

#[derive(Serialize)]
struct HeadOut<'a> {
    r#type: &'static str,
    rulesets: Vec<&'a str>,
    passes: bool,
    /// Only if they are: what they lack was not judged.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    captures_incomplete: bool,
    #[serde(flatten)]
    summary: Summary,
    limits: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    expectations: Option<Tally>,
    #[serde(skip_serializing_if = "Option::is_none")]
    coverage: Option<coverage::Head>,
}

#[derive(Serialize)]
struct OutcomeOut<'a> {
    verdict: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<&'a Rule>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

impl<'a> OutcomeOut<'a> {
    fn new(outcome: &'a Outcome) -> Self {
        Self {
            verdict: outcome.name(),
            by: outcome.rule().map(|rule| &**rule),
            reason: outcome.reason(),
        }
    }
}

impl Report<'_> {
    /// Counts the verdicts.
    pub fn summary(&self) -> Summary {
        let mut summary = Summary {
            left_out: self.left_out,
            ..Summary::default()
        };
        for (record, verdict) in self.records.iter().zip(self.verdicts) {
            if record.confirmed {
                summary.confirmed.add(&verdict.first);
            } else {
                summary.unconfirmed.add(&verdict.first);
            }
            if let Some(reply) = &verdict.reply {
                summary.replies.add(reply);
            }
        }
        summary
    }

    /// Whether every confirmed flow passes in both directions; `None` if that is not known of one.
    pub fn passes(&self) -> Option<bool> {
        let summary = self.summary();
        if summary.confirmed.undecided + summary.replies.undecided > 0 {
            return None;
        }
        let both = [summary.confirmed, summary.replies];
        Some(both.iter().all(|counts| counts.accepted == counts.flows))
    }

    /// Whether nothing is wrong: every confirmed flow passes, and every expectation is met. `None` if that is not known.
    pub fn is_as_it_should_be(&self) -> Option<bool> {
        match (self.passes(), self.tally().is_met()) {
            (Some(flows), Some(expected)) => Some(flows && expected),
            (known, other) if known == Some(false) || other == Some(false) => Some(false),
            _ => None,
        }
    }

    /// Writes it as JSON, one object a line.
    ///
    /// Errors: those of `out`.
    pub fn write_json(&self, out: &mut impl Write) -> io::Result<()> {
        let head = HeadOut {
            r#type: "check",
            rulesets: self.names().collect(),
            passes: self.is_as_it_should_be() == Some(true),
            captures_incomplete: self.incomplete,
            summary: self.summary(),
            limits: self.limits,
            expectations: (!self.expectations.is_empty()).then(|| self.tally()),
            coverage: self.coverage.map(coverage::Head::new),
        };
        json::to_writer(out, &head)?;
        out.write_all(b"\n")?;
        for (at, (record, verdict)) in self.records.iter().zip(self.verdicts).enumerate() {
            out.write_all(b"{\"type\":\"verdict\",")?;
            let by = self
                .coverage
                .and_then(|coverage| coverage.accepted_by.get(at));
            if let Some(Some(by)) = by {
                out.write_all(b"\"accepted_by\":")?;
                json::to_writer(out, &**by)?;
                out.write_all(b",")?;
            }
            write_verdict(record, verdict, out)?;
        }
        self.write_expected_json(out)?;
        self.write_coverage_json(out)
    }

    /// Names of the rulesets.
    fn names(&self) -> impl Iterator<Item = &str> {
        self.rulesets.iter().map(|ruleset| &*ruleset.name)
    }
}

/// The rest of an object: the verdict, its reason, the flow, the verdict on the answer.
fn write_verdict(record: &Record, verdict: &Verdict, out: &mut impl Write) -> io::Result<()> {
    let mut first = Vec::new();
    json::to_writer(&mut first, &OutcomeOut::new(&verdict.first))?;
    out.write_all(&first[1..first.len() - 1])?;
    out.write_all(b",\"flow\":")?;
    let mut flow = Vec::new();
    json::write_flow(record, &mut flow)?;
    out.write_all(flow.trim_ascii_end())?;
    if let Some(reply) = &verdict.reply {
        out.write_all(b",\"reply\":")?;
        json::to_writer(out, &OutcomeOut::new(reply))?;
    }
    out.write_all(b"}\n")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::record::Identity;
    use crate::model::tuple::Tuple;

    fn record(destination: &str, confirmed: bool) -> Record {
        Record {
            connections: 1,
            ..Record::new(
                Identity::of(&Tuple::tcp("10.0.0.1", destination, 22)),
                confirmed,
            )
        }
    }

    #[test]
    fn a_report_names_all_that_does_not_pass_and_why() {
        let rule = |handle, text: &str| {
            Arc::new(Rule {
                family: "inet".to_owned(),
                table: "filter".to_owned(),
                chain: "input".to_owned(),
                handle,
                text: text.to_owned(),
            })
        };
        let records = [
            record("10.0.0.2", true),
            record("10.0.0.3", true),
            record("10.0.0.4", true),
            record("10.0.0.5", false),
        ];
        let verdict = |first, reply| Verdict {
            first,
            reply,
            later: None,
            exit: None,
        };
        let verdicts = [
            verdict(Outcome::Dropped(rule(None, "policy drop")), None),
            verdict(
                Outcome::Accepted,
                Some(Outcome::Rejected(rule(Some(7), "reject"))),
            ),
            verdict(Outcome::Undecided("no route".into(), None), None),
            verdict(Outcome::Accepted, None),
        ];
        let limits = ["times".to_owned()];
        let report = Report {
            rulesets: &[Ruleset::new("a.nft", "")],
            records: &records,
            verdicts: &verdicts,
            left_out: 0,
            limits: &limits,
            incomplete: false,
            expectations: &[],
            expected: &[],
            coverage: None,
        };
        let mut text = Vec::new();
        report.write_text(&mut text).unwrap();
        let expected = "\
a.nft: of some confirmed flows it is not known whether they pass
          3 confirmed flows: 1 accepted, 1 dropped, 1 undecided
          1 reply: 0 accepted, 0 dropped, 1 rejected
          1 unconfirmed flow: 1 accepted, 0 dropped

1 flow accepted that nobody has answered
  tcp    10.0.0.1 -> 10.0.0.5:22 (unconfirmed)

1 flow dropped by the policy of table inet filter, chain input:
    policy drop
  tcp    10.0.0.1 -> 10.0.0.2:22

1 flow undecided
    no route
  tcp    10.0.0.1 -> 10.0.0.4:22

replies of 1 flow rejected by table inet filter, chain input, rule 7:
    reject
  tcp    10.0.0.1 -> 10.0.0.3:22

Limits: what could not be judged as on the host
  - times
";
        assert_eq!(String::from_utf8(text).unwrap(), expected);
        let mut json = Vec::new();
        report.write_json(&mut json).unwrap();
        let text = String::from_utf8(json).unwrap();
        let lines: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines[0]["passes"], false);
        assert_eq!(lines[0]["replies"]["rejected"], 1);
        assert_eq!(lines[1]["by"]["rule"], "policy drop");
        assert_eq!(lines[2]["reply"]["by"]["handle"], 7);
        assert_eq!(lines[3]["reason"], "no route");
        assert_eq!(lines[4]["flow"]["dst"], "10.0.0.5");
    }
}
