//! Generated traffic of a gateway: flows that were seen there, and flows beside them that may not have been.
//! What a filter can tell of either is worked out here flow by flow, without the code under test.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::IpAddr;

use conntracker::testing::model::{Capture, Interface, Route};
use conntracker::testing::model::{
    Dnat, Identity, Origin, Protocol, Record, Service, Snat, SourcePort, Translation,
};

use crate::beside::beside;

/// The gateway's own addresses; those of `lo` are besides.
const OWN: [&str; 6] = [
    "10.0.0.1",
    "fd00::1",
    "10.0.1.1",
    "fd00:0:0:1::1",
    "203.0.113.2",
    "2001:db8::2",
];

/// What it translates: protocol, and address and port before and after. 0 stands for all.
const TRANSLATED: [(u8, &str, u16, &str, u16); 7] = [
    (6, "203.0.113.2", 8080, "10.0.1.20", 80),
    (6, "203.0.113.9", 8443, "10.0.1.21", 443),
    (6, "203.0.113.2", 2222, "10.0.0.1", 22),
    (17, "203.0.113.2", 51, "10.0.1.53", 53),
    (6, "2001:db8::2", 8080, "fd00:0:0:1::14", 80),
    (17, "2001:db8::7", 51, "fd00:0:0:1::35", 53),
    (0, "203.0.113.10", 0, "10.0.1.30", 0),
];

/// Numbers that only the seed decides (SplitMix64: Steele, Lea and Flood, OOPSLA 2014).
#[derive(Clone, Debug)]
pub struct Dice(pub u64);

impl Dice {
    /// A number below `limit`.
    pub const fn below(&mut self, limit: u32) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % limit as u64) as u32
    }

    /// True once in so many times.
    pub const fn once_in(&mut self, times: u32) -> bool {
        self.below(times) == 0
    }

    /// One of several.
    pub fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u32) as usize].clone()
    }
}

/// The gateway, as a capture describes it: a LAN with a network behind a router, servers, and the world.
///
/// Panics: never.
pub fn gateway() -> Capture {
    let interface = |name: &str, addresses: &[&str]| Interface {
        name: name.to_owned(),
        addresses: addresses
            .iter()
            .map(|address| address.parse().expect("an address"))
            .collect(),
        ..Interface::default()
    };
    let route = |destination: &str, gateway: Option<&str>, interface: &str| Route {
        destination: destination.parse().expect("a network"),
        gateway: gateway.map(|gateway| gateway.parse().expect("an address")),
        interface: interface.to_owned(),
    };
    Capture {
        // What comes from the port of a service is meant so.
        marks_picked_up: true,
        interfaces: vec![
            interface("lo", &["127.0.0.1/8", "::1/128"]),
            interface("lan", &["10.0.0.1/24", "fd00::1/64"]),
            interface("dmz", &["10.0.1.1/24", "fd00:0:0:1::1/64"]),
            interface("wan", &["203.0.113.2/24", "2001:db8::2/64"]),
        ],
        routes: vec![
            route("10.8.0.0/16", Some("10.0.0.2"), "lan"),
            route("fd08::/16", Some("fd00::2"), "lan"),
            route("0.0.0.0/0", Some("203.0.113.1"), "wan"),
            route("::/0", Some("2001:db8::1"), "wan"),
        ],
        ..Capture::default()
    }
}

/// Networks whose hosts begin connections: LAN, beyond its router, servers, world.
const NETS: [[&str; 2]; 4] = [
    ["10.0.0.0", "fd00::"],
    ["10.8.3.0", "fd08:3::"],
    ["10.0.1.0", "fd00:0:0:1::"],
    ["198.51.100.0", "2001:db8:9::"],
];

