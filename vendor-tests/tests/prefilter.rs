//! The socket filters: what they drop must not change a list, and the shares of several sockets must
//! make up the whole.

use conntracker::testing::os::{Share, nothing};
use vendor_tests::capture::Launch;
use vendor_tests::pcap;
use vendor_tests::sieve::Sieve;
use vendor_tests::temp::Folder;
use vendor_tests::vectors::{Vector, all};

/// The messages of a vector, each in a datagram as the kernel sends them.
fn messages(vector: &Vector) -> Vec<Vec<u8>> {
    let datagrams = pcap::read(&vector.pcap()).unwrap_or_default();
    datagrams
        .iter()
        .flat_map(|datagram| pcap::split(datagram))
        .collect()
}

/// Has the program read messages from a file, and compares with the vector's list.
fn gives_the_list(vector: &Vector, messages: &[Vec<u8>], folder: &Folder) -> bool {
    let path = folder.join(&vector.name);
    std::fs::write(&path, pcap::write(messages)).expect("a temporary file can be written");
    let outcome = Launch::new(["-r".as_ref(), path.as_os_str()]).run();
    std::fs::remove_file(&path).expect("a temporary file can be removed");
    // Some vectors have messages that can't be read, and a list of them owns up to that.
    assert!(matches!(outcome.code, Some(0 | 3)), "{outcome:?}");
    outcome.stdout == vector.expected()
}

#[test]
fn what_the_filter_drops_does_not_change_a_list() {
    let folder = Folder::new();
    let mut sieve = Sieve::new(true, Share::ALL);
    let mut dropped = 0;
    let mut wrong = Vec::new();
    // The large vector has nothing that the others have not, and is not part of every checkout.
    for vector in all()
        .iter()
        .filter(|vector| vector.succeeds && vector.name != "large")
    {
        let mut messages = messages(vector);
        let before = messages.len();
        messages.retain(|message| sieve.passes(message));
        dropped += before - messages.len();
        if !gives_the_list(vector, &messages, &folder) {
            wrong.push(vector.name.clone());
        }
    }
    assert!(
        dropped > 4000,
        "only {dropped} messages dropped: the filter does nothing"
    );
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Passes every message to all shares. Each has to be in one and in no other; of messages that no kernel
/// sends it is enough that those which count are.
fn share_out(drops_updates: bool, of: u32, step: usize) {
    let folder = Folder::new();
    let mut whole = Sieve::new(drops_updates, Share::ALL);
    let mut shares: Vec<Sieve> = (0..of)
        .map(|index| Sieve::new(drops_updates, Share { index, of }))
        .collect();
    let mut counts = vec![0; shares.len()];
    // The large vector has nothing that the others have not.
    for vector in all()
        .iter()
        .filter(|vector| vector.succeeds && vector.name != "large")
    {
        let mut taken = Vec::new();
        for message in messages(vector).into_iter().step_by(step) {
            let by: Vec<usize> = (0..shares.len())
                .filter(|&index| shares[index].passes(&message))
                .collect();
            if let &[index] = by.as_slice() {
                counts[index] += 1;
                taken.push(message);
            } else {
                let fine = by.is_empty() && (vector.damaged || !whole.passes(&message));
                assert!(
                    fine,
                    "{}: taken by shares {by:?} of {of}: {message:02x?}",
                    vector.name
                );
            }
        }
        if step == 1 {
            assert!(
                gives_the_list(vector, &taken, &folder),
                "{}: another list",
                vector.name
            );
        }
    }
    let total: usize = counts.iter().sum();
    let fair = total / shares.len();
    assert!(counts.iter().all(|&count| count > fair / 10), "{counts:?}");
}

#[test]
fn every_message_is_in_one_share() {
    share_out(false, 2, 1);
    share_out(false, 3, 10);
    share_out(false, 64, 20);
}

#[test]
fn every_message_that_passes_is_in_one_share() {
    share_out(true, 3, 1);
    share_out(true, 7, 10);
}

#[test]
fn nothing_passes_the_end() {
    let mut sieve = Sieve::new(false, Share::ALL);
    assert!(sieve.passes(&[0; 200]));
    sieve.attach(&nothing());
    assert!(!sieve.passes(&[0; 200]));
}
