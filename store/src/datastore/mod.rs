//! The store's units of work, one transaction each.
//!
//! Owns what must happen together. Has no knowledge of gRPC, nor of what is sealed. Invariants: every write is idempotent;
//! events are announced after their commit, never before; a destroyed epoch gains no row.

mod cursors;
mod dispatch;
mod epochs;
mod erasure;
mod gate;
mod inbound;
mod last_call;
mod moving;
mod new_events;
mod outbound;
mod person;
mod progress;
mod reading;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use sealpost_database::{
    Checkpoint, Database, DatabaseConfig, DatabaseError, Notices, PoolOptions,
};

use crate::{announce::Announcements, tables::MIGRATIONS};

pub use epochs::EpochReport;
pub use erasure::Erased;
pub use inbound::{InboundItem, InboundOutcome};
pub(crate) use moving::{Place, TravellingRow};
pub use outbound::{Hands, OUTBOUND_LEASE, OutboundItem, OutboundOutcome};
pub use person::PersonRecord;
pub use progress::{Progress, ProgressItem};

/// Notices that numbers have new events.
pub(crate) const HEADS: &str = "event_heads";

/// Notices that subscriptions were opened.
pub(crate) const OPENINGS: &str = "openings";

/// Pages that one vacuum gives back at a time.
const VACUUM_PAGES: u32 = 2_000;
/// Vacuums in a row; what is left waits for the next time.
const VACUUM_ROUNDS: u32 = 50;

/// An open store. Clones share it.
#[derive(Clone)]
pub struct Datastore {
    database: Database,
    announcements: Announcements,
    /// Rows were deleted since the last tidying.
    untidy: Arc<AtomicBool>,
}

impl Datastore {
    /// Opens the `database`.
    ///
    /// # Errors
    /// When it cannot be opened or brought to the schema.
    pub async fn open(database: DatabaseConfig) -> Result<Self, DatabaseError> {
        let database = Database::open(database, MIGRATIONS, PoolOptions::default()).await?;
        Ok(Self {
            database,
            announcements: Announcements::new(),
            untidy: Arc::new(AtomicBool::new(true)),
        })
    }

    /// Where new events are announced.
    #[must_use]
    pub fn announcements(&self) -> &Announcements {
        &self.announcements
    }

    /// Gives the pages of deleted rows back and empties the log of them, when anything was deleted since the last time.
    ///
    /// # Errors
    /// When the database fails it; it is then due again.
    pub async fn tidy(&self) -> Result<(), DatabaseError> {
        if !self.untidy.swap(false, Ordering::SeqCst) {
            return Ok(());
        }
        let done = self.vacuum_and_checkpoint().await;
        if !matches!(done, Ok(true)) {
            self.untidy.store(true, Ordering::SeqCst);
        }
        done.map(drop)
    }

    /// Whether nothing is left to do.
    async fn vacuum_and_checkpoint(&self) -> Result<bool, DatabaseError> {
        let mut free = u64::MAX;
        for _ in 0..VACUUM_ROUNDS {
            free = self.database.incremental_vacuum(VACUUM_PAGES).await?;
            if free == 0 {
                break;
            }
        }
        let checkpoint = self.database.checkpoint().await?;
        Ok(free == 0 && checkpoint != Checkpoint::Blocked)
    }

    /// Finishes what has begun and closes the database.
    ///
    /// # Errors
    /// When the log could not be emptied; nothing committed is lost.
    pub async fn close(&self) -> Result<(), DatabaseError> {
        self.database.close().await
    }

    /// Hears of what any replica commits from now on to [`HEADS`] or [`OPENINGS`].
    pub(crate) fn notices(&self, topic: &'static str) -> Notices {
        self.database.notices(topic)
    }

    fn deleted(&self, erased: &Erased, cause: &'static str) {
        for (table, rows) in &erased.tables {
            self.untidy.store(true, Ordering::SeqCst);
            metrics::counter!("sealpost_store_rows_deleted_total", "cause" => cause, "table" => *table)
                .increment(*rows);
        }
    }
}

impl std::fmt::Debug for Datastore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Datastore")
    }
}
