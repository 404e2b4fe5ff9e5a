//! Any datagram is decoded or skipped, every message of it counted once, and the list can be printed.
#![no_main]

use conntracker::testing::formats::classic;
use conntracker::testing::intake::Table;
use conntracker::testing::intake::{Intake, Pending};
use conntracker::testing::netlink::layouts_agree;
use conntracker::testing::netlink::messages;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|datagram: &[u8]| {
    let intake = Intake::new(Table::with_stripes(64, 1));
    let mut pending = Pending::default();
    // Each of the two rules for DESTROY events, as the first byte says.
    let missed = datagram.first().is_some_and(|byte| byte & 1 != 0);
    intake.gather(datagram, &mut pending, || missed);
    intake.commit(&mut pending);

    for message in messages(datagram).flatten() {
        assert!(layouts_agree(message));
    }

    let tally = intake.tally();
    let counted = tally.events + tally.not_events + tally.not_listed + tally.malformed;
    let messages = messages(datagram).count() as u64;
    assert!(counted <= messages && (missed || counted == messages));
    let listed = intake.table().len() as u64;
    assert!(listed <= tally.events + tally.recovered);

    let mut list = Vec::new();
    classic::write(&intake.table().snapshot(), &mut list).expect("memory takes all");
    assert_eq!(
        list.iter().filter(|&&byte| byte == b'\n').count() as u64,
        listed
    );
});
