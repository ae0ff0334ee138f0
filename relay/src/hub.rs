//! Who listens in this process, how they learn that something came, and what is handed to them without a look at the tables.
//!
//! Owns one seat per queue and a bounded tray at each. What lies on a tray is committed, and may be lost from it without harm: the
//! tables have it. A wake says only "look again", so a lost one costs nothing but time, and none is lost. Invariants: a queue has
//! one listener in this process, and a newer one ends the older; the room at a seat, what was offered of it and what its listener
//! has not acknowledged are together a [`WINDOW`].

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use tokio::sync::{Notify, oneshot};

use crate::{
    RelayError,
    datastore::{Collected, Offered, PAGE_BYTES, Queued},
    delivery::WINDOW,
    ids::{CollectorName, HolderId, StreamToken},
};

/// All seats of the process.
#[derive(Default)]
pub(crate) struct Hub {
    devices: Seats<HolderId, (), Queued>,
    collectors: Seats<CollectorName, StreamToken, Collected>,
}

/// What may lie on a tray.
pub(crate) trait Handed {
    /// What of it may be large.
    fn ciphertext(&mut self) -> Option<&mut Bytes>;
}

/// Queues of one kind: `K` names a queue, `N` its listener, and `T` lies on its tray.
struct Seats<K, N, T>(Mutex<HashMap<K, Arc<Place<N, T>>>>);

struct Place<N, T> {
    listener: N,
    wake: Notify,
    tray: Mutex<Tray<T>>,
    end: Mutex<Option<oneshot::Sender<RelayError>>>,
}

/// What a listener finds at its seat.
pub(crate) struct Tray<T> {
    pub(crate) handed: Vec<T>,
    /// The tables have something that was not handed.
    pub(crate) look: bool,
    /// Items that may yet be sent; none but the listener has them while it decides.
    pub(crate) room: usize,
    bytes: usize,
    /// The listener heard of everything up to this place.
    through: i64,
}

impl Hub {
    /// Takes the seat of a device; whoever had it hears [`RelayError::StreamReplaced`].
    pub(crate) fn sit_device(self: &Arc<Self>, device: HolderId) -> Seat<Queued> {
        self.sit(&self.devices, device, (), move |hub, place| {
            hub.devices.stand(&device, place);
        })
    }

    /// Takes the seat of a collector, as above.
    pub(crate) fn sit_collector(
        self: &Arc<Self>,
        collector: CollectorName,
        stream: StreamToken,
    ) -> Seat<Collected> {
        let name = collector.clone();
        self.sit(&self.collectors, collector, stream, move |hub, place| {
            hub.collectors.stand(&name, place);
        })
    }

    fn sit<K, N, T>(
        self: &Arc<Self>,
        seats: &Seats<K, N, T>,
        queue: K,
        listener: N,
        stand: impl Fn(&Hub, &Arc<Place<N, T>>) + Send + Sync + 'static,
    ) -> Seat<T>
    where
        K: Eq + Hash,
        N: Send + Sync + 'static,
        T: Send + 'static,
    {
        let (end, ended) = oneshot::channel();
        let place = Arc::new(Place {
            listener,
            wake: Notify::new(),
            tray: Mutex::default(),
            end: Mutex::new(Some(end)),
        });
        if let Some(before) = lock(&seats.0).insert(queue, place.clone()) {
            metrics::counter!("sealpost_relay_streams_replaced_total").increment(1);
            before.end(RelayError::StreamReplaced);
        }
        let (hub, standing) = (self.clone(), place.clone());
        Seat {
            place,
            ended,
            stand: Box::new(move || stand(&hub, &standing)),
        }
    }

    /// Hands to devices what was committed for them; who has no place for it looks for itself.
    pub(crate) fn hand_devices(&self, queued: Vec<Queued>) {
        let seats = lock(&self.devices.0);
        for one in queued {
            if let Some(place) = seats.get(&one.holder) {
                let mut tray = lock(&place.tray);
                tray.through = tray.through.max(one.waiting.queue_id);
                if tray.handed.len() < WINDOW && tray.bytes < PAGE_BYTES {
                    tray.put(one);
                } else {
                    tray.look = true;
                }
                place.wake.notify_one();
            }
        }
    }

