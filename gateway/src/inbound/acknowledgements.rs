//! Queue ids that the relay may forget, until a stream takes them to it. They outlive a stream that broke.

use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

/// Ids in one message.
const MOST: usize = 1024;

/// What is to be acknowledged.
#[derive(Debug, Default)]
pub(super) struct Acknowledgements {
    ids: Mutex<Vec<u64>>,
    added: Notify,
}

impl Acknowledgements {
    /// The relay may forget this one.
    pub(super) fn add(&self, id: u64) {
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        ids.push(id);
        drop(ids);
        self.added.notify_one();
    }

    /// Waits for some, and takes them.
    pub(super) async fn next(&self) -> Vec<u64> {
        loop {
            let some: Vec<u64> = {
                let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
                let most = ids.len().min(MOST);
                ids.drain(..most).collect()
            };
            if !some.is_empty() {
                return some;
            }
            self.added.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_added_is_taken_once_and_in_order() {
        let acknowledgements = Acknowledgements::default();
        acknowledgements.add(1);
        acknowledgements.add(2);
        assert_eq!(acknowledgements.next().await, [1, 2]);
        let (third, ()) = tokio::join!(acknowledgements.next(), async {
            acknowledgements.add(3);
        });
        assert_eq!(third, [3]);
    }
}
