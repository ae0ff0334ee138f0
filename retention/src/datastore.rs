//! Retention's units of work, one transaction each.
//!
//! Invariant: a receipt is kept before the first row goes on its word, and stays open until every store has answered that
//! nothing is left.

use std::time::Duration;

use sealpost_database::{Database, DatabaseConfig, DatabaseError, PoolOptions};
use sealpost_proto::vault::v1::Receipt;
use sealpost_runtime::Timestamp;

use crate::{
    error::RetentionError,
    receipt::{ReceiptError, ReceiptKey, Verified},
    tables::{
        MIGRATIONS,
        collected::{collected_advance, collected_find},
        pins::pin_keep,
        receipts::{
            Kept, Open, receipt_deleted, receipt_keep, receipts_backlog, receipts_forget,
            receipts_list, receipts_open, receipts_reopen,
        },
        runs::{Run, run_begin, run_finish, runs_forget, runs_list},
    },
};

/// How long receipts and runs are kept: more than a year, for the yearly audit.
pub const MEMORY: Duration = Duration::from_secs(400 * 24 * 3600);

/// How far back receipts are taken up again: the longest class, after which no row of theirs can be read anyway, and five days.
pub const AGAIN: Duration = Duration::from_secs(35 * 24 * 3600);

/// Open retention data. Clones share it.
#[derive(Clone)]
pub struct Datastore {
    database: Database,
    /// The vault's receipt key when an operator set it; else the first one seen is pinned.
    configured: Option<ReceiptKey>,
}

impl Datastore {
    /// Opens the `database`; receipts must be of the `configured` key, if there is one.
    ///
    /// # Errors
    /// When it cannot be opened or brought to the schema.
    pub async fn open(
        database: DatabaseConfig,
        configured: Option<ReceiptKey>,
    ) -> Result<Self, DatabaseError> {
        let database = Database::open(database, MIGRATIONS, PoolOptions::default()).await?;
        Ok(Self {
            database,
            configured,
        })
    }

    /// Checks a receipt and keeps it; answers its id, the same for a repeat.
    ///
    /// # Errors
    /// When it is not believed, or the database fails.
    pub(crate) async fn receipt_keep(
        &self,
        receipt: Receipt,
        now: Timestamp,
    ) -> Result<(i64, Verified), RetentionError> {
        let configured = self.configured;
        self.database
            .run_tx("receipt_keep", move |tx| {
                let receipt = receipt.clone();
                Box::pin(async move {
                    let claimed = ReceiptKey::from_slice(&receipt.verification_key);
                    let claimed = claimed.ok_or(ReceiptError::Key)?;
                    // What is not signed by the key it names must not pin it: a failure rolls the pin back.
                    let key = match configured {
                        Some(key) => key,
                        None => pin_keep(tx, claimed, now).await?,
                    };
                    let verified = Verified::check(receipt, key)?;
                    let id = receipt_keep(tx, &verified, now).await?;
                    Ok((id, verified))
                })
            })
            .await
    }

    pub(crate) async fn receipts_open(
        &self,
        after: i64,
        now: Timestamp,
        limit: u64,
    ) -> Result<Vec<Open>, RetentionError> {
        self.database
            .read("receipts_open", move |db| {
                Box::pin(async move { Ok(receipts_open(db, after, now, limit).await?) })
            })
            .await
    }

    pub(crate) async fn receipts_deleted(
        &self,
        ids: Vec<i64>,
        now: Timestamp,
    ) -> Result<(), RetentionError> {
        self.database
            .run_tx("receipts_deleted", move |tx| {
                let ids = ids.clone();
                Box::pin(async move {
                    for id in ids {
                        receipt_deleted(tx, id, now).await?;
                    }
                    Ok(())
                })
            })
            .await
    }

    /// Takes up again every receipt of the last [`AGAIN`].
    pub(crate) async fn receipts_reopen(&self, now: Timestamp) -> Result<(), RetentionError> {
        self.database
            .run_tx("receipts_reopen", move |tx| {
                Box::pin(async move { Ok(receipts_reopen(tx, now - AGAIN).await?) })
            })
            .await
    }

    /// How many receipts have rows left somewhere, and when the oldest epoch among them ended.
    pub(crate) async fn backlog(&self) -> Result<(u64, Option<Timestamp>), RetentionError> {
        self.database
            .read("receipts_backlog", move |db| {
                Box::pin(async move { Ok(receipts_backlog(db).await?) })
            })
            .await
    }

    /// The vault's serial of the last receipt that was kept.
    pub(crate) async fn collected(&self) -> Result<u64, RetentionError> {
        self.database
            .read("collected", move |db| {
                Box::pin(async move { Ok(collected_find(db).await?) })
            })
            .await
    }

    /// Every receipt up to that serial is kept.
    pub(crate) async fn collected_to(&self, serial: u64) -> Result<(), RetentionError> {
        self.database
            .run_tx("collected_to", move |tx| {
                Box::pin(async move { Ok(collected_advance(tx, serial).await?) })
            })
            .await
    }

    /// Receipts before `before`, newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn receipts_list(
        &self,
        before: u64,
        limit: u64,
    ) -> Result<Vec<Kept>, RetentionError> {
        self.database
            .read("receipts_list", move |db| {
                Box::pin(async move { Ok(receipts_list(db, before, limit).await?) })
            })
            .await
    }

    pub(crate) async fn run_begin(
        &self,
        now: Timestamp,
        dry_run: bool,
    ) -> Result<u64, RetentionError> {
        self.database
            .run_tx("run_begin", move |tx| {
                Box::pin(async move { Ok(run_begin(tx, now, dry_run).await?) })
            })
            .await
    }

    pub(crate) async fn run_finish(&self, run: Run) -> Result<(), RetentionError> {
        self.database
            .run_tx("run_finish", move |tx| {
                let run = run.clone();
                Box::pin(async move { Ok(run_finish(tx, &run).await?) })
            })
            .await
    }

    /// Runs before `before`, newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn runs_list(&self, before: u64, limit: u64) -> Result<Vec<Run>, RetentionError> {
        self.database
            .read("runs_list", move |db| {
                Box::pin(async move { Ok(runs_list(db, before, limit).await?) })
            })
            .await
    }

    /// Deletes at most `limit` receipts and `limit` runs that are too old; answers whether more may be left.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn forget(&self, limit: u64, now: Timestamp) -> Result<bool, RetentionError> {
        self.database
            .run_tx("forget", move |tx| {
                Box::pin(async move {
                    let before = now - MEMORY;
                    let receipts = receipts_forget(tx, before, limit).await?;
                    let runs = runs_forget(tx, before, limit).await?;
                    Ok(receipts == limit || runs == limit)
                })
            })
            .await
    }

    /// Finishes what has begun and closes the database.
    ///
    /// # Errors
    /// When the log could not be emptied; nothing committed is lost.
    pub async fn close(&self) -> Result<(), DatabaseError> {
        self.database.close().await
    }
}

impl std::fmt::Debug for Datastore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Datastore")
    }
}
