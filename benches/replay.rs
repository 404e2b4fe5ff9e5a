//! A recorded capture from its first byte to the last of its list, against reading its records only.
#![allow(missing_docs)] // The macros of criterion make undocumented functions.

mod common;

use std::io;

use conntracker::testing::formats::classic;
use conntracker::testing::formats::pcap::{Reader, Record};
use conntracker::testing::intake::Intake;
use conntracker::testing::intake::Table;
use conntracker::testing::sources::file;
use conntracker_flood::flow::Family;
use conntracker_flood::pcap;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const EVENTS: u64 = 300_000;
const FLOWS: u64 = 100_000;

fn bench(c: &mut Criterion) {
    let mut group = c.benchmark_group("replay");
    group.throughput(Throughput::Elements(EVENTS));
    group.sample_size(10);
    let mut capture = Vec::new();
    let settings = common::settings(EVENTS, FLOWS, Family::Mixed);
    pcap::write(&mut capture, &settings, 120, 0.0, || true)
        .expect("writing to memory does not fail");
    group.bench_function("records only", |b| {
        b.iter(|| {
            let mut reader = Reader::new(&capture[..]).expect("a capture");
            let mut records = 0;
            while let Some(record) = reader.next_record().expect("reading memory does not fail") {
                assert!(matches!(record, Record::Datagram(..)));
                records += 1;
            }
            assert_eq!(records, EVENTS);
        });
    });
    group.bench_function("to the list", |b| {
        b.iter(|| {
            let intake = Intake::new(Table::new(usize::MAX));
            let read = file::read(&capture[..], &intake).expect("a capture");
            assert_eq!(
                (read.audit.reasons(0), intake.table().len() as u64),
                (Vec::new(), FLOWS)
            );
            classic::write(&intake.table().snapshot(), &mut io::sink()).expect("a sink takes all");
        });
    });
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
