//! Where notices go: standard output, the journal or the system log, and a program.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::Path;

use super::notice::Notice;
use super::program::Program;
use crate::model::error::Error;
use crate::model::timestamp::Timestamp;
use crate::ui::console::Console;
use crate::ui::journal::{self, Journal};
use crate::ui::syslog::Severity;

/// The form in which notices are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Lines for people on standard output.
    Text,
    /// JSON objects on standard output, one a line.
    Json,
    /// Entries of systemd's journal.
    Journal,
    /// Where messages go: standard output is for the list. The journal, if it takes them.
    Messages,
}

/// Tells notices.
#[derive(Debug)]
pub struct Teller {
    form: Form,
    journal: Option<Journal>,
    program: Option<Program>,
}

impl Teller {
    /// A teller in this form, and by this program with its arguments, if there is one.
    ///
    /// Errors: there is no journal where it was asked for; no thread can be made.
    pub fn new(form: Form, exec: &[OsString]) -> Result<Self, Error> {
        let journal = match (form, Journal::new(Path::new(journal::SOCKET))) {
            (Form::Journal, Err(error)) => {
                return Err(Error::caused(
                    format!(
                        "--format journal: {}: {error}: systemd's journal does not run here; \
                         --format text or json write to standard output",
                        journal::SOCKET
                    ),
                    error,
                ));
            }
            (Form::Journal, journal) => journal.ok(),
            // On a terminal, or redirected, messages go where standard error goes.
            (Form::Messages, journal) if is_service() => journal.ok(),
            _ => None,
        };
        let program = match exec {
            [] => None,
            words => Some(Program::new(words).map_err(|error| {
                Error::caused(format!("can't start a thread for programs: {error}"), error)
            })?),
        };
        Ok(Self {
            form,
            journal,
            program,
        })
    }

    /// Tells one.
    ///
    /// Errors: those of standard output, or of the journal. The program's are told on the console.
    pub fn tell(&mut self, notice: &Notice, console: &Console) -> io::Result<()> {
        let now = Timestamp::now();
        if let Some(program) = &mut self.program {
            program.tell(&notice.json(now));
        }
        if let Some(journal) = &self.journal {
            let sent = journal.send(Severity::Notice, &notice.text(), &notice.fields(now));
            return sent.or_else(|error| {
                console.error(&format!("systemd's journal: {error}"));
                console.note(&notice.text());
                Ok(())
            });
        }
        let line = match self.form {
            Form::Text => notice.line(now),
            Form::Json => notice.json(now),
            Form::Journal | Form::Messages => {
                console.note(&notice.text());
                return Ok(());
            }
        };
        console.clear_status();
        let mut out = io::stdout().lock();
        writeln!(out, "{line}")?;
        out.flush()
    }

    /// Says what went wrong with the program since the last call.
    pub fn report(&mut self, console: &Console) {
        if let Some(program) = &mut self.program {
            program.report(console);
        }
    }

    /// Waits for the program.
    pub fn finish(&mut self, console: &Console) {
        if let Some(program) = self.program.take() {
            program.finish(console);
        }
    }
}

/// Whether systemd started this process as a service: standard error leads to the journal then (systemd.exec(5)).
fn is_service() -> bool {
    std::env::var_os("JOURNAL_STREAM").is_some()
}
