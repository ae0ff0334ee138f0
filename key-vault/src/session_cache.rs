//! Conversations between two batches: what a vault worked on last, open in memory, so that the next batch need not read it.
//!
//! Owns who works on a conversation now, and which ones stay at hand. Knows neither rows nor messages. Invariants: a conversation is
//! in one batch at a time; what is kept is exactly what a committed transaction left, in a shard that was this vault's at the time;
//! whoever takes it out and does not put it back has dropped it. Writing is guarded by row versions all the same: a conversation
//! that another vault moved on meanwhile costs its items a second try, never a message key used twice.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use lru::LruCache;
use sealpost_envelope::NumberId;
use tokio::sync::Notify;

use crate::{
    conversation::Conversation,
    shards::{Shard, View},
    subject::SubjectId,
};

/// Which conversation; also the order in which rows are read and written.
pub(crate) type Key = (NumberId, SubjectId);

/// Conversations at hand.
pub(crate) struct SessionCache {
    inner: Mutex<Inner>,
    /// Some that were out are back.
    back: Notify,
    /// Bytes to keep at most, as [`Conversation::weight`] counts them.
    most: usize,
}

struct Inner {
    kept: LruCache<Key, Kept>,
    /// Sum of the weights.
    weight: usize,
    /// In a batch now.
    out: BTreeSet<Key>,
    /// What batches wait for, in the order in which they came.
    waiting: BTreeMap<u64, Arc<BTreeSet<Key>>>,
    /// Batches that ever waited.
    waited: u64,
    /// Moved by [`SessionCache::clear`]: what was taken out before it is not kept.
    generation: u64,
}

/// A conversation, and the lease under which it was written.
pub(crate) struct Kept {
    pub(crate) conversation: Conversation,
    pub(crate) shard: Shard,
    pub(crate) token: u64,
}

impl SessionCache {
    /// An empty one that keeps up to `most` bytes.
    pub(crate) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            inner: Mutex::new(Inner {
                kept: LruCache::unbounded(),
                weight: 0,
                out: BTreeSet::new(),
                waiting: BTreeMap::new(),
                waited: 0,
                generation: 0,
            }),
            back: Notify::new(),
            most,
        })
    }

    /// Takes all of `keys` for one batch, once no other batch has one of them and none that came before waits for one; and those that
    /// are at hand and were kept under a lease that still stands in `view`.
    pub(crate) async fn check_out(
        self: &Arc<Self>,
        keys: BTreeSet<Key>,
        view: &View,
    ) -> (CheckedOut, BTreeMap<Key, Conversation>) {
        let keys = Arc::new(keys);
        let mut turn = None;
        loop {
            let back = self.back.notified();
            tokio::pin!(back);
            // Registered before the look, so that no return in between is missed.
            back.as_mut().enable();
            let number = turn.as_ref().map(|turn: &Turn| turn.number);
            let taken = self.inner().take(number, &keys, view);
            if let Some((found, generation)) = taken {
                let hits = found.len();
                metrics::counter!("sealpost_vault_session_cache_total", "outcome" => "hit")
                    .increment(hits as u64);
                metrics::counter!("sealpost_vault_session_cache_total", "outcome" => "miss")
                    .increment((keys.len() - hits) as u64);
                let checked_out = CheckedOut {
                    cache: self.clone(),
                    keys,
                    generation,
                };
                return (checked_out, found);
            }
            turn.get_or_insert_with(|| Turn::new(self.clone(), keys.clone()));
            back.await;
        }
    }

    /// Drops everything: rows were deleted outside of any conversation's work.
    pub(crate) fn clear(&self) {
        let mut inner = self.inner();
        inner.kept.clear();
        inner.weight = 0;
        inner.generation += 1;
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// What is at hand, and of which generation; none while one of them is out.
    fn take(
        &mut self,
        turn: Option<u64>,
        keys: &BTreeSet<Key>,
        view: &View,
    ) -> Option<(BTreeMap<Key, Conversation>, u64)> {
        let before = self.waiting.range(..turn.unwrap_or(u64::MAX));
        let mut awaited = before.map(|(_, earlier)| earlier);
        if !keys.is_disjoint(&self.out) || awaited.any(|earlier| !keys.is_disjoint(earlier)) {
            return None;
        }
        let mut found = BTreeMap::new();
        for key in keys {
            self.out.insert(key.clone());
            if let Some(kept) = self.remove(key)
                && view.token(kept.shard) == Some(kept.token)
            {
                found.insert(key.clone(), kept.conversation);
            }
        }
        Some((found, self.generation))
    }

    fn remove(&mut self, key: &Key) -> Option<Kept> {
        let kept = self.kept.pop(key)?;
        self.weight -= kept.conversation.weight();
        Some(kept)
    }

    fn keep(&mut self, key: Key, kept: Kept, most: usize) {
        self.weight += kept.conversation.weight();
        if let Some(before) = self.kept.put(key, kept) {
            self.weight -= before.conversation.weight();
        }
        while self.weight > most {
            let Some((_, last)) = self.kept.pop_lru() else {
                break;
            };
            self.weight -= last.conversation.weight();
        }
    }
}

