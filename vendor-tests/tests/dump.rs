//! Entries through ctnetlink and back: dump, events, update, destroy, filters.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::ControlFlow;
use std::os::fd::AsRawFd as _;

use netfilter_conntrack::{
    Conntrack, ConntrackBuf, Direction, EventType, Family, Filter, Groups, Handle, Ipv4Field,
    Ipv6Field, Logic, status, tcp_state,
};
use vendor_tests::netns;

use Direction::{Original, Reply};

type Tuple = (u8, IpAddr, IpAddr, Option<u16>, Option<u16>);

fn tuple(ct: &Conntrack, direction: Direction) -> Tuple {
    (
        ct.l4_protocol(direction).unwrap(),
        ct.src(direction).unwrap(),
        ct.dst(direction).unwrap(),
        ct.src_port(direction),
        ct.dst_port(direction),
    )
}

fn flow(src: IpAddr, dst: IpAddr, protocol: u8) -> ConntrackBuf {
    let mut ct = ConntrackBuf::new();
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => ct.set_ipv4(Original, src, dst),
        (IpAddr::V6(src), IpAddr::V6(dst)) => ct.set_ipv6(Original, src, dst),
        _ => panic!("two families"),
    }
    ct.set_l4_protocol(Original, protocol);
    match protocol {
        1 => ct.set_icmp(8, 0, 99).unwrap(),
        58 => ct.set_icmp(128, 0, 99).unwrap(),
        _ => ct.set_ports(Original, 40_000, 443),
    }
    ct.set_reply_from_original();
    ct.set_timeout_s(1000);
    if protocol == 6 {
        ct.set_tcp_state(tcp_state::ESTABLISHED);
    }
    ct
}

fn v4(last: u8) -> IpAddr {
    Ipv4Addr::new(10, 7, 0, last).into()
}

fn v6(last: u16) -> IpAddr {
    Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last).into()
}

fn all_kinds() -> Vec<ConntrackBuf> {
    let mut flows: Vec<_> = [6, 17, 132, 33, 1]
        .map(|protocol| flow(v4(1), v4(2), protocol))
        .into();
    flows.extend([6, 17, 132, 33, 58].map(|protocol| flow(v6(1), v6(2), protocol)));
    flows
}

fn set_nonblocking(handle: &Handle) {
    // SAFETY: the descriptor is open; F_SETFL takes an integer.
    let result = unsafe { libc::fcntl(handle.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) };
    assert_eq!(result, 0);
}

/// Everything waiting in a non-blocking handle.
fn drain(events: &mut Handle) -> Vec<(EventType, ConntrackBuf)> {
    let mut drained = Vec::new();
    let error = events
        .catch(|kind, ct| {
            drained.push((kind, ct.to_owned()));
            ControlFlow::Continue(())
        })
        .unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EAGAIN));
    drained
}

