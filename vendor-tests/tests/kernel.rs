//! The BPF program of the `kernel` source, run by the kernel on every message of every vector.
//!
//! The program is attached to a unix datagram socket, where the kernel runs it on each datagram as it
//! does on a netlink socket (`sk_filter`); what it passes is decoded as the `batch` source does, what
//! it tells through its ring is taken in, and the list has to be the C tool's.

use std::collections::HashMap;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use conntracker::testing::formats::classic;
use conntracker::testing::formats::pcap::{Reader, Record};
use conntracker::testing::intake::{Intake, Pending};
use conntracker::testing::intake::{Table, Unseen};
use conntracker::testing::model::{Event, Flow};
use conntracker::testing::netlink::decode;
use conntracker::testing::netlink::messages;
use conntracker::testing::sources::{Kernel, Sizes};

/// What one recording came to.
struct Replayed {
    list: Vec<u8>,
    passed: u64,
    handled: u64,
}

fn sizes() -> Sizes {
    Sizes::new(100_000, 1 << 20)
}

/// Feeds a recording through the program, in its order.
fn replay(
    path: &Path,
    kernel: &mut Kernel,
    sender: &UnixDatagram,
    receiver: &UnixDatagram,
) -> Replayed {
    let file = fs::read(path).unwrap();
    let mut reader = Reader::new(&file[..]).unwrap();
    let intake = Intake::new(Table::new(usize::MAX));
    let mut pending = Pending::default();
    let mut buffer = vec![0; 1 << 17];
    let before = kernel.counts().unwrap();
    while let Some(record) = reader.next_record().unwrap() {
        let (Record::Datagram(_, datagram) | Record::Snapped(_, datagram)) = record else {
            continue;
        };
        // An empty datagram holds no message, and a stream socket's "end" is no event.
        if datagram.is_empty() {
            continue;
        }
        match sender.send(datagram) {
            Ok(_) => {}
            // What the filter drops is reported to a unix socket's sender (`unix_dgram_sendmsg`).
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {}
            Err(error) => panic!("{}: {error}", path.display()),
        }
        match receiver.recv(&mut buffer) {
            Ok(len) => intake.gather(&buffer[..len], &mut pending, || false),
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
        intake.commit(&mut pending);
        while let Some(sighting) = kernel.next_sighting() {
            intake.table().apply(&sighting, Unseen::Ignore);
        }
    }
    let after = kernel.counts().unwrap();
    assert_eq!(after.ring_full, before.ring_full);
    let mut list = Vec::new();
    classic::write(&intake.table().snapshot(), &mut list).unwrap();
    Replayed {
        list,
        passed: after.passed - before.passed,
        handled: after.events - before.events,
    }
}

#[test]
fn every_vector_gives_the_list_of_the_c_tool() {
    let (sender, receiver) = UnixDatagram::pair().unwrap();
    receiver.set_nonblocking(true).unwrap();
    sender.set_nonblocking(true).unwrap();
    match Kernel::attach(&receiver, sizes()) {
        Ok(_) => {}
        Err(reason) => {
            vendor_tests::skipped!("no BPF program can be loaded here: {reason}");
            return;
        }
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors");
    let manifest = fs::read_to_string(folder.join("MANIFEST.tsv")).unwrap();
    let mut judged = 0;
    for line in manifest.lines().skip(1) {
        let columns: Vec<&str> = line.split('\t').collect();
        let (name, exit) = (columns[0], columns[5]);
        let capture = folder.join(format!("{name}.pcap"));
        // Files that are no captures never reach a socket; the large one is not kept here.
        if exit != "0" || !capture.exists() {
            continue;
        }
        // A program of its own for each vector, so that no flow is known from another.
        let mut kernel = Kernel::attach(&receiver, sizes()).unwrap();
        let replayed = replay(&capture, &mut kernel, &sender, &receiver);
        let expected = fs::read(folder.join(format!("{name}.expected"))).unwrap();
        assert!(
            replayed.list == expected,
            "{name}: the list through the program differs from the C tool's"
        );
        // What a running kernel sends must not need the decoder, or the program is of no use.
        // real_protos holds little else than protocols without ports, whose messages are shorter than
        // the program looks at.
        if columns[1] == "real" && name != "real_protos" {
            assert!(
                replayed.passed * 20 <= replayed.handled,
                "{name}: {} of {} messages left to the decoder",
                replayed.passed,
                replayed.handled + replayed.passed
            );
        }
        judged += 1;
    }
    assert!(judged > 90, "only {judged} vectors were there");
}

/// Sends the unreplied events of a vector, and nobody reads the ring meanwhile. Returns how many of them are NEW.
fn send_unread(sender: &UnixDatagram, vector: &str) -> u64 {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors");
    let file = fs::read(folder.join(format!("{vector}.pcap"))).unwrap();
    let mut reader = Reader::new(&file[..]).unwrap();
    let mut begun = 0;
    while let Some(Record::Datagram(_, datagram)) = reader.next_record().unwrap() {
        let message = messages(datagram).next().unwrap().unwrap();
        if let Ok(observation) = decode(message) {
            begun += u64::from(observation.event == Event::New);
            let _ = sender.send(datagram);
        }
    }
    begun
}

/// The program with room for `flows` flows and a ring of one page, 170 IPv4 records; `None` if that can't be had.
fn with_tiny_ring(flows: u32) -> Option<(UnixDatagram, UnixDatagram, Kernel)> {
    let (sender, receiver) = UnixDatagram::pair().unwrap();
    receiver.set_nonblocking(true).unwrap();
    sender.set_nonblocking(true).unwrap();
    let tiny = Sizes {
        ring_bytes: 4096,
        flows4: flows,
        ..sizes()
    };
    match Kernel::attach(&receiver, tiny) {
        Ok(kernel) => Some((sender, receiver, kernel)),
        Err(reason) => {
            vendor_tests::skipped!("no BPF program can be loaded here: {reason}");
            None
        }
    }
}

#[test]
fn what_finds_no_room_in_the_ring_is_kept_and_fetched() {
    let Some((sender, _receiver, mut kernel)) = with_tiny_ring(1 << 16) else {
        return;
    };
    send_unread(&sender, "collapse_tcp4");
    assert!(
        kernel.counts().unwrap().untold > 0,
        "the ring was never full"
    );
    let table = Table::new(usize::MAX);
    while let Some(sighting) = kernel.next_sighting() {
        table.apply(&sighting, Unseen::Ignore);
    }
    // Twice is as good as once.
    kernel.fetch_untold(&table).unwrap();
    kernel.fetch_untold(&table).unwrap();
    let mut list = Vec::new();
    classic::write(&table.snapshot(), &mut list).unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors");
    let expected = fs::read(folder.join("collapse_tcp4.expected")).unwrap();
    assert!(list == expected, "the list is not whole");
}

#[test]
fn what_finds_no_room_anywhere_is_counted() {
    let Some((sender, _receiver, mut kernel)) = with_tiny_ring(32) else {
        return;
    };
    send_unread(&sender, "collapse_tcp4");
    let counts = kernel.counts().unwrap();
    assert!(counts.ring_full > 0 && counts.lost_new > 0, "{counts:?}");
    assert!(counts.lost_new <= counts.ring_full, "{counts:?}");
    let table = Table::new(usize::MAX);
    while let Some(sighting) = kernel.next_sighting() {
        table.apply(&sighting, Unseen::Ignore);
    }
    kernel.fetch_untold(&table).unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors");
    let expected = fs::read_to_string(folder.join("collapse_tcp4.expected")).unwrap();
    let missing = expected.lines().count() - table.len();
    assert!(
        missing > 0 && missing as u64 <= counts.lost_new,
        "{missing}: {counts:?}"
    );
}

#[test]
fn the_kernel_knows_every_flow_and_what_found_no_room() {
    let (sender, receiver) = UnixDatagram::pair().unwrap();
    receiver.set_nonblocking(true).unwrap();
    sender.set_nonblocking(true).unwrap();
    let mut kernel = match Kernel::attach(&receiver, sizes()) {
        Ok(kernel) => kernel,
        Err(reason) => {
            vendor_tests::skipped!("no BPF program can be loaded here: {reason}");
            return;
        }
    };
    // Flows that were first seen unreplied, and whether a reply was; the flow's bytes are its name.
    let mut expected: HashMap<Vec<u8>, bool> = HashMap::new();
    let mut begun = 0;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors");
    let file = fs::read(folder.join("real_many.pcap")).unwrap();
    let mut reader = Reader::new(&file[..]).unwrap();
    let mut buffer = [0; 4096];
    while let Some(Record::Datagram(_, datagram)) = reader.next_record().unwrap() {
        let _ = sender.send(datagram);
        assert!(
            receiver.recv(&mut buffer).is_err(),
            "a message was left to the decoder"
        );
        let message = messages(datagram).next().unwrap().unwrap();
        let Ok(observation) = decode(message) else {
            continue;
        };
        begun += u64::from(observation.event == Event::New);
        let Flow::V4(transport, key) = observation.flow else {
            continue;
        };
        let mut name = [key.source, key.destination].concat();
        name.extend(key.service.to_ne_bytes());
        name.extend((key.source_port | (transport as u16) << 11).to_ne_bytes());
        if observation.replied {
            expected
                .entry(name)
                .and_modify(|confirmed| *confirmed = true);
        } else {
            expected.entry(name).or_default();
        }
    }
    while kernel.next_sighting().is_some() {}

    let found: HashMap<Vec<u8>, bool> = kernel
        .known4()
        .unwrap()
        .into_iter()
        .map(|(key, confirmed)| (key.to_vec(), confirmed))
        .collect();
    assert!(found.len() > 10 && found.values().any(|&confirmed| confirmed));
    assert_eq!(found, expected);
    let counts = kernel.counts().unwrap();
    assert_eq!(
        (counts.begun, counts.ring_full, counts.lost_new),
        (begun, 0, 0)
    );
}
