//! Every getter against the library's own setters, called from C: the value
//! that was set, and None for everything that was not.

use std::collections::BTreeMap;
use std::ffi::{c_int, c_void};
use std::net::{IpAddr, Ipv6Addr};
use std::ops::ControlFlow;

use netfilter_conntrack::testing::{AfterEnd, CCallback, Trampoline};
use netfilter_conntrack::{
    Conntrack, ConntrackBuf, Direction, EventType, build, parse, status, tcp_state,
};
use netfilter_conntrack_sys as sys;
use vendor_tests as _;

use Direction::{Original, Reply};

unsafe extern "C" {
    fn drive_attribute(
        callback: CCallback,
        data: *mut c_void,
        kind: c_int,
        attribute: c_int,
        value: *const c_void,
    ) -> c_int;
}

/// Every getter's answer, as text, if it has one.
fn answers(ct: &Conntrack) -> BTreeMap<String, String> {
    let mut answers = BTreeMap::new();
    let mut note = |name: &str, answer: Option<String>| {
        if let Some(answer) = answer {
            answers.insert(name.to_string(), answer);
        }
    };
    for (suffix, direction) in [("", Original), (" reply", Reply)] {
        let mut note =
            |name: &str, answer: Option<String>| note(&format!("{name}{suffix}"), answer);
        note("l3", ct.l3_protocol(direction).map(|v| v.to_string()));
        note("l4", ct.l4_protocol(direction).map(|v| v.to_string()));
        note("ipv4_src", ct.ipv4_src(direction).map(|v| v.to_string()));
        note("ipv4_dst", ct.ipv4_dst(direction).map(|v| v.to_string()));
        note("ipv6_src", ct.ipv6_src(direction).map(|v| v.to_string()));
        note("ipv6_dst", ct.ipv6_dst(direction).map(|v| v.to_string()));
        note("src_port", ct.src_port(direction).map(|v| v.to_string()));
        note("dst_port", ct.dst_port(direction).map(|v| v.to_string()));
        note("packets", ct.packets(direction).map(|v| v.to_string()));
        note("bytes", ct.bytes(direction).map(|v| v.to_string()));
        note("zone_of", ct.zone_of(direction).map(|v| v.to_string()));
    }
    note("icmp_type", ct.icmp_type().map(|v| v.to_string()));
    note("icmp_code", ct.icmp_code().map(|v| v.to_string()));
    note("icmp_id", ct.icmp_id().map(|v| v.to_string()));
    note("status", ct.status().map(|v| v.to_string()));
    note("timeout_s", ct.timeout_s().map(|v| v.to_string()));
    note("mark", ct.mark().map(|v| v.to_string()));
    note("id", ct.id().map(|v| v.to_string()));
    note("zone", ct.zone().map(|v| v.to_string()));
    note("tcp_state", ct.tcp_state().map(|v| v.to_string()));
    note("tcp_flags", ct.tcp_flags(Original).map(|v| v.to_string()));
    note(
        "tcp_flags reply",
        ct.tcp_flags(Reply).map(|v| v.to_string()),
    );
    note("sctp_state", ct.sctp_state().map(|v| v.to_string()));
    note("dccp_state", ct.dccp_state().map(|v| v.to_string()));
    note("helper_name", ct.helper_name());
    note(
        "master_l4_protocol",
        ct.master_l4_protocol().map(|v| v.to_string()),
    );
    note(
        "master_dst_port",
        ct.master_dst_port().map(|v| v.to_string()),
    );
    note("start_ns", ct.start_ns().map(|v| v.to_string()));
    note("stop_ns", ct.stop_ns().map(|v| v.to_string()));
    answers
}

/// What the getters say of an entry in which C set one attribute.
fn through_c(attribute: sys::nf_conntrack_attr, value: Option<&[u8]>) -> BTreeMap<String, String> {
    let mut seen = None;
    let mut trampoline = Trampoline::new(
        |_, ct: &Conntrack| {
            let copy = ct.to_owned();
            seen = Some((answers(ct), answers(&copy)));
            ControlFlow::Continue(())
        },
        AfterEnd::Stop,
    );
    let (callback, data) = trampoline.parts();
    // Aligned for whatever integer the setter reads through it.
    let mut aligned = [0u64; 2];
    for (i, byte) in value.unwrap_or_default().iter().enumerate() {
        aligned[i / 8] |= u64::from(*byte) << (8 * (i % 8));
    }
    let aligned = aligned.map(u64::to_le);
    let value = value.map_or(std::ptr::null(), |_| aligned.as_ptr().cast());
    // SAFETY: the trampoline outlives the call, and the value is 16 bytes long,
    // which no attribute used here exceeds.
    let verdict =
        unsafe { drive_attribute(callback, data, sys::NFCT_T_NEW, attribute as c_int, value) };
    assert_eq!(verdict, sys::NFCT_CB_CONTINUE);
    trampoline.finish();
    let (borrowed, cloned) = seen.expect("the callback was called");
    assert_eq!(borrowed, cloned, "a clone reads the same");
    borrowed
}

