//! Whether the gateway can work: vault and store answered, and what was accepted before this start is back in its queues.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use sealpost_runtime::server::Health;
use tokio::{sync::Notify, time::sleep};
use tokio_util::sync::CancellationToken;

/// How often health is said again before everything answered: a face says SERVING by itself when it starts.
const REPEAT: std::time::Duration = std::time::Duration::from_millis(100);

/// Counts what is still missing; clones share it.
#[derive(Clone, Debug)]
pub struct Readiness {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    missing: AtomicUsize,
    changed: Notify,
}

impl Readiness {
    /// Ready once [`Self::one_more`] was called `parts` times.
    #[must_use]
    pub fn of_parts(parts: usize) -> Self {
        Self {
            inner: Arc::new(Inner {
                missing: AtomicUsize::new(parts),
                changed: Notify::new(),
            }),
        }
    }

    /// One more part answered for the first time.
    pub fn one_more(&self) {
        let counted =
            self.inner
                .missing
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |missing| {
                    missing.checked_sub(1)
                });
        debug_assert!(
            counted.is_ok(),
            "a part answers for the first time only once"
        );
        self.inner.changed.notify_waiters();
    }

    /// Whether messages may be accepted.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.inner.missing.load(Ordering::SeqCst) == 0
    }

    /// Waits until it is.
    pub async fn ready(&self) {
        loop {
            let changed = self.inner.changed.notified();
            if self.is_ready() {
                return;
            }
            changed.await;
        }
    }

    /// Says it on every face until it is ready.
    pub async fn report(&self, faces: &[Health], stop: CancellationToken) {
        let ready = loop {
            for face in faces {
                face.set(false).await;
            }
            tokio::select! {
                () = stop.cancelled() => break false,
                () = self.ready() => break true,
                () = sleep(REPEAT) => {}
            }
        };
        if ready {
            tracing::info!("ready");
            for face in faces {
                face.set(true).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_is_ready_when_every_part_answered() {
        let readiness = Readiness::of_parts(2);
        readiness.one_more();
        assert!(!readiness.is_ready());
        let twin = readiness.clone();
        let (_, ()) = tokio::join!(twin.ready(), async { readiness.one_more() });
        assert!(readiness.is_ready());
    }
}
