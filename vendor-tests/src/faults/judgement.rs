//! Whether what a run left is whole, and what is said of it true.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::Path;

use super::scenario::{Kind, OLD, Ran, Scenario};
use crate::program::conntracker;

impl Scenario {
    /// What is wrong with what a run left, against what one without faults did.
    ///
    /// Panics: if files can't be read.
    pub fn wrongs(&self, ran: &Ran, clean: &[Vec<u8>]) -> Vec<String> {
        let mut wrongs = Vec::new();
        if ran.hung {
            wrongs.push("it hangs".to_owned());
        }
        for ((name, kind), clean) in self.outputs.iter().zip(clean) {
            let found = fs::read(ran.folder.join(name)).ok();
            let before = (*name != "state").then_some(OLD);
            let done = ran.code == Some(0);
            if found.as_deref() == before {
                if done {
                    wrongs.push(format!("exit status 0, and {name} is the old one"));
                }
                continue;
            }
            let Some(found) = found else {
                wrongs.push(format!("{name} is gone"));
                continue;
            };
            wrongs.extend(whole(&found, *kind, clean).map(|why| format!("{name}: {why}")));
            let complete = match kind {
                Kind::Json => claims_to_be_complete(&found),
                _ => done,
            };
            if self.live && complete && *kind != Kind::Same {
                let missing = missing(&ran.folder.join(name), &ran.witness);
                if missing > 0 {
                    wrongs.push(format!(
                        "{name} says that it is complete, and {missing} of {} flows are missing",
                        ran.witness.len()
                    ));
                }
            }
            if self.live && done && !complete {
                wrongs.push(format!("exit status 0, and {name} is incomplete"));
            }
            if done && !self.live && *kind == Kind::Json && flows(&found) != flows(clean) {
                wrongs.push(format!("exit status 0, and {name} has other flows"));
            }
        }
        wrongs
    }
}

/// Why a new file is not whole.
pub fn whole(found: &[u8], kind: Kind, clean: &[u8]) -> Option<String> {
    if !found.ends_with(b"\n") {
        return Some("it is cut".to_owned());
    }
    let text = String::from_utf8_lossy(found);
    match kind {
        Kind::Same if found != clean => Some("it is neither the old nor the new one".to_owned()),
        Kind::Same => None,
        Kind::Classic => {
            let odd = text.lines().find(|line| !line.contains(" src = "));
            odd.map(|line| format!("{line:?} is no line of a list"))
        }
        Kind::Json => {
            let mut lines = text.lines().map(serde_json::from_str::<serde_json::Value>);
            if !matches!(lines.next(), Some(Ok(first)) if first["type"] == "capture") {
                return Some("it does not begin with a capture".to_owned());
            }
            let (mut flows, mut end) = (0_u64, None);
            for line in lines {
                match line {
                    Ok(line) if line["type"] == "flow" && end.is_none() => flows += 1,
                    Ok(line) if line["type"] == "end" => end = line["flows"].as_u64(),
                    other => return Some(format!("it has a line {other:?}")),
                }
            }
            let ends = String::from_utf8_lossy(clean).contains("\"type\":\"end\"");
            (end != ends.then_some(flows))
                .then(|| format!("{flows} flows, and the end says {end:?}"))
        }
    }
}

/// Whether a capture in JSON says that nothing is missing.
fn claims_to_be_complete(found: &[u8]) -> bool {
    let text = String::from_utf8_lossy(found);
    let first = text.lines().next().unwrap_or_default();
    ["\"verdict\":\"complete\"", "\"verdict\":\"recovered\""]
        .iter()
        .any(|verdict| first.contains(verdict))
}

/// The lines of flows, without times.
fn flows(found: &[u8]) -> BTreeSet<String> {
    let text = String::from_utf8_lossy(found).into_owned();
    text.lines()
        .filter(|line| line.contains("\"type\":\"flow\""))
        .map(str::to_owned)
        .collect()
}

/// How many flows a list lacks.
fn missing(path: &Path, witness: &BTreeSet<String>) -> usize {
    let mut words = vec![OsString::from("show"), path.into()];
    words.extend(["--format", "classic"].map(OsString::from));
    // Incomplete lists are read too, and then 3 is the status.
    let shown = std::process::Command::new(conntracker())
        .args(words)
        .output();
    let shown = shown.expect("the program can be started");
    let listed: BTreeSet<String> = String::from_utf8_lossy(&shown.stdout)
        .lines()
        .map(unnumbered)
        .collect();
    witness.difference(&listed).count()
}

/// A line of the classic list without its number and whether it is confirmed.
pub fn unnumbered(line: &str) -> String {
    let (class, rest) = line.split_once(" [").unwrap_or((line, "]"));
    let rest = rest.split_once(']').map_or("", |(_, rest)| rest);
    format!(
        "{class}{}",
        rest.strip_suffix(" (confirmed)").unwrap_or(rest)
    )
}
