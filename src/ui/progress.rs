//! How far a long job is, in one line on a terminal.

use std::io::{self, Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::model::units::show_count;
use crate::ui::console::{Console, REDRAW};

/// What is done sooner shows no progress.
const QUIET: Duration = Duration::from_secs(1);
/// Units between two looks at the clock.
const STRIDE: u64 = 1024;
/// Columns of the bar of a job whose size is known.
const BAR: usize = 20;

/// The progress of one job. The line is taken away when this is dropped.
#[derive(Debug)]
pub struct Progress<'a> {
    console: Option<&'a Console>,
    job: String,
    total: Option<u64>,
    done: u64,
    looked_at: u64,
    began: Instant,
    drawn: Option<Instant>,
}

impl<'a> Progress<'a> {
    /// A job of `total` units, where that is known.
    pub fn new(console: &'a Console, job: impl Into<String>, total: Option<u64>) -> Self {
        Self {
            console: Some(console).filter(|console| console.shows_status()),
            job: job.into(),
            total,
            done: 0,
            looked_at: 0,
            began: Instant::now(),
            drawn: None,
        }
    }

    /// Counts `units` more as done.
    pub fn advance(&mut self, units: u64) {
        self.done += units;
        let Some(console) = self.console else {
            return;
        };
        if self.done < self.looked_at + STRIDE {
            return;
        }
        self.looked_at = self.done;
        let waited = match self.drawn {
            None => self.began.elapsed() >= QUIET,
            Some(drawn) => drawn.elapsed() >= REDRAW,
        };
        if waited {
            self.drawn = Some(Instant::now());
            console.draw(&self.line(self.began.elapsed()));
        }
    }

    fn line(&self, took: Duration) -> String {
        match self.total {
            Some(total) if total > 0 => {
                // A file may grow while it is read.
                let done = self.done.min(total);
                let share = done as f64 / total as f64;
                let left = (took.as_secs_f64() * (1.0 - share) / share).ceil() as u64;
                format!(
                    "{}  [{:BAR$}]  {} %  {:02}:{:02} left",
                    self.job,
                    "#".repeat((share * BAR as f64) as usize),
                    (share * 100.0) as u64,
                    left / 60,
                    left % 60
                )
            }
            _ => format!("{}  {}", self.job, show_count(self.done)),
        }
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        if let Some(console) = self.console.filter(|_| self.drawn.is_some()) {
            console.clear_status();
        }
    }
}

/// What is read from or written to, where every byte is a unit of the job.
#[derive(Debug)]
pub struct Counted<'a, T> {
    inner: T,
    progress: Progress<'a>,
}

impl<'a, T> Counted<'a, T> {
    /// What is read, by the name `path` in messages, of `len` bytes if that is known.
    pub fn reading(inner: T, path: &Path, len: Option<u64>, console: &'a Console) -> Self {
        let unit = if len.is_none() { ", bytes:" } else { "" };
        let progress = Progress::new(console, format!("reading {}{unit}", path.display()), len);
        Self { inner, progress }
    }

    /// What is written, however much that will be.
    pub fn writing(inner: T, console: &'a Console) -> Self {
        let progress = Progress::new(console, "writing, bytes:", None);
        Self { inner, progress }
    }
}

impl<T: Read> Read for Counted<'_, T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.progress.advance(read as u64);
        Ok(read)
    }
}

impl<T: Write> Write for Counted<'_, T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.progress.advance(written as u64);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::console::Verbosity;

    #[test]
    fn a_bar_where_the_size_is_known() {
        let console = Console::stderr(Verbosity::Quiet);
        let mut progress = Progress::new(&console, "reading a", Some(400));
        progress.advance(100);
        assert_eq!(
            progress.line(Duration::from_secs(25)),
            "reading a  [#####               ]  25 %  01:15 left"
        );
        progress.advance(299);
        assert_eq!(
            progress.line(Duration::from_secs(60)),
            "reading a  [################### ]  99 %  00:01 left"
        );
        progress.advance(100);
        assert_eq!(
            progress.line(Duration::from_secs(61)),
            "reading a  [####################]  100 %  00:00 left"
        );
        let mut progress = Progress::new(&console, "reading -", None);
        progress.advance(1234);
        assert_eq!(progress.line(Duration::from_secs(2)), "reading -  1,234");
    }
}
