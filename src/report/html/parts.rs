//! The parts of the page, each under a heading.

use super::page::Page;
use super::{
    CAPTURES, CHANGES, ENOUGH, Part, RARE, RULES, SERVICES, UNANSWERED, WHO, curve, diagram,
    verdict_words,
};
use crate::model::capture::Capture;
use crate::model::timestamp::Timestamp;
use crate::model::units::{agree, counted};
use crate::report::digest::{Changes, Digest, hosts};
use crate::report::growth::Growth;
use crate::report::matrix::Matrix;
use crate::report::services::{Row, Table};
use crate::rules::text::minute;

/// How a part is written.
type Write = fn(&Digest, &mut Page);

/// The parts that this report has.
pub fn all(digest: &Digest) -> Vec<(Part, Write)> {
    let mut parts: Vec<(Part, Write)> = vec![(ENOUGH, enough), (WHO, who)];
    if digest.changes.is_some() {
        parts.push((CHANGES, changed));
    }
    parts.extend([
        (SERVICES, services as Write),
        (RARE, rare),
        (UNANSWERED, unanswered),
        (RULES, rules),
        (CAPTURES, captures),
    ]);
    parts
}

fn enough(digest: &Digest, page: &mut Page) {
    page.raw("<p>As long as each day brings flows that were never seen before, rules made of these captures would stop some that are wanted.</p>");
    match &digest.growth {
        None => {
            page.raw("<p>The captures do not say when flows were first seen.</p>");
        }
        Some(growth) => {
            page.raw(
                "<figure class=scroll tabindex=0 role=group aria-label=\"New flows over time\">",
            );
            curve::write(growth, page);
            page.raw("</figure>");
        }
    }
    page.raw("<dl class=outlook>");
    for (about, outlook) in [
        ("Rules of what was seen and nothing else", &digest.exact),
        (
            "Rules that new flows of the same kinds pass too",
            &digest.general,
        ),
    ] {
        page.raw("<div><dt>").raw(about).raw("<dd>");
        let sentence = outlook.sentences().into_iter().next();
        page.text(&sentence.unwrap_or_default()).raw(".</div>");
    }
    page.raw("</dl><p>");
    // What no number says is the same for both.
    for sentence in digest.general.sentences().iter().skip(1) {
        page.text(sentence).raw(". ");
    }
    if let Some(once) = digest.once {
        page.text(&counted(once.flows, "flow"))
            .raw(" came on one day only, of ")
            .count(once.days.into());
        let daily = once.flows / u64::from(once.days);
        page.raw(": by that, about ")
            .text(&counted(daily, "flow"))
            .raw(agree(daily, " a day is", " a day are"))
            .raw(" new (Good and Turing).");
    }
    page.raw("</p>");
    if let Some(growth) = &digest.growth {
        numbers(growth, page);
    }
}

fn numbers(growth: &Growth, page: &mut Page) {
    page.raw("<details><summary>The numbers</summary><div class=scroll tabindex=0 role=group aria-label=\"New flows by time\"><table><caption>Answered flows by when they were first seen</caption><thead><tr><th scope=col>");
    page.raw(match growth.days {
        Some(1) => "Day (UTC)",
        Some(_) => "Days from (UTC)",
        None => "From (UTC)",
    });
    page.raw("<th scope=col class=r>New<th scope=col class=r>Known by then</thead><tbody>");
    for step in &growth.steps {
        page.raw("<tr><th scope=row>")
            .text(&curve::label(step, growth))
            .raw("<td class=r>")
            .count(step.new);
        page.raw("<td class=r>").count(step.known);
    }
    page.raw("</table></div></details>");
}

fn who(digest: &Digest, page: &mut Page) {
    let matrix = &digest.matrix;
    if matrix.cells.is_empty() {
        page.raw("<p>No flow was answered.</p>");
        return;
    }
    page.raw("<p>Answered flows: from the networks that clients are in, by service, to the networks of their servers. Where the gateway sends packets on to another address, that one counts.</p>");
    page.raw(
        "<figure class=scroll tabindex=0 role=group aria-label=\"Diagram of who talks with whom\">",
    );
    diagram::write(matrix, page);
    page.raw("</figure>");
    table_of(matrix, page);
}

