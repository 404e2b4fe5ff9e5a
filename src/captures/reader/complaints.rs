//! What is wrong with the lines of a file.

use crate::model::units::{counted, show_count};
use crate::ui::console::Console;

/// So many lines of a file are named; the rest are counted.
const NAMED_MAX: usize = 20;

/// Complaints about one file, told when it has been read.
#[derive(Debug, Default)]
pub struct Complaints {
    named: Vec<String>,
    count: u64,
    /// What is wrong with the file as a whole.
    faults: Vec<String>,
    /// Whether nothing else was found in it.
    pub nothing_else: bool,
}

impl Complaints {
    /// Takes one down.
    pub fn add(&mut self, complaint: String) {
        self.count += 1;
        if self.named.len() < NAMED_MAX {
            self.named.push(complaint);
        }
    }

    /// Takes one down that says what another one has said.
    pub fn add_another(&mut self) {
        self.count += 1;
    }

    /// Takes down what is wrong with the file as a whole.
    pub fn fault(&mut self, fault: String) {
        self.faults.push(fault);
    }

    /// Whether there is any, so that what was read may lack flows.
    pub fn any(&self) -> bool {
        self.count > 0 || !self.faults.is_empty()
    }

    /// Says on the console what is wrong with the file, the first lines of it by their numbers.
    pub fn tell(&self, file: &str, console: &Console) {
        for complaint in &self.named {
            console.error(complaint);
        }
        let more = self.count - self.named.len() as u64;
        // What says the same again is only counted.
        if more > 0 && self.named.len() == NAMED_MAX {
            console.error(&format!("{file}: … and {} more", show_count(more)));
        }
        if self.count > 0 {
            let lines = counted(self.count, "line");
            console.error(&format!("{file}: {lines} skipped"));
        }
        for fault in self.faults.iter().take(NAMED_MAX) {
            console.error(&format!("{file}: {fault}"));
        }
    }
}
