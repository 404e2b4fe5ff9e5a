//! Captures that run for long: lists at intervals, states that outlive a run, flows that are forgotten.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use vendor_tests::capture::{Capture, Launch};
use vendor_tests::netns;
use vendor_tests::program::{conntracker, run};
use vendor_tests::schema;
use vendor_tests::temp::Folder;
use vendor_tests::wait::{LONG, until, until_true};
use vendor_tests::witness::insert;

fn udp(source_port: u16, destination_port: u16) {
    insert(&format!(
        "-p udp -s 10.0.0.1 -d 10.0.0.2 --sport {source_port} --dport {destination_port} -t 60"
    ));
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain name")
}

/// A list in JSON: the capture and the destination ports with their connections.
fn list(path: &Path) -> (Value, Vec<(u64, u64)>) {
    let list = fs::read_to_string(path).expect("a list");
    let mut lines = list
        .lines()
        .map(|line| serde_json::from_str(line).expect("an object"));
    let capture = lines.next().expect("a capture");
    let mut ports: Vec<_> = lines
        .filter(|line: &Value| line["type"] == "flow")
        .map(|flow| {
            let number = |name: &str| flow[name].as_u64().expect("a number");
            (number("dst_port"), number("connections"))
        })
        .collect();
    ports.sort_unstable();
    (capture, ports)
}

/// The lists in a folder, the oldest first.
fn lists(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder");
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry").path())
        .collect();
    paths.sort_unstable();
    paths
}

#[test]
fn the_file_is_replaced_at_every_interval() {
    netns::run("the_file_is_replaced_at_every_interval", || {
        let folder = Folder::new();
        let path = folder.join("flows.json");
        let args = ["--interval", "1s", "--format", "json", "-o", text(&path)];
        let capture = Launch::new(args).start();
        udp(5000, 53);
        let ends: Vec<String> = (0..2)
            .map(|_| {
                fs::remove_file(&path).ok();
                until_true("a list", || path.exists());
                let (head, ports) = list(&path);
                assert_eq!(ports, [(53, 1)]);
                head["end"].to_string()
            })
            .collect();
        assert!(ends[0] < ends[1], "{ends:?}");
        assert_eq!(capture.finish().list(), "");
    });
}

#[test]
fn intervals_that_begin_anew_have_each_flow_once_and_lose_none() {
    netns::run(
        "intervals_that_begin_anew_have_each_flow_once_and_lose_none",
        || {
            for format in ["json", "classic"] {
                let folder = Folder::new();
                let out = format!("{}/lists/", text(folder.path()));
                let args = [
                    "--interval",
                    "1s",
                    "--reset",
                    "--format",
                    format,
                    "-o",
                    &out,
                ];
                let capture = Launch::new(args).start();
                // Some second apart, so that they come into several intervals.
                for port in 1..=30_u16 {
                    udp(5000, port);
                    std::thread::sleep(Duration::from_millis(100));
                }
                assert_eq!(capture.finish().list(), "");
                let paths = lists(Path::new(&out));
                assert!(paths.len() >= 3, "{paths:?}");
                let mut seen = Vec::new();
                let mut last_end = None;
                for path in &paths {
                    if format == "json" {
                        let (head, ports) = list(path);
                        assert_eq!(head["verdict"], "complete");
                        // One begins where the other ended.
                        assert!(last_end.is_none_or(|end| end == head["start"]), "{head}");
                        last_end = Some(head["end"].clone());
                        seen.extend(ports.into_iter().map(|(port, connections)| {
                            assert_eq!(connections, 1);
                            port
                        }));
                    } else {
                        let list = fs::read_to_string(path).expect("a list");
                        seen.extend(list.lines().map(|line| {
                            let port = line.rsplit("(port=").next().expect("a port");
                            port.trim_end_matches(')').parse::<u64>().expect("a number")
                        }));
                    }
                }
                run("conntrack", ["-F"]);
                seen.sort_unstable();
                assert_eq!(seen, (1..=30).collect::<Vec<u64>>(), "{format}");
            }
        },
    );
}