    /// These places were committed for these devices, by whomever.
    pub(crate) fn wake_devices(&self, places: impl IntoIterator<Item = (i64, HolderId)>) {
        let seats = lock(&self.devices.0);
        for (queue_id, device) in places {
            if let Some(place) = seats.get(&device) {
                let mut tray = lock(&place.tray);
                if tray.through < queue_id {
                    (tray.through, tray.look) = (queue_id, true);
                    place.wake.notify_one();
                }
            }
        }
    }

    /// Something was committed for the gateways, or became free.
    pub(crate) fn wake_collectors(&self) {
        for place in lock(&self.collectors.0).values() {
            lock(&place.tray).look = true;
            place.wake.notify_one();
        }
    }

    /// Reserves room for up to `items` at the collector that has the most; none when none has any.
    pub(crate) fn offer(&self, items: usize) -> Option<Offer> {
        let seats = lock(&self.collectors.0);
        let room = |place: &Place<_, _>| {
            let tray = lock(&place.tray);
            if tray.look || tray.bytes >= PAGE_BYTES {
                0
            } else {
                tray.room
            }
        };
        let roomy = seats.iter().map(|(name, place)| (room(place), name, place));
        let (_, collector, place) = roomy.max_by_key(|(room, ..)| *room)?;
        let mut tray = lock(&place.tray);
        let room = tray.room.min(items);
        tray.room -= room;
        drop(tray);
        (room > 0).then(|| Offer {
            offered: Offered {
                collector: collector.clone(),
                stream: place.listener,
                room,
            },
            place: place.clone(),
        })
    }

    /// Ends the listener of a device that is no more.
    pub(crate) fn dismiss(&self, device: HolderId) {
        if let Some(place) = lock(&self.devices.0).remove(&device) {
            place.end(RelayError::DeviceUnknown);
        }
    }
}

/// Room at a collector's seat. Dropped, the room is free again.
pub(crate) struct Offer {
    pub(crate) offered: Offered,
    place: Arc<Place<StreamToken, Collected>>,
}

impl Offer {
    /// Hands what was committed into this collector's hands.
    pub(crate) fn hand(mut self, given: Vec<Collected>) {
        self.offered.room = self.offered.room.saturating_sub(given.len());
        if !given.is_empty() {
            let mut tray = lock(&self.place.tray);
            for one in given {
                tray.put(one);
            }
            drop(tray);
            self.place.wake.notify_one();
        }
    }

    /// Nobody knows what was committed into this collector's hands: its stream must end, so that the others may have it.
    pub(crate) fn lose(self) {
        self.place.end(RelayError::LeaseLapsed);
    }
}

impl Drop for Offer {
    fn drop(&mut self) {
        lock(&self.place.tray).room += self.offered.room;
    }
}

/// A listener's place; it is free again when this is dropped.
pub(crate) struct Seat<T> {
    place: Arc<dyn Listened<T>>,
    ended: oneshot::Receiver<RelayError>,
    stand: Box<dyn Fn() + Send + Sync>,
}

/// A place as its listener has it, whatever it is named by.
trait Listened<T>: Send + Sync {
    fn wake(&self) -> &Notify;
    fn tray(&self) -> MutexGuard<'_, Tray<T>>;
}

impl<N: Send + Sync, T: Send> Listened<T> for Place<N, T> {
    fn wake(&self) -> &Notify {
        &self.wake
    }

    fn tray(&self) -> MutexGuard<'_, Tray<T>> {
        lock(&self.tray)
    }
}

impl<T> Seat<T> {
    /// The wake, which remembers one that came while nobody waited, and the end.
    pub(crate) fn parts(&mut self) -> (&Notify, &mut oneshot::Receiver<RelayError>) {
        (self.place.wake(), &mut self.ended)
    }

    /// Takes what lies on the tray, and all room.
    pub(crate) fn take(&self) -> Tray<T> {
        let mut tray = self.place.tray();
        let through = tray.through;
        std::mem::replace(
            &mut *tray,
            Tray {
                through,
                room: 0,
                ..Tray::default()
            },
        )
    }

    /// Takes all room.
    pub(crate) fn take_room(&self) -> usize {
        std::mem::take(&mut self.place.tray().room)
    }

    /// Gives room back.
    pub(crate) fn free_room(&self, room: usize) {
        self.place.tray().room += room;
    }
}

