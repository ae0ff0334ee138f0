//! Which numbers have new events, and which subscriptions were opened anew: one watch on each store, told to every stream that it
//! concerns.

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

/// The newest cursor of every number, and who wants to know; and who has which subscription open.
#[derive(Debug, Default)]
pub struct Feed {
    numbers: Mutex<HashMap<PhoneNumberId, Number>>,
    subscribers: Mutex<HashMap<String, Vec<Weak<Ear>>>>,
}

#[derive(Debug, Default)]
struct Number {
    newest: u64,
    listeners: Vec<Weak<Ear>>,
}

#[derive(Debug, Default)]
struct Ear {
    /// Not yet heard.
    news: Mutex<News>,
    heard: Notify,
}

/// What a stream hears, each by number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct News {
    /// The newest cursors.
    pub cursors: BTreeMap<PhoneNumberId, u64>,
    /// The newest openings of its subscription.
    pub openings: BTreeMap<PhoneNumberId, u64>,
}

impl Ear {
    fn tell(&self, note: impl FnOnce(&mut News)) {
        note(&mut self.news.lock().unwrap_or_else(PoisonError::into_inner));
        self.heard.notify_one();
    }
}

/// One stream's ear.
#[derive(Debug, Default)]
pub struct Listener {
    ear: Arc<Ear>,
}

impl Listener {
    /// Waits for news, and takes it.
    pub async fn news(&self) -> News {
        loop {
            let news = {
                let mut news = self.ear.news.lock().unwrap_or_else(PoisonError::into_inner);
                std::mem::take(&mut *news)
            };
            if news != News::default() {
                return news;
            }
            self.ear.heard.notified().await;
        }
    }
}

impl Feed {
    /// The ear of a stream of `subscription`, by its name in the store: it hears of openings from now on.
    #[must_use]
    pub fn subscribe(&self, subscription: &str) -> Listener {
        let listener = Listener::default();
        let mut subscribers = lock(&self.subscribers);
        subscribers.retain(|_, ears| {
            ears.retain(|ear| ear.strong_count() > 0);
            !ears.is_empty()
        });
        let ears = subscribers.entry(subscription.to_owned()).or_default();
        ears.push(Arc::downgrade(&listener.ear));
        listener
    }

    /// From now on `listener` hears of `number`; answers the newest cursor known, 0 when none is.
    pub fn listen(&self, listener: &Listener, number: &PhoneNumberId) -> u64 {
        let mut numbers = lock(&self.numbers);
        let entry = numbers.entry(number.clone()).or_default();
        entry.listeners.retain(|ear| ear.strong_count() > 0);
        entry.listeners.push(Arc::downgrade(&listener.ear));
        entry.newest
    }

    /// A number has events up to `newest`.
    pub fn tell(&self, number: &PhoneNumberId, newest: u64) {
        let mut numbers = lock(&self.numbers);
        let entry = numbers.entry(number.clone()).or_default();
        entry.newest = entry.newest.max(newest);
        entry.listeners.retain(|ear| {
            let Some(ear) = ear.upgrade() else {
                return false;
            };
            ear.tell(|news| {
                news.cursors.insert(number.clone(), newest);
            });
            true
        });
    }

    /// A subscription was opened on a number, here or elsewhere.
    pub fn opened(&self, subscription: &str, number: &PhoneNumberId, opening: u64) {
        let subscribers = lock(&self.subscribers);
        for ear in subscribers.get(subscription).into_iter().flatten() {
            if let Some(ear) = ear.upgrade() {
                ear.tell(|news| {
                    let newest = news.openings.entry(number.clone()).or_default();
                    *newest = opening.max(*newest);
                });
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
        for opening in some.openings {
            if let Ok(number) = PhoneNumberId::parse(&opening.phone_number_id) {
                feed.opened(&opening.subscription, &number, opening.opening);
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
        let news = listener.news().await;
        assert_eq!(news.cursors, BTreeMap::from([(one, 5)]));
        assert!(news.openings.is_empty());
    }

    #[tokio::test]
    async fn a_stream_hears_of_openings_of_its_own_subscription_only() {
        let feed = Feed::default();
        let listener = feed.subscribe("a/main");
        drop(feed.subscribe("a/gone"));
        let one = PhoneNumberId::parse("1").unwrap();
        feed.opened("a/other", &one, 9);
        feed.opened("a/gone", &one, 8);
        feed.opened("a/main", &one, 7);
        feed.opened("a/main", &one, 6);
        let news = listener.news().await;
        assert_eq!(news.openings, BTreeMap::from([(one, 7)]));
        drop(listener);
        drop(feed.subscribe("a/new"));
        assert_eq!(lock(&feed.subscribers).len(), 1, "who is gone is forgotten");
    }

    #[test]
    fn a_listener_that_is_gone_is_forgotten() {
        let feed = Feed::default();
        let one = PhoneNumberId::parse("1").unwrap();
        feed.listen(&Listener::default(), &one);
        feed.tell(&one, 1);
        assert!(lock(&feed.numbers)[&one].listeners.is_empty());
    }
}
