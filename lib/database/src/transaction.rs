//! Transactions as units of work see them, and reading ones from their beginning to their end; [`crate::writing`] has the others.
//!
//! Invariant: once started, the work runs in a task or a thread of its own to its end; dropping the future that awaits it drops the answer, not
//! the work; and a connection whose transaction's end is not known is closed, never lent again.

use std::{
    collections::BTreeSet,
    fmt,
    future::Future,
    ops::{Deref, DerefMut},
    panic::resume_unwind,
    pin::Pin,
};

use tokio::{
    runtime::Handle,
    task::{JoinHandle, spawn_blocking},
};
use tracing::Instrument;

use crate::{
    Connection, DatabaseError, Kind,
    lending::{Lender, Lent},
    measure::{Outcome, Stopwatch},
};

/// Both dialects, picked at run time. Name these aliases, not sqlx's types.
pub type Dialect = sqlx::Any;
/// A row of either dialect.
pub type Row = sqlx::any::AnyRow;
/// The future of a unit of work: `Box::pin(async move { … })`.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// An open writing transaction. Only [`Database::run_tx`](crate::Database::run_tx) makes and ends one.
pub struct Tx {
    pub(crate) lent: Lent,
    pub(crate) topics: BTreeSet<&'static str>,
}

/// An open reading transaction: every statement sees the same committed state and none can write.
pub struct Reader(Lent);

impl Tx {
    /// Wakes those who wait for `topic`, in every replica, once this transaction is committed.
    ///
    /// A topic is a fixed word of `a-z` and `_`; it says that there is something to look for in the tables, never what.
    pub fn notify(&mut self, topic: &'static str) {
        debug_assert!(topic.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'));
        self.topics.insert(topic);
    }
}

/// Runs `work` on a reader, inside one snapshot.
pub(crate) async fn read<T, E, F>(lender: Lender, name: &'static str, work: F) -> Result<T, E>
where
    F: for<'t> FnOnce(&'t mut Reader) -> BoxFuture<'t, Result<T, E>> + Send + 'static,
    T: Send + 'static,
    E: From<DatabaseError> + Send + 'static,
{
    let stopwatch = Stopwatch::start(name);
    match lender.pool.kind() {
        Kind::Postgres => {
            detached(async move {
                let lent = lender.begin().await;
                read_on(lent, &lender, stopwatch, work).await
            })
            .await
        }
        // Its thread is only taken when there is a connection for it.
        Kind::Sqlite => {
            let connection = match lender.pool.acquire().await {
                Ok(connection) => connection,
                Err(error) => {
                    stopwatch.finish(Outcome::Failed);
                    return Err(DatabaseError::from(error).into());
                }
            };
            on_a_thread(async move {
                let lent = lender.begin_on(connection).await;
                read_on(lent, &lender, stopwatch, work).await
            })
            .await
        }
    }
}

async fn read_on<T, E, F>(
    lent: Result<Lent, DatabaseError>,
    lender: &Lender,
    stopwatch: Stopwatch,
    work: F,
) -> Result<T, E>
where
    F: for<'t> FnOnce(&'t mut Reader) -> BoxFuture<'t, Result<T, E>> + Send + 'static,
    E: From<DatabaseError>,
{
    let worked = match lent {
        Err(error) => Err(error),
        Ok(lent) => {
            let mut reader = Reader(lent);
            match lender.limited(work(&mut reader)).await {
                Err(error) => Err(error),
                Ok(answer) => {
                    reader.0.rollback().await;
                    Ok(answer)
                }
            }
        }
    };
    match worked {
        Err(error) => {
            stopwatch.finish(Outcome::Failed);
            Err(error.into())
        }
        Ok(answer) => {
            stopwatch.finish(if answer.is_ok() {
                Outcome::Done
            } else {
                Outcome::RolledBack
            });
            answer
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
    answered(tokio::spawn(unit.in_current_span())).await
}

/// The same in a thread that may wait for a disk.
pub(crate) async fn on_a_thread<T, E, U>(unit: U) -> Result<T, E>
where
    U: Future<Output = Result<T, E>> + Send + 'static,
    T: Send + 'static,
    E: From<DatabaseError> + Send + 'static,
{
    let (unit, runtime) = (unit.in_current_span(), Handle::current());
    answered(spawn_blocking(move || runtime.block_on(unit))).await
}

async fn answered<T, E>(task: JoinHandle<Result<T, E>>) -> Result<T, E>
where
    E: From<DatabaseError>,
{
    match task.await {
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
        &self.lent
    }
}

impl DerefMut for Tx {
    fn deref_mut(&mut self) -> &mut Connection {
        &mut self.lent
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
