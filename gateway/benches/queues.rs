//! How long the dispatcher's bookkeeping takes for a message: added, given its turn, finished.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use sealpost_gateway::conversations::{Added, Conversations};

/// A number and a tag; a message's id.
type Queues = Conversations<(u64, [u8; 16]), [u8; 16], u64>;

const MESSAGES: u64 = 10_000;

/// Adds every message, those of a conversation in their order, and finishes them turn by turn until nothing is left.
fn carry(queues: &mut Queues, conversations: u64) -> usize {
    let mut turns = Vec::new();
    for message in 0..MESSAGES {
        let mut tag = [0; 16];
        tag[..8].copy_from_slice(&(message % conversations).to_be_bytes());
        let mut id = [1; 16];
        id[..8].copy_from_slice(&message.to_be_bytes());
        if let Added::Starts(turn) = queues.add((1, tag), id, message, message) {
            turns.push(turn);
        }
    }
    let mut carried = 0;
    while let Some(turn) = turns.pop() {
        carried += 1;
        turns.extend(queues.finish(&turn.key, &turn.id));
    }
    carried
}

fn queues(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("queues, 10,000 messages");
    group.throughput(Throughput::Elements(MESSAGES));
    for conversations in [1, 1_000, MESSAGES] {
        group.bench_function(format!("of {conversations} conversations"), |bencher| {
            bencher.iter_batched_ref(
                Queues::default,
                |queues| black_box(carry(queues, conversations)),
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, queues);
criterion_main!(benches);
