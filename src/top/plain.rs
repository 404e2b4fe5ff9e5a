//! The view as lines of text, one after the other: for screen readers, and where there is no terminal.

use std::collections::VecDeque;
use std::io::{self, Write};

use super::app::App;
use super::draw::Head;
use super::lines::{Key, Line};
use super::words::{ago, clock};
use crate::model::printable::printable;
use crate::model::units::{counted, show_count};

/// So many lines are written at a time.
pub const LINES: usize = 20;

/// Writes what is there now: a sentence on all of it, and a line for each of the first lines.
///
/// Errors: those of `out`.
pub fn write(app: &App, head: &Head, out: &mut impl Write) -> io::Result<()> {
    let curves = &app.list.curves;
    let last = |points: &VecDeque<u64>| points.back().copied().unwrap_or(0);
    let (new, unknown) = app.list.marked();
    write!(
        out,
        "{}, {}: {}",
        printable(&head.what),
        clock(head.elapsed),
        counted(
            (app.list.flows.len() - app.list.told.denied.len()) as u64,
            "flow"
        )
    )?;
    if let denied @ 1.. = app.list.told.denied.len() {
        write!(out, ", {} denied", show_count(denied as u64))?;
    }
    if head.is_live {
        write!(
            out,
            ", {} new, {} a second",
            show_count(new),
            counted(last(&curves.events), "event")
        )?;
    }
    if app.list.has_baseline() {
        write!(out, ", {} not in the baseline", show_count(unknown))?;
    }
    writeln!(out, ", {}.", head.verdict)?;
    for reason in &head.reasons {
        writeln!(out, "Incomplete: {}.", printable(reason))?;
    }
    for line in app.lines.iter().take(LINES) {
        writeln!(out, "{}", sentence(app, line))?;
    }
    if let Some(more @ 1..) = app.lines.len().checked_sub(LINES) {
        writeln!(out, "And {}.", counted(more as u64, "more line"))?;
    }
    out.flush()
}

fn sentence(app: &App, line: &Line) -> String {
    let sum = &line.sum;
    let mut parts = Vec::new();
    if line.is_unknown {
        parts.push("not in the baseline".to_owned());
    }
    if line.is_new {
        parts.push("new".to_owned());
    }
    if let Key::Flow(_) = line.key {
        parts.push(
            match (line.is_denied, sum.confirmed) {
                (true, _) => "denied",
                (_, 1..) => "answered",
                _ => "not answered",
            }
            .to_owned(),
        );
    } else {
        parts.push(format!(
            "{} of {}",
            counted(sum.flows, "flow"),
            counted(sum.clients.len() as u64, "client")
        ));
        parts.push(format!("{} answered", show_count(sum.confirmed)));
    }
    parts.push(counted(sum.connections, "connection"));
    parts.push(format!(
        "last seen {} ago",
        ago(sum.last_seen, app.list.now)
    ));
    let name = line.name(&app.list, "").trim().replace(" > ", " to ");
    format!("{name}: {}", parts.join(", "))
}
