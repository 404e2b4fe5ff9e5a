//! Recordings: they replay to the live list, other tools can read them, and they hold what the kernel
//! sent, not what the list needs of it.

use std::ffi::OsStr;
use std::path::Path;

use conntracker::thin::Share;
use vendor_tests::capture::Launch;
use vendor_tests::lab::{Lab, track_connections};
use vendor_tests::netns;
use vendor_tests::pcap;
use vendor_tests::program::run;
use vendor_tests::sieve::Sieve;
use vendor_tests::temp::Folder;
use vendor_tests::witness::Witness;

fn words<'a>(before: &[&'a str], path: &'a Path) -> Vec<&'a OsStr> {
    before.iter().map(|word| OsStr::new(*word)).chain([path.as_os_str()]).collect()
}

#[test]
fn a_recording_replays_to_the_live_list() {
    netns::run("a_recording_replays_to_the_live_list", || {
        let folder = Folder::new();
        let lab = Lab::new();
        track_connections();
        lab.translate();
        let ways = [&["-w"][..], &["--workers", "2", "-w"], &["--reliable", "-w"]];
        let paths = ["plain", "workers", "reliable"].map(|name| folder.join(name));
        let witness = Witness::start();
        let captures = [0, 1, 2].map(|way| Launch::new(words(ways[way], &paths[way])).start());
        lab.traffic();
        let expected = witness.model().list();
        let mut sieve = Sieve::new(true, Share::ALL);
        for (path, capture) in paths.iter().zip(captures) {
            let live = capture.finish().list();
            assert_eq!(live, expected, "{}", path.display());
            assert_eq!(Launch::new(words(&["-r"], path)).run().list(), live, "{}", path.display());
            let datagrams = pcap::read(path).expect("a capture");
            let dropped = datagrams.iter().filter(|datagram| !sieve.passes(datagram)).count();
            // Ten closing TCP connections, and a protocol that is not listed.
            assert!(dropped > 10, "{dropped} of {} would have been dropped", datagrams.len());
        }
        decodes(&paths[0]);
    });
}

/// Every packet is a netfilter message to tshark, which finds nothing wrong with it.
fn decodes(path: &Path) {
    let fields = "-T fields -e frame.protocols -e _ws.malformed -e netlink-netfilter.nlmsg_type";
    let said = run("tshark", words(&[&fields.split(' ').collect::<Vec<_>>()[..], &["-r"]].concat(), path));
    let packets: Vec<Vec<&str>> = said.lines().map(|line| line.split('\t').collect()).collect();
    assert_eq!(packets.len(), pcap::read(path).expect("a capture").len());
    for packet in packets {
        assert!(packet[0].contains("netlink") && packet[1].is_empty(), "{packet:?}");
    }
}
