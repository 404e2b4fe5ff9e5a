//! How far a long job is, in one line on a terminal.

use std::time::{Duration, Instant};

use crate::console::{Console, REDRAW};
use crate::units::show_count;

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::Verbosity;

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