/// The place of a batch among those that wait.
struct Turn {
    cache: Arc<SessionCache>,
    number: u64,
}

impl Turn {
    fn new(cache: Arc<SessionCache>, keys: Arc<BTreeSet<Key>>) -> Self {
        let mut inner = cache.inner();
        inner.waited += 1;
        let number = inner.waited;
        inner.waiting.insert(number, keys);
        drop(inner);
        Self { cache, number }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.cache.inner().waiting.remove(&self.number);
        // Those behind it may go, whether it had its turn or gave up.
        self.cache.back.notify_waiters();
    }
}

/// Conversations that one batch has to itself until this is dropped.
pub(crate) struct CheckedOut {
    cache: Arc<SessionCache>,
    keys: Arc<BTreeSet<Key>>,
    generation: u64,
}

impl CheckedOut {
    /// Puts back what a committed transaction left.
    pub(crate) fn keep(self, conversations: impl IntoIterator<Item = (Key, Kept)>) {
        let most = self.cache.most;
        let mut inner = self.cache.inner();
        if inner.generation == self.generation {
            for (key, kept) in conversations {
                inner.keep(key, kept, most);
            }
            metrics::gauge!("sealpost_vault_session_cache_bytes").set(inner.weight as f64);
        }
    }
}

impl Drop for CheckedOut {
    fn drop(&mut self) {
        let mut inner = self.cache.inner();
        for key in self.keys.iter() {
            inner.out.remove(key);
        }
        drop(inner);
        self.cache.back.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use sealpost_envelope::OsEntropy;
    use tokio::time::timeout;

    use super::*;
    use crate::{
        number::tests::number,
        shards::{Holdings, Lease},
    };

    fn key(byte: u8) -> Key {
        (NumberId::new("1065").unwrap(), SubjectId([byte; 16]))
    }

    fn shard() -> Shard {
        Shard::new(5).unwrap()
    }

    fn view(token: u64) -> View {
        let mut holdings = Holdings::default();
        let holder = "us".to_owned();
        holdings.put(shard(), Lease { holder, token });
        View {
            holdings,
            name: "us".to_owned(),
        }
    }

    fn kept(byte: u8, token: u64) -> (Key, Kept) {
        let number = Arc::new(number("1065"));
        let id = SubjectId([byte; 16]);
        let conversation = Conversation::begin(number, id, &mut OsEntropy).unwrap();
        let kept = Kept {
            conversation,
            shard: shard(),
            token,
        };
        (key(byte), kept)
    }

    async fn found(cache: &Arc<SessionCache>, byte: u8, token: u64) -> bool {
        let (_, found) = cache.check_out([key(byte)].into(), &view(token)).await;
        !found.is_empty()
    }

    async fn put(cache: &Arc<SessionCache>, byte: u8, token: u64) {
        let (out, _) = cache.check_out([key(byte)].into(), &view(token)).await;
        out.keep([kept(byte, token)]);
    }

    #[tokio::test]
    async fn what_is_put_back_is_at_hand_and_what_is_dropped_is_not() {
        let cache = SessionCache::new(1 << 20);
        put(&cache, 1, 7).await;
        // Taken out, and dropped.
        assert!(found(&cache, 1, 7).await);
        assert!(!found(&cache, 1, 7).await);
    }

    #[tokio::test]
    async fn nothing_of_an_earlier_lease_is_at_hand() {
        let cache = SessionCache::new(1 << 20);
        put(&cache, 1, 7).await;
        assert!(!found(&cache, 1, 8).await);
    }

    #[tokio::test]
    async fn nothing_that_was_out_when_the_cache_was_cleared_is_kept() {
        let cache = SessionCache::new(1 << 20);
        let (out, _) = cache.check_out([key(1)].into(), &view(7)).await;
        cache.clear();
        out.keep([kept(1, 7)]);
        assert!(!found(&cache, 1, 7).await);
    }

    #[tokio::test]
    async fn a_conversation_is_in_one_batch_at_a_time() {
        let cache = SessionCache::new(1 << 20);
        let (first, _) = cache.check_out([key(1), key(2)].into(), &view(7)).await;
        let second = {
            let cache = cache.clone();
            tokio::spawn(async move { found(&cache, 2, 7).await })
        };
        // Another conversation does not wait.
        assert!(!found(&cache, 3, 7).await);
        tokio::task::yield_now().await;
        assert!(!second.is_finished());
        first.keep([kept(2, 7)]);
        let second = timeout(Duration::from_secs(5), second).await;
        assert!(second.unwrap().unwrap());
    }

    /// Batches that share a conversation with it come one after another and would never leave all of its own free at once.
    #[tokio::test]
    async fn a_batch_that_waits_has_its_turn_before_those_that_come_after_it() {
        let cache = SessionCache::new(1 << 20);
        let (mut one, _) = cache.check_out([key(1)].into(), &view(7)).await;
        let (mut other, _) = cache.check_out([key(2)].into(), &view(7)).await;
        let both = {
            let cache = cache.clone();
            tokio::spawn(async move { cache.check_out([key(1), key(2)].into(), &view(7)).await.0 })
        };
        tokio::task::yield_now().await;
        let again = |byte: u8| {
            let cache = cache.clone();
            tokio::spawn(async move { cache.check_out([key(byte)].into(), &view(7)).await.0 })
        };
        // Each comes before the other is free.
        let (first, second) = (again(1), again(2));
        tokio::task::yield_now().await;
        drop(one);
        tokio::task::yield_now().await;
        assert!(!first.is_finished(), "it overtook the batch that waits");
        drop(other);
        let both = timeout(Duration::from_secs(5), both).await.unwrap();
        assert!(!first.is_finished() && !second.is_finished());
        drop(both.unwrap());
        one = timeout(Duration::from_secs(5), first)
            .await
            .unwrap()
            .unwrap();
        other = timeout(Duration::from_secs(5), second)
            .await
            .unwrap()
            .unwrap();
        drop((one, other));
        // Who gives up holds nobody back.
        let (out, _) = cache.check_out([key(1)].into(), &view(7)).await;
        let given_up = again(1);
        tokio::task::yield_now().await;
        given_up.abort();
        let _ = given_up.await;
        drop(out);
        assert!(cache.inner().waiting.is_empty());
        assert!(
            !timeout(Duration::from_secs(5), found(&cache, 1, 7))
                .await
                .unwrap()
        );
    }

    #[tokio::test]
    async fn the_least_used_goes_when_there_is_no_room() {
        let weight = kept(1, 7).1.conversation.weight();
        let cache = SessionCache::new(2 * weight);
        for byte in [1, 2, 3] {
            put(&cache, byte, 7).await;
        }
        assert!(!found(&cache, 1, 7).await);
        assert!(found(&cache, 2, 7).await);
        assert!(found(&cache, 3, 7).await);
        let inner = cache.inner();
        assert_eq!((inner.weight, inner.kept.len()), (0, 0));
    }
}
