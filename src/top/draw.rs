//! The view as it is drawn: four lines at the top, the lines of flows, a line of keys or messages.

use std::collections::VecDeque;

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line as Text, Span};
use ratatui::widgets::{Clear, Paragraph};

use super::app::{App, Sheet};
use super::lines::{DENIED, columns};
use super::list::CLASSES;
use super::words::{clock, curve, shortened, together};
use crate::model::printable::printable;
use crate::model::units::{counted, show_count};

/// Lines above those of flows, their headings included, and below.
const ABOVE: u16 = 5;
const BELOW: u16 = 1;

/// What is drawn besides the view's own state.
#[derive(Clone, Debug, Default)]
pub struct Head {
    /// Where and what: the host, and whether it is live.
    pub what: String,
    /// How long it has been running.
    pub elapsed: std::time::Duration,
    /// The verdict in a word.
    pub verdict: &'static str,
    /// Why it is not complete.
    pub reasons: Vec<String>,
    /// Upper bound of the events that were missed.
    pub missed: u64,
    /// Whether it is a capture that runs.
    pub is_live: bool,
    /// A message of the program.
    pub message: Option<String>,
}

/// Colours, or the lack of them.
#[derive(Clone, Copy, Debug)]
pub struct Palette {
    /// Whether there are any.
    pub has_colour: bool,
}

impl Palette {
    fn of(self, colour: Color) -> Style {
        match self.has_colour {
            true => Style::new().fg(colour),
            false => Style::new(),
        }
    }

    fn dim(self) -> Style {
        match self.has_colour {
            true => Style::new().fg(Color::DarkGray),
            false => Style::new(),
        }
    }
}

/// How many lines of flows have room.
pub fn room(height: u16) -> usize {
    usize::from(height.saturating_sub(ABOVE + BELOW))
}

/// Draws it all.
pub fn draw(frame: &mut Frame<'_>, app: &App, head: &Head, palette: Palette) {
    let area = frame.area();
    let width = usize::from(area.width);
    let mut texts = above(app, head, palette, width);
    let columns = columns(app.wanted.group, width);
    let heading = columns.iter();
    let heading: String = heading
        .map(|(name, room)| cell(name, *room, is_number(name)))
        .collect();
    texts.push(Text::styled(
        fitted(&format!("  {heading}"), width),
        Style::new().add_modifier(Modifier::REVERSED),
    ));
    let room = room(area.height);
    for (at, line) in app.lines.iter().enumerate().skip(app.top).take(room) {
        let cells = line.cells(&app.list, &columns);
        let mark = match line.mark() {
            '!' => palette.of(Color::Red),
            '+' => palette.of(Color::Cyan),
            _ => Style::new(),
        };
        let mut spans = vec![Span::styled(format!("{} ", line.mark()), mark)];
        for (text, (name, room)) in cells.iter().zip(&columns) {
            let style = match (*name, text.as_str()) {
                ("ANSWER" | "ANSWERED", "yes" | "all") => palette.of(Color::Green),
                ("ANSWER" | "ANSWERED", DENIED) => palette.of(Color::Red),
                ("ANSWER" | "ANSWERED", "no" | "none") => palette.of(Color::Yellow),
                ("FIRST" | "LAST", _) => palette.dim(),
                _ => Style::new(),
            };
            spans.push(Span::styled(cell(text, *room, is_number(name)), style));
        }
        let mut text = Text::from(spans);
        if at == app.selected && app.sheet.is_none() {
            text = text.style(Style::new().add_modifier(Modifier::REVERSED | Modifier::BOLD));
        }
        texts.push(text);
    }
    frame.render_widget(Paragraph::new(texts), area);
    if app.lines.is_empty() {
        let empty = Rect::new(2, ABOVE, area.width.saturating_sub(2), 1.min(area.height));
        let why = match app.filter.is_empty() && !app.wanted.only_marked {
            true => "No flow so far.",
            false => "No flow passes the filter.",
        };
        frame.render_widget(Paragraph::new(why), empty.intersection(area));
    }
    if let Some(sheet) = &app.sheet {
        draw_sheet(frame, sheet);
    }
    let last = Rect::new(0, area.height.saturating_sub(1), area.width, 1);
    let (text, style) = below(app, head, width);
    let last = last.intersection(area);
    frame.render_widget(Clear, last);
    frame.render_widget(Paragraph::new(fitted(&text, width)).style(style), last);
    if let Some(typed) = &app.typing {
        let column = "Filter: ".len() + typed.chars().count();
        frame.set_cursor_position((column.min(width.saturating_sub(1)) as u16, last.y));
    }
}

