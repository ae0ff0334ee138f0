//! Runs the conversations: the shell around [`crate::conversations`].
//!
//! Each conversation with something to do has one task, so that one message of it is under way at a time while batches form
//! across conversations. Memory is bounded by places, taken before a message is admitted.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sealpost_runtime::Timestamp;
use tokio_util::task::TaskTracker;

use super::{Addressed, Delivery, Place, Places};
use crate::{
    conversations::{Added, Conversations, Turn},
    meters,
    peers::Store,
    record::{Conversation, MessageKey, Outbound},
};

/// A message that the store keeps, on its way to the relay.
pub struct Accepted {
    /// Its record.
    pub outbound: Outbound,
    /// The store that keeps it.
    pub store: Arc<Store>,
    /// The attempt under way; 0 the first time.
    pub attempt: u32,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// What the vault encrypted when it admitted the message, if it did.
    pub addressed: Option<Addressed>,
    /// Its room in memory.
    pub place: Place,
}

type Queues = Conversations<Conversation, MessageKey, Accepted>;

/// The conversations; clones share them.
#[derive(Clone)]
pub struct Dispatcher {
    inner: Arc<Inner>,
}

struct Inner {
    queues: Mutex<Queues>,
    places: Places,
    delivery: Delivery,
    tasks: TaskTracker,
}

impl Dispatcher {
    /// With room for `places` accepted messages; `tasks` waits for its conversations at the end.
    #[must_use]
    pub fn new(delivery: Delivery, places: usize, tasks: TaskTracker) -> Self {
        Self {
            inner: Arc::new(Inner {
                queues: Mutex::default(),
                places: Places::new(places),
                delivery,
                tasks,
            }),
        }
    }

    /// Room for accepted messages.
    #[must_use]
    pub fn places(&self) -> &Places {
        &self.inner.places
    }

    /// Takes a kept message into its conversation. False: it is here already.
    pub fn take(&self, message: Accepted) -> bool {
        let (key, id) = (message.outbound.conversation(), message.outbound.key());
        let place = message.outbound.record.sequence;
        let added = {
            let mut queues = self.queues();
            let added = queues.add(key, id, place, message);
            meters::queued(queues.len());
            added
        };
        match added {
            Added::Known => false,
            Added::Waits => true,
            Added::Starts(turn) => {
                let conversation = self.clone().converse(turn);
                self.inner.tasks.spawn(conversation);
                true
            }
        }
    }

    /// Whether a message waits here or is under way.
    #[must_use]
    pub fn knows(&self, message: &MessageKey) -> bool {
        self.queues().is_known(message)
    }

    /// Call before reading leases from a store, and drop when they are taken: what ends in between is not taken again.
    #[must_use]
    pub fn recall(&self) -> Recall<'_> {
        self.queues().begin_recall();
        Recall { dispatcher: self }
    }

    async fn converse(self, mut turn: Turn<Conversation, MessageKey, Accepted>) {
        loop {
            let ended = self.inner.delivery.deliver(&mut turn.item).await;
            // The gateway stops: what is left stands in the store, and the next start takes it.
            if !ended || self.inner.delivery.stop.is_cancelled() {
                return;
            }
            self.inner.places.left();
            let next = {
                let mut queues = self.queues();
                let next = queues.finish(&turn.key, &turn.id);
                meters::queued(queues.len());
                next
            };
            match next {
                Some(next) => turn = next,
                None => return,
            }
        }
    }

    fn queues(&self) -> MutexGuard<'_, Queues> {
        self.inner
            .queues
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// A recall under way.
pub struct Recall<'a> {
    dispatcher: &'a Dispatcher,
}

impl Drop for Recall<'_> {
    fn drop(&mut self) {
        self.dispatcher.queues().end_recall();
    }
}
