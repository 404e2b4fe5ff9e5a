//! The JSON form of captures and flows, one object a line, to write and to read.
//!
//! docs/json.md describes it field by field, docs/schema.json formally.

mod flow;
mod plain;
mod seal;

use std::borrow::Cow;
use std::io::{self, Write};

use serde::{Deserialize, Serialize};

use crate::model::capture::{Capture, Completeness};
use crate::model::learnt::Learnt;
use crate::model::listing::Part;
use crate::model::names::Names;
use crate::model::record::Record;
use crate::model::ruled::{Beside, Ruled};

use flow::{DENIED, Flow};
pub use plain::to_writer;
pub use seal::{End, Seal};

/// Version of the form. Raised when a reader of the old one would misunderstand the new one; new fields
/// alone don't raise it.
pub const SCHEMA: u32 = 1;

/// What a line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// The captures that the flows after it were seen in, and whether a last line ends them. It does not in
    /// files of versions before 2.0.
    Captures(Vec<Capture>, bool),
    /// A flow. The pairs are indices of captures, where there are several, and connections seen there.
    Flow(Box<Record>, Vec<Part>),
    /// A flow of which more is known: which rules let it through, or which names led to it.
    Told(Box<Record>, Vec<Part>, Box<Beside>),
    /// A flow that did not get through, and which rules decided that, where it is known. It is none of the flows of a capture.
    Denied(Box<Record>, Vec<Part>, Box<Beside>),
    /// A flow that a difference says is gone: no flow of a capture.
    Gone,
    /// The end of a list.
    End(End),
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
    end_mark: bool,
    #[serde(flatten)]
    capture: Option<&'a Capture>,
    #[serde(skip_serializing_if = "Option::is_none")]
    captures: Option<&'a [Capture]>,
}

#[derive(Deserialize)]
struct HeadIn {
    schema: u32,
    #[serde(default)]
    end_mark: bool,
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

/// Writes a list: its captures, its flows, and the line that ends it.
#[derive(Debug)]
pub struct List<'a, W> {
    out: &'a mut W,
    line: Vec<u8>,
    seal: Seal,
    verdict: Option<Completeness>,
    names: Option<&'a Names>,
}

impl<'a, W: Write> List<'a, W> {
    /// Writes the line that describes the captures.
    ///
    /// Errors: those of `out`.
    pub fn begin(captures: &[Capture], out: &'a mut W) -> io::Result<Self> {
        let verdict = captures.iter().filter_map(Capture::judged).max();
        let (capture, captures) = match captures {
            [one] => (Some(one), None),
            [] => (None, None),
            several => (None, Some(several)),
        };
        let head = HeadOut {
            r#type: "capture",
            schema: SCHEMA,
            end_mark: true,
            capture,
            captures,
        };
        to_writer(out, &head)?;
        out.write_all(b"\n")?;
        Ok(Self {
            out,
            line: Vec::new(),
            seal: Seal::default(),
            verdict,
            names: None,
        })
    }

    /// With the names of hosts beside their addresses.
    pub fn naming(mut self, names: &'a Names) -> Self {
        self.names = (!names.is_empty()).then_some(names);
        self
    }

    /// Writes the line of a flow. `seen_in` is empty unless there are several captures.
    ///
    /// Errors: those of `out`.
    pub fn flow(&mut self, record: &Record, seen_in: &[Part]) -> io::Result<()> {
        self.line.clear();
        let mut flow = Flow::new(record, seen_in, None);
        if let Some(names) = self.names {
            flow.name(names);
        }
        write_line(&flow, &mut self.line)?;
        self.seal.add(self.line.trim_ascii_end());
        self.out.write_all(&self.line)
    }

    /// Writes the line of a flow with what decided on it and the names that led to it.
    ///
    /// Errors: those of `out`.
    pub fn told(
        &mut self,
        record: &Record,
        seen_in: &[Part],
        (ruled, learnt): (Option<&Ruled>, &[Learnt]),
    ) -> io::Result<()> {
        self.line.clear();
        let mut flow = Flow::new(record, seen_in, None);
        if let Some(ruled) = ruled {
            flow = flow.ruled(ruled);
        }
        if let Some(names) = self.names {
            flow.name(names);
        }
        flow.learnt(learnt);
        to_writer(&mut self.line, &flow)?;
        self.seal.add(&self.line);
        self.line.push(b'\n');
        self.out.write_all(&self.line)
    }

