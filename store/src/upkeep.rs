//! What the store does unasked: purge destroyed epochs, give freed pages back, forget epochs of old and cursors that tell nothing;
//! fail what could not be sent within its time.
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
const PURGE_BATCH: u64 = 250;
/// Others have so many times as long as a batch took.
const REST: u32 = 3;
/// How often to look for work that nobody announced.
const INTERVAL: Duration = Duration::from_secs(30);
/// Messages failed in one transaction.
const FAIL_BATCH: u64 = 200;
/// How often to look for messages that are out of time. The least notice is many times that.
const LAST_CALL_INTERVAL: Duration = Duration::from_secs(10);
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
    // Beside the rest: a long purge must not make it late.
    let last_calls = async {
        loop {
            if let Err(error) = fail_unsent(&datastore, &clock).await {
                tracing::warn!(error = %error, "messages out of time could not be failed; trying again");
            }
            sleep(LAST_CALL_INTERVAL).await;
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = work => {}
        () = last_calls => {}
    }
}

/// Fails every message that still waits though it is too late to send it, batch by batch; answers how many.
///
/// # Errors
/// When the database fails; what failed before stays failed.
pub async fn fail_unsent(datastore: &Datastore, clock: &Clock) -> Result<u64, StoreError> {
    let mut failed = 0;
    loop {
        let batch = datastore.fail_unsent(FAIL_BATCH, clock.now()).await?;
        failed += batch;
        if batch < FAIL_BATCH {
            break;
        }
    }
    if failed > 0 {
        tracing::warn!(
            count = failed,
            "messages could not be sent within their time and have failed"
        );
    }
    Ok(failed)
}

/// Deletes every row of destroyed epochs, batch by batch; answers how many.
///
/// # Errors
/// When the database fails; what was deleted before stays deleted.
pub async fn purge(datastore: &Datastore, clock: &Clock) -> Result<u64, StoreError> {
    let mut deleted = 0;
    loop {
        let begun = Instant::now();
        let erased = datastore.purge_destroyed(PURGE_BATCH, clock.now()).await?;
        deleted += erased.rows();
        if !erased.more {
            break;
        }
        // An epoch can have millions of rows, whose key is gone already: traffic comes first.
        sleep(begun.elapsed() * REST).await;
    }
    datastore.forget_epochs(PURGE_BATCH, clock.now()).await?;
    datastore.forget_cursors(PURGE_BATCH, clock.now()).await?;
    if deleted > 0 {
        tracing::info!(count = deleted, "rows of destroyed epochs were deleted");
    }
    Ok(deleted)
}
