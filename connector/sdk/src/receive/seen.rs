//! The memory of messages that came, against a gateway that replays them.

use std::{
    collections::{HashSet, VecDeque},
    sync::{Mutex, PoisonError},
};

use sealpost_envelope::{Direction, MessageId, NumberId, Peer};

/// Messages remembered by [`RecentlySeen`] unless told otherwise; about 100 bytes each.
const REMEMBERED: usize = 65_536;

/// What tells a message from every other, taken from its authenticated header.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ReplayKey {
    /// The number.
    pub number: NumberId,
    /// The consumer.
    pub peer: Peer,
    /// Which way.
    pub direction: Direction,
    /// The message.
    pub message_id: MessageId,
}

/// Tells new messages from repeats.
///
/// A message is asked about when it is handed out, before the app has kept it. So an app that must not see repeats after a crash
/// either passes [`CallerRemembers`] and remembers [`super::Message::replay_key`] itself, in the transaction that keeps the message.
pub trait Seen: Send + Sync + 'static {
    /// Whether the message was never asked about before; remembers it.
    fn is_new(&self, key: &ReplayKey) -> bool;
}

/// Remembers the latest messages, in memory.
#[derive(Debug)]
pub struct RecentlySeen {
    capacity: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    known: HashSet<ReplayKey>,
    by_age: VecDeque<ReplayKey>,
}

impl RecentlySeen {
    /// Remembers this many.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self {
            capacity: capacity.max(1),
            state: Mutex::default(),
        }
    }
}

impl Default for RecentlySeen {
    fn default() -> Self {
        Self::with_capacity(REMEMBERED)
    }
}

impl Seen for RecentlySeen {
    fn is_new(&self, key: &ReplayKey) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !state.known.insert(key.clone()) {
            return false;
        }
        state.by_age.push_back(key.clone());
        if state.by_age.len() > self.capacity
            && let Some(oldest) = state.by_age.pop_front()
        {
            state.known.remove(&oldest);
        }
        true
    }
}

/// Hands every message out: the app drops repeats itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct CallerRemembers;

impl Seen for CallerRemembers {
    fn is_new(&self, _key: &ReplayKey) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn key(id: u8) -> ReplayKey {
        ReplayKey {
            number: "1".parse().unwrap(),
            peer: Peer::new("15551234567").unwrap(),
            direction: Direction::Inbound,
            message_id: MessageId::from_bytes([id; 16]),
        }
    }

    #[test]
    fn a_repeat_is_known_and_its_like_is_not() {
        let seen = RecentlySeen::default();
        assert!(seen.is_new(&key(1)));
        assert!(!seen.is_new(&key(1)));
        let mut other = key(1);
        other.peer = Peer::new("15557654321").unwrap();
        assert!(seen.is_new(&other));
    }

    #[test]
    fn the_oldest_is_forgotten_first() {
        let seen = RecentlySeen::with_capacity(2);
        assert!(seen.is_new(&key(1)) && seen.is_new(&key(2)) && seen.is_new(&key(3)));
        assert!(!seen.is_new(&key(2)) && !seen.is_new(&key(3)));
        assert!(seen.is_new(&key(1)));
    }
}
