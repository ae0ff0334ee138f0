//! Deleting the rows of destroyed epochs and erased persons, a bounded batch a call.

use std::sync::Arc;

use sealpost_database::{Connection, DatabaseError, Tx};
use sealpost_runtime::Timestamp;

use super::Datastore;
use crate::{
    epoch::{Epoch, EpochState},
    error::StoreError,
    ids::{PhoneNumberId, Tag},
    tables::{
        ERASURES,
        epochs::{epoch_purged, epoch_set},
    },
};

/// What a batch deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Erased {
    /// Rows, of every table.
    pub deleted: u64,
    /// Whether more are left.
    pub more: bool,
}

impl Datastore {
    /// Notes that `epochs` are destroyed and deletes at most `limit` of their rows.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn delete_epochs(
        &self,
        epochs: Vec<Epoch>,
        limit: u64,
        now: Timestamp,
    ) -> Result<Erased, StoreError> {
        let epochs = Arc::new(epochs);
        let erased: Result<Erased, StoreError> = self
            .database
            .run_tx("delete_epochs", move |tx| {
                let epochs = epochs.clone();
                Box::pin(async move { Ok(delete_all(tx, &epochs, limit, now).await?) })
            })
            .await;
        let erased = erased?;
        self.deleted(erased.deleted, "epoch");
        Ok(erased)
    }

    /// Counts what [`Self::delete_epochs`] would delete, and changes nothing.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn count_epochs(&self, epochs: Vec<Epoch>, limit: u64) -> Result<Erased, StoreError> {
        self.database
            .read("count_epochs", move |db| {
                Box::pin(async move {
                    // One above the limit tells whether more are left.
                    let found = count_all(db, &epochs, limit + 1).await?;
                    Ok(Erased {
                        deleted: found.min(limit),
                        more: found > limit,
                    })
                })
            })
            .await
    }

    /// Deletes at most `limit` rows of a person.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn delete_subject(
        &self,
        number: PhoneNumberId,
        tag: Tag,
        limit: u64,
    ) -> Result<Erased, StoreError> {
        let erased: Result<Erased, StoreError> = self
            .database
            .run_tx("delete_subject", move |tx| {
                let number = number.clone();
                Box::pin(async move {
                    let mut deleted = 0;
                    for table in &ERASURES {
                        deleted += table.tag_delete(tx, &number, tag, limit - deleted).await?;
                        if deleted == limit {
                            return Ok(Erased {
                                deleted,
                                more: true,
                            });
                        }
                    }
                    Ok(Erased {
                        deleted,
                        more: false,
                    })
                })
            })
            .await;
        let erased = erased?;
        self.deleted(erased.deleted, "subject");
        Ok(erased)
    }
}

async fn delete_all(
    tx: &mut Tx,
    epochs: &[Epoch],
    limit: u64,
    now: Timestamp,
) -> Result<Erased, DatabaseError> {
    // All are closed before the first row goes, or appends could race the batches.
    for epoch in epochs {
        epoch_set(tx, *epoch, EpochState::Destroyed, now).await?;
    }
    let mut deleted = 0;
    for epoch in epochs {
        deleted += delete_epoch_rows(tx, *epoch, limit - deleted).await?;
        if deleted == limit {
            return Ok(Erased {
                deleted,
                more: true,
            });
        }
        epoch_purged(tx, *epoch, now).await?;
    }
    Ok(Erased {
        deleted,
        more: false,
    })
}

async fn count_all(
    db: &mut Connection,
    epochs: &[Epoch],
    limit: u64,
) -> Result<u64, DatabaseError> {
    let mut found = 0;
    for epoch in epochs {
        for table in &ERASURES {
            found += table.epoch_count(db, *epoch, limit - found).await?;
            if found == limit {
                return Ok(found);
            }
        }
    }
    Ok(found)
}

/// Deletes at most `limit` rows of an epoch; fewer than `limit` means that none is left.
pub(super) async fn delete_epoch_rows(
    tx: &mut Tx,
    epoch: Epoch,
    limit: u64,
) -> Result<u64, DatabaseError> {
    let mut deleted = 0;
    for table in &ERASURES {
        if deleted == limit {
            break;
        }
        deleted += table.epoch_delete(tx, epoch, limit - deleted).await?;
    }
    Ok(deleted)
}