#[test]
fn what_was_created_is_dumped() {
    netns::run("what_was_created_is_dumped", || {
        let mut requests = Handle::open(Groups::NONE).unwrap();
        let mut created = BTreeMap::new();
        for (i, mut ct) in all_kinds().into_iter().enumerate() {
            ct.set_mark(i as u32);
            ct.set_status(status::SEEN_REPLY | status::ASSURED);
            match requests.create(&ct) {
                Ok(()) => {
                    created.insert(tuple(&ct, Original), ct);
                }
                // DCCP left the kernel in 6.16 (net/netfilter/nf_conntrack_proto_dccp.c);
                // what is unknown to it is tracked without ports or refused.
                Err(error) if ct.l4_protocol(Original) == Some(33) => println!("DCCP: {error}"),
                Err(error) => panic!("{ct:?}: {error}"),
            }
        }
        assert!(created.len() >= 8);
        for (family, count_v4, count_v6) in [
            (Family::Any, true, true),
            (Family::Ipv4, true, false),
            (Family::Ipv6, false, true),
        ] {
            let mut dumped = BTreeMap::new();
            requests
                .dump(family, |ct| {
                    dumped.insert(tuple(ct, Original), ct.to_owned());
                })
                .unwrap();
            for (key, ct) in &created {
                let wanted = if key.1.is_ipv4() { count_v4 } else { count_v6 };
                let Some(back) = dumped.remove(key) else {
                    assert!(
                        !wanted || key.0 == 33,
                        "{key:?} is missing from the dump of {family:?}"
                    );
                    continue;
                };
                assert!(wanted, "{key:?} in the dump of {family:?}");
                assert_eq!(tuple(&back, Reply), tuple(ct, Reply));
                assert_eq!(back.mark(), ct.mark());
                assert_eq!(back.icmp_id(), ct.icmp_id());
                assert_eq!(back.icmp_type(), ct.icmp_type());
                assert_eq!(back.tcp_state(), ct.tcp_state());
                assert_eq!(back.is_replied(), Some(true));
                assert_ne!(back.status().unwrap() & status::CONFIRMED, 0);
                assert!(
                    (990..=1000).contains(&back.timeout_s().unwrap()),
                    "{:?}",
                    back.timeout_s()
                );
                assert!(back.id().is_some());
            }
            dumped.retain(|key, _| key.0 != 33);
            assert!(dumped.is_empty(), "not created: {dumped:?}");
        }
    });
}

#[test]
fn a_large_table_comes_whole() {
    netns::run("a_large_table_comes_whole", || {
        let mut requests = Handle::open(Groups::NONE).unwrap();
        let mut ct = flow(v4(1), v4(2), 17);
        for port in 1..=5_000 {
            ct.set_ports(Original, port, 53);
            ct.set_reply_from_original();
            requests.create(&ct).unwrap();
        }
        let mut ports = Vec::new();
        requests
            .dump(Family::Any, |ct| ports.push(ct.src_port(Original).unwrap()))
            .unwrap();
        ports.sort_unstable();
        assert!(ports.iter().copied().eq(1..=5_000));
    });
}

#[test]
fn create_update_destroy_are_events() {
    netns::run("create_update_destroy_are_events", || {
        let mut events = Handle::open(Groups::ALL).unwrap();
        set_nonblocking(&events);
        let mut requests = Handle::open(Groups::NONE).unwrap();
        let mut ct = flow(v4(1), v4(2), 6);
        requests.create(&ct).unwrap();
        ct.set_mark(5);
        requests.update(&ct).unwrap();
        requests.destroy(&ct).unwrap();
        let seen: Vec<_> = drain(&mut events)
            .into_iter()
            .map(|(kind, ct)| (kind, ct.mark()))
            .collect();
        let kinds: Vec<_> = seen.iter().map(|event| event.0).collect();
        assert_eq!(
            kinds,
            [EventType::New, EventType::Update, EventType::Destroy],
            "{seen:?}"
        );
        assert_eq!(seen[1].1, Some(5));
    });
}

#[test]
fn groups_select_events() {
    netns::run("groups_select_events", || {
        for (groups, kind) in [
            (Groups::NEW, EventType::New),
            (Groups::UPDATE, EventType::Update),
            (Groups::DESTROY, EventType::Destroy),
        ] {
            let mut events = Handle::open(groups).unwrap();
            set_nonblocking(&events);
            let mut requests = Handle::open(Groups::NONE).unwrap();
            let mut ct = flow(v4(1), v4(2), 17);
            requests.create(&ct).unwrap();
            ct.set_mark(5);
            requests.update(&ct).unwrap();
            requests.destroy(&ct).unwrap();
            let kinds: Vec<_> = drain(&mut events)
                .into_iter()
                .map(|(kind, _)| kind)
                .collect();
            assert_eq!(kinds, [kind]);
        }
    });
}

