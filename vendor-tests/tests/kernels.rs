//! The driver of `make kernels`: that it can fail.

use std::fs;
use std::path::Path;
use std::process::Command;

use vendor_tests::temp::Folder;

const DRIVER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/kernels/kernels.py");

/// The checks that the guest's scripts have.
fn checks() -> Vec<String> {
    let guest = Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels/guest");
    let mut scripts: Vec<_> = fs::read_dir(guest)
        .expect("the guest's scripts")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "sh"))
        .collect();
    scripts.sort();
    let texts = scripts
        .iter()
        .map(|path| fs::read_to_string(path).expect("text"));
    texts
        .flat_map(|text| {
            let names = text.lines().filter_map(|line| line.strip_prefix("check "));
            names.map(str::to_owned).collect::<Vec<_>>()
        })
        .filter(|name| {
            name.bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        })
        .collect()
}

/// What the serial line says when all is well.
fn good() -> String {
    let mut log = String::from("[    0.1] Linux\r\n@@ kernel 6.1.0\r\n");
    for name in checks() {
        log += &format!("[7 s] {name}\r\n\u{1b}[0m@@ ok {name}\r\n");
    }
    log += "@@ figure service_start_ms 12\r\n@@ ok no_oops_1\r\n@@ end 1\r\n@@ ok no_oops_2\r\n@@ end 2\r\n";
    log
}

/// The driver's verdict on a log: its exit status and what it prints.
fn judge(log: &str) -> (Option<i32>, String) {
    judge_of("", log)
}

/// The same of some of the checks; of all, if none is named.
fn judge_of(chosen: &str, log: &str) -> (Option<i32>, String) {
    let folder = Folder::new();
    let path = folder.join("log");
    fs::write(&path, log).expect("a file of ours");
    let output = Command::new("python3")
        .arg(DRIVER)
        .arg("judge")
        .env("CHECKS", chosen)
        .arg(format!("6.1={}", path.display()))
        .output()
        .expect("python3 is there");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    (output.status.code(), said)
}

#[test]
fn a_run_in_which_all_went_well_is_green() {
    assert!(checks().len() > 30, "{:?}", checks());
    let (status, said) = judge(&good());
    assert_eq!(status, Some(0), "{said}");
    assert!(said.ends_with("all is well\n"), "{said}");
    assert!(said.contains("| check | 6.1 (6.1.0) |"), "{said}");
}

#[test]
fn whatever_went_wrong_is_named() {
    let cases = [
        (
            "@@ ok flood_batch",
            "@@ FAIL flood_batch",
            "flood_batch fails",
        ),
        ("@@ ok flood_batch", "", "flood_batch was never made"),
        ("@@ ok reliable", "@@ ok relaible", "relaible is not among"),
        ("@@ end 2", "", "1 of 2 boots"),
        ("@@ ok no_oops_1", "@@ FAIL no_oops_1", "no_oops_1 fails"),
    ];
    for (from, to, named) in cases {
        let (status, said) = judge(&good().replace(from, to));
        assert_eq!(status, Some(1), "{said}");
        assert!(
            said.contains("WRONG: 6.1: ") && said.contains(named),
            "{said}"
        );
    }
    // A check that failed once has failed.
    let (status, _) = judge(&(String::from("@@ FAIL rootless\n") + &good()));
    assert_eq!(status, Some(1));
    assert_eq!(judge("").0, Some(1));
}

#[test]
fn what_a_kernel_has_not_is_told_and_no_failure() {
    let log = good().replace(
        "@@ ok rootless",
        "@@ skip rootless: user namespaces are off",
    );
    let (status, said) = judge(&log);
    assert_eq!(status, Some(0), "{said}");
    assert!(
        said.contains("rootless is skipped: user namespaces are off"),
        "{said}"
    );
}

#[test]
fn checks_that_are_chosen_are_all_that_is_wanted() {
    let log =
        "@@ kernel 6.1.0\n@@ ok rootless\n@@ ok no_oops_1\n@@ end 1\n@@ ok no_oops_2\n@@ end 2\n";
    let (status, said) = judge_of("rootless", log);
    assert_eq!(status, Some(0), "{said}");
    let (status, said) = judge_of("rootless reliable", log);
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("reliable was never made"), "{said}");
    let (status, said) = judge_of("rotless", log);
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("no such checks: rotless"), "{said}");
    // Where all are wanted, some are too few.
    assert_eq!(judge(log).0, Some(1));
}
