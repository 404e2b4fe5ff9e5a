//! The report as one HTML file: style, script and drawings in it, nothing fetched, nothing needed but a browser.

mod curve;
mod diagram;
mod page;
mod parts;

pub use parts::{earlier, of_capture};

use page::Page;

use super::digest::Digest;
use crate::model::capture::Completeness;
use crate::rules::text::minute;

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");
/// No address of any kind may be loaded, and no other script run: that which has this digest does (CSP, level 3, "hash-source").
const POLICY: &str = include_str!("policy.txt");

/// A part of the page: its anchor, and its heading.
type Part = (&'static str, &'static str);

const ENOUGH: Part = ("enough", "Is it enough?");
const CHANGES: Part = ("changes", "What changed");
const WHO: Part = ("who", "Who talks with whom");
const SERVICES: Part = ("services", "Services and their clients");
const RARE: Part = ("rare", "Seen once only");
const UNANSWERED: Part = ("unanswered", "Attempts that nobody answered");
const RULES: Part = ("rules", "The rules that would be written");
const CAPTURES: Part = ("captures", "The captures");

/// Writes the page.
pub fn write(digest: &Digest) -> String {
    let mut page = Page::default();
    page.raw("<!doctype html>\n<html lang=en>\n<head>\n<meta charset=utf-8>\n");
    page.raw("<meta name=viewport content=\"width=device-width,initial-scale=1\">\n");
    page.raw("<meta name=color-scheme content=\"light dark\">\n<meta name=referrer content=no-referrer>\n");
    page.raw("<meta http-equiv=Content-Security-Policy content=\"")
        .raw(POLICY.trim_ascii())
        .raw("\">\n");
    page.raw("<title>");
    let title = title(digest);
    page.text(&title)
        .raw("</title>\n<style>\n")
        .raw(STYLE)
        .raw("</style>\n</head>\n<body>\n");
    page.raw("<a class=skip href=#main>Skip to the content</a>\n<header>\n<h1>")
        .text(&title)
        .raw("</h1>\n<p class=span>");
    if let (Some(start), Some(end)) = digest.span {
        page.text(&minute(start))
            .raw(" to ")
            .text(&minute(end))
            .raw(" UTC");
    } else {
        page.raw("At an unknown time");
    }
    page.raw("</p>\n");
    verdict(digest, &mut page);
    tiles(digest, &mut page);
    page.raw("</header>\n<nav aria-label=Contents><ul>");
    let parts = parts::all(digest);
    for ((anchor, heading), _) in &parts {
        page.raw("<li><a href=\"#")
            .raw(anchor)
            .raw("\">")
            .raw(heading)
            .raw("</a>");
    }
    page.raw("</ul></nav>\n<main id=main>\n");
    for ((anchor, heading), write) in parts {
        page.raw("<section id=")
            .raw(anchor)
            .raw(" aria-labelledby=\"h-")
            .raw(anchor)
            .raw("\"><h2 id=\"h-");
        page.raw(anchor).raw("\">").raw(heading).raw("</h2>\n");
        write(digest, &mut page);
        page.raw("</section>\n");
    }
    page.raw("</main>\n<footer><p>Written by conntracker ")
        .raw(env!("CARGO_PKG_VERSION"));
    page.raw(". All times are UTC. A flow is one client, one server and one service, however often they connect.</p></footer>\n<script>\n");
    page.raw(SCRIPT).raw("</script>\n</body>\n</html>\n");
    page.into_string()
}

/// What the report is on.
pub(super) fn title(digest: &Digest) -> String {
    match digest.hosts.as_slice() {
        [] => "Network flows".to_owned(),
        [host] => format!("Network flows of {host}"),
        [host, rest @ ..] if rest.len() > 3 => {
            format!("Network flows of {host} and {} more hosts", rest.len())
        }
        hosts => format!("Network flows of {}", hosts.join(", ")),
    }
}

/// The verdict in a word, and in a sentence.
pub(super) const fn verdict_words(verdict: Option<Completeness>) -> (&'static str, &'static str) {
    match verdict {
        Some(Completeness::Complete) => (
            "Complete",
            "Every event of the kernel was taken in: what passed is on this page.",
        ),
        Some(Completeness::Recovered) => (
            "Complete after recovery",
            "Events were missed, and everything that they stood for was found again.",
        ),
        Some(Completeness::Incomplete) => (
            "Incomplete",
            "Flows may be missing from this page. The captures say why.",
        ),
        None => (
            "Not judged",
            "What made these lists does not say whether flows are missing from them.",
        ),
    }
}

fn verdict(digest: &Digest, page: &mut Page) {
    let (word, sentence) = verdict_words(digest.verdict);
    page.raw("<p class=\"verdict ");
    page.raw(match digest.verdict {
        Some(Completeness::Complete | Completeness::Recovered) => "good",
        Some(Completeness::Incomplete) => "bad",
        None => "unsure",
    });
    page.raw("\"><strong>")
        .raw(word)
        .raw("</strong> ")
        .raw(sentence)
        .raw("</p>\n");
}

fn tiles(digest: &Digest, page: &mut Page) {
    let totals = &digest.totals;
    page.raw("<dl class=tiles>");
    for (name, number) in [
        ("distinct flows", totals.flows),
        ("of them answered", totals.confirmed),
        ("clients", totals.clients as u64),
        ("servers", totals.servers as u64),
        ("connections", totals.connections),
    ] {
        page.raw("<div><dt>")
            .raw(name)
            .raw("<dd>")
            .count(number)
            .raw("</div>");
    }
    page.raw("</dl>\n");
}
