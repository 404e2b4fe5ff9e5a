//! The BPF program that keeps records in the kernel, run by the kernel on recorded and on generated messages.
//!
//! The program is attached to a unix datagram socket, as in `kernel.rs`. What it passes is decoded, what it keeps is
//! collected, at the end and on the way; and the records have to be those that decoding every message gives.

use std::cell::RefCell;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use conntracker::testing::formats::pcap::{Reader, Record as Recorded};
use conntracker::testing::intake::{Detail, Intake, Pending, Records, Table, now_ns};
use conntracker::testing::model::{Protocol, Record, Service};
use conntracker::testing::sources::records::{Records as Kernel, Sizes, Wants};
use proptest::prelude::*;
use vendor_tests::properties::runner;

/// The program on a socket.
struct Program {
    sender: UnixDatagram,
    receiver: UnixDatagram,
    kernel: Kernel,
    wants: Wants,
}

fn sizes(flows: u32) -> Sizes {
    Sizes {
        flows4: flows,
        flows6: flows,
    }
}

impl Program {
    /// `None` if it can't be had here.
    fn new(wants: Wants, flows: u32) -> Option<Self> {
        let (sender, receiver) = UnixDatagram::pair().unwrap();
        receiver.set_nonblocking(true).unwrap();
        sender.set_nonblocking(true).unwrap();
        match Kernel::attach(&receiver, sizes(flows), wants) {
            Ok(kernel) => Some(Self {
                sender,
                receiver,
                kernel,
                wants,
            }),
            Err(reason) => {
                vendor_tests::skipped!("no BPF program can be loaded here: {reason}");
                None
            }
        }
    }

    /// An intake that wants what the program was told.
    fn intake(&self) -> Intake {
        let detail = Detail {
            all_protocols: self.wants.all_protocols,
            records: Some(Records::new(usize::MAX, self.wants.exact_ports)),
            ..Detail::default()
        };
        Intake::with_detail(Table::new(usize::MAX), Some(detail))
    }

    /// What the messages come to by way of the program, which is emptied after those of these numbers, and at the end.
    fn through(&mut self, messages: &[Vec<u8>], collect_after: &[usize]) -> Vec<Record> {
        let intake = self.intake();
        intake.table().hear_late();
        intake.records().unwrap().wait_with_ends();
        let mut pending = Pending::default();
        let mut buffer = vec![0; 1 << 17];
        for (at, message) in messages.iter().enumerate() {
            match self.sender.send(message) {
                Ok(_) => {}
                // What the filter drops is reported to a unix socket's sender (`unix_dgram_sendmsg`).
                Err(error) if error.kind() == ErrorKind::PermissionDenied => {}
                Err(error) => panic!("{error}"),
            }
            match self.receiver.recv(&mut buffer) {
                Ok(len) => intake.gather(&buffer[..len], &mut pending, || false),
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
            intake.commit(&mut pending);
            intake.table().heard(now_ns());
            if collect_after.contains(&at) {
                self.kernel.collect(&intake).unwrap();
            }
        }
        self.kernel.collect(&intake).unwrap();
        contents(&intake)
    }

    /// What they come to without it.
    fn decoded(&self, messages: &[Vec<u8>]) -> Vec<Record> {
        let intake = self.intake();
        let mut pending = Pending::default();
        for message in messages {
            intake.gather(message, &mut pending, || false);
            intake.commit(&mut pending);
        }
        contents(&intake)
    }
}

/// The records in their order, without times.
fn contents(intake: &Intake) -> Vec<Record> {
    let mut records = Vec::new();
    let taken: Result<(), ()> = intake.contents().each(|record| {
        records.push(Record {
            first_seen: None,
            last_seen: None,
            ..record.clone()
        });
        Ok(())
    });
    taken.unwrap();
    records.sort_by(|one, other| one.identity.cmp(&other.identity));
    records
}

/// Whether both are the same. What is not is printed.
fn same(found: &[Record], expected: &[Record]) -> bool {
    let missing = |one: &&Record, others: &[Record]| !others.contains(one);
    for record in found.iter().filter(|one| missing(one, expected)) {
        println!("found {record:?}");
    }
    for record in expected.iter().filter(|one| missing(one, found)) {
        println!("expected {record:?}");
    }
    found == expected
}

const WANTS: [Wants; 3] = [
    Wants {
        exact_ports: false,
        all_protocols: false,
    },
    Wants {
        exact_ports: true,
        all_protocols: false,
    },
    Wants {
        exact_ports: false,
        all_protocols: true,
    },
];

/// The datagrams of a recorded vector; `None` if it is no recording.
fn vector(path: &Path) -> Option<Vec<Vec<u8>>> {
    let file = fs::read(path).unwrap();
    let mut reader = Reader::new(&file[..]).ok()?;
    let mut messages = Vec::new();
    while let Ok(Some(record)) = reader.next_record() {
        if let Recorded::Datagram(_, datagram) | Recorded::Snapped(_, datagram) = record {
            // An empty datagram holds no message, and a stream socket's "end" is no event.
            if !datagram.is_empty() {
                messages.push(datagram.to_vec());
            }
        }
    }
    Some(messages)
}

#[test]
fn every_vector_gives_the_records_that_decoding_gives() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors");
    for wants in WANTS {
        let Some(mut program) = Program::new(wants, 1 << 16) else {
            return;
        };
        let mut judged = 0;
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|extension| extension != "pcap") {
                continue;
            }
            let Some(messages) = vector(&path) else {
                continue;
            };
            let before = program.kernel.counts().unwrap();
            // Messages of TCP without a state are made up. What was picked up is found out from other flows then, which takes
            // all of them to be decoded.
            let told = |records: Vec<Record>| -> Vec<Record> {
                let has_state = |record: &Record| {
                    let ports = (
                        record.identity.source_port.number(),
                        record.identity.service,
                    );
                    record.identity.protocol != Protocol::TCP
                        || !matches!(ports, (Some(1024..), Service::Port(1024..)))
                };
                records.into_iter().filter(has_state).collect()
            };
            let expected = told(program.decoded(&messages));
            let third = messages.len() / 3;
            let found = told(program.through(&messages, &[third, 2 * third]));
            assert!(same(&found, &expected), "{}: {wants:?}", path.display());
            let after = program.kernel.counts().unwrap();
            // What a running kernel sends must not need the decoder, or the program is of no use.
            if path.ends_with("real_many.pcap") {
                let (passed, kept) = (after.passed - before.passed, after.events - before.events);
                assert!(passed * 10 <= kept, "{passed} passed, {kept} kept");
            }
            judged += 1;
        }
        assert!(judged > 90, "only {judged} vectors were there");
    }
}

