//! A service's database.
//!
//! Owns opening, housekeeping and closing. Has no knowledge of tables. Invariant: an open `Database`
//! has durable settings, the binary's schema, and one writer: of the process on SQLite, over all processes on PostgreSQL.

use std::{error::Error, sync::Arc, time::Duration};

use sqlx::{AssertSqlSafe, query, query_as};

use crate::{
    BoxFuture, Connection, DatabaseConfig, DatabaseError, Kind, Migration, Notices, Reader, Tx,
    lending::Lender,
    migration,
    notices::Hub,
    source::{Purpose, Source},
    sqlite, transaction,
    writing::{Haste, Writing},
};

/// How a database is opened.
#[derive(Debug, Clone, Copy)]
pub struct PoolOptions {
    /// Connections for reading; at least one is made.
    pub readers: u32,
    /// How long a unit of work queues for a connection, and for the other replicas' work, before it fails as busy.
    pub acquire_timeout: Duration,
    /// How long a unit of work may take on a server, and its commit once more, before its connection is closed.
    pub work_limit: Duration,
}

impl Default for PoolOptions {
    fn default() -> Self {
        Self {
            readers: 4,
            acquire_timeout: Duration::from_secs(30),
            work_limit: Duration::from_secs(60),
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
    /// Nothing was done: a server keeps and recycles its log by its own settings.
    NotOurs,
}

/// An open database. Clones share it.
#[derive(Clone)]
pub struct Database(Arc<Open>);

struct Open {
    source: Source,
    writer: Lender,
    writing: Writing,
    reader: Lender,
    hub: Hub,
}

impl Database {
    /// Opens the database of `config` and applies what is missing of `migrations`. A file is made when absent, a server's database
    /// is not. A server that does not answer yet is waited for, as long as for a connection.
    ///
    /// A file that was not closed in order is looked over for damage first, unless that would take long: a log line then says so,
    /// and the `check` command of every service does it beside the running one. Opening takes no longer the more rows there are.
    ///
    /// # Errors
    /// When the file cannot be made private, the server is refused, a setting does not take hold, the database is found damaged,
    /// its migrations are not a prefix of `migrations`, or the role may not apply those that are missing.
    pub async fn open(
        config: DatabaseConfig,
        migrations: &[Migration],
        options: PoolOptions,
    ) -> Result<Self, DatabaseError> {
        let source = Source::new(&config, options.acquire_timeout).await?;
        let mut first = source.connect(options.acquire_timeout).await?;
        if let Source::File {
            unclean: Some(unclean),
            ..
        } = &source
        {
            unclean.look_over(&mut first).await?;
        }
        migration::migrate(&mut first, migrations).await?;
        first.close().await?;

        let lender = |purpose, connections| Lender {
            pool: source.pool(purpose, connections, options.acquire_timeout),
            purpose,
            patience: options.acquire_timeout,
            limit: (source.kind() == Kind::Postgres).then_some(options.work_limit),
        };
        let hub = Hub::default();
        // One connection writes: units of work queue for it in this process, first come first served, rather than meet each other at
        // the database's lock. It also keeps their order, on a server too.
        let writer = lender(Purpose::Write, 1);
        Ok(Self(Arc::new(Open {
            writing: Writing::start(writer.clone(), hub.clone())?,
            writer,
            reader: lender(Purpose::Read, options.readers.max(1)),
            hub,
            source,
        })))
    }

    /// Which dialect this database speaks.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.0.source.kind()
    }

    /// Waits for [`Tx::notify`] of `topic`, from this process and, on a server, from every other.
    #[must_use]
    pub fn notices(&self, topic: &'static str) -> Notices {
        self.0.hub.wait(topic, &self.0.source)
    }

    /// Runs `work` in a writing transaction, `name`d in the metrics, and commits what it did.
    ///
    /// The work runs in the writer's task: dropping this future does not stop it. Units that queue at the same time share a
    /// transaction; all of them are answered once it is committed. A unit may run several times, each on a fresh transaction, so
    /// it clones what it consumes and has no effect outside the transaction; what it saw may still be undone until it is answered. It must not start another unit of work, call another process or compute at length: there is one writer,
    /// on a server over all replicas, and it has it.
    ///
    /// # Errors
    /// The work's own error, after a rollback; [`DatabaseError::Busy`] and [`DatabaseError::Unavailable`] when contention or a
    /// server's absence outlasts the tries; [`DatabaseError::TooLong`]; [`DatabaseError::UnknownOutcome`] when the commit may or
    /// may not have taken hold.
    ///
    /// # Panics
    /// When the work panics, after a rollback.
    pub async fn run_tx<T, E, F>(&self, name: &'static str, work: F) -> Result<T, E>
    where
        F: for<'t> FnMut(&'t mut Tx) -> BoxFuture<'t, Result<T, E>> + Send + 'static,
        T: Send + 'static,
        E: From<DatabaseError> + Error + Send + 'static,
    {
        self.0.writing.run(name, Haste::Prompt, work).await
    }

    /// The same for work that nobody waits for, as that an acknowledgement is heard of: it waits a few milliseconds for a unit in
    /// whose transaction it can ride, and saves one of its own.
    ///
    /// # Errors
    /// As [`Self::run_tx`].
    ///
    /// # Panics
    /// As [`Self::run_tx`].
    pub async fn run_tx_soon<T, E, F>(&self, name: &'static str, work: F) -> Result<T, E>
    where
        F: for<'t> FnMut(&'t mut Tx) -> BoxFuture<'t, Result<T, E>> + Send + 'static,
        T: Send + 'static,
        E: From<DatabaseError> + Error + Send + 'static,
    {
        self.0.writing.run(name, Haste::Soon, work).await
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
        transaction::read(self.0.reader.clone(), name, work).await
    }

    /// Moves SQLite's log into the database and cuts it to nothing, so that deleted rows leave the file. A server is left alone:
    /// its log and its free space keep deleted rows until its own settings let them go.
    ///
    /// Holds the writer meanwhile, up to the busy timeout of 10 s when a reader is in the way.
    ///
    /// # Errors
    /// When the database fails it.
    pub async fn checkpoint(&self) -> Result<Checkpoint, DatabaseError> {
        match self.kind() {
            Kind::Sqlite => {
                self.on_writer(|connection| Box::pin(checkpoint(connection)))
                    .await
            }
            Kind::Postgres => Ok(Checkpoint::NotOurs),
        }
    }

    /// Gives up to `pages` free pages of SQLite's file back to the file system; answers how many are still free. On a server,
    /// whose autovacuum reuses the space of deleted rows, it does nothing and answers 0.
    ///
    /// # Errors
    /// When the database fails it.
    pub async fn incremental_vacuum(&self, pages: u32) -> Result<u64, DatabaseError> {
        if self.kind() == Kind::Postgres {
            return Ok(0);
        }
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
        self.0.hub.close();
        self.0.reader.pool.close().await;
        let emptied = self.checkpoint().await;
        self.0.writer.pool.close().await;
        emptied.map(|_| ())
    }

    /// Housekeeping on a file's writer, outside any transaction, detached like all other work.
    async fn on_writer<T, F>(&self, work: F) -> Result<T, DatabaseError>
    where
        F: for<'c> FnOnce(&'c mut Connection) -> BoxFuture<'c, Result<T, DatabaseError>>
            + Send
            + 'static,
        T: Send + 'static,
    {
        let writer = self.0.writer.pool.clone();
        transaction::on_a_thread(async move { work(&mut writer.acquire().await?).await }).await
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
