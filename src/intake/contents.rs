//! A copy of what was taken in, for lists and states to be made of while intake goes on.

use crate::intake::snapshot::Snapshot;
use crate::model::flow::{Flow, Key, Transport};
use crate::model::listing;
use crate::model::record::{Identity, Protocol, Record, Service, SourcePort};

/// The flows of a capture so far.
#[derive(Debug)]
pub enum Contents {
    /// What the classic list needs, and no more.
    Lean(Snapshot),
    /// Records.
    Records(Vec<listing::Flow>),
}

impl Contents {
    /// Hands over every flow as a record, as far as it is known. `Err` ends it.
    ///
    /// Errors: the first one of `take`.
    pub fn each<E>(&self, mut take: impl FnMut(&Record) -> Result<(), E>) -> Result<(), E> {
        match self {
            Self::Records(flows) => flows.iter().try_for_each(|flow| take(&flow.record)),
            Self::Lean(snapshot) => {
                for (transport, entries) in Transport::ALL.into_iter().zip(&snapshot.v4) {
                    for entry in entries {
                        let flow = Flow::V4(transport, entry.key());
                        take(&of_lean(&flow, entry.confirmed()))?;
                    }
                }
                for (transport, entries) in Transport::ALL.into_iter().zip(&snapshot.v6) {
                    for entry in entries {
                        let flow = Flow::V6(transport, entry.key());
                        take(&of_lean(&flow, entry.confirmed()))?;
                    }
                }
                Ok(())
            }
        }
    }
}

/// What the table of the classic list knows of a flow.
fn of_lean(flow: &Flow, confirmed: bool) -> Record {
    fn identity<A: Into<std::net::IpAddr> + Copy>(
        transport: Transport,
        key: &Key<A>,
        icmp: Protocol,
    ) -> Identity {
        let port = SourcePort::Exact(key.source_port).collapsed();
        let [icmp_type, code] = key.service.to_be_bytes();
        let (protocol, service, source_port) = match transport {
            Transport::Tcp => (Protocol::TCP, Service::Port(key.service), port),
            Transport::Udp => (Protocol::UDP, Service::Port(key.service), port),
            Transport::Icmp => (icmp, Service::Icmp(icmp_type, code), SourcePort::None),
        };
        Identity {
            source: key.source.into(),
            destination: key.destination.into(),
            protocol,
            service,
            source_port,
            zone: 0,
            translation: None,
            netns: None,
        }
    }
    Record {
        identity: match flow {
            Flow::V4(transport, key) => identity(*transport, key, Protocol::ICMP),
            Flow::V6(transport, key) => identity(*transport, key, Protocol::ICMPV6),
        },
        confirmed,
        connections: 0,
        first_seen: None,
        last_seen: None,
        classic: Record::usual_classic(confirmed),
    }
}
