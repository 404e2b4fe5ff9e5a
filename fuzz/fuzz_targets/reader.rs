//! Any file is read or refused, and what was read of it, written as JSON, reads back as it was. Of lines of conntrack that
//! lost words, were cut or joined, nothing is read that they did not say.
#![no_main]

#[path = "../../src/captures/reader/tests/mutation.rs"]
mod mutation;

use std::collections::BTreeMap;
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

/// The flows of a text as JSON without `confirmed`, and whether they are; none if it is refused.
fn flows(text: &str) -> BTreeMap<String, bool> {
    let json = merged(text.as_bytes(), false).unwrap_or_default();
    let json = String::from_utf8(json).expect("JSON is a text");
    let flows = json
        .lines()
        .filter(|line| line.contains(r#""type":"flow""#));
    // What follows are the number of connections and times, which a lost word may change.
    let parts = flows.filter_map(|line| {
        let (identity, rest) = line.split_once(r#""confirmed":"#)?;
        let translation = rest.find(r#""dnat""#).or(rest.find(r#""snat""#));
        let translated = translation.map_or("", |at| &rest[at..]);
        Some((format!("{identity}{translated}"), rest.starts_with("true")))
    });
    parts.collect()
}

fuzz_target!(|file: &[u8]| {
    // Other programs unpack these, which takes longer than all the rest.
    if file.starts_with(b"\x1f\x8b")
        || file.starts_with(b"\xfd7zX")
        || file.starts_with(b"\x28\xb5\x2f\xfd")
    {
        return;
    }
    if let Some(json) = merged(file, false) {
        let again = merged(&json, true).expect("what was written can be read");
        assert_eq!(
            String::from_utf8_lossy(&json),
            String::from_utf8_lossy(&again)
        );
    }
    // Short files are programs of mutations as well.
    if (6..=9).contains(&file.len()) {
        let (text, numbers) = mutation::mutated(file);
        let lines = numbers
            .iter()
            .map(|number| format!("{}\n", mutation::LINES[*number]));
        let original = flows(&lines.collect::<String>());
        for (flow, confirmed) in flows(&text) {
            let known = original.get(&flow);
            assert!(
                known.is_some_and(|known| *known || !confirmed),
                "{text}: {flow} {confirmed}"
            );
        }
    }
});
