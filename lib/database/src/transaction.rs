//! Detached units of work.
//!
//! Owns the life of a transaction from `BEGIN` to its outcome. Has no knowledge of what the work
//! does. Invariant: once started, the work runs in a task of its own to commit or rollback; dropping
//! the future that awaits it drops the answer, not the work.

use std::{
    error::Error,
    fmt,
    future::Future,
    hash::{BuildHasher, RandomState},
    ops::{Deref, DerefMut},
    panic::resume_unwind,
    pin::Pin,
};

use sqlx::{Pool, Transaction};
use tracing::Instrument;

use crate::{
    DatabaseError,
    error::caused_by_contention,
    measure::{Outcome, Stopwatch},
    retry,
};

/// The dialect of this build. PostgreSQL will stand beside it, so name these aliases, not sqlx's types.
pub type Dialect = sqlx::Sqlite;
/// A connection of the dialect: what functions that only read take.
pub type Connection = sqlx::SqliteConnection;
/// A row of the dialect.
pub type Row = sqlx::sqlite::SqliteRow;
/// The future of a unit of work: `Box::pin(async move { … })`.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// An open writing transaction. Only [`Database::run_tx`](crate::Database::run_tx) makes and ends one.
pub struct Tx(Transaction<'static, Dialect>);

/// An open reading transaction: every statement sees the same committed state and none can write.
pub struct Reader(Transaction<'static, Dialect>);

/// Runs `work` on the writer and commits, again after contention, a bounded number of times.
pub(crate) async fn write<T, E, F>(pool: Pool<Dialect>, name: &'static str, work: F) -> Result<T, E>
where
    F: for<'t> FnMut(&'t mut Tx) -> BoxFuture<'t, Result<T, E>> + Send + 'static,
    T: Send + 'static,
    E: From<DatabaseError> + Error + Send + 'static,
{
    detached(retried_write(pool, name, work)).await
}

/// Runs `work` on a reader, inside one snapshot.
pub(crate) async fn read<T, E, F>(pool: Pool<Dialect>, name: &'static str, work: F) -> Result<T, E>
where
    F: for<'t> FnOnce(&'t mut Reader) -> BoxFuture<'t, Result<T, E>> + Send + 'static,
    T: Send + 'static,
    E: From<DatabaseError> + Send + 'static,
{
    detached(async move {
        let stopwatch = Stopwatch::start(name);
        let mut reader = match pool.begin_with("BEGIN DEFERRED").await {
            Ok(transaction) => Reader(transaction),
            Err(error) => {
                stopwatch.finish(Outcome::Failed);
                return Err(DatabaseError::from(error).into());
            }
        };
        let answer = work(&mut reader).await;
        // A reader has nothing to lose: if this fails, `after_release` ends the snapshot or the connection.
        reader.0.rollback().await.ok();
        stopwatch.finish(if answer.is_ok() {
            Outcome::Done
        } else {
            Outcome::RolledBack
        });
        answer
    })
    .await
}

async fn retried_write<T, E, F>(
    pool: Pool<Dialect>,
    name: &'static str,
    mut work: F,
) -> Result<T, E>
where
    F: for<'t> FnMut(&'t mut Tx) -> BoxFuture<'t, Result<T, E>> + Send,
    E: From<DatabaseError> + Error + Send + 'static,
{
    let stopwatch = Stopwatch::start(name);
    let mut tries = 1;
    loop {
        let (answer, outcome) = write_once(&pool, &mut work).await;
        match answer {
            Err(error) if tries < retry::MAX_TRIES && caused_by_contention(&error) => {
                stopwatch.retried();
                // Jitter wants only to differ between processes: std's hash seed does.
                let jitter = RandomState::new().hash_one(tries);
                tokio::time::sleep(retry::delay(tries, jitter)).await;
                tries += 1;
            }
            answer => {
                stopwatch.finish(outcome);
                return answer;
            }
        }
    }
}

async fn write_once<T, E, F>(pool: &Pool<Dialect>, work: &mut F) -> (Result<T, E>, Outcome)
where
    F: for<'t> FnMut(&'t mut Tx) -> BoxFuture<'t, Result<T, E>>,
    E: From<DatabaseError>,
{
    // IMMEDIATE takes the write lock first, so that what the work reads cannot be overtaken before it
    // writes and no statement in its middle meets another process's lock.
    let mut tx = match pool.begin_with("BEGIN IMMEDIATE").await {
        Ok(transaction) => Tx(transaction),
        Err(error) => return (Err(DatabaseError::from(error).into()), Outcome::Failed),
    };
    match work(&mut tx).await {
        Ok(answer) => match tx.0.commit().await.map_err(DatabaseError::from_commit) {
            Ok(()) => (Ok(answer), Outcome::Done),
            Err(error) => {
                let outcome = if error.is_unknown_outcome() {
                    Outcome::Unknown
                } else {
                    Outcome::Failed
                };
                (Err(error.into()), outcome)
            }
        },
        Err(error) => {
            // The work's own error is the answer; a failed rollback is `after_release`'s to settle.
            tx.0.rollback().await.ok();
            (Err(error), Outcome::RolledBack)
        }
    }
}

/// Runs `unit` in a task of its own and hands on its answer, or its panic.
pub(crate) async fn detached<T, E, U>(unit: U) -> Result<T, E>
where
    U: Future<Output = Result<T, E>> + Send + 'static,
    T: Send + 'static,
    E: From<DatabaseError> + Send + 'static,
{
    match tokio::spawn(unit.in_current_span()).await {
        Ok(answer) => answer,
        Err(stopped) => match stopped.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            // The runtime is shutting down, perhaps between `COMMIT` and its answer.
            Err(_) => Err(DatabaseError::UnknownOutcome(None).into()),
        },
    }
}

impl Deref for Tx {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.0
    }
}

impl DerefMut for Tx {
    fn deref_mut(&mut self) -> &mut Connection {
        &mut self.0
    }
}

impl fmt::Debug for Tx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tx")
    }
}

impl Deref for Reader {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.0
    }
}

impl DerefMut for Reader {
    fn deref_mut(&mut self) -> &mut Connection {
        &mut self.0
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reader")
    }
}
