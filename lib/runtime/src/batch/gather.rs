//! Work of many callers in one process, done in batches.
//!
//! The same law as on a hop ([`super::BatchLane`]) without one: a batch is whatever queued while the last one was worked on, up to
//! a size; no timers. It makes one transaction of what many streams ask for at the same time.

use std::future::Future;

use tokio::sync::{mpsc, oneshot};

/// A queue before work that is done in batches; clones share it.
pub struct Gather<T, O> {
    queue: mpsc::Sender<(T, oneshot::Sender<O>)>,
}

impl<T, O> Clone for Gather<T, O> {
    fn clone(&self) -> Self {
        Self {
            queue: self.queue.clone(),
        }
    }
}

impl<T: Send + 'static, O: Send + 'static> Gather<T, O> {
    /// Starts the task that calls `work`, which ends when every clone is dropped. `work` gets 1 to `most` items and answers an
    /// outcome for each, in their order; twice as many may queue before callers wait.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[must_use]
    pub fn start<F, W>(most: usize, mut work: W) -> Self
    where
        W: FnMut(Vec<T>) -> F + Send + 'static,
        F: Future<Output = Vec<O>> + Send + 'static,
    {
        let most = most.max(1);
        let (queue, mut entries) = mpsc::channel::<(T, oneshot::Sender<O>)>(most * 2);
        tokio::spawn(async move {
            let mut batch = Vec::with_capacity(most);
            while entries.recv_many(&mut batch, most).await > 0 {
                let (items, replies): (Vec<_>, Vec<_>) = batch.drain(..).unzip();
                // A bug in one batch costs that batch: its callers learn that nobody knows.
                let outcomes = tokio::spawn(work(items)).await.unwrap_or_default();
                for (reply, outcome) in replies.into_iter().zip(outcomes) {
                    // A caller that is gone has chosen not to know.
                    let _ = reply.send(outcome);
                }
            }
        });
        Self { queue }
    }

    /// Queues `item` and waits for its outcome. It is worked on though the caller goes. None: the work
    /// panicked, and whether this item was worked on is not known.
    pub async fn call(&self, item: T) -> Option<O> {
        let (reply, outcome) = oneshot::channel();
        self.queue.send((item, reply)).await.ok()?;
        outcome.await.ok()
    }
}

#[cfg(test)]
mod tests {
    use futures::future::join_all;

    use super::*;

    #[tokio::test]
    async fn what_queued_during_a_batch_is_the_next_and_each_gets_its_own_outcome() {
        let gather = Gather::start(4, |items: Vec<u32>| async move {
            tokio::task::yield_now().await;
            let size = items.len();
            items.into_iter().map(|item| (item * 2, size)).collect()
        });
        let outcomes = join_all((0..9).map(|item| gather.call(item))).await;
        let (doubled, sizes): (Vec<_>, Vec<_>) = outcomes.into_iter().flatten().unzip();
        assert_eq!(doubled, (0..9).map(|item| item * 2).collect::<Vec<_>>());
        assert!(sizes.iter().all(|size| *size <= 4));
        assert!(sizes.iter().any(|size| *size > 1));
    }

    #[tokio::test]
    async fn work_that_panics_answers_nothing_and_the_next_batch_is_done() {
        let gather = Gather::start(1, |items: Vec<u32>| async move {
            assert!(items[0] == 0, "a bug");
            items
        });
        assert_eq!(gather.call(1).await, None);
        assert_eq!(gather.call(0).await, Some(0));
    }
}
