//! Reading captures, whatever form they have: our JSON, recordings of events, lists in text.
//!
//! A file is told by its content. Recordings have a magic number; everything else is lines, each of which
//! is read for itself, so that a file may hold several kinds.

pub mod classic;
pub mod complaints;
pub mod conntrack;
pub mod csv;
pub mod line;
pub mod lines;
pub mod pcap;

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::ops::ControlFlow;
use std::path::Path;

use crate::capture::Capture;
use crate::console::Console;
use crate::error::Error;
use crate::json::{self, Unreadable};
use crate::progress::Counted;
use crate::record::Record;

use complaints::Complaints;
use line::{Kind, Said};
use lines::{Line, Lines};

/// Takes in what files hold.
pub trait Sink {
    /// Takes in the description of a capture, and returns the number that its flows go by. A file that
    /// holds the same description again begins another list of it.
    fn capture(&mut self, capture: Capture) -> u32;

    /// Hears that the source ports of the next flow were folded, so that it may be one that has come before.
    fn folded(&mut self) {}

    /// Takes in a flow with the captures that it was seen in, at least one, and the connections seen there.
    /// `Break` ends the reading of the file.
    fn flow(&mut self, record: Record, seen_in: &[(u32, u64)]) -> ControlFlow<()>;
}

/// How files are read.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    /// Where notes go.
    pub console: &'a Console,
    /// Whether the first malformed line ends it all.
    pub strict: bool,
    /// Whether ephemeral source ports are needed; where they are not, recordings take less memory.
    pub keep_ports: bool,
}

impl Reader<'_> {
    /// Reads a file (`-` is standard input) into `sink`, and returns what is wrong with its lines, which
    /// it has skipped.
    ///
    /// # Errors
    ///
    /// A file that can't be opened or read, is of a newer schema, or, if strict, has a malformed line. Then
    /// what was read before is in `sink` all the same.
    pub fn read(&self, path: &Path, sink: &mut dyn Sink) -> Result<Complaints, Error> {
        let failed = |error: io::Error| Error::file(path, error);
        if path.as_os_str() == "-" {
            return self.read_from(io::stdin(), path, None, sink);
        }
        let file = File::open(path).map_err(failed)?;
        let found = file.metadata().map_err(failed)?;
        if found.is_dir() {
            return Err(Error::file(path, "is a directory: name the files in it"));
        }
        let size = Some(found.len()).filter(|_| found.is_file());
        self.read_from(file, path, size, sink)
    }

    /// Reads what goes by the name `path` in messages, of `size` bytes if that is known.
    ///
    /// # Errors
    ///
    /// As those of [`read`](Self::read).
    pub fn read_from(
        &self,
        input: impl Read,
        path: &Path,
        size: Option<u64>,
        sink: &mut dyn Sink,
    ) -> Result<Complaints, Error> {
        let mut input = Counted::reading(input, path, size, self.console);
        let mut magic = Vec::with_capacity(4);
        (&mut input)
            .take(4)
            .read_to_end(&mut magic)
            .map_err(|error| Error::file(path, error))?;
        if let Some(why) = foreign(&magic) {
            return Err(Error::file(path, why));
        }
        let recording = pcap::is_magic(&magic);
        let input = BufReader::with_capacity(1 << 18, io::Cursor::new(magic).chain(input));
        if recording {
            let (keep_ports, console) = (self.keep_ports, self.console);
            pcap::read(input, path, keep_ports, sink, console)?;
            return Ok(Complaints::default());
        }
        let mut text = Text {
            path,
            strict: self.strict,
            sink,
            context: Context::default(),
            complaints: Complaints::default(),
        };
        text.read(Lines::new(input))?;
        Ok(text.complaints)
    }
}

