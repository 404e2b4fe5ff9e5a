//! The way that the documents show, followed to the letter on the most usual gateway: capture, rules, check, load, and
//! everything that worked works again, and nothing else.

use std::fs;

use vendor_tests::capture::{Launch, Outcome};
use vendor_tests::netns::{self, sh};
use vendor_tests::office::Site::{Dmz, Gateway, Internet, Lan};
use vendor_tests::office::{Attempt, Office};
use vendor_tests::temp::Folder;

/// What is older than the capture: a tunnel and a time server's association, which always use the same ports.
const OPEN_BEFORE: [Attempt; 2] = [
    Attempt(
        "udp",
        Gateway,
        "203.0.113.1",
        "198.51.100.8",
        51820,
        Some(51820),
    ),
    Attempt(
        "udp",
        Gateway,
        "203.0.113.1",
        "198.51.100.1",
        123,
        Some(123),
    ),
];

/// A day of the office.
const DAY: [Attempt; 25] = [
    Attempt("udp", Lan, "192.168.10.11", "192.168.20.53", 53, None),
    Attempt("udp", Lan, "192.168.10.12", "192.168.20.53", 53, None),
    Attempt("tcp", Lan, "192.168.10.11", "192.168.20.53", 53, None),
    Attempt("tcp", Lan, "192.168.10.11", "192.168.20.80", 443, None),
    Attempt("tcp", Lan, "192.168.10.13", "192.168.20.80", 80, None),
    Attempt("tcp", Lan, "192.168.10.11", "192.168.20.25", 993, None),
    Attempt("tcp", Lan, "192.168.10.13", "192.168.20.25", 587, None),
    Attempt("tcp", Lan, "192.168.10.11", "198.51.100.1", 443, None),
    Attempt("tcp", Lan, "192.168.10.12", "198.51.100.3", 80, None),
    Attempt("tcp", Lan, "192.168.10.11", "192.168.10.1", 22, None),
    Attempt("tcp", Lan, "192.168.10.11", "192.168.20.22", 22, None),
    Attempt("tcp", Lan, "192.168.10.12", "192.168.30.50", 9100, None),
    Attempt("udp", Lan, "192.168.10.14", "192.168.30.50", 161, None),
    Attempt("udp", Lan, "192.168.10.11", "192.168.10.1", 123, Some(123)),
    Attempt("tcp", Lan, "2001:db8:10::11", "2001:db8:20::80", 443, None),
    Attempt("tcp", Lan, "2001:db8:10::15", "2001:db8:beef::1", 443, None),
    Attempt("udp", Lan, "2001:db8:10::12", "2001:db8:20::53", 53, None),
    Attempt("udp", Dmz, "192.168.20.53", "198.51.100.7", 53, None),
    Attempt("tcp", Dmz, "192.168.20.25", "198.51.100.9", 25, None),
    Attempt("udp", Gateway, "192.168.20.1", "192.168.20.53", 53, None),
    Attempt("tcp", Gateway, "203.0.113.1", "198.51.100.2", 443, None),
    Attempt("tcp", Internet, "198.51.100.3", "203.0.113.1", 443, None),
    Attempt("tcp", Internet, "198.51.100.4", "203.0.113.1", 80, None),
    Attempt("tcp", Internet, "198.51.100.9", "203.0.113.1", 25, None),
    Attempt(
        "tcp",
        Internet,
        "2001:db8:beef::2",
        "2001:db8:20::80",
        443,
        None,
    ),
];

/// What nobody did and nobody is to do, although something waits there.
const ATTACKS: [Attempt; 9] = [
    Attempt("tcp", Internet, "198.51.100.66", "203.0.113.1", 22, None),
    Attempt("tcp", Internet, "198.51.100.66", "192.168.20.22", 22, None),
    Attempt(
        "tcp",
        Internet,
        "198.51.100.66",
        "192.168.20.80",
        5432,
        None,
    ),
    // A client of the published server, but straight to where the gateway sends it.
    Attempt("tcp", Internet, "198.51.100.3", "192.168.20.80", 443, None),
    Attempt(
        "tcp",
        Internet,
        "2001:db8:beef::1",
        "2001:db8:20::22",
        22,
        None,
    ),
    Attempt("tcp", Dmz, "192.168.30.50", "192.168.10.13", 445, None),
    Attempt("tcp", Dmz, "192.168.20.80", "192.168.10.1", 22, None),
    Attempt("tcp", Lan, "192.168.10.14", "192.168.20.22", 22, None),
    Attempt("tcp", Lan, "192.168.10.14", "192.168.20.25", 5432, None),
];

/// What somebody tries who gets no answer.
const SCAN: Attempt = Attempt("tcp", Internet, "198.51.100.66", "203.0.113.1", 23, None);

fn ran(args: &[&str]) -> Outcome {
    let outcome = Launch::new(args).run();
    assert_eq!(outcome.code, Some(0), "{args:?}: {}", outcome.stderr);
    outcome
}

fn assert_works(office: &Office, attempts: &[Attempt], why: &str) {
    for &attempt in attempts {
        // Once more: the machine may have had other things to do.
        let works = office.works(attempt) || office.works(attempt);
        assert!(works, "{attempt:?} {why}");
    }
}

#[test]
fn the_documented_way_keeps_everything_working_and_opens_nothing() {
    let test = "the_documented_way_keeps_everything_working_and_opens_nothing";
    netns::run(test, || {
        let folder = Folder::new();
        let [json, nft, report] = ["gw1.json", "gw1.nft", "gw1.report"]
            .map(|name| folder.join(name).to_str().expect("text").to_owned());
        let office = Office::new();
        for attack in ATTACKS {
            assert!(
                office.works(attack) || office.works(attack),
                "{attack:?} is stopped by something else"
            );
        }
        // What is left of them would be listed as existing.
        sh("conntrack -F 2>/dev/null");
        assert_works(&office, &OPEN_BEFORE, "before");
        // As docs/rules.md has it, but for the seven days.
        let capture = Launch::new([
            "--track",
            "--existing",
            "--all-protocols",
            "--format",
            "json",
            "-o",
            &json,
        ])
        .start();
        assert_works(&office, &DAY, "on the day");
        assert!(!office.works(SCAN));
        capture.drained();
        let outcome = capture.finish();
        assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
        ran(&["rules", &json, "-o", &nft, "--report", &report]);
        ran(&["check", &nft, &json]);
        sh(&format!("nft -f {nft} && conntrack -F 2>/dev/null"));
        let rules = fs::read_to_string(&nft).expect("rules");
        for attempts in [&OPEN_BEFORE[..], &DAY] {
            assert_works(&office, attempts, &rules);
        }
        for attack in ATTACKS {
            assert!(!office.works(attack), "{attack:?}: {rules}");
        }
    });
}
