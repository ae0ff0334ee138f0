//! Destruction of epoch keys whose time has come.
//!
//! Invariant: a destruction is noted before the file goes and receipted after it is seen to be gone; what a crash
//! interrupts is finished by the next one. Receipts stay to be listed, whoever destroyed.

use std::{collections::BTreeSet, time::Duration};

use sealpost_database::Tx;
use sealpost_proto::vault::v1::{
    DestroyExpiredEpochsRequest, DestroyExpiredEpochsResponse, Receipt,
};
use sealpost_runtime::Timestamp;

use super::{Vault, blocking};
use crate::{VaultError, custody::Now, datastore, epoch::EpochId};

/// Retention has this long to come for what is due; then the vault does it alone.
const OVERDUE: Duration = Duration::from_secs(600);

impl Vault {
    /// Destroys every epoch key that is due, and answers the receipts of these.
    ///
    /// # Errors
    /// [`VaultError::ClockUnconfirmed`], or what failed: what was destroyed before is receipted all the same.
    pub async fn destroy_expired_epochs(
        &self,
        request: DestroyExpiredEpochsRequest,
    ) -> Result<DestroyExpiredEpochsResponse, VaultError> {
        let now = self.0.time.now()?;
        if request.dry_run {
            let due = self.due(now, now.timestamp()).await?;
            let draft = |epoch| self.0.receipts.epoch_draft(epoch, now.timestamp());
            return Ok(DestroyExpiredEpochsResponse {
                receipts: due.into_iter().map(draft).collect(),
            });
        }
        let receipts = self.destroy_due(now, now.timestamp()).await?;
        Ok(DestroyExpiredEpochsResponse { receipts })
    }

    /// Destroys what has been due for a while.
    ///
    /// # Errors
    /// What failed.
    pub(super) async fn destroy_overdue(&self, now: Now) -> Result<(), VaultError> {
        self.destroy_due(now, now.timestamp() - OVERDUE)
            .await
            .map(drop)
    }

    async fn destroy_due(&self, now: Now, by: Timestamp) -> Result<Vec<Receipt>, VaultError> {
        let _alone = self.0.destroying.lock().await;
        let due = self.due(now, by).await?;
        if due.is_empty() {
            return Ok(Vec::new());
        }
        let noted = due.clone();
        self.0
            .database
            .run_tx("destructions_begin", move |tx| {
                let noted = noted.clone();
                Box::pin(async move {
                    for epoch in noted {
                        datastore::destruction_begin(tx, epoch).await?;
                    }
                    Ok::<_, VaultError>(())
                })
            })
            .await?;
        let vault = self.clone();
        let receipts: Vec<(EpochId, Receipt)> = blocking(move || {
            // After a restart the clock must not read earlier than what is destroyed now.
            vault.0.time.persist()?;
            let destroy = |epoch| {
                vault.0.keyring.destroy(epoch)?;
                Ok((
                    epoch,
                    vault.0.receipts.epoch_destroyed(epoch, now.timestamp()),
                ))
            };
            due.into_iter()
                .map(destroy)
                .collect::<Result<_, VaultError>>()
        })
        .await??;
        metrics::counter!("sealpost_vault_epochs_destroyed_total").increment(receipts.len() as u64);
        let done = receipts.clone();
        self.0
            .database
            .run_tx("destructions_finish", move |tx| {
                let done = done.clone();
                Box::pin(async move {
                    for (epoch, receipt) in &done {
                        finish(tx, *epoch, receipt, now.timestamp()).await?;
                    }
                    Ok::<_, VaultError>(())
                })
            })
            .await?;
        let _ = self.0.database.checkpoint().await?;
        Ok(receipts.into_iter().map(|(_, receipt)| receipt).collect())
    }

    /// Epochs whose time had come at `by` and whose keys are still there, and those whose destruction was interrupted.
    async fn due(&self, now: Now, by: Timestamp) -> Result<BTreeSet<EpochId>, VaultError> {
        let begun = self
            .0
            .database
            .read("destructions", |db| {
                Box::pin(async move { datastore::destructions_begun(db).await })
            })
            .await
            .map_err(VaultError::Database)?;
        let keyring = self.0.keyring.clone();
        let mut due = blocking(move || keyring.list()).await??;
        due.retain(|epoch| epoch.is_expired(by));
        due.extend(
            begun
                .into_iter()
                .filter(|epoch| epoch.is_expired(now.timestamp())),
        );
        Ok(due)
    }
}

async fn finish(
    tx: &mut Tx,
    epoch: EpochId,
    receipt: &Receipt,
    now: Timestamp,
) -> Result<(), VaultError> {
    while datastore::pending_delete_epoch(tx, epoch).await? > 0 {}
    datastore::destruction_finish(tx, epoch, now.as_millis()).await?;
    datastore::receipt_keep(tx, &receipt.clone().into(), now.as_millis()).await?;
    Ok(())
}
