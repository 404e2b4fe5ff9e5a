//! What the commands that take captures have in common: reading and writing.

use std::io::{self, IsTerminal, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use clap::Args;

use super::Conflict;
use super::naming::{self, ByName};
use crate::captures::reader::complaints::Complaints;
use crate::captures::reader::{Reader, Sink};
use crate::captures::union::Collection;
use crate::cli::filters::Filters;
use crate::cli::layout::LayoutArgs;
use crate::files::destination::Destination;
use crate::model::capture::Capture;
use crate::model::error::Error;
use crate::model::learnt::Learnt;
use crate::model::listing::Listing;
use crate::model::listing::Part;
use crate::model::printable::printable;
use crate::model::record::Record;
use crate::model::ruled::Ruled;
use crate::model::selection::{Selection, SourcePorts};
use crate::output::layout::{Format, Layout};
use crate::ui::console::Console;
use crate::ui::progress::Counted;

/// What exit statuses of commands mean that pass captures on.
macro_rules! exit_status {
    () => {
        "\
Exit status:
  0  the captures are complete as far as they say
  1  error, or nothing of a file could be read
  2  bad arguments
  3  flows may be missing: a capture is incomplete, a file was cut or changed,
     or lines were skipped"
    };
}
pub(super) use exit_status;

/// How captures are read.
#[derive(Args, Clone, Debug, Default)]
pub struct Reading {
    /// Stop at the first line that can't be read, or at a file that was cut, instead of going on
    #[arg(hide_short_help = true, long)]
    pub strict: bool,

    /// The options that choose flows.
    #[command(flatten)]
    pub filters: Filters,
}

/// What was read.
#[derive(Debug)]
pub struct Read<T> {
    /// What was read.
    pub content: T,
    /// How complete it is.
    pub outcome: Outcome,
}

/// How complete captures are; the greater one is the worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// As far as they say, nothing is missing.
    Whole,
    /// Flows may be missing.
    Incomplete,
    /// Nothing of a file could be read.
    Unreadable,
}

impl Outcome {
    /// That of captures as their files describe them.
    pub fn of(captures: &[Capture]) -> Self {
        if captures.iter().any(Capture::is_incomplete) {
            Self::Incomplete
        } else {
            Self::Whole
        }
    }

    /// With what is wrong with a file.
    pub fn and_of(self, complaints: &Complaints) -> Self {
        self.max(match complaints {
            one if one.nothing_else => Self::Unreadable,
            one if one.any() => Self::Incomplete,
            _ => Self::Whole,
        })
    }

    /// The exit status of commands that pass captures on.
    pub const fn exit_status(self) -> u8 {
        match self {
            Self::Whole => 0,
            Self::Incomplete => 3,
            Self::Unreadable => 1,
        }
    }
}

impl Reading {
    /// Reads one file into `sink`, flows that are wanted, ports folded.
    ///
    /// Errors: those of [`Reader::read`].
    pub fn read(
        &self,
        path: &Path,
        sink: &mut dyn Sink,
        console: &Console,
    ) -> Result<Complaints, Error> {
        let selection = self.filters.selection();
        let collapses = selection.source_ports == SourcePorts::Collapse;
        let reader = Reader {
            console,
            strict: self.strict,
            keep_ports: !collapses || !selection.sport.is_empty(),
        };
        let mut sieve = Sieve {
            selection: &selection,
            filters: selection.describe(),
            collapses,
            sink,
        };
        reader.read(path, &mut sieve)
    }

    /// Reads the union of several files.
    ///
    /// Errors: those of [`Reader::read`].
    pub fn union<'a>(
        &self,
        files: impl IntoIterator<Item = &'a PathBuf>,
        console: &Console,
    ) -> Result<Read<Listing>, Error> {
        let mut collection = Collection::default();
        let mut outcome = Outcome::Whole;
        for path in files {
            let complaints = self.read(path, &mut collection, console)?;
            complaints.tell(&path.display().to_string(), console);
            outcome = outcome.and_of(&complaints);
        }
        // As they were described: what was found in reading has been told.
        tell_of(collection.captures(), console);
        let mut listing = collection.finish();
        outcome = outcome.max(Outcome::of(&listing.captures));
        // Only now: what one line or file does not confirm, another may.
        let flows = &mut listing.flows;
        let selection = self.filters.selection();
        flows.retain(|flow| selection.wants_confirmed(flow.record.confirmed));
        Ok(Read {
            content: listing,
            outcome,
        })
    }
}

/// What to say where a classic list was compared with something that tells more.
pub fn compared_as_classic(path: &Path) -> String {
    format!(
        "{} is a classic list: compared without ICMP types, translation, zones and other protocols, which it does not tell",
        path.display()
    )
}

/// Tells what captures these are, and of those that miss flows in any case.
pub fn tell_of(captures: &[Capture], console: &Console) {
    let mut captures: Vec<&Capture> = captures.iter().collect();
    captures.sort_unstable();
    captures.dedup();
    for capture in captures {
        console.detail(&capture.to_string());
        if capture.is_incomplete() {
            let reasons = capture.reasons();
            let reasons: Vec<_> = reasons.iter().map(|reason| printable(reason)).collect();
            console.note(&format!(
                "{capture}: the capture is incomplete ({})",
                reasons.join("; ")
            ));
        } else if let Some(gaps) = capture.gaps_in_words() {
            console.note(&format!("{capture}: {gaps}"));
        }
    }
}

/// Lets through what is wanted.
struct Sieve<'a> {
    selection: &'a Selection,
    filters: Vec<String>,
    collapses: bool,
    sink: &'a mut dyn Sink,
}

