//! conntrack(8) listening beside the program: where the expected lists come from.

use std::fs::{self, File};
use std::process::Command;

use crate::capture::{Capture, Launch};
use crate::model::{Model, Sighting, parse};
use crate::program::run;
use crate::temp::Folder;
use crate::wait::until_true;

/// A running `conntrack -E`. Its receive buffer is the default one, 166 events: conntrack-tools 1.4.7 sets
/// `-b` on another of its sockets. So it writes to a file, which never keeps it waiting, and runs before all
/// others where that is allowed (sched(7)); still, what it is to see has to come at a moderate rate.
#[derive(Debug)]
pub struct Witness {
    conntrack: Capture,
    folder: Folder,
}

const EVENTS: &str = "events";
/// Runs another program before all that are not as urgent.
const URGENTLY: [&str; 3] = ["chrt", "-f", "1"];

impl Witness {
    /// Starts it in the calling thread's namespace; it listens when this returns.
    ///
    /// Panics: if its file can't be made.
    pub fn start() -> Self {
        let folder = Folder::new();
        let events = File::create_new(folder.join(EVENTS)).expect("a new folder");
        let args = ["-E", "-e", "NEW,UPDATES", "-o", "extended"];
        let mut launch = Launch::of("conntrack", args).stdout(events);
        let mut trial = Command::new(URGENTLY[0]);
        trial.args(&URGENTLY[1..]).arg("true");
        if trial.output().is_ok_and(|output| output.status.success()) {
            launch = launch.under(URGENTLY);
        }
        Self {
            conntrack: launch.start(),
            folder,
        }
    }

    /// Ends it after everything so far has come in, and returns the events.
    ///
    /// Panics: if it has lost some.
    pub fn finish(self) -> Vec<Sighting> {
        let events = || fs::read_to_string(self.folder.join(EVENTS)).expect("a file of ours");
        // Events come in order, so once this one is there all before it are.
        mark();
        until_true("conntrack -E to report the last event", || {
            events().contains(MARK)
        });
        let outcome = self.conntrack.finish();
        assert!(!outcome.stderr.contains("ENOBUFS"), "{}", outcome.stderr);
        events().lines().filter_map(parse).collect()
    }

    /// The list that follows from what it has seen.
    pub fn model(self) -> Model {
        let mut model = Model::default();
        for event in self.finish() {
            model.event(&event);
        }
        model
    }
}

const MARK: &str = "src=192.0.2.254 dst=192.0.2.255 sport=1 dport=2";

/// Makes an entry that stands for the end.
fn mark() {
    let words = "-I -p udp -s 192.0.2.254 -d 192.0.2.255 --sport 1 --dport 2 -t 60";
    run("conntrack", words.split(' '));
}

/// Every entry of the kernel's table in the calling thread's namespace.
pub fn table() -> Vec<Sighting> {
    let families = ["ipv4", "ipv6"];
    let lines = families.map(|family| run("conntrack", ["-L", "-o", "extended", "-f", family]));
    lines
        .iter()
        .flat_map(|lines| lines.lines())
        .filter_map(parse)
        .collect()
}

/// Makes an entry as conntrack(8) is told to.
pub fn insert(words: &str) {
    run(
        "conntrack",
        ["-I"].into_iter().chain(words.split_whitespace()),
    );
}

/// A UDP entry without a reply between two IPv4 addresses.
pub fn udp(source: &str, destination: &str, source_port: u16, destination_port: u16) {
    insert(&format!(
        "-p udp -s {source} -d {destination} --sport {source_port} --dport {destination_port} -t 600"
    ));
}
