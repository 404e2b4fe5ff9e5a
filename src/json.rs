//! The JSON form of captures and flows, one object a line, to write and to read.
//!
//! docs/json.md describes it field by field, docs/schema.json formally.

mod flow;

use std::borrow::Cow;
use std::io::{self, Write};

use serde::{Deserialize, Serialize};

use crate::capture::Capture;
use crate::record::Record;

use flow::Flow;

/// Version of the form. Raised when a reader of the old one would misunderstand the new one; new fields
/// alone don't raise it.
pub const SCHEMA: u32 = 1;

/// What a line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// The captures that the flows after it were seen in.
    Captures(Vec<Capture>),
    /// A flow. The pairs are indices of captures, where there are several, and connections seen there.
    Flow(Box<Record>, Vec<(u32, u64)>),
    /// The end of a state, and how many flows it has.
    End(u64),
    /// An object of another type, which a later version may have added.
    Other,
}

/// Why a line can't be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// The whole file is of a newer schema.
    Newer(u32),
    /// This line is wrong.
    Malformed(String),
}

#[derive(Serialize)]
struct HeadOut<'a> {
    r#type: &'static str,
    schema: u32,
    #[serde(flatten)]
    capture: Option<&'a Capture>,
    #[serde(skip_serializing_if = "Option::is_none")]
    captures: Option<&'a [Capture]>,
}

#[derive(Deserialize)]
struct HeadIn {
    schema: u32,
    captures: Option<Vec<Capture>>,
    #[serde(flatten)]
    capture: Capture,
}

#[derive(Deserialize)]
struct Kind<'a> {
    #[serde(borrow)]
    r#type: Cow<'a, str>,
    schema: Option<u32>,
}

/// Writes the line that describes the captures.
///
/// # Errors
///
/// Errors of `out`.
pub fn write_captures(captures: &[Capture], out: &mut impl Write) -> io::Result<()> {
    let (capture, captures) = match captures {
        [one] => (Some(one), None),
        [] => (None, None),
        several => (None, Some(several)),
    };
    let head = HeadOut {
        r#type: "capture",
        schema: SCHEMA,
        capture,
        captures,
    };
    serde_json::to_writer(&mut *out, &head)?;
    out.write_all(b"\n")
}

#[derive(Deserialize)]
struct End {
    flows: u64,
}

/// Writes the line that ends a state of so many flows.
///
/// # Errors
///
/// Errors of `out`.
pub fn write_end(flows: u64, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "{{\"type\":\"end\",\"flows\":{flows}}}")
}

/// Writes the line of a flow. `seen_in` is empty unless there are several captures.
///
/// # Errors
///
/// Errors of `out`.
pub fn write_flow(record: &Record, seen_in: &[(u32, u64)], out: &mut impl Write) -> io::Result<()> {
    write(record, seen_in, None, out)
}

/// Writes the line of a flow in a difference, with what became of it.
///
/// # Errors
///
/// Errors of `out`.
pub fn write_change(change: &str, record: &Record, out: &mut impl Write) -> io::Result<()> {
    write(record, &[], Some(change), out)
}

fn write(
    record: &Record,
    seen_in: &[(u32, u64)],
    change: Option<&str>,
    out: &mut impl Write,
) -> io::Result<()> {
    let flow = Flow::new(record, seen_in, change);
    serde_json::to_writer(&mut *out, &flow)?;
    out.write_all(b"\n")
}

/// Reads a line.
///
/// # Errors
///
/// [`Unreadable`] says why it can't be read.
pub fn parse(line: &[u8]) -> Result<Line, Unreadable> {
    // Nearly all lines are flows as this program writes them: those are read in one pass. What is wrong
    // with a line, if anything, the passes below find out.
    if line.starts_with(br#"{"type":"flow","family""#) {
        if let Ok(flow) = serde_json::from_slice::<Flow<'_>>(line) {
            return flow_line(flow);
        }
    }
    let kind: Kind<'_> = serde_json::from_slice(line).map_err(malformed)?;
    if let Some(schema) = kind.schema.filter(|&schema| schema > SCHEMA) {
        return Err(Unreadable::Newer(schema));
    }
    match kind.r#type.as_ref() {
        "capture" => {
            let head: HeadIn = serde_json::from_slice(line).map_err(malformed)?;
            debug_assert!(head.schema <= SCHEMA);
            Ok(Line::Captures(match head.captures {
                Some(captures) => captures,
                None if head.capture == Capture::default() => Vec::new(),
                None => vec![head.capture],
            }))
        }
        "flow" => {
            let flow: Flow<'_> = serde_json::from_slice(line).map_err(malformed)?;
            flow_line(flow)
        }
        "end" => serde_json::from_slice(line)
            .map(|end: End| Line::End(end.flows))
            .map_err(malformed),
        _ => Ok(Line::Other),
    }
}

fn malformed(error: serde_json::Error) -> Unreadable {
    // The line and column that it ends in are those within this one line.
    let text = error.to_string();
    let cause = text
        .rsplit_once(" at line ")
        .map_or(text.as_str(), |(cause, _)| cause);
    Unreadable::Malformed(cause.to_owned())
}

fn flow_line(flow: Flow<'_>) -> Result<Line, Unreadable> {
    // What a difference tells of flows that are gone is no capture of them.
    if flow.change.as_deref() == Some("gone") {
        return Ok(Line::Other);
    }
    let (record, seen_in) = flow.into_record().map_err(Unreadable::Malformed)?;
    Ok(Line::Flow(Box::new(record), seen_in))
}

#[cfg(test)]
mod tests;
