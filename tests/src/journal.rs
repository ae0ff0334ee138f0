//! What somebody saw, in order, and waiting until they saw enough. Works across runtimes: webhooks have one of their own.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

/// An ordered list that others may wait on.
#[derive(Debug)]
pub struct Journal<T> {
    items: Mutex<Vec<T>>,
    length: watch::Sender<usize>,
}

impl<T> Default for Journal<T> {
    fn default() -> Self {
        Self {
            items: Mutex::default(),
            length: watch::Sender::new(0),
        }
    }
}

impl<T: Clone> Journal<T> {
    /// Adds to the end.
    pub fn push(&self, item: T) {
        let mut items = self.lock();
        items.push(item);
        self.length.send_replace(items.len());
    }

    /// Everything so far.
    pub fn all(&self) -> Vec<T> {
        self.lock().clone()
    }

    /// Those that `wanted` finds something in, so far.
    pub fn pick<U>(&self, wanted: impl FnMut(&T) -> Option<U>) -> Vec<U> {
        self.lock().iter().filter_map(wanted).collect()
    }

    /// Waits until `wanted` finds something in an item, old or new: the first such.
    ///
    /// # Errors
    /// When `limit` passes.
    pub async fn find<U>(
        &self,
        what: &str,
        limit: Duration,
        mut wanted: impl FnMut(&T) -> Option<U>,
    ) -> anyhow::Result<U> {
        let mut length = self.length.subscribe();
        let found = timeout(limit, async {
            loop {
                length.mark_unchanged();
                let found = self.lock().iter().find_map(&mut wanted);
                if let Some(found) = found {
                    return found;
                }
                // The sender is this journal: it does not go away.
                let _ = length.changed().await;
            }
        });
        found
            .await
            .map_err(|_| anyhow::anyhow!("{what} did not come within {limit:?}"))
    }

    /// Waits until at least `count` items have what `wanted` looks for, and answers all of those.
    ///
    /// # Errors
    /// When `limit` passes.
    pub async fn at_least<U>(
        &self,
        count: usize,
        what: &str,
        limit: Duration,
        mut wanted: impl FnMut(&T) -> Option<U>,
    ) -> anyhow::Result<Vec<U>> {
        let mut length = self.length.subscribe();
        let mut seen = 0;
        let found = timeout(limit, async {
            loop {
                length.mark_unchanged();
                let found = self.pick(&mut wanted);
                seen = found.len();
                if seen >= count {
                    return found;
                }
                let _ = length.changed().await;
            }
        });
        let found = found.await;
        found.map_err(|_| anyhow::anyhow!("{seen} of {count} {what} came within {limit:?}"))
    }

    fn lock(&self) -> MutexGuard<'_, Vec<T>> {
        self.items.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
