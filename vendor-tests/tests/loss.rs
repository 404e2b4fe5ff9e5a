//! A list that lacks flows says so: each way in which one could look whole all the same, on the running kernel.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use rustix::process::Signal;
use vendor_tests::capture::{Capture, Launch, sockets};
use vendor_tests::flooding::{Flood, honest};
use vendor_tests::lab::Lab;
use vendor_tests::netns::{self, sh};
use vendor_tests::program::{conntracker, flood, run};
use vendor_tests::temp::Folder;
use vendor_tests::wait::until_true;
use vendor_tests::witness::insert;

/// With a buffer for a dozen events.
const PINCHED: [&str; 4] = ["--buffer", "20000", "--buffer-max", "20000"];

fn pinched(more: &[&str]) -> Capture {
    Launch::new(PINCHED.iter().chain(more)).start()
}

/// Whether it has dropped events.
fn overrun(capture: &Capture) -> bool {
    sockets(capture.pid()).iter().any(|socket| socket.drops > 0)
}

/// The descriptions and the flows of lists in JSON, one after the other.
fn lists(json: &str) -> Vec<(serde_json::Value, BTreeSet<String>)> {
    let mut lists = Vec::new();
    for line in json.lines() {
        let value: serde_json::Value = serde_json::from_str(line).expect("a line of JSON");
        match value["type"].as_str() {
            Some("capture") => lists.push((value, BTreeSet::new())),
            Some("flow") => {
                let (_, flows) = lists.last_mut().expect("a description comes first");
                let flow = format!("{} {} {}", value["src"], value["dst"], value["dst_port"]);
                flows.insert(flow);
            }
            _ => {}
        }
    }
    lists
}

/// However early it is ended, a reliable capture fetches what the kernel keeps back for it.
#[test]
fn a_reliable_capture_that_is_ended_early_has_all() {
    netns::run("a_reliable_capture_that_is_ended_early_has_all", || {
        for source in ["batch", "callback"] {
            for before in [true, false] {
                let capture = pinched(&["--reliable", "--source", source]);
                capture.stop();
                let seed = source.len() + usize::from(before);
                let words = format!("--entries 3000 --delete --seed {seed}");
                let expected = Flood::start(&words).finish();
                if before {
                    capture.signal(Signal::INT);
                }
                capture.resume();
                if !before {
                    capture.signal(Signal::INT);
                }
                let outcome = capture.wait();
                assert!(!honest(&outcome, &expected), "{}", outcome.stderr);
                assert_eq!(outcome.code, Some(0), "{source}: {}", outcome.stderr);
            }
        }
    });
}

#[test]
fn a_reliable_capture_that_ends_amid_a_flood_is_honest() {
    netns::run(
        "a_reliable_capture_that_ends_amid_a_flood_is_honest",
        || {
            for source in ["batch", "auto"] {
                let capture = pinched(&["--reliable", "--source", source]);
                let expected = Flood::start("--entries 30000 --delete").finish();
                let outcome = capture.finish();
                honest(&outcome, &expected);
            }
        },
    );
}

/// Without reliability, flows that began and ended unheard are missing, and the list says when and how many at most.
#[test]
fn a_list_from_which_ended_flows_are_missing_is_incomplete() {
    netns::run(
        "a_list_from_which_ended_flows_are_missing_is_incomplete",
        || {
            let capture = pinched(&["--source", "batch"]);
            capture.stop();
            let expected = Flood::start("--entries 2000 --delete --replied 50").finish();
            capture.resume();
            let outcome = capture.finish();
            assert!(honest(&outcome, &expected), "nothing was lost");
            let said = &outcome.stderr;
            for words in ["incomplete (", "between ", "began and ended", "--reliable"] {
                assert!(said.contains(words), "{said}");
            }
        },
    );
}

/// Where the table gives back as many flows as events were dropped, none of these can have been anything else.
#[test]
fn a_list_to_which_the_table_has_given_everything_back_is_recovered() {
    netns::run(
        "a_list_to_which_the_table_has_given_everything_back_is_recovered",
        || {
            for existing in [false, true] {
                if existing {
                    insert("-p udp -s 10.9.0.1 -d 10.9.0.2 --sport 1000 --dport 53 -t 600");
                }
                let more: &[&str] = if existing { &["--existing"] } else { &[] };
                let capture = pinched(&[&["--source", "batch"], more].concat());
                capture.stop();
                let words = format!("--entries 2000 --distinct 2000 --seed {}", more.len());
                let expected = Flood::start(&words).finish();
                capture.resume();
                let outcome = capture.finish();
                assert!(!honest(&outcome, &expected), "{}", outcome.stderr);
                let flows = expected.len() + usize::from(existing);
                assert_eq!(outcome.text().lines().count(), flows);
                assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
                assert!(outcome.stderr.contains("recovered ("), "{}", outcome.stderr);
                run("conntrack", ["-F"]);
            }
            // What was there before can't be told apart from what was dropped.
            insert("-p udp -s 10.9.0.1 -d 10.9.0.2 --sport 1000 --dport 53 -t 600");
            let capture = pinched(&["--source", "batch"]);
            capture.stop();
            let expected = Flood::start("--entries 2000 --distinct 2000 --seed 3").finish();
            run("conntrack", ["-D", "-s", "10.9.0.1"]);
            capture.resume();
            let outcome = capture.finish();
            assert!(!honest(&outcome, &expected), "{}", outcome.stderr);
            assert_eq!(outcome.code, Some(3), "{}", outcome.stderr);
        },
    );
}