fn above<'a>(app: &App, head: &Head, palette: Palette, width: usize) -> Vec<Text<'a>> {
    let good = head.verdict == "complete" || head.verdict == "recovered";
    let verdict = match (good, head.verdict) {
        (true, _) => palette.of(Color::Green),
        (false, "incomplete") => palette.of(Color::Red).add_modifier(Modifier::BOLD),
        _ => palette.of(Color::Yellow),
    };
    let state = match (app.is_paused, head.is_live) {
        (true, _) => "  paused",
        _ => "",
    };
    let what = shortened(&printable(&head.what), width.saturating_sub(48).max(8));
    let first = Text::from(vec![
        Span::styled("conntracker top", Style::new().add_modifier(Modifier::BOLD)),
        Span::raw(format!("  {what}  {}  ", clock(head.elapsed))),
        Span::styled(head.verdict, verdict),
        Span::raw(match head.missed {
            0 => String::new(),
            missed => format!(", {} missed", counted(missed, "event")),
        }),
        Span::styled(state, palette.of(Color::Yellow)),
    ]);
    let classes = app.list.classes();
    let classes = { CLASSES.iter().zip(classes) }
        .filter(|(_, flows)| *flows > 0)
        .map(|(class, flows)| format!("{class} {}", show_count(flows)));
    let (new, unknown) = app.list.marked();
    let denied = app.list.told.denied.len() as u64;
    let flows = app.list.flows.len() as u64 - denied;
    let mut sums = vec![counted(flows, "flow")];
    sums.extend(classes);
    if denied > 0 {
        sums.push(format!("{} denied", show_count(denied)));
    }
    if head.is_live {
        sums.push(format!("+{} new", show_count(new)));
    }
    if app.list.has_baseline() {
        sums.push(format!("!{} not in the baseline", show_count(unknown)));
    }
    let curves = &app.list.curves;
    let room = (width / 2).saturating_sub(22).clamp(8, 60);
    let last = |points: &VecDeque<u64>| points.back().copied().unwrap_or(0);
    let curve_of = |points: &VecDeque<u64>| {
        // Of a capture that runs the last seconds, of files all of the time.
        let text = match head.is_live {
            true => curve(points.iter(), room),
            false => curve(together(points, room).iter(), room),
        };
        format!(
            "{}{text}",
            " ".repeat(room.saturating_sub(text.chars().count()))
        )
    };
    let third = if head.is_live {
        Text::from(vec![
            Span::raw(format!(
                "{:<18} ",
                format!("{}/s", counted(last(&curves.events), "event"))
            )),
            Span::styled(curve_of(&curves.events), palette.of(Color::Blue)),
            Span::raw(format!(
                "  {:<11}",
                format!("{} new/s", show_count(last(&curves.new)))
            )),
            Span::styled(curve_of(&curves.new), palette.of(Color::Cyan)),
        ])
    } else {
        Text::from(vec![
            Span::raw("last seen  "),
            Span::styled(curve_of(&curves.events), palette.of(Color::Blue)),
            Span::raw("  first seen "),
            Span::styled(curve_of(&curves.new), palette.of(Color::Cyan)),
        ])
    };
    let mut fourth = format!(
        "by {}, {}{}",
        app.wanted.group.name(),
        app.wanted.sort.name(),
        if app.wanted.reverse { ", reversed" } else { "" }
    );
    if app.wanted.only_marked {
        fourth += ", marked flows alone";
    }
    if !app.filter.is_empty() {
        fourth += &format!(", filter: {}", printable(&app.filter));
    }
    fourth += &format!(
        "  ({}, {})",
        counted(
            app.lines.iter().filter(|line| !line.is_member).count() as u64,
            "line"
        ),
        counted(app.flows, "flow")
    );
    vec![
        first,
        Text::raw(fitted(&sums.join("  "), width)),
        third,
        Text::styled(fitted(&fourth, width), palette.dim()),
    ]
}

