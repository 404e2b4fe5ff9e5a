//! Printing of lists: now and at the end, wherever they still can go.

use std::io;
use std::path::PathBuf;

use crate::capture::Capture;
use crate::console::Console;
use crate::intake::Intake;
use crate::output::classic;
use crate::output::destination::Destination;
use crate::output::layout::Layout;
use crate::output::listing::Listing;
use crate::select::Selection;

/// Writes lists to the destination that was asked for.
#[derive(Debug)]
pub struct Printer {
    destination: Destination,
    layout: Layout,
    selection: Selection,
    detached: bool,
}

impl Printer {
    /// A printer of selected flows to `destination`, in a process that may be detached from its standard
    /// output.
    #[must_use]
    pub const fn new(
        destination: Destination,
        layout: Layout,
        selection: Selection,
        detached: bool,
    ) -> Self {
        Self {
            destination,
            layout,
            selection,
            detached,
        }
    }

    /// Prints the flows so far, and their capture where the format has it. Intake goes on meanwhile.
    ///
    /// # Errors
    ///
    /// Those of the destination.
    pub fn print(&self, intake: &Intake, capture: &Capture) -> io::Result<()> {
        self.print_to(&self.destination, intake, capture)
    }

    fn print_to(
        &self,
        destination: &Destination,
        intake: &Intake,
        capture: &Capture,
    ) -> io::Result<()> {
        match intake.records() {
            None => {
                let mut snapshot = intake.table().snapshot();
                snapshot.retain_confirmed(|confirmed| self.selection.wants_confirmed(confirmed));
                destination.put(|mut out| classic::write(&snapshot, &mut out))
            }
            Some(records) => {
                let flows = records.snapshot(intake.table(), |record| {
                    let wanted = self.selection.wants_confirmed(record.confirmed);
                    wanted.then(|| record.into())
                });
                let listing = Listing {
                    captures: vec![capture.clone()],
                    flows,
                };
                destination.put(|out| self.layout.write(listing, out))
            }
        }
    }

    /// Tells of a list that could not be printed; whether nobody will read any other either.
    pub fn is_gone(&self, error: &io::Error, console: &Console) -> bool {
        match &self.destination {
            Destination::Stdout if error.kind() == io::ErrorKind::BrokenPipe => true,
            Destination::Stdout => {
                console.error(&format!("standard output: {error}"));
                false
            }
            Destination::File(path) => {
                console.error(&format!("{}: {error}; the capture goes on", path.display()));
                false
            }
        }
    }

    /// Prints the last list and returns the exit status. A list whose file can't be written goes to
    /// standard output, or that of a daemon to a temporary file.
    pub fn finish(&self, intake: &Intake, capture: &Capture, console: &Console) -> u8 {
        let Err(error) = self.print(intake, capture) else {
            return 0;
        };
        match &self.destination {
            Destination::Stdout if error.kind() == io::ErrorKind::BrokenPipe => 0,
            Destination::Stdout => {
                console.error(&format!("standard output: {error}"));
                1
            }
            Destination::File(path) if self.detached => {
                let path = path.display();
                match self.rescue(intake, capture) {
                    Ok(rescued) => {
                        console.error(&format!(
                            "{path}: {error}; the list is in {}",
                            rescued.display()
                        ));
                    }
                    Err(worse) => {
                        console.error(&format!("{path}: {error}; the list is lost: {worse}"))
                    }
                }
                1
            }
            Destination::File(path) => {
                console.error(&format!(
                    "{}: {error}; the list goes to standard output",
                    path.display()
                ));
                match self.print_to(&Destination::Stdout, intake, capture) {
                    Err(worse) if worse.kind() != io::ErrorKind::BrokenPipe => {
                        console.error(&format!("standard output: {worse}"));
                    }
                    _ => {}
                }
                1
            }
        }
    }

    fn rescue(&self, intake: &Intake, capture: &Capture) -> io::Result<PathBuf> {
        let file = tempfile::Builder::new()
            .prefix("conntracker-")
            .suffix(".txt")
            .tempfile()?;
        // Its own name as a destination would replace it, and forget that it is temporary.
        let (_, path) = file.keep().map_err(|error| error.error)?;
        self.print_to(&Destination::File(path.clone()), intake, capture)?;
        Ok(path)
    }
}