/// A list that is asked for looks at the drop counters after it has copied the flows, so that it can't be older than
/// the loss that it does not know of.
#[test]
fn a_list_while_the_capture_runs_owns_up_to_what_was_lost_before_it() {
    netns::run(
        "a_list_while_the_capture_runs_owns_up_to_what_was_lost_before_it",
        || {
            for round in 0..4 {
                let capture = pinched(&["--format", "json"]);
                capture.stop();
                let words = format!("--entries 1000 --delete --seed {round}");
                let expected = Flood::start(&words).finish();
                capture.signal(Signal::USR1);
                capture.resume();
                until_true("a list", || capture.stdout().ends_with(b"}\n"));
                let outcome = capture.finish();
                for (description, flows) in lists(&outcome.text()) {
                    assert!(flows.len() < expected.len(), "nothing was lost");
                    assert_eq!(description["verdict"], "incomplete", "{description}");
                    assert_ne!(description["loss"]["missed"], 0, "{description}");
                }
                assert_eq!(outcome.code, Some(3), "{}", outcome.stderr);
            }
        },
    );
}

/// A state that was written before a loss was looked at would be complete for ever after.
#[test]
fn a_state_owns_up_to_what_was_lost_before_it_in_every_later_run() {
    netns::run(
        "a_state_owns_up_to_what_was_lost_before_it_in_every_later_run",
        || {
            let folder = Folder::new();
            let path = |name: &str| folder.join(name).display().to_string();
            let (state, list) = (path("state"), path("list"));
            let words = ["--source", "batch", "--state", &state, "-o", &list];
            let capture = pinched(&words);
            capture.stop();
            let expected = Flood::start("--entries 1000 --delete").finish();
            capture.signal(Signal::USR1);
            capture.resume();
            until_true("a state", || fs::metadata(&state).is_ok());
            capture.signal(Signal::KILL);
            let _ = capture.wait();
            for _ in 0..2 {
                let next = Launch::new(words.iter().chain(&["--duration", "100ms"])).run();
                let flows = fs::read_to_string(&list).expect("a list").lines().count();
                assert!(flows < expected.len(), "nothing was lost");
                assert_eq!(next.code, Some(3), "{}", next.said);
                assert!(next.said.contains("earlier runs"), "{}", next.said);
            }
        },
    );
}

/// What is lost about the end of an interval belongs to a list next to it.
#[test]
fn intervals_own_up_to_what_was_lost_in_them() {
    netns::run("intervals_own_up_to_what_was_lost_in_them", || {
        let capture = pinched(&["--format", "json", "--interval", "300ms", "--reset"]);
        let mut wanted = BTreeSet::new();
        for round in 0..6 {
            let folder = Folder::new();
            let list = folder.join("list");
            let words = format!("--entries 3000 --delete --seed {round} --list");
            let mut words: Vec<&str> = words.split(' ').collect();
            words.push(list.to_str().expect("text"));
            run(flood(), &words);
            wanted.insert(round);
            std::thread::sleep(Duration::from_millis(100));
        }
        let outcome = capture.finish();
        let lists = lists(&outcome.text());
        let listed: usize = lists.iter().map(|(_, flows)| flows.len()).sum();
        let incomplete = lists
            .iter()
            .filter(|(description, _)| description["verdict"] == "incomplete")
            .count();
        // 18,000 entries of which each is one flow of one interval.
        if listed < 6 * 3000 {
            assert!(incomplete > 0, "{listed} flows, and no list is incomplete");
            assert_eq!(outcome.code, Some(3), "{}", outcome.stderr);
        }
        // One that says that nothing was missed in it counts from where the one before has stopped.
        for (description, _) in &lists {
            let missed = description["loss"]["missed"].as_u64().expect("a number");
            let complete = description["verdict"] == "complete";
            assert!(!complete || missed == 0, "{description}");
        }
    });
}

