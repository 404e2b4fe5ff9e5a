//! Files of lines, each of which is read for itself: what they hold, and whether that is whole.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::ControlFlow;
use std::path::Path;

use super::Sink;
use super::complaints::Complaints;
use super::line::{Forms, Kind, Said, Wrong};
use super::lines::{Line, Lines};
use super::pairs::Pairs;
use super::wholeness::Wholeness;
use crate::formats::json::{self, Unreadable};
use crate::model::capture::Capture;
use crate::model::error::Error;
use crate::model::listing::Part;
use crate::model::printable::printable;
use crate::model::units::{agree, counted, show_count};

/// Reads lines into `sink`, and returns what is wrong with those that it has skipped. `strict` is whether the first of
/// these ends it all; `is_file`, whether nothing at all is a file that may have been cut.
///
/// Errors: those of `input`, a newer schema, and, if strict, a line that is malformed.
pub fn read(
    mut input: impl io::BufRead,
    path: &Path,
    (strict, is_file): (bool, bool),
    sink: &mut dyn Sink,
) -> Result<Complaints, Error> {
    let failed = |error| Error::file(path, error);
    let is_empty = input.fill_buf().map_err(failed)?.is_empty();
    let mut text = Text {
        path,
        strict,
        sink,
        context: Context::default(),
        wholeness: Wholeness::default(),
        forms: Forms::default(),
        seen: Seen::default(),
        pairs: Pairs::default(),
        last: None,
        complaints: Complaints::default(),
    };
    text.read(Lines::new(input))?;
    if is_empty && is_file {
        text.fault_of_list(
            "the file is empty: it was cut to nothing, or it is a list without any flow in the classic form",
        )?;
    }
    Ok(text.complaints)
}

/// What flows of a file refer to.
#[derive(Default)]
struct Context {
    /// Numbers of the captures that the last description named.
    described: Vec<u32>,
    /// That of flows without any description.
    unnamed: Option<u32>,
    /// Those of text, by kind.
    text: [Option<u32>; Kind::ALL.len()],
    /// Numbers of the captures that lines were skipped of, with how many.
    skipped: BTreeMap<u32, u64>,
    /// Lines that were skipped where none is described.
    skipped_elsewhere: u64,
}

/// What else was met in a file.
#[derive(Default)]
struct Seen {
    /// What JSON of other programs was called.
    foreign: BTreeSet<String>,
    /// Kinds with records of something else than flows.
    others: BTreeSet<&'static str>,
    /// What was told to be missing.
    lost: BTreeSet<String>,
    /// How many entries or events conntrack says to have shown, and how many were found.
    shown: u64,
    entries: u64,
    /// Whether there was a header or the like, behind which there may be no flow.
    beside: bool,
    /// Whether there were lines that say nothing: blank ones, or what begins a table that does not follow.
    blank: bool,
    /// Whether there was JSON over several lines.
    parts: bool,
    /// Whether Suricata told of flows, so that its records of one direction say the same again.
    suricata_flows: bool,
}

struct Text<'a> {
    path: &'a Path,
    strict: bool,
    sink: &'a mut dyn Sink,
    context: Context,
    wholeness: Wholeness,
    forms: Forms,
    seen: Seen,
    pairs: Pairs,
    /// The kind of the last line, if it was a text's, and whether a line that was cut may say something else there.
    last: Option<(Kind, bool)>,
    complaints: Complaints,
}

