//! Which side opened a connection, where its first packet does not tell.
//!
//! conntrack takes whoever sends the first packet that it sees for the one that asks (`resolve_normal_ct`,
//! net/netfilter/nf_conntrack_core.c). Of a connection that was open before, or of a UDP entry that has timed out,
//! that may be the server. What else was seen tells in most cases; where it does not, nothing is claimed.

use std::borrow::Borrow;
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use crate::model::capture::Capture;
use crate::model::origin::{Begun, Helper, Origin};
use crate::model::record::{Identity, Protocol, Record, Service, SourcePort};

/// Ports from 1024 on that services have, and from 512 to 1023 those that are no random ports of privileged clients:
/// the registered ones (IANA, Service Name and Transport Protocol Port Number Registry) that are in common use.
/// Sorted.
const SERVICES: [u16; 68] = [
    514, 515, 543, 544, 546, 547, 548, 554, 563, 587, 593, 631, 636, 853, 873, 990, 992, 993, 995,
    1080, 1194, 1433, 1521, 1645, 1646, 1701, 1723, 1812, 1813, 1883, 1900, 2049, 2055, 2222, 2375,
    2376, 3128, 3260, 3268, 3269, 3306, 3389, 3478, 3493, 3690, 4500, 4739, 4789, 5060, 5061, 5222,
    5223, 5269, 5349, 5353, 5432, 5671, 5672, 5900, 6379, 6443, 6514, 6667, 6697, 8080, 8443, 8883,
    51820,
];
/// Ports of datagram protocols of which both sides have one and either may speak first: IKE, OpenVPN, L2TP, IPsec behind
/// NAT, VXLAN, SIP, WireGuard (RFC 7296, 2; RFC 3948, 2.1; RFC 3261, 18.1.1; wg(8), `ListenPort`). That a flow comes from
/// one says nothing.
const PEERS: [u16; 8] = [500, 1194, 1701, 4500, 4789, 5060, 5061, 51820];
/// FTP's data connections come from here (RFC 959, 3.2), so that it says nothing.
const FTP_DATA: u16 = 20;
/// Privileged clients bind ports from here to 1023 (`bindresvport`(3), rresvport(3)).
const RESERVED: u16 = 512;
/// Where ports begin that any program may bind.
const UNPRIVILEGED: u16 = 1024;
/// The first port that Linux gives clients of UDP by itself (`ip_local_port_range`).
const EPHEMERAL: u16 = 32768;
/// So many flows to a port say that it is one of a service.
const MUCH_USED: u32 = 3;

/// Sockets of the host that wait for clients, and its addresses.
#[derive(Clone, Debug, Default)]
pub struct Listening {
    /// Sorted: few are searched faster than hashed, and none at no cost.
    ports: Vec<(Protocol, u16)>,
    addresses: HashSet<IpAddr>,
}

impl Listening {
    /// These ports at these addresses.
    #[must_use]
    pub fn new(
        ports: impl IntoIterator<Item = (Protocol, u16)>,
        addresses: impl IntoIterator<Item = IpAddr>,
    ) -> Self {
        let mut ports: Vec<(Protocol, u16)> = ports.into_iter().collect();
        ports.sort_unstable();
        Self {
            ports,
            addresses: addresses.into_iter().collect(),
        }
    }

    /// Whether a socket waits there.
    #[must_use]
    pub fn has(&self, address: IpAddr, protocol: Protocol, port: u16) -> bool {
        self.ports.binary_search(&(protocol, port)).is_ok() && self.addresses.contains(&address)
    }
}

/// Whether a port is known as that of a service.
#[must_use]
pub fn is_service(port: u16) -> bool {
    (1..RESERVED).contains(&port) && port != FTP_DATA || SERVICES.binary_search(&port).is_ok()
}

/// Whether a port is one that clients get, as far as one can tell.
const fn is_of_clients(port: u16) -> bool {
    port >= RESERVED
}

/// Whether the ports of a UDP flow may be those of an answer, so that the source port has to be kept.
#[must_use]
pub fn may_be_answer(source_port: u16, destination_port: u16) -> bool {
    is_service(source_port) && destination_port >= UNPRIVILEGED && !is_service(destination_port)
}

/// Whether it is a datagram protocol whose entries time out while programs on both sides go on.
const fn is_datagram(protocol: Protocol) -> bool {
    matches!(protocol, Protocol::UDP | Protocol::UDPLITE)
}

/// Source and destination port, where both are known.
const fn ports(identity: &Identity) -> Option<(u16, u16)> {
    match (identity.source_port, identity.service) {
        (SourcePort::Exact(source), Service::Port(destination)) => Some((source, destination)),
        _ => None,
    }
}

