//! What keeps the program from starting, and what it says then.

use std::ffi::OsStr;
use std::fs;

use vendor_tests::capture::{Launch, Outcome};
use vendor_tests::netns::{self, sh};
use vendor_tests::temp::Folder;

const NONE: [&str; 0] = [];

/// Drops capabilities for good.
fn without(capabilities: &str) -> [&str; 5] {
    [
        "setpriv",
        "--bounding-set",
        capabilities,
        "--inh-caps",
        capabilities,
    ]
}

/// One line that holds all of these words, and exit status 1.
fn refused(outcome: &Outcome, words: &[&str]) {
    assert_eq!(
        (outcome.code, outcome.stdout.len()),
        (Some(1), 0),
        "{outcome:?}"
    );
    assert_eq!(outcome.stderr.lines().count(), 1, "{}", outcome.stderr);
    assert!(
        outcome.stderr.starts_with("conntracker: ") && outcome.stderr.ends_with('\n'),
        "{}",
        outcome.stderr
    );
    for word in words {
        assert!(
            outcome.stderr.contains(word),
            "{word} is not in: {}",
            outcome.stderr
        );
    }
}

fn read(path: impl AsRef<OsStr>) -> Launch {
    Launch::new(["-r".as_ref(), path.as_ref()])
}

#[test]
fn listening_needs_a_capability() {
    netns::run("listening_needs_a_capability", || {
        for source in ["batch", "callback"] {
            let launch = Launch::new(["--source", source]).under(without("-net_admin"));
            refused(&launch.run(), &["needs CAP_NET_ADMIN", "sudo", "setcap"]);
        }
        let quiet = Launch::new(["-q"]).under(without("-net_admin"));
        refused(&quiet.run(), &["needs CAP_NET_ADMIN"]);
    });
}

#[test]
fn a_capability_is_enough() {
    netns::run("a_capability_is_enough", || {
        let capture = Launch::new(NONE)
            .under(without("-all,+net_admin,+setuid,+setgid,+setpcap"))
            .start();
        assert_eq!(capture.finish().code, Some(0));
    });
}

/// What was said but for the fact that these captures saw nothing.
fn notes(outcome: &Outcome) -> Vec<&str> {
    let lines = outcome.said.lines();
    lines
        .filter(|line| !line.contains("no event came"))
        .collect()
}

#[test]
fn a_small_buffer_is_told() {
    netns::run("a_small_buffer_is_told", || {
        // Without root, in a user namespace, buffers can't be forced, as if nobody had CAP_NET_ADMIN.
        let own = ["unshare", "-Urn"];
        let capture = Launch::new(["--source", "batch"]).under(own).start();
        let outcome = capture.finish();
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
        let notes = notes(&outcome);
        assert_eq!(notes.len(), 1, "{}", outcome.said);
        assert!(
            notes[0].contains("sysctl -w net.core.rmem_max="),
            "{}",
            outcome.said
        );
    });
}

#[test]
fn a_buffer_as_large_as_asked_for_is_not_told() {
    netns::run("a_buffer_as_large_as_asked_for_is_not_told", || {
        let sizes = ["--buffer", "20000", "--buffer-max", "20000"];
        let launch = Launch::new(sizes.iter().chain(&["--source", "batch"]));
        let outcome = launch.under(["unshare", "-Urn"]).start().finish();
        assert_eq!((outcome.code, notes(&outcome)), (Some(0), Vec::new()));
    });
}

#[test]
fn a_source_that_falls_back_says_so_once() {
    netns::run("a_source_that_falls_back_says_so_once", || {
        // CAP_NET_ADMIN alone, which is not what BPF takes.
        let launch = Launch::new(NONE);
        let outcome = launch
            .under(without("-all,+net_admin,+setuid,+setgid,+setpcap"))
            .start()
            .finish();
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
        let said = notes(&outcome);
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(
            said[0].contains("source batch") && said[0].contains("CAP_BPF"),
            "{said:?}"
        );
    });
}

#[test]
fn the_kernel_source_takes_two_capabilities() {
    netns::run("the_kernel_source_takes_two_capabilities", || {
        // As the service and doctor's setcap have them: no CAP_PERFMON.
        let launch = Launch::new(["--source", "kernel"]);
        let two = "-all,+net_admin,+bpf,+setuid,+setgid,+setpcap";
        assert_eq!(launch.under(without(two)).start().finish().code, Some(0));
    });
}

