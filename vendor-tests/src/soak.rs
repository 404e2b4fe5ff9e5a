//! A soak: captures that run for long, while everything happens to them that happens in months.

mod brief;
mod subject;
mod trouble;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::flooding::Flood;
use crate::netns::sh;
use crate::program::run;
use crate::temp::{Disk, Folder};
use crate::wait::until;

use brief::{Judged, Scene};
use subject::{Subject, Subjects};
use trouble::{Random, Trouble};

/// Seeds that floods are made of: so many flows are distinct in all, and memory has to stop growing.
const SEEDS: u64 = 12;
/// Seeds of floods in namespaces of their own, which are called by them: flows of another name are other records.
const NAMESPACE_SEEDS: u64 = 2;
const FAMILIES: [&str; 3] = ["4", "6", "mixed"];
/// All captures are ended and started again after so many floods, and after twice as many. Later it is the last one
/// only, so that the others show whether they grow.
const RESTART: u64 = 40;
/// Distinct flows of one seed.
const FLOWS: u64 = 15_000;
/// A capture may grow by this much after it has seen every flow: what allocators keep.
const GROWTH_MAX: f64 = 1.25;

/// What a flood consists of.
#[derive(Clone, Copy, Debug)]
struct Kind {
    namespace: bool,
    seed: u64,
    family: &'static str,
}

impl Kind {
    /// Every kind.
    fn all() -> Vec<Self> {
        let of = |namespace, seeds| {
            (1..=seeds).flat_map(move |seed| {
                FAMILIES.map(|family| Self {
                    namespace,
                    seed,
                    family,
                })
            })
        };
        of(true, NAMESPACE_SEEDS).chain(of(false, SEEDS)).collect()
    }
}

/// The state of a soak.
#[derive(Debug)]
pub struct Soak {
    random: Random,
    kinds: Vec<Kind>,
    /// Lines of the classic list that were caused so far, without their numbers.
    expected: BTreeSet<String>,
    /// Those of them that were caused in the namespace of the captures.
    expected_here: BTreeSet<String>,
    floods: u64,
    entries: u64,
    troubles: [u64; Trouble::ALL.len()],
    /// What came of the short captures of each kind, and how many there were.
    scenes: [(u64, Judged); Scene::ALL.len()],
}

/// After each so many floods a scene is played.
const SCENE: u64 = 2;

impl Soak {
    /// A soak whose order of events comes from a seed.
    pub fn new(seed: u64) -> Self {
        Self {
            random: Random::new(seed),
            kinds: Kind::all(),
            expected: BTreeSet::new(),
            expected_here: BTreeSet::new(),
            floods: 0,
            entries: 0,
            troubles: [0; Trouble::ALL.len()],
            scenes: [(0, Judged::default()); Scene::ALL.len()],
        }
    }

    /// Runs for so long, prints what came of it, and returns whether all went well.
    ///
    /// Panics: if the soak itself does not work.
    pub fn run(mut self, time: Duration) -> bool {
        sh("mount --make-rprivate / && mount -t tmpfs none /run");
        let disk = Disk::new("2g");
        let mut subjects = Subjects::start(disk.path());
        let began = Instant::now();
        let (mut round, mut settled) = (0_u64, None);
        while began.elapsed() < time {
            round += 1;
            self.flood(&mut subjects, disk.path());
            if round % SCENE == 0 {
                self.scene();
            }
            // Every flow was there, and lists were written since the last start: memory has no reason to grow.
            if round == 2 * RESTART + 5 {
                settled = Some(subjects.resting_kib());
            }
            if round % 5 == 0 {
                println!(
                    "{:5.1} min: {} floods, {} entries, {} flows; {subjects}",
                    began.elapsed().as_secs_f64() / 60.0,
                    self.floods,
                    self.entries,
                    self.expected.len()
                );
            }
            if round % RESTART == 0 {
                subjects.restart(if round <= 2 * RESTART { 0 } else { 2 });
            }
        }
        let last = subjects.resting_kib();
        let mut well = true;
        for (subject, (before, after)) in subjects.all().iter().zip(
            settled
                .unwrap_or_else(|| last.clone())
                .into_iter()
                .zip(last),
        ) {
            let growth = after as f64 / before as f64;
            println!(
                "{}: {before} KiB resident, later {after}: {growth:.2}",
                subject.name
            );
            if growth > GROWTH_MAX {
                println!("{}: GREW beyond its bound", subject.name);
                well = false;
            }
        }
        for (trouble, times) in Trouble::ALL.iter().zip(self.troubles) {
            println!("{trouble:?}: {times} times");
        }
        for (scene, (times, judged)) in Scene::ALL.iter().zip(self.scenes) {
            println!(
                "{scene:?}: {times} times, {} lists, {} missing flows owned up to, {} not",
                judged.lists, judged.owned_up, judged.hidden
            );
            well &= judged.hidden == 0;
        }
        for ended in subjects.finish() {
            well &= ended.judge(if ended.everywhere {
                &self.expected
            } else {
                &self.expected_here
            });
        }
        println!("{}", if well { "well" } else { "NOT WELL" });
        well
    }

