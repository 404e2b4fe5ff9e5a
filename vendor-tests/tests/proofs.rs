//! What proves nothing: ways in which a list could take itself for whole although a flow or a reply is missing, each
//! of which rests on something that looks like evidence.

use std::fs;
use std::net::UdpSocket;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use vendor_tests::capture::{Capture, Launch, sockets};
use vendor_tests::flooding::{Flood, honest};
use vendor_tests::netns::{self, sh};
use vendor_tests::program::{flood, run};
use vendor_tests::temp::Folder;
use vendor_tests::wait::until_true;

/// With a buffer for some fifty events.
const NARROW: [&str; 4] = ["--buffer", "64K", "--buffer-max", "64K"];

fn narrow(more: &[&str]) -> Capture {
    Launch::new(NARROW.iter().chain(more)).start()
}

fn drops(capture: &Capture) -> u64 {
    sockets(capture.pid()).iter().map(|one| one.drops).sum()
}

/// An entry that comes answered, as conntrackd makes them, makes an event that lists nothing. So the kernel's table gives
/// back a flow of which nothing was dropped, and that must not stand for one that was.
#[test]
fn an_entry_that_came_answered_stands_for_no_event() {
    netns::run("an_entry_that_came_answered_stands_for_no_event", || {
        for source in ["batch", "callback", "kernel"] {
            let capture = narrow(&["--source", source]);
            let folder = Folder::new();
            for part in 0..20 {
                let one = |number: u32| {
                    format!(
                        "-I -p tcp -s 10.9.{part}.{number} -d 10.8.0.1 --sport 2000 --dport 80 --state ESTABLISHED -u \
                         SEEN_REPLY,ASSURED -t 600\n"
                    )
                };
                let lines: String = (1..=20).map(one).collect();
                let path = folder.join("lines");
                fs::write(&path, lines).expect("the folder can be written");
                run("conntrack", ["-R".as_ref(), path.as_os_str()]);
                capture.drained();
            }
            capture.stop();
            let expected = Flood::start("--entries 300 --proto udp:100 --delete").finish();
            capture.resume();
            let outcome = capture.finish();
            honest(&outcome, &expected);
            run("conntrack", ["-F"]);
        }
    });
}

/// What finds no room in the ring of the kernel's program is counted by a receiver that comes to it late, at the end
/// too.
#[test]
fn a_reliable_end_counts_what_the_ring_had_no_room_for() {
    netns::run(
        "a_reliable_end_counts_what_the_ring_had_no_room_for",
        || {
            let words =
                "--source kernel --reliable --max-flows 8000 --buffer 256K --buffer-max 256K";
            let capture = Launch::new(words.split(' ')).start();
            let told =
                Flood::start("--entries 4000 --rate 8000 --proto udp:100 --timeout 900 --seed 1");
            let mut expected = told.finish();
            capture.drained();
            thread::sleep(Duration::from_millis(500));
            capture.stop();
            for words in [
                "--entries 2731 --proto tcp:100 --timeout 900 --seed 2",
                "--entries 100 --proto udp:100 --privileged 100 --one-packet --seed 3",
            ] {
                expected.join(Flood::start(words).finish());
            }
            capture.signal(Signal::INT);
            // The last ones have ended by then.
            thread::sleep(Duration::from_millis(1200));
            capture.resume();
            honest(&capture.wait(), &expected);
        },
    );
}

/// A rule that keeps back ends of connections takes from `--reliable` what it rests on, and nothing from others.
#[test]
fn a_mask_of_ends_matters_to_reliable_captures() {
    netns::run("a_mask_of_ends_matters_to_reliable_captures", || {
        sh(
            "nft 'add table inet t; add chain inet t c { type filter hook output priority 0; }; add rule inet t c ct \
             state new ct event set new,related,reply'",
        );
        for (more, code) in [(None, 0), (Some("--reliable"), 3)] {
            let words = ["--duration", "100ms"].into_iter().chain(more);
            let outcome = Launch::new(words).run();
            assert_eq!(outcome.code, Some(code), "{}", outcome.stderr);
            assert_eq!(
                outcome.stderr.contains("on which --reliable rests"),
                code == 3,
                "{}",
                outcome.stderr
            );
        }
    });
}

