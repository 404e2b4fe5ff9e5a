//! What happens where nobody looks: events that were off or kept back, namespaces that went meanwhile, replies without an
//! event. A list, a recording and standard error own up to it, or have made up for it.

use std::fs;
use std::net::UdpSocket;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use vendor_tests::capture::Launch;
use vendor_tests::netns::{self, sh};
use vendor_tests::program::{flood, run};
use vendor_tests::temp::Folder;
use vendor_tests::wait::{bound, until_true};

/// Has connections of this namespace tracked, and does something more with each.
fn track(more: &str) {
    sh(&format!(
        "nft 'add table inet t; add chain inet t c {{ type filter hook output priority 0; }}; add rule inet t c {more}'"
    ));
}

fn bind(port: u16) -> UdpSocket {
    bound(|| UdpSocket::bind(("127.0.0.1", port)))
}

/// A recording lacks what a list lacks, and says so when it is read.
#[test]
fn a_recording_owns_up_to_events_that_were_off() {
    netns::run("a_recording_owns_up_to_events_that_were_off", || {
        track("ct state new counter");
        let folder = Folder::new();
        let path = folder.join("events.pcap");
        let path = path.to_str().expect("text");
        let capture = Launch::new(["-w", path]).start();
        for value in [0, 2] {
            sh(&format!(
                "sysctl -qw net.netfilter.nf_conntrack_events={value}"
            ));
            let (near, _far) = (bind(40_000), bind(7000));
            near.send_to(b"x", "127.0.0.1:7000").expect("sent");
        }
        assert_eq!(capture.finish().code, Some(3));
        for (args, code) in [(&["-r", path][..], 3), (&["-r", path, "--strict"], 1)] {
            let outcome = Launch::new(args).run();
            assert_eq!(outcome.code, Some(code), "{args:?}: {}", outcome.stderr);
            assert!(outcome.stderr.contains("off"), "{}", outcome.stderr);
        }
    });
}

/// A rule may set the mask of events twice, or take it from a map.
#[test]
fn any_mask_of_a_rule_may_be_the_one_that_counts() {
    netns::run("any_mask_of_a_rule_may_be_the_one_that_counts", || {
        for (rule, code) in [
            (
                "udp dport 7777 ct event set new,related,destroy,reply ct event set destroy",
                3,
            ),
            (
                "ct mark set 0xf ct event set udp dport map { 7777 : destroy }",
                3,
            ),
            ("ct event set new,related,destroy,reply,assured", 0),
        ] {
            track(rule);
            let capture = Launch::new::<&str>([]).start();
            bind(40_000)
                .send_to(b"x", "127.0.0.1:7777")
                .expect("nobody is there");
            capture.drained();
            let outcome = capture.finish();
            assert_eq!(outcome.code, Some(code), "{rule}: {}", outcome.stderr);
            assert_eq!(
                outcome.stderr.contains("kept events back"),
                code == 3,
                "{rule}: {}",
                outcome.stderr
            );
            sh("nft flush ruleset");
        }
    });
}

/// The kernel makes no event for the reply to an entry that is older than the capture, or whose events a rule keeps back:
/// a list looks into the table for it.
#[test]
fn replies_without_an_event_are_in_the_lists_meanwhile_too() {
    netns::run(
        "replies_without_an_event_are_in_the_lists_meanwhile_too",
        || {
            track("ct state new counter");
            let folder = Folder::new();
            let path = folder.join("list");
            for (round, args) in [
                &["--existing"][..],
                &["--existing", "--reset", "--interval", "1h"],
            ]
            .into_iter()
            .enumerate()
            {
                let to = 7000 + round as u16;
                let (near, far) = (bind(40_000), bind(to));
                sh("sysctl -qw net.netfilter.nf_conntrack_events=0");
                near.send_to(b"x", ("127.0.0.1", to)).expect("sent");
                sh("sysctl -qw net.netfilter.nf_conntrack_events=2");
                let output = ["-o", path.to_str().expect("text")];
                let capture = Launch::new(args.iter().chain(&output)).start();
                far.send_to(b"y", "127.0.0.1:40000").expect("sent");
                let wanted = format!("(port={to}) (confirmed)");
                let list = || fs::read_to_string(&path).unwrap_or_default();
                if round == 0 {
                    capture.signal(Signal::USR1);
                    until_true("a list", || list().contains(&wanted));
                }
                capture.finish();
                assert!(list().contains(&wanted), "{args:?}: {}", list());
            }
        },
    );
}