/// Why a record is looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Doubt {
    /// It was picked up in the middle.
    PickedUp,
    /// Its protocol does not tell.
    Untold,
}

/// Which flows are in doubt besides those that are known to have been picked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marks {
    /// None: all doubts have been settled before, as far as they can be.
    Settled,
    /// Datagrams: other protocols tell themselves, and have been marked.
    Taken,
    /// All protocols: nothing has been marked.
    None,
}

fn doubt(record: &Record, marks: Marks) -> Option<Doubt> {
    let identity = &record.identity;
    let (source, destination) = ports(identity)?;
    match record.origin.begun {
        Begun::Unclear => Some(Doubt::PickedUp),
        Begun::Usual
            if record.origin.expected_by.is_none()
                && match marks {
                    Marks::Settled => false,
                    Marks::Taken => is_datagram(identity.protocol),
                    Marks::None => true,
                }
                && record.confirmed
                && source != destination
                && is_of_clients(destination) =>
        {
            Some(Doubt::Untold)
        }
        _ => None,
    }
}

/// What is known of servers by the flows of which there is no doubt.
#[derive(Default)]
struct Servers {
    /// By zone: an address may be another host's there.
    endpoints: HashSet<(u16, IpAddr, Protocol, u16)>,
    ports: HashMap<(Protocol, u16), u32>,
}

impl Servers {
    fn learn(&mut self, record: &Record) {
        let identity = &record.identity;
        let Service::Port(port) = identity.service else {
            return;
        };
        // Of datagrams to such ports it is not known which side asked.
        if !record.confirmed || is_datagram(identity.protocol) && port >= EPHEMERAL {
            return;
        }
        let protocol = identity.protocol;
        let mut endpoint = |address, port| {
            self.endpoints
                .insert((identity.zone, address, protocol, port));
        };
        endpoint(identity.destination, port);
        if let Some(dnat) = identity.dnat() {
            endpoint(dnat.address, dnat.port.unwrap_or(port));
        }
        *self.ports.entry((protocol, port)).or_default() += 1;
    }

    fn has(&self, identity: &Identity, address: IpAddr, port: u16) -> bool {
        let endpoint = (identity.zone, address, identity.protocol, port);
        self.endpoints.contains(&endpoint)
    }

    fn is_service(&self, protocol: Protocol, port: u16) -> bool {
        is_service(port)
            || port != FTP_DATA && { self.ports.get(&(protocol, port)) }
                .is_some_and(|&flows| flows >= MUCH_USED)
    }
}

/// [`place`], where all that is known is in captures. Those that do not mark flows that were picked up are of earlier
/// versions or other programs.
pub fn place_known<T: AsRef<Record> + AsMut<Record>>(flows: &mut [T], captures: &[Capture]) {
    let marked = captures.iter().all(|capture| capture.marks_picked_up);
    let marks = if marked { Marks::Settled } else { Marks::None };
    place(flows, marks, &Listening::default());
}

/// Finds out about flows whose direction is in doubt, and turns those round that are known to be the wrong way.
pub fn place<T: AsRef<Record> + AsMut<Record>>(
    flows: &mut [T],
    marks: Marks,
    listening: &Listening,
) {
    let records = flows.iter().map(AsRef::as_ref);
    let found = find(records, |at| flows[at].as_ref(), marks, listening);
    for (at, found) in found {
        found.tell(flows[at].as_mut());
    }
}

/// What was found out about a record that was in doubt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// It was picked up in the middle, and is the right way round.
    PickedUp,
    /// It is the wrong way round, and this is the flow.
    Turned(Box<Identity>),
    /// Which way round it is can't be known.
    Unclear,
}

impl Found {
    /// Has the record say so.
    pub fn tell(self, record: &mut Record) {
        match self {
            Self::PickedUp => record.origin.begun = Begun::PickedUp,
            Self::Unclear => record.origin.begun = Begun::Unclear,
            Self::Turned(identity) => {
                record.identity = *identity;
                record.origin.begun = Begun::Turned;
                if let Some(usage) = &mut record.usage {
                    **usage = usage.turned();
                }
            }
        }
    }
}

