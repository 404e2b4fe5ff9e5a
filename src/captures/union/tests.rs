use std::path::Path;

use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::*;
use crate::captures::reader::Reader;
use crate::formats::json;
use crate::model::listing::Part;
use crate::model::origin::Origin;
use crate::model::record::{Dnat, Identity, Protocol, Service, SourcePort, Translation};
use crate::model::timestamp::Timestamp;
use crate::model::usage::Usage;
use crate::output::sort::Sort;
use crate::ui::console::{Console, Verbosity};

#[test]
fn arrays_of_flows_can_be_turned_in_place() {
    assert_eq!(size_of::<Flow>(), 136);
    assert_eq!(size_of::<listing::Flow>(), 136);
}

/// The union of files, as `conntracker merge` writes it.
fn merge<'a>(files: impl IntoIterator<Item = &'a Vec<u8>>) -> Vec<u8> {
    let console = Console::stderr(Verbosity::Quiet);
    let reader = Reader {
        console: &console,
        strict: true,
        keep_ports: true,
    };
    let mut collection = Collection::default();
    for file in files {
        reader
            .read_from(file.as_slice(), Path::new("file"), None, &mut collection)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(file)));
    }
    let listing = collection.finish();
    write(listing)
}

fn write(mut listing: Listing) -> Vec<u8> {
    Sort::Address.sort(&mut listing.flows);
    let mut out = Vec::new();
    let mut list = json::List::begin(&listing.captures, &mut out).unwrap();
    for flow in &listing.flows {
        list.flow(&flow.record, &flow.seen_in).unwrap();
    }
    list.end().unwrap();
    out
}

fn time() -> impl Strategy<Value = Option<Timestamp>> {
    (0..8_u64).prop_map(Timestamp::from_us)
}

prop_compose! {
    fn capture()(
        host in select(vec![None, Some("a"), Some("b")]),
        start in time(),
        end in time(),
        filter in any::<bool>(),
    ) -> Capture {
        Capture {
            host: host.map(str::to_owned),
            start,
            end,
            filters: if filter { vec!["--proto=tcp".into()] } else { Vec::new() },
            ..Capture::default()
        }
    }
}

prop_compose! {
    fn usage()(
        ended in 1..4_u64,
        bytes in 0..4_u64,
        reply_bytes in 0..3_u64,
        duration_us in proptest::option::of(0..3_u64),
    ) -> Usage {
        Usage { ended, bytes, reply_bytes, packets: bytes, reply_packets: 1, duration_us }
    }
}

prop_compose! {
    fn record()(
        host in 1..4_u8,
        port in 1..3_u16,
        translated in any::<bool>(),
        confirmed in any::<bool>(),
        listed in any::<bool>(),
        connections in 0..5_u64,
        first_seen in time(),
        last_seen in time(),
        usage in proptest::option::of(usage()),
    ) -> Record {
        let dnat = Dnat { address: [10, 9, 0, 1].into(), port: Some(80) };
        Record {
            identity: Identity {
                source: [10, 0, 0, host].into(),
                destination: [10, 1, 0, 1].into(),
                protocol: Protocol::TCP,
                service: Service::Port(port),
                source_port: SourcePort::Ephemeral,
                zone: 0,
                netns: None,
                translation: translated
                    .then(|| Box::new(Translation { dnat: Some(dnat), snat: None })),
            },
            confirmed,
            connections,
            first_seen,
            last_seen,
            classic: if listed {
                Record::usual_classic(confirmed)
            } else {
                crate::model::record::Classic::Absent
            },
            origin: Origin::default(),
            usage: usage.map(Box::new),
        }
    }
}

/// A file of our own, with none, one or several captures.
fn json() -> impl Strategy<Value = Vec<u8>> {
    let part = (any::<Index>(), 0..5_u64, proptest::option::of(usage()));
    let parts = prop::collection::vec(part, 1..4);
    let flows = prop::collection::vec((record(), parts), 0..6);
    (prop::collection::vec(capture(), 0..4), flows).prop_map(|(captures, flows)| {
        let mut collection = Collection::default();
        let numbers: Vec<u32> = captures
            .into_iter()
            .map(|capture| collection.capture(capture))
            .collect();
        for (record, parts) in flows {
            let seen_in: Vec<Part> = if numbers.is_empty() {
                vec![Part::new(
                    collection.capture(Capture::default()),
                    record.connections,
                )]
            } else {
                let parts = parts.iter();
                let part = |(index, connections, usage): &(Index, u64, Option<Usage>)| Part {
                    usage: usage.map(Box::new),
                    ..Part::new(*index.get(&numbers), *connections)
                };
                parts.map(part).collect()
            };
            let _ = collection.flow(record, &seen_in);
        }
        write(collection.finish())
    })
}

