//! Writing units of work, committed in groups.
//!
//! Owns the queue before the one writer. While a transaction is under way further units queue, and all that queued (up to a size)
//! share the next one: one `BEGIN`, one `COMMIT`, one wait for the disk. A unit that somebody waits for is never held back; one that may
//! ride along waits a moment for such a one. Has no knowledge of what a unit does. Invariants:
//! a unit is answered only when what it did is committed; one that fails, panics or meets contention takes nothing of the others with
//! it: the transaction is rolled back and each of the group then runs in one of its own. Units may run more than once for that reason.

use std::{
    any::Any,
    collections::BTreeSet,
    error::Error,
    hash::{BuildHasher, RandomState},
    io,
    panic::{AssertUnwindSafe, resume_unwind},
    thread,
    time::Duration,
};

use futures::FutureExt;
use sealpost_failpoints::fails;
use tokio::{
    runtime::Handle,
    sync::{
        mpsc::{self, error::TrySendError},
        oneshot,
    },
    time::{Instant, timeout},
};
use tracing::{Instrument, Span};

use crate::{
    BoxFuture, DatabaseError, Kind, Tx,
    error::may_succeed_again,
    lending::{Lender, Lent},
    measure::{Outcome, Stopwatch, group},
    notices::Hub,
    retry,
};

/// Units in one transaction, at most.
const MOST: usize = 32;
/// Units that may queue before callers wait.
const QUEUE: usize = 256;
/// How long a unit that may ride along waits for one to ride with: about as long as a transaction of a busy service takes.
const RIDE: Duration = Duration::from_millis(3);

/// Whether a unit may wait for another's transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Haste {
    /// Somebody waits for it.
    Prompt,
    /// Nobody does.
    Soon,
}

/// The queue before the writer; clones share it.
#[derive(Clone)]
pub(crate) struct Writing {
    queue: mpsc::Sender<Box<dyn Unit>>,
    /// How long a unit may queue.
    patience: Duration,
}

impl Writing {
    /// Starts the writer, which ends when every clone is dropped and all that queued is done: a task for a server, and for a file a
    /// thread, in which a whole transaction runs without a switch to another.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub(crate) fn start(lender: Lender, hub: Hub) -> Result<Self, DatabaseError> {
        let (queue, units) = mpsc::channel(QUEUE);
        let patience = lender.patience;
        let kind = lender.pool.kind();
        let writing = Writer { lender, hub }.run(units);
        match kind {
            Kind::Postgres => drop(tokio::spawn(writing)),
            Kind::Sqlite => {
                let runtime = Handle::current();
                thread::Builder::new()
                    .name("sqlite-writer".to_owned())
                    .spawn(move || runtime.block_on(writing))
                    .map_err(DatabaseError::File)?;
            }
        }
        Ok(Self { queue, patience })
    }

    /// Runs `work` in a transaction and answers once that is committed. Dropping this future does not stop the work once it queues.
    pub(crate) async fn run<T, E, F>(
        &self,
        name: &'static str,
        haste: Haste,
        work: F,
    ) -> Result<T, E>
    where
        F: for<'t> FnMut(&'t mut Tx) -> BoxFuture<'t, Result<T, E>> + Send + 'static,
        T: Send + 'static,
        E: From<DatabaseError> + Error + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job = Job {
            name,
            haste,
            work,
            span: Span::current(),
            answer: None,
            reply,
            stopwatch: Stopwatch::start(name),
            until: Instant::now() + self.patience,
        };
        // The writer lives as long as a sender does, or the runtime ends.
        if let Err(TrySendError::Full(job)) = self.queue.try_send(Box::new(job)) {
            // In a task of its own: a caller that goes meanwhile has asked all the same.
            let queue = self.queue.clone();
            tokio::spawn(async move {
                let _ = queue.send(job).await;
            });
        }
        match answer.await {
            Ok(Ok(answer)) => answer,
            Ok(Err(panic)) => resume_unwind(panic),
            // The runtime is shutting down, perhaps between `COMMIT` and its answer.
            Err(_) => Err(DatabaseError::UnknownOutcome(None).into()),
        }
    }
}

/// How a unit's work went; its answer stays with it.
enum Worked {
    Done,
    /// Its own error, or a panic: what it wrote must go.
    Failed,
}

/// A unit of work, whatever its types.
trait Unit: Send {
    fn name(&self) -> &'static str;

    fn haste(&self) -> Haste;