#[test]
fn nothing_set_is_none() {
    assert_eq!(through_c(0, None), BTreeMap::new());
    assert_eq!(answers(&ConntrackBuf::new()), BTreeMap::new());
}

#[test]
fn one_attribute_set_is_one_answer() {
    let v6: Ipv6Addr = "2001:db8:1:2:3:4:5:6".parse().unwrap();
    let v6 = v6.octets();
    let port = 0x1234u16.to_be_bytes();
    let long = 0x0102_0304u32.to_ne_bytes();
    let cases: &[(sys::nf_conntrack_attr, &[u8], &str, &str)] = &[
        (
            sys::ATTR_ORIG_IPV4_SRC,
            &[10, 1, 2, 3],
            "ipv4_src",
            "10.1.2.3",
        ),
        (
            sys::ATTR_ORIG_IPV4_DST,
            &[10, 1, 2, 3],
            "ipv4_dst",
            "10.1.2.3",
        ),
        (
            sys::ATTR_REPL_IPV4_SRC,
            &[10, 1, 2, 3],
            "ipv4_src reply",
            "10.1.2.3",
        ),
        (
            sys::ATTR_REPL_IPV4_DST,
            &[10, 1, 2, 3],
            "ipv4_dst reply",
            "10.1.2.3",
        ),
        (
            sys::ATTR_ORIG_IPV6_SRC,
            &v6,
            "ipv6_src",
            "2001:db8:1:2:3:4:5:6",
        ),
        (
            sys::ATTR_ORIG_IPV6_DST,
            &v6,
            "ipv6_dst",
            "2001:db8:1:2:3:4:5:6",
        ),
        (
            sys::ATTR_REPL_IPV6_SRC,
            &v6,
            "ipv6_src reply",
            "2001:db8:1:2:3:4:5:6",
        ),
        (
            sys::ATTR_REPL_IPV6_DST,
            &v6,
            "ipv6_dst reply",
            "2001:db8:1:2:3:4:5:6",
        ),
        (sys::ATTR_ORIG_PORT_SRC, &port, "src_port", "4660"),
        (sys::ATTR_ORIG_PORT_DST, &port, "dst_port", "4660"),
        (sys::ATTR_REPL_PORT_SRC, &port, "src_port reply", "4660"),
        (sys::ATTR_REPL_PORT_DST, &port, "dst_port reply", "4660"),
        (sys::ATTR_ORIG_L3PROTO, &[10], "l3", "10"),
        (sys::ATTR_REPL_L3PROTO, &[10], "l3 reply", "10"),
        (sys::ATTR_ORIG_L4PROTO, &[132], "l4", "132"),
        (sys::ATTR_REPL_L4PROTO, &[132], "l4 reply", "132"),
        (sys::ATTR_ICMP_TYPE, &[8], "icmp_type", "8"),
        (sys::ATTR_ICMP_CODE, &[7], "icmp_code", "7"),
        (sys::ATTR_ICMP_ID, &port, "icmp_id", "4660"),
        (sys::ATTR_STATUS, &long, "status", "16909060"),
        (sys::ATTR_TIMEOUT, &long, "timeout_s", "16909060"),
        (sys::ATTR_MARK, &long, "mark", "16909060"),
        (sys::ATTR_ID, &long, "id", "16909060"),
        (sys::ATTR_ZONE, &0x0102u16.to_ne_bytes(), "zone", "258"),
        (
            sys::ATTR_ORIG_ZONE,
            &0x0102u16.to_ne_bytes(),
            "zone_of",
            "258",
        ),
        (
            sys::ATTR_REPL_ZONE,
            &0x0102u16.to_ne_bytes(),
            "zone_of reply",
            "258",
        ),
        (sys::ATTR_TCP_STATE, &[3], "tcp_state", "3"),
        (sys::ATTR_TCP_FLAGS_ORIG, &[10], "tcp_flags", "10"),
        (sys::ATTR_TCP_FLAGS_REPL, &[2], "tcp_flags reply", "2"),
        (sys::ATTR_SCTP_STATE, &[2], "sctp_state", "2"),
        (sys::ATTR_DCCP_STATE, &[1], "dccp_state", "1"),
        (
            sys::ATTR_HELPER_NAME,
            b"netbios-ns\0",
            "helper_name",
            "netbios-ns",
        ),
        (sys::ATTR_MASTER_L4PROTO, &[6], "master_l4_protocol", "6"),
        (sys::ATTR_MASTER_PORT_DST, &port, "master_dst_port", "4660"),
    ];
    for &(attribute, value, name, text) in cases {
        let expected = BTreeMap::from([(name.to_string(), text.to_string())]);
        assert_eq!(
            through_c(attribute, Some(value)),
            expected,
            "attribute {attribute}"
        );
    }
}