impl<T> Drop for Seat<T> {
    fn drop(&mut self) {
        (self.stand)();
    }
}

impl<T: Handed> Tray<T> {
    fn put(&mut self, mut one: T) {
        if let Some(ciphertext) = one.ciphertext() {
            self.bytes += ciphertext.len();
            // As it came it may hold a whole request's buffer in memory.
            *ciphertext = Bytes::copy_from_slice(ciphertext);
        }
        self.handed.push(one);
    }
}

impl<T> Default for Tray<T> {
    fn default() -> Self {
        Self {
            handed: Vec::new(),
            look: false,
            room: WINDOW,
            bytes: 0,
            through: 0,
        }
    }
}

impl<N, T> Place<N, T> {
    fn end(&self, reason: RelayError) {
        if let Some(end) = lock(&self.end).take() {
            // A listener that is gone already needs no word.
            let _ = end.send(reason);
        }
    }
}

impl<K: Eq + Hash, N, T> Seats<K, N, T> {
    /// Frees a seat, unless a newer listener has it.
    fn stand(&self, queue: &K, place: &Arc<Place<N, T>>) {
        let mut seats = lock(&self.0);
        if seats
            .get(queue)
            .is_some_and(|taken| Arc::ptr_eq(taken, place))
        {
            seats.remove(queue);
        }
    }
}

impl<K, N, T> Default for Seats<K, N, T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const DEVICE: HolderId = HolderId(1);

    fn collector(name: &str) -> CollectorName {
        CollectorName::parse(name).unwrap()
    }

    #[tokio::test]
    async fn a_newer_listener_ends_the_older_and_keeps_its_seat_when_the_older_leaves() {
        let hub = Arc::new(Hub::default());
        let mut old = hub.sit_device(DEVICE);
        let mut new = hub.sit_device(DEVICE);
        assert!(matches!(
            old.parts().1.await,
            Ok(RelayError::StreamReplaced)
        ));
        drop(old);
        hub.wake_devices([(1, DEVICE)]);
        new.parts().0.notified().await;
        drop(new);
        assert!(lock(&hub.devices.0).is_empty());
    }

    #[tokio::test]
    async fn a_wake_before_the_wait_is_not_lost_and_one_for_what_was_heard_of_is_none() {
        let hub = Arc::new(Hub::default());
        let mut seat = hub.sit_device(DEVICE);
        hub.wake_devices([(5, DEVICE), (6, HolderId(2)), (7, DEVICE)]);
        seat.parts().0.notified().await;
        assert!(seat.take().look);
        hub.wake_devices([(7, DEVICE)]);
        assert!(!seat.take().look);
    }

    #[tokio::test]
    async fn every_collector_hears_of_what_came_and_no_device_does() {
        let hub = Arc::new(Hub::default());
        let mut one = hub.sit_collector(collector("a"), StreamToken(1));
        let mut two = hub.sit_collector(collector("b"), StreamToken(2));
        let device = hub.sit_device(DEVICE);
        hub.wake_collectors();
        one.parts().0.notified().await;
        two.parts().0.notified().await;
        assert!(one.take().look && two.take().look && !device.take().look);
    }

    #[tokio::test]
    async fn a_dismissed_device_hears_that_it_is_unknown() {
        let hub = Arc::new(Hub::default());
        let mut seat = hub.sit_device(DEVICE);
        hub.dismiss(DEVICE);
        assert!(matches!(
            seat.parts().1.await,
            Ok(RelayError::DeviceUnknown)
        ));
    }

    #[tokio::test]
    async fn room_that_is_offered_is_no_more_than_there_is_and_comes_back_when_unused() {
        let hub = Arc::new(Hub::default());
        assert!(hub.offer(1).is_none());
        let seat = hub.sit_collector(collector("a"), StreamToken(1));
        let first = hub.offer(WINDOW - 1).unwrap();
        let second = hub.offer(WINDOW).unwrap();
        assert_eq!((first.offered.room, second.offered.room), (WINDOW - 1, 1));
        assert!(hub.offer(1).is_none());
        drop(first);
        second.hand(Vec::new());
        assert_eq!(seat.take_room(), WINDOW);
        assert!(hub.offer(1).is_none());
    }
}