    /// When it has queued for too long.
    fn until(&self) -> Instant;

    /// Works, and keeps the answer.
    fn work<'a>(&'a mut self, tx: &'a mut Tx) -> BoxFuture<'a, Worked>;

    /// Whether the answer it keeps is an error that may not come again.
    fn may_succeed_again(&self) -> bool;

    fn retried(&self);

    /// Gives the answer that it keeps, or `error`.
    fn answer(self: Box<Self>, error: Option<DatabaseError>, outcome: Outcome);
}

struct Job<T, E, F> {
    name: &'static str,
    haste: Haste,
    work: F,
    span: Span,
    answer: Option<Result<Result<T, E>, Box<dyn Any + Send>>>,
    reply: oneshot::Sender<Result<Result<T, E>, Box<dyn Any + Send>>>,
    stopwatch: Stopwatch,
    until: Instant,
}

impl<T, E, F> Unit for Job<T, E, F>
where
    F: for<'t> FnMut(&'t mut Tx) -> BoxFuture<'t, Result<T, E>> + Send,
    T: Send,
    E: From<DatabaseError> + Error + Send + 'static,
{
    fn name(&self) -> &'static str {
        self.name
    }

    fn haste(&self) -> Haste {
        self.haste
    }

    fn until(&self) -> Instant {
        self.until
    }

    fn work<'a>(&'a mut self, tx: &'a mut Tx) -> BoxFuture<'a, Worked> {
        Box::pin(async move {
            let span = self.span.clone();
            let worked = AssertUnwindSafe(async { (self.work)(tx).await })
                .catch_unwind()
                .instrument(span)
                .await;
            let done = matches!(worked, Ok(Ok(_)));
            self.answer = Some(worked);
            if done { Worked::Done } else { Worked::Failed }
        })
    }

    fn may_succeed_again(&self) -> bool {
        matches!(&self.answer, Some(Ok(Err(error))) if may_succeed_again(error))
    }

    fn retried(&self) {
        self.stopwatch.retried();
    }

    fn answer(self: Box<Self>, error: Option<DatabaseError>, outcome: Outcome) {
        let answer = match (error, self.answer) {
            (Some(error), _) => Ok(Err(error.into())),
            (None, Some(answer)) => answer,
            (None, None) => Ok(Err(DatabaseError::UnknownOutcome(None).into())),
        };
        let outcome = match answer {
            // A panic is counted as work that was abandoned.
            Err(_) => Outcome::Abandoned,
            Ok(_) => outcome,
        };
        self.stopwatch.finish(outcome);
        // The caller may be gone.
        let _ = self.reply.send(answer);
    }
}

/// How one transaction ended.
enum End {
    Committed,
    /// Nothing of it stands, because of the work of the unit that ran last.
    WorkFailed,
    /// It did not begin.
    NotBegun(DatabaseError),
    /// Nothing of it stands.
    Failed(DatabaseError),
    /// Nobody knows.
    Unknown(DatabaseError),
}

struct Writer {
    lender: Lender,
    hub: Hub,
}

impl Writer {
    async fn run(self, mut units: mpsc::Receiver<Box<dyn Unit>>) {
        let mut batch = Vec::with_capacity(MOST);
        while units.recv_many(&mut batch, MOST).await > 0 {
            if batch.iter().all(|unit| unit.haste() == Haste::Soon) {
                let _ = timeout(RIDE, first_prompt(&mut units, &mut batch)).await;
                while batch.len() < MOST
                    && let Ok(unit) = units.try_recv()
                {
                    batch.push(unit);
                }
            }
            group(batch.len());
            let now = Instant::now();
            for unit in batch.extract_if(.., |unit| unit.until() <= now) {
                unit.answer(Some(busy()), Outcome::Failed);
            }
            if batch.len() > 1 {
                match self.once(&mut batch).await {
                    End::Committed => {
                        for unit in batch.drain(..) {
                            unit.answer(None, Outcome::Done);
                        }
                    }
                    End::Unknown(error) => {
                        let mut error = Some(error);
                        for unit in batch.drain(..) {
                            let error = error.take().unwrap_or(DatabaseError::UnknownOutcome(None));
                            unit.answer(Some(error), Outcome::Unknown);
                        }
                    }
                    // It was tried for as long as any of them may wait.
                    End::NotBegun(error) => {
                        for unit in batch.drain(..) {
                            unit.answer(Some(like(&error)), Outcome::Failed);
                        }
                    }
                    // Each by itself: what failed one must not fail the others.
                    End::WorkFailed | End::Failed(_) => {}
                }
            }
            for unit in batch.drain(..) {
                self.alone(unit).await;
            }
        }
    }

