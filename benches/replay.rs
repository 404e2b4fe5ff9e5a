//! A recorded capture from its first byte to the last of its list, against reading its records only; and captures as text
//! and as JSON.
#![allow(missing_docs)] // The macros of criterion make undocumented functions.

mod common;

use std::io;
use std::path::Path;

use conntracker::testing;
use conntracker::testing::Collection;
use conntracker::testing::formats::classic;
use conntracker::testing::formats::pcap::{Reader, Record};
use conntracker::testing::intake::Intake;
use conntracker::testing::intake::Table;
use conntracker::testing::sources::file;
use conntracker::testing::ui::{Console, Verbosity};
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

/// Flows of captures in lines.
const LINES: u32 = 1_000_000;

/// Client and source port of a flow.
fn client(number: u32) -> (String, u32) {
    let [_, a, b, c] = number.to_be_bytes();
    (format!("10.{a}.{b}.{c}"), 1024 + number % 60_000)
}

fn text() -> String {
    let line = |number| {
        let (client, port) = client(number);
        format!(
            "tcp      6 431999 ESTABLISHED src={client} dst=192.0.2.5 sport={port} dport=443 src=192.0.2.5 \
             dst={client} sport=443 dport={port} [ASSURED] mark=0 use=1\n"
        )
    };
    (0..LINES).map(line).collect()
}

fn json() -> String {
    let line = |number| {
        let (client, _) = client(number);
        format!(
            r#"{{"type":"flow","family":"ipv4","protocol":"tcp","protocol_number":6,"src":"{client}","src_port":1024,"src_port_collapsed":true,"dst":"192.0.2.5","dst_port":443,"confirmed":true,"connections":1,"first_seen":"2026-11-26T18:24:17.397570Z","last_seen":"2026-11-26T18:24:17.397608Z"}}"#
        ) + "\n"
    };
    (0..LINES).map(line).collect()
}

fn lines(c: &mut Criterion) {
    let mut group = c.benchmark_group("lines");
    group.throughput(Throughput::Elements(LINES.into()));
    group.sample_size(10);
    let console = Console::stderr(Verbosity::Quiet);
    let reader = testing::Reader {
        console: &console,
        strict: true,
        keep_ports: true,
    };
    for (name, content) in [("text of conntrack", text()), ("JSON", json())] {
        group.bench_function(name, |b| {
            b.iter(|| {
                let mut collection = Collection::default();
                let read =
                    reader.read_from(content.as_bytes(), Path::new("-"), None, &mut collection);
                read.expect("every line can be read");
                assert_eq!(collection.finish().flows.len(), LINES as usize);
            });
        });
    }
    group.finish();
}

criterion_group!(benches, bench, lines);
criterion_main!(benches);
