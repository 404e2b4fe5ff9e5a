//! Many new connections at full speed, with the receive buffer's default limits.

use std::collections::HashSet;

use rustix::process::Signal;
use vendor_tests::capture::{Capture, Launch, Outcome};
use vendor_tests::flooding::{Flood, complete, count, honest};
use vendor_tests::netns;
use vendor_tests::program::{flood, run};
use vendor_tests::room::Room;
use vendor_tests::temp::Folder;
use vendor_tests::wait::until_true;

const ENTRIES: u64 = 300_000;
const NONE: [&str; 0] = [];

#[test]
fn every_flow_of_a_flood_is_listed() {
    let room = Room::new(ENTRIES);
    netns::run("every_flow_of_a_flood_is_listed", || {
        let capture = Launch::new(NONE).start();
        let flood = Flood::start(&format!("--entries {} --replied 10", room.entries));
        let expected = flood.finish();
        complete(&capture.finish(), &expected);
    });
}

#[test]
fn every_flow_of_a_flood_is_listed_whichever_way_it_is_received() {
    netns::run(
        "every_flow_of_a_flood_is_listed_whichever_way_it_is_received",
        || {
            let captures = [
                Launch::new(NONE).start(),
                Launch::new(["--source", "batch"]).start(),
                Launch::new(["--workers", "2"]).start(),
                Launch::new(["--source", "callback"]).start(),
            ];
            let expected =
                Flood::start("--entries 50000 --family mixed --replied 20 --privileged 20")
                    .finish();
            for capture in captures {
                complete(&capture.finish(), &expected);
            }
        },
    );
}

#[test]
fn every_flow_is_listed_after_a_stop() {
    netns::run("every_flow_is_listed_after_a_stop", || stopped(&[]));
}

#[test]
fn every_flow_is_listed_after_a_stop_of_the_batch_source() {
    netns::run(
        "every_flow_is_listed_after_a_stop_of_the_batch_source",
        || {
            stopped(&["--source", "batch"]);
        },
    );
}

fn stopped(args: &[&str]) {
    let room = Room::new(ENTRIES / 3 * 2);
    let capture = Launch::new(args).start();
    let flood = Flood::start(&format!("--entries {}", room.entries));
    until_true("the flood to rise", || count() > room.entries / 6);
    capture.stop();
    // More than the buffer holds: 52,428 events in 64 MiB.
    until_true("the flood to rise", || {
        count() > room.entries / 6 + 100_000 || count() >= room.entries
    });
    capture.resume();
    let expected = flood.finish();
    complete(&capture.finish(), &expected);
}

#[test]
fn a_capture_prints_and_ends_in_the_middle_of_a_flood() {
    netns::run("a_capture_prints_and_ends_in_the_middle_of_a_flood", || {
        let capture = Launch::new(NONE).start();
        let flood = Flood::start("--entries 150000 --family mixed --replied 10");
        until_true("the flood to rise", || count() > 10_000);
        capture.signal(Signal::USR1);
        until_true("a list", || !capture.stdout().is_empty());
        until_true("the flood to rise", || count() > 40_000);
        let outcome = capture.finish();
        assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""));
        let (still, all) = (count() < 140_000, flood.finish().list());
        assert!(still, "the flood was over before the capture was");

        // Neither index nor mark are final.
        let flow =
            |line: &str| line[line.find("src").expect("a flow")..].replace(" (confirmed)", "");
        let all: HashSet<String> = all.lines().map(flow).collect();
        let text = outcome.text();
        let strangers = text
            .lines()
            .filter(|line| !all.contains(&flow(line)))
            .count();
        assert_eq!(strangers, 0);
        // The second list begins where the classes begin anew.
        let classes: Vec<&str> = text.lines().map(|line| &line[..6]).collect();
        let changes = classes.windows(2).filter(|pair| pair[0] != pair[1]).count();
        assert_eq!(changes, 11, "not two lists of six classes");
        assert!(
            text.lines().count() > 40_000,
            "{} lines",
            text.lines().count()
        );
    });
}

