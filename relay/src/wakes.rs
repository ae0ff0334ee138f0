//! Turns what any replica committed into wakes of the streams of this process.
//!
//! A word says only that something came. For devices, what came is looked up once for all of them, so that a stream is woken
//! for its own queue alone.

use std::{error::Error, sync::Arc, time::Duration};

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::{
    Relay, RelayError,
    datastore::{DEVICE_QUEUE, INBOUND},
};

/// Rows looked at in one statement.
const PAGE: usize = 1_000;
/// How long words gather before a look. What was committed in this process was handed on already; they are for what others
/// committed, or could not be handed.
const GATHER: Duration = Duration::from_millis(5);
/// How long to wait after the database failed.
const PAUSE: Duration = Duration::from_secs(1);

/// Starts both; they end with `stop`.
///
/// # Errors
/// When the database fails.
pub(crate) async fn start(relay: &Arc<Relay>, stop: &CancellationToken) -> Result<(), RelayError> {
    // What is there already needs no wake: a stream looks for itself when it opens, and none is open yet.
    let seen = relay.datastore.newest_waiting().await?;
    tokio::spawn(wake_collectors(relay.clone(), stop.clone()));
    tokio::spawn(wake_devices(relay.clone(), seen, stop.clone()));
    Ok(())
}

async fn wake_collectors(relay: Arc<Relay>, stop: CancellationToken) {
    let mut words = relay.datastore.notices(INBOUND);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = words.next() => {}
        }
        relay.hub.wake_collectors();
    }
}

async fn wake_devices(relay: Arc<Relay>, mut seen: i64, stop: CancellationToken) {
    let mut words = relay.datastore.notices(DEVICE_QUEUE);
    loop {
        if let Err(error) = look(&relay, &mut seen).await {
            tracing::warn!(
                error = &error as &dyn Error,
                "what came for devices could not be looked up; trying again"
            );
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(PAUSE) => continue,
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = words.next() => sleep(GATHER).await,
        }
    }
}

/// Wakes whoever has something newer than `seen`.
async fn look(relay: &Relay, seen: &mut i64) -> Result<(), RelayError> {
    loop {
        let newer = relay.datastore.waiting_since(*seen, PAGE).await?;
        let complete = newer.len() < PAGE;
        *seen = newer.last().map_or(*seen, |(last, _)| *last);
        relay.hub.wake_devices(newer);
        if complete {
            return Ok(());
        }
    }
}
