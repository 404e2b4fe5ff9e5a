//! Short captures, each through one flood and one trouble, and each judged by itself: what a long one has to own up to
//! once would hide everything that comes after.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use rustix::process::Signal;

use super::trouble::Random;
use super::unnumbered;
use crate::capture::{Capture, Launch};
use crate::flooding::Flood;
use crate::netns::sh;
use crate::program::run;
use crate::wait::{LONG, until};

/// What happens to a short capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scene {
    /// It is stopped while entries come and go, and a list is asked for before it goes on.
    ListUnderLoss,
    /// It begins anew every moment while it is overrun.
    IntervalsUnderLoss,
    /// It is reliable, and ended while the kernel keeps ends back.
    ReliableEndedEarly,
    /// Events are switched off for a while.
    EventsOff,
    /// The last rule that has connections tracked is deleted, and comes back.
    RulesGone,
    /// A rule keeps events back for a while.
    Masked,
    /// Its namespace is removed while events of it wait.
    NamespaceGone,
    /// Another program asks for its state.
    TwoPrograms,
    /// It records, and the recording is read instead of its list.
    Recording,
}

impl Scene {
    /// Every kind.
    pub const ALL: [Self; 9] = [
        Self::ListUnderLoss,
        Self::IntervalsUnderLoss,
        Self::ReliableEndedEarly,
        Self::EventsOff,
        Self::RulesGone,
        Self::Masked,
        Self::NamespaceGone,
        Self::TwoPrograms,
        Self::Recording,
    ];
}

/// What came of one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Judged {
    /// Lists that were looked at.
    pub lists: u64,
    /// Flows missing from lists that own up to it.
    pub owned_up: u64,
    /// Flows missing from lists that claim to be whole.
    pub hidden: u64,
}

impl Judged {
    /// Adds another.
    pub const fn add(&mut self, other: Self) {
        self.lists += other.lists;
        self.owned_up += other.owned_up;
        self.hidden += other.hidden;
    }

    fn of(list: &BTreeSet<String>, expected: &BTreeSet<String>, is_whole: bool) -> Self {
        let missing = expected.difference(list).count() as u64;
        Self {
            lists: 1,
            owned_up: if is_whole { 0 } else { missing },
            hidden: if is_whole { missing } else { 0 },
        }
    }
}

/// A file as lines of the classic list, and whether it claims to be whole.
///
/// Panics: if it can't be read.
pub fn read(file: &Path) -> (BTreeSet<String>, bool) {
    let words = [
        "show".as_ref(),
        file.as_os_str(),
        "--format".as_ref(),
        "classic".as_ref(),
    ];
    let outcome = Launch::new(words).run();
    assert!(matches!(outcome.code, Some(0 | 3)), "{}", outcome.stderr);
    let list = outcome.text().lines().map(unnumbered).collect();
    (list, outcome.code == Some(0))
}

/// The lists in a folder, in their order.
fn lists(folder: &Path) -> Vec<(BTreeSet<String>, bool)> {
    let entries = fs::read_dir(folder).expect("the capture made it");
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths.iter().map(|path| read(path)).collect()
}

/// Plays one scene in the calling thread's namespace, and judges what came of it.
///
/// Panics: if the scene itself does not work.
pub fn play(scene: Scene, random: &mut Random, folder: &Path) -> Judged {
    let tracking =
        "nft 'table inet brief { chain c { type filter hook output priority 0; ct state new; }; }'";
    sh(tracking);
    let out = folder.join("lists");
    let state = folder.join("brief.state");
    let recording = folder.join("brief.pcap");
    let text = |path: &Path| path.display().to_string();
    let buffer = ["20K", "64K", "1M"][random.below(3) as usize];
    let in_namespace = scene == Scene::NamespaceGone;
    let own = match scene {
        Scene::IntervalsUnderLoss => "--interval 200ms --reset".to_owned(),
        Scene::ReliableEndedEarly => "--reliable".to_owned(),
        Scene::NamespaceGone => "--all-netns".to_owned(),
        Scene::TwoPrograms => format!("--state {}", text(&state)),
        Scene::Recording => format!("-w {}", text(&recording)),
        _ => String::new(),
    };
    let words = format!(
        "--format json -o {}/ --buffer {buffer} --buffer-max {buffer} {own}",
        text(&out)
    );
    if in_namespace {
        sh("ip netns add brief; ip netns exec brief ip link set lo up");
        sh(&format!("ip netns exec brief {tracking}"));
    }
    let capture = Launch::new(words.split_whitespace()).start();
    if in_namespace {
        until("the namespace to have an id", LONG, || {
            let list = run("ip", ["netns", "list"]);
            list.contains("brief (id:").then_some(())
        });
    }
    let entries = 500 + random.below(8000);
    let seed = 1000 + random.below(1 << 30);
    let mut flood_words = format!("--entries {entries} --seed {seed} --replied 20");
    if random.below(2) == 0 {
        flood_words.push_str(" --delete");
    }
    if in_namespace {
        flood_words.push_str(" --netns brief");
    }
    let mut judged = Judged::default();
    let model = perform(scene, random, &capture, &flood_words, &state, &mut judged);
    let expected: BTreeSet<String> = model.lines().map(unnumbered).collect();
    let whole_run = capture.finish().code == Some(0);
    let lists = lists(&out);
    match scene {
        Scene::IntervalsUnderLoss => {
            let all = lists
                .iter()
                .flat_map(|(list, _)| list.iter().cloned())
                .collect();
            let every = lists.iter().all(|(_, is_whole)| *is_whole);
            judged.add(Judged::of(&all, &expected, every || whole_run));
        }
        // All that is missing was lost before any list was made.
        Scene::ListUnderLoss => {
            for (list, is_whole) in &lists {
                judged.add(Judged::of(list, &expected, *is_whole));
            }
        }
        _ => {
            let (list, is_whole) = lists.last().expect("there is the last list");
            judged.add(Judged::of(list, &expected, *is_whole || whole_run));
        }
    }
    if scene == Scene::Recording {
        let words = ["-r", &text(&recording), "--format", "json"];
        let replayed = Launch::new(words).run();
        let file = folder.join("replayed.json");
        fs::write(&file, &replayed.stdout).expect("a folder of ours");
        judged.add(Judged::of(
            &read(&file).0,
            &expected,
            replayed.code == Some(0),
        ));
    }
    // Whatever is there of it; the namespace goes with the thread.
    for table in ["brief", "mask"] {
        sh(&format!(
            "nft delete table inet {table} 2>/dev/null || true"
        ));
    }
    sh("ip netns del brief 2>/dev/null || true");
    run("conntrack", ["-F"]);
    judged
}

