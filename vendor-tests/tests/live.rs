//! Real connections through a gateway: the list against what conntrack(8) saw of the same events.

use std::io::Read;
use std::net::Shutdown;

use vendor_tests::capture::Launch;
use vendor_tests::lab::{Lab, close};
use vendor_tests::netns::{self, sh};
use vendor_tests::program::{flood, run};
use vendor_tests::witness::{Witness, insert};

/// Ways to receive that all have to make the same list.
const WAYS: [&[&str]; 9] = [
    // The BPF program as root, batch elsewhere.
    &[],
    &["--source", "batch"],
    &["--source", "batch", "--reliable"],
    &["--source", "callback"],
    &["--no-prefilter"],
    &["--workers", "2"],
    &["--workers", "3", "--no-prefilter"],
    &["--source", "callback", "--workers", "3"],
    &["--reliable"],
];

/// Has every way listen while `happen` does, and compares all lists with the independent one.
fn compare(happen: impl FnOnce()) -> String {
    let witness = Witness::start();
    let captures = WAYS.map(|args| Launch::new(args).start());
    happen();
    let expected = witness.model().list();
    for (args, capture) in WAYS.into_iter().zip(captures) {
        assert_eq!(capture.finish().list(), expected, "{args:?}");
    }
    expected
}

#[test]
fn connections_through_a_gateway_are_listed_whichever_way_they_are_received() {
    netns::run(
        "connections_through_a_gateway_are_listed_whichever_way_they_are_received",
        || {
            let lab = Lab::new();
            lab.track();
            let list = compare(|| lab.traffic());
            // That the traffic was what it was meant to be.
            for line in [
                "src = 10.1.0.2 (port=1023) to dst = 10.2.0.2 (port=443) (confirmed)",
                "src = 10.1.0.2 (port=1024) to dst = 10.2.0.2 (port=443) (confirmed)",
                "src = 10.1.0.2 (port=1024) to dst = 10.2.0.99 (port=8080) (confirmed)",
                "src = 10.1.0.2 (port=1024) to dst = 10.2.0.2 (port=81)\n",
                "src = 10.1.0.2 (port=1024) to dst = 10.2.0.2 (port=9)\n",
                "src = fd01::2 (port=1023) to dst = fd02::2 (port=443) (confirmed)",
                "src = fd01::2 (port=53) to dst = fd02::2 (port=53) (confirmed)",
                "src = 10.1.0.2 to dst = 10.2.0.2 (type=0 | code=0) (confirmed)",
                "src = 10.1.0.2 to dst = 10.2.0.77 (type=0 | code=0)\n",
                "src = fd01::2 to dst = fd02::2 (type=0 | code=0) (confirmed)",
            ] {
                assert!(list.contains(line), "{line} is not in\n{list}");
            }
        },
    );
}

#[test]
fn entries_made_by_other_programs_are_listed() {
    netns::run("entries_made_by_other_programs_are_listed", || {
        let list = compare(|| {
            insert("-p udp -s 10.0.0.1 -d 10.0.0.2 --sport 5000 --dport 53 -t 60");
            // The first sighting is replied already: not listed.
            insert("-p udp -s 10.0.0.3 -d 10.0.0.2 --sport 5000 --dport 53 -t 60 -u SEEN_REPLY");
            insert("-p tcp -s 10.0.0.4 -d 10.0.0.2 --sport 5000 --dport 80 -t 60 --state SYN_SENT");
            insert(
                "-p tcp -s fd00::4 -d ::ffff:1.2.3.4 --sport 22 --dport 80 -t 60 --state SYN_SENT",
            );
            insert(
                "-p icmp -s 10.0.0.1 -d 10.0.0.2 --icmp-type 13 --icmp-code 3 --icmp-id 7 -t 60",
            );
            insert("-p icmp -s 10.0.0.1 -d 10.0.0.2 --icmp-type 8 --icmp-code 0 --icmp-id 8 -t 60");
            let update = "-U -p udp -s 10.0.0.1 -d 10.0.0.2 --sport 5000 --dport 53 -u SEEN_REPLY";
            run("conntrack", update.split(' '));
        });
        assert_eq!(list.matches("ICMPv4").count(), 2, "{list}");
        assert!(!list.contains("10.0.0.3"), "{list}");
    });
}

#[test]
fn hundreds_of_made_up_connections_are_listed() {
    netns::run("hundreds_of_made_up_connections_are_listed", || {
        let list = compare(|| {
            let words = "--entries 1500 --distinct 500 --family mixed --replied 40 --privileged 20 --rate 2000 --delete";
            run(flood(), words.split(' '));
        });
        assert_eq!(list.lines().count(), 501, "{list}");
    });
}

/// Has connections emit events that were opened before anybody listened, as they do on kernels before
/// 5.19 and where another listener was there in time.
fn events_of_older_connections() {
    sh("echo 1 > /proc/sys/net/netfilter/nf_conntrack_events");
}

/// An unanswered connection that is one flow with all others to that port.
fn unanswered(destination_port: u16) {
    insert(&format!(
        "-p tcp -s 10.1.0.2 -d 10.2.0.2 --sport 60000 --dport {destination_port} -t 60 --state SYN_SENT"
    ));
}

#[test]
fn an_older_connection_confirms_a_flow_when_it_ends() {
    netns::run("an_older_connection_confirms_a_flow_when_it_ends", || {
        let lab = Lab::new();
        lab.track();
        events_of_older_connections();
        let (near, far) = lab.open_tcp(50000, 443);
        let (other_near, other_far) = lab.open_tcp(50001, 444);
        let list = compare(|| {
            unanswered(443);
            close(near, far);
            // Its flow is not listed: the first sighting is replied.
            close(other_near, other_far);
        });
        assert!(list.contains("(port=443) (confirmed)"), "{list}");
        assert!(!list.contains("(port=444)"), "{list}");
    });
}

#[test]
fn an_older_connection_confirms_a_flow_when_it_is_half_closed() {
    netns::run(
        "an_older_connection_confirms_a_flow_when_it_is_half_closed",
        || {
            let lab = Lab::new();
            lab.track();
            events_of_older_connections();
            let (near, mut far) = lab.open_tcp(50000, 443);
            let list = compare(|| {
                unanswered(443);
                near.shutdown(Shutdown::Write).expect("an open connection");
                assert_eq!(far.read(&mut [0; 8]).expect("an end"), 0);
            });
            assert!(list.contains("(port=443) (confirmed)"), "{list}");
        },
    );
}