fn host(net: usize, v4: bool, number: u32) -> IpAddr {
    stepped(ip(NETS[net][usize::from(!v4)]), i64::from(number))
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// The address so many further.
pub fn stepped(address: IpAddr, by: i64) -> IpAddr {
    match address {
        IpAddr::V4(address) => IpAddr::V4(address.to_bits().wrapping_add(by as u32).into()),
        IpAddr::V6(address) => IpAddr::V6(
            address
                .to_bits()
                .wrapping_add(i128::from(by) as u128)
                .into(),
        ),
    }
}

/// A capture.
#[derive(Clone, Debug)]
pub struct World {
    /// The gateway.
    pub capture: Capture,
    /// What was seen.
    pub records: Vec<Record>,
    /// What lies beside it; some of it was seen nevertheless.
    pub probes: Vec<Identity>,
}

impl World {
    /// One of about so many flows, and as many probes at most.
    pub fn new(seed: u64, flows: usize, probes: usize) -> Self {
        let mut dice = Dice(seed);
        let mut seen = BTreeSet::new();
        while seen.len() < flows {
            clients_of_a_service(&mut dice, &mut seen);
        }
        let records: Vec<Record> = seen
            .into_iter()
            .map(|identity| {
                let confirmed = !is_group(identity.destination) && !dice.once_in(8);
                record(identity, confirmed, u64::from(dice.below(9)))
            })
            .collect();
        let mut different = BTreeSet::new();
        for _ in 0..probes {
            let (one, other) = (dice.pick(&records), dice.pick(&records));
            different.extend(
                beside(&one.identity, &other.identity, &mut dice)
                    .into_iter()
                    .map(translated),
            );
            if different.len() >= probes {
                break;
            }
        }
        Self {
            capture: gateway(),
            records,
            probes: different.into_iter().collect(),
        }
    }
}

/// A record of a flow.
pub fn record(identity: Identity, confirmed: bool, connections: u64) -> Record {
    Record {
        identity,
        confirmed,
        connections,
        first_seen: None,
        last_seen: None,
        classic: Record::usual_classic(confirmed),
        origin: Origin::default(),
        usage: None,
    }
}

/// A service, and those who use it: neighbours, or scattered.
fn clients_of_a_service(dice: &mut Dice, seen: &mut BTreeSet<Identity>) {
    let v4 = !dice.once_in(3);
    let protocol = protocol(dice, v4);
    let service = service(dice, protocol);
    let near = dice.below(4) as usize;
    let (first, count) = (8 + dice.below(24), 1 + dice.below(24));
    let scattered = dice.once_in(3);
    let servers = if dice.once_in(4) {
        1 + dice.below(4)
    } else {
        1
    };
    let way = dice.below(16);
    let forwarding = dice.pick(&TRANSLATED);
    let destination = |server: u32| match way {
        0..=2 => ip(OWN[(first % 3) as usize * 2 + usize::from(!v4)]),
        3 if v4 => ip("10.0.0.255"),
        3 => ip("ff02::fb"),
        4 | 5 => ip(forwarding.1),
        _ => host(2 + usize::from(first % 3 == 0), v4, 40 + server),
    };
    let from_here = way == 6 || way == 7;
    for number in 0..count {
        if scattered && dice.once_in(2) {
            continue;
        }
        let source = match from_here {
            true => ip(OWN[dice.below(3) as usize * 2 + usize::from(!v4)]),
            // A group on a link is heard from that link.
            false if way == 3 => host(0, v4, first + number),
            false => host(near, v4, first + number),
        };
        let (service, protocol) = match (way, forwarding.0) {
            (4 | 5, number @ 1..) => (Service::Port(forwarding.2), Protocol(number)),
            (3, _) => (Service::Port(5353), Protocol::UDP),
            _ => (service, protocol),
        };
        let source_port = match (service, dice.below(16)) {
            (Service::Port(port @ ..1024), 0) => SourcePort::Exact(port),
            (Service::Port(_), 1) => SourcePort::Exact(40_000 + number as u16),
            (Service::Port(_), _) => SourcePort::Ephemeral,
            _ => SourcePort::None,
        };
        let identity = Identity {
            source,
            destination: destination(dice.below(servers)),
            protocol,
            service,
            source_port,
            zone: 0,
            netns: None,
            translation: None,
        };
        if identity.source.is_ipv4() == identity.destination.is_ipv4() {
            let snat = (way == 15 && v4).then(|| Snat {
                address: ip(OWN[4]),
                port: source_port,
            });
            let mut identity = translated(identity);
            if snat.is_some() {
                let dnat = identity.dnat();
                identity.translation = Some(Box::new(Translation { dnat, snat }));
            }
            seen.insert(identity);
        }
    }
}

fn protocol(dice: &mut Dice, v4: bool) -> Protocol {
    let icmp = if v4 { Protocol::ICMP } else { Protocol::ICMPV6 };
    let [tcp, udp] = [Protocol::TCP, Protocol::UDP];
    dice.pick(&[
        tcp,
        tcp,
        tcp,
        tcp,
        tcp,
        udp,
        udp,
        udp,
        icmp,
        icmp,
        Protocol::SCTP,
        Protocol::GRE,
        Protocol(50),
        Protocol(253),
    ])
}

fn service(dice: &mut Dice, protocol: Protocol) -> Service {
    match protocol {
        Protocol::ICMP => Service::Icmp(dice.pick(&[8, 8, 8, 13]), 0),
        Protocol::ICMPV6 => Service::Icmp(128, 0),
        _ if protocol.has_ports() => {
            let random = 1 + dice.below(65_000) as u16;
            Service::Port(dice.pick(&[80, 443, 443, 53, 123, 81, random]))
        }
        _ => Service::None,
    }
}

/// The flow as the gateway translates it.
fn translated(mut identity: Identity) -> Identity {
    let rule = TRANSLATED
        .iter()
        .find(|(protocol, address, port, ..)| match identity.service {
            _ if ip(address) != identity.destination => false,
            Service::Port(asked) if *protocol > 0 => {
                *protocol == identity.protocol.0 && *port == asked
            }
            _ => *protocol == 0,
        });
    identity.translation = rule.map(|&(.., address, port)| {
        let port = match identity.service {
            Service::Port(asked) => Some(if port == 0 { asked } else { port }),
            _ => None,
        };
        Box::new(Translation {
            dnat: Some(Dnat {
                address: ip(address),
                port,
            }),
            snat: None,
        })
    });
    identity
}

/// Whether it stands for many hosts.
pub fn is_group(address: IpAddr) -> bool {
    address.is_multicast()
        || [
            "255.255.255.255",
            "10.0.0.255",
            "10.0.1.255",
            "203.0.113.255",
        ]
        .iter()
        .any(|group| ip(group) == address)
}

/// What a filter sees of a flow, but for the source port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sight {
    /// The chain.
    pub chain: &'static str,
    /// Protocol.
    pub protocol: Protocol,
    /// Source.
    pub source: IpAddr,
    /// Destination, translated.
    pub destination: IpAddr,
    /// Service, translated.
    pub service: Service,
    /// Whether the host translated them.
    pub translated: bool,
}

