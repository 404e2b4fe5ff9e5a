//! Printing of lists: now and at the end, wherever they still can go.

use std::io;
use std::path::PathBuf;

use crate::console::Console;
use crate::output::classic;
use crate::output::destination::Destination;
use crate::table::Table;

/// Writes lists to the destination that was asked for.
#[derive(Debug)]
pub struct Printer {
    destination: Destination,
    detached: bool,
}

impl Printer {
    /// A printer to `destination`, in a process that may be detached from its standard output.
    #[must_use]
    pub const fn new(destination: Destination, detached: bool) -> Self {
        Self {
            destination,
            detached,
        }
    }

    /// Prints the flows so far. Intake goes on meanwhile.
    ///
    /// # Errors
    ///
    /// Those of the destination.
    pub fn print(&self, table: &Table) -> io::Result<()> {
        let snapshot = table.snapshot();
        self.destination
            .put(|mut out| classic::write(&snapshot, &mut out))
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
    pub fn finish(&self, table: &Table, console: &Console) -> u8 {
        let Err(error) = self.print(table) else {
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
                match Self::rescue(table) {
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
                Self::new(Destination::Stdout, false).finish(table, console);
                1
            }
        }
    }

    fn rescue(table: &Table) -> io::Result<PathBuf> {
        let mut file = tempfile::Builder::new()
            .prefix("conntracker-")
            .suffix(".txt")
            .tempfile()?;
        classic::write(&table.snapshot(), &mut file)?;
        file.keep()
            .map(|(_, path)| path)
            .map_err(|error| error.error)
    }
}
