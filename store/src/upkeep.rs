//! What the store does unasked: purge destroyed epochs, give freed pages back, forget epochs of old and cursors that tell nothing.
//!
//! Invariant: what disappears was unreadable already, or made no difference.

use std::{sync::Arc, time::Duration};

use sealpost_runtime::Clock;
use tokio::{
    sync::Notify,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use crate::{datastore::Datastore, error::StoreError};

/// Rows deleted in one transaction; between two of them others get their turn.
const PURGE_BATCH: u64 = 1_000;
/// How often to look for work that nobody announced.
const INTERVAL: Duration = Duration::from_secs(30);
/// How often freed pages are given back, at most.
const TIDY_INTERVAL: Duration = Duration::from_secs(300);

/// Runs until `stop`, whenever `wake` is notified and from time to time.
pub async fn keep(datastore: Datastore, clock: Clock, wake: Arc<Notify>, stop: CancellationToken) {
    let work = async {
        let mut tidied: Option<Instant> = None;
        loop {
            if let Err(error) = purge(&datastore, &clock).await {
                tracing::warn!(error = %error, "destroyed epochs could not be purged; trying again");
            }
            if tidied.is_none_or(|last| last.elapsed() >= TIDY_INTERVAL) {
                tidied = Some(Instant::now());
                if let Err(error) = datastore.tidy().await {
                    tracing::warn!(error = %error, "freed pages could not be given back; trying again");
                }
            }
            tokio::select! {
                () = wake.notified() => {}
                () = sleep(INTERVAL) => {}
            }
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = work => {}
    }
}

/// Deletes every row of destroyed epochs, batch by batch; answers how many.
///
/// # Errors
/// When the database fails; what was deleted before stays deleted.
pub async fn purge(datastore: &Datastore, clock: &Clock) -> Result<u64, StoreError> {
    let mut deleted = 0;
    loop {
        let erased = datastore.purge_destroyed(PURGE_BATCH, clock.now()).await?;
        deleted += erased.rows();
        if !erased.more {
            break;
        }
    }
    datastore.forget_epochs(PURGE_BATCH, clock.now()).await?;
    datastore.forget_cursors(PURGE_BATCH, clock.now()).await?;
    if deleted > 0 {
        tracing::info!(count = deleted, "rows of destroyed epochs were deleted");
    }
    Ok(deleted)
}
