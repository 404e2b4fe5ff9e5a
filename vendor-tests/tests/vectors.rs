//! The golden vectors: what the C tool printed, byte for byte.

use std::fs::File;
use std::process::{Command, Stdio};

use vendor_tests::capture::{Launch, Outcome};
use vendor_tests::program::conntracker;
use vendor_tests::vectors::{Vector, all};

/// What is wrong with an outcome, if anything.
fn judge(vector: &Vector, outcome: &Outcome) -> Option<String> {
    let name = &vector.name;
    if outcome.stdout != vector.expected() {
        Some(format!("{name}: another list"))
    } else if outcome.code != Some(vector.code()) {
        Some(format!("{name}: exit status {:?}", outcome.code))
    } else if (vector.warns || vector.incomplete) && outcome.stderr.is_empty() {
        Some(format!("{name}: no warning"))
    } else if !vector.succeeds && (outcome.code != Some(1) || outcome.stderr.lines().count() != 1) {
        Some(format!(
            "{name}: a refusal is exit status 1 and one line: {outcome:?}"
        ))
    } else {
        None
    }
}

#[test]
fn vectors_are_reproduced() {
    let wrong: Vec<String> = all()
        .iter()
        .filter_map(|vector| {
            judge(
                vector,
                &Launch::new(["-r".as_ref(), vector.pcap().as_os_str()]).run(),
            )
        })
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn vectors_are_reproduced_from_standard_input() {
    let wrong: Vec<String> = all()
        .iter()
        .filter_map(|vector| {
            let file = File::open(vector.pcap()).expect("a vector can be opened");
            let mut command = Command::new(conntracker());
            let output = command
                .args(["-r", "-"])
                .stdin(Stdio::from(file))
                .output()
                .expect("it starts");
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            let outcome = Outcome {
                stdout: output.stdout,
                stderr: said.clone(),
                said,
                code: output.status.code(),
                signal: None,
            };
            judge(vector, &outcome)
        })
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}
