//! Flows that get no rule.

use super::block::Block;
use super::bundle::{Side, bundles};
use super::seen::{Class, Reason, Seen, Tally};
use super::widening::Widening;
use crate::model::record::Service;

impl Reason {
    /// The reason in words.
    pub const fn text(self) -> &'static str {
        match self {
            // A refusal (RST) ends the entry without a reply having been seen
            // (`nf_conntrack_tcp_packet`, net/netfilter/nf_conntrack_proto_tcp.c).
            Self::Unanswered => "nobody answered, or only to refuse",
            Self::Group => {
                "to a multicast or broadcast address, where answers don't show; \
                 --include-multicast accepts it"
            }
            Self::GroupUnknown => {
                "to a multicast or broadcast address, and the gateway's own addresses are not known; give --local"
            }
            Self::LinkLocal => {
                "link-local, and neither end is known to be the gateway; give its link-local address with --local"
            }
            Self::NoPort => "the capture does not tell the port",
            Self::PickedUp => {
                "open before it was tracked, and which side opened it is not known; \
                 capture until it is opened anew"
            }
            Self::OtherNamespace => "of another network namespace, which has rules of its own",
        }
    }
}

/// Flows that are left out together: each source to each destination for each service.
#[derive(Clone, Debug)]
pub struct LeftOut {
    /// Why they have no rule.
    pub reason: Reason,
    /// What they share.
    pub class: Class,
    /// The services that they asked for, sorted.
    pub services: Vec<Service>,
    /// Blocks of sources.
    pub sources: Vec<Block>,
    /// Blocks of destinations.
    pub destinations: Vec<Block>,
    /// How many flows and connections that are.
    pub tally: Tally,
}

/// Puts flows together, sorted by reason, class and destination.
pub fn left_out(flows: &[(Reason, Seen)]) -> Vec<LeftOut> {
    let mut all = Vec::new();
    let key = |(reason, seen): &(Reason, Seen)| (*reason, seen.class);
    for flows in flows.chunk_by(|one, other| key(one) == key(other)) {
        let (reason, class) = key(&flows[0]);
        let mut different: Vec<Seen> = Vec::with_capacity(flows.len());
        for (_, seen) in flows {
            match different.last_mut() {
                // Other source ports don't matter here.
                Some(last)
                    if (last.destination, last.service, last.source)
                        == (seen.destination, seen.service, seen.source) =>
                {
                    last.tally.add(&seen.tally);
                }
                _ => different.push(*seen),
            }
        }
        let members: Vec<usize> = (0..different.len()).collect();
        let mut bundles = bundles(&different, &members, Side::Sources, &Widening::default());
        bundles.sort_by_key(|bundle| {
            (
                bundle.services[0],
                bundle.destinations[0],
                bundle.sources[0],
            )
        });
        all.extend(bundles.into_iter().map(|bundle| {
            let mut tally = Tally::default();
            for member in &bundle.members {
                tally.add(&different[*member].tally);
            }
            LeftOut {
                reason,
                class,
                services: bundle.services,
                sources: bundle.sources,
                destinations: bundle.destinations,
                tally,
            }
        }));
    }
    all
}
