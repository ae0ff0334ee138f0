//! What a message costs the store: an append and two status changes, by batches of 1, 8 and 64, and what they write.
//!
//! `cargo run --release -p sealpost-store --example message_cost [-- <rows kept before> [<messages>]]`
//!
//! On PostgreSQL with `SEALPOST_TESTS_DATABASE=postgres`: the CPU time is then of this process alone, without the server's.

#![allow(clippy::disallowed_methods, clippy::print_stdout, clippy::unwrap_used)]

use std::time::{Duration, Instant};

use bytes::Bytes;
use sealpost_database::testing::TestDatabase;
use sealpost_runtime::Timestamp;
use sealpost_store::{
    datastore::{Datastore, InboundItem, OutboundItem, ProgressItem},
    epoch::Epoch,
    ids::{CiphertextDigest, ContentDigest, MessageId, Owner, PhoneNumberId, Tag},
    progress::Status,
    record::{Direction, Record},
};

const NUMBERS: u64 = 4;
const SUBJECTS: u64 = 1_000;
const SEALED: usize = 1_024;
const START: u64 = 1_699_999_200;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default| {
        arguments
            .next()
            .map_or(default, |text| text.parse().unwrap())
    };
    let (before, messages): (u64, u64) = (number(0), number(6_400));
    let place = TestDatabase::chosen().await;
    let store = Datastore::open(place.config()).await.unwrap();
    let mut next = 0;
    run(&store, &mut next, before, 256).await;
    println!(
        "{:?}, {next} messages kept before, {SEALED} bytes each",
        place.kind()
    );
    for batch in [1, 8, 64] {
        let messages = if batch == 1 { messages / 8 } else { messages };
        for (step, cost) in run(&store, &mut next, messages, batch).await {
            let each = |sum: f64| sum / messages as f64;
            println!(
                "batches of {batch:>2}: {step:<9} {:>6.1} µs CPU, {:>7.1} µs, {:>6.0} bytes written a message",
                each(cost.cpu.as_secs_f64() * 1e6),
                each(cost.wall.as_secs_f64() * 1e6),
                each(cost.written as f64),
            );
        }
    }
}

/// Keeps, sends and delivers `messages` outbound ones, and keeps as many inbound ones.
async fn run(
    store: &Datastore,
    next: &mut u64,
    messages: u64,
    batch: u64,
) -> [(&'static str, Cost); 4] {
    let now = Timestamp::from_secs(START + 600);
    let mut costs = ["append", "sent", "delivered", "inbound"].map(|step| (step, Cost::default()));
    let mut left = messages;
    while left > 0 {
        // As many batches in flight as keep the order of the steps plain: one.
        let stretch: Vec<u64> = (*next..*next + batch.min(left)).collect();
        left -= stretch.len() as u64;
        *next += stretch.len() as u64;

        let items = stretch.iter().map(|n| outbound(*n)).collect();
        let begun = Cost::now();
        store.append_outbound(items, now).await.unwrap();
        costs[0].1.add_since(&begun);
        for (place, status) in [(1, Status::Sent), (2, Status::Delivered)] {
            let items = stretch.iter().map(|n| progress(*n, status, now)).collect();
            let begun = Cost::now();
            store.advance_status(items).await.unwrap();
            costs[place].1.add_since(&begun);
        }
        let items = stretch.iter().map(|n| inbound(*n)).collect();
        let begun = Cost::now();
        store.append_inbound(items, now).await.unwrap();
        costs[3].1.add_since(&begun);
    }
    costs
}

fn phone_number_id(n: u64) -> PhoneNumberId {
    PhoneNumberId::parse(&(100_000_000_000_000 + n % NUMBERS).to_string()).unwrap()
}

/// Bytes that look random and are always the same, as ids and tags do.
fn scattered(n: u64, salt: u64) -> [u8; 32] {
    let mut state = n ^ (salt << 56);
    let mut bytes = [0; 32];
    for chunk in bytes.chunks_mut(8) {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        chunk.copy_from_slice(&(mixed ^ (mixed >> 31)).to_be_bytes());
    }
    bytes
}

fn record(n: u64, direction: Direction) -> Record {
    Record {
        number: phone_number_id(n),
        tag: Tag::from_slice(&scattered(n % (SUBJECTS * NUMBERS), 1)[..16]).unwrap(),
        message_id: MessageId::from_slice(&scattered(n, 2)[..16]).unwrap(),
        direction,
        epoch: Epoch {
            retention_seconds: 2_592_000,
            start_seconds: START,
        },
        sequence: n + 1,
        sealed: Bytes::from(vec![n as u8; SEALED]),
    }
}

fn outbound(n: u64) -> OutboundItem {
    OutboundItem {
        record: record(n, Direction::Outbound),
        digest: ContentDigest::from_slice(&scattered(n, 3)).unwrap(),
        lease_owner: Owner::parse("gateway-1").unwrap(),
    }
}

fn inbound(n: u64) -> InboundItem {
    InboundItem {
        record: record(n, Direction::Inbound),
        ciphertext: CiphertextDigest::from_slice(&scattered(n, 4)).unwrap(),
        identity_changed: false,
    }
}

fn progress(n: u64, status: Status, at: Timestamp) -> ProgressItem {
    ProgressItem {
        number: phone_number_id(n),
        message_id: MessageId::from_slice(&scattered(n, 2)[..16]).unwrap(),
        status,
        at,
        error_code: 0,
        attempt: 0,
    }
}

/// What was used since the process began, or between two moments.
#[derive(Default)]
struct Cost {
    cpu: Duration,
    wall: Duration,
    written: u64,
    at: Option<Instant>,
}

impl Cost {
    fn now() -> Self {
        Self {
            cpu: cpu(),
            written: written(),
            at: Some(Instant::now()),
            wall: Duration::ZERO,
        }
    }

    fn add_since(&mut self, begun: &Self) {
        self.wall += begun.at.unwrap().elapsed();
        self.cpu += cpu().saturating_sub(begun.cpu);
        self.written += written() - begun.written;
    }
}

/// Of every thread, to the nanosecond.
fn cpu() -> Duration {
    let threads = std::fs::read_dir("/proc/self/task").unwrap();
    let of = |thread: std::io::Result<std::fs::DirEntry>| {
        let text = std::fs::read_to_string(thread.unwrap().path().join("schedstat")).unwrap();
        text.split(' ').next().unwrap().parse::<u64>().unwrap()
    };
    Duration::from_nanos(threads.map(of).sum())
}

fn written() -> u64 {
    let text = std::fs::read_to_string("/proc/self/io").unwrap();
    let line = text.lines().find(|line| line.starts_with("wchar"));
    line.unwrap()[7..].parse().unwrap()
}
