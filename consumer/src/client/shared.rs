//! What the client's tasks share: the state under its lock, and the signs by which they wake each other.

use std::{
    collections::HashSet,
    sync::{
        Arc, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use rand::{TryRngCore, rngs::OsRng};
use sealpost_runtime::Clock;
use tokio::sync::{Mutex, Notify, watch};
use tokio_util::sync::CancellationToken;

use super::{Connection, MAX_UNCONFIRMED, backoff::Backoff};
use crate::{
    event::Event,
    ids::PhoneNumber,
    relay::Session,
    state::{Change, MessageKey, ReceiptMark, State},
};

pub(super) struct Shared {
    pub(super) session: Session,
    pub(super) state: Arc<Mutex<State>>,
    pub(super) clock: Clock,
    pub(super) phone: PhoneNumber,
    pub(super) stop: CancellationToken,
    /// Something waits for the courier.
    pub(super) courier: Notify,
    /// Events came, or none can come any more.
    pub(super) arrived: Notify,
    /// A business asked for a message again.
    pub(super) asked: Notify,
    /// The relay has messages that it had not.
    pub(super) handed_over: Notify,
    /// Something was confirmed or sent: there is room again.
    pub(super) room: Notify,
    /// What has yet to reach the relay.
    pub(super) pending: watch::Sender<usize>,
    pub(super) connection: watch::Sender<Connection>,
    /// The application has events up to here.
    pub(super) confirmed: AtomicU64,
    /// The relay's stock of prekeys should be looked at.
    pub(super) check_prekeys: AtomicBool,
    /// Receipts that were said on the stream and of which the relay has yet to tell: the courier leaves them alone.
    pub(super) on_stream: OnStream,
    /// The relay was reached anew: what was put off may be tried at once.
    pub(super) reconnected: AtomicBool,
    /// Events were handed out up to here.
    offered: AtomicU64,
    /// Events up to here waited already when the client was made.
    redelivered_through: u64,
}

impl Shared {
    pub(super) fn new(session: Session, state: State, clock: Clock, phone: PhoneNumber) -> Self {
        let redelivered_through = state
            .model()
            .events
            .last_key_value()
            .map_or(0, |(sequence, _)| *sequence);
        let pending = watch::Sender::new(state.model().pending());
        Self {
            session,
            state: Arc::new(Mutex::new(state)),
            clock,
            phone,
            stop: CancellationToken::new(),
            courier: Notify::new(),
            arrived: Notify::new(),
            asked: Notify::new(),
            handed_over: Notify::new(),
            room: Notify::new(),
            pending,
            connection: watch::Sender::new(Connection::Connecting),
            confirmed: AtomicU64::new(0),
            check_prekeys: AtomicBool::new(true),
            on_stream: OnStream::default(),
            reconnected: AtomicBool::new(false),
            offered: AtomicU64::new(0),
            redelivered_through,
        }
    }

    /// Runs `work` on the state: off the runtime's threads when it waits for the disk.
    pub(super) async fn with_state<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut State) -> T + Send + 'static,
    ) -> T {
        let mut state = self.state.clone().lock_owned().await;
        let (answer, pending) = if state.is_in_memory() {
            (work(&mut state), state.model().pending())
        } else {
            let task = tokio::task::spawn_blocking(move || {
                let answer = work(&mut state);
                (answer, state.model().pending())
            });
            match task.await {
                Ok(done) => done,
                Err(error) => match error.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    // The runtime is going down, and this task with it.
                    Err(_) => std::future::pending().await,
                },
            }
        };
        self.pending
            .send_if_modified(|before| std::mem::replace(before, pending) != pending);
        answer
    }

    /// The next events that were not handed out yet.
    pub(super) async fn take_events(&self, limit: usize) -> Vec<Event> {
        let state = self.state.lock().await;
        let after = self.offered.load(Ordering::SeqCst);
        let events: Vec<Event> = state
            .model()
            .events
            .range(after + 1..)
            .take(limit.max(1))
            .map(|(sequence, kind)| Event {
                sequence: *sequence,
                redelivered: *sequence <= self.redelivered_through,
                kind: kind.clone(),
            })
            .collect();
        if let Some(last) = events.last() {
            self.offered.store(last.sequence, Ordering::SeqCst);
        }
        // Whoever waits besides us may have events left.
        if state
            .model()
            .events
            .range(self.offered.load(Ordering::SeqCst) + 1..)
            .next()
            .is_some()
        {
            self.arrived.notify_one();
        }
        events
    }

    /// The change that the application's confirmations ask for, if any.
    pub(super) async fn confirmations(&self) -> Vec<Change> {
        let through = self.confirmed.load(Ordering::SeqCst);
        let state = self.state.lock().await;
        let first = state.model().events.first_key_value();
        if first.is_some_and(|(sequence, _)| *sequence <= through) {
            vec![Change::Confirmed { through }]
        } else {
            Vec::new()
        }
    }

    /// Whether more may be taken from the relay.
    pub(super) async fn has_room(&self) -> bool {
        self.state.lock().await.model().events.len() < MAX_UNCONFIRMED
    }

    /// The end: nothing more can come.
    pub(super) fn over(&self, why: Connection) {
        self.connection.send_replace(why);
        self.stop.cancel();
        self.arrived.notify_one();
    }

    /// Says how the relay is reached, unless it is over.
    pub(super) fn reached(&self, connection: Connection) {
        self.connection.send_if_modified(|now| {
            let over = matches!(now, Connection::Refused | Connection::Broken);
            !over && std::mem::replace(now, connection) != connection
        });
    }
}

/// Names of receipts; clones share them.
#[derive(Clone, Default)]
pub(super) struct OnStream(Arc<std::sync::Mutex<HashSet<ReceiptName>>>);

/// A receipt.
pub(super) type ReceiptName = (MessageKey, ReceiptMark);

impl OnStream {
    pub(super) fn names(&self) -> MutexGuard<'_, HashSet<ReceiptName>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Pauses between tries.
pub(super) struct Pace(Backoff);

impl Pace {
    pub(super) fn new() -> Self {
        Self(Backoff::new())
    }

    pub(super) fn reset(&mut self) {
        self.0.reset();
    }

    pub(super) fn next(&mut self) -> std::time::Duration {
        self.0.pause(&mut OsRng.unwrap_err())
    }
}
