//! The table against what it could have been: one lock, an ordinary map, a tree kept in order for
//! every event (as the C tool does), and the crate dashmap.
//!
//! Every run ends by counting the flows, so that no structure gets away with losing some.
#![allow(missing_docs)] // The macros of criterion make undocumented functions.

use std::collections::{BTreeMap, HashMap};
use std::hint::black_box;
use std::thread;

use conntracker::testing::intake::{Plan, Table};
use conntracker::testing::model::{Event, Flow, Key, Observation, Transport};
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use dashmap::DashMap;
use parking_lot::Mutex;

/// Events of each workload.
const EVENTS: u32 = 200_000;
/// As many as the receiver hands over at a time.
const BATCH_LEN: usize = 64;

/// A workload: its events, and the number of flows in them.
struct Workload {
    name: &'static str,
    events: Vec<Observation>,
    flows: usize,
}

fn event(flow: Flow) -> Observation {
    Observation {
        flow,
        replied: false,
        event: Event::New,
    }
}

fn v4(source: u32, service: u16) -> Observation {
    event(Flow::V4(
        Transport::Tcp,
        Key {
            source: source.to_be_bytes(),
            destination: [192, 0, 2, 1],
            service,
            source_port: 1024,
        },
    ))
}

fn v6(source: u32) -> Observation {
    let mut address = [0; 16];
    address[..2].copy_from_slice(&[0x20, 0x01]);
    address[12..].copy_from_slice(&source.to_be_bytes());
    event(Flow::V6(
        Transport::Udp,
        Key {
            source: address,
            destination: [0xfd; 16],
            service: 53,
            source_port: 1024,
        },
    ))
}

/// Spreads numbers over 32 bits without ever repeating one (an odd multiplier is a bijection).
fn spread(number: u32) -> u32 {
    number.wrapping_mul(0x9e37_79b1)
}

fn workloads() -> Vec<Workload> {
    let workload = |name, flows, make: &dyn Fn(u32) -> Observation| Workload {
        name,
        events: (0..EVENTS).map(make).collect(),
        flows,
    };
    vec![
        workload("unique", EVENTS as usize, &|i| v4(spread(i), 443)),
        workload("repeating", 1_000, &|i| v4(spread(i % 1_000), 443)),
        // Nine of ten events go to 90 flows.
        workload("skewed", 90 + EVENTS as usize / 10, &|i| match i % 10 {
            0 => v4(spread(i), 443),
            _ => v4(i / 10 % 90, 80),
        }),
        workload("ipv6", EVENTS as usize, &|i| v6(spread(i))),
        // A scan from forged sources: neighbours in address, every port.
        workload("forged", EVENTS as usize, &|i| {
            v4(0x0a00_0000 + i / 4, (i % 4) as u16)
        }),
    ]
}

fn fill(table: &Table, events: &[Observation]) {
    let mut plan = Plan::default();
    for batch in events.chunks(BATCH_LEN) {
        table.apply_all(batch, &mut plan);
    }
}

/// What the C tool sorts by on every event, roughly: enough to make a tree do the same work.
fn tree_key(flow: &Flow) -> (u8, [u8; 36]) {
    let mut bytes = [0; 36];
    let class = match flow {
        Flow::V4(transport, key) => {
            bytes[..4].copy_from_slice(&key.source);
            bytes[4..8].copy_from_slice(&key.destination);
            bytes[8..10].copy_from_slice(&key.service.to_be_bytes());
            *transport as u8
        }
        Flow::V6(transport, key) => {
            bytes[..16].copy_from_slice(&key.source);
            bytes[16..32].copy_from_slice(&key.destination);
            bytes[32..34].copy_from_slice(&key.service.to_be_bytes());
            3 + *transport as u8
        }
    };
    (class, bytes)
}

fn one_thread(c: &mut Criterion) {
    for Workload {
        name,
        events,
        flows,
    } in workloads()
    {
        let mut group = c.benchmark_group(format!("table/{name}"));
        group.throughput(Throughput::Elements(events.len() as u64));
        group.sample_size(10);
        for stripes in [1, 8, 64] {
            group.bench_function(BenchmarkId::new("striped", stripes), |b| {
                b.iter_batched_ref(
                    || Table::with_stripes(usize::MAX, stripes),
                    |table| {
                        fill(table, &events);
                        assert_eq!(table.len(), flows);
                    },
                    BatchSize::LargeInput,
                );
            });
        }
        group.bench_function("one by one/8", |b| {
            b.iter_batched_ref(
                || Table::with_stripes(usize::MAX, 8),
                |table| {
                    for event in &events {
                        table.apply(event, conntracker::testing::intake::Unseen::Ignore);
                    }
                    assert_eq!(table.len(), flows);
                },
                BatchSize::LargeInput,
            );
        });
        group.bench_function("mutex<hashmap>", |b| {
            b.iter_batched_ref(
                || Mutex::new(HashMap::new()),
                |map| {
                    for event in &events {
                        map.lock().entry(event.flow).or_insert(false);
                    }
                    assert_eq!(map.lock().len(), flows);
                },
                BatchSize::LargeInput,
            );
        });
        group.bench_function("dashmap", |b| {
            b.iter_batched_ref(
                DashMap::new,
                |map| {
                    for event in &events {
                        map.entry(event.flow).or_insert(false);
                    }
                    assert_eq!(map.len(), flows);
                },
                BatchSize::LargeInput,
            );
        });
        group.bench_function("sorted tree", |b| {
            b.iter_batched_ref(
                BTreeMap::new,
                |map| {
                    for event in &events {
                        map.entry(tree_key(&event.flow)).or_insert(false);
                    }
                    assert_eq!(map.len(), flows);
                },
                BatchSize::LargeInput,
            );
        });
        group.finish();
    }
}

fn several_threads(c: &mut Criterion) {
    let Workload { events, flows, .. } = workloads().swap_remove(0);
    let mut group = c.benchmark_group("table/threads");
    group.throughput(Throughput::Elements(events.len() as u64));
    group.sample_size(10);
    for threads in [1, 2, 4] {
        for stripes in [1, 8, 64] {
            group.bench_function(
                BenchmarkId::new(format!("striped {stripes}"), threads),
                |b| {
                    b.iter_batched_ref(
                        || Table::with_stripes(usize::MAX, stripes),
                        |table| {
                            let table = &*table;
                            thread::scope(|scope| {
                                for share in events.chunks(events.len().div_ceil(threads)) {
                                    scope.spawn(move || fill(table, share));
                                }
                            });
                            assert_eq!(table.len(), flows);
                        },
                        BatchSize::LargeInput,
                    );
                },
            );
        }
        group.bench_function(BenchmarkId::new("dashmap", threads), |b| {
            b.iter_batched_ref(
                DashMap::new,
                |map| {
                    let map = &*map;
                    thread::scope(|scope| {
                        for share in events.chunks(events.len().div_ceil(threads)) {
                            scope.spawn(move || {
                                for event in share {
                                    black_box(map.entry(event.flow).or_insert(false));
                                }
                            });
                        }
                    });
                    assert_eq!(map.len(), flows);
                },
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, one_thread, several_threads);
criterion_main!(benches);
