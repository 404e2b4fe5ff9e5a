//! Decoding one message in place, against the C library's parser.
//!
//! The parser is called as a callback of the library gets its entry: `nfct_new`, `nfct_nlmsg_parse`,
//! `nfct_destroy`, and for the smaller figure the parse alone into one object. What it finds is compared
//! with what ours finds before anything is timed.
#![allow(missing_docs)] // The macros of criterion make undocumented functions.

mod common;

use std::hint::black_box;

use conntracker::testing::model::Event;
use conntracker::testing::netlink::decode;
use conntracker::testing::netlink::messages;
use conntracker::testing::sources::entry::observe;
use conntracker_flood::flow::Family;
use conntracker_flood::message::notification;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use netfilter_conntrack_sys as sys;

const MESSAGES: u64 = 1_000;

fn stream(family: Family) -> Vec<Vec<u8>> {
    let settings = common::settings(MESSAGES, MESSAGES / 2, family);
    let datagram = |event| {
        let mut bytes = Vec::new();
        notification(&mut bytes, &event, 120);
        bytes
    };
    settings.plan().map(datagram).collect()
}

/// Our own decoder; the sum keeps the work from being optimised away.
fn ours(stream: &[Vec<u8>]) -> usize {
    let decoded = |datagram: &Vec<u8>| {
        messages(datagram)
            .filter(|message| message.is_ok_and(|message| black_box(decode(message)).is_ok()))
            .count()
    };
    stream.iter().map(decoded).sum()
}

fn parse(datagram: &[u8], entry: *mut sys::nf_conntrack) -> bool {
    // SAFETY: the stream holds whole messages in allocations of their own, which are aligned for a
    // netlink header; `entry` is a live object.
    unsafe { sys::nfct_nlmsg_parse(datagram.as_ptr().cast(), entry) == 0 }
}

fn library(stream: &[Vec<u8>], fresh: bool) -> usize {
    // SAFETY: takes nothing; every object is destroyed once, below.
    let new = || unsafe { sys::nfct_new() };
    let mut entry = new();
    let mut parsed = 0;
    for datagram in stream {
        parsed += usize::from(black_box(parse(datagram, entry)));
        if fresh {
            // SAFETY: made by nfct_new and not used again.
            unsafe { sys::nfct_destroy(entry) };
            entry = new();
        }
    }
    // SAFETY: as above.
    unsafe { sys::nfct_destroy(entry) };
    parsed
}

fn agree(stream: &[Vec<u8>]) {
    for datagram in stream {
        let message = messages(datagram)
            .next()
            .expect("one message")
            .expect("a whole one");
        let ours = decode(message).expect("an event of a listed class");
        let (_, entry) = netfilter_conntrack::parse(datagram).expect("the library reads it");
        let event = if ours.event == Event::New {
            Event::New
        } else {
            Event::Update
        };
        assert_eq!(observe(&entry, event), Ok(ours));
    }
}

fn bench(c: &mut Criterion) {
    for (name, family) in [("ipv4", Family::V4), ("ipv6", Family::V6)] {
        let stream = stream(family);
        agree(&stream);
        let all = stream.len();
        let mut group = c.benchmark_group(format!("decode/{name}"));
        group.throughput(Throughput::Elements(MESSAGES));
        group.bench_function("decode", |b| b.iter(|| assert_eq!(ours(&stream), all)));
        group.bench_function("nfct_nlmsg_parse", |b| {
            b.iter(|| assert_eq!(library(&stream, false), all))
        });
        group.bench_function("nfct_new+parse+destroy", |b| {
            b.iter(|| assert_eq!(library(&stream, true), all))
        });
        group.finish();
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
