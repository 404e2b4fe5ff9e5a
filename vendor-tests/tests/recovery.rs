//! Flows that began or ended while events were missed or nobody listened.

use std::fs;

use vendor_tests::capture::{Capture, Launch, sockets};
use vendor_tests::lab::Lab;
use vendor_tests::model::Model;
use vendor_tests::netns::{self, sh};
use vendor_tests::program::{flood, run};
use vendor_tests::temp::Folder;
use vendor_tests::wait::until_true;
use vendor_tests::witness::{insert, table, udp};

/// With a buffer for a dozen events.
const PINCHED: [&str; 4] = ["--buffer", "20000", "--buffer-max", "20000"];

fn pinched(more: &[&str]) -> Launch {
    Launch::new(PINCHED.iter().chain(more))
}

/// Has entries come and go while it is stopped.
fn miss(capture: &Capture, entries: u32) {
    capture.stop();
    run(flood(), ["--entries", &entries.to_string(), "--delete"]);
    until_true("an overrun", || {
        sockets(capture.pid()).iter().any(|socket| socket.drops > 0)
    });
    capture.resume();
}

#[test]
fn flows_that_ended_unheard_are_listed_if_reliability_is_asked_for() {
    netns::run(
        "flows_that_ended_unheard_are_listed_if_reliability_is_asked_for",
        || {
            for source in ["batch", "callback"] {
                let capture = pinched(&["--reliable", "--source", source]).start();
                miss(&capture, 500);
                // The kernel retries from a work queue (`ecache_work`), of ends that it keeps for that.
                until_true("the kernel to have told all ends", || {
                    let waiting = fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_count");
                    waiting.expect("nf_conntrack is there").trim() == "0"
                });
                let outcome = capture.finish();
                let lines = outcome.text().lines().count();
                assert_eq!(
                    (outcome.code, lines),
                    (Some(0), 500),
                    "{source}: {}",
                    outcome.stderr
                );
                assert!(
                    outcome.stderr.contains("recovered ("),
                    "{source}: {}",
                    outcome.stderr
                );
                assert!(
                    !outcome.stderr.contains("may be missing"),
                    "{source}: {}",
                    outcome.stderr
                );
            }
        },
    );
}

#[test]
fn flows_that_ended_unheard_are_said_to_be_missing_otherwise() {
    netns::run(
        "flows_that_ended_unheard_are_said_to_be_missing_otherwise",
        || {
            let capture = pinched(&["--source", "batch"]).start();
            miss(&capture, 500);
            let outcome = capture.finish();
            let lines = outcome.text().lines().count();
            assert!(
                outcome.code == Some(3) && lines < 500,
                "{lines}: {}",
                outcome.stderr
            );
            assert!(
                outcome.stderr.contains("incomplete (")
                    && outcome.stderr.contains("may be missing"),
                "{}",
                outcome.stderr
            );
        },
    );
}

#[test]
fn reliability_is_given_up_before_it_fills_the_table() {
    netns::run("reliability_is_given_up_before_it_fills_the_table", || {
        let folder = Folder::new();
        let max = folder.join("max");
        fs::write(&max, "4000\n").expect("a file");
        // The limit is one number for the whole machine; only what the program reads of it is changed,
        // in a mount namespace that goes with it.
        let shell = format!(
            "mount --bind {} /proc/sys/net/netfilter/nf_conntrack_max; exec \"$@\"",
            max.display()
        );
        let capture = pinched(&["--reliable", "--source", "batch"])
            .under(["unshare", "-m", "sh", "-ec", &shell, "sh"])
            .start();
        capture.stop();
        run(flood(), ["--entries", "3500"]);
        capture.resume();
        // It has left the group of ends.
        until_true("reliability to be given up", || {
            groups(capture.pid()) == Some(3)
        });
        let outcome = capture.finish();
        assert_eq!(
            (outcome.code, outcome.stderr.lines().count()),
            (Some(3), 1),
            "{}",
            outcome.stderr
        );
        assert!(
            outcome.stderr.contains("--reliable was given up"),
            "{}",
            outcome.stderr
        );
        // What was alive is listed all the same.
        assert_eq!(outcome.text().lines().count(), 3500);
    });
}

/// The groups of the one socket that listens to new connections. Another one may listen to changes of rules.
fn groups(pid: u32) -> Option<u32> {
    let all = fs::read_to_string(format!("/proc/{pid}/net/netlink")).ok()?;
    all.lines().find_map(|line| {
        let mut fields = line.split_whitespace();
        let protocol = fields.nth(1)?;
        let groups = u32::from_str_radix(fields.nth(1)?, 16).ok()?;
        (protocol == "12" && groups & 1 != 0).then_some(groups)
    })
}

#[test]
fn a_full_table_far_away_does_not_end_reliability() {
    netns::run("a_full_table_far_away_does_not_end_reliability", || {
        let capture = pinched(&["--reliable"]).start();
        miss(&capture, 100);
        let outcome = capture.finish();
        assert!(!outcome.stderr.contains("given up"), "{}", outcome.stderr);
        assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    });
}

#[test]
fn open_connections_are_listed_if_asked_for() {
    netns::run("open_connections_are_listed_if_asked_for", || {
        let lab = Lab::new();
        lab.track();
        // With 2, the default, entries that were made before anybody listened emit no events.
        sh("echo 2 > /proc/sys/net/netfilter/nf_conntrack_events");
        lab.traffic();
        // One is replied at first sight, which an event would not be listed for.
        insert("-p udp -s 10.9.0.1 -d 10.9.0.2 --sport 5000 --dport 53 -t 600 -u SEEN_REPLY");
        let mut expected = Model::default();
        table().iter().for_each(|entry| expected.entry(entry));
        assert!(
            expected.len() > 10 && expected.list().contains("10.9.0.1"),
            "{}",
            expected.list()
        );

        let captures = [&["--existing"][..], &["--existing", "--workers", "2"], &[]]
            .map(|args| Launch::new(args).start());
        udp("10.9.0.3", "10.9.0.4", 1000, 53);
        let mut lists = captures.map(|capture| {
            capture.drained();
            capture.finish().list()
        });
        let new = " UDPv4 [           0] src = 10.9.0.3 (port=1000) to dst = 10.9.0.4 (port=53)\n";
        assert_eq!(lists[2], new, "a list without --existing");
        table().iter().for_each(|entry| expected.entry(entry));
        for list in &mut lists[..2] {
            assert_eq!(*list, expected.list());
        }
    });
}