#[test]
fn zero_is_not_none() {
    for attribute in [
        sys::ATTR_ORIG_PORT_DST,
        sys::ATTR_STATUS,
        sys::ATTR_MARK,
        sys::ATTR_ICMP_TYPE,
        sys::ATTR_ZONE,
    ] {
        let answers = through_c(attribute, Some(&[0; 4]));
        assert_eq!(
            answers.values().collect::<Vec<_>>(),
            ["0"],
            "attribute {attribute}"
        );
    }
}

fn full(v6: bool) -> ConntrackBuf {
    let mut ct = ConntrackBuf::new();
    if v6 {
        ct.set_ipv6(
            Original,
            "fd00::1".parse().unwrap(),
            "fd00::2".parse().unwrap(),
        );
        ct.set_ipv6(
            Reply,
            "fd00::3".parse().unwrap(),
            "fd00::4".parse().unwrap(),
        );
    } else {
        ct.set_ipv4(Original, [10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        ct.set_ipv4(Reply, [10, 0, 0, 3].into(), [10, 0, 0, 4].into());
    }
    for direction in [Original, Reply] {
        ct.set_l4_protocol(direction, 6);
    }
    ct.set_ports(Original, 40000, 443);
    ct.set_ports(Reply, 8443, 40001);
    ct.set_status(status::SEEN_REPLY | status::ASSURED | status::CONFIRMED);
    ct.set_timeout_s(432_000);
    ct.set_mark(0xdead_beef);
    ct.set_zone(7);
    ct.set_tcp_state(tcp_state::ESTABLISHED);
    ct
}

#[test]
fn setters_build_and_parse_agree() {
    for v6 in [false, true] {
        let ct = full(v6);
        for kind in [EventType::New, EventType::Update, EventType::Destroy] {
            let message = build(kind, &ct).unwrap();
            let (parsed_kind, parsed) = parse(&message).unwrap();
            assert_eq!(parsed_kind, Some(kind));
            assert_eq!(answers(&parsed), answers(&ct));
            assert_eq!(build(kind, &parsed).unwrap(), message);
        }
    }
}

#[test]
fn one_family_replaces_the_other() {
    let mut ct = full(true);
    ct.set_ipv4(Original, [10, 0, 0, 1].into(), [10, 0, 0, 2].into());
    assert_eq!(ct.ipv6_src(Original), None);
    assert_eq!(ct.src(Original), Some(IpAddr::from([10, 0, 0, 1])));
    ct.set_ipv6(
        Original,
        "fd00::9".parse().unwrap(),
        "fd00::8".parse().unwrap(),
    );
    assert_eq!(ct.ipv4_src(Original), None);
    assert_eq!(ct.dst(Original), Some("fd00::8".parse().unwrap()));
}

#[test]
fn icmp_gets_its_reply() {
    let mut ct = ConntrackBuf::new();
    assert!(ct.set_icmp(8, 0, 1).is_err(), "no family yet");
    ct.set_ipv4(Original, [10, 0, 0, 1].into(), [10, 0, 0, 2].into());
    ct.set_l4_protocol(Original, 1);
    for icmp_type in 0..=255u8 {
        assert_eq!(
            ct.set_icmp(icmp_type, 0, 77).is_ok(),
            matches!(icmp_type, 0 | 8 | 13..=18),
            "{icmp_type}"
        );
    }
    ct.set_icmp(8, 0, 77).unwrap();
    ct.set_reply_from_original();
    let (_, parsed) = parse(&build(EventType::New, &ct).unwrap()).unwrap();
    assert_eq!(
        (parsed.icmp_type(), parsed.icmp_code(), parsed.icmp_id()),
        (Some(8), Some(0), Some(77))
    );
    assert_eq!(parsed.src_port(Original), None);
    assert_eq!(parsed.src(Reply), Some(IpAddr::from([10, 0, 0, 2])));
}

/// An attribute: length, type, payload, padding.
fn attribute(kind: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend_from_slice(&((payload.len() + 4) as u16).to_ne_bytes());
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(payload);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn with_attributes(attributes: &[Vec<u8>]) -> Vec<u8> {
    let mut message = build(EventType::Destroy, &full(false)).unwrap();
    message.extend(attributes.concat());
    let length = message.len() as u32;
    message[..4].copy_from_slice(&length.to_ne_bytes());
    message
}

/// Counters and timestamps cannot be set in the library; the kernel's form of
/// them can be parsed.
#[test]
fn counters_timestamps_and_id_come_from_the_wire() {
    let be64 = |value: u64| value.to_be_bytes();
    let counters =
        |packets, bytes| [attribute(1, &be64(packets)), attribute(2, &be64(bytes))].concat();
    let message = with_attributes(&[
        attribute(9 | 0x8000, &counters(11, 1100)),
        attribute(10 | 0x8000, &counters(22, u64::MAX)),
        attribute(12, &0x0a0b_0c0du32.to_be_bytes()),
        attribute(
            20 | 0x8000,
            &[
                attribute(1, &be64(1_000_000_001)),
                attribute(2, &be64(2_000_000_002)),
            ]
            .concat(),
        ),
    ]);
    let (kind, ct) = parse(&message).unwrap();
    assert_eq!(kind, Some(EventType::Destroy));
    assert_eq!(
        (ct.packets(Original), ct.bytes(Original)),
        (Some(11), Some(1100))
    );
    assert_eq!(
        (ct.packets(Reply), ct.bytes(Reply)),
        (Some(22), Some(u64::MAX))
    );
    assert_eq!(ct.id(), Some(0x0a0b_0c0d));
    assert_eq!(ct.start_ns(), Some(1_000_000_001));
    assert_eq!(ct.stop_ns(), Some(2_000_000_002));
}

/// A small generator, so that a failure comes again (xorshift, Marsaglia 2003).
fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// The library writes past an array, aborts or reads wild if a message is wrong
/// in the right way; whatever the bytes, this must come back.
#[test]
fn parse_survives_any_bytes() {
    let be64 = |value: u64| value.to_be_bytes();
    let nested = |kind: u16, parts: &[Vec<u8>]| attribute(kind | 0x8000, &parts.concat());
    let seed = with_attributes(&[
        nested(9, &[attribute(1, &be64(1)), attribute(2, &be64(2))]),
        nested(
            4,
            &[nested(
                1,
                &[
                    attribute(1, &[3]),
                    attribute(4, &[1, 2]),
                    attribute(5, &[1, 2]),
                ],
            )],
        ),
        nested(5, &[attribute(1, b"ftp\0"), attribute(2, b"information")]),
        nested(19, &[attribute(1, b"system_u:object_r\0")]),
        nested(20, &[attribute(1, &be64(1)), attribute(2, &be64(2))]),
        attribute(22, &[0xff; 16]),
        attribute(12, &[1, 2, 3, 4]),
    ]);
    let (mut state, mut parsed) = (0x9e37_79b9_7f4a_7c15_u64, 0);
    for _ in 0..200_000 {
        let mut message = seed.clone();
        for _ in 0..=next(&mut state) % 4 {
            let at = 20 + next(&mut state) as usize % (message.len() - 20);
            message[at] = match next(&mut state) % 3 {
                0 => next(&mut state) as u8,
                1 => next(&mut state) as u8 % 32,
                _ => message[at] ^ (1 << (next(&mut state) % 8)),
            };
        }
        if let Ok((_, ct)) = parse(&message) {
            parsed += 1;
            std::hint::black_box((answers(&ct), build(EventType::New, &ct).is_ok()));
        }
    }
    assert!(parsed > 1_000, "only {parsed} of the mutants got through");
}

/// A destroyed entry's stop time without its start time.
#[test]
fn stop_time_alone() {
    let message = with_attributes(&[attribute(20 | 0x8000, &attribute(2, &5u64.to_be_bytes()))]);
    let (_, ct) = parse(&message).unwrap();
    assert_eq!((ct.start_ns(), ct.stop_ns()), (None, Some(5)));
}
