//! The content keys under which the vault seals to businesses: one per number and business, new each hour.
//!
//! Knows no stream: who has seen which wrap is the caller's affair. Invariant: a key is used only towards the business
//! keys that are registered now.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use sealpost_envelope::{
    ContentKey, Entropy, EnvelopeError, KeyId, NumberId, UnixMillis, Validity, WrapDirection,
    WrapTerms, seal_wrap,
};

use crate::{custody::Now, number::Number};

/// A key is used for this long, in milliseconds.
const USED_MS: u64 = 3_600_000;
/// And valid for that long: what was sealed last can still be opened an hour later.
const VALID_MS: u64 = 2 * USED_MS;
/// Numbers remembered at one time.
const CAPACITY: usize = 16_384;

/// A content key of the vault's and the wrap that carries it.
pub(crate) struct OwnKey {
    pub(crate) key: ContentKey,
    pub(crate) wrap: Bytes,
    recipient: KeyId,
}

/// The keys in use.
#[derive(Default)]
pub(crate) struct OwnKeys(Mutex<HashMap<NumberId, Arc<OwnKey>>>);

impl OwnKeys {
    /// The key to seal with now; None when no business keys are registered.
    ///
    /// # Errors
    /// [`EnvelopeError::NoRandomness`].
    pub(crate) fn current(
        &self,
        number: &Number,
        now: Now,
        entropy: &mut dyn Entropy,
    ) -> Result<Option<Arc<OwnKey>>, EnvelopeError> {
        let Some(business) = &number.facts.business else {
            return Ok(None);
        };
        let now = now.unix_millis();
        let recipient = business.hpke.key_id();
        let known = self.keys().get(&number.id).cloned();
        if let Some(key) = known.filter(|key| key.serves(recipient, now)) {
            return Ok(Some(key));
        }
        let validity = Validity::new(now, UnixMillis(now.0.saturating_add(VALID_MS)))?;
        let terms = WrapTerms::new(number.id.clone(), WrapDirection::Inbound, validity)?;
        let (key, wrap) = seal_wrap(&terms, &number.signing, &business.hpke, entropy)?;
        let key = Arc::new(OwnKey {
            key,
            wrap: wrap.into(),
            recipient,
        });
        let mut keys = self.keys();
        if keys.len() >= CAPACITY {
            keys.clear();
        }
        keys.insert(number.id.clone(), key.clone());
        Ok(Some(key))
    }

    /// Drops, and so wipes, the keys that seal nothing more.
    pub(crate) fn forget_ended(&self, now: Now) {
        let now = now.unix_millis();
        self.keys().retain(|_, key| key.serves(key.recipient, now));
    }

    /// Drops, and so wipes, all: each number seals with a fresh one next.
    pub(crate) fn clear(&self) {
        self.keys().clear();
    }

    fn keys(&self) -> MutexGuard<'_, HashMap<NumberId, Arc<OwnKey>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OwnKey {
    fn serves(&self, recipient: KeyId, now: UnixMillis) -> bool {
        let made = self.key.validity().not_before();
        self.recipient == recipient && now >= made && now.0 - made.0 < USED_MS
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use sealpost_envelope::OsEntropy;
    use sealpost_runtime::Timestamp;

    use super::*;
    use crate::number::tests::number;

    #[test]
    fn a_key_serves_for_an_hour_and_then_a_new_one_does() {
        let (keys, number) = (OwnKeys::default(), number("1065"));
        let start = Timestamp::from_secs(1_700_000_000);
        let id = |after_ms| {
            let now = Now::for_test(start + Duration::from_millis(after_ms));
            keys.current(&number, now, &mut OsEntropy)
                .unwrap()
                .unwrap()
                .key
                .id()
        };
        let first = id(0);
        assert_eq!(id(USED_MS - 1), first);
        assert_ne!(id(USED_MS), first);
        keys.forget_ended(Now::for_test(start + Duration::from_millis(USED_MS)));
        assert_eq!(keys.keys().len(), 1);
        keys.forget_ended(Now::for_test(start + Duration::from_millis(2 * USED_MS)));
        assert!(keys.keys().is_empty());
    }

    #[test]
    fn new_business_keys_get_a_new_content_key_at_once_and_none_get_none() {
        let keys = OwnKeys::default();
        let now = Now::for_test(Timestamp::from_secs(1_700_000_000));
        let mut number = number("1065");
        let first = keys.current(&number, now, &mut OsEntropy).unwrap().unwrap();
        number.facts.business = crate::number::tests::number("1065").facts.business;
        let second = keys.current(&number, now, &mut OsEntropy).unwrap().unwrap();
        assert_ne!(first.key.id(), second.key.id());
        number.facts.business = None;
        assert!(
            keys.current(&number, now, &mut OsEntropy)
                .unwrap()
                .is_none()
        );
    }
}
