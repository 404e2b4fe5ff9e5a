//! What is run under faults, and what may come of it.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::capture::{Capture, Launch, sockets};
use crate::program::{flood, run};

use super::judgement::unnumbered;
use crate::temp::Folder;

/// A run that takes longer hangs. Far longer than any takes.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a list that was asked for may take, before the run is ended without it.
const LIST_PATIENCE: Duration = Duration::from_secs(2);
/// What stands in files before a run.
pub const OLD: &[u8] = b"what was there before\n";
/// How many entries a flood makes.
const ENTRIES: &str = "150";

/// What an output file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A list in JSON or a state: says itself whether it is complete.
    Json,
    /// A classic list.
    Classic,
    /// What a run without faults writes, byte by byte.
    Same,
}

/// A run of the program.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// What the figures call it.
    pub name: &'static str,
    /// The command line; `@` is the folder of the run, `%` that of files that are read.
    pub words: &'static str,
    /// Whether it captures: it is then flooded, asked for a list, and ended.
    pub live: bool,
    /// The files that it writes in its folder.
    pub outputs: &'static [(&'static str, Kind)],
}

/// All of them.
pub const ALL: [Scenario; 8] = [
    Scenario {
        name: "capture, list and state (batch)",
        words: "--source batch --format json -o @list --state @state --metrics-file @metrics.prom -v",
        live: true,
        outputs: &[("list", Kind::Json), ("state", Kind::Json)],
    },
    Scenario {
        name: "capture, list and state (kernel)",
        words: "--source kernel -o @list --state @state",
        live: true,
        outputs: &[("list", Kind::Classic), ("state", Kind::Json)],
    },
    Scenario {
        name: "capture that tracks, keeps back and records",
        words: "--track --reliable --existing --format json -o @list -w @events.pcap",
        live: true,
        outputs: &[("list", Kind::Json)],
    },
    Scenario {
        name: "capture of all namespaces",
        words: "--all-netns --format json -o @list --state @state",
        live: true,
        outputs: &[("list", Kind::Json), ("state", Kind::Json)],
    },
    Scenario {
        name: "replay",
        words: "-r %events.pcap --format json -o @list",
        live: false,
        outputs: &[("list", Kind::Json)],
    },
    Scenario {
        name: "merge",
        words: "merge %list %list -o @merged",
        live: false,
        outputs: &[("merged", Kind::Json)],
    },
    Scenario {
        name: "rules",
        words: "rules %list --include-unconfirmed -o @rules --report @report",
        live: false,
        outputs: &[("rules", Kind::Same), ("report", Kind::Same)],
    },
    Scenario {
        name: "show",
        words: "show %list --format csv -o @csv",
        live: false,
        outputs: &[("csv", Kind::Same)],
    },
];

/// What a run came to.
#[derive(Debug)]
pub struct Ran {
    /// Exit status; `None` after a signal.
    pub code: Option<i32>,
    /// What it said on standard error.
    pub said: String,
    /// Whether it had to be killed.
    pub hung: bool,
    /// The flows that it should have listed, as lines of the classic list without numbers.
    pub witness: BTreeSet<String>,
    /// Its folder.
    pub folder: Folder,
}

impl Scenario {
    /// Runs it in the calling thread's network namespace, under another program and with files that are read.
    ///
    /// Panics: if the flood does not work.
    pub fn run(&self, wrapper: &[OsString], read: &Path) -> Ran {
        let folder = Folder::new();
        for (name, _) in self.outputs {
            // A state would be read.
            if *name != "state" {
                fs::write(folder.join(name), OLD).expect("the folder is ours");
            }
        }
        let own = format!("{}/", folder.path().display());
        let others = format!("{}/", read.display());
        let words: Vec<String> = self
            .words
            .split(' ')
            .map(|word| word.replace('@', &own).replace('%', &others))
            .collect();
        let mut capture = Launch::new(words).under(wrapper).spawn();
        let mut witness = BTreeSet::new();
        if self.live {
            let listened = waits(&mut capture, PATIENCE, |capture| {
                !sockets(capture.pid()).is_empty()
            });
            if listened {
                witness = flooded(&folder);
                self.ask(&mut capture, &folder);
                if capture.is_running() {
                    capture.signal(Signal::INT);
                }
            }
        }
        let hung = !ends(&mut capture, PATIENCE);
        if hung {
            eprintln!("hangs: {self:?} under {wrapper:?}\n{}", capture.stderr());
            capture.signal(Signal::KILL);
        }
        let outcome = capture.wait();
        Ran {
            code: outcome.code,
            said: outcome.said,
            hung,
            witness,
            folder,
        }
    }

    /// Asks for a list, and waits until it is there.
    fn ask(&self, capture: &mut Capture, folder: &Folder) {
        // So that what the list has to hold is in it.
        waits(capture, LIST_PATIENCE, |capture| {
            sockets(capture.pid())
                .iter()
                .all(|socket| socket.queued_bytes == 0)
        });
        if !capture.is_running() {
            return;
        }
        capture.signal(Signal::USR1);
        let (name, _) = self.outputs.last().expect("there is one");
        let path = folder.join(name);
        let before = fs::read(&path).ok();
        waits(capture, LIST_PATIENCE, |capture| {
            fs::read(&path).ok() != before || capture.stderr().contains("the capture goes on")
        });
    }
}

/// Floods the calling thread's namespace, and returns what has to be listed.
fn flooded(folder: &Folder) -> BTreeSet<String> {
    let list = folder.join("witness");
    let words = [
        "--entries",
        ENTRIES,
        "--family",
        "mixed",
        "--seed",
        "7",
        "--list",
    ];
    let words = words
        .map(OsString::from)
        .into_iter()
        .chain([list.clone().into()]);
    run(flood(), words);
    let model = crate::model::of_flood(&fs::read_to_string(list).expect("the flood wrote it"));
    model.list().lines().map(unnumbered).collect()
}

/// Waits until something holds; whether it did before the process ended or patience did.
fn waits(capture: &mut Capture, patience: Duration, holds: impl Fn(&Capture) -> bool) -> bool {
    let began = Instant::now();
    while began.elapsed() < patience && capture.is_running() {
        if holds(capture) {
            return true;
        }
        sleep(Duration::from_millis(2));
    }
    false
}

/// Whether the process ends within patience.
fn ends(capture: &mut Capture, patience: Duration) -> bool {
    waits(capture, patience, |_| false);
    !capture.is_running()
}

/// Files that scenarios read: a list and a recording.
///
/// Panics: if they can't be made.
pub fn files() -> Folder {
    let folder = Folder::new();
    let list: PathBuf = folder.join("list");
    let capture = Launch::new(
        format!(
            "--format json -o {} -w {}",
            list.display(),
            folder.join("events.pcap").display()
        )
        .split(' '),
    )
    .start();
    run(
        flood(),
        ["--entries", ENTRIES, "--family", "mixed", "--replied", "40"],
    );
    capture.drained();
    let outcome = capture.finish();
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    folder
}