/// A file of text.
fn text() -> impl Strategy<Value = Vec<u8>> {
    let lines = select(vec![
        " TCPv4 [           0] src = 10.0.0.1 (port=1024) to dst = 10.1.0.1 (port=1) (confirmed)",
        " TCPv4 [           1] src = 10.0.0.2 (port=1024) to dst = 10.1.0.1 (port=2)",
        "ICMPv4 [           0] src = 10.0.0.1 to dst = 10.1.0.1 (type=0 | code=0)",
        "[0.000003] [NEW] tcp 6 1 src=10.0.0.1 dst=10.1.0.1 sport=9 dport=1 [UNREPLIED] src=10.1.0.1 dst=10.0.0.1 sport=1 dport=9",
        "[UPDATE] tcp 6 1 src=10.0.0.1 dst=10.1.0.1 sport=9 dport=1 src=10.1.0.1 dst=10.0.0.1 sport=1 dport=9",
        "icmp 1 1 src=10.0.0.1 dst=10.1.0.1 type=8 code=0 id=1 src=10.1.0.1 dst=10.0.0.1 type=0 code=0 id=1",
    ]);
    prop::collection::vec(lines, 0..6).prop_map(|lines| {
        let lines: Vec<String> = lines.iter().map(|line| format!("{line}\r\n")).collect();
        lines.concat().into_bytes()
    })
}

fn files() -> impl Strategy<Value = Vec<Vec<u8>>> {
    prop::collection::vec(prop_oneof![3 => json(), 1 => text()], 1..6)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn order_does_not_matter(files in files().prop_flat_map(|files| (Just(files.clone()), Just(files).prop_shuffle()))) {
        let (files, shuffled) = files;
        prop_assert_eq!(merge(&files), merge(&shuffled));
    }

    #[test]
    fn neither_does_grouping(files in files(), cuts in prop::collection::vec(any::<Index>(), 0..3)) {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(files.len())).collect();
        cuts.extend([0, files.len()]);
        cuts.sort_unstable();
        let groups: Vec<Vec<u8>> = cuts.windows(2).map(|cut| merge(&files[cut[0]..cut[1]])).collect();
        prop_assert_eq!(merge(&files), merge(&groups));
    }

    #[test]
    fn what_comes_twice_counts_once(files in files(), again in any::<Index>()) {
        let once = merge(&files);
        prop_assert_eq!(&once, &merge(files.iter().chain([again.get(&files)])));
        prop_assert_eq!(&once, &merge([&once, &once]));
        prop_assert_eq!(&once, &merge(files.iter().chain([&once])));
    }

    #[test]
    fn a_list_that_lacks_flows_never_looks_whole(
        list in json(),
        other in json(),
        damage in prop::collection::vec((0..5, any::<Index>(), any::<Index>()), 1..4),
    ) {
        let mut damaged = list.clone();
        for (how, at, to) in damage {
            let mut lines: Vec<&[u8]> = damaged.split_inclusive(|&byte| byte == b'\n').collect();
            if lines.is_empty() {
                break;
            }
            let (line, target) = (at.index(lines.len()), to.index(lines.len()));
            match how {
                0 => lines.truncate(line + 1),
                1 => { lines.remove(line); }
                2 => lines.insert(target, lines[line]),
                3 => {
                    let others: Vec<&[u8]> = other.split_inclusive(|&byte| byte == b'\n').collect();
                    lines[line] = others[to.index(others.len())];
                }
                _ => {
                    let bytes = damaged.len();
                    damaged.truncate(at.index(bytes));
                    continue;
                }
            }
            damaged = lines.concat();
        }
        let whole = identities(&read(&list).0);
        let (listing, complaints) = read(&damaged);
        let found = identities(&listing);
        // Without its first line it does not say what it is, and nothing is claimed.
        let claims = !listing.captures.is_empty()
            && listing.captures.iter().all(|capture| !capture.is_incomplete());
        let described = damaged.starts_with(b"{\"type\":\"capture\"");
        let lacks = whole.iter().any(|identity| !found.contains(identity));
        // All of another list is another list.
        let replaced = identities(&read(&other).0).iter().all(|identity| found.contains(identity));
        prop_assert!(
            !(claims && described && lacks && !replaced) || complaints,
            "{}\n{}", String::from_utf8_lossy(&list), String::from_utf8_lossy(&damaged)
        );
    }
}

fn identities(listing: &Listing) -> Vec<Identity> {
    let flows = listing.flows.iter();
    flows.map(|flow| flow.record.identity.clone()).collect()
}

/// What a file holds, whatever is wrong with it, and whether that was noticed.
fn read(file: &[u8]) -> (Listing, bool) {
    let console = Console::stderr(Verbosity::Quiet);
    let reader = Reader {
        console: &console,
        strict: false,
        keep_ports: true,
    };
    let mut collection = Collection::default();
    let complaints = reader
        .read_from(file, Path::new("file"), None, &mut collection)
        .expect("no newer one");
    (collection.finish(), complaints.any())
}
