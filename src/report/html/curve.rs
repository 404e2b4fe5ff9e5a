//! The drawing of when flows were new: a bar for each day, a line for what was known by then, and what to expect next.

use super::page::Page;
use crate::model::timestamp::Timestamp;
use crate::model::units::show_count;
use crate::report::growth::{Growth, Step};

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 220.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 56.0;
const TOP: f64 = 26.0;
const BOTTOM: f64 = 34.0;

/// Writes the drawing.
pub fn write(growth: &Growth, page: &mut Page) {
    let bars = growth.steps.len() + usize::from(growth.expected.is_some());
    let width = (WIDTH - LEFT - RIGHT) / bars.max(1) as f64;
    let floor = HEIGHT - BOTTOM;
    let room = floor - TOP;
    // What was there at the beginning is new to the capture and not to the network: it would make all other days look small.
    let later = growth
        .steps
        .iter()
        .skip(1)
        .map(|step| step.new)
        .max()
        .unwrap_or(0);
    let expected = growth.expected.map_or(0.0, |expected| expected.most);
    let most = nice((later as f64).max(expected).max(4.0));
    let known = growth.steps.last().map_or(0, |step| step.known);
    let top = nice(known.max(1) as f64);
    page.raw("<svg class=curve role=img aria-labelledby=\"c-t c-d\" viewBox=\"0 0 ")
        .at(WIDTH)
        .raw(" ")
        .at(HEIGHT);
    page.raw("\"><title id=c-t>New flows</title><desc id=c-d>");
    page.text("Bars are flows that were seen for the first time, the line is all flows known by then; the table below has the same numbers.");
    page.raw("</desc>");
    for part in 0..=2 {
        let y = floor - room * f64::from(part) / 2.0;
        page.raw("<path class=grid d=\"M")
            .at(LEFT)
            .raw(" ")
            .at(y)
            .raw("H")
            .at(WIDTH - RIGHT)
            .raw("\"/>");
        for (x, anchor, class, value) in [
            (LEFT - 8.0, "end", "", most * f64::from(part) / 2.0),
            (
                WIDTH - RIGHT + 8.0,
                "start",
                "known",
                top * f64::from(part) / 2.0,
            ),
        ] {
            page.raw("<text class=\"axis ")
                .raw(class)
                .raw("\" x=\"")
                .at(x)
                .raw("\" y=\"")
                .at(y + 4.0);
            page.raw("\" text-anchor=")
                .raw(anchor)
                .raw(">")
                .text(&show_count(value as u64))
                .raw("</text>");
        }
    }
    page.raw("<text class=axis x=\"")
        .at(LEFT - 8.0)
        .raw("\" y=\"12\" text-anchor=start>new</text>");
    page.raw("<text class=\"axis known\" x=\"")
        .at(WIDTH - RIGHT + 8.0)
        .raw("\" y=\"12\" text-anchor=end>known by then</text>");
    let every = growth.steps.len().div_ceil(8).max(1);
    for (at, step) in growth.steps.iter().enumerate() {
        let x = LEFT + width * at as f64;
        let share = (step.new as f64 / most).min(1.0);
        page.raw("<rect class=\"bar");
        if step.new as f64 > most {
            page.raw(" cut");
        }
        page.raw("\" x=\"")
            .at(x + width * 0.15)
            .raw("\" y=\"")
            .at(floor - room * share);
        page.raw("\" width=\"")
            .at(width * 0.7)
            .raw("\" height=\"")
            .at(room * share)
            .raw("\"><title>");
        page.text(&label(step, growth))
            .raw(": ")
            .count(step.new)
            .raw(" new, ")
            .count(step.known)
            .raw(" known</title></rect>");
        if step.new as f64 > most {
            // Over what is drawn: with its number.
            page.raw("<text class=axis x=\"")
                .at(x + width / 2.0)
                .raw("\" y=\"")
                .at(TOP - 3.0);
            page.raw("\" text-anchor=middle>↑")
                .count(step.new)
                .raw("</text>");
        }
        if at % every == 0 {
            page.raw("<text class=axis x=\"")
                .at(x + width / 2.0)
                .raw("\" y=\"")
                .at(floor + 16.0);
            page.raw("\" text-anchor=middle>")
                .text(&short(step, growth))
                .raw("</text>");
        }
    }
    if let Some(expected) = growth.expected {
        let x = LEFT + width * growth.steps.len() as f64;
        let y = |value: f64| floor - room * (value / most).min(1.0);
        page.raw("<rect class=next x=\"")
            .at(x + width * 0.15)
            .raw("\" y=\"")
            .at(y(expected.mean));
        page.raw("\" width=\"")
            .at(width * 0.7)
            .raw("\" height=\"")
            .at(floor - y(expected.mean))
            .raw("\"/>");
        page.raw("<path class=range d=\"M")
            .at(x + width / 2.0)
            .raw(" ")
            .at(y(expected.least))
            .raw("V")
            .at(y(expected.most))
            .raw("\"/>");
        page.raw("<text class=axis x=\"")
            .at(x + width / 2.0)
            .raw("\" y=\"")
            .at(floor + 16.0)
            .raw("\" text-anchor=middle>next</text>");
    }
    page.raw("<path class=line d=\"");
    for (at, step) in growth.steps.iter().enumerate() {
        if at == 0 {
            page.raw("M");
        } else {
            page.raw("L");
        }
        let y = floor - room * step.known as f64 / top;
        page.at(LEFT + width * (at as f64 + 0.5)).raw(" ").at(y);
    }
    page.raw("\"/></svg>");
}

/// When a step begins.
pub fn label(step: &Step, growth: &Growth) -> String {
    step.start.map_or_else(
        || "unknown".to_owned(),
        |start| {
            let text = start.to_string();
            let length = if growth.days.is_some() { 10 } else { 16 };
            text[..length].replace('T', " ")
        },
    )
}

/// The same in few characters: the day of the month, or the time of the day.
fn short(step: &Step, growth: &Growth) -> String {
    let of = |start: Timestamp| {
        let text = start.to_string();
        match growth.days {
            Some(_) => text[5..10].to_owned(),
            None => text[11..16].to_owned(),
        }
    };
    step.start.map_or_else(String::new, of)
}

/// A round number that is not smaller.
fn nice(value: f64) -> f64 {
    let power = 10_f64.powf(value.log10().floor());
    let steps = [1.0, 2.0, 4.0, 6.0, 8.0, 10.0];
    let found = steps
        .into_iter()
        .map(|step| step * power)
        .find(|step| *step >= value);
    found.unwrap_or(10.0 * power)
}
