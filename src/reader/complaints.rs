//! What is wrong with the lines of a file.

use crate::console::Console;
use crate::units::show_count;

/// So many lines of a file are named; the rest are counted.
const NAMED_MAX: usize = 20;

/// Complaints about one file, told when it has been read.
#[derive(Debug, Default)]
pub struct Complaints {
    named: Vec<String>,
    count: u64,
}

impl Complaints {
    /// Takes one down.
    pub fn add(&mut self, complaint: String) {
        self.count += 1;
        if self.named.len() < NAMED_MAX {
            self.named.push(complaint);
        }
    }

    /// How many there are.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// Tells of them.
    pub fn tell(&self, file: &str, console: &Console) {
        for complaint in &self.named {
            console.error(complaint);
        }
        let more = self.count - self.named.len() as u64;
        if more > 0 {
            console.error(&format!("{file}: … and {} more", show_count(more)));
        }
        if self.count > 0 {
            let skipped = show_count(self.count);
            let lines = if self.count == 1 { "line" } else { "lines" };
            console.error(&format!("{file}: {skipped} {lines} skipped"));
        }
    }
}
