//! Nothing is left behind: descriptors, memory, registrations.

use std::io;
use std::ops::ControlFlow;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::rc::Rc;
use std::sync::Mutex;

use netfilter_conntrack::{
    ConntrackBuf, Direction, EventType, Family, Filter, Groups, Handle, build, parse,
};
use vendor_tests::netns;

/// One test at a time: they count what the whole process holds.
static COUNTING: Mutex<()> = Mutex::new(());

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

fn resident_bytes() -> usize {
    let pages: usize = std::fs::read_to_string("/proc/self/statm")
        .unwrap()
        .split(' ')
        .nth(1)
        .unwrap()
        .parse()
        .unwrap();
    pages * 4096
}

fn flow(port: u16) -> ConntrackBuf {
    let mut ct = ConntrackBuf::new();
    ct.set_ipv4(
        Direction::Original,
        [10, 8, 0, 1].into(),
        [10, 8, 0, 2].into(),
    );
    ct.set_l4_protocol(Direction::Original, 17);
    ct.set_ports(Direction::Original, port, 53);
    ct.set_reply_from_original();
    ct.set_timeout_s(100);
    ct
}

fn set_nonblocking(handle: &Handle) {
    // SAFETY: the descriptor is open; F_SETFL takes an integer.
    let result = unsafe { libc::fcntl(handle.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) };
    assert_eq!(result, 0);
}

#[test]
fn ten_thousand_handles_leave_no_descriptor() {
    let _alone = COUNTING.lock();
    let before = descriptors();
    for _ in 0..10_000 {
        let handle = Handle::open(Groups::NONE).unwrap();
        assert!(handle.as_fd().as_raw_fd() >= 0);
    }
    assert_eq!(descriptors(), before);
}

#[test]
fn catching_ten_thousand_times_leaks_nothing() {
    let _alone = COUNTING.lock();
    netns::run("catching_ten_thousand_times_leaks_nothing", || {
        let mut events = Handle::open(Groups::ALL).unwrap();
        set_nonblocking(&events);
        let owned = Rc::new(());
        let round = |events: &mut Handle| {
            let owned = Rc::clone(&owned);
            let error = events
                .catch(move |_, _| {
                    let _ = &owned;
                    ControlFlow::Continue(())
                })
                .unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EAGAIN));
        };
        (0..1_000).for_each(|_| round(&mut events));
        let (files, memory) = (descriptors(), resident_bytes());
        (0..10_000).for_each(|_| round(&mut events));
        assert_eq!(Rc::strong_count(&owned), 1, "every closure was dropped");
        assert_eq!(descriptors(), files);
        // A leaked registration is 32 bytes with malloc's header: 320 kB.
        assert!(
            resident_bytes() < memory + 200_000,
            "grew from {memory} to {}",
            resident_bytes()
        );
    });
}

#[test]
fn entries_and_filters_leak_nothing() {
    let _alone = COUNTING.lock();
    let round = || {
        let message = build(EventType::New, &flow(1)).unwrap();
        let (_, ct) = parse(&message).unwrap();
        assert_eq!(ct.clone().src_port(Direction::Original), Some(1));
        let mut filter = Filter::new();
        filter.l4_protocol(6).unwrap();
    };
    (0..1_000).for_each(|_| round());
    let memory = resident_bytes();
    (0..20_000).for_each(|_| round());
    assert!(
        resident_bytes() < memory + 1_000_000,
        "grew from {memory} to {}",
        resident_bytes()
    );
}

#[test]
fn a_handle_moves_to_another_thread() {
    let _alone = COUNTING.lock();
    netns::run("a_handle_moves_to_another_thread", || {
        let mut events = Handle::open(Groups::NEW).unwrap();
        Handle::open(Groups::NONE)
            .unwrap()
            .create(&flow(5))
            .unwrap();
        let ct = std::thread::spawn(move || {
            let mut kept = None;
            events.catch(|_, ct| {
                kept = Some(ct.to_owned());
                ControlFlow::Break(())
            })?;
            io::Result::Ok(kept)
        })
        .join()
        .unwrap()
        .unwrap()
        .unwrap();
        assert_eq!(
            ct.src_port(Direction::Original),
            Some(5),
            "an owned entry outlives handle and thread"
        );
    });
}