/// The last line: what is typed, what there is to say, or the keys.
fn below(app: &App, head: &Head, width: usize) -> (String, Style) {
    let loud = Style::new().add_modifier(Modifier::BOLD);
    if let Some(typed) = &app.typing {
        let typed = printable(typed);
        return (format!("Filter: {typed}"), Style::new());
    }
    if let Some(message) = &app.message {
        return (message.clone(), loud);
    }
    if let Some(reason) = head.reasons.first() {
        return (
            shortened(&format!("Incomplete: {}", printable(reason)), width),
            loud,
        );
    }
    if let Some(message) = &head.message {
        return (printable(message).into_owned(), Style::new());
    }
    let keys = "? help / filter g group s sort Enter open r rule w write space pause q quit";
    (keys.to_owned(), Style::new())
}

fn draw_sheet(frame: &mut Frame<'_>, sheet: &Sheet) {
    let area = frame.area();
    let top = ABOVE.saturating_sub(1).min(area.height);
    let area = Rect::new(0, top, area.width, area.height.saturating_sub(top + BELOW));
    frame.render_widget(Clear, area);
    let width = usize::from(area.width).max(1);
    let title = fitted(&format!("  {}", sheet.title), width);
    let mut texts = vec![Text::styled(
        title,
        Style::new().add_modifier(Modifier::REVERSED),
    )];
    for line in sheet.lines.iter().skip(sheet.passed) {
        texts.extend(
            folded(line, width.saturating_sub(2))
                .into_iter()
                .map(|part| Text::raw(format!("  {part}"))),
        );
    }
    texts.push(Text::raw(""));
    texts.push(Text::raw("  Any other key goes back."));
    frame.render_widget(Paragraph::new(texts), area);
}

/// A long line in pieces, between words where there are some.
fn folded(line: &str, room: usize) -> Vec<String> {
    let room = room.max(10);
    let mut pieces = Vec::new();
    let mut rest: Vec<char> = line.chars().collect();
    while rest.len() > room {
        let at = rest[..room]
            .iter()
            .rposition(|c| *c == ' ')
            .filter(|at| *at > room / 2);
        let at = at.map_or(room, |at| at + 1);
        let after = rest.split_off(at);
        pieces.push(rest.into_iter().collect());
        rest = "    ".chars().chain(after).collect();
    }
    pieces.push(rest.into_iter().collect());
    pieces
}

/// Whether a column has numbers.
fn is_number(name: &str) -> bool {
    matches!(name, "FLOWS" | "CLIENTS" | "CONNS" | "FIRST" | "LAST")
}

/// A cell with a blank behind it, so wide.
fn cell(text: &str, room: usize, right: bool) -> String {
    let text = shortened(text, room);
    let padding = " ".repeat(room.saturating_sub(text.chars().count()));
    if right {
        format!("{padding}{text} ")
    } else {
        format!("{text}{padding} ")
    }
}

fn fitted(text: &str, width: usize) -> String {
    let cut: String = text.chars().take(width).collect();
    let padding = " ".repeat(width.saturating_sub(cut.chars().count()));
    format!("{cut}{padding}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_folded_between_words() {
        assert_eq!(folded("short", 10), ["short"]);
        assert_eq!(
            folded("one two three four", 12),
            ["one two ", "    three ", "    four"]
        );
        let long = "x".repeat(30);
        assert!(
            folded(&long, 12)
                .iter()
                .all(|piece| piece.chars().count() <= 12)
        );
    }
}
