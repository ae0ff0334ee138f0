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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Erased {
    /// Rows by table.
    pub tables: Vec<(&'static str, u64)>,
    /// Whether more are left.
    pub more: bool,
}

impl Erased {
    /// Rows of every table.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.tables.iter().map(|(_, rows)| rows).sum()
    }

    pub(super) fn add(&mut self, table: &'static str, rows: u64) {
        if rows == 0 {
            return;
        }
        match self.tables.iter_mut().find(|(known, _)| *known == table) {
            Some((_, sum)) => *sum += rows,
            None => self.tables.push((table, rows)),
        }
    }
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
        self.deleted(&erased, "epoch");
        Ok(erased)
    }

    /// Counts what [`Self::delete_epochs`] would delete, and changes nothing.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn count_epochs(&self, epochs: Vec<Epoch>, limit: u64) -> Result<Erased, StoreError> {
        self.database
            .read("count_epochs", move |db| {
                Box::pin(async move { Ok(count_all(db, &epochs, limit).await?) })
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
                    let mut erased = Erased::default();
                    for table in &ERASURES {
                        let left = limit - erased.rows();
                        let rows = table.tag_delete(tx, &number, tag, left).await?;
                        erased.add(table.table, rows);
                        if rows == left {
                            erased.more = true;
                            break;
                        }
                    }
                    Ok(erased)
                })
            })
            .await;
        let erased = erased?;
        self.deleted(&erased, "subject");
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
    let mut erased = Erased::default();
    for epoch in epochs {
        delete_epoch_rows(tx, *epoch, limit, &mut erased).await?;
        if erased.more {
            break;
        }
        epoch_purged(tx, *epoch, now).await?;
    }
    Ok(erased)
}

/// Counts at most `limit` rows; one above it tells whether there are more.
async fn count_all(
    db: &mut Connection,
    epochs: &[Epoch],
    limit: u64,
) -> Result<Erased, DatabaseError> {
    let mut counted = Erased::default();
    for epoch in epochs {
        for table in &ERASURES {
            let left = limit - counted.rows();
            let found = table.epoch_count(db, *epoch, left + 1).await?;
            counted.add(table.table, found.min(left));
            if found > left {
                counted.more = true;
                return Ok(counted);
            }
        }
    }
    Ok(counted)
}

/// Deletes rows of an epoch until `erased` has `limit`; then more may be left.
pub(super) async fn delete_epoch_rows(
    tx: &mut Tx,
    epoch: Epoch,
    limit: u64,
    erased: &mut Erased,
) -> Result<(), DatabaseError> {
    for table in &ERASURES {
        let left = limit - erased.rows();
        let rows = table.epoch_delete(tx, epoch, left).await?;
        erased.add(table.table, rows);
        if rows == left {
            erased.more = true;
            break;
        }
    }
    Ok(())
}
