//! What the directory does unasked: rows of tokens that have long not worked go.

use std::time::Duration;

use sealpost_runtime::Clock;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::{Datastore, DirectoryError};

/// How long a revoked or ended token can still be looked into.
pub const TOKEN_MEMORY: Duration = Duration::from_secs(30 * 86_400);
const INTERVAL: Duration = Duration::from_secs(600);

/// Runs until `stop`.
pub(crate) async fn keep(datastore: Datastore, clock: Clock, stop: CancellationToken) {
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        if let Err(error) = forget_tokens(&datastore, &clock).await {
            tracing::warn!(error = %error, "ended tokens could not be deleted; trying again");
        }
    }
}

/// Deletes the rows of tokens that ended or were revoked longer ago than [`TOKEN_MEMORY`]; answers how many.
///
/// # Errors
/// When the database fails; what was deleted before stays deleted.
pub async fn forget_tokens(datastore: &Datastore, clock: &Clock) -> Result<u64, DirectoryError> {
    let latest = (clock.now() - TOKEN_MEMORY).as_millis();
    let latest = i64::try_from(latest).unwrap_or(i64::MAX);
    let mut deleted = 0;
    loop {
        match datastore.forget_tokens(latest).await? {
            0 => return Ok(deleted),
            some => deleted += some,
        }
    }
}
