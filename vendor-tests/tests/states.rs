//! States of captures: what an earlier run lacked is owned up to, and no run takes away what another one kept.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use serde_json::{Value, json};
use vendor_tests::capture::{Launch, Outcome};
use vendor_tests::files::on;
use vendor_tests::netns;
use vendor_tests::program::run;
use vendor_tests::temp::Folder;
use vendor_tests::wait::until_true;
use vendor_tests::witness::insert;

fn udp(destination_port: u16) {
    insert(&format!(
        "-p udp -s 10.0.0.1 -d 10.0.0.2 --sport 5000 --dport {destination_port} -t 60"
    ));
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain name")
}

/// A state of so many flows that a run has written.
fn state(folder: &Folder, flows: u16) -> PathBuf {
    let path = folder.join("state.json");
    let capture = Launch::new(["--state", text(&path)]).start();
    for port in 1..=flows {
        udp(port);
    }
    let list = capture.finish().list();
    assert_eq!(list.lines().count(), usize::from(flows));
    run("conntrack", ["-F"]);
    path
}

fn head(path: &Path) -> Value {
    let text = fs::read_to_string(path).expect("a state");
    serde_json::from_str(text.lines().next().expect("a line")).expect("JSON")
}

/// Changes the first line of a state.
fn edit(path: &Path, change: impl FnOnce(&mut Value)) {
    let text = fs::read_to_string(path).expect("a state");
    let (first, rest) = text.split_once('\n').expect("lines");
    let mut head: Value = serde_json::from_str(first).expect("JSON");
    change(&mut head);
    fs::write(path, format!("{head}\n{rest}")).expect("ours");
}

/// A run with a state that ends at once.
fn goes_on(path: &Path, more: &[&str]) -> Outcome {
    let mut args = vec!["--state", text(path)];
    args.extend(more);
    Launch::new(args).start().finish()
}

/// A refusal that leaves the state as it is.
fn is_refused(path: &Path, more: &[&str], why: &str) {
    let before = fs::read(path).ok();
    let mut args = vec!["--duration", "5s", "--state", text(path)];
    args.extend(more);
    let outcome = Launch::new(args).run();
    assert_eq!(
        (outcome.code, outcome.text()),
        (Some(1), String::new()),
        "{outcome:?}"
    );
    assert!(outcome.stderr.contains(why), "{}", outcome.stderr);
    assert_eq!(fs::read(path).ok(), before);
}

#[test]
fn a_run_that_would_lose_flows_of_the_state_is_refused() {
    netns::run(
        "a_run_that_would_lose_flows_of_the_state_is_refused",
        || {
            let folder = Folder::new();
            let path = state(&folder, 5);
            is_refused(&path, &["--max-flows", "4"], "--max-flows");
            is_refused(
                &path,
                &["--max-flows", "4", "--format", "json"],
                "--max-flows",
            );
            is_refused(&path, &["--proto", "tcp"], "--proto=tcp");
            is_refused(&path, &["--all-protocols"], "--all-protocols");
            is_refused(&path, &["--source-ports", "keep"], "--source-ports=keep");
            let again = goes_on(&path, &["--max-flows", "5"]);
            assert_eq!((again.code, again.text().lines().count()), (Some(0), 5));
            edit(&path, |head| head["filters"] = json!(["--dport=53"]));
            is_refused(&path, &[], "--dport=53");
        },
    );
}

#[test]
fn one_program_at_a_time_keeps_a_state() {
    netns::run("one_program_at_a_time_keeps_a_state", || {
        let folder = Folder::new();
        let (path, metrics) = (folder.join("state.json"), folder.join("figures.prom"));
        let args = ["--state", text(&path), "--metrics-file", text(&metrics)];
        let first = Launch::new(args).start();
        udp(1);
        is_refused(&path, &[], "another conntracker");
        let outcome = Launch::new(["--duration", "5s", "--metrics-file", text(&metrics)]).run();
        assert_eq!(outcome.code, Some(1), "{outcome:?}");
        // Whichever way it ends.
        first.drained();
        first.signal(Signal::KILL);
        assert_eq!(first.wait().signal, Some(9));
        assert_eq!(Launch::new(args).start().finish().code, Some(0));
        let names: Vec<_> = fs::read_dir(folder.path())
            .expect("a folder")
            .map(|entry| entry.expect("an entry").file_name())
            .collect();
        assert_eq!(names.len(), 2, "{names:?}");
    });
}

