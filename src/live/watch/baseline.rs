//! What is expected: the flows of earlier captures.

use std::collections::{HashMap, HashSet};

use super::gaps::{self, Gap};
use crate::model::capture::Capture;
use crate::model::flow::COLLAPSED_SOURCE_PORT;
use crate::model::listing::{Flow, Listing};
use crate::model::record::{Identity, Record, Service, SourcePort};

/// The flows of the captures that everything is compared with.
#[derive(Debug, Default)]
pub struct Baseline {
    /// As far as their captures tell, which is all.
    flows: HashSet<Identity>,
    /// Those of captures that tell nothing of translations and zones, without these.
    plain: HashSet<Identity>,
    /// How often flows come, where the captures tell.
    gaps: HashMap<Identity, Gap>,
    keep_ports: bool,
}

impl Baseline {
    /// The flows of a list. `keep_ports` is whether their source ports are kept.
    pub fn new(listing: Listing, keep_ports: bool) -> Self {
        let Listing {
            captures, flows, ..
        } = listing;
        let mut baseline = Self {
            keep_ports,
            ..Self::default()
        };
        for flow in flows {
            let gap = gaps::usual(&flow, &captures);
            let is_plain = is_plain(&flow, &captures);
            let Record {
                mut identity,
                origin,
                ..
            } = flow.record;
            // One that was open before may come from another port the next time. Where it is not known which side opened it,
            // nothing follows from it but itself.
            if origin.begun.turned().is_some() && !keep_ports {
                identity.collapse_ports();
            }
            if is_plain {
                baseline.plain.insert(plain(&identity));
                continue;
            }
            if let Some(gap) = gap.filter(|_| !origin.begun.is_picked_up()) {
                baseline.gaps.insert(identity.clone(), gap);
            }
            baseline.flows.insert(identity);
        }
        baseline
    }

    /// Number of flows.
    pub fn len(&self) -> usize {
        self.flows.len() + self.plain.len()
    }

    /// How often flows come, where that is known.
    pub const fn gaps(&self) -> &HashMap<Identity, Gap> {
        &self.gaps
    }

    /// Whether a flow that begins is expected.
    pub fn has(&self, record: &Record) -> bool {
        self.ways(record)
            .iter()
            .any(|identity| self.has_one(identity))
    }

    /// What a record may be: itself, and where it is not known which side opened it, the same from either side, with source
    /// ports as lists have them.
    pub fn ways(&self, record: &Record) -> Vec<Identity> {
        let identity = &record.identity;
        let is_kept = matches!(identity.source_port, SourcePort::Exact(port) if port >= COLLAPSED_SOURCE_PORT);
        let in_doubt = record.origin.begun.is_picked_up() || is_kept && !self.keep_ports;
        let mut ways = vec![identity.clone()];
        if in_doubt {
            ways.extend(identity.turned());
            if !self.keep_ports {
                let folded = ways.clone().into_iter().map(|mut way| {
                    way.collapse_ports();
                    way
                });
                ways.extend(folded.collect::<Vec<_>>());
            }
        }
        ways
    }

    fn has_one(&self, identity: &Identity) -> bool {
        if self.flows.contains(identity) {
            return true;
        }
        if self.plain.is_empty() || identity.tuple().flow().is_none() {
            return false;
        }
        let mut plain = plain(identity);
        // A classic list does not tell types of ICMP; others do.
        self.plain.contains(&plain)
            || plain.protocol.is_icmp() && {
                plain.service = Service::None;
                self.plain.contains(&plain)
            }
    }
}

/// Whether none of the captures that saw a flow tells of translations.
fn is_plain(flow: &Flow, captures: &[Capture]) -> bool {
    let mut seen_in = gaps::seen_in(flow, captures).peekable();
    seen_in.peek().is_some() && seen_in.all(|capture| !capture.tells_translation())
}

/// What the classic list tells of a flow.
fn plain(identity: &Identity) -> Identity {
    let mut plain = Identity {
        zone: 0,
        translation: None,
        ..identity.clone()
    };
    plain.collapse_ports();
    plain
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::origin::Begun;
    use crate::model::record::{Dnat, Protocol, Translation};
    use crate::model::tuple::Tuple;

    fn record(from: &str, to: &str, port: u16) -> Record {
        Record::new(Identity::of(&Tuple::tcp(from, to, port)), false)
    }

    fn baseline(source: &str, records: impl IntoIterator<Item = Record>) -> Baseline {
        let capture = Capture {
            source: Some(source.to_owned()),
            ..Capture::default()
        };
        Baseline::new(
            Listing {
                captures: vec![capture],
                flows: records.into_iter().map(Flow::from).collect(),
                ..Listing::default()
            },
            false,
        )
    }

    fn translated(mut record: Record) -> Record {
        record.identity.translation = Some(Box::new(Translation {
            dnat: Some(Dnat {
                address: "10.9.9.9".parse().unwrap(),
                port: Some(80),
            }),
            snat: None,
        }));
        record
    }

    #[test]
    fn all_that_is_told_of_a_flow_counts() {
        let known = record("10.0.0.1", "10.0.0.2", 443);
        let json = baseline("batch", [known.clone()]);
        let classic = baseline("classic", [known.clone()]);
        let mut zoned = known.clone();
        zoned.identity.zone = 7;
        let mut elsewhere = known.clone();
        elsewhere.identity.netns = Some("blue".into());
        for (record, in_json, in_classic) in [
            (known.clone(), true, true),
            (record("10.0.0.2", "10.0.0.1", 443), false, false),
            (record("10.0.0.1", "10.0.0.2", 80), false, false),
            (translated(known), false, true),
            (zoned, false, true),
            (elsewhere, false, false),
        ] {
            assert_eq!(json.has(&record), in_json, "{record:?}");
            assert_eq!(classic.has(&record), in_classic, "{record:?}");
        }
    }

    #[test]
    fn a_classic_list_knows_no_types_of_icmp() {
        let ping = |service| {
            let mut ping = record("10.0.0.1", "10.0.0.2", 0);
            ping.identity.protocol = Protocol::ICMP;
            ping.identity.source_port = SourcePort::None;
            ping.identity.service = service;
            ping
        };
        let classic = baseline("classic", [ping(Service::None)]);
        assert!(classic.has(&ping(Service::Icmp(8, 0))));
        let json = baseline("batch", [ping(Service::Icmp(8, 0))]);
        assert!(json.has(&ping(Service::Icmp(8, 0))));
        assert!(!json.has(&ping(Service::Icmp(13, 0))));
    }

    #[test]
    fn what_was_open_before_is_known_from_either_side() {
        let known = baseline("batch", [record("10.0.0.1", "10.0.0.2", 443)]);
        let mut picked_up = record("10.0.0.2", "10.0.0.1", 50_000);
        picked_up.identity.source_port = SourcePort::Exact(443);
        assert!(!known.has(&picked_up));
        picked_up.origin.begun = Begun::Unclear;
        assert!(known.has(&picked_up));
        // The other way: which side opened the one of the baseline is not known, and nothing follows from it.
        let unclear = baseline("batch", [picked_up.clone()]);
        assert!(unclear.has(&picked_up));
        assert!(!unclear.has(&record("10.0.0.1", "10.0.0.2", 443)));
        picked_up.identity.service = Service::Port(50_001);
        assert!(!unclear.has(&picked_up));
    }
}
