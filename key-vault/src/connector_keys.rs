//! Content keys that connectors have wrapped for us, by number and id.
//!
//! A bounded memory: whoever is missing sends the wrap again. Invariant: a key is given out only while the business's
//! signing key that vouched for it is the registered one.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use sealpost_envelope::{ContentKey, ContentKeyId, KeyId, NumberId};

use crate::custody::Now;

/// About 20 MB; one key serves one sender process for an hour or two.
const CAPACITY: usize = 65_536;

/// The keys at hand.
pub(crate) struct ConnectorKeys {
    capacity: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    keys: HashMap<(NumberId, ContentKeyId), (KeyId, Arc<ContentKey>)>,
    /// Oldest first.
    order: VecDeque<(NumberId, ContentKeyId)>,
}

impl ConnectorKeys {
    pub(crate) fn new() -> Self {
        Self::with_capacity(CAPACITY)
    }

    fn with_capacity(capacity: usize) -> Self {
        Self {
            capacity,
            state: Mutex::default(),
        }
    }

    /// The key of that id, when `sender` vouched for it.
    pub(crate) fn find(
        &self,
        number: &NumberId,
        id: ContentKeyId,
        sender: KeyId,
    ) -> Option<Arc<ContentKey>> {
        let state = self.state();
        let (vouched, key) = state.keys.get(&(number.clone(), id))?;
        (*vouched == sender).then(|| key.clone())
    }

    /// Keeps an opened key; the oldest goes when there are too many.
    pub(crate) fn keep(&self, key: Arc<ContentKey>, sender: KeyId) {
        let name = (key.number().clone(), key.id());
        let mut state = self.state();
        if state.keys.insert(name.clone(), (sender, key)).is_none() {
            state.order.push_back(name);
        }
        while state.order.len() > self.capacity {
            if let Some(oldest) = state.order.pop_front() {
                state.keys.remove(&oldest);
            }
        }
    }

    /// Drops, and so wipes, the keys that are over: what was sealed under them is not to be opened any more by anyone.
    pub(crate) fn forget_ended(&self, now: Now) {
        let mut state = self.state();
        let State { keys, order } = &mut *state;
        keys.retain(|_, (_, key)| now.unix_millis() <= key.validity().not_after());
        order.retain(|name| keys.contains_key(name));
    }

    /// Drops, and so wipes, every key.
    pub(crate) fn clear(&self) {
        *self.state() = State::default();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use sealpost_envelope::{
        HpkeSecretKey, OsEntropy, SigningKey, UnixMillis, Validity, WrapDirection, WrapTerms,
        seal_wrap,
    };
    use sealpost_runtime::Timestamp;

    use super::*;

    fn key(number: &str) -> Arc<ContentKey> {
        let recipient = HpkeSecretKey::generate(&mut OsEntropy).unwrap();
        let sender = SigningKey::generate(&mut OsEntropy).unwrap();
        let validity = Validity::new(UnixMillis(1), UnixMillis(2)).unwrap();
        let terms = WrapTerms::new(
            NumberId::new(number).unwrap(),
            WrapDirection::Outbound,
            validity,
        )
        .unwrap();
        Arc::new(
            seal_wrap(&terms, &sender, recipient.public_key(), &mut OsEntropy)
                .unwrap()
                .0,
        )
    }

    #[test]
    fn a_key_is_found_for_its_number_and_sender_only() {
        let (keys, key) = (ConnectorKeys::new(), key("1"));
        let sender = KeyId::from_bytes([1; 16]);
        keys.keep(key.clone(), sender);
        assert!(keys.find(key.number(), key.id(), sender).is_some());
        assert!(
            keys.find(key.number(), key.id(), KeyId::from_bytes([2; 16]))
                .is_none()
        );
        assert!(
            keys.find(&NumberId::new("2").unwrap(), key.id(), sender)
                .is_none()
        );
    }

    #[test]
    fn a_key_that_is_over_leaves_memory_and_its_place() {
        let keys = ConnectorKeys::with_capacity(1);
        let (sender, key) = (KeyId::from_bytes([1; 16]), key("1"));
        let at = |millis| Now::for_test(Timestamp::from_millis(millis));
        keys.keep(key.clone(), sender);
        keys.forget_ended(at(2));
        assert!(keys.find(key.number(), key.id(), sender).is_some());
        keys.forget_ended(at(3));
        assert!(keys.find(key.number(), key.id(), sender).is_none());
        assert_eq!(Arc::strong_count(&key), 1, "wiped with its last holder");
        keys.keep(key.clone(), sender);
        assert!(keys.find(key.number(), key.id(), sender).is_some());
    }

    #[test]
    fn the_oldest_goes_when_there_are_too_many() {
        let keys = ConnectorKeys::with_capacity(2);
        let sender = KeyId::from_bytes([1; 16]);
        let made = [key("1"), key("1"), key("1")];
        for key in &made {
            keys.keep(key.clone(), sender);
        }
        let found = made
            .iter()
            .map(|key| keys.find(key.number(), key.id(), sender).is_some());
        assert_eq!(found.collect::<Vec<_>>(), [false, true, true]);
    }
}
