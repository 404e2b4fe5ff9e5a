//! A fault campaign: every system call of a run fails once, and every allocation; the process is killed at every call that
//! changes a file, and the power is cut after it. Each time it is looked at what is left: files are the old or the new ones
//! as a whole, the exit status and what a list says of itself are honest, and nothing hangs.

mod calls;
mod judgement;
mod power;
mod scenario;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Instant;

use crate::netns;
use crate::program::run;
use crate::temp::Folder;
use calls::{CHANGING, Fault, chosen, counted};
use judgement::whole;
use power::{Disk, whole_calls};
use scenario::{ALL, OLD, Ran, Scenario};

/// How often a run without faults is tried.
const ATTEMPTS: usize = 5;

/// What happened, in numbers.
#[derive(Debug, Default)]
pub struct Figures {
    /// Calls that were made to fail.
    pub failed_calls: u64,
    /// Allocations that were made to fail.
    pub failed_allocations: u64,
    /// Times that the process was killed.
    pub kills: u64,
    /// Power cuts, and states of the disk after them that were looked at.
    pub cuts: (u64, u64),
    /// Runs by what they ended with.
    pub ends: BTreeMap<String, u64>,
    /// What was dishonest, torn, or hung.
    pub wrongs: Vec<String>,
}

/// How much is done.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    /// How many of the same call, and of allocations, of a scenario fail at most.
    pub each: usize,
    /// How many runs at a time.
    pub at_once: usize,
}

/// What is to be tried.
enum Trial {
    Call(Fault),
    Allocation(usize),
}

/// Runs the campaign, or the scenarios of it whose names have a word in them.
///
/// Panics: if it can't be run: it takes root, strace(1) and a C compiler.
pub fn campaign(extent: Extent, only: &str) -> Figures {
    let tools = Folder::new();
    let allocator = tools.join("failing-malloc.so");
    run(
        "cc",
        ["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"]
            .map(OsString::from)
            .into_iter()
            .chain([
                allocator.clone().into(),
                Path::new(env!("CARGO_MANIFEST_DIR"))
                    .join("c/failing-malloc.c")
                    .into(),
            ]),
    );
    let read = within(scenario::files);
    let figures = Mutex::new(Figures::default());
    for scenario in ALL.iter().filter(|scenario| scenario.name.contains(only)) {
        let began = Instant::now();
        let clean = Clean::of(scenario, &tools, &allocator, read.path());
        clean.cut_power(scenario, &figures);
        let mut trials: Vec<Trial> = calls::faults(&clean.counts, extent.each)
            .into_iter()
            .map(Trial::Call)
            .collect();
        trials.extend(chosen(clean.allocations, extent.each * 3).map(Trial::Allocation));
        let number = trials.len();
        let trials = Mutex::new(trials.into_iter());
        std::thread::scope(|scope| {
            for _ in 0..extent.at_once {
                scope.spawn(|| {
                    loop {
                        let Some(trial) = trials.lock().expect("no trial panics").next() else {
                            return;
                        };
                        clean.attempt(scenario, &trial, (&allocator, read.path()), &figures);
                    }
                });
            }
        });
        println!(
            "{}: {number} runs in {:.0} s",
            scenario.name,
            began.elapsed().as_secs_f64()
        );
    }
    figures.into_inner().expect("no trial panics")
}

/// Does something in a network namespace of its own.
fn within<T: Send>(body: impl FnOnce() -> T + Send) -> T {
    let mut done = None;
    netns::run("faults", || done = Some(body()));
    done.expect("takes root")
}

/// A run without faults.
struct Clean {
    counts: BTreeMap<String, usize>,
    allocations: usize,
    files: Vec<Vec<u8>>,
    calls: Vec<String>,
    folder: PathBuf,
}

impl Clean {
    fn of(scenario: &Scenario, tools: &Folder, allocator: &Path, read: &Path) -> Self {
        let (trace, count) = (tools.join("trace"), tools.join("count"));
        let strace = |options: &str| -> Vec<OsString> {
            let words = format!("strace -D -f -qq {options} -o");
            words
                .split(' ')
                .map(OsString::from)
                .chain([trace.clone().into()])
                .collect()
        };
        // A machine that is busy may starve a run, which then says that it is incomplete.
        let ran_well = |wrapper: &[OsString]| {
            let attempts = (0..ATTEMPTS).map(|_| within(|| scenario.run(wrapper, read)));
            let mut ran = attempts.skip_while(|ran| ran.code == Some(3));
            ran.next().expect("one of several is not starved")
        };
        let expect = |ran: &Ran| {
            assert_eq!(ran.code, Some(0), "{scenario:?} without faults: {ran:?}");
            let files = scenario
                .outputs
                .iter()
                .map(|(name, _)| fs::read(ran.folder.join(name)));
            files
                .map(|file| file.expect("it was written"))
                .collect::<Vec<_>>()
        };
        let ran = ran_well(&strace("-s 0"));
        let files = expect(&ran);
        let wrongs = scenario.wrongs(&ran, &files);
        assert!(wrongs.is_empty(), "{scenario:?} without faults: {wrongs:?}");
        let counts = counted(&fs::read_to_string(&trace).expect("a trace"));
        // Once more, with all bytes.
        let changing = format!("-y -xx -s 100000000 -e trace=close,{}", CHANGING.join(","));
        let ran = ran_well(&strace(&changing));
        let written = expect(&ran);
        let calls = whole_calls(&fs::read_to_string(&trace).expect("a trace"));
        let folder = ran.folder.path().to_owned();
        let preload = environment(allocator, &format!("COUNT_TO={}", count.display()));
        expect(&ran_well(&preload));
        let allocations = fs::read_to_string(count).expect("a count");
        Self {
            counts,
            allocations: allocations.trim().parse().expect("a number"),
            files: written,
            calls,
            folder,
        }
    }