#[test]
fn what_finds_no_room_is_passed_and_counts_once() {
    let Some(mut program) = Program::new(WANTS[0], 16) else {
        return;
    };
    let messages: Vec<Vec<u8>> = (0..40)
        .map(|host| {
            Message {
                hosts: (host, 0),
                ..Message::plain()
            }
            .bytes()
        })
        .collect();
    let expected = program.decoded(&messages);
    let messages = [&messages[..]; 3].concat();
    let expected_of_all = program.decoded(&messages);
    assert!(expected.len() > 32 && expected.len() == expected_of_all.len());
    assert_eq!(program.through(&messages, &[]), expected_of_all);
    let counts = program.kernel.counts().unwrap();
    assert!(counts.full > 0 && counts.made4 == 16, "{counts:?}");
}

/// A message of conntrack, by parts that the kernel would or would not put together.
#[derive(Clone, Debug)]
struct Message {
    six: bool,
    protocol: u8,
    hosts: (u8, u8),
    ports: (u16, u16),
    translation: u8,
    zone: (u8, u16),
    new: bool,
    /// What both directions have carried, of the end of an entry.
    end: Option<(u64, u64)>,
    status: u32,
    state: u8,
    tcp_flags: (u8, u8),
    /// Attributes that not every message has, by bits.
    extras: u16,
    /// What is odd about it, which few are.
    oddity: u8,
}

const PORTS: [u16; 10] = [20, 53, 443, 1023, 1024, 1025, 5060, 40_000, 40_001, 51_820];