#[test]
fn a_folder_keeps_so_many_lists() {
    netns::run("a_folder_keeps_so_many_lists", || {
        let folder = Folder::new();
        fs::write(folder.join("notes.txt"), "mine").expect("ours");
        let args = ["--interval", "1s", "--keep", "2", "-o", text(folder.path())];
        let capture = Launch::new(args).start();
        std::thread::sleep(Duration::from_millis(4200));
        assert_eq!(capture.finish().list(), "");
        let paths = lists(folder.path());
        assert_eq!(paths.len(), 3, "{paths:?}");
        assert!(folder.join("notes.txt").exists());
    });
}

#[test]
fn captures_that_share_a_folder_leave_each_others_lists_alone() {
    netns::run(
        "captures_that_share_a_folder_leave_each_others_lists_alone",
        || {
            let folder = Folder::new();
            // A folder of a list's name is no list.
            fs::create_dir(folder.join("flows-20000101T000000Z.txt")).expect("a folder");
            let once = |keep: &str| {
                let path = format!("{}/", text(folder.path()));
                Launch::new(["--keep", keep, "-o", &path]).start()
            };
            let first = once("1");
            let others: Vec<_> = (0..3).map(|_| once("1")).collect();
            udp(5000, 1);
            for capture in others {
                capture.drained();
                assert_eq!(capture.finish().list(), "");
            }
            first.drained();
            assert_eq!(first.finish().list(), "");
            // Two at the same second: neither has replaced the other's.
            let count = || {
                lists(folder.path())
                    .iter()
                    .filter(|path| path.is_file())
                    .count()
            };
            assert_eq!(count(), 4);
            for path in lists(folder.path()).iter().filter(|path| path.is_file()) {
                assert!(
                    fs::read_to_string(path)
                        .expect("a list")
                        .contains("port=1)")
                );
            }
            // The next one alone counts those of the first as its own, and no others.
            assert_eq!(once("1").finish().list(), "");
            assert_eq!(count(), 4);
            assert!(folder.join("flows-20000101T000000Z.txt").is_dir());
        },
    );
}

