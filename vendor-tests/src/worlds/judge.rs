//! Rules of some days, judged by the kernel (`conntracker check`) with the flows and the attacks of the days after.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::calendar::Calendar;
use super::diary::{Diary, Flow, Key, lines};
use super::gateway::Gateway;
use super::score::Score;
use super::statement::{Statement, rules};
use super::{Site, site};
use crate::program::conntracker;
use crate::temp::Folder;

/// What rules are judged.
#[derive(Clone, Debug)]
pub enum Way {
    /// Those of `conntracker rules` with these options.
    Made(Vec<String>),
    /// Those of the person who knows the site.
    Ideal,
}

/// For how long, and by which rules.
#[derive(Clone, Debug)]
pub struct Trial {
    /// Days of the capture.
    pub captured: u32,
    /// Days after it that are judged.
    pub judged: u32,
    /// The rules.
    pub way: Way,
}

impl Trial {
    /// Seven days after seven.
    pub const fn week(way: Way) -> Self {
        Self {
            captured: 7,
            judged: 7,
            way,
        }
    }

    /// Judges one world.
    ///
    /// Panics: if a program fails.
    pub fn run(&self, kind: &'static str, seed: u64, calendar: Calendar) -> Score {
        let folder = Folder::new();
        let mut site = site(kind, seed, calendar);
        let ideal = site.ideal();
        let path = folder.join("rules.nft");
        let captured = self.capture(folder.path(), &mut *site, calendar, seed);
        let said = match &self.way {
            Way::Ideal => {
                fs::write(&path, &ideal).expect("the folder can be written");
                String::new()
            }
            Way::Made(options) => make(&folder, &captured, &path, options),
        };
        let ruleset = fs::read_to_string(&path).expect("rules were written");
        let mut score = Score {
            kind,
            seed,
            rules: rules(&ruleset),
            ideal: rules(&ideal),
            lines: ruleset.lines().count(),
            statement: Statement::find(&said).or_else(|| Statement::find(&ruleset)),
            said,
            ruleset,
            ..Score::default()
        };
        for day in self.captured..self.captured + self.judged {
            let mut diary = Diary::new(seed ^ u64::from(day));
            site.live(day, &mut diary);
            let mut attacks = site.attacks(day);
            // Somebody who happens to do what is wanted is no attacker.
            attacks.retain(|attack| !diary.has(&attack.key));
            let flows = folder.join("day.json");
            fs::write(
                &flows,
                judged(&site.gateway(day), &calendar, day, &diary, &attacks),
            )
            .expect("the folder can be written");
            let verdicts = check(&path, &flows);
            score.day(
                diary.flows().filter(|flow| !flow.is_idle_scan()),
                &attacks,
                &verdicts,
            );
        }
        score
    }

    /// Writes the days of the capture into a folder, and returns their files.
    ///
    /// Panics: if the folder can't be written.
    pub fn capture(
        &self,
        folder: &Path,
        site: &mut dyn Site,
        calendar: Calendar,
        seed: u64,
    ) -> Vec<std::path::PathBuf> {
        (0..self.captured)
            .map(|day| {
                let mut diary = Diary::new(seed ^ u64::from(day));
                site.live(day, &mut diary);
                let head = site.gateway(day).head(&calendar, day, &[]);
                let path = folder.join(format!("day-{day}.json"));
                let text = format!("{head}\n{}", lines(diary.flows(), &calendar, day));
                fs::write(&path, text).expect("the folder can be written");
                path
            })
            .collect()
    }
}

/// A capture of a day with what was tried, which nobody has answered.
fn judged(
    gateway: &Gateway,
    calendar: &Calendar,
    day: u32,
    diary: &Diary,
    attacks: &[Flow],
) -> String {
    let mut besides: Vec<(String, String)> = attacks
        .iter()
        .filter_map(|flow| Some((flow.key.1, flow.forged_on?)))
        .map(|(source, interface)| {
            let length = if source.is_ipv4() { 32 } else { 128 };
            (format!("{source}/{length}"), interface.to_owned())
        })
        .collect();
    // Who has no address yet is in the LAN; a capture does not tell.
    let mut names = gateway.interfaces.iter().map(|(name, _)| name);
    if let Some(lan) = names.find(|name| ["lan0", "br-lan"].contains(&name.as_str())) {
        besides.push(("0.0.0.0/32".to_owned(), lan.clone()));
    }
    besides.sort();
    besides.dedup();
    let wanted = diary.flows().filter(|flow| !flow.is_idle_scan());
    let head = gateway.head(calendar, day, &besides);
    format!("{head}\n{}", lines(wanted.chain(attacks), calendar, day))
}

/// Merges captures and writes rules of them; returns what was said.
fn make(
    folder: &Folder,
    captured: &[std::path::PathBuf],
    path: &Path,
    options: &[String],
) -> String {
    let merged = folder.join("week.json");
    let mut merge: Vec<&OsStr> = ["merge", "--format", "json", "-o"].map(OsStr::new).to_vec();
    merge.push(merged.as_os_str());
    merge.extend(captured.iter().map(|path| path.as_os_str()));
    run(&merge, &[0]);
    let mut words: Vec<&OsStr> = vec![OsStr::new("rules"), merged.as_os_str(), OsStr::new("-o")];
    words.push(path.as_os_str());
    words.extend(options.iter().map(OsStr::new));
    run(&words, &[0]).1
}

/// Whether each flow passes, in both directions if the answer was judged.
fn check(ruleset: &Path, flows: &Path) -> BTreeMap<Key, bool> {
    let mut words = vec![OsStr::new("check"), ruleset.as_os_str(), flows.as_os_str()];
    words.extend(["--all", "--format", "json"].map(OsStr::new));
    let (report, _) = run(&words, &[0, 1, 2]);
    let mut lines = report.lines();
    assert!(lines.next().is_some(), "a report has a summary");
    lines
        .map(|line| {
            let verdict: Value = serde_json::from_str(line).expect("a verdict in JSON");
            let reply = &verdict["reply"]["verdict"];
            let passes =
                verdict["verdict"] == "accepted" && (reply.is_null() || reply == "accepted");
            (Flow::key_of(&verdict["flow"]), passes)
        })
        .collect()
}

/// What the program writes and says.
fn run(words: &[&OsStr], statuses: &[i32]) -> (String, String) {
    let output = Command::new(conntracker())
        .args(words)
        .output()
        .expect("the program starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let status = output.status.code().unwrap_or(-1);
    assert!(
        statuses.contains(&status),
        "{words:?}: exit status {status}: {said}"
    );
    (String::from_utf8_lossy(&output.stdout).into_owned(), said)
}
