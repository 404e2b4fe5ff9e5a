//! The C tool itself, where there is one: `CONNTRACKER_REFERENCE` names it.

use vendor_tests::capture::Launch;
use vendor_tests::lab::Lab;
use vendor_tests::netns;
use vendor_tests::program::{flood, run};
use vendor_tests::witness::insert;

const NONE: [&str; 0] = [];

/// Has both listen while `happen` does, and compares what they print.
fn compare(reference: &str, happen: impl FnOnce()) {
    let theirs = Launch::of(reference, NONE).start();
    let ours = Launch::new(NONE).start();
    happen();
    theirs.drained();
    let (theirs, ours) = (theirs.finish(), ours.finish());
    assert!(!theirs.stdout.is_empty(), "{}", theirs.stderr);
    assert_eq!(ours.list(), theirs.text());
}

fn reference() -> Option<String> {
    let reference = std::env::var("CONNTRACKER_REFERENCE")
        .ok()
        .filter(|path| !path.is_empty());
    if reference.is_none() {
        vendor_tests::skipped!("no reference: set CONNTRACKER_REFERENCE to the path of the C tool");
    }
    reference
}

#[test]
fn connections_give_the_same_bytes() {
    let Some(reference) = reference() else { return };
    netns::run("connections_give_the_same_bytes", || {
        let lab = Lab::new();
        lab.track();
        compare(&reference, || lab.traffic());
    });
}

#[test]
fn made_up_entries_give_the_same_bytes() {
    let Some(reference) = reference() else { return };
    netns::run("made_up_entries_give_the_same_bytes", || {
        compare(&reference, || {
            insert(
                "-p icmp -s 10.0.0.1 -d 10.0.0.2 --icmp-type 13 --icmp-code 3 --icmp-id 7 -t 60",
            );
            insert(
                "-p tcp -s fd00::4 -d ::ffff:1.2.3.4 --sport 22 --dport 80 -t 60 --state SYN_SENT",
            );
            insert("-p udp -s 10.0.0.3 -d 10.0.0.2 --sport 5000 --dport 53 -t 60 -u SEEN_REPLY");
            // Slow enough for a reader whose buffer holds 166 events.
            let words = "--entries 1500 --distinct 500 --family mixed --replied 40 --privileged 20 --rate 2000";
            run(flood(), words.split(' '));
        });
    });
}