/// Waits until a state has so many flows.
fn saved(capture: &Capture, state: &Path, flows: usize) {
    capture.drained();
    capture.signal(Signal::USR1);
    until("a state", LONG, || {
        let state = fs::read_to_string(state).ok()?;
        let count = state
            .lines()
            .filter(|line| line.contains("\"flow\""))
            .count();
        let end = format!(r#"{{"type":"end","flows":{flows},"#);
        let ended = state
            .lines()
            .last()
            .is_some_and(|line| line.starts_with(&end));
        (count == flows && ended).then_some(())
    });
}

#[test]
fn a_restart_goes_on_where_it_was() {
    netns::run("a_restart_goes_on_where_it_was", || {
        let folder = Folder::new();
        let (state, path) = (folder.join("state.json"), folder.join("flows.json"));
        let args = [
            "--state",
            text(&state),
            "--format",
            "json",
            "-o",
            text(&path),
        ];
        let first = Launch::new(args).start();
        udp(5000, 1);
        udp(5000, 2);
        saved(&first, &state, 2);
        // What came after the last list is lost with a crash, and no more than that.
        udp(5000, 3);
        first.drained();
        first.signal(Signal::KILL);
        assert_eq!(first.wait().signal, Some(9));

        let second = Launch::new(args).start();
        udp(5001, 2);
        udp(5000, 4);
        let outcome = second.finish();
        assert_eq!(outcome.code, Some(0), "{}", outcome.said);
        assert!(
            outcome
                .said
                .contains("goes on with 2 flows; nobody listened from"),
            "{}",
            outcome.said
        );
        for written in [&state, &path] {
            schema::assert_holds(&fs::read_to_string(written).expect("what was written"));
        }
        let (head, ports) = list(&path);
        assert_eq!(ports, [(1, 1), (2, 2), (4, 1)]);
        let gap = &head["gaps"][0];
        assert!(head["start"].as_str() < gap["from"].as_str(), "{head}");
        assert!(
            gap["from"].as_str() < gap["to"].as_str() && gap["to"].as_str() < head["end"].as_str()
        );
        // A state is a capture as any.
        let shown = run(conntracker(), ["show", text(&state), "--format", "json"]);
        assert_eq!(shown, fs::read_to_string(&path).expect("a list"));
    });
}

#[test]
fn the_classic_list_goes_on_too_with_every_source() {
    netns::run("the_classic_list_goes_on_too_with_every_source", || {
        for source in ["auto", "batch", "callback"] {
            let folder = Folder::new();
            let state = folder.join("state.json");
            let args = ["--source", source, "--state", text(&state)];
            let first = Launch::new(args).start();
            udp(5000, 1);
            insert(
                "-p udp -s 10.0.0.3 -d fd00::1 -t 60 --sport 1 --dport 1"
                    .replace("10.0.0.3", "fd00::3")
                    .as_str(),
            );
            let list = first.finish().list();
            assert_eq!(list.lines().count(), 2);
            let second = Launch::new(args).start();
            let outcome = second.finish();
            assert_eq!(outcome.text(), list, "{source}");
            run("conntrack", ["-F"]);
        }
    });
}

#[test]
fn a_damaged_state_is_set_aside_and_told_of() {
    netns::run("a_damaged_state_is_set_aside_and_told_of", || {
        let folder = Folder::new();
        let state = folder.join("state.json");
        let args = ["--state", text(&state)];
        let first = Launch::new(args).start();
        udp(5000, 1);
        udp(5000, 2);
        assert_eq!(first.finish().list().lines().count(), 2);
        let whole = fs::read(&state).expect("a state");
        let lines: Vec<&[u8]> = whole.split_inclusive(|&byte| byte == b'\n').collect();
        let damages: [(&str, Vec<u8>); 4] = [
            ("cut", whole[..whole.len() - 20].to_vec()),
            ("without its end", lines[..lines.len() - 1].concat()),
            (
                "with a flow too few",
                [lines[0], lines[2], lines[3]].concat(),
            ),
            ("of something else", b"hello\n".to_vec()),
        ];
        for (number, (how, damaged)) in damages.into_iter().enumerate() {
            fs::write(&state, &damaged).expect("ours");
            let outcome = Launch::new(args).start().finish();
            let aside = folder.join(&format!("state.json.damaged-{}", number + 1));
            assert_eq!(outcome.text(), "", "{how}");
            assert!(
                outcome.said.contains(text(&aside)),
                "{how}: {}",
                outcome.said
            );
            assert_eq!(
                fs::read(&aside).expect("what was set aside"),
                damaged,
                "{how}"
            );
        }
        fs::write(&state, "{\"type\":\"capture\",\"schema\":99}\n").expect("ours");
        let outcome = Launch::new(args).run();
        assert_eq!(outcome.code, Some(1));
        assert!(outcome.said.contains("schema 99"), "{}", outcome.said);
        assert!(state.exists());
    });
}

#[test]
fn flows_that_were_not_seen_for_long_are_forgotten() {
    netns::run("flows_that_were_not_seen_for_long_are_forgotten", || {
        let folder = Folder::new();
        let paths = ["flows.json", "flows.txt"].map(|name| folder.join(name));
        until("a machine that is not too busy", LONG, || {
            let [json, classic] = ["json", "classic"].map(|format| {
                let path = &paths[usize::from(format == "classic")];
                Launch::new(["--forget", "3s", "--format", format, "-o", text(path)]).start()
            });
            udp(5000, 1);
            udp(5000, 2);
            std::thread::sleep(Duration::from_millis(3500));
            let last = Instant::now();
            // Seen again in time, or for the first time.
            udp(5001, 2);
            udp(5000, 3);
            for capture in [json, classic] {
                assert_eq!(capture.finish().list(), "");
            }
            run("conntrack", ["-F"]);
            (last.elapsed() < Duration::from_secs(3)).then_some(())
        });
        let (_, ports) = list(&paths[0]);
        // Flow 2 may have been forgotten before it came again.
        let names: Vec<u64> = ports.iter().map(|(port, _)| *port).collect();
        assert_eq!(names, [2, 3]);
        let list = fs::read_to_string(&paths[1]).expect("a list");
        assert_eq!(list.lines().count(), 2, "{list}");
    });
}
