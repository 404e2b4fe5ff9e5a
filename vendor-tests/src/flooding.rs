//! The flood, run beside a capture.

use std::collections::BTreeSet;
use std::process::{Child, Command, Stdio};

use crate::capture::Outcome;
use crate::model::{Model, of_flood};
use crate::program::flood;
use crate::temp::Folder;
use crate::wait::{LONG, until};

/// A running flood.
#[derive(Debug)]
pub struct Flood {
    child: Child,
    folder: Folder,
}

impl Flood {
    /// Starts one with these arguments, split at spaces.
    ///
    /// Panics: if it can't be started.
    pub fn start(words: &str) -> Self {
        let folder = Folder::new();
        let mut command = Command::new(flood());
        command
            .args(words.split(' '))
            .arg("--list")
            .arg(folder.join("list"))
            .stderr(Stdio::null());
        Self {
            child: command.spawn().expect("the flood starts"),
            folder,
        }
    }

    /// Waits for its end, and returns the list it stands for.
    ///
    /// Panics: if it fails.
    pub fn finish(mut self) -> Model {
        let status = until("the flood to end", LONG, || {
            self.child.try_wait().expect("a child")
        });
        assert!(status.success(), "{status}");
        of_flood(&std::fs::read_to_string(self.folder.join("list")).expect("the list is there"))
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Entries in the calling thread's namespace.
///
/// Panics: if the kernel has no connection tracking.
pub fn count() -> u64 {
    let count = std::fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_count");
    count
        .expect("nf_conntrack is there")
        .trim()
        .parse()
        .expect("a number")
}

/// Whatever happened, the list lacks no flow and no reply, or its exit status says so. Returns whether it lacks any.
///
/// Panics: if it lacks something and claims to be whole.
pub fn honest(outcome: &Outcome, expected: &Model) -> bool {
    // Without the numbers of the lines, which change with each that is missing.
    let flow = |line: &str| {
        let (class, rest) = line.split_once(" [").expect("a line of the list");
        let (_, flow) = rest.split_once("] ").expect("a line of the list");
        format!("{class} {flow}")
    };
    let found: BTreeSet<String> = outcome.text().lines().map(flow).collect();
    let wanted = expected.list();
    let missing = wanted.lines().filter(|line| !found.contains(&flow(line)));
    let missing = missing.count();
    assert!(
        missing == 0 || outcome.code == Some(3),
        "{missing} of {} flows are missing or lack their reply, and the exit status is {:?}: {}",
        expected.len(),
        outcome.code,
        outcome.stderr
    );
    missing > 0
}

/// The list is what it should be; without printing 300,000 lines if it is not.
///
/// Panics: if it is not.
pub fn complete(outcome: &Outcome, expected: &Model) {
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    let (found, wanted) = (outcome.text(), expected.list());
    let lines = (found.lines().count(), expected.len());
    assert_eq!(
        lines.0, lines.1,
        "flows listed and wanted: {}",
        outcome.stderr
    );
    let other = found
        .lines()
        .zip(wanted.lines())
        .find(|(found, wanted)| found != wanted);
    assert!(
        other.is_none() && found == wanted,
        "{other:?}: {}",
        outcome.stderr
    );
}