    /// Writes the line of a flow that did not get through. The last line counts it apart from the others.
    ///
    /// Errors: those of `out`.
    pub fn denied(
        &mut self,
        record: &Record,
        seen_in: &[Part],
        (ruled, learnt): (Option<&Ruled>, &[Learnt]),
    ) -> io::Result<()> {
        let mut flow = Flow::new(record, seen_in, None);
        if let Some(names) = self.names {
            flow.name(names);
        }
        flow.learnt(learnt);
        let flow = match ruled {
            Some(ruled) => flow.ruled(ruled),
            None => flow,
        };
        self.line.clear();
        to_writer(&mut self.line, &flow.denied())?;
        self.seal.add_denied(&self.line);
        self.line.push(b'\n');
        self.out.write_all(&self.line)
    }

    /// Writes the line that ends the list.
    ///
    /// Errors: those of `out`.
    pub fn end(self) -> io::Result<()> {
        let last = Last {
            r#type: "end",
            end: self.seal.end(self.verdict),
        };
        to_writer(self.out, &last)?;
        self.out.write_all(b"\n")
    }
}

#[derive(Serialize)]
struct Last {
    r#type: &'static str,
    #[serde(flatten)]
    end: End,
}

/// Writes the line of a flow that stands for itself.
///
/// Errors: those of `out`.
pub fn write_flow(record: &Record, out: &mut impl Write) -> io::Result<()> {
    write_line(&Flow::new(record, &[], None), out)
}

/// Writes the line of a flow in a difference, with what became of it.
///
/// Errors: those of `out`.
pub fn write_change(
    change: &str,
    record: &Record,
    (names, learnt): (&Names, &[Learnt]),
    out: &mut impl Write,
) -> io::Result<()> {
    let mut flow = Flow::new(record, &[], Some(change));
    flow.name(names);
    flow.learnt(learnt);
    write_line(&flow, out)
}

/// A flow as its line has it, for objects that have one in them.
pub fn as_flow(record: &Record, change: Option<&'static str>) -> impl Serialize {
    Flow::new(record, &[], change)
}

fn write_line(flow: &Flow<'_>, out: &mut impl Write) -> io::Result<()> {
    to_writer(out, flow)?;
    out.write_all(b"\n")
}

/// Reads a line of our own form: one JSON object.
///
/// Errors: [`Unreadable`] says why it can't be read.
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
            let captures = match head.captures {
                Some(captures) => captures,
                None if head.capture == Capture::default() => Vec::new(),
                None => vec![head.capture],
            };
            Ok(Line::Captures(captures, head.end_mark))
        }
        "flow" | DENIED => {
            let flow: Flow<'_> = serde_json::from_slice(line).map_err(malformed)?;
            flow_line(flow)
        }
        "end" => serde_json::from_slice(line)
            .map(Line::End)
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

fn flow_line(mut flow: Flow<'_>) -> Result<Line, Unreadable> {
    // What a difference tells of flows that are gone is no capture of them.
    if flow.change.as_deref() == Some("gone") {
        return Ok(Line::Gone);
    }
    let ruled = flow.take_ruled().map(Box::new);
    let is_denied = flow.is_denied() || { ruled.as_ref() }
        .is_some_and(|ruled| Ruled::is_denial(&ruled.verdict));
    let names = flow.take_learnt();
    let (record, seen_in) = flow.into_record().map_err(Unreadable::Malformed)?;
    let record = Box::new(record);
    let beside = Beside { ruled, names };
    Ok(if is_denied {
        Line::Denied(record, seen_in, Box::new(beside))
    } else if beside.is_empty() {
        Line::Flow(record, seen_in)
    } else {
        Line::Told(record, seen_in, Box::new(beside))
    })
}

#[cfg(test)]
mod tests;
