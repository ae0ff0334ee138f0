//! How long the vault computes for a message, without its database: the session step, and the seals of records and rows.
//!
//! `cargo bench -p sealpost-key-vault --features measured`. A step ends with the sealed rows that a batch would write.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use criterion::{Criterion, criterion_group, criterion_main};
use sealpost_key_vault::measured::{Device, Records, VaultEnd, acquainted};
use sealpost_runtime::Allocator;
use zeroizing_alloc::ZeroAlloc;

/// As the vault's.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<Allocator> = ZeroAlloc(Allocator);

const CONTENT: usize = 1024;

/// Times `step` alone; `around` does what stands between two steps, and answers what the next one needs.
fn timed<N>(
    times: u64,
    mut around: impl FnMut(&mut VaultEnd, &mut Device) -> N,
    mut step: impl FnMut(&mut VaultEnd, N),
) -> Duration {
    let (mut vault, mut device) = acquainted(CONTENT);
    let mut spent = Duration::ZERO;
    for _ in 0..times {
        let needed = around(&mut vault, &mut device);
        let begun = Instant::now();
        step(&mut vault, needed);
        spent += begun.elapsed();
    }
    spent
}

fn sessions(criterion: &mut Criterion) {
    let (vault, _) = acquainted(CONTENT);
    let (text, rows) = (vec![b'a'; vault.frame_bytes()], vault.row_bytes());
    let mut group = criterion.benchmark_group("session");
    // Nobody reads it: the sizes are for whoever reads the figures.
    group.bench_function(
        format!("rows of {} and {} bytes: open", rows.0, rows.1),
        |bencher| {
            let (mut vault, _) = acquainted(CONTENT);
            bencher.iter(|| vault.reopen());
        },
    );

    let say = |vault: &mut VaultEnd| {
        let sent = vault.encrypt();
        vault.keep();
        sent
    };
    group.bench_function("encrypt 1 KB, at hand, in a burst", |bencher| {
        bencher
            .iter_custom(|times| timed(times, |_, _| (), |vault, ()| drop(black_box(say(vault)))));
    });
    group.bench_function("encrypt 1 KB, from rows, in a burst", |bencher| {
        bencher.iter_custom(|times| {
            timed(
                times,
                |_, _| (),
                |vault, ()| {
                    vault.reopen();
                    black_box(say(vault));
                },
            )
        });
    });
    group.bench_function("encrypt 1 KB, at hand, on a turn", |bencher| {
        bencher.iter_custom(|times| {
            let turn = |vault: &mut VaultEnd, device: &mut Device| {
                let asked = device.encrypt(&text);
                vault.decrypt(&asked);
            };
            timed(times, turn, |vault, ()| drop(black_box(say(vault))))
        });
    });
    let hear = |vault: &mut VaultEnd, sent| {
        black_box(vault.decrypt(&sent));
        vault.keep();
    };
    group.bench_function("decrypt 1 KB, at hand, in a burst", |bencher| {
        bencher.iter_custom(|times| timed(times, |_, device| device.encrypt(&text), hear));
    });
    group.bench_function("decrypt 1 KB, at hand, on a turn", |bencher| {
        bencher.iter_custom(|times| {
            let turn = |vault: &mut VaultEnd, device: &mut Device| {
                let answer = vault.encrypt();
                device.decrypt(&answer);
                device.encrypt(&text)
            };
            timed(times, turn, hear)
        });
    });
    group.finish();
}

fn seals(criterion: &mut Criterion) {
    let mut records = Records::new(CONTENT);
    let record = records.seal();
    let (vault, _) = acquainted(CONTENT);
    let session = vec![7; vault.row_bytes().1];
    let row = records.seal_row(&session);
    let mut group = criterion.benchmark_group("seal");
    group.bench_function("a record of 1 KB", |bencher| {
        bencher.iter(|| records.seal());
    });
    group.bench_function("open a record of 1 KB", |bencher| {
        bencher.iter(|| records.open(black_box(&record)));
    });
    group.bench_function("a session's row", |bencher| {
        bencher.iter(|| records.seal_row(black_box(&session)));
    });
    group.bench_function("open a session's row", |bencher| {
        bencher.iter(|| records.open_row(black_box(&row)));
    });
    group.finish();
}

criterion_group!(benches, sessions, seals);
criterion_main!(benches);
