//! The report as Markdown, for tickets and wikis.

use std::fmt::Write;

use super::digest::Digest;
use super::html::{earlier, of_capture, title, verdict_words};
use super::services::Table;
use crate::model::printable::printable;
use crate::model::units::{agree, counted, show_count};
use crate::rules::general::coverage::Once;
use crate::rules::text::minute;

/// So many lines of a table are written: whoever wants them all takes the page.
const LINES: usize = 25;
/// So many clients of a line are named.
const CLIENTS: usize = 4;

/// Text in which nothing is markup, a link or a mention.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in printable(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '@' => out.push_str("&#64;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '#' | '|' | '~' | '!' => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
    }
    // What looks like an address of the web is made a link by many programs (GFM, "Autolinks").
    out.replace("://", "&#58;//").replace("www.", "www&#46;")
}

/// Writes the report.
pub fn write(digest: &Digest) -> String {
    let mut out = String::new();
    // Writing to a string never fails.
    let _ = write_to(digest, &mut out);
    out
}

fn write_to(digest: &Digest, out: &mut String) -> std::fmt::Result {
    let totals = &digest.totals;
    let (word, sentence) = verdict_words(digest.verdict);
    writeln!(out, "# {}\n", plain(&title(digest)))?;
    if let (Some(start), Some(end)) = digest.span {
        writeln!(out, "{} to {} UTC\n", minute(start), minute(end))?;
    }
    writeln!(out, "**{word}.** {sentence}\n")?;
    writeln!(
        out,
        "{}, {} of them answered; {}, {}, {}.",
        counted(totals.flows, "distinct flow"),
        show_count(totals.confirmed),
        counted(totals.clients as u64, "client"),
        counted(totals.servers as u64, "server"),
        counted(totals.connections, "connection"),
    )?;
    writeln!(out, "\n## Is it enough?\n")?;
    for (about, outlook) in [
        ("Rules of what was seen and nothing else", &digest.exact),
        (
            "Rules that new flows of the same kinds pass too",
            &digest.general,
        ),
    ] {
        let sentence = outlook.sentences().into_iter().next();
        writeln!(out, "- {about}: {}.", plain(&sentence.unwrap_or_default()))?;
    }
    for sentence in digest.general.sentences().iter().skip(1) {
        writeln!(out, "- {}.", plain(sentence))?;
    }
    if let Some(Once { flows, days }) = digest.once {
        writeln!(
            out,
            "- {} came on one day only, of {days}: by that, about {} a day {} new (Good and Turing).",
            counted(flows, "flow"),
            counted(flows / u64::from(days), "flow"),
            agree(flows / u64::from(days), "is", "are")
        )?;
    }
    who(digest, out)?;
    if let Some(changes) = &digest.changes {
        writeln!(
            out,
            "\n## What changed\n\nCompared with {}.",
            plain(&earlier(changes))
        )?;
        if changes.is_incomplete {
            writeln!(
                out,
                "\n**One of the two is incomplete: what differs may be what it missed.**"
            )?;
        }
        if changes.classic != [false, false] {
            writeln!(
                out,
                "\nOne of the two is a classic list: compared without ICMP types, translation, zones and other protocols."
            )?;
        }
        for (heading, part) in ["New", "Gone", "Newly answered"]
            .into_iter()
            .zip(&changes.parts)
        {
            writeln!(out, "\n### {heading}: {}\n", counted(part.flows(), "flow"))?;
            table(part, out)?;
        }
    }
    for (heading, part) in [
        ("Services and their clients", Some(&digest.services)),
        ("Seen once only", digest.rare.as_ref()),
        ("Attempts that nobody answered", Some(&digest.unanswered)),
    ] {
        writeln!(out, "\n## {heading}\n")?;
        match part {
            Some(part) => table(part, out)?,
            None => writeln!(out, "These captures do not count connections.")?,
        }
    }
    rules(digest, out)?;
    writeln!(out, "\n## The captures\n")?;
    for capture in &digest.captures {
        writeln!(out, "- {}", plain(&of_capture(capture)))?;
        for reason in capture.reasons() {
            writeln!(out, "  - {}", plain(&reason))?;
        }
    }
    if digest.more_captures > 0 {
        writeln!(
            out,
            "- and {}",
            counted(digest.more_captures as u64, "more capture")
        )?;
    }
    writeln!(
        out,
        "\nWritten by conntracker {}. All times are UTC.",
        env!("CARGO_PKG_VERSION")
    )
}