    /// A short capture in a namespace of its own, of the kind whose turn it is.
    fn scene(&mut self) {
        let played = self.scenes.iter().map(|(times, _)| times).sum::<u64>();
        let number = (played % Scene::ALL.len() as u64) as usize;
        let scene = Scene::ALL[number];
        let random = &mut self.random;
        let judged = std::thread::scope(|scope| {
            let stage = scope.spawn(|| {
                let folder = Folder::new();
                // SAFETY: takes flags only; it concerns this thread and the programs that it will start.
                let left = unsafe { libc::unshare(libc::CLONE_NEWNET | libc::CLONE_NEWNS) };
                assert_eq!(left, 0);
                sh("mount --make-rprivate / && mount -t tmpfs none /run && ip link set lo up");
                brief::play(scene, random, folder.path())
            });
            stage.join().expect("the scene can be played")
        });
        if judged.hidden > 0 {
            println!(
                "{scene:?}: {} flows are missing and not owned up to",
                judged.hidden
            );
        }
        let (times, sum) = &mut self.scenes[number];
        *times += 1;
        sum.add(judged);
    }

    /// One flood, and what goes wrong meanwhile.
    fn flood(&mut self, subjects: &mut Subjects, disk: &Path) {
        // Every kind once, and then as it comes.
        let number = match self.kinds.get(self.floods as usize) {
            Some(_) => self.floods as usize,
            None => self.random.below(self.kinds.len() as u64) as usize,
        };
        let Kind {
            namespace,
            seed,
            family,
        } = self.kinds[number];
        let entries = FLOWS * (2 + self.random.below(3));
        let rate = [0, 5_000, 20_000][self.random.below(3) as usize];
        let trouble = match namespace {
            true => Trouble::Namespace,
            false => Trouble::OTHERS[self.random.below(Trouble::OTHERS.len() as u64) as usize],
        };
        self.troubles[trouble as usize] += 1;
        let mut words = format!(
            "--entries {entries} --distinct {FLOWS} --replied 30 --family {family} --seed {seed} --rate {rate}"
        );
        if namespace {
            let name = format!("soak{seed}");
            sh(&format!("ip netns add {name}"));
            // Until it has an id here, nobody hears of it.
            until(
                "the namespace to have an id",
                Duration::from_secs(60),
                || {
                    let list = run("ip", ["netns", "list"]);
                    list.contains(&format!("{name} (id:")).then_some(())
                },
            );
            words.push_str(&format!(" --netns {name}"));
        }
        let flood = Flood::start(&words);
        trouble.happen(&mut self.random, subjects, disk);
        let model = flood.finish();
        self.floods += 1;
        self.entries += entries;
        for line in model.list().lines() {
            self.expected.insert(unnumbered(line));
            if !namespace {
                self.expected_here.insert(unnumbered(line));
            }
        }
        subjects.drained();
        // Captures that missed events read the kernel's table, before the entries go.
        let patience = if trouble == Trouble::Stop { 6 } else { 2 };
        std::thread::sleep(Duration::from_secs(patience));
        if namespace {
            sh(&format!("ip netns del soak{seed}"));
        } else {
            // The same flows come again.
            run("conntrack", ["-F"]);
        }
    }
}

/// A line of the classic list without its number, and without whether it is confirmed: replies repeat, flows
/// are what may be lost.
fn unnumbered(line: &str) -> String {
    let (class, rest) = line.split_once(" [").expect("a line of the list");
    let rest = rest.split_once(']').expect("a number").1;
    let rest = rest.strip_suffix(" (confirmed)").unwrap_or(rest);
    format!("{class}{rest}")
}

/// A list in any form as lines of the classic list.
fn classic(path: &Path) -> BTreeSet<String> {
    brief::read(path).0
}

/// What became of one capture.
#[derive(Debug)]
pub struct Ended {
    name: &'static str,
    /// Whether the list holds what came in other namespaces.
    everywhere: bool,
    owned_up: bool,
    verdict: String,
    list: BTreeSet<String>,
}

impl Ended {
    /// Whether nothing is missing that the verdict does not own up to. Says so.
    fn judge(&self, expected: &BTreeSet<String>) -> bool {
        let missing = expected.difference(&self.list).count();
        let more = self.list.difference(expected).count();
        println!(
            "{}: {} of {} flows, {missing} missing, {more} not expected; {}",
            self.name,
            self.list.len(),
            expected.len(),
            self.verdict
        );
        let well = more == 0 && (missing == 0 || self.owned_up);
        if !well {
            println!("{}: WRONG", self.name);
        }
        well
    }
}

impl Subject {
    fn ended(&self, verdict: &str) -> Ended {
        Ended {
            name: self.name,
            everywhere: self.everywhere,
            owned_up: verdict.contains("incomplete ("),
            verdict: verdict.trim().replace('\n', " | "),
            list: classic(&self.output),
        }
    }
}
