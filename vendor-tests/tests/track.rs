//! `--track`: connection tracking for as long as the program runs.

use conntracker::testing::Track;
use rustix::process::Signal;
use vendor_tests::capture::{Capture, Launch};
use vendor_tests::netns::{self, sh};
use vendor_tests::program::run;
use vendor_tests::wait::until_true;

/// One ping to this host, which only leaves an entry where connections are tracked.
fn ping(address: &str) {
    run("ping", ["-n", "-q", "-c", "1", "-W", "10", address]);
}

fn tables() -> String {
    run("nft", ["list", "tables"])
}

fn table_of(capture: &Capture) -> String {
    format!("table inet conntracker-{}", capture.pid())
}

/// Listens, and has switched connection tracking on.
fn start(args: &[&str]) -> Capture {
    let capture = Launch::new(["--track"].iter().chain(args)).start();
    let table = table_of(&capture);
    // It listens before that, so that the first connection is not missed.
    until_true("the table", || tables().contains(&table));
    capture
}

#[test]
fn connections_are_tracked_where_no_rule_needs_it() {
    netns::run("connections_are_tracked_where_no_rule_needs_it", || {
        let without = Launch::new(["--no-prefilter"]).start();
        ping("127.0.0.1");
        let outcome = without.finish();
        assert_eq!(
            (outcome.code, &*outcome.text()),
            (Some(0), ""),
            "connections are tracked without --track"
        );
        assert!(
            outcome.said.contains("capture with --track"),
            "{}",
            outcome.said
        );

        let capture = start(&[]);
        ping("127.0.0.1");
        ping("::1");
        let list = capture.finish().list();
        let lines: Vec<&str> = list.lines().collect();
        assert_eq!(
            lines,
            [
                "ICMPv4 [           0] src = 127.0.0.1 to dst = 127.0.0.1 (type=0 | code=0) (confirmed)",
                "ICMPv6 [           0] src = ::1 to dst = ::1 (type=0 | code=0) (confirmed)",
            ]
        );
        assert_eq!(tables(), "");
    });
}

#[test]
fn tracking_survives_a_flush_of_the_ruleset() {
    netns::run("tracking_survives_a_flush_of_the_ruleset", || {
        let capture = start(&[]);
        sh("nft add table inet other; nft flush ruleset");
        assert_eq!(tables().trim(), table_of(&capture));
        ping("127.0.0.2");
        assert!(capture.finish().list().contains("127.0.0.2"));
    });
}

#[test]
fn tracking_ends_with_the_program_however_that_ends() {
    netns::run("tracking_ends_with_the_program_however_that_ends", || {
        for signal in [Signal::INT, Signal::TERM, Signal::KILL] {
            let capture = start(&[]);
            capture.signal(signal);
            let outcome = capture.wait();
            // The kernel takes the table away when it closes the socket, before the process is reaped.
            assert_eq!(tables(), "", "{signal:?}");
            assert_eq!(
                outcome.signal,
                (signal == Signal::KILL).then_some(9),
                "{outcome:?}"
            );
        }
    });
}

#[test]
fn two_programs_have_a_table_each() {
    netns::run("two_programs_have_a_table_each", || {
        let (one, other) = (start(&[]), start(&["--source", "callback"]));
        let left = table_of(&other);
        assert_eq!(one.finish().list(), "");
        assert_eq!(tables().trim(), left);
        ping("127.0.0.3");
        assert!(other.finish().list().contains("127.0.0.3"));
    });
}

#[test]
fn the_rules_have_no_verdict() {
    netns::run("the_rules_have_no_verdict", || {
        let capture = start(&[]);
        let rules = run("nft", ["list", "ruleset"]);
        for word in ["accept", "drop", "reject", "queue", "return"] {
            // The chains' own policy is to accept.
            assert!(
                !rules.replace("policy accept", "").contains(word),
                "{rules}"
            );
        }
        assert_eq!(capture.finish().list(), "");
    });
}

#[test]
fn tracking_needs_a_capability() {
    netns::run("tracking_needs_a_capability", || {
        let wrapper = [
            "setpriv",
            "--bounding-set",
            "-net_admin",
            "--inh-caps",
            "-net_admin",
        ];
        let outcome = Launch::new(["--track"]).under(wrapper).run();
        assert_eq!(
            (outcome.code, outcome.stderr.lines().count()),
            (Some(1), 1),
            "{outcome:?}"
        );
        assert!(
            outcome.stderr.contains("CAP_NET_ADMIN"),
            "{}",
            outcome.stderr
        );
        assert_eq!(tables(), "");
    });
}

#[test]
fn without_owners_a_table_goes_at_the_end_and_a_killed_ones_at_the_next_start() {
    netns::run(
        "without_owners_a_table_goes_at_the_end_and_a_killed_ones_at_the_next_start",
        || {
            sh("nft add table inet conntracker-4194304; nft add table inet conntracker-mine");
            let first = Track::named().expect("this kernel has nftables");
            let own = format!("table inet conntracker-{}", std::process::id());
            let both = format!("table inet conntracker-mine\n{own}\n");
            assert_eq!(tables(), both, "one is left behind, the other not ours");
            // As another process of the same number in another process namespace would.
            let second = Track::named().expect("two do not get into each other's way");
            assert_eq!(tables(), format!("{both}{own}-1\n"));
            let capture = Launch::new(["--no-prefilter"]).start();
            ping("127.0.0.1");
            assert_eq!(capture.finish().list().lines().count(), 1);
            drop(first);
            assert_eq!(tables(), format!("table inet conntracker-mine\n{own}-1\n"));
            drop(second);
            assert_eq!(tables(), "table inet conntracker-mine\n");
        },
    );
}
