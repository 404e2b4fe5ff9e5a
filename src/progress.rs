//! How far a long piece of work has come, on a terminal.

use std::time::{Duration, Instant};

use crate::console::{Console, REDRAW};
use crate::units::show_count;

/// What is over sooner needs no bar.
const SHOWN_AFTER: Duration = Duration::from_secs(1);
/// Characters of the bar.
const WIDTH: u64 = 30;

/// A bar, taken away when this is dropped.
#[derive(Debug)]
pub struct Progress<'a> {
    console: &'a Console,
    what: &'static str,
    total: u64,
    done: u64,
    began: Instant,
    drawn: Option<Instant>,
    wanted: bool,
}

impl<'a> Progress<'a> {
    /// Begins a piece of work: what is being done ("judging"), and how much of it there is.
    #[must_use]
    pub fn new(console: &'a Console, what: &'static str, total: u64) -> Self {
        Self {
            console,
            what,
            total,
            done: 0,
            began: Instant::now(),
            drawn: None,
            wanted: console.shows_status(),
        }
    }

    /// So much more of it is done.
    pub fn advance(&mut self, more: u64) {
        self.done += more;
        if !self.wanted || self.began.elapsed() < SHOWN_AFTER {
            return;
        }
        if self.drawn.is_none_or(|drawn| drawn.elapsed() >= REDRAW) {
            self.console.draw(&line(self.what, self.done, self.total));
            self.drawn = Some(Instant::now());
        }
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        if self.drawn.is_some() {
            self.console.clear_status();
        }
    }
}

fn line(what: &str, done: u64, total: u64) -> String {
    let share = |of: u64| (done.min(total) * of).checked_div(total).unwrap_or(of);
    let filled = share(WIDTH) as usize;
    format!(
        "{what} [{}{}] {}%  {} of {}",
        "#".repeat(filled),
        ".".repeat(WIDTH as usize - filled),
        share(100),
        show_count(done),
        show_count(total),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_long_as_its_share() {
        let half = "judging [###############...............] 50%  1,000 of 2,000";
        assert_eq!(line("judging", 1000, 2000), half);
        assert!(line("judging", 0, 0).contains("100%"));
    }
}
