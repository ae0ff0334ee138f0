//! What makes rewriting a session cheap: a table's shape, its pages, a hot part apart, or a log of its own.
//!
//! `cargo bench -p sealpost-database --bench session_rows`. Each step rewrites 64 sessions among 10,000, chosen as from a shuffled
//! deck, in one durable transaction, with the settings that services use; the time is that of the 64. What was decided by it is in
//! `docs/decisions/0021`. Random bytes stand for sealed ones.

#![allow(clippy::unwrap_used)]

use std::{
    fs::File,
    hint::black_box,
    io::Write,
    path::Path,
    time::{Duration, Instant},
};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ring::rand::{SecureRandom, SystemRandom};
use rusqlite::{Connection, params};

const SESSIONS: usize = 10_000;
const BATCH: usize = 64;
/// Bytes of a sealed session that has had its turns, as `cargo bench -p sealpost-key-vault` shows it.
const SIZE: usize = 4_321;
/// Of it, were what every message changes kept apart from what only a turn changes.
const HOT: usize = 1_300;

const ROWID: &str = "CREATE TABLE sessions (number TEXT NOT NULL, subject_id BLOB NOT NULL, device_id INTEGER NOT NULL, \
    row_version INTEGER NOT NULL, sealed BLOB NOT NULL, PRIMARY KEY (number, subject_id, device_id)) STRICT";
const CLUSTERED: &str = "CREATE TABLE sessions (number TEXT NOT NULL, subject_id BLOB NOT NULL, device_id INTEGER NOT NULL, \
    row_version INTEGER NOT NULL, sealed BLOB NOT NULL, PRIMARY KEY (number, subject_id, device_id)) STRICT, WITHOUT ROWID";
const UPDATE: &str = "UPDATE sessions SET row_version = ?1, sealed = ?2 \
    WHERE number = '1' AND subject_id = ?3 AND device_id = 1";

struct Random(SystemRandom);

impl Random {
    fn bytes(&self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.0.fill(&mut bytes).unwrap();
        bytes
    }

    /// The sessions' places, shuffled.
    fn deck(&self) -> Vec<usize> {
        let mut deck: Vec<_> = (0..SESSIONS).map(|i| (self.bytes(8), i)).collect();
        deck.sort();
        deck.into_iter().map(|(_, i)| i).collect()
    }
}

/// Spread over the key, as random ids are.
fn subject(i: usize) -> [u8; 16] {
    let spread = (i as u128).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    spread.to_be_bytes()
}

fn filled(file: &Path, page: u32, table: &str, size: usize) -> Connection {
    let mut db = Connection::open(file).unwrap();
    let settings = format!(
        "PRAGMA page_size = {page}; PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
         PRAGMA secure_delete = ON; PRAGMA cache_size = -16384; PRAGMA wal_autocheckpoint = {}; {table}",
        4_000 * 4_096 / page
    );
    db.execute_batch(&settings).unwrap();
    let random = Random(SystemRandom::new());
    let tx = db.transaction().unwrap();
    for i in 0..SESSIONS {
        tx.execute(
            "INSERT INTO sessions VALUES ('1', ?1, 1, 1, ?2)",
            params![subject(i), random.bytes(size)],
        )
        .unwrap();
    }
    tx.commit().unwrap();
    db
}

fn rewrite(db: &mut Connection, sessions: &[usize], sealed: &[u8], version: u64) {
    let tx = db.transaction().unwrap();
    {
        let mut update = tx.prepare_cached(UPDATE).unwrap();
        for i in sessions {
            let done = update
                .execute(params![version.cast_signed(), sealed, subject(*i)])
                .unwrap();
            assert_eq!(done, 1);
        }
    }
    tx.commit().unwrap();
}

// A measurement decides nothing, so it need not come from the process's clock.
#[allow(clippy::disallowed_methods)]
fn timed(rounds: u64, mut one: impl FnMut(u64)) -> Duration {
    let begun = Instant::now();
    for round in 0..rounds {
        one(round);
    }
    begun.elapsed()
}

fn rows(c: &mut Criterion) {
    let mut group = c.benchmark_group("session_rows");
    group.throughput(Throughput::Elements(BATCH as u64));
    group
        .sample_size(10)
        .measurement_time(Duration::from_secs(4));
    let random = Random(SystemRandom::new());
    let deck = random.deck();
    let variants = [
        ("rowid, pages of 4 KiB", 4_096, ROWID, SIZE),
        ("rowid, pages of 8 KiB", 8_192, ROWID, SIZE),
        ("rowid, pages of 16 KiB", 16_384, ROWID, SIZE),
        ("clustered, pages of 4 KiB", 4_096, CLUSTERED, SIZE),
        ("hot part alone, pages of 4 KiB", 4_096, ROWID, HOT),
    ];
    for (name, page, table, size) in variants {
        let folder = tempfile::tempdir().unwrap();
        let mut db = filled(&folder.path().join("rows.db"), page, table, size);
        let sealed = random.bytes(size);
        let mut hands = deck.chunks_exact(BATCH).cycle();
        group.bench_function(BenchmarkId::new("rewrite 64", name), |b| {
            b.iter_custom(|rounds| {
                timed(rounds, |round| {
                    rewrite(&mut db, hands.next().unwrap(), &sealed, round);
                })
            });
        });
    }
    let folder = tempfile::tempdir().unwrap();
    let mut log = File::create(folder.path().join("log")).unwrap();
    let entry = random.bytes(SIZE);
    group.bench_function(BenchmarkId::new("rewrite 64", "appended to a log"), |b| {
        b.iter_custom(|rounds| {
            timed(rounds, |_| {
                for _ in 0..BATCH {
                    log.write_all(black_box(&entry)).unwrap();
                }
                log.sync_data().unwrap();
            })
        });
    });
    group.finish();
}

criterion_group!(benches, rows);
criterion_main!(benches);
