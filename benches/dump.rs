//! From a full table to the last byte of the list: snapshot, and sorting with rendering.
#![allow(missing_docs)] // The macros of criterion make undocumented functions.

mod common;

use std::hint::black_box;
use std::io::{self, Write};

use conntracker::testing::formats::classic;
use conntracker::testing::intake::Table;
use conntracker::testing::intake::{Intake, Pending};
use conntracker::testing::model::Text6;
use conntracker_flood::flow::Family;
use conntracker_flood::message::notification;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const FLOWS: u64 = 1_000_000;

/// Counts lines, so that a list that lacks some fails the bench.
#[derive(Default)]
struct Lines(u64);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.iter().filter(|&&byte| byte == b'\n').count() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn table(family: Family) -> Intake {
    let intake = Intake::new(Table::new(usize::MAX));
    let mut pending = Pending::default();
    let mut bytes = Vec::new();
    for event in common::settings(FLOWS, FLOWS, family).plan() {
        bytes.clear();
        notification(&mut bytes, &event, 120);
        intake.gather(&bytes, &mut pending, || false);
        if pending.len() == 64 {
            intake.commit(&mut pending);
        }
    }
    intake.commit(&mut pending);
    intake
}

fn bench(c: &mut Criterion) {
    for (name, family) in [("ipv4", Family::V4), ("ipv6", Family::V6)] {
        let intake = table(family);
        let mut group = c.benchmark_group(format!("dump/{name}"));
        group.throughput(Throughput::Elements(FLOWS));
        group.sample_size(10);
        group.bench_function("snapshot", |b| {
            b.iter(|| black_box(intake.table().snapshot()))
        });
        let snapshot = intake.table().snapshot();
        group.bench_function("sort and render", |b| {
            b.iter(|| {
                let mut lines = Lines::default();
                classic::write(&snapshot, &mut lines).expect("counting does not fail");
                assert_eq!(lines.0, FLOWS);
            });
        });
        // Baseline: a sort that knows the order only by comparing, as std's sort of the entries would.
        group.bench_function("sort alone, comparing entries", |b| {
            b.iter(|| {
                let mut sorted = 0;
                for entries in &snapshot.v4 {
                    let mut entries = entries.clone();
                    entries.sort_by_key(|entry| {
                        let key = entry.key();
                        let (source, destination) = (key.source, key.destination);
                        (
                            u32::from_le_bytes(source),
                            u32::from_le_bytes(destination),
                            key.service.swap_bytes(),
                        )
                    });
                    sorted += entries.len();
                }
                for entries in &snapshot.v6 {
                    let mut entries = entries.clone();
                    entries.sort_by_cached_key(|entry| {
                        let key = entry.key();
                        (
                            Text6::new(&key.source),
                            Text6::new(&key.destination),
                            key.service.swap_bytes(),
                        )
                    });
                    sorted += entries.len();
                }
                assert_eq!(sorted as u64, FLOWS);
            });
        });
        group.finish();
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
