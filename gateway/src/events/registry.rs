//! Who holds each named subscription: the newest stream does, and the one before it ends.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio_util::sync::CancellationToken;

/// The holders; clones share them.
#[derive(Clone, Default)]
pub struct Registry {
    holders: Arc<Mutex<HashMap<String, Holder>>>,
}

struct Holder {
    serial: u64,
    replaced: CancellationToken,
}

/// A stream's hold on a subscription, until it is dropped or another takes it.
pub struct Tenure {
    registry: Registry,
    name: String,
    serial: u64,
    replaced: CancellationToken,
}

impl Registry {
    /// Takes the subscription `name` over.
    #[must_use]
    pub fn take(&self, name: String) -> Tenure {
        let replaced = CancellationToken::new();
        let mut holders = self.holders();
        let before = holders.remove(&name);
        let serial = before.as_ref().map_or(0, |holder| holder.serial + 1);
        let holder = Holder {
            serial,
            replaced: replaced.clone(),
        };
        holders.insert(name.clone(), holder);
        drop(holders);
        if let Some(before) = before {
            before.replaced.cancel();
        }
        Tenure {
            registry: self.clone(),
            name,
            serial,
            replaced,
        }
    }

    fn holders(&self) -> MutexGuard<'_, HashMap<String, Holder>> {
        self.holders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tenure {
    /// Waits until another stream takes over.
    pub async fn replaced(&self) {
        self.replaced.cancelled().await;
    }
}

impl Drop for Tenure {
    fn drop(&mut self) {
        let mut holders = self.registry.holders();
        if holders
            .get(&self.name)
            .is_some_and(|holder| holder.serial == self.serial)
        {
            holders.remove(&self.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn the_second_stream_takes_over_and_the_first_does_not_end_it() {
        let registry = Registry::default();
        let first = registry.take("a/b".into());
        assert!(first.replaced().now_or_never().is_none());
        let second = registry.take("a/b".into());
        assert!(first.replaced().now_or_never().is_some());
        drop(first);
        assert!(second.replaced().now_or_never().is_none());
        let third = registry.take("a/b".into());
        assert!(second.replaced().now_or_never().is_some());
        drop((second, third));
        assert!(registry.holders().is_empty());
    }

    #[test]
    fn another_name_is_another_subscription() {
        let registry = Registry::default();
        let first = registry.take("a/b".into());
        let _second = registry.take("a/c".into());
        assert!(first.replaced().now_or_never().is_none());
    }
}