impl Sink for Sieve<'_> {
    fn capture(&mut self, mut capture: Capture) -> u32 {
        for filter in &self.filters {
            if !capture.filters.contains(filter) {
                capture.filters.push(filter.clone());
            }
        }
        if self.collapses {
            capture.options.retain(|option| option != SourcePorts::KEPT);
        }
        self.sink.capture(capture)
    }

    fn incomplete(&mut self, capture: u32, why: &str) {
        self.sink.incomplete(capture, why);
    }

    fn flow(&mut self, mut record: Record, seen_in: &[Part]) -> ControlFlow<()> {
        if !self.selection.wants(&record.identity.tuple()) {
            return ControlFlow::Continue(());
        }
        // Of a connection that was picked up in the middle the source port may be that of the service.
        let collapses = self.collapses && !record.origin.begun.is_picked_up();
        if collapses && has_ephemeral_ports(&record) {
            record.identity.collapse_ports();
            self.sink.collapsed();
        }
        self.sink.flow(record, seen_in)
    }

    fn ruled(&mut self, record: &Record, ruled: Ruled) {
        let mut record = record.clone();
        if self.collapses && !record.origin.begun.is_picked_up() {
            record.identity.collapse_ports();
        }
        self.sink.ruled(&record, ruled);
    }

    fn learnt(&mut self, record: &Record, names: Vec<Learnt>) {
        if names.is_empty() {
            return;
        }
        let mut record = record.clone();
        if self.collapses && !record.origin.begun.is_picked_up() {
            record.identity.collapse_ports();
        }
        self.sink.learnt(&record, names);
    }

    fn denied(&mut self, mut record: Record, seen_in: &[Part], ruled: Option<Ruled>) {
        if !self.selection.wants(&record.identity.tuple()) {
            return;
        }
        if self.collapses {
            record.identity.collapse_ports();
        }
        self.sink.denied(record, seen_in, ruled);
    }
}

/// Whether folding changes a record.
fn has_ephemeral_ports(record: &Record) -> bool {
    let translated = record.identity.snat().map(|snat| snat.port);
    [Some(record.identity.source_port), translated]
        .into_iter()
        .flatten()
        .any(|port| port != port.collapsed())
}

/// Standard input can be read once.
///
/// Errors: when it is named more often.
pub fn check_inputs<'a>(files: impl IntoIterator<Item = &'a PathBuf>) -> Result<(), Error> {
    let files = files.into_iter();
    if files.filter(|path| path.as_os_str() == "-").count() > 1 {
        return Err(Error::new(
            "- is named twice, but standard input can be read once only: name files",
        ));
    }
    Ok(())
}

/// What commands share that read captures and write a list.
#[derive(Args, Clone, Debug)]
pub struct ListArgs {
    /// Write to FILE, replaced atomically; - means standard output
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    pub output: PathBuf,

    /// Which flows of the files are taken, and how they are read.
    #[command(flatten)]
    pub reading: Reading,

    /// Format and order.
    #[command(flatten)]
    pub layout: LayoutArgs,

    /// Which flows are taken by the names of their ends.
    #[command(flatten)]
    pub by_name: ByName,
}

impl ListArgs {
    /// What its options ask for that can't be.
    pub fn conflict(&self) -> Option<Conflict> {
        self.by_name.conflict(&self.layout)
    }

    /// Reads the union of several files, and the names of what is in it into `layout`; flows whose names are not wanted are
    /// left out.
    ///
    /// Errors: those of [`Reader::read`].
    pub fn named_union<'a>(
        &self,
        files: impl IntoIterator<Item = &'a PathBuf>,
        layout: &mut Layout,
        console: &Console,
    ) -> Result<Read<Listing>, Error> {
        let mut read = self.reading.union(files, console)?;
        naming::ask(&self.layout, &mut layout.names, &read.content, console);
        self.by_name.check(&self.layout, &read.content)?;
        self.by_name.filter(&layout.names, &mut read.content);
        Ok(read)
    }

    /// Where the list goes, and in which format: `usual` if none is asked for.
    ///
    /// Errors: a destination that can't be written; a format and an order that do not go together.
    pub fn target(&self, usual: Format) -> Result<(Destination, Layout), Error> {
        let destination = destination(&self.output)?;
        let layout = self
            .layout
            .layout(usual, destination == Destination::Stdout)?;
        Ok((destination, layout))
    }
}

/// The destination that `-o` names, if it can be written.
///
/// Errors: why it can't.
pub fn destination(output: &Path) -> Result<Destination, Error> {
    let destination = Destination::new(output);
    destination
        .check()
        .map_err(|error| Error::unwritable(output, error))?;
    Ok(destination)
}

/// Writes a list to `destination`, and tells on the console what its reader has to know.
///
/// Errors: those of the destination.
pub fn put_list(
    destination: &Destination,
    layout: &Layout,
    listing: &mut Listing,
    console: &Console,
) -> Result<(), Error> {
    let mut remarks = Vec::new();
    put(destination, console, |out| {
        remarks = layout.write(listing, out)?;
        Ok(())
    })?;
    for remark in remarks {
        console.note(&remark);
    }
    Ok(())
}

/// Writes to `destination`. That nobody reads standard output any more is no error.
///
/// Errors: those of the destination.
pub fn put(
    destination: &Destination,
    console: &Console,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), Error> {
    // On a terminal the list itself shows how far it is.
    let shown = *destination != Destination::Stdout || !io::stdout().is_terminal();
    let written = destination.put(|out| {
        if shown {
            write(&mut Counted::writing(out, console))
        } else {
            write(out)
        }
    });
    match (written, destination) {
        (Ok(()), _) => Ok(()),
        (Err(error), Destination::Stdout) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        (Err(error), Destination::Stdout) => {
            Err(Error::caused(format!("standard output: {error}"), error))
        }
        (Err(error), Destination::File(path)) => Err(Error::file(path, error)),
    }
}