/// The same for a connection whose events a rule keeps back: the list is not complete, and has all the same what the table
/// has.
#[test]
fn what_rules_keep_back_is_taken_from_the_table() {
    netns::run("what_rules_keep_back_is_taken_from_the_table", || {
        for rule in [
            "nft 'add table inet t; add chain inet t c { type filter hook output priority 0; }; add rule inet t c ct event \
             set destroy'",
            "iptables -t raw -A OUTPUT -p udp -j CT --ctevents destroy",
        ] {
            sh(rule);
            let capture = Launch::new::<&str>([]).start();
            let (near, far) = (bind(40_000), bind(7777));
            near.send_to(b"x", "127.0.0.1:7777").expect("sent");
            far.send_to(b"y", "127.0.0.1:40000").expect("sent");
            let outcome = capture.finish();
            assert_eq!(outcome.code, Some(3), "{}", outcome.stderr);
            assert!(
                outcome.text().contains("(port=7777) (confirmed)"),
                "{rule}: {}",
                outcome.text()
            );
            sh("nft flush ruleset; conntrack -F 2>/dev/null");
        }
    });
}

/// Events of a namespace that is gone are listed under its name, or it is said that they may not be.
#[test]
fn a_namespace_that_gets_the_id_of_another_does_not_get_its_flows_in_silence() {
    let test = "a_namespace_that_gets_the_id_of_another_does_not_get_its_flows_in_silence";
    netns::run_with_names(test, || {
        for (entries, workers) in [(20, "1"), (3000, "1"), (3000, "2")] {
            netns::add("blue");
            let words = ["--all-netns", "--source", "batch", "--format", "json"];
            let capture = Launch::new(words.iter().chain(&["--workers", workers])).start();
            let listed = || run("ip", ["netns", "list"]);
            until_true("an id", || listed().contains("blue (id:"));
            let listed = listed();
            let id = { listed.split("blue (id: ") }
                .nth(1)
                .and_then(|rest| rest.split(')').next());
            let id = id.expect("an id").to_owned();
            capture.stop();
            run(
                flood(),
                format!("--netns blue --entries {entries}").split(' '),
            );
            sh("ip netns delete blue");
            until_true("its id to be free", || {
                !run("ip", ["-all", "netns", "list-id"]).contains(&format!("nsid {id} "))
            });
            netns::add("green");
            sh(&format!("ip netns set green {id}"));
            capture.resume();
            capture.drained();
            let outcome = capture.finish();
            let text = outcome.text();
            let green = text.matches("\"netns\":\"green\"").count();
            assert!(
                green == 0 || outcome.code == Some(3),
                "{green} of {entries} flows with {workers}: {}",
                outcome.stderr
            );
            sh("ip netns delete green");
        }
    });
}

/// What is switched off in a namespace just before it goes can't be known: its name is said.
#[test]
fn a_namespace_that_went_between_two_looks_is_named() {
    netns::run_with_names("a_namespace_that_went_between_two_looks_is_named", || {
        netns::add("blue");
        let capture = Launch::new(["--all-netns", "--source", "batch"]).start();
        until_true("an id", || {
            run("ip", ["netns", "list"]).contains("blue (id:")
        });
        thread::sleep(Duration::from_secs(1));
        sh(
            "ip netns exec blue sysctl -qw net.netfilter.nf_conntrack_events=0; ip netns delete blue",
        );
        thread::sleep(Duration::from_secs(1));
        let outcome = capture.finish();
        assert!(
            outcome.stderr.contains("could not be looked at") && outcome.stderr.contains("blue"),
            "{}",
            outcome.stderr
        );
    });
}
