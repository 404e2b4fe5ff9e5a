//! `conntracker check` on rulesets and cases.

use std::fs;
use std::path::{Path, PathBuf};

use crate::capture::{Launch, Outcome};
use crate::judging::Cases;
use crate::temp::Folder;

/// A ruleset, or its cases, that a person wrote.
pub fn ruleset(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("rulesets")
        .join(name)
}

/// A path as an argument.
///
/// Panics: if it is no text.
pub fn text(path: &Path) -> &str {
    path.to_str().expect("test paths are text")
}

/// Runs a check of a ruleset on cases, and returns the cases and how it went.
///
/// Panics: if the cases are wrong.
pub fn check(cases: &str, rulesets: &[&Path], args: &[&str]) -> (Cases, Outcome) {
    let cases = Cases::parse(cases);
    let folder = Folder::new();
    let capture = folder.join("flows.json");
    fs::write(&capture, cases.file()).expect("the folder can be written");
    let mut words = vec!["check", text(rulesets[0]), text(&capture)];
    for also in &rulesets[1..] {
        words.extend(["--also", text(also)]);
    }
    words.extend(args);
    let outcome = Launch::new(words).run();
    (cases, outcome)
}

/// A host with one device, in the language of cases.
pub const HOST: &str = "interface eth0 192.0.2.10/24 2001:db8::10/64\n\
                    route 0.0.0.0/0 192.0.2.1 eth0\nroute ::/0 - eth0\n";

/// Checks a ruleset given as text.
///
/// Panics: if the cases are wrong.
pub fn check_text(ruleset: &str, cases: &str, args: &[&str]) -> (Cases, Outcome) {
    let folder = Folder::new();
    let path = folder.join("rules.nft");
    fs::write(&path, ruleset).expect("the folder can be written");
    check(&format!("{HOST}{cases}"), &[&path], args)
}
