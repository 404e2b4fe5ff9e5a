//! Any file is read or refused, and what was read of it, written as JSON, reads back as it was.
#![no_main]

use std::path::Path;

use conntracker::testing::Collection;
use conntracker::testing::Reader;
use conntracker::testing::formats::json::List;
use conntracker::testing::ui::{Console, Verbosity};
use libfuzzer_sys::fuzz_target;

/// The union of a file with nothing, as JSON; `None` if the file is refused.
fn merged(file: &[u8], strict: bool) -> Option<Vec<u8>> {
    let console = Console::stderr(Verbosity::Quiet);
    let reader = Reader {
        console: &console,
        strict,
        keep_ports: true,
    };
    let mut collection = Collection::default();
    let read = reader.read_from(file, Path::new("file"), None, &mut collection);
    read.ok()?;
    let mut listing = collection.finish();
    let flows = &mut listing.flows;
    flows.sort_unstable_by(|a, b| a.record.identity.cmp(&b.record.identity));
    let mut json = Vec::new();
    let mut list = List::begin(&listing.captures, &mut json).expect("memory takes all");
    for flow in &listing.flows {
        list.flow(&flow.record, &flow.seen_in)
            .expect("memory takes all");
    }
    list.end().expect("memory takes all");
    Some(json)
}

fuzz_target!(|file: &[u8]| {
    if let Some(json) = merged(file, false) {
        let again = merged(&json, true).expect("what was written can be read");
        assert_eq!(
            String::from_utf8_lossy(&json),
            String::from_utf8_lossy(&again)
        );
    }
});
