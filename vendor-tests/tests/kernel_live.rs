//! The `kernel` source on a running kernel: stopped, overrun, asked for a list, killed.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use aya::maps::loaded_maps;
use aya::programs::loaded_programs;
use rustix::process::Signal;
use vendor_tests::capture::{Capture, Launch};
use vendor_tests::flooding::{Flood, complete};
use vendor_tests::netns;
use vendor_tests::room::Room;
use vendor_tests::wait::until_true;
use vendor_tests::witness::insert;

/// Runs a test in a namespace of its own, where BPF programs can be loaded.
fn with_bpf(test: &str, body: impl FnOnce() + Send) {
    // A user namespace of one's own does not give the right.
    let status = fs::read_to_string("/proc/self/status").expect("proc is mounted");
    let root = status
        .lines()
        .any(|line| line.split_whitespace().take(2).eq(["Uid:", "0"]));
    if root {
        netns::run(test, body);
    } else {
        vendor_tests::skipped!("{test}: loading BPF programs takes root");
    }
}

fn capture(more: &[&str]) -> Capture {
    Launch::new(["--source", "kernel"].iter().chain(more)).start()
}

/// The numbers the kernel knows this process's programs or maps by.
fn ids(pid: u32, field: &str) -> BTreeSet<u32> {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fdinfo")).expect("the process is there");
    descriptors
        .filter_map(|entry| fs::read_to_string(entry.ok()?.path()).ok())
        .filter_map(|info| {
            let id = info.lines().find_map(|line| line.strip_prefix(field))?;
            id.trim().parse().ok()
        })
        .collect()
}

#[test]
fn nothing_of_it_is_left_however_it_ends() {
    with_bpf("nothing_of_it_is_left_however_it_ends", || {
        for signal in [Signal::INT, Signal::KILL] {
            let capture = capture(&[]);
            // It listens before the program is attached.
            until_true("one program and its four maps", || {
                ids(capture.pid(), "prog_id:").len() == 1
                    && ids(capture.pid(), "map_id:").len() == 4
            });
            let programs = ids(capture.pid(), "prog_id:");
            let maps = ids(capture.pid(), "map_id:");
            capture.signal(signal);
            let _ = capture.wait();
            // The kernel takes them down after a grace period.
            until_true("the program and its maps to go", || {
                let program = |id| programs.contains(&id);
                let map = |id| maps.contains(&id);
                !loaded_programs().flatten().any(|info| program(info.id()))
                    && !loaded_maps().flatten().any(|info| map(info.id()))
            });
        }
    });
}

#[test]
fn nothing_is_lost_while_it_is_stopped_for_ten_seconds() {
    let room = Room::new(300_000);
    with_bpf(
        "nothing_is_lost_while_it_is_stopped_for_ten_seconds",
        || {
            let capture = capture(&[]);
            capture.stop();
            let began = Instant::now();
            let expected = Flood::start(&format!(
                "--entries {} --family mixed --replied 10",
                room.entries
            ))
            .finish();
            std::thread::sleep(Duration::from_secs(10).saturating_sub(began.elapsed()));
            capture.resume();
            complete(&capture.finish(), &expected);
        },
    );
}

#[test]
fn what_finds_no_room_in_the_ring_is_not_lost() {
    with_bpf("what_finds_no_room_in_the_ring_is_not_lost", || {
        // A ring of 64 KiB: 2,730 IPv4 flows.
        let capture = capture(&["--buffer", "256K"]);
        capture.stop();
        let expected = Flood::start("--entries 20000 --replied 30 --family mixed").finish();
        capture.resume();
        let outcome = capture.finish();
        complete(&outcome, &expected);
        assert_eq!(outcome.stderr, "");
    });
}

#[test]
fn flows_beyond_the_kernels_table_are_listed() {
    with_bpf("flows_beyond_the_kernels_table_are_listed", || {
        // Room for 2,048 IPv4 and 1,024 IPv6 flows in the kernel.
        let capture = capture(&["--max-flows", "4096"]);
        let expected =
            Flood::start("--entries 8000 --distinct 4000 --family mixed --replied 30").finish();
        let outcome = capture.finish();
        complete(&outcome, &expected);
        assert_eq!(outcome.stderr, "");
    });
}

#[test]
fn a_list_that_is_asked_for_has_what_has_just_happened() {
    with_bpf(
        "a_list_that_is_asked_for_has_what_has_just_happened",
        || {
            let capture = capture(&[]);
            for round in 1..=20 {
                insert(&format!(
                    "-p udp -s 10.0.0.{round} -d 10.0.1.1 --sport 5000 --dport 53 -t 60"
                ));
                let before = capture.stdout().len();
                capture.signal(Signal::USR1);
                until_true("a list", || {
                    capture.stdout().ends_with(b"\n") && capture.stdout().len() > before
                });
                let list = String::from_utf8(capture.stdout()[before..].to_vec()).expect("text");
                assert_eq!(list.lines().count(), round, "{list}");
            }
            assert_eq!(capture.finish().code, Some(0));
        },
    );
}
