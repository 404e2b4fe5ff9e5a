//! Recordings: they replay to the live list, other tools can read them, and they hold what the kernel
//! sent, not what the list needs of it.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::Path;

use conntracker::testing::os::Share;
use vendor_tests::capture::Launch;
use vendor_tests::files::{file, on};
use vendor_tests::flooding::Flood;
use vendor_tests::lab::Lab;
use vendor_tests::model::{Model, Sighting};
use vendor_tests::netns;
use vendor_tests::pcap;
use vendor_tests::program::run;
use vendor_tests::sieve::Sieve;
use vendor_tests::temp::Folder;
use vendor_tests::witness::{Witness, insert};

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

/// Asserts that this recording owns up to it that events may be missing, whoever reads it.
fn is_incomplete(bytes: &[u8], how: &str) {
    let folder = Folder::new();
    let path = file(&folder, "recording", bytes);
    let replayed = Launch::new(words(&["-r"], &path)).run();
    assert_eq!(replayed.code, Some(3), "{how}: {replayed:?}");
    assert!(
        replayed.stderr.contains("incomplete ("),
        "{how}: {replayed:?}"
    );
    let json = Launch::new(words(&["--format", "json", "-r"], &path)).run();
    let json = file(&folder, "json", &json.stdout);
    for path in [&path, &json] {
        assert_eq!(on("show", &[path]).code, Some(3), "{how}");
        let merged = on("merge", &[path]);
        assert!(
            merged.text().contains(r#""verdict":"incomplete""#),
            "{how}: {merged:?}"
        );
        let rules = on("rules --include-unconfirmed", &[path]);
        assert!(
            rules.code == Some(1) || rules.text().contains("WARNING: the capture is incomplete"),
            "{how}: {rules:?}"
        );
    }
    for args in [&["--strict", "-r"][..], &["show", "--strict"]] {
        let strict = Launch::new(words(args, &path)).run();
        assert_eq!(
            (strict.code, strict.text()),
            (Some(1), String::new()),
            "{how}"
        );
    }
}

#[test]
fn a_recording_that_is_not_whole_says_so() {
    netns::run("a_recording_that_is_not_whole_says_so", || {
        let folder = Folder::new();
        let path = folder.join("recording");
        let capture = Launch::new(words(&["-w"], &path)).start();
        for port in 1..=20 {
            insert(&format!(
                "-p udp -s 10.0.0.1 -d 10.0.0.2 --sport 5000 --dport {port} -t 60"
            ));
        }
        let live = capture.finish().list();
        let whole = fs::read(&path).expect("a recording");
        let json = Launch::new(words(&["--format", "json", "-r"], &path))
            .run()
            .list();
        assert!(json.contains(r#""verdict":"complete""#), "{json}");
        assert_eq!(
            Launch::new(words(&["--strict", "-r"], &path)).run().list(),
            live
        );

        // The places where a record begins: 24 bytes of the file's header, 16 of each record's.
        let mut records = vec![24];
        while let Some(len) = whole
            .get(records[records.len() - 1] + 8..)
            .and_then(|rest| rest.first_chunk())
        {
            records.push(records[records.len() - 1] + 16 + u32::from_le_bytes(*len) as usize);
        }
        assert_eq!(
            records.len(),
            1 + 22,
            "two marks and an event for each flow"
        );
        for (number, &at) in records[1..22].iter().enumerate().step_by(4) {
            is_incomplete(&whole[..at], &format!("the first {} records", number + 1));
            is_incomplete(&whole[..at + 3], "cut in the middle of a header");
            is_incomplete(&whole[..at + 20], "cut in the middle of a record");
        }
        let part = |from: usize, to: usize| &whole[records[from]..records[to]];
        let header = &whole[..24];
        is_incomplete(
            &[header, part(0, 5), part(6, 22)].concat(),
            "without a record",
        );
        is_incomplete(
            &[header, part(0, 6), part(5, 6), part(7, 22)].concat(),
            "with another twice instead",
        );
        is_incomplete(&[header, part(1, 22)].concat(), "without its beginning");
        is_incomplete(header, "without any record");
        is_incomplete(&[&whole[..], header].concat(), "with another one behind it");
        // As tcpdump on a monitor has it: nobody promised an end.
        let foreign = file(&folder, "foreign", [header, part(1, 21)].concat());
        assert_eq!(
            Launch::new(words(&["--strict", "-r"], &foreign))
                .run()
                .list(),
            live
        );
        let json = Launch::new(words(&["--format", "json", "-r"], &foreign))
            .run()
            .list();
        assert!(!json.contains("verdict"), "{json}");
        // Cut by a snapshot length: the length of the record is less than that of the packet.
        let mut snapped = fs::read(&foreign).expect("ours");
        snapped[24 + 12..24 + 14].copy_from_slice(&[0xff, 0x7f]);
        is_incomplete(&snapped, "with a packet cut by the snapshot length");
    });
}

#[test]
fn a_recording_of_a_capture_that_missed_events_says_so() {
    netns::run(
        "a_recording_of_a_capture_that_missed_events_says_so",
        || {
            let folder = Folder::new();
            let path = folder.join("recording");
            let capture = Launch::new(words(
                &["--buffer", "64K", "--buffer-max", "64K", "-w"],
                &path,
            ))
            .start();
            capture.stop();
            let expected = Flood::start("--entries 3000").finish();
            capture.resume();
            capture.drained();
            let live = capture.finish();
            // The kernel's table gave them back to the list, and no event of them is in the recording.
            let flows = |text: &str| text.lines().count();
            let replayed = Launch::new(words(&["-r"], &path)).run();
            assert!(
                flows(&replayed.text()) < flows(&expected.list()),
                "nothing was missed: {live:?}"
            );
            is_incomplete(&fs::read(&path).expect("a recording"), "after a loss");
            let existing = Launch::new(words(&["--existing", "-w"], &path)).start();
            assert!(!existing.finish().text().is_empty());
            is_incomplete(&fs::read(&path).expect("a recording"), "with --existing");
        },
    );
}

#[test]
fn a_slow_reader_does_not_hold_up_the_capture() {
    netns::run("a_slow_reader_does_not_hold_up_the_capture", || {
        let folder = Folder::new();
        let (pipe, list) = (folder.join("pipe"), folder.join("list"));
        run("mkfifo", [&pipe]);
        // Someone has it open, and takes nothing.
        let reader = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(&pipe)
            .expect("a pipe");
        let args: Vec<OsString> = [
            "-o".as_ref(),
            list.as_os_str(),
            "-w".as_ref(),
            pipe.as_os_str(),
        ]
        .map(OsString::from)
        .to_vec();
        let capture = Launch::new(args).start();
        let expected = Flood::start("--entries 20000").finish();
        let outcome = capture.finish();
        // The recording is an error, the list is whole.
        assert_eq!(outcome.code, Some(1), "{outcome:?}");
        assert!(
            outcome.stderr.contains("takes nothing any more"),
            "{outcome:?}"
        );
        assert!(!outcome.stderr.contains("missed"), "{outcome:?}");
        assert_eq!(fs::read_to_string(&list).expect("a list"), expected.list());
        drop(reader);
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
    let lines: Vec<&str> = said.lines().collect();
    // The marks: tshark knows no more of them than that they are messages.
    let [first, events @ .., last] = lines.as_slice() else {
        panic!("two marks");
    };
    for mark in [first, last] {
        let packet: Vec<&str> = mark.split('\t').collect();
        assert_eq!(packet[..3], ["netlink:data", "", ""], "{mark}");
    }
    for line in events {
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

/// The second one would take the name from the first, whose recording nobody could read then.
#[test]
fn a_recording_is_written_by_one_capture_at_a_time() {
    netns::run("a_recording_is_written_by_one_capture_at_a_time", || {
        let folder = Folder::new();
        let path = folder.join("events.pcap");
        let first = Launch::new(words(&["-w"], &path)).start();
        let again = || Launch::new(words(&["--duration", "100ms", "-w"], &path)).run();
        let second = again();
        assert_eq!(second.code, Some(1), "{}", second.stderr);
        let why = "is locked, as by another conntracker that still writes it";
        assert!(second.stderr.contains(why), "{}", second.stderr);
        insert("-p udp -s 10.0.0.1 -d 10.0.0.2 --sport 9 --dport 53 -t 60");
        first.drained();
        let list = first.finish().list();
        assert!(!list.is_empty());
        assert_eq!(Launch::new(words(&["-r"], &path)).run().list(), list);
        assert_eq!(again().code, Some(0));
    });
}