/// What was missed of a namespace goes with it, and nothing can bring it back.
#[test]
fn events_of_a_namespace_that_has_gone_are_missing() {
    netns::run_with_names("events_of_a_namespace_that_has_gone_are_missing", || {
        netns::add("blue");
        for reliable in [false, true] {
            let more: &[&str] = if reliable { &["--reliable"] } else { &[] };
            let capture = pinched(&[&["--all-netns", "--source", "batch"], more].concat());
            until_true("the namespace to have an id", || {
                run("ip", ["netns", "list"]).contains("blue (id:")
            });
            capture.stop();
            run(
                flood(),
                "--netns blue --entries 1000 --distinct 1000".split(' '),
            );
            sh("ip netns delete blue");
            until_true("an overrun", || overrun(&capture));
            // It has to be gone when it is looked for.
            std::thread::sleep(Duration::from_millis(500));
            capture.resume();
            let outcome = capture.finish();
            assert_eq!(outcome.code, Some(3), "{}", outcome.stderr);
            netns::add("blue");
        }
    });
}

/// A pipe that nobody reads holds nothing up for long: neither the end nor the state.
#[test]
fn a_pipe_without_a_reader_does_not_keep_the_program_from_ending() {
    netns::run(
        "a_pipe_without_a_reader_does_not_keep_the_program_from_ending",
        || {
            let folder = Folder::new();
            let path = |name: &str| folder.join(name).display().to_string();
            let (pipe, state) = (path("pipe"), path("state"));
            sh(&format!("mkfifo -m 600 {pipe}"));
            let refused = Launch::new(["--metrics-file", &pipe, "--duration", "1h"]).run();
            assert_eq!(refused.code, Some(1), "{}", refused.said);
            assert!(refused.said.contains("is a pipe"), "{}", refused.said);

            let words = ["--source", "batch", "--state", &state, "-o", &pipe];
            let capture = Launch::new(words).start();
            let expected = Flood::start("--entries 100").finish();
            capture.drained();
            capture.signal(Signal::TERM);
            let outcome = capture.wait();
            assert_eq!(outcome.code, Some(1), "{}", outcome.said);
            assert!(
                outcome.said.contains("no process reads"),
                "{}",
                outcome.said
            );
            // The list goes to standard output instead, and the state is there.
            assert_eq!(outcome.text(), expected.list());
            let flows = fs::read_to_string(&state).expect("a state");
            assert_eq!(flows.matches("\"type\":\"flow\"").count(), expected.len());
        },
    );
}

/// Whatever part of the program fails, it ends, with its list and with a status that says so.
#[test]
fn a_thread_that_panics_ends_the_capture_with_its_list() {
    netns::run(
        "a_thread_that_panics_ends_the_capture_with_its_list",
        || {
            let release = !conntracker()
                .parent()
                .is_some_and(|it| it.ends_with("debug"));
            if release {
                vendor_tests::skipped!(
                    "a release build has no places at which it can be made to fail"
                );
                return;
            }
            let lab = Lab::new();
            lab.track();
            for place in ["receive", "watch", "wait", "list"] {
                let fault = format!("CONNTRACKER_FAULT={place}");
                let mut capture = Launch::new(["-v"]).under(["env", &fault]).spawn();
                if place == "list" {
                    until_true("the capture to run", || capture.stderr().contains("source"));
                    std::thread::sleep(Duration::from_millis(500));
                    capture.signal(Signal::USR1);
                }
                until_true("the end", || !capture.is_running());
                let outcome = capture.wait();
                assert_eq!(outcome.code, Some(1), "{place}: {}", outcome.said);
                assert!(
                    outcome.said.contains("has failed by a defect"),
                    "{place}: {}",
                    outcome.said
                );
            }
        },
    );
}

#[test]
fn a_capture_that_can_not_have_its_threads_does_not_start() {
    netns::run(
        "a_capture_that_can_not_have_its_threads_does_not_start",
        || {
            // Limits of processes are not for root. A user without any others, with the right to listen.
            let wrapper = [
                "setpriv",
                "--reuid=54321",
                "--clear-groups",
                "--inh-caps=+net_admin",
                "--ambient-caps=+net_admin",
                "prlimit",
                "--nproc=2",
            ];
            let may = std::process::Command::new("setpriv")
                .args(&wrapper[1..5])
                .arg("true")
                .status();
            if !may.is_ok_and(|status| status.success()) {
                vendor_tests::skipped!("another user can't be had here");
                return;
            }
            let folder = Folder::new();
            fs::copy(conntracker(), folder.join("conntracker")).expect("a copy");
            sh(&format!("chmod -R a+rX {}", folder.path().display()));
            let mut capture = Launch::of(folder.join("conntracker"), ["--source", "batch"])
                .under(wrapper)
                .spawn();
            until_true("the end", || !capture.is_running());
            let outcome = capture.wait();
            assert_eq!(outcome.code, Some(1), "{}", outcome.said);
            assert!(
                outcome.said.contains("the limit of processes is reached"),
                "{}",
                outcome.said
            );
            assert_eq!(outcome.text(), "");
        },
    );
}