impl Text<'_> {
    fn read(&mut self, mut lines: Lines<impl io::BufRead>) -> Result<(), Error> {
        loop {
            let line = match lines.next_line() {
                Ok(None) => break,
                Ok(Some(line)) => line,
                Err(error) => return Err(Error::file(self.path, error)),
            };
            let said = match line {
                Line::Whole(line, ended) => self.forms.read(line, ended).map(|said| (said, line)),
                Line::TooLong => Err(Wrong::Damaged("too long for a line".into())),
            };
            match said {
                Ok((said, line)) => match self.take(said, line) {
                    Ok(ControlFlow::Continue(())) => {}
                    Ok(ControlFlow::Break(())) => return Ok(()),
                    Err(Stopped::Malformed(why)) => self.complain(lines.number(), &why)?,
                    Err(Stopped::Ended(error)) => return Err(error),
                },
                Err(Wrong::Own(Unreadable::Newer(schema))) => {
                    return Err(Error::file(
                        self.path,
                        format!(
                            "is of schema {schema}, and this conntracker reads schemas up to {}: \
                             read it with the newer conntracker that wrote it",
                            json::SCHEMA
                        ),
                    ));
                }
                Err(Wrong::Own(Unreadable::Malformed(why)) | Wrong::Damaged(why)) => {
                    self.complain(lines.number(), &why)?;
                }
                Err(Wrong::Foreign(what)) if self.seen.foreign.contains(&what) => {
                    self.complaints.add_another();
                    self.count_skipped();
                }
                Err(Wrong::Foreign(what)) => {
                    self.complain(lines.number(), &what)?;
                    self.seen.foreign.insert(what);
                }
            }
        }
        self.finish(lines.ended())
    }

    fn complain(&mut self, number: u64, why: &str) -> Result<(), Error> {
        let complaint = format!("{}:{number}: {}", self.path.display(), printable(why));
        if self.strict {
            return Err(Error::new(complaint));
        }
        self.complaints.add(complaint);
        self.count_skipped();
        Ok(())
    }

    fn count_skipped(&mut self) {
        for capture in &self.context.described {
            *self.context.skipped.entry(*capture).or_default() += 1;
        }
        if self.context.described.is_empty() {
            self.context.skipped_elsewhere += 1;
        }
    }

    /// Takes down that the list that is being read lacks flows.
    fn fault(&mut self, captures: &[u32], why: &str) -> Result<(), Error> {
        if self.strict {
            return Err(Error::file(self.path, why));
        }
        self.complaints.fault(why.to_owned());
        for capture in captures {
            self.sink.incomplete(*capture, why);
        }
        Ok(())
    }

    /// What can be said only when all has been read.
    fn finish(&mut self, ended: bool) -> Result<(), Error> {
        for (kind, record) in std::mem::take(&mut self.pairs).finish() {
            if kind == Kind::Suricata && self.seen.suricata_flows {
                continue;
            }
            let seen_in = [Part::new(self.of_kind(kind), record.connections)];
            if self.sink.flow(record, &seen_in).is_break() {
                return Ok(());
            }
        }
        if let Some(why) = self.wholeness.stop() {
            self.fault_of_list(&why)?;
        }
        if let Some(why) = self.forms.stop() {
            let captures: Vec<u32> = self.context.text.iter().flatten().copied().collect();
            self.fault(&captures, why)?;
        }
        if self.seen.shown > self.seen.entries {
            let number = self.of_kind(Kind::Conntrack);
            let (shown, entries) = (self.seen.shown, self.seen.entries);
            let why = format!(
                "conntrack says that it has shown {}, and {} of them {} here",
                show_count(shown),
                show_count(entries),
                agree(entries, "is", "are")
            );
            self.fault(&[number], &why)?;
        }
        self.nothing_of_use()?;
        // A line that was cut says something else: without "(confirmed)" for example. Conntrack's own are pasted
        // from screens, and end as may be.
        if let (false, Some((kind, true))) = (ended, self.last) {
            let captures: Vec<u32> = self.context.text[kind as usize].into_iter().collect();
            self.fault(
                &captures,
                "the last line has no end: the file may have been cut",
            )?;
        }
        let context = &mut self.context;
        if context.skipped_elsewhere > 0 {
            let others: Vec<u32> = context
                .text
                .iter()
                .chain([&context.unnamed])
                .flatten()
                .copied()
                .collect();
            self.complaints.nothing_else =
                others.is_empty() && context.skipped.is_empty() && !self.wholeness.any();
            for capture in others {
                *context.skipped.entry(capture).or_default() += context.skipped_elsewhere;
            }
        }
        for (capture, lines) in &context.skipped {
            let why = format!("{} of it could not be read", counted(*lines, "line"));
            self.sink.incomplete(*capture, &why);
        }
        Ok(())
    }

    /// Takes down that a file has something in it, and nothing that is read: that is no capture without flows.
    fn nothing_of_use(&mut self) -> Result<(), Error> {
        let context = &self.context;
        let any = context
            .text
            .iter()
            .chain([&context.unnamed])
            .any(Option::is_some)
            || self.wholeness.any()
            || self.seen.beside;
        let others = self.seen.others.iter().copied().collect::<Vec<_>>();
        let why = match others.as_slice() {
            _ if any => return Ok(()),
            [] if self.seen.parts => "this is JSON without any record of a flow".to_owned(),
            // What is wrong with its lines has been said.
            [] if self.complaints.any() || !self.seen.blank => return Ok(()),
            [] => "there is no flow in it, and nothing that says that there was none".to_owned(),
            others => format!(
                "there are records of {} in it, and none of a flow",
                others.join(", ")
            ),
        };
        self.fault(&[], &why)?;
        self.complaints.nothing_else = true;
        Ok(())
    }

    /// Takes down that the list of our own form that has been read lacks flows.
    fn fault_of_list(&mut self, why: &str) -> Result<(), Error> {
        let mut captures = self.context.described.clone();
        if captures.is_empty() {
            captures.push(self.unnamed());
        }
        self.fault(&captures, why)
    }

    fn unnamed(&mut self) -> u32 {
        let sink = &mut self.sink;
        let unnamed = &mut self.context.unnamed;
        *unnamed.get_or_insert_with(|| sink.capture(Capture::default()))
    }

    fn take(&mut self, said: Said, line: &[u8]) -> Result<ControlFlow<()>, Stopped> {
        self.last = match &said {
            Said::Text(kind, _) | Said::Direction(kind, ..) | Said::Ruled(kind, ..) => {
                let shows_cut = *kind == Kind::Conntrack || line.ends_with(b"}");
                Some((*kind, !shows_cut))
            }
            _ => None,
        };
        match said {
            Said::Nothing => self.seen.blank = true,
            Said::Json(json::Line::Other) => {}
            Said::Part => self.seen.parts = true,
            Said::Beside => self.seen.beside = true,
            Said::Shown(count) => {
                self.seen.beside = true;
                self.seen.shown += count;
            }
            Said::Other(kind) => {
                self.seen.others.insert(kind.name());
            }
            Said::Lost(kind, why) => {
                let number = self.of_kind(kind);
                if self.seen.lost.insert(why.clone()) {
                    self.fault(&[number], &why)?;
                }
            }
            Said::Json(json::Line::Captures(captures, promised)) => {
                let verdict = captures.iter().filter_map(Capture::judged).max();
                if let Some(why) = self.wholeness.begin(promised, verdict) {
                    self.fault_of_list(&why)?;
                }
                // Of a state, what only the run matters to that goes on with it.
                let captures = captures.into_iter().map(|one| Capture {
                    uptime_s: None,
                    ..one
                });
                self.context.described = captures.map(|one| self.sink.capture(one)).collect();
            }
            Said::Json(json::Line::Flow(record, seen_in)) => {
                self.wholeness.flow(line);
                let seen_in = self.resolve(seen_in, record.connections)?;
                return Ok(self.sink.flow(*record, &seen_in));
            }
            Said::Json(json::Line::Told(record, seen_in, beside)) => {
                self.wholeness.flow(line);
                let seen_in = self.resolve(seen_in, record.connections)?;
                if let Some(ruled) = beside.ruled {
                    self.sink.ruled(&record, *ruled);
                }
                self.sink.learnt(&record, beside.names);
                return Ok(self.sink.flow(*record, &seen_in));
            }
            Said::Json(json::Line::Denied(record, seen_in, beside)) => {
                // One that a flow's line tells of is among those that the last line counts.
                if line.starts_with(br#"{"type":"flow""#) {
                    self.wholeness.flow(line);
                } else {
                    self.wholeness.denied(line);
                }
                let seen_in = self.resolve(seen_in, record.connections)?;
                self.sink.learnt(&record, beside.names);
                let ruled = beside.ruled.map(|ruled| *ruled);
                self.sink.denied(*record, &seen_in, ruled);
            }
            Said::Json(json::Line::Gone) => self.wholeness.flow(line),
            Said::Json(json::Line::End(end)) => {
                if let Some(why) = self.wholeness.end(&end) {
                    self.fault_of_list(&why)?;
                }
                // What comes behind it is not of that list.
                self.context.described.clear();
            }
            Said::Text(kind, records) => {
                self.seen.suricata_flows |= kind == Kind::Suricata;
                if kind == Kind::Conntrack {
                    self.seen.entries += records.len() as u64;
                }
                let number = self.of_kind(kind);
                for record in records {
                    let seen_in = [Part::new(number, record.connections)];
                    if self.sink.flow(record, &seen_in).is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                }
            }
            Said::Ruled(kind, record, ruled) => {
                let number = self.of_kind(kind);
                let seen_in = [Part::new(number, record.connections)];
                if crate::model::ruled::Ruled::is_denial(&ruled.verdict) {
                    self.sink.denied(*record, &seen_in, Some(*ruled));
                } else {
                    self.sink.ruled(&record, *ruled);
                    return Ok(self.sink.flow(*record, &seen_in));
                }
            }
            Said::Direction(kind, record, span) => {
                self.of_kind(kind);
                self.pairs.add(kind, *record, span);
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// The number of the capture that text of a kind is.
    fn of_kind(&mut self, kind: Kind) -> u32 {
        let slot = &mut self.context.text[kind as usize];
        *slot.get_or_insert_with(|| self.sink.capture(described_by(kind)))
    }

    /// The captures of a flow of our JSON form, by their numbers here.
    fn resolve(&mut self, mut seen_in: Vec<Part>, connections: u64) -> Result<Vec<Part>, String> {
        match self.context.described.as_slice() {
            // The line that describes the captures may have been left behind, by grep for example.
            [] => Ok(vec![Part::new(self.unnamed(), connections)]),
            [only] if seen_in.is_empty() => Ok(vec![Part::new(*only, connections)]),
            _ if seen_in.is_empty() => {
                Err("seen_in is missing, though several captures are described".into())
            }
            described => {
                for seen in &mut seen_in {
                    let index = seen.capture;
                    seen.capture = *usize::try_from(index)
                        .ok()
                        .and_then(|index| described.get(index))
                        .ok_or_else(|| {
                            format!("seen_in names capture {index}, which is not described")
                        })?;
                }
                Ok(seen_in)
            }
        }
    }
}

/// Why a line that could be read was not taken in.
enum Stopped {
    /// It is wrong.
    Malformed(String),
    /// The list before it is, and that ends it all.
    Ended(Error),
}

impl From<String> for Stopped {
    fn from(why: String) -> Self {
        Self::Malformed(why)
    }
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Self {
        Self::Ended(error)
    }
}

/// What is known of a capture that is a text.
fn described_by(kind: Kind) -> Capture {
    Capture {
        source: Some(kind.name().to_owned()),
        ..Capture::default()
    }
}
