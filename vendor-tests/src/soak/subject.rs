//! The captures that are soaked.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use super::Ended;
use crate::capture::{Capture, Launch, sockets};
use crate::temp::Folder;
use crate::wait::{LONG, until};

/// Steps the clock of the programs that are started with it (Debian's package libfaketime).
const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";

/// A way to capture.
#[derive(Debug)]
pub struct Subject {
    /// What to call it.
    pub name: &'static str,
    /// Whether it hears of all namespaces.
    pub everywhere: bool,
    /// Where its list goes.
    pub output: PathBuf,
    args: Vec<String>,
    capture: Option<Capture>,
    /// What it has said in earlier runs.
    said: String,
    lists: u64,
}

/// All of them.
#[derive(Debug)]
pub struct Subjects {
    all: Vec<Subject>,
    clock: PathBuf,
    faketime: bool,
    _folder: Folder,
}

impl Subjects {
    /// Starts them; all they write goes to `disk`.
    pub fn start(disk: &Path) -> Self {
        let folder = Folder::new();
        let at = |name: &str| disk.join(name).display().to_string();
        let subject = |name, everywhere, output: &str, args: &[&str]| Subject {
            name,
            everywhere,
            output: disk.join(output),
            args: args
                .iter()
                .map(|&arg| arg.to_owned())
                .chain(["-o".to_owned(), at(output)])
                .collect(),
            capture: None,
            said: String::new(),
            lists: 0,
        };
        let (state, lean) = (at("everywhere.state"), at("lean.state"));
        let all = vec![
            subject(
                "everywhere",
                true,
                "everywhere.json",
                &[
                    "--all-netns",
                    "--format",
                    "json",
                    "--interval",
                    "4s",
                    "--state",
                    &state,
                ],
            ),
            subject(
                "kernel",
                true,
                "kernel.txt",
                &["--all-netns", "--interval", "3s", "--state", &lean],
            ),
            subject(
                "small",
                false,
                "small.txt",
                &[
                    "--source",
                    "batch",
                    "--buffer",
                    "256K",
                    "--buffer-max",
                    "1M",
                    "--interval",
                    "5s",
                    "--state",
                    &at("small.state"),
                ],
            ),
        ];
        let clock = folder.join("clock");
        fs::write(&clock, "+0").expect("a folder of ours");
        let mut subjects = Self {
            all,
            clock,
            faketime: Path::new(FAKETIME).exists(),
            _folder: folder,
        };
        if !subjects.faketime {
            println!("skipped: {FAKETIME} is not there: the clock is not stepped");
        }
        for subject in 0..subjects.all.len() {
            subjects.launch(subject);
        }
        subjects
    }

    fn launch(&mut self, number: usize) {
        let clock = format!("FAKETIME_TIMESTAMP_FILE={}", self.clock.display());
        let preload = format!("LD_PRELOAD={FAKETIME}");
        // Only the time of day is stepped, and read anew at each look.
        let wrapper = [
            "env",
            &preload,
            &clock,
            "FAKETIME_DONT_FAKE_MONOTONIC=1",
            "FAKETIME_NO_CACHE=1",
        ];
        let subject = &mut self.all[number];
        let mut launch = Launch::new(&subject.args);
        if self.faketime {
            launch = launch.under(wrapper);
        }
        subject.capture = Some(launch.start());
    }

    /// The captures.
    pub fn all(&self) -> &[Subject] {
        &self.all
    }

    /// The running program of one of them.
    pub fn capture(&self, number: usize) -> &Capture {
        let number = number % self.all.len();
        self.all[number].capture.as_ref().expect("it runs")
    }

    /// Steps their clock.
    pub fn step_clock(&self, seconds: i64) {
        // By another name first: half a number would be another time.
        let new = self.clock.with_extension("new");
        fs::write(&new, format!("{seconds:+}")).expect("a folder of ours");
        fs::rename(new, &self.clock).expect("a folder of ours");
    }

    /// Waits until they have taken in all that is queued.
    pub fn drained(&self) {
        for subject in &self.all {
            let capture = subject.capture.as_ref().expect("it runs");
            until("the queues to run empty", LONG * 4, || {
                let queued = sockets(capture.pid());
                queued
                    .iter()
                    .all(|socket| socket.queued_bytes == 0)
                    .then_some(())
            });
        }
        // The ring of the BPF program is emptied by a nap's end.
        sleep(Duration::from_millis(500));
    }

    /// Ends one after the other from the `first` on, and starts it again with its state.
    pub fn restart(&mut self, first: usize) {
        for number in first..self.all.len() {
            let subject = &mut self.all[number];
            let outcome = subject.capture.take().expect("it runs").finish();
            subject.lists += 1;
            let verdicts = outcome.said.lines().filter(|line| {
                line.contains("complete (")
                    || line.contains("recovered (")
                    || outcome.code == Some(1)
            });
            for line in verdicts {
                if subject.said.len() < 4000 {
                    subject.said.push_str(line);
                    subject.said.push('\n');
                }
            }
            self.launch(number);
        }
    }

    /// Memory of each between lists: while one is written, it holds a copy of all flows.
    pub fn resting_kib(&self) -> Vec<u64> {
        let mut least = self.resident_kib();
        // Longer than the longest interval, in steps shorter than the gap that a list takes.
        for _ in 0..60 {
            sleep(Duration::from_millis(100));
            for (least, now) in least.iter_mut().zip(self.resident_kib()) {
                *least = now.min(*least);
            }
        }
        least
    }

    fn resident_kib(&self) -> Vec<u64> {
        let captures = self
            .all
            .iter()
            .filter_map(|subject| subject.capture.as_ref());
        captures
            .map(|capture| status(capture.pid(), "VmRSS:"))
            .collect()
    }

    /// Ends them and reads their lists.
    pub fn finish(self) -> Vec<Ended> {
        let ended = self.all.into_iter().map(|mut subject| {
            let capture = subject.capture.take().expect("it runs");
            let cpu = cpu_seconds(capture.pid());
            let peak = status(capture.pid(), "VmHWM:");
            let outcome = capture.finish();
            println!(
                "{}: exit status {:?}, {cpu:.1} s of CPU in its last run, at most {peak} KiB",
                subject.name, outcome.code
            );
            let last: Vec<&str> = outcome.said.lines().rev().take(3).collect();
            let said = format!("{}{}", subject.said, last.join("\n"));
            subject.ended(&said)
        });
        ended.collect()
    }
}

impl fmt::Display for Subjects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (subject, resident) in self.all.iter().zip(self.resident_kib()) {
            write!(f, "{} {} MiB  ", subject.name, resident / 1024)?;
        }
        Ok(())
    }
}

fn status(pid: u32, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

fn cpu_seconds(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields: Vec<&str> = stat
        .rsplit(") ")
        .next()
        .unwrap_or_default()
        .split(' ')
        .collect();
    let ticks: u64 = fields
        .iter()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    // sysconf(_SC_CLK_TCK) is 100 on every Linux that is met.
    ticks as f64 / 100.0
}
