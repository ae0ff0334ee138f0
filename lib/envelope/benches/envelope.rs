//! How long the envelope takes: a message under a kept content key, and the wrap of such a key, once an hour.

mod both;

use std::hint::black_box;

use both::{CONTENT, Ends};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn messages(criterion: &mut Criterion) {
    let mut ends = Ends::new();
    let (key, _) = ends.wrap();
    let sealed = ends.seal(&key);
    let mut group = criterion.benchmark_group("envelope");
    group.throughput(Throughput::Bytes(CONTENT as u64));
    group.bench_function("seal 1 KB", |bencher| bencher.iter(|| ends.seal(&key)));
    group.bench_function("open 1 KB", |bencher| {
        bencher.iter(|| ends.open(&key, black_box(&sealed)));
    });
    group.finish();
}

fn wraps(criterion: &mut Criterion) {
    let mut ends = Ends::new();
    let (_, wire) = ends.wrap();
    let mut group = criterion.benchmark_group("envelope");
    group.bench_function("wrap", |bencher| bencher.iter(|| ends.wrap()));
    group.bench_function("unwrap", |bencher| {
        bencher.iter(|| ends.unwrap(black_box(&wire)));
    });
    group.finish();
}

criterion_group!(benches, messages, wraps);
criterion_main!(benches);
