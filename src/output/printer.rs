//! Printing of lists: now and at the end, wherever they still can go.

use std::io::{self, Write};
use std::path::PathBuf;

use crate::files::destination::Destination;
use crate::files::folder::Folder;
use crate::formats::classic;
use crate::intake::contents::Contents;
use crate::model::capture::Capture;
use crate::model::record::Record;
use crate::model::ruled::Told;
use crate::model::selection::Selection;
use crate::model::timestamp::Timestamp;
use crate::output::layout::Layout;
use crate::ui::console::Console;

/// Where lists are written.
#[derive(Debug)]
pub enum Sink {
    /// All to one place, one after the other.
    One(Destination),
    /// Each into a file of its own.
    Each(Folder),
    /// None is wanted.
    Nowhere,
}

impl Sink {
    /// Has one list written.
    fn put(&self, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
        match self {
            Self::One(destination) => destination.put(write),
            Self::Each(folder) => folder.put(Timestamp::now(), write),
            Self::Nowhere => Ok(()),
        }
    }
}

/// Writes lists to the place that was asked for.
#[derive(Debug)]
pub struct Printer {
    sink: Sink,
    layout: Layout,
    selection: Selection,
    detached: bool,
}

impl Printer {
    /// A printer of selected flows, in a process that may be detached from its standard output.
    pub const fn new(sink: Sink, layout: Layout, selection: Selection, detached: bool) -> Self {
        Self {
            sink,
            layout,
            selection,
            detached,
        }
    }

    /// Prints flows, and their capture where the format has it.
    ///
    /// Errors: those of the destination.
    pub fn print(
        &self,
        contents: &Contents,
        capture: &Capture,
        told: &Told,
        console: &Console,
    ) -> io::Result<()> {
        self.print_list(contents, (capture, told), console)
            .map(drop)
    }

    /// Prints flows, and returns what their reader has to know besides.
    fn print_list(
        &self,
        contents: &Contents,
        about: (&Capture, &Told),
        console: &Console,
    ) -> io::Result<Vec<String>> {
        let remarks = self.print_to(&self.sink, contents, about)?;
        if let Sink::Each(folder) = &self.sink {
            if let Some(complaint) = folder.complaint() {
                console.error(&format!("{}: {complaint}", folder.path().display()));
            }
        }
        Ok(remarks)
    }

    fn print_to(
        &self,
        sink: &Sink,
        contents: &Contents,
        (capture, told): (&Capture, &Told),
    ) -> io::Result<Vec<String>> {
        let mut remarks = Vec::new();
        let wanted = |confirmed| self.selection.wants_confirmed(confirmed);
        match contents {
            Contents::Lean(snapshot) if self.selection.filters_confirmation() => {
                let mut selected = snapshot.clone();
                selected.retain_confirmed(wanted);
                sink.put(|mut out| classic::write(&selected, &mut out))?;
            }
            Contents::Lean(snapshot) => {
                sink.put(|mut out| classic::write(snapshot, &mut out))?;
            }
            Contents::Records(pack) => {
                let wanted = |record: &Record| wanted(record.confirmed);
                let about = (capture, told);
                sink.put(|out| {
                    remarks = self.layout.write_pack(pack, wanted, about, out)?;
                    Ok(())
                })?;
            }
        }
        Ok(remarks)
    }

    /// Reports a list that could not be written, and returns whether there is no use in writing any other: standard
    /// output was a pipe whose reader has gone, which is no error and is not reported. After anything else, such as a
    /// full disk, the capture goes on, and the next list may succeed.
    pub fn fails_for_good(&self, error: &io::Error, console: &Console) -> bool {
        if self.on_stdout() && error.kind() == io::ErrorKind::BrokenPipe {
            return true;
        }
        console.error(&format!("{}: {error}; the capture goes on", self.place()));
        false
    }

    fn on_stdout(&self) -> bool {
        matches!(self.sink, Sink::One(Destination::Stdout))
    }

    /// Where lists go, for messages.
    fn place(&self) -> String {
        match &self.sink {
            Sink::One(Destination::Stdout) => "standard output".to_owned(),
            Sink::One(Destination::File(path)) => path.display().to_string(),
            Sink::Each(folder) => folder.path().display().to_string(),
            Sink::Nowhere => String::new(),
        }
    }

    /// Prints the last list and returns the exit status. A list whose file can't be written goes to
    /// standard output, or that of a daemon to a temporary file.
    pub fn finish(
        &self,
        contents: &Contents,
        capture: &Capture,
        told: &Told,
        console: &Console,
    ) -> u8 {
        let capture = (capture, told);
        let error = match self.print_list(contents, capture, console) {
            Ok(remarks) => {
                for remark in remarks {
                    console.note(&remark);
                }
                return 0;
            }
            Err(error) => error,
        };
        let place = self.place();
        if self.on_stdout() {
            if error.kind() == io::ErrorKind::BrokenPipe {
                return 0;
            }
            console.error(&format!("{place}: {error}"));
        } else if self.detached {
            match self.rescue(contents, capture) {
                Ok(rescued) => console.error(&format!(
                    "{place}: {error}; the list is in {}",
                    rescued.display()
                )),
                Err(worse) => {
                    console.error(&format!("{place}: {error}; the list is lost: {worse}"));
                }
            }
        } else {
            console.error(&format!(
                "{place}: {error}; the list goes to standard output"
            ));
            match self.print_to(&Sink::One(Destination::Stdout), contents, capture) {
                Err(worse) if worse.kind() != io::ErrorKind::BrokenPipe => {
                    console.error(&format!("standard output: {worse}"));
                }
                _ => {}
            }
        }
        1
    }

    fn rescue(&self, contents: &Contents, capture: (&Capture, &Told)) -> io::Result<PathBuf> {
        let file = tempfile::Builder::new()
            .prefix("conntracker-")
            .suffix(".txt")
            .tempfile()?;
        // Its own name as a destination would replace it, and forget that it is temporary.
        let (_, path) = file.keep().map_err(|error| error.error)?;
        self.print_to(
            &Sink::One(Destination::File(path.clone())),
            contents,
            capture,
        )?;
        Ok(path)
    }
}
