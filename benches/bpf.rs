//! The BPF programs of the `kernel` source, run by the kernel over and over (`BPF_PROG_TEST_RUN`, bpf(2)), so that nothing
//! else is in the figure: no netlink, no socket, no user space.
//!
//! What is measured is the event that there are most of, one of a flow that the map knows already, and the ways on which
//! the program leaves an event alone. Needs CAP_BPF and CAP_NET_ADMIN; where they are missing, it says so and measures
//! nothing.
#![allow(missing_docs)] // The macros of criterion make undocumented functions.

mod common;

use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::net::UnixDatagram;
use std::time::Duration;
use std::{fs, io};

use conntracker::testing::formats::pcap::{Reader, Record};
use conntracker::testing::sources::{Kernel, Sizes, records};
use conntracker_flood::flow::Family;
use conntracker_flood::message::notification;
use criterion::{Criterion, criterion_group, criterion_main};

/// The kernel takes the first bytes for an Ethernet header, and runs a socket filter on what follows
/// (`bpf_prog_test_run_skb`, net/bpf/test_run.c).
const ETH_HLEN: usize = 14;
const BPF_PROG_TEST_RUN: libc::c_long = 10;

/// The part of `union bpf_attr` that the command takes (linux/bpf.h).
#[repr(C)]
#[derive(Default)]
struct TestRun {
    prog_fd: u32,
    retval: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration_ns: u32,
}

/// Runs the program on a message so often, and returns the mean time of a run with what the last one returned.
fn run(program: BorrowedFd<'_>, message: &[u8], repeat: u32) -> io::Result<(Duration, u32)> {
    let frame = [&[0; ETH_HLEN], message].concat();
    let mut attr = TestRun {
        prog_fd: program.as_raw_fd() as u32,
        data_size_in: frame.len() as u32,
        data_in: frame.as_ptr() as u64,
        repeat,
        ..TestRun::default()
    };
    // SAFETY: the attributes are those of this command, `frame` lives until it returns, and nothing is asked for that
    // the kernel would write but into `attr`.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_PROG_TEST_RUN,
            &raw mut attr,
            size_of::<TestRun>(),
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok((Duration::from_nanos(attr.duration_ns.into()), attr.retval))
}

/// Every message of the recorded vectors.
fn vectors() -> Vec<Vec<u8>> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/vendor-tests/vectors");
    let mut messages = Vec::new();
    for entry in fs::read_dir(folder).expect("the vectors") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|extension| extension != "pcap") {
            continue;
        }
        let bytes = fs::read(path).expect("a recording");
        let Ok(mut reader) = Reader::new(&bytes[..]) else {
            continue;
        };
        while let Ok(Some(record)) = reader.next_record() {
            if let Record::Datagram(_, datagram) = record {
                messages.push(datagram.to_vec());
            }
        }
    }
    messages
}

fn bench(c: &mut Criterion) {
    let (_sender, receiver) = UnixDatagram::pair().expect("a pair of sockets");
    let kernel = match Kernel::attach(&receiver, Sizes::new(1 << 20, 1 << 26)) {
        Ok(kernel) => kernel,
        Err(why) => return eprintln!("skipped: {why}"),
    };
    let program = kernel.program().descriptor().expect("it is loaded");
    let (_sender, receiver) = UnixDatagram::pair().expect("a pair of sockets");
    let sizes = records::Sizes::new(1 << 20);
    let keeping = records::Records::attach(&receiver, sizes, records::Wants::default());
    let keeping = keeping.expect("where the other one can be loaded, this one can");
    let keeper = keeping.program().descriptor().expect("it is loaded");
    let mut group = c.benchmark_group("bpf");
    let mut measure = |program, name: &str, message: &[u8], kept: u32| {
        // The first run has it known.
        let (_, retval) = run(program, message, 1).expect("a run");
        assert_eq!(retval, kept, "{name}");
        group.bench_function(name, |b| {
            b.iter_custom(|runs| {
                let repeat = u32::try_from(runs).unwrap_or(u32::MAX);
                let (mean, retval) = run(program, message, repeat).expect("a run");
                assert_eq!(retval, kept, "{name}");
                mean * repeat
            });
        });
    };
    for (family, name) in [(Family::V4, "ipv4"), (Family::V6, "ipv6")] {
        let settings = common::settings(1, 1, family);
        let event = settings.plan().next().expect("one event");
        let mut message = Vec::new();
        notification(&mut message, &event, 120);
        measure(program, &format!("known flow, {name}"), &message, 0);
        measure(
            keeper,
            &format!("record of a known flow, {name}"),
            &message,
            0,
        );
    }
    // What is no event goes down the socket.
    measure(program, "no event", &[0; 160], u32::MAX);
    // The recorded ones, each in turn, as the mix that the tests hold the program to.
    let messages = vectors();
    assert!(messages.len() > 100, "{} messages", messages.len());
    let known: Vec<_> = messages
        .iter()
        .filter(|message| matches!(run(program, message, 1), Ok((_, 0))))
        .collect();
    assert!(known.len() > 50, "{} handled", known.len());
    group.bench_function("every vector's event", |b| {
        b.iter_custom(|runs| {
            let repeat = u32::try_from(runs).unwrap_or(u32::MAX);
            let times = known
                .iter()
                .map(|message| run(program, message, repeat).expect("a run").0);
            times.sum::<Duration>() / known.len() as u32 * repeat
        });
    });
    group.finish();
    let counts = kernel.counts().expect("the counters");
    assert!(counts.events > 0 && counts.ring_full == 0, "{counts:?}");
}

criterion_group!(benches, bench);
criterion_main!(benches);