/// Finds out about records whose direction is in doubt: what is found of which of them. They are looked through up to
/// three times; `get` gets one by its place among them.
pub fn find<R: Borrow<Record>>(
    records: impl Iterator<Item = R> + Clone,
    get: impl Fn(usize) -> R,
    marks: Marks,
    listening: &Listening,
) -> Vec<(usize, Found)> {
    let doubtful: Vec<(usize, Doubt)> = { records.clone().enumerate() }
        .filter_map(|(at, record)| Some((at, doubt(record.borrow(), marks)?)))
        .collect();
    if doubtful.is_empty() {
        return Vec::new();
    }
    let mut servers = Servers::default();
    let mut next = doubtful.iter().peekable();
    for (at, record) in records.clone().enumerate() {
        let in_doubt = next.next_if(|(doubtful, _)| *doubtful == at);
        let record = record.borrow();
        // A flow to a port that servers have, from one that they have not, is hardly an answer.
        let plain = ports(&record.identity)
            .is_none_or(|(source, destination)| !is_service(source) && is_service(destination));
        if in_doubt.is_none_or(|(_, doubt)| *doubt == Doubt::Untold && plain) {
            servers.learn(record);
        }
    }
    let mut found = Vec::new();
    let mut turned: HashMap<Identity, usize> = HashMap::new();
    for (at, doubt) in doubtful {
        let record = get(at);
        let record = record.borrow();
        match direction(record, doubt, &servers, listening) {
            Some(true) => {
                if let Some(identity) = record.identity.turned() {
                    turned.insert(identity, at);
                }
            }
            Some(false) if doubt == Doubt::PickedUp => found.push((at, Found::PickedUp)),
            _ => {}
        }
    }
    if turned.is_empty() {
        return found;
    }
    // Where ports are kept, the flow may be there the right way round as well. One of them can't stand for both, so that the
    // other stays as it is and is no beginning: no rule follows from it.
    for record in records {
        if let Some(at) = turned.remove(&record.borrow().identity) {
            found.push((at, Found::Unclear));
        }
    }
    let turned = turned.into_iter();
    found.extend(turned.map(|(identity, at)| (at, Found::Turned(Box::new(identity)))));
    found
}

/// What helpers are called that expected connections: as those of the flows that these follow, to the same port. The
/// kernel's message of the connection itself does not have it.
#[derive(Clone, Debug, Default)]
pub struct HelperNames(HashMap<(Protocol, u16), Helper>);

impl HelperNames {
    /// Learns them from records.
    pub fn of<R: Borrow<Record>>(records: impl Iterator<Item = R>) -> Self {
        let mut known = HashMap::new();
        for record in records {
            let Record {
                identity, origin, ..
            } = record.borrow();
            if let (Some(helper), Service::Port(port)) = (origin.helper, identity.service) {
                known.insert((identity.protocol, port), helper);
                if let Some(port) = identity.dnat().and_then(|dnat| dnat.port) {
                    known.entry((identity.protocol, port)).or_insert(helper);
                }
            }
        }
        Self(known)
    }

    /// Gives the helper that expected a connection its name, if it has none and that is known.
    pub fn name(&self, origin: &mut Origin) {
        if let Some(by) = &mut origin.expected_by {
            let found = self.0.get(&(by.protocol, by.port)).copied();
            by.helper = by.helper.or(found);
        }
    }
}

/// Whether a flow is the wrong way round, if that is known.
fn direction(
    record: &Record,
    doubt: Doubt,
    servers: &Servers,
    listening: &Listening,
) -> Option<bool> {
    let identity = &record.identity;
    let (source, destination) = ports(identity)?;
    let protocol = identity.protocol;
    let (asked_address, asked_port) = match identity.dnat() {
        Some(dnat) => (dnat.address, dnat.port.unwrap_or(destination)),
        None => (identity.destination, destination),
    };
    let serves = |address, port| {
        port != FTP_DATA && servers.has(identity, address, port)
            || listening.has(address, protocol, port)
    };
    // A datagram socket also sends of itself, from the port on which it waits, and a stranger from the port of a service if
    // he likes: only what goes to a port that clients get is taken for an answer.
    if doubt == Doubt::Untold && (destination < EPHEMERAL || PEERS.contains(&source)) {
        return None;
    }
    match (
        serves(identity.source, source),
        serves(asked_address, asked_port) || serves(identity.destination, destination),
    ) {
        (true, false) => Some(true),
        (false, true) => Some(false),
        (true, true) => None,
        (false, false) => {
            let from = servers.is_service(protocol, source);
            let to = servers.is_service(protocol, asked_port);
            match (from, to) {
                (true, false) if is_of_clients(destination) => Some(true),
                (false, true) if is_of_clients(source) || source == FTP_DATA => Some(false),
                _ => None,
            }
        }
    }
}

#[cfg(test)]
mod tests;