#[test]
fn events_switched_off_are_told() {
    netns::run("events_switched_off_are_told", || {
        sh("echo 0 > /proc/sys/net/netfilter/nf_conntrack_events");
        refused(
            &Launch::new(NONE).run(),
            &[
                "switched off",
                "sysctl -w net.netfilter.nf_conntrack_events=1",
            ],
        );
        sh("echo 1 > /proc/sys/net/netfilter/nf_conntrack_events");
        assert_eq!(Launch::new(NONE).start().finish().list(), "");
    });
}

#[test]
fn a_size_that_is_none_is_told_with_its_option_and_what_there_is() {
    for (args, option, value) in [
        (&["--buffer", "-1"][..], "--buffer", "-1"),
        (&["--buffer-max", "-1"], "--buffer-max", "-1"),
        (&["--buffer", "3G"], "--buffer", "3G"),
        (&["top", "--buffer", "-1"], "--buffer", "-1"),
        (
            &["watch", "--baseline", "x", "--buffer", "-1"],
            "--buffer",
            "-1",
        ),
    ] {
        let outcome = Launch::new(args).run();
        assert_eq!(outcome.code, Some(2), "{outcome:?}");
        let said = format!(
            "invalid value '{value}' for '{option} <SIZE>': write a size from 1 byte to 2047M"
        );
        assert!(outcome.stderr.contains(&said), "{outcome:?}");
    }
}

#[test]
fn bad_arguments_are_told() {
    for args in [
        &["--no-such-option"][..],
        &["argument"],
        &["--duration", "soon"],
        &["--duration", "0"],
        &["--duration", "18446744073709551615"],
        &["--forget", "18446744073709551615"],
        &["--interval", "18446744073709551615"],
        &["--interval", "1ns"],
        &["--interval", "99ms"],
        &["--buffer", "12 apples"],
        &["--workers", "0"],
        &["--source", "carrier-pigeon"],
        &["--max-flows", "many"],
        &["-r", "a", "-w", "b"],
        &["-r", "a", "--track"],
        &["-q", "-v"],
        &["-o"],
        &["-w", "/dev/null", "--source", "callback"],
        &["-w", "-"],
        &["--all-netns", "--source", "callback"],
        &["--source", "kernel", "--all-netns", "--format", "json"],
        &["--source", "kernel", "--workers", "2"],
        &["--interval", "1s", "--keep", "2", "-o", "flows.txt"],
        &[
            "show",
            "flows.json",
            "--group",
            "src",
            "--format",
            "classic",
        ],
        &["show", "flows.json", "--group", "src", "--sort", "address"],
    ] {
        let outcome = Launch::new(args).run();
        assert_eq!(
            (outcome.code, outcome.stdout.len()),
            (Some(2), 0),
            "{args:?}: {outcome:?}"
        );
        assert!(
            outcome.stderr.starts_with("error: "),
            "{args:?}: {}",
            outcome.stderr
        );
    }
    for arg in ["--help", "-h", "--version", "-V"] {
        let outcome = Launch::new([arg]).run();
        assert_eq!(
            (outcome.code, outcome.stderr.as_str()),
            (Some(0), ""),
            "{arg}"
        );
        assert!(
            outcome.text().contains("conntracker") || arg.contains('h'),
            "{}",
            outcome.text()
        );
    }
}

#[test]
fn files_that_cannot_be_read_are_told() {
    let folder = Folder::new();
    refused(&read(folder.join("none")).run(), &["/none: No such file"]);
    refused(&read(folder.path()).run(), &["directory"]);

    fs::write(folder.join("closed"), "").expect("a file");
    sh(&format!("chmod 0 {}", folder.join("closed").display()));
    let launch = read(folder.join("closed")).under(without("-dac_override,-dac_read_search"));
    refused(&launch.run(), &["/closed: Permission denied"]);

    for (name, bytes, words) in [
        ("empty", &b""[..], &["not a capture", "header"][..]),
        (
            "text",
            b"A list of flows, and not a capture.\n",
            &["not a pcap capture"],
        ),
        (
            "pcapng",
            b"\x0a\x0d\x0d\x0a\x1c\x00\x00\x00\x4d\x3c\x2b\x1a\x01\x00\x00\x00",
            &["not a capture", "header"],
        ),
        (
            "ethernet",
            b"\xd4\xc3\xb2\xa1\x02\x00\x04\x00\0\0\0\0\0\0\0\0\x00\x00\x04\x00\x01\x00\x00\x00",
            &["link type 1, Ethernet", "nfdump", "conntracker -w"],
        ),
    ] {
        fs::write(folder.join(name), bytes).expect("a file");
        let outcome = read(folder.join(name)).run();
        refused(&outcome, words);
        assert!(outcome.stderr.contains(name), "{}", outcome.stderr);
    }
}
