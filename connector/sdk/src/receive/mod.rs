//! Receiving: events of a subscription, opened, each with its acknowledgement.
//!
//! Invariant: an event is acknowledged to the gateway only when it and every event before it of the same number were
//! [`Ack::done`], or were dropped as repeats of such.

mod incoming;
mod ledger;
mod open;
mod seen;
mod subscription;

use std::sync::Arc;

use sealpost_envelope::NumberId;
use tokio::sync::mpsc;

use crate::{BusinessKeys, SdkError, gateway::Gateway, vault_keys::VaultKeys};

pub use incoming::{IdentityChange, Incoming, Message, Refusal, StatusUpdate, Warning};
pub use seen::{CallerRemembers, RecentlySeen, ReplayKey, Seen};

use subscription::Task;

const MAX_NAME_LEN: usize = 64;
const MAX_UNACKNOWLEDGED: u32 = 1024;

/// Which events, and how.
#[derive(Clone)]
pub struct Subscription {
    name: String,
    numbers: Vec<NumberId>,
    max_unacknowledged: u32,
    seen: Arc<dyn Seen>,
}

impl Subscription {
    /// All pinned numbers under this name, 1 to 64 of `[a-z0-9._-]`; repeats are remembered in memory.
    ///
    /// # Errors
    /// For another name.
    pub fn new(name: impl Into<String>) -> Result<Self, SdkError> {
        let name = name.into();
        let is_allowed =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
        if name.is_empty() || name.len() > MAX_NAME_LEN || !name.bytes().all(is_allowed) {
            return Err(SdkError::Subscription);
        }
        Ok(Self {
            name,
            numbers: Vec::new(),
            max_unacknowledged: 1024,
            seen: Arc::new(RecentlySeen::default()),
        })
    }

    /// Only these numbers.
    #[must_use]
    pub fn numbers(mut self, numbers: Vec<NumberId>) -> Self {
        self.numbers = numbers;
        self
    }

    /// Events that may be out unacknowledged, 1 to 1,024.
    #[must_use]
    pub fn max_unacknowledged(mut self, count: u32) -> Self {
        self.max_unacknowledged = count.clamp(1, MAX_UNACKNOWLEDGED);
        self
    }

    /// Another memory of repeated messages; see [`Seen`].
    #[must_use]
    pub fn seen(mut self, seen: Arc<dyn Seen>) -> Self {
        self.seen = seen;
        self
    }
}

/// Starts the task behind a stream.
pub(crate) fn subscribe(
    mut subscription: Subscription,
    gateway: Gateway,
    keys: Arc<BusinessKeys>,
    vaults: Arc<VaultKeys>,
) -> Result<EventStream, SdkError> {
    if subscription.numbers.is_empty() {
        subscription.numbers = vaults.numbers().cloned().collect();
    }
    // An empty list would mean every number of the token to the gateway.
    if subscription.numbers.is_empty() {
        return Err(SdkError::Subscription);
    }
    let is_pinned = |number| vaults.numbers().any(|pinned| pinned == number);
    if !subscription.numbers.iter().all(is_pinned) {
        return Err(SdkError::UnknownNumber);
    }
    let (deliveries, events) = mpsc::channel(MAX_UNACKNOWLEDGED as usize);
    let (done, acknowledged) = mpsc::unbounded_channel();
    let task = Task::new(subscription, gateway, keys, vaults, deliveries, done);
    tokio::spawn(task.run(acknowledged));
    Ok(EventStream { events })
}

/// Opened events. It reconnects by itself; dropping it ends the subscription's stream, not its cursor.
#[derive(Debug)]
pub struct EventStream {
    events: mpsc::Receiver<Delivery>,
}

impl EventStream {
    /// The next event. A dropped future loses none.
    pub async fn next(&mut self) -> Option<Delivery> {
        self.events.recv().await
    }

    /// Waits for an event and takes up to `most` of those that are there; empty at the end.
    pub async fn next_batch(&mut self, most: usize) -> Vec<Delivery> {
        let mut batch = Vec::new();
        self.events.recv_many(&mut batch, most).await;
        batch
    }
}

/// An event and its acknowledgement.
#[derive(Debug)]
pub struct Delivery {
    /// What happened.
    pub incoming: Incoming,
    /// Says that it is safely kept. Without it the event comes again after a restart, and holds back later ones.
    pub ack: Ack,
}

/// The acknowledgement of one event.
#[derive(Debug)]
#[must_use = "an event that is never done comes again"]
pub struct Ack {
    place: Option<(NumberId, u64)>,
    done: mpsc::UnboundedSender<(NumberId, u64)>,
}

impl Ack {
    /// The event is safely kept. In any order; the gateway hears of it when all before it are done too.
    pub fn done(self) {
        if let Some(place) = self.place {
            // With the task gone there is nobody to tell: the event comes again.
            let _ = self.done.send(place);
        }
    }

    /// The event's place among those of its number; none for a warning that belongs to no event.
    #[must_use]
    pub fn cursor(&self) -> Option<u64> {
        self.place.as_ref().map(|(_, cursor)| *cursor)
    }
}
