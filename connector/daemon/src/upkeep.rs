//! What is done now and then: forgetting, giving pages back, counting.

use std::time::Duration;

use sealpost_runtime::Clock;
use tokio::time::interval;
use tokio_util::sync::CancellationToken;

use crate::queue::{Queue, QueueError};

const COUNT_EVERY: Duration = Duration::from_secs(15);
/// Counts between two rounds of forgetting: an hour.
const FORGET_EVERY: u32 = 240;

/// Keeps the queue tidy until `stop`.
pub async fn keep(queue: Queue, clock: Clock, stop: CancellationToken) {
    let mut ticks = interval(COUNT_EVERY);
    for round in 0_u32.. {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let done = tokio::select! {
            () = stop.cancelled() => return,
            done = once(&queue, &clock, round) => done,
        };
        if let Err(error) = done {
            tracing::warn!(%error, "the queue's upkeep failed; it is tried again");
        }
    }
}

async fn once(queue: &Queue, clock: &Clock, round: u32) -> Result<(), QueueError> {
    metrics::gauge!("sealpost_connector_queued_webhooks").set(queue.count().await? as f64);
    if round.is_multiple_of(FORGET_EVERY) {
        while queue.forget(clock.now()).await? {}
        queue.tidy().await?;
    }
    Ok(())
}