/// Events of a namespace of which none was ever read can't be missed by name.
#[test]
fn a_namespace_that_was_never_heard_of_is_not_recovered() {
    netns::run_with_names(
        "a_namespace_that_was_never_heard_of_is_not_recovered",
        || {
            let words = ["--all-netns", "--reliable", "--source", "batch"];
            let capture = narrow(&words);
            capture.stop();
            run(
                flood(),
                "--entries 200 --proto tcp:100 --timeout 600".split(' '),
            );
            netns::add("blue");
            run(flood(), "--netns blue --entries 20".split(' '));
            sh("ip netns delete blue");
            capture.resume();
            until_true("an overrun", || drops(&capture) > 0);
            let outcome = capture.finish();
            assert_eq!(outcome.code, Some(3), "{}", outcome.stderr);
        },
    );
}

/// Of a namespace without a name it can't be known whether events are switched off in it.
#[test]
fn namespaces_that_can_not_be_looked_at_are_named() {
    netns::run_with_names("namespaces_that_can_not_be_looked_at_are_named", || {
        netns::add("blue");
        let capture = narrow(&["--all-netns", "--source", "batch"]);
        // An id it has by the link to it.
        sh(
            "unshare -n sleep 600 >/dev/null 2>&1 & echo $! >/run/pid; sleep 0.3; ip link add v0 type veth peer name v1 netns $(cat /run/pid)",
        );
        sh(
            "nsenter -t $(cat /run/pid) -n conntrack -I -p udp -s 10.0.0.1 -d 10.0.0.2 --sport 1 --dport 2 -t 60",
        );
        capture.drained();
        let outcome = capture.finish();
        sh("kill $(cat /run/pid)");
        assert!(
            outcome.stderr.contains("could not be looked at"),
            "{}",
            outcome.stderr
        );
        assert!(!outcome.stderr.contains("blue"), "{}", outcome.stderr);
    });
}

/// A reply to a flow that is in a list which can't be written is in the next one.
#[test]
fn replies_while_a_list_can_not_be_written_are_kept() {
    netns::run("replies_while_a_list_can_not_be_written_are_kept", || {
        let folder = Folder::new();
        let disk = folder.join("disk");
        fs::create_dir(&disk).expect("a folder");
        let disk = disk.to_str().expect("text");
        sh(&format!("mount -t tmpfs -o size=64k none {disk}"));
        sh(&format!("head -c 65536 /dev/zero >{disk}/fill"));
        // Each list in a file of its own: the next one, which has no flow any more, does not replace it.
        let lists = format!("{disk}/lists/");
        let words = [
            "--reset",
            "--interval",
            "500ms",
            "--source",
            "batch",
            "-o",
            &lists,
        ];
        let capture = Launch::new(words).start();
        let expected =
            Flood::start("--entries 60000 --replied 40 --rate 20000 --timeout 60").finish();
        sh(&format!("mount -o remount,size=100m {disk}"));
        let outcome = capture.finish();
        let entries = fs::read_dir(&lists).expect("a folder of lists");
        let found: String = entries
            .map(|entry| fs::read_to_string(entry.expect("an entry").path()).expect("a list"))
            .collect();
        sh(&format!("umount {disk}"));
        assert!(outcome.said.contains("No space left"), "{}", outcome.said);
        let confirmed = |text: &str| text.matches("(confirmed)").count();
        assert_eq!(
            (found.lines().count(), confirmed(&found)),
            (expected.len(), confirmed(&expected.list()))
        );
    });
}

