mod mutation;

use std::collections::BTreeMap;

use super::*;
use crate::captures::union::Collection;
use crate::model::record::Identity;
use crate::ui::console::Verbosity;
use proptest::prelude::*;

/// The flows of a text, and whether each is confirmed; none if it is refused.
fn flows(text: &[u8]) -> BTreeMap<Identity, bool> {
    let console = Console::stderr(Verbosity::Quiet);
    let reader = Reader {
        console: &console,
        strict: false,
        keep_ports: true,
    };
    let mut collection = Collection::default();
    let read = reader.read_from(text, Path::new("text"), None, &mut collection);
    if read.is_err() {
        return BTreeMap::new();
    }
    let flows = collection.finish().flows.into_iter();
    flows
        .map(|flow| (flow.record.identity, flow.record.confirmed))
        .collect()
}

/// Nothing is read of a mutation that the lines do not say.
fn holds(program: &[u8]) -> Result<(), String> {
    let (text, numbers) = mutation::mutated(program);
    let original: String = numbers
        .iter()
        .map(|number| format!("{}\n", mutation::LINES[*number]))
        .collect();
    let original = flows(original.as_bytes());
    for (flow, confirmed) in flows(text.as_bytes()) {
        match original.get(&flow) {
            None => return Err(format!("{text:?} has {flow:?}")),
            Some(false) if confirmed => return Err(format!("{text:?} confirms {flow:?}")),
            Some(_) => {}
        }
    }
    Ok(())
}

#[test]
fn one_mutation_makes_no_other_flow() {
    for kind in 0..8 {
        for number in 0..mutation::LINES.len() as u8 {
            for which in 0..=u8::MAX {
                holds(&[number, (number + 1) % 9, 0, kind, 0, which]).unwrap();
            }
        }
    }
}

proptest! {
    #[test]
    fn mutations_make_no_other_flow(program in prop::collection::vec(any::<u8>(), 3..=9)) {
        prop_assert_eq!(holds(&program), Ok(()));
    }
}

#[test]
fn every_line_is_one_flow() {
    for line in mutation::LINES {
        assert_eq!(flows(line.as_bytes()).len(), 1, "{line}");
    }
}
