//! Writing of findings.

use std::io::{self, Write};

use serde::Serialize;

use crate::doctor::finding::{Finding, State};
use crate::formats::json;
use crate::model::printable::printable;

#[derive(Serialize)]
struct Line<'a> {
    r#type: &'static str,
    #[serde(flatten)]
    finding: &'a Finding,
}

/// Writes a line for people for each.
///
/// Errors: those of `out`.
pub fn write_table(findings: &[Finding], colour: bool, out: &mut dyn Write) -> io::Result<()> {
    let names = findings.iter().map(|finding| finding.name.len());
    let width = names.max().unwrap_or_default();
    for Finding {
        name,
        state,
        what,
        next,
        ..
    } in findings
    {
        let (on, off) = match (colour, state) {
            (false, _) => ("", ""),
            (true, State::Ok) => ("\x1b[32m", "\x1b[0m"),
            (true, State::Note) => ("\x1b[33m", "\x1b[0m"),
            (true, State::Problem) => ("\x1b[1;31m", "\x1b[0m"),
        };
        // What the kernel, netfilter and other programs say is part of it.
        let what = printable(what);
        let next = next
            .as_ref()
            .map_or(String::new(), |next| format!("; {}", printable(next)));
        writeln!(out, "{on}{state:<7}{off}  {name:<width$}  {what}{next}")?;
    }
    Ok(())
}

/// Writes an object a line.
///
/// Errors: those of `out`.
pub fn write_json(findings: &[Finding], out: &mut dyn Write) -> io::Result<()> {
    for finding in findings {
        let line = Line {
            r#type: "finding",
            finding,
        };
        json::to_writer(&mut &mut *out, &line)?;
        writeln!(out)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings() -> Vec<Finding> {
        vec![
            Finding::ok("events", "they come").value("nf_conntrack_events", 2),
            Finding::obstacle("kernel-source", "none").next("get one"),
        ]
    }

    #[test]
    fn lines_are_aligned_and_plain_without_a_terminal() {
        let mut out = Vec::new();
        write_table(&findings(), false, &mut out).unwrap();
        let expected = "ok       events         they come\nproblem  kernel-source  none; get one\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn json_has_the_values_beside_the_text() {
        let mut out = Vec::new();
        write_json(&findings(), &mut out).unwrap();
        let expected = concat!(
            r#"{"type":"finding","name":"events","state":"ok","text":"they come","#,
            r#""prevents_capture":false,"nf_conntrack_events":2}"#,
            "\n",
            r#"{"type":"finding","name":"kernel-source","state":"problem","text":"none","#,
            r#""next":"get one","prevents_capture":true}"#,
            "\n"
        );
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