fn message() -> impl Strategy<Value = Message> {
    let port = || prop::sample::select(&PORTS[..]);
    let mostly = |what: u8, of: u8| {
        prop_oneof![
            8 => Just(0),
            2 => what..=of
        ]
    };
    (
        (
            any::<bool>(),
            prop::sample::select(&[6_u8, 6, 17, 17, 1, 132, 47, 33][..]),
            // Either may be the other's server.
            (0..3_u8, 0..3_u8),
            (port(), port()),
            mostly(1, 5),
            (mostly(1, 3), prop_oneof![Just(1_u16), Just(7)]),
        ),
        (
            (
                any::<bool>(),
                prop_oneof![12 => Just(None), 1 => any::<(u64, u64)>().prop_map(Some)],
            ),
            prop::sample::select(&[8_u32, 8, 10, 14, 8 | 1, 10 | 1, 8 | 1 << 14, 10 | 1 << 14][..]),
            prop::sample::select(&[1_u8, 1, 1, 2, 3, 9, 0][..]),
            prop::sample::select(&[(3_u8, 0), (3, 3), (8, 8), (0x2a, 0x0a), (0, 0)][..]),
            prop_oneof![6 => Just(0), 2 => any::<u16>()],
            prop_oneof![9 => Just(0), 1 => 1..=9_u8],
        ),
    )
        .prop_map(
            |(
                (six, protocol, hosts, ports, translation, zone),
                ((new, end), status, state, tcp_flags, extras, oddity),
            )| Message {
                six,
                protocol: if six && protocol == 1 { 58 } else { protocol },
                hosts,
                ports,
                translation,
                zone,
                new: new && end.is_none(),
                end,
                status,
                state,
                tcp_flags,
                extras,
                oddity,
            },
        )
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = (value.len() as u16 + 4).to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn nest(kind: u16, parts: &[Vec<u8>]) -> Vec<u8> {
    attribute(kind | 0x8000, &parts.concat())
}

impl Message {
    /// The first event of a TCP connection.
    fn plain() -> Self {
        Self {
            six: false,
            protocol: 6,
            hosts: (0, 0),
            ports: (40_000, 443),
            translation: 0,
            zone: (0, 0),
            new: true,
            end: None,
            status: 8,
            state: 1,
            tcp_flags: (3, 0),
            extras: 0,
            oddity: 0,
        }
    }

    fn address(&self, host: u8) -> Vec<u8> {
        if self.six {
            let mut address = vec![0x20, 0x01, 0x0d, 0xb8];
            address.resize(15, host);
            address.push(host);
            address
        } else {
            vec![10, 0, host, 1]
        }
    }

    fn tuple(&self, kind: u16, hosts: (u8, u8), ports: (u16, u16), zone: Option<u16>) -> Vec<u8> {
        let (from, to) = if self.six { (3, 4) } else { (1, 2) };
        let mut proto = vec![attribute(1, &[self.protocol])];
        match self.protocol {
            1 | 58 => {
                let first = if self.protocol == 1 { 4 } else { 7 };
                proto.push(attribute(first, &ports.0.to_be_bytes()));
                proto.push(attribute(first + 1, &[ports.1 as u8]));
                proto.push(attribute(first + 2, &[(ports.1 >> 8) as u8]));
            }
            47 => {}
            _ => {
                proto.push(attribute(2, &ports.0.to_be_bytes()));
                proto.push(attribute(3, &ports.1.to_be_bytes()));
            }
        }
        let mut parts = vec![
            nest(
                1,
                &[
                    attribute(from, &self.address(hosts.0)),
                    attribute(to, &self.address(hosts.1)),
                ],
            ),
            nest(2, &proto),
        ];
        parts.extend(zone.map(|zone| attribute(3, &zone.to_be_bytes())));
        nest(kind, &parts)
    }

    fn bytes(&self) -> Vec<u8> {
        let (source, destination) = self.hosts;
        let (source_port, service) = self.ports;
        let (reply_hosts, reply_ports) = match self.translation {
            1 => ((20, source), (service, source_port)),
            2 => ((20, source), (8053, source_port)),
            3 => ((destination, 30), (service, source_port)),
            4 => ((destination, 30), (service, 600)),
            5 => ((destination, source), (service, 40_001)),
            _ => ((destination, source), (service, source_port)),
        };
        let in_tuple = (self.zone.0 == 2).then_some(self.zone.1);
        let mut attributes = vec![
            self.tuple(1, (source, destination), self.ports, in_tuple),
            self.tuple(2, reply_hosts, reply_ports, None),
        ];
        if self.zone.0 == 1 {
            attributes.push(attribute(18, &self.zone.1.to_be_bytes()));
        }
        attributes.push(attribute(12, &[1, 2, 3, 4]));
        attributes.push(attribute(3, &self.status.to_be_bytes()));
        attributes.push(attribute(7, &[0, 0, 0, 60]));
        let extra = |bit: u16| self.extras & 1 << bit != 0;
        // The first event of a TCP connection has its state always, or never.
        if self.protocol == 6 && (self.new || !extra(0)) || extra(1) && extra(2) {
            let (original, reply) = self.tcp_flags;
            let state = nest(
                1,
                &[
                    attribute(1, &[self.state]),
                    attribute(2, &[7]),
                    attribute(3, &[7]),
                    attribute(4, &[original, 0]),
                    attribute(5, &[reply, 0]),
                ],
            );
            attributes.push(nest(4, &[state]));
        }
        if extra(3) && extra(4) {
            attributes.push(nest(5, &[attribute(1, b"ftp\0")]));
        } else if extra(3) {
            attributes.push(nest(5, &[]));
        }
        if extra(5) && extra(6) {
            attributes.push(self.tuple(14, (1, 2), (40_000, 21), None));
        }
        if extra(7) {
            attributes.push(attribute(8, &[0, 0, 0, 9]));
        }
        if extra(8) {
            attributes.push(attribute(22, &[1; 16]));
        }
        if extra(9) && extra(10) {
            attributes.push(attribute(27, &1_800_000_000_000_000_000_u64.to_be_bytes()));
        }
        if extra(11) {
            attributes.push(nest(19, &[attribute(1, b"system_u\0")]));
        }
        if let Some((bytes, reply_bytes)) = self.end.filter(|_| !extra(12)) {
            for (kind, bytes) in [(9, bytes), (10, reply_bytes)] {
                let numbers = [(1, bytes / 100), (2, bytes)];
                attributes.push(nest(
                    kind,
                    &numbers.map(|(kind, number)| attribute(kind, &number.to_be_bytes())),
                ));
            }
            if extra(13) {
                let times = [
                    (1, 1_800_000_000_000_000_000),
                    (2, 1_800_000_000_000_000_000 + bytes / 8),
                ];
                attributes.push(nest(
                    20,
                    &times.map(|(kind, time): (u16, u64)| attribute(kind, &time.to_be_bytes())),
                ));
            }
        }
        match self.oddity {
            1 => attributes.swap(0, 1),
            2 => attributes.rotate_left(2),
            3 => attributes.push(attribute(3, &10_u32.to_be_bytes())),
            4 => attributes.push(self.tuple(1, (1, 1), (1, 1), None)),
            5 => attributes.push(attribute(30, &[1])),
            6 => attributes.extend((0..20).map(|_| attribute(8, &[0; 4]))),
            7 => attributes.push(attribute(18, &9_u16.to_be_bytes())),
            8 => attributes.push(self.tuple(2, (1, 1), (1, 1), None)),
            _ => {}
        }
        let body = attributes.concat();
        let mut bytes = (body.len() as u32 + 20).to_ne_bytes().to_vec();
        let kind = if self.end.is_some() {
            0x0102_u16
        } else {
            0x0100
        };
        bytes.extend(kind.to_ne_bytes());
        bytes.extend((if self.new { 0x0600_u16 } else { 0 }).to_ne_bytes());
        bytes.extend([0; 8]);
        bytes.extend([if self.six { 10 } else { 2 }, 0, 0, 0]);
        bytes.extend(body);
        if self.oddity == 9 {
            bytes.truncate(bytes.len() - 6);
        }
        bytes
    }
}

/// Messages, some of which are ends of what others before or after them tell of.
fn messages() -> impl Strategy<Value = Vec<Message>> {
    let of_another = prop_oneof![5 => Just(None), 1 => any::<prop::sample::Index>().prop_map(Some)];
    prop::collection::vec((message(), of_another), 1..40).prop_map(|drawn| {
        let all: Vec<Message> = drawn.iter().map(|(message, _)| message.clone()).collect();
        let message = |(message, of): (Message, Option<prop::sample::Index>)| match of {
            None => message,
            Some(of) => Message {
                new: false,
                end: message.end.or(Some((10_000, 60))),
                extras: message.extras,
                ..of.get(&all).clone()
            },
        };
        drawn.into_iter().map(message).collect()
    })
}

#[test]
fn generated_messages_give_the_records_that_decoding_gives() {
    for wants in WANTS {
        let Some(program) = Program::new(wants, 1 << 10) else {
            return;
        };
        let program = RefCell::new(program);
        let kept = RefCell::new(0);
        let used = RefCell::new(0);
        let strategy = (messages(), prop::collection::vec(0..40_usize, 0..3));
        runner(400)
            .run(&strategy, |(messages, collect_after)| {
                let bytes: Vec<Vec<u8>> = messages.iter().map(Message::bytes).collect();
                let mut program = program.borrow_mut();
                let before = program.kernel.counts().unwrap().events;
                let expected = program.decoded(&bytes);
                let found = program.through(&bytes, &collect_after);
                *kept.borrow_mut() += program.kernel.counts().unwrap().events - before;
                *used.borrow_mut() += found.iter().filter(|one| one.usage.is_some()).count();
                prop_assert!(same(&found, &expected));
                Ok(())
            })
            .unwrap();
        // Else nothing was tested.
        assert!(*kept.borrow() > 800, "{} were kept", kept.borrow());
        assert!(*used.borrow() > 150, "{} have ends", used.borrow());
    }
}
