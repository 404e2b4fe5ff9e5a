use super::*;

/// The attributes of `bytes` as (type without flags, value), by a walker that shares nothing with the builder.
fn walk(bytes: &[u8]) -> Vec<(u16, &[u8])> {
    let mut attributes = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let length = usize::from(u16::from_ne_bytes([rest[0], rest[1]]));
        let kind = u16::from_ne_bytes([rest[2], rest[3]]) & 0x3fff;
        assert!(length >= 4);
        attributes.push((kind, &rest[4..length]));
        rest = &rest[length.div_ceil(4) * 4..];
    }
    attributes
}

fn find(bytes: &[u8], path: &[u16]) -> Vec<u8> {
    path.iter().fold(bytes.to_vec(), |bytes, kind| {
        let found = walk(&bytes).into_iter().find(|(found, _)| found == kind);
        found
            .unwrap_or_else(|| panic!("no attribute {kind} of {path:?}"))
            .1
            .to_vec()
    })
}

fn event(
    protocol: Protocol,
    source: &str,
    destination: &str,
    action: Action,
    replied: bool,
) -> Event {
    let destination_port = if protocol == Protocol::Icmp { 0 } else { 443 };
    let tuple = Tuple {
        protocol,
        source: source.parse().unwrap(),
        destination: destination.parse().unwrap(),
        source_port: 40000,
        destination_port,
    };
    Event {
        flow: 0,
        tuple,
        action,
        replied,
    }
}

fn events() -> Vec<Event> {
    let mut events = Vec::new();
    for protocol in [Protocol::Tcp, Protocol::Udp, Protocol::Icmp] {
        for (source, destination) in [("10.0.0.1", "10.0.0.2"), ("2001:db8::1", "2001:db8::2")] {
            events.push(event(protocol, source, destination, Action::Create, false));
            events.push(event(protocol, source, destination, Action::Update, true));
        }
    }
    events
}

#[test]
fn lengths_add_up_and_answers_are_demanded_of_one() {
    let mut buffer = Vec::new();
    let mut offsets = Vec::new();
    for (sequence, event) in events().iter().enumerate() {
        offsets.push(buffer.len());
        request(&mut buffer, event, 60, sequence as u32);
    }
    demand_answer(&mut buffer, offsets[3]);
    let mut offset = 0;
    for (sequence, event) in events().iter().enumerate() {
        assert_eq!(offset, offsets[sequence]);
        let header: Vec<u32> = (0..4)
            .map(|word| u32::from_ne_bytes(buffer[offset + word * 4..][..4].try_into().unwrap()))
            .collect();
        let half = |at: usize| u16::from_ne_bytes([buffer[offset + at], buffer[offset + at + 1]]);
        let flags = half(6);
        assert_eq!(half(4), 0x0100);
        let expected = if event.action == Action::Create {
            0x601
        } else {
            0x001
        };
        assert_eq!(
            flags,
            if sequence == 3 {
                expected | 4
            } else {
                expected
            }
        );
        assert_eq!(header[2], sequence as u32);
        let body = &buffer[offset + 20..offset + header[0] as usize];
        assert_eq!(walk(body)[0].0, 1);
        offset += header[0] as usize;
    }
    assert_eq!(offset, buffer.len());
}