fn table_of(matrix: &Matrix, page: &mut Page) {
    const NAMED: usize = 3;
    let most =
        matrix.sources.iter().enumerate().flat_map(|(from, _)| {
            (0..matrix.destinations.len()).map(move |to| sum(matrix, from, to))
        });
    let most = most.max().unwrap_or(1).max(1) as f64;
    page.raw("<div class=scroll tabindex=0 role=group aria-label=\"Networks by networks\"><table class=matrix><caption>Flows from each network (rows) to each network (columns), and the services of most of them</caption><thead><tr><td>");
    for place in &matrix.destinations {
        page.raw("<th scope=col>").text(place.name());
    }
    page.raw("</thead><tbody>");
    for (from, place) in matrix.sources.iter().enumerate() {
        page.raw("<tr><th scope=row>").text(place.name());
        for to in 0..matrix.destinations.len() {
            let services = matrix.between(from, to);
            let flows = sum(matrix, from, to);
            if flows == 0 {
                page.raw("<td class=none>–");
                continue;
            }
            let heat = 1.0 + 4.0 * (flows as f64).ln_1p() / most.ln_1p();
            page.raw("<td class=h")
                .digits(heat as usize)
                .raw("><b>")
                .count(flows)
                .raw("</b> <small>");
            let named: Vec<&str> = services
                .iter()
                .take(NAMED)
                .map(|(name, _)| name.as_str())
                .collect();
            page.text(&named.join(", "));
            if services.len() > NAMED {
                page.raw(" and ")
                    .count((services.len() - NAMED) as u64)
                    .raw(" more");
            }
            page.raw("</small>");
        }
    }
    page.raw("</table></div>");
}

fn sum(matrix: &Matrix, from: usize, to: usize) -> u64 {
    matrix
        .between(from, to)
        .iter()
        .map(|(_, flows)| flows)
        .sum()
}

fn services(digest: &Digest, page: &mut Page) {
    page.raw("<p>Everything that answered at least once. Open the number of clients to see who they are.</p>");
    rows(&digest.services, "Services that answered", page);
}

fn rare(digest: &Digest, page: &mut Page) {
    let Some(rare) = &digest.rare else {
        page.raw("<p>These captures do not count connections, so nobody can tell what was seen once only.</p>");
        return;
    };
    page.raw("<p>Answered flows of one single connection: the job that runs once a month, and what should not be there at all.</p>");
    rows(rare, "Answered flows of one connection", page);
}

fn unanswered(digest: &Digest, page: &mut Page) {
    page.raw("<p>Nothing came back: servers that are gone, what a firewall already drops, scans, and requests to all hosts of a network, whose answers do not show. Rules leave them out.</p>");
    rows(&digest.unanswered, "Flows without an answer", page);
}

fn changed(digest: &Digest, page: &mut Page) {
    let Some(changes) = &digest.changes else {
        return;
    };
    page.raw("<p>Compared with ")
        .text(&earlier(changes))
        .raw(".");
    if changes.is_incomplete {
        page.raw(
            " <strong>One of the two is incomplete: what differs may be what it missed.</strong>",
        );
    }
    if changes.classic != [false, false] {
        page.raw(" One of the two is a classic list: compared without ICMP types, translation, zones and other protocols.");
    }
    page.raw("</p>");
    const PARTS: [(&str, &str); 3] = [
        ("New", "Flows that the earlier captures do not have"),
        ("Gone", "Flows that only the earlier captures have"),
        ("Newly answered", "Flows of both that are answered only now"),
    ];
    for ((heading, caption), table) in PARTS.into_iter().zip(&changes.parts) {
        page.raw("<h3>")
            .raw(heading)
            .raw(": ")
            .text(&counted(table.flows(), "flow"))
            .raw("</h3>");
        rows(table, caption, page);
    }
}

/// What the earlier captures are.
pub fn earlier(changes: &Changes) -> String {
    let time = |time: Option<Timestamp>| time.map_or_else(|| "an unknown time".to_owned(), minute);
    let captures = &changes.earlier;
    let start = captures.iter().filter_map(|capture| capture.start).min();
    let end = captures.iter().filter_map(|capture| capture.end).max();
    let hosts = hosts(captures);
    let host = if hosts.is_empty() {
        "an unknown host".to_owned()
    } else {
        hosts.join(", ")
    };
    format!("{host}, {} to {} UTC", time(start), time(end))
}

