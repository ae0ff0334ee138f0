//! What the vault sealed lately for businesses, and the wraps of its content keys. Both are public to this process: neither
//! opens without a key that only the business has.
//!
//! Bounded by count, bytes and age; the oldest goes first.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use sealpost_proto::{envelope::v1::SealedMessage, store::v1::MessageStatus};
use tokio::time::Instant;

use crate::{ids::ContentKeyId, record::MessageKey};

/// How long sealed content is used: well within the life of its content key.
const CONTENT_LIFE: Duration = Duration::from_secs(300);
const MOST_CONTENTS: usize = 16_384;
const MOST_CONTENT_BYTES: usize = 64 * 1024 * 1024;
/// A header is some 200 bytes.
const MOST_HEADERS: usize = 262_144;

/// A wrap is asked for as long as its content key may be in use.
const WRAP_LIFE: Duration = Duration::from_secs(2 * 3600);
const MOST_WRAPS: usize = 8192;
const MOST_WRAP_BYTES: usize = 16 * 1024 * 1024;

/// Content sealed lately, by message.
pub struct Contents(Mutex<Recent<MessageKey, (ContentKeyId, SealedMessage)>>);

impl Default for Contents {
    fn default() -> Self {
        Self(Mutex::new(Recent::new(
            CONTENT_LIFE,
            MOST_CONTENTS,
            MOST_CONTENT_BYTES,
        )))
    }
}

impl Contents {
    /// Keeps what was sealed under a content key for a message.
    pub fn keep(&self, message: MessageKey, key: ContentKeyId, sealed: SealedMessage) {
        let size = sealed.header.len() + sealed.body.len();
        let mut recent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        recent.keep(message, (key, sealed), size, Instant::now());
    }

    /// What is kept for a message, once: whoever asks for it again could perhaps not open it, and the same would not open again.
    #[must_use]
    pub fn take(&self, message: &MessageKey) -> Option<(ContentKeyId, SealedMessage)> {
        let mut recent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        recent.take(message, Instant::now())
    }
}

/// Headers for the events of statuses, by message, as the vault sealed them when it admitted the message.
pub struct StatusHeaders(Mutex<Recent<MessageKey, StatusHeader>>);

struct StatusHeader {
    key: ContentKeyId,
    sealed: SealedMessage,
    /// A bit for each status that it was given for.
    given: u32,
}

impl Default for StatusHeaders {
    fn default() -> Self {
        Self(Mutex::new(Recent::new(
            CONTENT_LIFE,
            MOST_HEADERS,
            MOST_CONTENT_BYTES,
        )))
    }
}

impl StatusHeaders {
    /// Keeps what was sealed under a content key for a message.
    pub fn keep(&self, message: MessageKey, key: ContentKeyId, sealed: SealedMessage) {
        let size = sealed.header.len() + sealed.body.len();
        let header = StatusHeader {
            key,
            sealed,
            given: 0,
        };
        let mut recent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        recent.keep(message, header, size, Instant::now());
    }

    /// What is kept for a message, once for each status: whoever asks for it again could perhaps not open it, and the same would not
    /// open again.
    #[must_use]
    pub fn give(
        &self,
        message: &MessageKey,
        status: MessageStatus,
    ) -> Option<(ContentKeyId, SealedMessage)> {
        let bit = 1u32.checked_shl(status as u32)?;
        let mut recent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let header = recent.find_mut(message, Instant::now())?;
        if header.given & bit != 0 {
            return None;
        }
        header.given |= bit;
        Some((header.key, header.sealed.clone()))
    }
}

/// Wraps, by content key.
pub struct Wraps(Mutex<Recent<ContentKeyId, Bytes>>);

impl Default for Wraps {
    fn default() -> Self {
        Self(Mutex::new(Recent::new(
            WRAP_LIFE,
            MOST_WRAPS,
            MOST_WRAP_BYTES,
        )))
    }
}

impl Wraps {
    /// Keeps a wrap; an empty one is none.
    pub fn keep(&self, key: ContentKeyId, wrap: Bytes) {
        if wrap.is_empty() {
            return;
        }
        let size = wrap.len();
        let mut recent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        recent.keep(key, wrap, size, Instant::now());
    }

    /// The wrap of a content key.
    #[must_use]
    pub fn find(&self, key: &ContentKeyId) -> Option<Bytes> {
        let recent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        recent.find(key, Instant::now()).cloned()
    }
}

/// The newest so many.
struct Recent<K, V> {
    life: Duration,
    most: usize,
    most_bytes: usize,
    bytes: usize,
    kept: HashMap<K, Kept<V>>,
    /// Oldest first; an entry whose serial is not its key's is past.
    order: VecDeque<(u64, K)>,
    serial: u64,
}

struct Kept<V> {
    serial: u64,
    at: Instant,
    size: usize,
    value: V,
}