/// Why a file with this beginning can't be read, if it is of a kind that is known to be none of ours.
fn foreign(magic: &[u8]) -> Option<&'static str> {
    match magic {
        [0x0a, 0x0d, 0x0d, 0x0a] => Some(
            "a pcapng file; convert it with: editcap -F pcap FILE NEW, or tshark -F pcap -r FILE -w NEW",
        ),
        [0x1f, 0x8b, ..] | [0xfd, b'7', b'z', b'X'] | [0x28, 0xb5, 0x2f, 0xfd] => {
            Some("is compressed: unpack it, for example with: zcat FILE | conntracker show -")
        }
        _ => None,
    }
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
}

struct Text<'a> {
    path: &'a Path,
    strict: bool,
    sink: &'a mut dyn Sink,
    context: Context,
    complaints: Complaints,
}

impl Text<'_> {
    fn read(&mut self, mut lines: Lines<impl io::BufRead>) -> Result<(), Error> {
        loop {
            let taken = match lines.next_line() {
                Ok(None) => return Ok(()),
                Ok(Some(Line::Whole(line))) => line::parse(line)
                    .and_then(|said| self.take(said).map_err(Unreadable::Malformed)),
                Ok(Some(Line::TooLong)) => Err(Unreadable::Malformed("too long for a line".into())),
                Err(error) => return Err(Error::file(self.path, error)),
            };
            match taken {
                Ok(ControlFlow::Continue(())) => {}
                Ok(ControlFlow::Break(())) => return Ok(()),
                Err(Unreadable::Newer(schema)) => {
                    return Err(Error::file(
                        self.path,
                        format!(
                            "is of schema {schema}, and this conntracker reads schemas up to {}: \
                             read it with the newer conntracker that wrote it",
                            json::SCHEMA
                        ),
                    ));
                }
                Err(Unreadable::Malformed(why)) => self.complain(lines.number(), &why)?,
            }
        }
    }

    fn complain(&mut self, number: u64, why: &str) -> Result<(), Error> {
        let complaint = format!("{}:{number}: {why}", self.path.display());
        if self.strict {
            return Err(Error::new(complaint));
        }
        self.complaints.add(complaint);
        Ok(())
    }

    fn take(&mut self, said: Said) -> Result<ControlFlow<()>, String> {
        match said {
            Said::Nothing | Said::Json(json::Line::End(_) | json::Line::Other) => {
                Ok(ControlFlow::Continue(()))
            }
            Said::Json(json::Line::Captures(captures)) => {
                let captures = captures.into_iter();
                self.context.described = captures.map(|one| self.sink.capture(one)).collect();
                Ok(ControlFlow::Continue(()))
            }
            Said::Json(json::Line::Flow(record, seen_in)) => {
                let seen_in = self.resolve(seen_in, record.connections)?;
                Ok(self.sink.flow(*record, &seen_in))
            }
            Said::Text(kind, record) => {
                let slot = &mut self.context.text[kind as usize];
                let number = *slot.get_or_insert_with(|| self.sink.capture(described_by(kind)));
                let seen_in = [(number, record.connections)];
                Ok(self.sink.flow(*record, &seen_in))
            }
        }
    }

    /// The captures of a flow of our JSON form, by their numbers here.
    fn resolve(
        &mut self,
        mut seen_in: Vec<(u32, u64)>,
        connections: u64,
    ) -> Result<Vec<(u32, u64)>, String> {
        let described = &self.context.described;
        match described.as_slice() {
            // The line that describes the captures may have been left behind, by grep for example.
            [] => {
                let sink = &mut self.sink;
                let unnamed = &mut self.context.unnamed;
                let number = *unnamed.get_or_insert_with(|| sink.capture(Capture::default()));
                Ok(vec![(number, connections)])
            }
            [only] if seen_in.is_empty() => Ok(vec![(*only, connections)]),
            _ if seen_in.is_empty() => {
                Err("seen_in is missing, though several captures are described".into())
            }
            _ => {
                for (capture, _) in &mut seen_in {
                    let index = *capture;
                    *capture = *usize::try_from(index)
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

/// What is known of a capture that is a text.
fn described_by(kind: Kind) -> Capture {
    Capture {
        source: Some(kind.name().to_owned()),
        ..Capture::default()
    }
}
