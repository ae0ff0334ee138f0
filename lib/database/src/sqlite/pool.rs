//! Connections to one file, lent and taken back.
//!
//! Owns how many there are. Invariant: one that was lent is used by its borrower alone, and one that
//! is to be closed does not come back.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::Session;

/// A pool that opens a connection when all it has are lent. Clones share it.
#[derive(Clone)]
pub(crate) struct FilePool(Arc<Shared>);

struct Shared {
    open: Box<dyn Fn() -> Result<Session, sqlx::Error> + Send + Sync>,
    wait: Duration,
    most: u32,
    places: Arc<Semaphore>,
    idle: Mutex<Vec<Session>>,
    is_closed: AtomicBool,
}

/// A connection on loan, or one of its holder's own.
pub(crate) struct Loan {
    session: Option<Session>,
    home: Option<(FilePool, OwnedSemaphorePermit)>,
    /// Closed when it is given up, not lent again.
    is_spent: bool,
}

impl FilePool {
    /// Of at most `most` connections, which `open` makes; a borrower waits up to `wait` for one.
    pub(crate) fn new(
        most: u32,
        wait: Duration,
        open: impl Fn() -> Result<Session, sqlx::Error> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(Shared {
            open: Box::new(open),
            wait,
            most,
            places: Arc::new(Semaphore::new(most as usize)),
            idle: Mutex::default(),
            is_closed: AtomicBool::new(false),
        }))
    }

    /// Lends a connection. Dropping this future costs nothing.
    ///
    /// # Errors
    /// `PoolTimedOut`, `PoolClosed`, or that a new one could not be opened.
    pub(crate) async fn acquire(&self) -> Result<Loan, sqlx::Error> {
        let places = Arc::clone(&self.0.places);
        let place = match Arc::clone(&places).try_acquire_owned() {
            Ok(place) => Ok(place),
            Err(_) => timeout(self.0.wait, places.acquire_owned())
                .await
                .map_err(|_| sqlx::Error::PoolTimedOut)?,
        };
        let place = place.map_err(|_| sqlx::Error::PoolClosed)?;
        if self.0.is_closed.load(Ordering::Acquire) {
            return Err(sqlx::Error::PoolClosed);
        }
        let idle = self.idle().pop();
        let session = match idle {
            Some(session) => session,
            None => (self.0.open)()?,
        };
        Ok(Loan {
            session: Some(session),
            home: Some((self.clone(), place)),
            is_spent: false,
        })
    }

    /// Lends no more, waits for what is lent, and closes all.
    pub(crate) async fn close(&self) {
        self.0.is_closed.store(true, Ordering::Release);
        let all = self.0.places.acquire_many(self.0.most).await;
        self.idle().clear();
        drop(all);
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Session>> {
        self.0.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Loan {
    /// A connection that no pool keeps.
    pub(crate) fn own(session: Session) -> Self {
        Self {
            session: Some(session),
            home: None,
            is_spent: true,
        }
    }

    pub(crate) fn session(&mut self) -> &mut Session {
        self.session.as_mut().expect("only its end takes it away")
    }

    /// Does not come back.
    pub(crate) fn close_on_drop(&mut self) {
        self.is_spent = true;
    }

    pub(crate) fn close(mut self) -> Result<(), sqlx::Error> {
        self.session.take().map_or(Ok(()), Session::close)
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        let session = self.session.take();
        // The place is free when the connection is back, or closed.
        match (session, &self.home) {
            (Some(session), Some((pool, _))) if !self.is_spent => pool.idle().push(session),
            (session, _) => drop(session),
        }
    }
}

impl fmt::Debug for Loan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Loan")
    }
}