#[test]
fn what_is_no_file_is_no_state() {
    netns::run("what_is_no_file_is_no_state", || {
        let folder = Folder::new();
        let pipe = folder.join("pipe");
        run("mkfifo", [text(&pipe)]);
        for path in [&pipe, &PathBuf::from("/dev/zero")] {
            let outcome = Launch::new(["--duration", "5s", "--state", text(path)]).run();
            assert_eq!(outcome.code, Some(1), "{outcome:?}");
            assert!(outcome.stderr.contains("no regular file"), "{outcome:?}");
        }
        // A line without an end takes no more memory than the longest that makes sense, and no time.
        let endless = folder.join("endless");
        let file = fs::File::create(&endless).expect("ours");
        file.set_len(1 << 40).expect("a file with holes");
        let outcome = goes_on(&endless, &[]);
        assert_eq!(outcome.code, Some(3), "{outcome:?}");
        assert!(outcome.stderr.contains("line 1: too long"), "{outcome:?}");
    });
}

#[test]
fn what_earlier_runs_lack_is_told_until_it_is_forgotten() {
    netns::run(
        "what_earlier_runs_lack_is_told_until_it_is_forgotten",
        || {
            let folder = Folder::new();
            let path = state(&folder, 2);
            let metrics = folder.join("figures.prom");
            edit(&path, |head| {
                head["verdict"] = json!("incomplete");
                head["loss"] = json!({"missed": 7, "recovered": 0, "refused": 0, "malformed": 0, "reasons": ["up to 7 events missed"]});
            });
            for _ in 0..2 {
                let outcome = goes_on(&path, &["--metrics-file", text(&metrics)]);
                assert_eq!((outcome.code, outcome.text().lines().count()), (Some(3), 2));
                let said: Vec<&str> = outcome.stderr.lines().collect();
                let told = said
                    .iter()
                    .filter(|line| line.contains("up to 7 events missed"));
                assert_eq!(told.count(), 2, "at the start and at the end: {said:#?}");
                let figures = fs::read_to_string(&metrics).expect("figures");
                assert!(
                    figures.contains("conntracker_verdict{verdict=\"incomplete\"} 1"),
                    "{figures}"
                );
                assert_eq!(head(&path)["verdict"], "incomplete");
                assert_eq!(
                    head(&path)["loss"]["reasons"],
                    json!(["up to 7 events missed"])
                );
                assert_eq!(on("show", &[&path]).code, Some(3));
                let rules = on("rules --include-unconfirmed", &[&path]);
                assert!(
                    rules.text().contains("WARNING: the capture is incomplete"),
                    "{rules:?}"
                );
            }
            // What was missed then would be forgotten by now, had it been listed.
            edit(&path, |head| {
                head["incomplete_until"] = json!("2020-01-01T00:00:00.000000Z")
            });
            let outcome = goes_on(&path, &["--forget", "1000d"]);
            assert_eq!(outcome.code, Some(0), "{outcome:?}");
            assert_eq!(head(&path)["verdict"], "complete");
        },
    );
}

