//! The report as Markdown, for a merge request or a ticket.

use std::fmt::Write as _;
use std::io::{self, Write};

use super::text::{name_flow, show_outcome, show_place};
use super::{Counts, Report};
use crate::check::limits::flows;
use crate::model::printable::printable;
use crate::model::record::Record;
use crate::model::units::show_count;

/// So many flows of a group are shown; the rest is a number.
const SHOWN: usize = 20;

impl Report<'_> {
    /// Writes it as Markdown (GitHub's and GitLab's kind, with tables).
    ///
    /// Errors: those of `out`.
    pub fn write_markdown(&self, out: &mut impl Write) -> io::Result<()> {
        let mut text = format!("### {}\n\n", escaped(&self.headline()));
        if self.incomplete {
            text.push_str(
                "The captures are incomplete: flows that are missing from them were not judged.\n\n",
            );
        }
        if !self.is_of_expectations_alone() {
            self.table(&mut text);
        }
        for group in self.stopped() {
            let what = if group.reply { "Replies of " } else { "" };
            let number = flows(group.records.len() as u64);
            let _ = write!(text, "\n**{what}{number} {}**", group.outcome.name());
            if let Some(rule) = group.outcome.rule() {
                let _ = write!(
                    text,
                    " by {}: {}",
                    escaped(&show_place(rule)),
                    code(&rule.text)
                );
            }
            if let Some(reason) = group.outcome.reason() {
                let _ = write!(text, ": {}", escaped(&printable(reason)));
            }
            text.push_str("\n\n");
            list(&mut text, &group.records);
        }
        let open = self.open();
        if !open.is_empty() {
            let number = flows(open.len() as u64);
            let _ = writeln!(text, "\n**{number} accepted that nobody has answered**\n");
            list(&mut text, &open);
        }
        self.expected(&mut text);
        if !self.limits.is_empty() {
            text.push_str("\n**Limits**: what could not be judged as on the host\n\n");
            for limit in self.limits {
                let _ = writeln!(text, "- {}", escaped(&printable(limit)));
            }
        }
        out.write_all(text.as_bytes())
    }

    fn table(&self, text: &mut String) {
        let summary = self.summary();
        text.push_str(
            "| | flows | accepted | dropped | rejected | undecided |\n|---|--:|--:|--:|--:|--:|\n",
        );
        let mut row = |name: &str, counts: &Counts| {
            let numbers = [
                counts.flows,
                counts.accepted,
                counts.dropped,
                counts.rejected,
                counts.undecided,
            ];
            let cells = numbers.map(show_count).join(" | ");
            let _ = writeln!(text, "| {name} | {cells} |");
        };
        row("confirmed flows", &summary.confirmed);
        row("their replies", &summary.replies);
        if summary.unconfirmed.flows > 0 {
            row("unconfirmed flows", &summary.unconfirmed);
        }
    }

    fn expected(&self, text: &mut String) {
        if self.expectations.is_empty() {
            return;
        }
        let tally = self.tally();
        let _ = writeln!(
            text,
            "\n**Expected flows**: {} as expected, {} not, {} undecided\n",
            tally.met, tally.unmet, tally.undecided
        );
        let wrong = self.of_expected().filter(|(_, _, met)| *met != Some(true));
        for (expectation, verdict, _) in wrong {
            let _ = writeln!(
                text,
                "- {}: {} has to be {}, is {}",
                escaped(&printable(&expectation.title())),
                code(&name_flow(&expectation.record)),
                expectation.wanted.name(),
                escaped(&show_outcome(verdict))
            );
        }
    }
}

fn list(text: &mut String, records: &[&Record]) {
    for record in records.iter().take(SHOWN) {
        let _ = writeln!(text, "- {}", code(&name_flow(record)));
    }
    if let Some(more) = records.len().checked_sub(SHOWN + 1) {
        let _ = writeln!(text, "- and {} more", show_count(more as u64 + 1));
    }
}

/// Text of others between backquotes, more of them than it has in a row (CommonMark 0.31, section 6.1).
fn code(text: &str) -> String {
    let text = printable(text);
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest + 1);
    let pad = if text.starts_with('`') || text.ends_with('`') {
        " "
    } else {
        ""
    };
    format!("{fence}{pad}{text}{pad}{fence}")
}

/// Text of others outside of code: nothing in it is markup.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '<' => escaped.push_str("&lt;"),
            '&' => escaped.push_str("&amp;"),
            '\n' => escaped.push(' '),
            '\\' | '`' | '*' | '_' | '[' | ']' | '#' | '|' | '~' | '!' | '@' => {
                escaped.push('\\');
                escaped.push(character);
            }
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_others_is_no_markup() {
        assert_eq!(code("a``b"), "```a``b```");
        assert_eq!(code("`"), "`` ` ``");
        assert_eq!(escaped("<img> [x](y) @all"), "&lt;img> \\[x\\](y) \\@all");
    }
}
