//! Recordings: they replay to the live list, other tools can read them, and they hold what the kernel
//! sent, not what the list needs of it.

use std::ffi::OsStr;
use std::path::Path;

use conntracker::thin::Share;
use vendor_tests::capture::Launch;
use vendor_tests::lab::Lab;
use vendor_tests::model::{Model, Sighting};
use vendor_tests::netns;
use vendor_tests::pcap;
use vendor_tests::program::run;
use vendor_tests::sieve::Sieve;
use vendor_tests::temp::Folder;
use vendor_tests::witness::Witness;

fn words<'a>(before: &[&'a str], path: &'a Path) -> Vec<&'a OsStr> {
    before
        .iter()
        .map(|word| OsStr::new(*word))
        .chain([path.as_os_str()])
        .collect()
}

#[test]
fn a_recording_replays_to_the_live_list() {
    netns::run("a_recording_replays_to_the_live_list", || {
        let folder = Folder::new();
        let lab = Lab::new();
        lab.track();
        let ways = [
            &["-w"][..],
            &["--workers", "2", "-w"],
            &["--reliable", "-w"],
        ];
        let paths = ["plain", "workers", "reliable"].map(|name| folder.join(name));
        let witness = Witness::start();
        let captures = [0, 1, 2].map(|way| Launch::new(words(ways[way], &paths[way])).start());
        lab.traffic();
        let expected = witness.model().list();
        let mut sieve = Sieve::new(true, Share::ALL);
        for (path, capture) in paths.iter().zip(captures) {
            let live = capture.finish().list();
            assert_eq!(live, expected, "{}", path.display());
            assert_eq!(
                Launch::new(words(&["-r"], path)).run().list(),
                live,
                "{}",
                path.display()
            );
            let datagrams = pcap::read(path).expect("a capture");
            let dropped = datagrams
                .iter()
                .filter(|datagram| !sieve.passes(datagram))
                .count();
            // A protocol that is not listed.
            assert!(
                dropped > 0,
                "{dropped} of {} would have been dropped",
                datagrams.len()
            );
        }
        assert_eq!(dissected(&paths[0]).list(), expected);
    });
}

/// The list that follows from what tshark sees in a recording, in which it finds nothing wrong.
fn dissected(path: &Path) -> Model {
    let fields = [
        "frame.protocols",
        "_ws.malformed",
        "_ws.expert",
        "netlink-netfilter.nfct_tuple.proto.num",
        "netlink-netfilter.nfct_tuple.ip.ip_addr",
        "netlink-netfilter.nfct_tuple.ip.ip6_addr",
        "netlink-netfilter.nfct_tuple.proto.src_port",
        "netlink-netfilter.nfct_tuple.proto.dst_port",
        "netlink-netfilter.ct_attr.status.seen_reply",
    ];
    let asked = fields.iter().flat_map(|field| ["-e", field]);
    let options: Vec<&str> = ["-T", "fields"]
        .into_iter()
        .chain(asked)
        .chain(["-r"])
        .collect();
    let said = run("tshark", words(&options, path));
    assert_eq!(
        said.lines().count(),
        pcap::read(path).expect("a capture").len()
    );
    let mut model = Model::default();
    for line in said.lines() {
        let packet: Vec<&str> = line.split('\t').collect();
        assert_eq!(packet[..3], ["netlink:netlink-netfilter", "", ""], "{line}");
        // The original direction comes before the reply.
        let first = |field: usize| packet[field].split(',').next().unwrap_or_default();
        let mut addresses = packet[4]
            .split(',')
            .chain(packet[5].split(','))
            .filter(|text| !text.is_empty());
        let mut address = || {
            addresses
                .next()
                .expect("two addresses")
                .parse()
                .expect("an address")
        };
        model.event(&Sighting {
            protocol: first(3).parse().expect("a protocol"),
            source: address(),
            destination: address(),
            // No such attributes in an ICMP tuple, and it names no type or code: all pings are alike.
            first: first(6).parse().unwrap_or(0),
            second: first(7).parse().unwrap_or(0),
            replied: matches!(first(8), "1" | "True"),
        });
    }
    model
}
