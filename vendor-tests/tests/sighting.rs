//! Everything that a record keeps of an event: our decoder against the C library's parser.

use std::collections::BTreeMap;

use conntracker::testing::model::Event;
use conntracker::testing::model::Sighting;
use conntracker::testing::netlink;
use conntracker::testing::netlink::messages;
use conntracker::testing::sources::entry;
use netfilter_conntrack::parse;
use vendor_tests::pcap;
use vendor_tests::vectors::all;

/// What the C library makes of a message.
fn by_the_library(message: &[u8], event: Event) -> Option<Sighting> {
    let (_, entry) = parse(message).ok()?;
    entry::sighting(&entry, event, true).ok()
}

#[test]
fn the_librarys_parser_reads_the_same_of_every_event() {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for vector in all().iter().filter(|vector| vector.succeeds) {
        // Damaged messages, and those that no kernel sends, are read to other rules.
        if vector.damaged || vector.name.starts_with("quirk_") {
            continue;
        }
        let Some(datagrams) = pcap::read(&vector.pcap()) else {
            continue;
        };
        for datagram in datagrams.iter().flat_map(|datagram| pcap::split(datagram)) {
            let message = messages(&datagram).next().expect("one").expect("whole");
            let Ok(mut ours) = netlink::sighting(message, true) else {
                continue;
            };
            let theirs = by_the_library(&datagram, ours.event);
            // The library knows no time of an event.
            ours.time = None;
            assert_eq!(Some(ours), theirs, "{}: {datagram:02x?}", vector.name);
            let translation = ours.translation;
            for (what, is) in [
                ("any", true),
                ("dnat", translation.is_some_and(|both| both.dnat.is_some())),
                ("snat", translation.is_some_and(|both| both.snat.is_some())),
                ("zone", ours.tuple.zone != 0),
                ("other", ours.observation().is_none()),
                ("replied", ours.replied),
            ] {
                *seen.entry(what).or_default() += usize::from(is);
            }
        }
    }
    assert!(
        seen.len() == 6 && seen.values().all(|&count| count > 5),
        "{seen:?}"
    );
}
