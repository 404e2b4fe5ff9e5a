use conntracker::flow::*;
use conntracker::table::*;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

fn obs(n: u32) -> Vec<Observation> {
    (0..n).map(|i| {
        let x = i.wrapping_mul(0x9e37_79b1);
        Observation { flow: Flow::V4(Transport::Tcp, Key { source: x.to_be_bytes(), destination: [10, 0, 0, 1], service: 443, source_port: 1024 }), replied: false, event: Event::New }
    }).collect()
}
fn bench(c: &mut Criterion) {
    let all = obs(600_000);
    let mut g = c.benchmark_group("t");
    g.sample_size(10);
    g.throughput(Throughput::Elements(600_000));
    for stripes in [1, 8, 16, 64] {
        g.bench_function(format!("one/{stripes}"), |b| b.iter_batched(|| Table::with_stripes(1 << 30, stripes), |t| { for o in &all { t.apply(o, Unseen::Ignore); } t }, BatchSize::LargeInput));
        g.bench_function(format!("batch64/{stripes}"), |b| b.iter_batched(|| Table::with_stripes(1 << 30, stripes), |t| { let mut v = Vec::new(); for o in all.chunks(64) { t.apply_all(o, Unseen::Ignore, &mut v); } t }, BatchSize::LargeInput));
        g.bench_function(format!("batch512/{stripes}"), |b| b.iter_batched(|| Table::with_stripes(1 << 30, stripes), |t| { let mut v = Vec::new(); for o in all.chunks(512) { t.apply_all(o, Unseen::Ignore, &mut v); } t }, BatchSize::LargeInput));
    }
}
criterion_group!(benches, bench);
criterion_main!(benches);