/// Does to the capture what the scene is about, and returns the list that the flood stands for.
fn perform(
    scene: Scene,
    random: &mut Random,
    capture: &Capture,
    words: &str,
    state: &Path,
    judged: &mut Judged,
) -> String {
    let pause = Duration::from_millis(random.below(400));
    let events = |to: u8| {
        sh(&format!(
            "echo {to} > /proc/sys/net/netfilter/nf_conntrack_events"
        ));
    };
    match scene {
        Scene::ListUnderLoss | Scene::ReliableEndedEarly | Scene::NamespaceGone => {
            capture.stop();
            let model = Flood::start(words).finish();
            if scene == Scene::NamespaceGone {
                sh("ip netns del brief");
            }
            if scene != Scene::NamespaceGone {
                run("conntrack", ["-F"]);
            }
            if scene == Scene::ListUnderLoss {
                capture.signal(Signal::USR1);
            }
            sleep(pause);
            capture.resume();
            if random.below(2) == 0 {
                sleep(pause);
            }
            model.list()
        }
        Scene::EventsOff | Scene::RulesGone | Scene::Masked => {
            let mask = "nft 'table inet mask { chain c { type filter hook output priority -150; ct event set destroy; }; }'";
            match scene {
                Scene::EventsOff => events(0),
                Scene::RulesGone => sh("nft delete table inet brief"),
                _ => sh(mask),
            }
            // Entries that are made by hand are told whatever the rules are; real packets are not.
            let from = 2000 + random.below(1000) as u16;
            for port in from..from + 20 {
                let send = format!("echo x > /dev/udp/127.0.0.1/{port}");
                let _ = Launch::of("bash", ["-c", &send]).run();
            }
            sleep(pause * 4);
            if random.below(2) == 0 {
                match scene {
                    Scene::EventsOff => events(1),
                    Scene::RulesGone => sh(
                        "nft 'table inet brief { chain c { type filter hook output priority 0; ct state new; }; }'",
                    ),
                    _ => sh("nft delete table inet mask"),
                }
                sleep(pause * 2);
            }
            let mut list = String::new();
            for port in from..from + 20 {
                list.push_str(&format!(
                    " UDPv4 [           0] src = 127.0.0.1 (port=1024) to dst = 127.0.0.1 (port={port})\n"
                ));
            }
            // Also where it is on again by then: what passed meanwhile is missing.
            events(1);
            list
        }
        Scene::IntervalsUnderLoss => {
            let flood = Flood::start(words);
            for _ in 0..3 {
                sleep(pause / 2);
                capture.stop();
                sleep(pause / 2);
                capture.resume();
            }
            let model = flood.finish();
            sleep(pause);
            model.list()
        }
        Scene::TwoPrograms => {
            let model = Flood::start(words).finish();
            let words = [
                "--duration",
                "100ms",
                "--state",
                state.to_str().expect("text"),
            ];
            let second = Launch::new(words).run();
            // Whoever comes second is refused, or both would write what the other does not know.
            if second.code == Some(0) {
                judged.hidden += 1;
            }
            model.list()
        }
        Scene::Recording => {
            let flood = Flood::start(words);
            sleep(pause / 4);
            capture.stop();
            let model = flood.finish();
            capture.resume();
            model.list()
        }
    }
}