/// The destinations and protocols that pass a filter, of a fixed set of flows.
fn passing(filter: &Filter) -> Vec<(u8, IpAddr)> {
    let mut events = Handle::open(Groups::NEW).unwrap();
    set_nonblocking(&events);
    events.attach_filter(filter).unwrap();
    let mut requests = Handle::open(Groups::NONE).unwrap();
    let mut flows = Vec::new();
    for protocol in [6, 17] {
        flows.extend([flow(v4(1), v4(2), protocol), flow(v4(1), v4(130), protocol)]);
        flows.extend([
            flow(v6(1), v6(2), protocol),
            flow(v6(1), v6(0x8002), protocol),
        ]);
    }
    flows.iter().for_each(|ct| requests.create(ct).unwrap());
    let passed = drain(&mut events)
        .iter()
        .map(|(_, ct)| (ct.l4_protocol(Original).unwrap(), ct.dst(Original).unwrap()))
        .collect();
    flows.iter().for_each(|ct| requests.destroy(ct).unwrap());
    events.detach_filter().unwrap();
    passed
}

/// As many conditions as the wrapper allows still make a right program.
#[test]
fn the_largest_filters_work() {
    netns::run("the_largest_filters_work", || {
        for logic in [Logic::Positive, Logic::Negative] {
            let mut filter = Filter::new();
            for last in (131..211).rev() {
                filter
                    .ipv4(
                        Ipv4Field::Src,
                        Ipv4Addr::new(192, 0, 2, last),
                        Ipv4Addr::BROADCAST,
                    )
                    .unwrap();
            }
            for last in (100..120).rev() {
                let address = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 1, last);
                filter
                    .ipv6(Ipv6Field::Src, address, Ipv6Addr::from(!0u128))
                    .unwrap();
            }
            (16..=255).for_each(|protocol| filter.l4_protocol(protocol).unwrap());
            filter.logic(Ipv4Field::Src, logic).unwrap();
            filter.logic(Ipv6Field::Src, logic).unwrap();
            let passed = passing(&filter);
            match logic {
                Logic::Positive => assert_eq!(passed, []),
                Logic::Negative => assert_eq!(
                    passed,
                    [v4(2), v4(130), v6(2), v6(0x8002)].map(|dst| (17, dst))
                ),
            }
        }
    });
}

#[test]
fn filters_let_pass_what_they_say() {
    netns::run("filters_let_pass_what_they_say", || {
        let (mut tcp, mut net4, mut not_net4, mut net6) =
            (Filter::new(), Filter::new(), Filter::new(), Filter::new());
        let all = [(6, v4(2)), (6, v4(130)), (6, v6(2)), (6, v6(0x8002))];
        let both = |wanted: &dyn Fn(&(u8, IpAddr)) -> bool| -> Vec<(u8, IpAddr)> {
            let udp = all.map(|(_, dst)| (17, dst));
            all.into_iter().chain(udp).filter(wanted).collect()
        };

        tcp.l4_protocol(6).unwrap();
        assert_eq!(passing(&tcp), both(&|flow| flow.0 == 6));

        let (net, mask) = (
            Ipv4Addr::new(10, 7, 0, 128),
            Ipv4Addr::new(255, 255, 255, 128),
        );
        net4.ipv4(Ipv4Field::Dst, net, mask).unwrap();
        // The defect the documentation of Filter tells of: IPv6 should pass.
        assert_eq!(passing(&net4), both(&|flow| flow.1 == v4(130)));

        let mut src4 = Filter::new();
        src4.ipv4(
            Ipv4Field::Src,
            Ipv4Addr::new(192, 0, 2, 0),
            Ipv4Addr::new(255, 255, 255, 0),
        )
        .unwrap();
        assert_eq!(passing(&src4), both(&|flow| flow.1.is_ipv6()));

        not_net4.ipv4(Ipv4Field::Dst, net, mask).unwrap();
        not_net4.logic(Ipv4Field::Dst, Logic::Negative).unwrap();
        assert_eq!(passing(&not_net4), both(&|flow| flow.1 != v4(130)));

        let mask = Ipv6Addr::from(!0u128 << 15);
        net6.ipv6(
            Ipv6Field::Dst,
            Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0x8000),
            mask,
        )
        .unwrap();
        assert_eq!(
            passing(&net6),
            both(&|flow| flow.1.is_ipv4() || flow.1 == v6(0x8002))
        );
    });
}
