//! Open numbers between two batches.
//!
//! Owns what is at hand of them, and whether a transaction found them so. Invariant: nothing that rests on a number taken from here is
//! answered unless its own transaction saw the number's row at the same version and with the same key.

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroUsize,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use lru::LruCache;
use sealpost_envelope::NumberId;

use crate::number::Number;

/// Numbers at hand, at most.
const MOST: NonZeroUsize = NonZeroUsize::new(16_384).unwrap();

/// Numbers at hand.
pub(crate) struct NumberCache(Mutex<LruCache<NumberId, Arc<Number>>>);

impl Default for NumberCache {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(MOST)))
    }
}

impl NumberCache {
    /// Those of `ids` that are at hand; they are taken out of `ids`.
    pub(crate) fn take<E>(
        &self,
        ids: &mut BTreeSet<NumberId>,
    ) -> BTreeMap<NumberId, Result<Arc<Number>, E>> {
        let mut kept = self.kept();
        let mut found = BTreeMap::new();
        ids.retain(|id| match kept.get(id) {
            Some(number) => {
                found.insert(id.clone(), Ok(number.clone()));
                false
            }
            None => true,
        });
        found
    }

    /// Keeps numbers that were loaded.
    pub(crate) fn keep<E>(&self, numbers: &BTreeMap<NumberId, Result<Arc<Number>, E>>) {
        let mut kept = self.kept();
        for (id, number) in numbers {
            match number {
                Ok(number) => kept.put(id.clone(), number.clone()),
                Err(_) => kept.pop(id),
            };
        }
    }

    /// Forgets a number that is another than it was.
    pub(crate) fn forget(&self, id: &NumberId) {
        self.kept().pop(id);
    }

    /// Forgets all.
    pub(crate) fn clear(&self) {
        self.kept().clear();
    }

    fn kept(&self) -> MutexGuard<'_, LruCache<NumberId, Arc<Number>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