impl<K: Clone + Eq + Hash, V> Recent<K, V> {
    fn new(life: Duration, most: usize, most_bytes: usize) -> Self {
        Self {
            life,
            most,
            most_bytes,
            bytes: 0,
            kept: HashMap::new(),
            order: VecDeque::new(),
            serial: 0,
        }
    }

    fn keep(&mut self, key: K, value: V, size: usize, now: Instant) {
        self.serial += 1;
        let kept = Kept {
            serial: self.serial,
            at: now,
            size,
            value,
        };
        self.bytes += size;
        self.order.push_back((self.serial, key.clone()));
        if let Some(before) = self.kept.insert(key, kept) {
            self.bytes -= before.size;
        }
        while self.order.len() > self.most
            || self.bytes > self.most_bytes
            || self.oldest_is_past(now)
        {
            self.drop_oldest();
        }
    }

    fn find(&self, key: &K, now: Instant) -> Option<&V> {
        let kept = self.kept.get(key)?;
        (now.saturating_duration_since(kept.at) < self.life).then_some(&kept.value)
    }

    fn find_mut(&mut self, key: &K, now: Instant) -> Option<&mut V> {
        let kept = self.kept.get_mut(key)?;
        (now.saturating_duration_since(kept.at) < self.life).then_some(&mut kept.value)
    }

    fn take(&mut self, key: &K, now: Instant) -> Option<V> {
        let kept = self.kept.remove(key)?;
        self.bytes -= kept.size;
        (now.saturating_duration_since(kept.at) < self.life).then_some(kept.value)
    }

    fn oldest_is_past(&self, now: Instant) -> bool {
        let Some((serial, key)) = self.order.front() else {
            return false;
        };
        match self.kept.get(key) {
            Some(kept) if kept.serial == *serial => {
                now.saturating_duration_since(kept.at) >= self.life
            }
            _ => true,
        }
    }

    fn drop_oldest(&mut self) {
        let Some((serial, key)) = self.order.pop_front() else {
            return;
        };
        if self
            .kept
            .get(&key)
            .is_some_and(|kept| kept.serial == serial)
            && let Some(kept) = self.kept.remove(&key)
        {
            self.bytes -= kept.size;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::ids::{MessageId, PhoneNumberId};

    const LIFE: Duration = Duration::from_secs(10);

    #[test]
    fn the_oldest_goes_when_there_are_too_many_or_too_large() {
        let (mut recent, now) = (Recent::new(LIFE, 3, 100), Instant::now());
        for key in 0..4 {
            recent.keep(key, (), 10, now);
        }
        assert!(recent.find(&0, now).is_none() && recent.find(&1, now).is_some());
        recent.keep(9, (), 85, now);
        assert!(recent.find(&2, now).is_none() && recent.find(&3, now).is_some());
        assert_eq!(recent.bytes, 95);
    }

    #[test]
    fn what_is_too_old_is_not_found_and_goes() {
        let (mut recent, now) = (Recent::new(LIFE, 3, 100), Instant::now());
        recent.keep(1, (), 10, now);
        assert!(recent.find(&1, now + LIFE).is_none());
        recent.keep(2, (), 10, now + LIFE);
        assert_eq!((recent.kept.len(), recent.bytes), (1, 10));
    }

    #[test]
    fn what_is_taken_is_gone_and_may_be_kept_again() {
        let (mut recent, now) = (Recent::new(LIFE, 3, 100), Instant::now());
        recent.keep(1, "first", 10, now);
        assert_eq!(recent.take(&1, now), Some("first"));
        assert_eq!((recent.take(&1, now), recent.bytes), (None, 0));
        recent.keep(1, "again", 20, now);
        assert_eq!((recent.find(&1, now), recent.bytes), (Some(&"again"), 20));
        assert_eq!(recent.take(&1, now + LIFE), None);
    }

    #[test]
    fn a_status_header_is_given_once_for_each_status() {
        let headers = StatusHeaders::default();
        let number = PhoneNumberId::parse("1").unwrap();
        let message = (number, MessageId::parse(&[7; 16]).unwrap());
        let key = ContentKeyId::parse(&[1; 16]).unwrap();
        headers.keep(message.clone(), key, SealedMessage::default());
        let given = |status| headers.give(&message, status).is_some();
        assert!(given(MessageStatus::Sent) && given(MessageStatus::Delivered));
        assert!(!given(MessageStatus::Sent) && !given(MessageStatus::Delivered));
        assert!(given(MessageStatus::Read));
    }

    #[test]
    fn what_is_kept_again_counts_once() {
        let (mut recent, now) = (Recent::new(LIFE, 3, 100), Instant::now());
        for size in [10, 20, 30] {
            recent.keep(1, (), size, now);
        }
        assert_eq!((recent.kept.len(), recent.bytes), (1, 30));
        recent.keep(2, (), 10, now);
        recent.keep(3, (), 10, now);
        assert!(recent.find(&1, now).is_some() || recent.order.len() <= 3);
        assert!(recent.find(&3, now).is_some());
    }
}
