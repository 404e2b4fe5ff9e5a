//! What two captures have not in common.

use std::cmp::Ordering;
use std::collections::HashSet;

use crate::captures::reader::Sink;
use crate::captures::reader::line::Kind;
use crate::captures::union::Collection;
use crate::model::capture::Capture;
use crate::model::listing::{Flow, Listing, Part};
use crate::model::origin::{Begun, Origin};
use crate::model::record::{Identity, Record, Service};

/// Flows by what became of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// In the new capture only.
    pub new: Vec<Flow>,
    /// In the old capture only.
    pub gone: Vec<Flow>,
    /// In both, and confirmed in the new one only. They are shown as they are there.
    pub confirmed: Vec<Flow>,
}

impl Difference {
    /// Compares two lists without repetitions. Takes no memory besides theirs.
    pub fn new(mut old: Vec<Flow>, mut new: Vec<Flow>) -> Self {
        let by_identity = |a: &Flow, b: &Flow| a.record.identity.cmp(&b.record.identity);
        old.sort_unstable_by(by_identity);
        new.sort_unstable_by(by_identity);
        let mut old = old.into_iter().peekable();
        let mut new = new.into_iter().peekable();
        let mut difference = Self::default();
        loop {
            let order = match (old.peek(), new.peek()) {
                (None, None) => return difference,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(old), Some(new)) => by_identity(old, new),
            };
            match order {
                Ordering::Less => difference.gone.extend(old.next()),
                Ordering::Greater => difference.new.extend(new.next()),
                Ordering::Equal => {
                    let was = old.next().is_some_and(|flow| flow.record.confirmed);
                    let now = new.next().filter(|flow| flow.record.confirmed && !was);
                    difference.confirmed.extend(now);
                }
            }
        }
    }

    /// Compares captures. Where one of them is a classic list, both are compared as such, and the second value is true for
    /// the side that is one: old and new.
    pub fn of(old: Listing, new: Listing) -> (Self, [bool; 2]) {
        let classic = [is_classic(&old), is_classic(&new)];
        let flows = [old.flows, new.flows];
        if classic[0] == classic[1] {
            let [old, new] = flows.map(as_opened);
            return (Self::new(old, new), [false, false]);
        }
        let [old, new] = flows.map(as_classic);
        (Self::new(old, new), classic)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.new.is_empty() && self.gone.is_empty() && self.confirmed.is_empty()
    }
}

/// The flows as their clients opened them, without what tells connections apart that were picked up in the middle: what
/// is open at the beginning of a capture is another connection each day.
#[must_use]
fn as_opened(flows: Vec<Flow>) -> Vec<Flow> {
    if !flows
        .iter()
        .any(|flow| flow.record.origin.begun.is_picked_up())
    {
        return flows;
    }
    let mut collection = Collection::default();
    let list = collection.capture(Capture::default());
    for Flow { mut record, .. } in flows {
        open(&mut record);
        let seen_in = [Part::new(list, record.connections)];
        // A collection never has enough.
        let _ = collection.flow(record, &seen_in);
    }
    collection.finish().flows
}

fn open(record: &mut Record) {
    if record.origin.begun.turned().is_some() {
        record.origin.begun = Begun::Usual;
        record.identity.collapse_ports();
    }
}

/// The flows of captures, to be asked for single ones.
#[derive(Clone, Debug, Default)]
pub struct Known {
    flows: HashSet<Identity>,
    is_classic: bool,
}

impl Known {
    /// Those of some captures.
    pub fn new(listing: Listing) -> Self {
        let is_classic = is_classic(&listing);
        let flows = match is_classic {
            true => as_classic(listing.flows),
            false => as_opened(listing.flows),
        };
        Self {
            flows: flows.into_iter().map(|flow| flow.record.identity).collect(),
            is_classic,
        }
    }

    /// Whether a flow is among them, as a comparison would say. `None` if these captures can't have it.
    pub fn has(&self, record: &Record) -> Option<bool> {
        let mut record = record.clone();
        if self.is_classic {
            record = classic(record)?;
        } else {
            open(&mut record);
        }
        Some(self.flows.contains(&record.identity))
    }
}

/// Whether a list tells no more than a classic one does.
fn is_classic(listing: &Listing) -> bool {
    let classic = |capture: &Capture| capture.source.as_deref() == Some(Kind::Classic.name());
    !listing.captures.is_empty() && listing.captures.iter().all(classic)
}

/// What a classic list would tell of these flows: without ICMP types, translation, zones, and protocols that
/// it does not have. Compared with such a list, everything else would be a difference.
fn as_classic(flows: Vec<Flow>) -> Vec<Flow> {
    let mut collection = Collection::default();
    let list = collection.capture(Capture::default());
    for record in flows.into_iter().filter_map(|flow| classic(flow.record)) {
        let seen_in = [Part::new(list, record.connections)];
        // A collection never has enough.
        let _ = collection.flow(record, &seen_in);
    }
    collection.finish().flows
}

fn classic(mut record: Record) -> Option<Record> {
    record.identity = record.tracked().into_owned();
    record.origin = Origin::default();
    let identity = &mut record.identity;
    identity.tuple().flow()?;
    if identity.protocol.is_icmp() {
        identity.service = Service::None;
    }
    identity.zone = 0;
    identity.translation = None;
    identity.source_port = identity.source_port.collapsed();
    Some(record)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::classic;
    use crate::formats::conntrack;

    fn flows(records: impl IntoIterator<Item = Record>) -> Vec<Flow> {
        let flow = |record| Flow {
            record,
            seen_in: Vec::new(),
        };
        records.into_iter().map(flow).collect()
    }

    fn entry(source: &str, replied: bool) -> Record {
        let mark = if replied { "" } else { "[UNREPLIED]" };
        let line = format!(
            "icmp 1 30 src={source} dst=10.1.0.1 type=8 code=0 id=1 {mark} src=10.1.0.1 dst=10.2.0.1 \
             type=0 code=0 id=1 zone=5"
        );
        conntrack::parse(&line, true).unwrap().unwrap().remove(0)
    }

    #[test]
    fn each_flow_is_in_one_part_at_most() {
        let old = flows([
            entry("10.0.0.1", true),
            entry("10.0.0.2", false),
            entry("10.0.0.3", true),
        ]);
        let new = flows([
            entry("10.0.0.4", false),
            entry("10.0.0.2", true),
            entry("10.0.0.1", false),
        ]);
        let difference = Difference::new(old.clone(), new.clone());
        assert_eq!(difference.new, new[..1]);
        assert_eq!(difference.gone, old[2..]);
        assert_eq!(difference.confirmed, new[1..2]);
        assert!(Difference::new(old.clone(), old).is_empty());
    }

    #[test]
    fn a_classic_list_is_compared_by_what_it_tells() {
        let line = "ICMPv4 [ 0] src = 10.0.0.1 to dst = 10.1.0.1 (type=0 | code=0) (confirmed)";
        let Some(Ok(classic::Line::Flow(old))) = classic::parse(line) else {
            panic!("{line}");
        };
        let old = flows([old]);
        let new = flows([entry("10.0.0.1", true)]);
        assert!(!Difference::new(old.clone(), new.clone()).is_empty());
        assert!(Difference::new(as_classic(old), as_classic(new)).is_empty());
    }
}