#[test]
fn errors_are_the_errno_they_are() {
    let _alone = COUNTING.lock();
    netns::run("errors_are_the_errno_they_are", || {
        let errno = |result: io::Result<()>| result.unwrap_err().raw_os_error();
        let mut asks = Handle::open(Groups::NONE).unwrap();
        let mut listens = Handle::open(Groups::ALL).unwrap();
        assert_eq!(
            errno(asks.catch(|_, _| ControlFlow::Continue(()))),
            Some(libc::EINVAL)
        );
        assert_eq!(errno(listens.dump(Family::Any, |_| ())), Some(libc::EINVAL));
        assert_eq!(errno(asks.create(&ConntrackBuf::new())), Some(libc::EINVAL));
        assert_eq!(errno(asks.destroy(&flow(9))), Some(libc::ENOENT));
        asks.create(&flow(9)).unwrap();
        assert_eq!(errno(asks.create(&flow(9))), Some(libc::EEXIST));
        assert_eq!(errno(asks.detach_filter()), Some(libc::ENOENT));
    });
}

#[test]
fn an_overrun_is_reported_and_not_the_end() {
    let _alone = COUNTING.lock();
    netns::run("an_overrun_is_reported_and_not_the_end", || {
        let mut events = Handle::open(Groups::NEW).unwrap();
        set_nonblocking(&events);
        let bytes: libc::c_int = 4096;
        // SAFETY: open descriptor, and an int as the option wants it.
        let result = unsafe {
            libc::setsockopt(
                events.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_RCVBUF,
                (&raw const bytes).cast(),
                size_of::<libc::c_int>() as libc::socklen_t,
            )
        };
        assert_eq!(result, 0);
        let mut requests = Handle::open(Groups::NONE).unwrap();
        (1..=200).for_each(|port| requests.create(&flow(port)).unwrap());
        let (mut seen, mut overruns) = (0, 0);
        loop {
            let error = events
                .catch(|_, _| {
                    seen += 1;
                    ControlFlow::Continue(())
                })
                .unwrap_err();
            match error.raw_os_error() {
                Some(libc::ENOBUFS) => overruns += 1,
                other => {
                    assert_eq!(other, Some(libc::EAGAIN));
                    break;
                }
            }
        }
        assert_eq!(overruns, 1);
        assert!((1..200).contains(&seen), "{seen}");
        requests.create(&flow(1000)).unwrap();
        let mut port = None;
        events
            .catch(|_, ct| {
                port = ct.src_port(Direction::Original);
                ControlFlow::Break(())
            })
            .unwrap();
        assert_eq!(port, Some(1000), "the capture goes on");
    });
}

/// The statement in the documentation of `catch` that a signal does not end it.
#[test]
fn a_signal_does_not_end_a_catch() {
    let _alone = COUNTING.lock();
    extern "C" fn ignore(_: libc::c_int) {}
    netns::run("a_signal_does_not_end_a_catch", || {
        // SAFETY: an all-zero sigaction is valid; the handler does nothing, and
        // without SA_RESTART the receive is interrupted.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = ignore as extern "C" fn(libc::c_int) as libc::sighandler_t;
            assert_eq!(
                libc::sigaction(libc::SIGUSR1, &action, std::ptr::null_mut()),
                0
            );
        }
        let mut events = Handle::open(Groups::NEW).unwrap();
        let mut requests = Handle::open(Groups::NONE).unwrap();
        // SAFETY: no arguments.
        let this = unsafe { libc::pthread_self() };
        let mut caught = 0;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..5 {
                    std::thread::sleep(std::time::Duration::from_millis(20));
                    // SAFETY: the scope keeps the thread alive until this one ends.
                    assert_eq!(unsafe { libc::pthread_kill(this, libc::SIGUSR1) }, 0);
                }
                requests.create(&flow(1)).unwrap();
            });
            events
                .catch(|_, _| {
                    caught += 1;
                    ControlFlow::Break(())
                })
                .unwrap();
        });
        assert_eq!(caught, 1, "catch came back for the event, not for a signal");
    });
}
