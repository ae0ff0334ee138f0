//! Connections lent for one transaction each.
//!
//! Owns how a transaction begins and ends in either dialect. Invariant: a connection goes back to its pool only after `COMMIT`
//! or `ROLLBACK` was answered; dropped before, for whatever reason, it is closed.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    future::Future,
    ops::{Deref, DerefMut},
    time::Duration,
};

use sqlx::Pool;
use tokio::time::{sleep, timeout};

use crate::{
    Connection, DatabaseError, Dialect,
    notices::CHANNEL,
    source::{Kind, Purpose},
    sqlite::FilePool,
};

/// How long a `ROLLBACK` may take before its connection is closed instead.
const ROLLBACK_LIMIT: Duration = Duration::from_secs(5);
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LAST_PAUSE: Duration = Duration::from_secs(1);

/// A pool of either dialect.
#[derive(Clone)]
pub(crate) enum Connections {
    File(FilePool),
    Server(Pool<Dialect>),
}

/// Lends the connections of one pool.
#[derive(Clone)]
pub(crate) struct Lender {
    pub(crate) pool: Connections,
    pub(crate) purpose: Purpose,
    /// How long to queue for a connection and, on a server, for the writers' lock.
    pub(crate) patience: Duration,
    /// How long the work itself may take, and its commit; none on SQLite, where no server can leave us waiting.
    pub(crate) limit: Option<Duration>,
}

/// A connection with a transaction on it.
pub(crate) struct Lent {
    connection: Connection,
    limit: Option<Duration>,
    open: bool,
}

impl Connections {
    /// Queues for a connection.
    pub(crate) async fn acquire(&self) -> Result<Connection, sqlx::Error> {
        match self {
            Self::File(pool) => pool.acquire().await.map(Connection::from),
            Self::Server(pool) => pool.acquire().await.map(Connection::from),
        }
    }

    /// Lends no more, and waits for what is lent.
    pub(crate) async fn close(&self) {
        match self {
            Self::File(pool) => pool.close().await,
            Self::Server(pool) => pool.close().await,
        }
    }

    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::File(_) => Kind::Sqlite,
            Self::Server(_) => Kind::Postgres,
        }
    }
}

impl Lender {
    /// Begins a transaction, on a fresh connection when the pool's have gone stale: nothing was done yet, so this may be tried
    /// for as long as the caller is patient. A failover is ridden out here.
    pub(crate) async fn begin(&self) -> Result<Lent, DatabaseError> {
        // A file does not go away, and its lock is waited for by SQLite.
        if self.pool.kind() == Kind::Sqlite {
            return self.begin_once().await;
        }
        let begun = timeout(self.patience, async {
            let mut pause = FIRST_PAUSE;
            loop {
                match self.begin_once().await {
                    Err(DatabaseError::Unavailable(_)) => sleep(pause).await,
                    answer => return answer,
                }
                pause = (pause * 2).min(LAST_PAUSE);
            }
        });
        begun
            .await
            .unwrap_or(Err(DatabaseError::Busy(sqlx::Error::PoolTimedOut)))
    }

    async fn begin_once(&self) -> Result<Lent, DatabaseError> {
        self.begin_on(self.pool.acquire().await?).await
    }

    /// Begins a transaction on a connection of the pool.
    pub(crate) async fn begin_on(&self, connection: Connection) -> Result<Lent, DatabaseError> {
        // Open from here on: a `BEGIN` whose answer was lost may have begun.
        let mut lent = Lent {
            connection,
            limit: self.limit,
            open: true,
        };
        lent.connection.command(self.opening().to_owned()).await?;
        Ok(lent)
    }

    fn opening(&self) -> &'static str {
        match (self.pool.kind(), self.purpose) {
            // IMMEDIATE takes the write lock first, so that what the work reads cannot be overtaken before it
            // writes and no statement in its middle meets another process's lock.
            (Kind::Sqlite, Purpose::Write) => "BEGIN IMMEDIATE",
            (Kind::Sqlite, Purpose::Read) => "BEGIN DEFERRED",
            // The same on a server, in one round trip: one writer at a time over all replicas. Each later statement has its own
            // snapshot, younger than the lock, so that it sees all that earlier writers committed. The key has no meaning.
            (Kind::Postgres, Purpose::Write) => {
                "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; \
                 SELECT pg_advisory_xact_lock(6010119057310720)"
            }
            (Kind::Postgres, Purpose::Read) => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
        }
    }

    /// Runs work that holds a connection, up to the limit.
    ///
    /// # Errors
    /// When the limit is past.
    pub(crate) async fn limited<T>(
        &self,
        work: impl Future<Output = T>,
    ) -> Result<T, DatabaseError> {
        limited(self.limit, work)
            .await
            .map_err(|limit| DatabaseError::TooLong { limit })
    }
}

impl Lent {
    /// Commits, and tells the server's other sessions of `topics` with it.
    pub(crate) async fn commit(
        &mut self,
        topics: &BTreeSet<&'static str>,
    ) -> Result<(), DatabaseError> {
        let statement = match self.connection.kind() {
            Kind::Sqlite => "COMMIT".to_owned(),
            // PostgreSQL answers `COMMIT` of a transaction in which a statement failed with a silent rollback. One more statement
            // in front of it, in the same round trip, fails there instead, and the `COMMIT` behind it is never reached.
            Kind::Postgres => {
                let mut batch = "SELECT 1; ".to_owned();
                for topic in topics {
                    write!(batch, "NOTIFY {CHANNEL}, '{topic}'; ").ok();
                }
                batch + "COMMIT"
            }
        };
        let limit = self.limit;
        let committed = self.connection.command(statement);
        match limited(limit, committed).await {
            Ok(Ok(_)) => {
                self.open = false;
                Ok(())
            }
            Ok(Err(error)) => Err(DatabaseError::from_commit(error)),
            Err(_) => Err(DatabaseError::UnknownOutcome(None)),
        }
    }

    /// Rolls back; where that fails, closing the connection does it.
    pub(crate) async fn rollback(&mut self) {
        let ended = timeout(
            ROLLBACK_LIMIT,
            self.connection.command("ROLLBACK".to_owned()),
        )
        .await;
        self.open = !matches!(ended, Ok(Ok(_)));
    }
}

async fn limited<T>(limit: Option<Duration>, work: impl Future<Output = T>) -> Result<T, Duration> {
    match limit {
        Some(limit) => timeout(limit, work).await.map_err(|_| limit),
        None => Ok(work.await),
    }
}

impl Deref for Lent {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}

impl DerefMut for Lent {
    fn deref_mut(&mut self) -> &mut Connection {
        &mut self.connection
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if self.open {
            self.connection.close_on_drop();
        }
    }
}