fn who(digest: &Digest, out: &mut String) -> std::fmt::Result {
    let matrix = &digest.matrix;
    writeln!(out, "\n## Who talks with whom\n")?;
    if matrix.cells.is_empty() {
        return writeln!(out, "No flow was answered.");
    }
    write!(out, "| answered flows from \\ to |")?;
    for place in &matrix.destinations {
        write!(out, " {} |", plain(place.name()))?;
    }
    writeln!(out, "\n|---|{}", "---|".repeat(matrix.destinations.len()))?;
    for (from, place) in matrix.sources.iter().enumerate() {
        write!(out, "| {} |", plain(place.name()))?;
        for to in 0..matrix.destinations.len() {
            let services = matrix.between(from, to);
            let sum: u64 = services.iter().map(|(_, flows)| flows).sum();
            if sum == 0 {
                write!(out, "  |")?;
                continue;
            }
            let named: Vec<String> = { services.iter().take(3) }
                .map(|(name, _)| plain(name))
                .collect();
            write!(out, " {}: {} |", show_count(sum), named.join(", "))?;
        }
        writeln!(out)?;
    }
    Ok(())
}

fn rules(digest: &Digest, out: &mut String) -> std::fmt::Result {
    let rules = &digest.rules;
    writeln!(out, "\n## The rules that would be written\n")?;
    let command = match rules.are_general {
        true => "conntracker rules --generalize",
        false => "conntracker rules",
    };
    let count = (rules.lines.len() + rules.more) as u64;
    writeln!(
        out,
        "`{command}`: {} for {}; {} left out.",
        counted(count, "rule"),
        counted(rules.carried, "flow"),
        counted(rules.missing, "flow")
    )?;
    for warning in &rules.warnings {
        writeln!(out, "\n**Warning:** {}.", plain(warning))?;
    }
    if !rules.lines.is_empty() {
        writeln!(
            out,
            "\n| chain | accepts | from | to | flows |\n|---|---|---|---|--:|"
        )?;
    }
    for line in rules.lines.iter().take(LINES) {
        writeln!(
            out,
            "| {} | {} | {} | {} | {} |",
            line.chain,
            plain(&line.what),
            plain(&line.from),
            plain(&line.to),
            show_count(line.flows)
        )?;
    }
    if let Some(more @ 1..) = count.checked_sub(LINES as u64) {
        writeln!(out, "\nAnd {}.", counted(more, "more rule"))?;
    }
    Ok(())
}

fn table(table: &Table, out: &mut String) -> std::fmt::Result {
    if table.rows.is_empty() && table.rest.is_none() {
        return writeln!(out, "None.");
    }
    writeln!(
        out,
        "| service | server | clients | flows | answered | connections | last seen |\n|---|---|---|--:|--:|--:|---|"
    )?;
    for row in table.rows.iter().take(LINES) {
        let mut who: Vec<String> = row.who.iter().take(CLIENTS).map(|one| plain(one)).collect();
        if row.who.len() > CLIENTS {
            who.push(format!("… ({} in all)", show_count(row.clients as u64)));
        }
        let name = match row.name.as_str() {
            "" => plain(&row.number),
            name => format!("{} ({})", plain(name), plain(&row.number)),
        };
        let server = if row.server.is_empty() {
            "anywhere".to_owned()
        } else {
            plain(&row.server)
        };
        writeln!(
            out,
            "| {name} | {server} | {} | {} | {} | {} | {} |",
            who.join(", "),
            show_count(row.sum.flows),
            show_count(row.sum.confirmed),
            show_count(row.sum.connections),
            row.sum.last_seen.map_or_else(String::new, minute)
        )?;
    }
    let hidden = { table.rows.iter().skip(LINES) }.map(|row| row.sum.flows);
    let (rest, in_rest) = table.rest.unwrap_or_default();
    let lines = table.rows.len().saturating_sub(LINES) + rest;
    if lines > 0 {
        let flows = hidden.sum::<u64>() + in_rest;
        writeln!(
            out,
            "\nAnd {} with {}.",
            counted(lines as u64, "more line"),
            counted(flows, "flow")
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn text_is_never_markup() {
        assert_eq!(
            plain("a|b](x) <b> @all `c` http://evil.example www.evil.example\n# d"),
            "a\\|b\\](x) &lt;b&gt; &#64;all \\`c\\` http&#58;//evil.example www&#46;evil.example\\\\n\\# d"
        );
    }
}