#[test]
fn notifications_parse_back() {
    for event in events() {
        let mut buffer = Vec::new();
        notification(&mut buffer, &event, 60);
        assert_eq!(
            buffer.len(),
            u32::from_ne_bytes(buffer[..4].try_into().unwrap()) as usize
        );
        assert_eq!(
            buffer[6..8],
            if event.action == Action::Create {
                0x0600_u16.to_ne_bytes()
            } else {
                [0, 0]
            }
        );
        assert_eq!(buffer[8..16], [0; 8]);
        let six = event.tuple.source.is_ipv6();
        assert_eq!(buffer[16..20], [if six { 10 } else { 2 }, 0, 0, 0]);
        let body = &buffer[20..];
        let kinds: Vec<u16> = walk(body).iter().map(|(kind, _)| *kind).collect();
        let expected: &[u16] = if event.tuple.protocol == Protocol::Tcp {
            &[1, 2, 12, 3, 7, 4]
        } else {
            &[1, 2, 12, 3, 7]
        };
        assert_eq!(kinds, expected);
        assert_eq!(
            find(body, &[3]),
            [0, 0, 0, if event.replied { 10 } else { 8 }]
        );
        assert_eq!(find(body, &[7]), [0, 0, 0, 60]);
        for (nest, source, destination) in [
            (1, event.tuple.source, event.tuple.destination),
            (2, event.tuple.destination, event.tuple.source),
        ] {
            let octets = |address: IpAddr| match address {
                IpAddr::V4(address) => address.octets().to_vec(),
                IpAddr::V6(address) => address.octets().to_vec(),
            };
            assert_eq!(
                find(body, &[nest, 1, if six { 3 } else { 1 }]),
                octets(source)
            );
            assert_eq!(
                find(body, &[nest, 1, if six { 4 } else { 2 }]),
                octets(destination)
            );
        }
        let (ports, protocol) = match event.tuple.protocol {
            Protocol::Tcp => (true, 6),
            Protocol::Udp => (true, 17),
            Protocol::Icmp => (false, if six { 58 } else { 1 }),
        };
        assert_eq!(find(body, &[1, 2, 1]), [protocol]);
        if ports {
            assert_eq!(find(body, &[1, 2, 2]), 40000_u16.to_be_bytes());
            assert_eq!(find(body, &[1, 2, 3]), 443_u16.to_be_bytes());
            assert_eq!(find(body, &[2, 2, 2]), 443_u16.to_be_bytes());
            assert_eq!(find(body, &[2, 2, 3]), 40000_u16.to_be_bytes());
        } else {
            let (first, kinds) = if six { (7, [128, 129]) } else { (4, [8, 0]) };
            for nest in [1, 2] {
                assert_eq!(find(body, &[nest, 2, first]), 40000_u16.to_be_bytes());
                assert_eq!(
                    find(body, &[nest, 2, first + 1]),
                    [kinds[usize::from(nest) - 1]]
                );
                assert_eq!(find(body, &[nest, 2, first + 2]), [0]);
            }
        }
    }
}

/// The bytes Linux 6.18 sent for the first packet of a TCP connection; the identifier is left out. They are those of a
/// little-endian machine.
#[test]
#[cfg(target_endian = "little")]
fn tcp_event_is_the_kernels() {
    let mut event = event(
        Protocol::Tcp,
        "10.77.1.2",
        "198.51.100.20",
        Action::Create,
        false,
    );
    event.tuple.source_port = 0x8d4c;
    event.tuple.destination_port = 80;
    let mut buffer = Vec::new();
    notification(&mut buffer, &event, 120);
    #[rustfmt::skip]
    let kernel: [u8; 196] = [
        0xc4, 0, 0, 0, 0, 1, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0,
        0x34, 0, 1, 0x80, 0x14, 0, 1, 0x80, 8, 0, 1, 0, 0x0a, 0x4d, 1, 2, 8, 0, 2, 0, 0xc6, 0x33, 0x64, 0x14,
        0x1c, 0, 2, 0x80, 5, 0, 1, 0, 6, 0, 0, 0, 6, 0, 2, 0, 0x8d, 0x4c, 0, 0, 6, 0, 3, 0, 0, 0x50, 0, 0,
        0x34, 0, 2, 0x80, 0x14, 0, 1, 0x80, 8, 0, 1, 0, 0xc6, 0x33, 0x64, 0x14, 8, 0, 2, 0, 0x0a, 0x4d, 1, 2,
        0x1c, 0, 2, 0x80, 5, 0, 1, 0, 6, 0, 0, 0, 6, 0, 2, 0, 0, 0x50, 0, 0, 6, 0, 3, 0, 0x8d, 0x4c, 0, 0,
        8, 0, 12, 0, 0x55, 0xe8, 0xb3, 0xc9, 8, 0, 3, 0, 0, 0, 0, 8, 8, 0, 7, 0, 0, 0, 0, 0x78,
        0x30, 0, 4, 0x80, 0x2c, 0, 1, 0x80, 5, 0, 1, 0, 1, 0, 0, 0, 5, 0, 2, 0, 7, 0, 0, 0, 5, 0, 3, 0, 0, 0, 0, 0,
        6, 0, 4, 0, 3, 0, 0, 0, 6, 0, 5, 0, 0, 0, 0, 0,
    ];
    buffer[128..132].copy_from_slice(&kernel[128..132]);
    assert_eq!(buffer, kernel);
}