impl Sight {
    /// That of a flow; none for what the gateway sends to itself. Where its addresses are not `known`, all
    /// is forwarded.
    pub fn of(identity: &Identity, known: bool) -> Option<Self> {
        let own = |address: IpAddr| {
            known && (address.is_loopback() || OWN.iter().any(|own| ip(own) == address))
        };
        let (mut destination, mut service) = (identity.destination, identity.service);
        if let Some(dnat) = identity.dnat() {
            destination = dnat.address;
            if let (Service::Port(_), Some(port)) = (service, dnat.port) {
                service = Service::Port(port);
            }
        }
        // Rules leave the code out where there is but one (the report says so).
        if let Service::Icmp(8 | 13 | 15 | 17 | 128, code) = &mut service {
            *code = 0;
        }
        let chain = match (own(identity.source), own(destination)) {
            // Routed to `lo` before it is translated.
            (true, _) if own(identity.destination) => return None,
            (true, _) => "output",
            (false, true) => "input",
            (false, false) if known && is_group(destination) => "input",
            (false, false) => "forward",
        };
        Some(Self {
            chain,
            protocol: identity.protocol,
            source: identity.source,
            destination,
            service,
            translated: identity.dnat().is_some(),
        })
    }

    /// That of the same without translation: a rule for the one is passed by the other too, but not the other way round.
    const fn direct(self) -> Self {
        Self {
            translated: false,
            ..self
        }
    }

    /// That of the same service, whatever client.
    const fn of_any(self) -> Self {
        Self {
            source: self.destination,
            ..self
        }
    }
}

/// What was seen, by sight: the ranges of source ports.
#[derive(Debug)]
pub struct Model {
    known: bool,
    ports: HashMap<Sight, Vec<(u16, u16)>>,
    /// Privileged source ports that clients of a service came from, whatever client.
    privileged: HashMap<Sight, HashSet<u16>>,
}

impl Model {
    /// Of records that get rules.
    pub fn new<'a>(records: impl IntoIterator<Item = &'a Record>, known: bool) -> Self {
        let mut ports: HashMap<Sight, Vec<(u16, u16)>> = HashMap::new();
        let mut privileged: HashMap<Sight, HashSet<u16>> = HashMap::new();
        for Record { identity, .. } in records {
            if let Some(sight) = Sight::of(identity, known) {
                if let Some(port) = random(&sight, identity.source_port) {
                    let used = privileged.entry(sight.of_any()).or_default();
                    used.insert(port);
                }
                ports
                    .entry(sight)
                    .or_default()
                    .push(range(identity.source_port));
            }
        }
        Self {
            known,
            ports,
            privileged,
        }
    }

    /// Whether a flow was seen, or is the gateway's with itself.
    pub fn has_seen(&self, identity: &Identity) -> bool {
        let Some(sight) = Sight::of(identity, self.known) else {
            return true;
        };
        let (first, last) = range(identity.source_port);
        let mut sights = [sight, sight.direct()].into_iter();
        sights.any(|sight| {
            // Clients of a service that come from several such ports may come from any.
            let several = self.privileged.get(&sight.of_any());
            let several = several.is_some_and(|ports| ports.len() > 1);
            let is_random = |port| random(&sight, SourcePort::Exact(port)).is_some();
            if several && 512 <= first && last <= 1023 {
                let mut ranges = self.ports.get(&sight).into_iter().flatten();
                if ranges.any(|&(from, to)| from == to && is_random(from)) {
                    return true;
                }
            }
            let mut ranges = self.ports.get(&sight).into_iter().flatten();
            ranges.any(|&(from, to)| from <= first && last <= to)
        })
    }
}

/// A privileged source port that may be one of those that clients get at random: those that a protocol insists on are the
/// same as the destination's, below 512, or DHCPv6's.
fn random(sight: &Sight, port: SourcePort) -> Option<u16> {
    match (port, sight.service) {
        (SourcePort::Exact(port @ 512..=1023), Service::Port(service)) => {
            let insists = port == service || matches!((port, service), (546, 547) | (547, 546));
            (!insists).then_some(port)
        }
        _ => None,
    }
}

const fn range(port: SourcePort) -> (u16, u16) {
    match port {
        SourcePort::None => (0, 0),
        SourcePort::Exact(port) => (port, port),
        SourcePort::Ephemeral => (1024, u16::MAX),
    }
}