    /// Runs one unit in a transaction of its own, again after contention, a bounded number of times.
    async fn alone(&self, unit: Box<dyn Unit>) {
        let mut unit = [unit];
        let mut tries = 1;
        loop {
            let end = self.once(&mut unit).await;
            let again = match &end {
                End::Committed | End::Unknown(_) => false,
                End::WorkFailed => unit[0].may_succeed_again(),
                End::NotBegun(error) | End::Failed(error) => may_succeed_again(error),
            };
            if again && tries < retry::MAX_TRIES {
                unit[0].retried();
                // Jitter wants only to differ between processes: std's hash seed does.
                let jitter = RandomState::new().hash_one(tries);
                tokio::time::sleep(retry::delay(tries, jitter)).await;
                tries += 1;
                continue;
            }
            let [unit] = unit;
            match end {
                End::Committed => unit.answer(None, Outcome::Done),
                // The work's own error is the answer.
                End::WorkFailed => unit.answer(None, Outcome::RolledBack),
                End::NotBegun(error) | End::Failed(error) => {
                    unit.answer(Some(error), Outcome::Failed);
                }
                End::Unknown(error) => unit.answer(Some(error), Outcome::Unknown),
            }
            return;
        }
    }

    /// Runs units in one transaction, one after another.
    async fn once(&self, units: &mut [Box<dyn Unit>]) -> End {
        let lent = match self.lender.begin().await {
            Ok(lent) => lent,
            Err(error) => return End::NotBegun(error),
        };
        let mut tx = Tx {
            lent,
            topics: BTreeSet::new(),
        };
        for unit in units.iter_mut() {
            let name = unit.name();
            if fails!("{name}.begun") {
                tx.lent.rollback().await;
                return End::Failed(DatabaseError::Statement(failed_disk().into()));
            }
            match self.lender.limited(unit.work(&mut tx)).await {
                Ok(Worked::Done) => {}
                Ok(Worked::Failed) => {
                    tx.lent.rollback().await;
                    return End::WorkFailed;
                }
                // Dropped here, the connection is closed: the server rolls back.
                Err(error) => return End::Failed(error),
            }
        }
        let names: Vec<&'static str> = units.iter().map(|unit| unit.name()).collect();
        let committed = commit(&mut tx.lent, &tx.topics, &names).await;
        // After an unknown outcome too: a look at the tables for nothing costs little.
        self.hub.wake(&tx.topics);
        match committed {
            Ok(()) => End::Committed,
            Err(error) if error.is_unknown_outcome() => End::Unknown(error),
            Err(error) => End::Failed(error),
        }
    }
}

/// Adds what comes to `batch`, up to one that somebody waits for.
async fn first_prompt(units: &mut mpsc::Receiver<Box<dyn Unit>>, batch: &mut Vec<Box<dyn Unit>>) {
    while batch.len() < MOST
        && let Some(unit) = units.recv().await
    {
        let haste = unit.haste();
        batch.push(unit);
        if haste == Haste::Prompt {
            return;
        }
    }
}

async fn commit(
    lent: &mut Lent,
    topics: &BTreeSet<&'static str>,
    names: &[&'static str],
) -> Result<(), DatabaseError> {
    for name in names {
        if fails!("{name}.worked") {
            lent.rollback().await;
            return Err(DatabaseError::UnknownOutcome(Some(failed_disk().into())));
        }
    }
    lent.commit(topics).await?;
    for name in names {
        if fails!("{name}.committed") {
            return Err(DatabaseError::UnknownOutcome(Some(failed_disk().into())));
        }
    }
    Ok(())
}

/// The writer is busy with others for too long.
fn busy() -> DatabaseError {
    DatabaseError::Busy(sqlx::Error::PoolTimedOut)
}

/// The same for another unit: what may be tried again, and what may not.
fn like(error: &DatabaseError) -> DatabaseError {
    match error {
        DatabaseError::Closed => DatabaseError::Closed,
        error if error.is_conflict() => busy(),
        _ => DatabaseError::Statement(sqlx::Error::BeginFailed),
    }
}

/// What the failpoints stand for.
fn failed_disk() -> io::Error {
    io::Error::other("the disk failed")
}
