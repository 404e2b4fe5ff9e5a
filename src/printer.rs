//! Printing of lists: now and at the end, wherever they still can go.

use std::io;

use crate::console::Console;
use crate::output::classic;
use crate::output::destination::Destination;
use crate::table::Table;

/// Writes lists to the destination that was asked for.
#[derive(Debug)]
pub struct Printer {
    destination: Destination,
}

impl Printer {
    /// A printer to `destination`.
    #[must_use]
    pub const fn new(destination: Destination) -> Self {
        Self { destination }
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
    /// standard output.
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
            Destination::File(path) => {
                console.error(&format!(
                    "{}: {error}; the list goes to standard output",
                    path.display()
                ));
                Self::new(Destination::Stdout).finish(table, console);
                1
            }
        }
    }
}