fn rules(digest: &Digest, page: &mut Page) {
    let rules = &digest.rules;
    page.raw(match rules.are_general {
        true => "<p>What <code>conntracker rules --generalize</code> writes for these captures: each service opened as far as the days that were seen ask for it, everything else dropped.</p>",
        false => "<p>What <code>conntracker rules</code> writes for these captures: what was seen and answered, and nothing else.</p>",
    });
    for warning in &rules.warnings {
        page.raw("<p class=warning><strong>Warning:</strong> ")
            .text(warning)
            .raw(".</p>");
    }
    page.raw("<p>")
        .text(&counted((rules.lines.len() + rules.more) as u64, "rule"))
        .raw(" for ");
    page.text(&counted(rules.carried, "flow"))
        .raw("; ")
        .text(&counted(rules.missing, "flow"))
        .raw(" left out.</p>");
    if !rules.left_out.is_empty() {
        page.raw("<ul>");
        for (why, flows) in &rules.left_out {
            page.raw("<li>")
                .text(&counted(*flows, "flow"))
                .raw(": ")
                .text(why)
                .raw(".");
        }
        page.raw("</ul>");
    }
    if rules.lines.is_empty() {
        return;
    }
    page.raw("<div class=scroll tabindex=0 role=group aria-label=\"Rules\"><table class=list><caption>Rules, and the traffic that each carries</caption><thead><tr><th scope=col>Chain<th scope=col>Accepts<th scope=col>From<th scope=col>To<th scope=col class=r>Flows");
    let has_times = rules.lines.iter().any(|line| line.last_seen.is_some());
    if has_times {
        page.raw("<th scope=col>Last seen");
    }
    page.raw("</thead><tbody>");
    for line in &rules.lines {
        page.raw("<tr><td>")
            .raw(line.chain)
            .raw("<th scope=row>")
            .text(&line.what)
            .raw("<td>")
            .text(&line.from);
        page.raw("<td>")
            .text(&line.to)
            .raw("<td class=r>")
            .count(line.flows);
        if has_times {
            page.raw("<td class=t>")
                .text(&line.last_seen.map_or_else(String::new, minute));
        }
    }
    page.raw("</table></div>");
    if rules.more > 0 {
        page.raw("<p>And ")
            .text(&counted(rules.more as u64, "more rule"))
            .raw(".</p>");
    }
}

fn captures(digest: &Digest, page: &mut Page) {
    page.raw("<ul class=captures>");
    for capture in &digest.captures {
        page.raw("<li>").text(&of_capture(capture));
        let reasons = capture.reasons();
        if !reasons.is_empty() {
            page.raw("<ul>");
            for reason in &reasons {
                page.raw("<li>").text(reason);
            }
            page.raw("</ul>");
        }
    }
    page.raw("</ul>");
    if digest.more_captures > 0 {
        page.raw("<p>And ")
            .text(&counted(digest.more_captures as u64, "more capture"))
            .raw(".</p>");
    }
}

/// A capture in a line.
pub fn of_capture(capture: &Capture) -> String {
    format!(
        "{capture}: {}",
        verdict_words(capture.judged()).0.to_lowercase()
    )
}

fn rows(table: &Table, caption: &'static str, page: &mut Page) {
    if table.rows.is_empty() && table.rest.is_none() {
        page.raw("<p>None.</p>");
        return;
    }
    if let Some(remark) = table.detail.remark() {
        page.raw("<p>").raw(remark).raw("</p>");
    }
    page.raw("<div class=scroll tabindex=0 role=group aria-label=\"")
        .raw(caption)
        .raw("\"><table class=list><caption>")
        .raw(caption);
    page.raw("</caption><thead><tr><th scope=col>Service<th scope=col>Server<th scope=col>Clients<th scope=col class=r>Flows<th scope=col>Answered<th scope=col class=r>Connections<th scope=col>First seen<th scope=col>Last seen</thead><tbody>");
    for one in &table.rows {
        row(one, page);
    }
    page.raw("</table></div>");
    if let Some((rows, flows)) = table.rest {
        page.raw("<p>And ")
            .text(&counted(rows as u64, "more line"))
            .raw(" with ")
            .text(&counted(flows, "flow"))
            .raw(".</p>");
    }
}

fn row(row: &Row, page: &mut Page) {
    page.raw("<tr><th scope=row>");
    if row.name.is_empty() {
        page.text(&row.number);
    } else {
        page.text(&row.name)
            .raw(" <small>")
            .text(&row.number)
            .raw("</small>");
    }
    page.raw("<td>").text(if row.server.is_empty() {
        "anywhere"
    } else {
        &row.server
    });
    if !row.place.is_empty() {
        page.raw(" <small>").text(&row.place).raw("</small>");
    }
    page.raw("<td>");
    match row.who.as_slice() {
        [one] => {
            page.text(one);
        }
        all => {
            page.raw("<details><summary>")
                .count(row.clients as u64)
                .raw("</summary><ul>");
            for one in all {
                page.raw("<li>").text(one);
            }
            page.raw("</ul></details>");
        }
    }
    let sum = &row.sum;
    page.raw("<td class=r>").count(sum.flows);
    match sum.confirmed {
        0 => page.raw("<td class=no>none"),
        all if all == sum.flows => page.raw("<td class=yes>all"),
        some => page
            .raw("<td class=some>")
            .count(some)
            .raw(" of ")
            .count(sum.flows),
    };
    page.raw("<td class=r>").count(sum.connections);
    for time in [sum.first_seen, sum.last_seen] {
        page.raw("<td class=t>")
            .text(&time.map_or_else(String::new, minute));
    }
}