/// The kernel makes no event for an entry that was made while nobody listened, so that its reply is seen only by looking.
#[test]
fn an_open_connection_that_is_answered_without_an_event_is_confirmed() {
    netns::run(
        "an_open_connection_that_is_answered_without_an_event_is_confirmed",
        || {
            sh(
                "nft 'add table inet t; add chain inet t c { type filter hook output priority 0; }; add rule inet t c ct \
                state new counter'",
            );
            sh("sysctl -qw net.netfilter.nf_conntrack_events=0");
            let bind = |port| UdpSocket::bind(("127.0.0.1", port)).expect("a socket");
            let (near, far) = (bind(40_000), bind(7777));
            near.send_to(b"x", "127.0.0.1:7777").expect("sent");
            sh("sysctl -qw net.netfilter.nf_conntrack_events=2");
            let capture = Launch::new(["--existing"]).start();
            far.send_to(b"y", "127.0.0.1:40000").expect("sent");
            let outcome = capture.finish();
            let line = outcome.text();
            assert!(line.contains("(port=7777) (confirmed)"), "{line}");
        },
    );
}

/// What reads the kernel's table at the start and what makes up for a loss at the same time don't take each other's
/// entries for what was lost.
#[test]
fn open_connections_prove_nothing_of_a_loss_at_the_start() {
    netns::run(
        "open_connections_prove_nothing_of_a_loss_at_the_start",
        || {
            run(
                flood(),
                "--entries 30000 --seed 77 --timeout 3600".split(' '),
            );
            for (round, pause_ms) in [10, 30, 60, 100].into_iter().enumerate() {
                let words = ["--existing", "--source", "batch"];
                let capture = Launch::new(NARROW.iter().chain(&words)).spawn();
                thread::sleep(Duration::from_millis(pause_ms));
                capture.stop();
                let words = format!(
                    "--entries 300 --proto udp:100 --seed {} --delete",
                    round + 5
                );
                let expected = Flood::start(&words).finish();
                thread::sleep(Duration::from_millis(600));
                capture.resume();
                until_true("it to listen", || !sockets(capture.pid()).is_empty());
                thread::sleep(Duration::from_millis(300));
                let outcome = capture.finish();
                // Before it listened, nothing was missed of what it promises.
                if outcome.stderr.contains("missed") {
                    honest(&outcome, &expected);
                }
            }
        },
    );
}

/// What the kernel's program keeps for user space to fetch was no dropped event, though the kernel's table may have
/// given the flow back before it was fetched.
#[test]
fn flows_that_are_fetched_stand_for_no_event() {
    netns::run("flows_that_are_fetched_stand_for_no_event", || {
        let capture = narrow(&["--source", "kernel", "--max-flows", "40000"]);
        // They fill the program's map of IPv4 flows.
        let filled = "--entries 20500 --rate 20000 --proto udp:100 --seed 1 --delete";
        let mut expected = Flood::start(filled).finish();
        capture.drained();
        thread::sleep(Duration::from_millis(500));
        capture.stop();
        expected.join(Flood::start("--entries 3100 --proto tcp:100 --seed 2 --delete").finish());
        capture.resume();
        thread::sleep(Duration::from_millis(20));
        capture.stop();
        for words in [
            "--entries 2740 --proto tcp:100 --seed 2 --delete",
            "--entries 3000 --family 6 --proto udp:100 --seed 3",
        ] {
            expected.join(Flood::start(words).finish());
        }
        thread::sleep(Duration::from_millis(600));
        capture.resume();
        thread::sleep(Duration::from_millis(600));
        honest(&capture.finish(), &expected);
    });
}

/// Nobody looks so often that a switch could not be set and set back in between.
#[test]
fn events_that_were_off_for_a_moment_are_owned_up_to() {
    netns::run("events_that_were_off_for_a_moment_are_owned_up_to", || {
        let capture = narrow(&["--source", "batch"]);
        capture.stop();
        for value in [0, 2] {
            sh(&format!(
                "sysctl -qw net.netfilter.nf_conntrack_events={value}"
            ));
        }
        capture.resume();
        let outcome = capture.finish();
        assert_eq!(outcome.code, Some(3), "{}", outcome.stderr);
        assert!(
            outcome.stderr.contains("may have been off for a moment"),
            "{}",
            outcome.stderr
        );
    });
}