#[test]
fn gaps_are_told_and_long_ones_make_it_incomplete() {
    netns::run("gaps_are_told_and_long_ones_make_it_incomplete", || {
        let folder = Folder::new();
        let path = state(&folder, 2);
        let metrics = folder.join("figures.prom");
        let restarted = goes_on(&path, &["--metrics-file", text(&metrics)]);
        let figures = fs::read_to_string(&metrics).expect("figures");
        let gap = figures
            .lines()
            .find_map(|line| line.strip_prefix("conntracker_gap_seconds "));
        assert!(gap.is_some_and(|gap| gap != "0"), "{figures}");
        assert_eq!(restarted.code, Some(0), "{restarted:?}");
        let told = restarted.stderr.matches("nobody listened").count();
        assert_eq!(told, 2, "at the start and at the end: {}", restarted.stderr);
        assert_eq!(head(&path)["verdict"], "complete");
        let rules = on("rules --include-unconfirmed", &[&path]);
        assert_eq!(rules.code, Some(0), "{rules:?}");
        assert!(
            rules.text().contains("WARNING: nobody listened for"),
            "{rules:?}"
        );

        // Of another boot, so that the machine may have been off in between.
        let old = |head: &mut Value| {
            head["start"] = json!("2026-01-01T00:00:00.000000Z");
            head["end"] = json!("2026-01-02T00:00:00.000000Z");
            head["boot_id"] = json!("another");
            head["gaps"] = json!([]);
        };
        edit(&path, old);
        for _ in 0..2 {
            let outcome = goes_on(&path, &[]);
            assert_eq!((outcome.code, outcome.text().lines().count()), (Some(3), 2));
            assert!(
                outcome
                    .stderr
                    .contains("incomplete (in earlier runs: nobody listened for"),
                "{}",
                outcome.stderr
            );
            assert_eq!(head(&path)["verdict"], "incomplete");
        }
        // Once they are older than what is kept.
        edit(&path, |head| {
            head["gaps"] = json!([{"from": "2020-01-01T00:00:00.000000Z", "to": "2021-01-01T00:00:00.000000Z"}]);
            head["verdict"] = json!("complete");
            head["loss"]["reasons"] = json!([]);
            head["incomplete_until"] = Value::Null;
        });
        assert_eq!(goes_on(&path, &[]).code, Some(3));
        assert_eq!(goes_on(&path, &["--forget", "1000d"]).code, Some(0));
        assert_eq!(head(&path)["verdict"], "complete");
    });
}

#[test]
fn a_clock_that_leaps_makes_nothing_old() {
    netns::run("a_clock_that_leaps_makes_nothing_old", || {
        let folder = Folder::new();
        let [library, offset, state, list] =
            ["clock.so", "offset", "state.json", "list.json"].map(|name| folder.join(name));
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/c/clock.c");
        run(
            "cc",
            ["-shared", "-fPIC", "-O2", "-o", text(&library), source],
        );
        let set = |seconds: i64| fs::write(&offset, seconds.to_string()).expect("ours");
        let launch = |more: &[&str]| {
            let (preload, offset) = (
                format!("LD_PRELOAD={}", text(&library)),
                format!("CLOCK_OFFSET={}", text(&offset)),
            );
            let mut args = vec!["--forget", "30d", "--format", "json", "-o", text(&list)];
            args.extend(more);
            Launch::new(args).under(["env", &preload, &offset]).start()
        };
        let year = 31_536_000;
        let flows = || {
            let list = fs::read_to_string(&list).expect("a list");
            list.lines()
                .filter(|line| line.contains("\"flow\""))
                .count()
        };
        set(0);
        // While it runs: two looks at what is old, one in each time.
        let capture = launch(&["--state", text(&state)]);
        udp(1);
        udp(2);
        capture.drained();
        set(year);
        capture.signal(Signal::USR1);
        until_true("a list", || list.exists());
        capture.drained();
        let outcome = capture.finish();
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
        assert!(
            outcome
                .stderr
                .contains("ahead of the time that this machine has been up"),
            "{outcome:?}"
        );
        assert_eq!(flows(), 2);
        // Between two runs: within one boot no year has passed either.
        for leap in [2 * year, 0, -year] {
            set(leap);
            let outcome = launch(&["--state", text(&state)]).finish();
            assert_eq!(flows(), 2, "{outcome:?}");
            let head = head(&list);
            assert!(head["start"].as_str() <= head["end"].as_str(), "{head}");
            for gap in head["gaps"].as_array().expect("gaps") {
                assert!(gap["from"].as_str() <= gap["to"].as_str(), "{gap}");
            }
        }
    });
}
