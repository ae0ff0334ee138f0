//! A service's database.
//!
//! Owns opening, housekeeping and closing. Has no knowledge of tables. Invariant: an open `Database`
//! has durable settings, the binary's schema, and one writer.

use std::{error::Error, time::Duration};

use sqlx::{AssertSqlSafe, Pool, query, query_as};

use crate::{
    BoxFuture, Connection, DatabaseError, DatabaseUrl, Dialect, Migration, Reader, Tx, migration,
    sqlite, transaction,
};

/// How a database is opened.
#[derive(Debug, Clone, Copy)]
pub struct PoolOptions {
    /// Connections for reading; at least one is made.
    pub readers: u32,
    /// How long a unit of work queues for a connection before it fails as busy.
    pub acquire_timeout: Duration,
    /// Look for structural damage before use; takes time in proportion to the file.
    pub quick_check: bool,
}

impl Default for PoolOptions {
    fn default() -> Self {
        Self {
            readers: 4,
            acquire_timeout: Duration::from_secs(30),
            quick_check: false,
        }
    }
}

/// Whether a checkpoint emptied the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Checkpoint {
    /// The log was moved into the database and cut to nothing: what was deleted is in neither file.
    Complete,
    /// A reader held an old state for too long; the log still has its pages. Try again later.
    Blocked,
}

/// An open database. Clones share it.
#[derive(Clone)]
pub struct Database {
    writer: Pool<Dialect>,
    readers: Pool<Dialect>,
}

impl Database {
    /// Opens the database at `url`, made when absent, and applies what is missing of `migrations`.
    ///
    /// # Errors
    /// When the file cannot be made private, a setting does not take hold, the database is damaged (if
    /// asked to look), or its migrations are not a prefix of `migrations`.
    pub async fn open(
        url: DatabaseUrl,
        migrations: &[Migration],
        options: PoolOptions,
    ) -> Result<Self, DatabaseError> {
        let file = url.into_file();
        sqlite::prepare_file(file.clone()).await?;

        let writer = sqlite::writer_pool(&file, options.acquire_timeout).await?;
        {
            let mut connection = writer.acquire().await?;
            sqlite::verify_settings(&mut connection).await?;
            if options.quick_check {
                sqlite::quick_check(&mut connection).await?;
            }
            migration::migrate(&mut connection, migrations).await?;
        }
        let readers = sqlite::reader_pool(&file, options.readers, options.acquire_timeout).await?;
        Ok(Self { writer, readers })
    }

    /// Runs `work` in a writing transaction, `name`d in the metrics, and commits what it did.
    ///
    /// The work runs in a task of its own: dropping this future does not stop it. It may run several
    /// times, each on a fresh transaction, so it clones what it consumes and has no effect outside
    /// the transaction. It must not start another unit of work: there is one writer, and it has it.
    ///
    /// # Errors
    /// The work's own error, after a rollback; [`DatabaseError::Busy`] when contention outlasts the tries;
    /// [`DatabaseError::UnknownOutcome`] when the commit may or may not have taken hold.
    ///
    /// # Panics
    /// When the work panics, after a rollback.
    pub async fn run_tx<T, E, F>(&self, name: &'static str, work: F) -> Result<T, E>
    where
        F: for<'t> FnMut(&'t mut Tx) -> BoxFuture<'t, Result<T, E>> + Send + 'static,
        T: Send + 'static,
        E: From<DatabaseError> + Error + Send + 'static,
    {
        transaction::write(self.writer.clone(), name, work).await
    }

    /// Runs `work` on one snapshot of what was committed, `name`d in the metrics. It cannot write.
    ///
    /// # Errors
    /// The work's own error, or that no connection could be had.
    ///
    /// # Panics
    /// When the work panics.
    pub async fn read<T, E, F>(&self, name: &'static str, work: F) -> Result<T, E>
    where
        F: for<'t> FnOnce(&'t mut Reader) -> BoxFuture<'t, Result<T, E>> + Send + 'static,
        T: Send + 'static,
        E: From<DatabaseError> + Send + 'static,
    {
        transaction::read(self.readers.clone(), name, work).await
    }

    /// Moves the log into the database and cuts it to nothing, so that deleted rows leave the disk.
    ///
    /// Holds the writer meanwhile, up to the busy timeout of 10 s when a reader is in the way.
    ///
    /// # Errors
    /// When the database fails it.
    pub async fn checkpoint(&self) -> Result<Checkpoint, DatabaseError> {
        self.on_writer(|connection| Box::pin(checkpoint(connection)))
            .await
    }

    /// Gives up to `pages` free pages back to the file system; answers how many are still free.
    ///
    /// # Errors
    /// When the database fails it.
    pub async fn incremental_vacuum(&self, pages: u32) -> Result<u64, DatabaseError> {
        self.on_writer(move |connection| {
            Box::pin(async move {
                let vacuum = format!("PRAGMA incremental_vacuum({pages})");
                query(AssertSqlSafe(vacuum))
                    .execute(&mut *connection)
                    .await?;
                let free = sqlite::pragma(connection, "freelist_count").await?;
                Ok(free.unsigned_abs())
            })
        })
        .await
    }

    /// Waits for the work that has begun, empties the log and closes. Later work fails as closed.
    ///
    /// # Errors
    /// When the log could not be emptied; the database is closed and nothing committed is lost.
    pub async fn close(&self) -> Result<(), DatabaseError> {
        self.readers.close().await;
        let emptied = self.checkpoint().await;
        self.writer.close().await;
        emptied.map(|_| ())
    }

    /// Housekeeping on the writer, outside any transaction, detached like all other work.
    async fn on_writer<T, F>(&self, work: F) -> Result<T, DatabaseError>
    where
        F: for<'c> FnOnce(&'c mut Connection) -> BoxFuture<'c, Result<T, DatabaseError>>
            + Send
            + 'static,
        T: Send + 'static,
    {
        let writer = self.writer.clone();
        transaction::detached(async move { work(&mut *writer.acquire().await?).await }).await
    }
}

async fn checkpoint(connection: &mut Connection) -> Result<Checkpoint, DatabaseError> {
    let (blocked, _log, _moved): (i64, i64, i64) = query_as("PRAGMA wal_checkpoint(TRUNCATE)")
        .fetch_one(connection)
        .await?;
    Ok(if blocked == 0 {
        Checkpoint::Complete
    } else {
        Checkpoint::Blocked
    })
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Database")
    }
}
