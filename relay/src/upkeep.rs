//! What the relay does unasked: delete what is past its time.
//!
//! Invariant: it deletes only what is handed out no more.

use std::{error::Error, sync::Arc, time::Duration};

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::{Relay, RelayError};

/// Rows deleted in one transaction; between two of them others get their turn.
const BATCH: u32 = 1_000;
/// How often to look.
const INTERVAL: Duration = Duration::from_secs(10);
/// Rows between two lines of progress.
const PROGRESS: u64 = 50_000;

/// Runs until `stop`.
pub(crate) async fn keep(relay: Arc<Relay>, stop: CancellationToken) {
    loop {
        if let Err(error) = delete_expired(&relay, &stop).await {
            tracing::warn!(
                error = &error as &dyn Error,
                "what is past its time could not be deleted; trying again"
            );
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(INTERVAL) => {}
        }
    }
}

/// Deletes everything that is over, batch by batch; how many rows.
///
/// # Errors
/// When the database fails; what was deleted before stays deleted.
pub(crate) async fn delete_expired(
    relay: &Relay,
    stop: &CancellationToken,
) -> Result<u64, RelayError> {
    let mut deleted = 0;
    let (any, _) = relay.datastore.expire(1, true, relay.now()).await?;
    let mut more = any > 0;
    while more && !stop.is_cancelled() {
        let (rows, left) = relay.datastore.expire(BATCH, false, relay.now()).await?;
        deleted += rows;
        more = left;
        if more && deleted % PROGRESS < rows {
            tracing::info!(count = deleted, "rows past their time are being deleted");
        }
    }
    if deleted > 0 {
        tracing::info!(count = deleted, "rows past their time were deleted");
    }
    Ok(deleted)
}
