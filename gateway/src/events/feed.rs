//! Which numbers have new events: one watch on each store, told to every stream that asked for the number.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use sealpost_proto::store::v1::WatchEventsRequest;
use tokio::{sync::Notify, time::sleep};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::{
    backoff::{Backoff, Patience},
    ids::PhoneNumberId,
    peers::Store,
};

/// The newest cursor of every number, and who wants to know.
#[derive(Debug, Default)]
pub struct Feed {
    numbers: Mutex<HashMap<PhoneNumberId, Number>>,
}

#[derive(Debug, Default)]
struct Number {
    newest: u64,
    listeners: Vec<Weak<Ear>>,
}

#[derive(Debug, Default)]
struct Ear {
    /// The newest cursors not yet heard.
    news: Mutex<BTreeMap<PhoneNumberId, u64>>,
    heard: Notify,
}

/// One stream's ear.
#[derive(Debug, Default)]
pub struct Listener {
    ear: Arc<Ear>,
}

impl Listener {
    /// Waits for news, and takes it.
    pub async fn news(&self) -> BTreeMap<PhoneNumberId, u64> {
        loop {
            let news = {
                let mut news = self.ear.news.lock().unwrap_or_else(PoisonError::into_inner);
                std::mem::take(&mut *news)
            };
            if !news.is_empty() {
                return news;
            }
            self.ear.heard.notified().await;
        }
    }
}

impl Feed {
    /// From now on `listener` hears of `number`; answers the newest cursor known, 0 when none is.
    pub fn listen(&self, listener: &Listener, number: &PhoneNumberId) -> u64 {
        let mut numbers = self.numbers();
        let entry = numbers.entry(number.clone()).or_default();
        entry.listeners.retain(|ear| ear.strong_count() > 0);
        entry.listeners.push(Arc::downgrade(&listener.ear));
        entry.newest
    }

    /// A number has events up to `newest`.
    pub fn tell(&self, number: &PhoneNumberId, newest: u64) {
        let mut numbers = self.numbers();
        let entry = numbers.entry(number.clone()).or_default();
        entry.newest = entry.newest.max(newest);
        entry.listeners.retain(|ear| {
            let Some(ear) = ear.upgrade() else {
                return false;
            };
            let mut news = ear.news.lock().unwrap_or_else(PoisonError::into_inner);
            news.insert(number.clone(), newest);
            drop(news);
            ear.heard.notify_one();
            true
        });
    }

    fn numbers(&self) -> MutexGuard<'_, HashMap<PhoneNumberId, Number>> {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Watches one store until `stop`.
pub async fn watch_events(store: Arc<Store>, feed: Arc<Feed>, stop: CancellationToken) {
    let mut patience = Patience::new(Backoff::LINK);
    loop {
        let watched = tokio::select! {
            () = stop.cancelled() => return,
            watched = watch(&store, &feed, &mut patience) => watched,
        };
        if let Err(status) = watched {
            let code = status.code().description();
            tracing::warn!(code, "watching the store's events broke off");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(patience.next_delay()) => {}
        }
    }
}

async fn watch(store: &Store, feed: &Feed, patience: &mut Patience) -> Result<(), Status> {
    let mut client = store.client.clone();
    let mut news = client
        .watch_events(WatchEventsRequest {})
        .await?
        .into_inner();
    while let Some(some) = news.message().await? {
        patience.reset();
        for cursor in some.cursors {
            if let Ok(number) = PhoneNumberId::parse(&cursor.phone_number_id) {
                feed.tell(&number, cursor.cursor);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[tokio::test]
    async fn a_listener_hears_of_its_numbers_only_and_of_the_newest() {
        let (feed, listener) = (Feed::default(), Listener::default());
        let (one, two) = (
            PhoneNumberId::parse("1").unwrap(),
            PhoneNumberId::parse("2").unwrap(),
        );
        feed.tell(&one, 3);
        assert_eq!(feed.listen(&listener, &one), 3);
        feed.tell(&two, 9);
        feed.tell(&one, 4);
        feed.tell(&one, 5);
        assert_eq!(listener.news().await, BTreeMap::from([(one, 5)]));
    }

    #[test]
    fn a_listener_that_is_gone_is_forgotten() {
        let feed = Feed::default();
        let one = PhoneNumberId::parse("1").unwrap();
        feed.listen(&Listener::default(), &one);
        feed.tell(&one, 1);
        assert!(feed.numbers()[&one].listeners.is_empty());
    }
}
