//! Standard error as a person reads it: messages, and on a terminal one status line.

use std::collections::VecDeque;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::model::flow::Class;
use crate::model::printable::{printable, printable_lines};
use crate::model::units::{counted, show_count};
use crate::ui::syslog::{self, Severity, Syslog};

/// How much is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// Errors alone (`-q`).
    Quiet,
    /// What has to be told, and the status line on a terminal.
    Normal,
    /// Also how the run was set up and how it went (`-v`).
    Verbose,
}

/// The status line is drawn no more often than this.
pub const REDRAW: Duration = Duration::from_millis(250);

/// Where messages for people go.
pub struct Console {
    sink: Mutex<Sink>,
    verbosity: Verbosity,
    terminal: bool,
}

enum Sink {
    Stderr(io::Stderr),
    Syslog(Syslog),
    /// Kept until the terminal is free again.
    Held(VecDeque<String>),
}

/// So many messages are kept, the last ones.
const HELD: usize = 100;

impl std::fmt::Debug for Console {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Console").finish_non_exhaustive()
    }
}

/// What the status line shows.
#[derive(Clone, Copy, Debug)]
pub struct Status {
    /// Time since the capture began.
    pub elapsed: Duration,
    /// Events a second, of late.
    pub rate: u64,
    /// Flows by class.
    pub flows: [usize; 6],
    /// Events that the kernel could not deliver so far.
    pub lost: u64,
}

impl Console {
    /// A console that writes to standard error.
    pub fn stderr(verbosity: Verbosity) -> Self {
        Self {
            sink: Mutex::new(Sink::Stderr(io::stderr())),
            verbosity,
            terminal: io::stderr().is_terminal(),
        }
    }

    /// Whether a status line is wanted.
    pub fn shows_status(&self) -> bool {
        self.terminal
            && self.verbosity > Verbosity::Quiet
            && matches!(*self.sink.lock(), Sink::Stderr(_))
    }

    /// Has messages go to the system log from here on.
    pub fn use_syslog(&self) {
        // Without a socket there is no way to tell anything, that included.
        if let Ok(syslog) = Syslog::new(Path::new(syslog::SOCKET)) {
            *self.sink.lock() = Sink::Syslog(syslog);
        }
    }

    /// Keeps messages to itself from here on: something else is drawn on the terminal.
    pub fn hold(&self) {
        *self.sink.lock() = Sink::Held(VecDeque::new());
    }

    /// The last message that was kept.
    pub fn last_held(&self) -> Option<String> {
        match &*self.sink.lock() {
            Sink::Held(kept) => kept.back().cloned(),
            Sink::Stderr(_) | Sink::Syslog(_) => None,
        }
    }

    /// Says what was kept, and messages at once from here on.
    pub fn release(&self) {
        let mut sink = self.sink.lock();
        if let Sink::Held(kept) = std::mem::replace(&mut *sink, Sink::Stderr(io::stderr())) {
            let mut stderr = io::stderr();
            for message in kept {
                let _ = writeln!(stderr, "conntracker: {message}");
            }
        }
    }

    /// Says what the user has to know.
    pub fn note(&self, message: &str) {
        if self.verbosity > Verbosity::Quiet {
            self.say(Severity::Notice, message);
        }
    }

    /// Says what only a curious user wants to know.
    pub fn detail(&self, message: &str) {
        if self.verbosity == Verbosity::Verbose {
            self.say(Severity::Info, message);
        }
    }

    /// Says what went wrong, always.
    pub fn error(&self, message: &str) {
        self.say(Severity::Error, message);
    }

    fn say(&self, severity: Severity, message: &str) {
        // Whatever it cites. Several lines are ours: what is cited has been put on one.
        let message = &*printable_lines(message);
        match &mut *self.sink.lock() {
            Sink::Stderr(stderr) => {
                let clear = if self.terminal { "\r\x1b[K" } else { "" };
                // Nobody is left to tell when standard error is gone.
                let _ = writeln!(stderr, "{clear}conntracker: {message}");
            }
            Sink::Syslog(syslog) => syslog.log(severity, message),
            Sink::Held(kept) => {
                if kept.len() == HELD {
                    kept.pop_front();
                }
                kept.push_back(message.to_owned());
            }
        }
    }

    /// Draws the status line over the last one.
    pub fn status(&self, status: &Status) {
        self.draw(&status.to_string());
    }

    /// Draws a line over the status line. Only to be called where [`shows_status`](Self::shows_status).
    pub fn draw(&self, line: &str) {
        let columns = rustix::termios::tcgetwinsize(io::stderr())
            .map(|size| usize::from(size.ws_col))
            .ok()
            // What a terminal without a size is taken for, by convention.
            .filter(|&columns| columns > 0)
            .unwrap_or(80);
        let line: String = line.chars().take(columns.saturating_sub(1)).collect();
        let _ = write!(io::stderr(), "\r{}\x1b[K", printable(&line));
    }

    /// Takes the status line away, so that a list can be printed.
    pub fn clear_status(&self) {
        if self.shows_status() {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let seconds = self.elapsed.as_secs();
        write!(
            f,
            "{:02}:{:02}:{:02}  {}/s  {}",
            seconds / 3600,
            seconds / 60 % 60,
            seconds % 60,
            counted(self.rate, "event"),
            counted(self.flows.iter().sum::<usize>() as u64, "flow"),
        )?;
        for (class, &count) in Class::ALL.iter().zip(&self.flows) {
            if count > 0 {
                write!(f, "  {} {}", class.name(), show_count(count as u64))?;
            }
        }
        write!(f, "  lost {}", show_count(self.lost))
    }
}

/// Events a second over the last second or so.
#[derive(Debug)]
pub struct Rate {
    since: Instant,
    events: u64,
    rate: u64,
}

impl Default for Rate {
    fn default() -> Self {
        Self {
            since: Instant::now(),
            events: 0,
            rate: 0,
        }
    }
}

impl Rate {
    /// The rate, given the number of events so far. It changes once a second: over less, naps of the
    /// receiver would show.
    pub fn update(&mut self, events: u64) -> u64 {
        let elapsed = self.since.elapsed();
        if elapsed >= Duration::from_secs(1) {
            self.rate = ((events - self.events) as f64 / elapsed.as_secs_f64()).round() as u64;
            self.since = Instant::now();
            self.events = events;
        }
        self.rate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_line_names_the_classes_that_have_flows() {
        let status = Status {
            elapsed: Duration::from_secs(3661),
            rate: 1234,
            flows: [1200, 0, 3, 0, 0, 0],
            lost: 0,
        };
        let shown = "01:01:01  1,234 events/s  1,203 flows  TCPv4 1,200  ICMPv4 3  lost 0";
        assert_eq!(status.to_string(), shown);
    }
}
