//! Detached units of work.
//!
//! Owns the life of a transaction from `BEGIN` to its outcome. Has no knowledge of what the work
//! does. Invariant: once started, the work runs in a task of its own to commit or rollback; dropping
//! the future that awaits it drops the answer, not the work; and a connection whose transaction's end is
//! not known is closed, never lent again.

use std::{
    collections::BTreeSet,
    error::Error,
    fmt,
    future::Future,
    hash::{BuildHasher, RandomState},
    io,
    ops::{Deref, DerefMut},
    panic::resume_unwind,
    pin::Pin,
};

use sealpost_failpoints::fails;
use tracing::Instrument;

use crate::{
    DatabaseError,
    error::may_succeed_again,
    lending::{Lender, Lent},
    measure::{Outcome, Stopwatch},
    notices::Hub,
    retry,
};

/// Both dialects, picked at run time. Name these aliases, not sqlx's types.
pub type Dialect = sqlx::Any;
/// A connection of either dialect: what functions that only read take.
pub type Connection = sqlx::AnyConnection;
/// A row of either dialect.
pub type Row = sqlx::any::AnyRow;
/// The future of a unit of work: `Box::pin(async move { … })`.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// An open writing transaction. Only [`Database::run_tx`](crate::Database::run_tx) makes and ends one.
pub struct Tx {
    lent: Lent,
    topics: BTreeSet<&'static str>,
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

/// Runs `work` on the writer and commits, again after contention, a bounded number of times.
pub(crate) async fn write<T, E, F>(
    lender: Lender,
    hub: Hub,
    name: &'static str,
    work: F,
) -> Result<T, E>
where
    F: for<'t> FnMut(&'t mut Tx) -> BoxFuture<'t, Result<T, E>> + Send + 'static,
    T: Send + 'static,
    E: From<DatabaseError> + Error + Send + 'static,
{
    detached(retried_write(lender, hub, name, work)).await
}

/// Runs `work` on a reader, inside one snapshot.
pub(crate) async fn read<T, E, F>(lender: Lender, name: &'static str, work: F) -> Result<T, E>
where
    F: for<'t> FnOnce(&'t mut Reader) -> BoxFuture<'t, Result<T, E>> + Send + 'static,
    T: Send + 'static,
    E: From<DatabaseError> + Send + 'static,
{
    detached(async move {
        let stopwatch = Stopwatch::start(name);
        let mut reader = match lender.begin().await {
            Ok(lent) => Reader(lent),
            Err(error) => {
                stopwatch.finish(Outcome::Failed);
                return Err(error.into());
            }
        };
        let answer = match lender.limited(work(&mut reader)).await {
            Ok(answer) => answer,
            Err(error) => {
                stopwatch.finish(Outcome::Failed);
                return Err(error.into());
            }
        };
        reader.0.rollback().await;
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
    lender: Lender,
    hub: Hub,
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
        let (answer, outcome) = write_once(&lender, &hub, name, &mut work).await;
        match answer {
            // An error of the work's own may show no more of an unknown outcome than its source, a lost connection.
            Err(error)
                if !matches!(outcome, Outcome::Unknown)
                    && tries < retry::MAX_TRIES
                    && may_succeed_again(&error) =>
            {
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

async fn write_once<T, E, F>(
    lender: &Lender,
    hub: &Hub,
    name: &'static str,
    work: &mut F,
) -> (Result<T, E>, Outcome)
where
    F: for<'t> FnMut(&'t mut Tx) -> BoxFuture<'t, Result<T, E>>,
    E: From<DatabaseError>,
{
    let lent = match begin(lender, name).await {
        Ok(lent) => lent,
        Err(error) => return (Err(error.into()), Outcome::Failed),
    };
    let mut tx = Tx {
        lent,
        topics: BTreeSet::new(),
    };
    let answer = match lender.limited(work(&mut tx)).await {
        Ok(answer) => answer,
        // Dropped here, the connection is closed: the server rolls back.
        Err(error) => return (Err(error.into()), Outcome::Failed),
    };
    match answer {
        Ok(answer) => {
            let committed = commit(&mut tx, name).await;
            // After an unknown outcome too: a look at the tables for nothing costs little.
            hub.wake(&tx.topics);
            match committed {
                Ok(()) => (Ok(answer), Outcome::Done),
                Err(error) if error.is_unknown_outcome() => (Err(error.into()), Outcome::Unknown),
                Err(error) => (Err(error.into()), Outcome::Failed),
            }
        }
        Err(error) => {
            // The work's own error is the answer.
            tx.lent.rollback().await;
            (Err(error), Outcome::RolledBack)
        }
    }
}

async fn begin(lender: &Lender, name: &'static str) -> Result<Lent, DatabaseError> {
    let mut lent = lender.begin().await?;
    if fails!("{name}.begun") {
        lent.rollback().await;
        return Err(DatabaseError::Statement(failed_disk().into()));
    }
    Ok(lent)
}

async fn commit(tx: &mut Tx, name: &'static str) -> Result<(), DatabaseError> {
    if fails!("{name}.worked") {
        tx.lent.rollback().await;
        return Err(DatabaseError::UnknownOutcome(Some(failed_disk().into())));
    }
    tx.lent.commit(&tx.topics).await?;
    if fails!("{name}.committed") {
        return Err(DatabaseError::UnknownOutcome(Some(failed_disk().into())));
    }
    Ok(())
}

/// What the failpoints stand for.
fn failed_disk() -> io::Error {
    io::Error::other("the disk failed")
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