#[test]
fn the_table_has_a_limit() {
    netns::run("the_table_has_a_limit", || {
        let capture = Launch::new(["--max-flows", "1000"]).start();
        run(flood(), ["--entries", "5000"]);
        limited(&capture.finish());

        let folder = Folder::new();
        let path = folder.join("recording");
        let recording = path.to_str().expect("a plain name");
        run(flood(), ["--entries", "5000", "--pcap", recording]);
        limited(&Launch::new(["--max-flows", "1000", "-r", recording]).run());
    });
}

fn limited(outcome: &Outcome) {
    assert_eq!(
        (outcome.code, outcome.text().lines().count()),
        (Some(3), 1000),
        "{}",
        outcome.stderr
    );
    assert_eq!(outcome.stderr.lines().count(), 1, "{}", outcome.stderr);
    assert!(outcome.stderr.contains("incomplete"), "{}", outcome.stderr);
    assert!(
        outcome.stderr.contains("4,000") && outcome.stderr.contains("--max-flows"),
        "{}",
        outcome.stderr
    );
}

/// Listens with as small a buffer as there is room for a dozen events in.
fn pinched(more: &[&str]) -> Capture {
    Launch::new(
        ["--buffer", "20000", "--buffer-max", "20000"]
            .iter()
            .chain(more),
    )
    .start()
}

/// All that is alive is listed, but that these were all can't be shown: a reply that was missed looks like a flow.
#[test]
fn live_flows_are_listed_after_an_overrun() {
    netns::run("live_flows_are_listed_after_an_overrun", || {
        for source in ["batch", "callback"] {
            let capture = pinched(&["--source", source]);
            capture.stop();
            let seed = format!("--entries 5000 --family mixed --seed {}", source.len());
            let expected = Flood::start(&format!("{seed} --replied 30 --privileged 10")).finish();
            capture.resume();
            let outcome = capture.finish();
            assert!(!honest(&outcome, &expected), "{}", outcome.stderr);
            assert_eq!(outcome.code, Some(3), "{}", outcome.stderr);
            assert_eq!(outcome.stderr.lines().count(), 1, "{}", outcome.stderr);
            assert!(outcome.stderr.contains("--reliable"), "{}", outcome.stderr);
            run("conntrack", ["-F"]);
            run("conntrack", ["-F", "-f", "ipv6"]);
        }
    });
}

/// The receive buffers of the netfilter sockets in this namespace, in bytes.
fn buffers() -> Vec<u32> {
    // -p: from iproute2 6.15 on, memory is shown only with it.
    let sockets = run("ss", ["-f", "netlink", "-m", "-p"]);
    let buffer = |line: &str| line.split(",rb").nth(1)?.split(',').next()?.parse().ok();
    sockets
        .lines()
        .filter(|line| line.contains("nft:") && !line.contains("nft:kernel"))
        .filter_map(buffer)
        .collect()
}

#[test]
fn the_buffer_grows_under_pressure_as_far_as_it_may() {
    netns::run("the_buffer_grows_under_pressure_as_far_as_it_may", || {
        let sizes = ["--buffer", "128K", "--buffer-max", "384K"];
        let capture = Launch::new(["--source", "batch"].iter().chain(&sizes)).start();
        until_true("the first buffer", || buffers().contains(&(128 << 10)));
        for seed in 1..=3 {
            // 102 events fill the first buffer, twice as many the next.
            capture.stop();
            run(flood(), ["--entries", "1000", "--seed", &seed.to_string()]);
            capture.resume();
            capture.drained();
        }
        until_true("the largest buffer", || buffers().contains(&(384 << 10)));
        // Whether events were dropped before it grew is not what this is about.
        assert!(matches!(capture.finish().code, Some(0 | 3)));
    });
}
