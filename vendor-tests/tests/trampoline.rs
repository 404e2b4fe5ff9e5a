//! C calling into Rust: the event types, the verdicts, and a panic's way out.

use std::ffi::{c_int, c_void};
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};

use netfilter_conntrack::testing::{AfterEnd, CCallback, Trampoline};
use netfilter_conntrack::{Conntrack, ConntrackBuf, Direction, EventType, Groups, Handle};
use netfilter_conntrack_sys as sys;
use vendor_tests::netns;

unsafe extern "C" {
    fn drive_attribute(
        callback: CCallback,
        data: *mut c_void,
        kind: c_int,
        attribute: c_int,
        value: *const c_void,
    ) -> c_int;
}

fn drive((callback, data): (CCallback, *mut c_void), kind: c_int) -> c_int {
    let mark: u32 = 42;
    // SAFETY: the callers keep the trampoline alive, and the mark is a u32.
    unsafe {
        drive_attribute(
            callback,
            data,
            kind,
            sys::ATTR_MARK as c_int,
            (&raw const mark).cast(),
        )
    }
}

#[test]
fn c_calls_with_each_event_type() {
    let mut seen = Vec::new();
    let mut trampoline = Trampoline::new(
        |kind, ct: &Conntrack| {
            seen.push((kind, ct.mark()));
            ControlFlow::Continue(())
        },
        AfterEnd::Stop,
    );
    let parts = trampoline.parts();
    for kind in [
        sys::NFCT_T_NEW,
        sys::NFCT_T_UPDATE,
        sys::NFCT_T_DESTROY,
        sys::NFCT_T_UNKNOWN,
        sys::NFCT_T_ERROR,
    ] {
        assert_eq!(drive(parts, kind), sys::NFCT_CB_CONTINUE);
    }
    trampoline.finish();
    assert_eq!(
        seen,
        [EventType::New, EventType::Update, EventType::Destroy].map(|kind| (kind, Some(42)))
    );
}

#[test]
fn a_break_stops_or_drains() {
    for (after_end, verdict) in [
        (AfterEnd::Stop, sys::NFCT_CB_STOP),
        (AfterEnd::Drain, sys::NFCT_CB_CONTINUE),
    ] {
        let mut calls = 0;
        let mut trampoline = Trampoline::new(
            |_, _: &Conntrack| {
                calls += 1;
                ControlFlow::Break(())
            },
            after_end,
        );
        let parts = trampoline.parts();
        assert_eq!(drive(parts, sys::NFCT_T_NEW), verdict);
        assert_eq!(drive(parts, sys::NFCT_T_NEW), verdict);
        trampoline.finish();
        assert_eq!(calls, 1, "not called again after it broke off");
    }
}

#[test]
fn a_panic_crosses_c_as_a_verdict() {
    let mut trampoline = Trampoline::new(
        |_, _: &Conntrack| std::panic::panic_any(1234_u32),
        AfterEnd::Stop,
    );
    let parts = trampoline.parts();
    assert_eq!(drive(parts, sys::NFCT_T_NEW), sys::NFCT_CB_STOP);
    let payload = catch_unwind(AssertUnwindSafe(|| trampoline.finish())).unwrap_err();
    assert_eq!(payload.downcast_ref::<u32>(), Some(&1234));
}

fn flow(port: u16) -> ConntrackBuf {
    let mut ct = ConntrackBuf::new();
    ct.set_ipv4(
        Direction::Original,
        [10, 9, 0, 1].into(),
        [10, 9, 0, 2].into(),
    );
    ct.set_l4_protocol(Direction::Original, 17);
    ct.set_ports(Direction::Original, port, 53);
    ct.set_reply_from_original();
    ct.set_timeout_s(100);
    ct
}

#[test]
fn a_panic_on_a_real_event_keeps_its_payload_and_the_handle() {
    netns::run(
        "a_panic_on_a_real_event_keeps_its_payload_and_the_handle",
        || {
            let mut events = Handle::open(Groups::NEW).unwrap();
            let mut requests = Handle::open(Groups::NONE).unwrap();
            for port in 1..=3 {
                requests.create(&flow(port)).unwrap();
            }
            let caught = catch_unwind(AssertUnwindSafe(|| {
                events.catch(|_, _| std::panic::panic_any(String::from("from the callback")))
            }));
            assert_eq!(
                caught.unwrap_err().downcast_ref::<String>().unwrap(),
                "from the callback"
            );

            // One event went to the panic; the two behind it are still there.
            let mut ports = Vec::new();
            events
                .catch(|kind, ct| {
                    assert_eq!(kind, EventType::New);
                    ports.push(ct.src_port(Direction::Original).unwrap());
                    if ports.len() == 2 {
                        ControlFlow::Break(())
                    } else {
                        ControlFlow::Continue(())
                    }
                })
                .unwrap();
            assert_eq!(ports, [2, 3]);

            // The same for a dump, which has to be read to its end.
            let caught = catch_unwind(AssertUnwindSafe(|| {
                requests.dump(netfilter_conntrack::Family::Any, |_| {
                    std::panic::panic_any(7_u8)
                })
            }));
            assert_eq!(caught.unwrap_err().downcast_ref::<u8>(), Some(&7));
            let mut entries = 0;
            requests
                .dump(netfilter_conntrack::Family::Any, |_| entries += 1)
                .unwrap();
            assert_eq!(entries, 3);
        },
    );
}