    /// Cuts the power after each call that changes files.
    fn cut_power(&self, scenario: &Scenario, figures: &Mutex<Figures>) {
        let outputs = scenario.outputs.iter().zip(&self.files);
        let before: Vec<(&str, &[u8])> = scenario
            .outputs
            .iter()
            .filter(|(name, _)| *name != "state")
            .map(|(name, _)| (*name, OLD))
            .collect();
        let mut disk = Disk::new(&before);
        let folder = self.folder.display().to_string();
        let mut figures = figures.lock().expect("no trial panics");
        for call in &self.calls {
            if !disk.happen(call, &folder) {
                continue;
            }
            figures.cuts.0 += 1;
            for ((name, kind), clean) in outputs.clone() {
                let old = (*name != "state").then(|| OLD.to_vec());
                for state in disk.after_a_cut(name) {
                    figures.cuts.1 += 1;
                    let torn = match &state {
                        _ if state == old => None,
                        None => Some("it is gone".to_owned()),
                        Some(found) => whole(found, *kind, clean),
                    };
                    if let Some(why) = torn {
                        let call = call.get(..60).unwrap_or(call);
                        figures.wrongs.push(format!(
                            "{}, power cut after {call}: {name}: {why}",
                            scenario.name
                        ));
                    }
                }
            }
        }
        // It has said that all is well.
        for ((name, _), clean) in outputs {
            if disk.after_a_cut(name) != [Some(clean.clone())] {
                figures.wrongs.push(format!(
                    "{}: {name} is not on the disk at the end",
                    scenario.name
                ));
            }
        }
    }

    fn attempt(
        &self,
        scenario: &Scenario,
        trial: &Trial,
        (allocator, read): (&Path, &Path),
        figures: &Mutex<Figures>,
    ) {
        let (wrapper, what): (Vec<OsString>, String) = match trial {
            Trial::Call(fault) => {
                let injection = fault.injection();
                let words = format!(
                    "strace -D -f -qq -o /dev/null -e trace={} -e {injection}",
                    fault.call
                );
                (words.split(' ').map(OsString::from).collect(), injection)
            }
            Trial::Allocation(number) => (
                environment(allocator, &format!("FAIL_AT={number}")),
                format!("allocation {number}"),
            ),
        };
        let ran = within(|| scenario.run(&wrapper, read));
        let mut wrongs = scenario.wrongs(&ran, &self.files);
        // The next run goes on from whatever is there.
        if matches!(trial, Trial::Call(Fault { kill: true, .. })) && scenario.live {
            wrongs.extend(again(scenario, &ran));
        }
        let mut figures = figures.lock().expect("no trial panics");
        match trial {
            Trial::Call(Fault { kill: true, .. }) => figures.kills += 1,
            Trial::Call(_) => figures.failed_calls += 1,
            Trial::Allocation(_) => figures.failed_allocations += 1,
        }
        let end = match ran.code {
            Some(code) => format!("exit status {code}"),
            None => "a signal".to_owned(),
        };
        if ran.code == Some(101) {
            println!("panics: {}, {what}: {}", scenario.name, ran.said.trim());
        }
        *figures.ends.entry(end).or_default() += 1;
        for why in wrongs {
            println!(
                "WRONG: {}, {what}: {why}\n  {}",
                scenario.name,
                ran.said.trim().replace('\n', "\n  ")
            );
            figures
                .wrongs
                .push(format!("{}, {what}: {why}", scenario.name));
        }
    }
}

/// What is wrong with a run on what a killed one left.
fn again(scenario: &Scenario, ran: &Ran) -> Option<String> {
    let own = format!("{}/", ran.folder.path().display());
    let words = format!("{} --duration 1ms", scenario.words.replace('@', &own));
    let outcome = within(|| crate::capture::Launch::new(words.split(' ')).run());
    // What the state lacks by the kill makes it incomplete at worst.
    if !matches!(outcome.code, Some(0 | 3)) || outcome.said.contains(".damaged-") {
        return Some(format!("the next run: {outcome:?}"));
    }
    let entries = fs::read_dir(ran.folder.path()).expect("a folder").flatten();
    let names: BTreeSet<OsString> = entries.map(|entry| entry.file_name()).collect();
    let left = names
        .iter()
        .find(|name| name.to_string_lossy().ends_with(".tmp"));
    left.map(|name| format!("{name:?} is left after the next run"))
}

/// A wrapper that preloads the allocator.
fn environment(allocator: &Path, setting: &str) -> Vec<OsString> {
    let preload = format!("LD_PRELOAD={}", allocator.display());
    ["env", &preload, setting].map(OsString::from).to_vec()
}

impl Figures {
    /// Whether nothing was wrong.
    pub fn are_well(&self) -> bool {
        self.wrongs.is_empty()
    }
}

impl std::fmt::Display for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "system calls failed: {}", self.failed_calls)?;
        writeln!(f, "allocations failed:  {}", self.failed_allocations)?;
        writeln!(f, "processes killed:    {}", self.kills)?;
        writeln!(
            f,
            "power cuts:          {}, {} states of files",
            self.cuts.0, self.cuts.1
        )?;
        let ends: Vec<String> = self
            .ends
            .iter()
            .map(|(end, count)| format!("{end}: {count}"))
            .collect();
        writeln!(f, "runs ended with      {}", ends.join(", "))?;
        write!(f, "dishonest results:   {}", self.wrongs.len())
    }
}
