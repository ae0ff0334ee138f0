//! Messages that nobody could send while their epoch lasted: they fail shortly before its end.
//!
//! After the end the business could not be told: the event's record would open no more. Invariants: a record under a live lease
//! is left to its gateway, which ends it; no lease is given after the last call; what the relay has is not touched.

use std::sync::Arc;

use sealpost_runtime::Timestamp;

use super::{Datastore, Progress, ProgressItem, progress::advance_all};
use crate::{
    epoch::Epoch,
    error::StoreError,
    progress::Status,
    tables::{epochs::epochs_not_destroyed, outbound_leases::outbound_unsent},
};

/// What the business is shown, as in the Cloud API: the message was not delivered within its time.
const OUT_OF_TIME: u32 = 131_036;

impl Datastore {
    /// Fails at most `limit` messages that still wait though it is too late to send them; answers how many.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn fail_unsent(&self, limit: u64, now: Timestamp) -> Result<u64, StoreError> {
        let ending = Arc::new(self.epochs_ending(now).await?);
        if ending.is_empty() {
            return Ok(0);
        }
        let failed: Result<u64, StoreError> = self
            .database
            .run_tx("fail_unsent", move |tx| {
                let ending = ending.clone();
                Box::pin(async move {
                    let mut unsent = Vec::new();
                    for epoch in ending.iter() {
                        let left = limit - unsent.len() as u64;
                        unsent.extend(outbound_unsent(tx, *epoch, now, left).await?);
                    }
                    let items: Vec<_> = unsent
                        .into_iter()
                        .map(|(number, message_id)| ProgressItem {
                            number,
                            message_id,
                            status: Status::Failed,
                            at: now,
                            error_code: OUT_OF_TIME,
                            attempt: 0,
                        })
                        .collect();
                    let became = advance_all(tx, &items).await?;
                    let failed = became.iter().filter(|one| **one == Progress::Moved).count();
                    Ok(failed as u64)
                })
            })
            .await;
        let failed = failed?;
        metrics::counter!("sealpost_store_messages_out_of_time_total").increment(failed);
        Ok(failed)
    }

    async fn epochs_ending(&self, now: Timestamp) -> Result<Vec<Epoch>, StoreError> {
        let mut epochs: Vec<Epoch> = self
            .database
            .read("epochs_ending", |db| {
                Box::pin(async move { Ok::<_, StoreError>(epochs_not_destroyed(db).await?) })
            })
            .await?;
        epochs.retain(|epoch| epoch.is_too_late_to_send(now));
        epochs.sort_unstable_by_key(|epoch| epoch.ends_at());
        Ok(epochs)
    }
}
