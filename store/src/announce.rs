//! Announcements: which numbers have new events.
//!
//! In this process only, and only after a commit. Losing one is harmless: a listener that falls behind reads the heads anew.

use std::collections::BTreeMap;

use tokio::sync::broadcast;

use crate::ids::PhoneNumberId;

/// Announcements that a slow listener may be behind before it reads the heads anew.
const BACKLOG: usize = 4_096;

/// The newest cursor of each number.
pub type Heads = BTreeMap<PhoneNumberId, u64>;

/// Where new events are announced. Clones share it.
#[derive(Clone, Debug)]
pub struct Announcements {
    sender: broadcast::Sender<(PhoneNumberId, u64)>,
}

impl Announcements {
    pub(crate) fn new() -> Self {
        Self {
            sender: broadcast::Sender::new(BACKLOG),
        }
    }

    /// Hears every announcement from now on.
    #[must_use]
    pub fn listen(&self) -> Listener {
        Listener {
            receiver: self.sender.subscribe(),
        }
    }

    pub(crate) fn publish(&self, heads: Heads) {
        for head in heads {
            // Nobody may be listening.
            let _ = self.sender.send(head);
        }
    }
}

/// Hears announcements.
#[derive(Debug)]
pub struct Listener {
    receiver: broadcast::Receiver<(PhoneNumberId, u64)>,
}

/// What a listener heard.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// These numbers have new events.
    News(Heads),
    /// Some announcements were missed: read the heads anew.
    Missed,
}

impl Listener {
    /// Waits for news and takes all there are, at most `limit` numbers.
    pub async fn hear(&mut self, limit: usize) -> Heard {
        let mut heads = Heads::new();
        match self.receiver.recv().await {
            Ok((number, cursor)) => heads.insert(number, cursor),
            // Closed cannot be while the datastore stands; reading anew is right then, too.
            Err(_) => return Heard::Missed,
        };
        while heads.len() < limit {
            match self.receiver.try_recv() {
                Ok((number, cursor)) => {
                    let newest = heads.entry(number).or_default();
                    *newest = cursor.max(*newest);
                }
                Err(broadcast::error::TryRecvError::Lagged(_)) => return Heard::Missed,
                Err(_) => break,
            }
        }
        Heard::News(heads)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn number(digit: &str) -> PhoneNumberId {
        PhoneNumberId::parse(digit).unwrap()
    }

    #[tokio::test]
    async fn news_of_one_number_arrive_as_its_newest_cursor() {
        let announcements = Announcements::new();
        let mut listener = announcements.listen();
        announcements.publish(Heads::from([(number("1"), 1), (number("2"), 5)]));
        announcements.publish(Heads::from([(number("1"), 2)]));
        let heard = listener.hear(10).await;
        assert_eq!(
            heard,
            Heard::News(Heads::from([(number("1"), 2), (number("2"), 5)]))
        );
    }

    #[tokio::test]
    async fn a_listener_that_falls_behind_is_told() {
        let announcements = Announcements::new();
        let mut listener = announcements.listen();
        for cursor in 0..=BACKLOG as u64 {
            announcements.publish(Heads::from([(number("1"), cursor)]));
        }
        assert_eq!(listener.hear(10).await, Heard::Missed);
    }
}
