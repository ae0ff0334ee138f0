//! Turns: one message of a conversation under way at a time, first come first served.
//!
//! A retry must not let the next message of the conversation overtake; conversations do not wait for each other.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex as StdMutex, PoisonError},
};

use sealpost_envelope::{NumberId, Peer};
use tokio::sync::{Mutex, OwnedMutexGuard};

type Conversation = (NumberId, Peer);
type Queues = HashMap<Conversation, Arc<Mutex<()>>>;

#[derive(Clone, Default)]
pub(super) struct Turns {
    queues: Arc<StdMutex<Queues>>,
}

/// The holder may send; its end is the next one's turn.
pub(super) struct Turn {
    turns: Turns,
    conversation: Conversation,
    guard: Option<OwnedMutexGuard<()>>,
}

impl Turns {
    /// Queues when the future is first polled.
    pub(super) async fn take(&self, number: NumberId, peer: Peer) -> Turn {
        let conversation = (number, peer);
        let queue = self.lock().entry(conversation.clone()).or_default().clone();
        // Made first, so that a caller who gives up while waiting leaves no queue behind.
        let mut turn = Turn {
            turns: self.clone(),
            conversation,
            guard: None,
        };
        turn.guard = Some(queue.lock_owned().await);
        turn
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut queues = self.turns.lock();
        self.guard = None;
        // Whoever waits holds the queue too, and queues are only handed out under the lock held here.
        let is_idle = queues
            .get(&self.conversation)
            .is_some_and(|queue| Arc::strong_count(queue) == 1);
        if is_idle {
            queues.remove(&self.conversation);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use futures::poll;

    use super::*;

    fn conversation(peer: &str) -> Conversation {
        ("1".parse().unwrap(), Peer::new(peer).unwrap())
    }

    #[tokio::test]
    async fn a_conversation_goes_one_by_one_and_others_do_not_wait() {
        let turns = Turns::default();
        let (number, peer) = conversation("15551234567");
        let first = turns.take(number.clone(), peer.clone()).await;
        let mut second = Box::pin(turns.take(number.clone(), peer));
        assert!(poll!(&mut second).is_pending());
        let (_, other) = conversation("15557654321");
        drop(turns.take(number, other).await);
        drop(first);
        assert!(poll!(&mut second).is_ready());
    }

    #[tokio::test]
    async fn nothing_is_kept_of_a_conversation_that_is_idle() {
        let turns = Turns::default();
        let (number, peer) = conversation("15551234567");
        let first = turns.take(number.clone(), peer.clone()).await;
        let mut abandoned = Box::pin(turns.take(number, peer));
        assert!(poll!(&mut abandoned).is_pending());
        drop(first);
        drop(abandoned);
        assert!(turns.lock().is_empty());
    }
}
