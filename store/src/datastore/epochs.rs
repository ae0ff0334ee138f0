//! What the vault says of epochs, and the purge that follows.

use std::{sync::Arc, time::Duration};

use sealpost_runtime::Timestamp;

use super::{Datastore, Erased, erasure::delete_epoch_rows};
use crate::{
    epoch::{Epoch, EpochState},
    error::StoreError,
    tables::epochs::{
        epoch_purged, epoch_set, epochs_forget, epochs_not_destroyed, epochs_to_purge,
    },
};

/// How long after its end a purged epoch is remembered, for clocks that differ.
const MEMORY: Duration = Duration::from_secs(24 * 3600);

/// What the vault said.
#[derive(Clone, Debug, Default)]
pub struct EpochReport {
    /// Epochs and their states.
    pub states: Vec<(Epoch, EpochState)>,
    /// These are all the epochs that the vault knows.
    pub complete: bool,
}

impl Datastore {
    /// Notes the vault's word; answers how many epochs are newly destroyed.
    ///
    /// An epoch that a complete report does not name and whose time is past counts as destroyed: the vault has forgotten it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn note_epochs(
        &self,
        report: EpochReport,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let report = Arc::new(report);
        self.database
            .run_tx("note_epochs", move |tx| {
                let report = report.clone();
                Box::pin(async move {
                    let mut destroyed = 0;
                    for (epoch, state) in &report.states {
                        let moved = epoch_set(tx, *epoch, *state, now).await?;
                        destroyed += u64::from(moved && *state == EpochState::Destroyed);
                    }
                    if report.complete {
                        let named: std::collections::HashSet<Epoch> =
                            report.states.iter().map(|(epoch, _)| *epoch).collect();
                        for epoch in epochs_not_destroyed(tx).await? {
                            if !named.contains(&epoch) && epoch.is_past(now) {
                                epoch_set(tx, epoch, EpochState::Destroyed, now).await?;
                                destroyed += 1;
                            }
                        }
                    }
                    Ok(destroyed)
                })
            })
            .await
    }

    /// Deletes at most `limit` rows of destroyed epochs; answers how many, and whether more may be left.
    ///
    /// # Errors
    /// When the database fails; what was deleted before stays deleted.
    pub async fn purge_destroyed(&self, limit: u64, now: Timestamp) -> Result<Erased, StoreError> {
        let purged: Result<Erased, StoreError> = self
            .database
            .run_tx("purge_destroyed", move |tx| {
                Box::pin(async move {
                    let mut purged = Erased::default();
                    for epoch in epochs_to_purge(tx, limit).await? {
                        delete_epoch_rows(tx, epoch, limit, &mut purged).await?;
                        if purged.more {
                            return Ok(purged);
                        }
                        epoch_purged(tx, epoch, now).await?;
                    }
                    purged.more = !epochs_to_purge(tx, 1).await?.is_empty();
                    Ok(purged)
                })
            })
            .await;
        let purged = purged?;
        self.deleted(&purged, "purge");
        Ok(purged)
    }

    /// Forgets purged epochs that ended long ago.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn forget_epochs(&self, limit: u64, now: Timestamp) -> Result<u64, StoreError> {
        self.database
            .run_tx("forget_epochs", move |tx| {
                Box::pin(async move { Ok(epochs_forget(tx, now - MEMORY, limit).await?) })
            })
            .await
    }
}
