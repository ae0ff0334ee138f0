//! Who listens in this process, and how they learn that something came.
//!
//! Owns one seat per queue. It holds no message: a wake says only "look again", so a lost one costs nothing but time, and
//! none is lost. Invariant: a queue has one listener in this process; a newer one ends the older.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{Notify, oneshot};

use crate::{
    RelayError,
    ids::{CollectorName, HolderId},
};

/// A queue that can be listened to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum QueueName {
    /// What waits for a device.
    Device(HolderId),
    /// What waits for the gateways, towards one of them.
    Collect(CollectorName),
}

/// All seats of the process.
#[derive(Default)]
pub(crate) struct Hub {
    seats: Mutex<HashMap<QueueName, Taken>>,
}

struct Taken {
    wake: Arc<Notify>,
    end: oneshot::Sender<RelayError>,
}

impl Hub {
    /// Takes the seat of `queue`; whoever had it hears [`RelayError::StreamReplaced`].
    pub(crate) fn sit(self: &Arc<Self>, queue: QueueName) -> Seat {
        let wake = Arc::new(Notify::new());
        let (end, ended) = oneshot::channel();
        let taken = Taken {
            wake: wake.clone(),
            end,
        };
        let before = self.seats().insert(queue.clone(), taken);
        if let Some(before) = before {
            metrics::counter!("sealpost_relay_streams_replaced_total").increment(1);
            // A listener that is gone already needs no word.
            let _ = before.end.send(RelayError::StreamReplaced);
        }
        Seat {
            hub: self.clone(),
            queue,
            wake,
            ended,
        }
    }

    /// Something was committed for these devices.
    pub(crate) fn wake_devices(&self, devices: impl IntoIterator<Item = HolderId>) {
        let seats = self.seats();
        for device in devices {
            if let Some(taken) = seats.get(&QueueName::Device(device)) {
                taken.wake.notify_one();
            }
        }
    }

    /// Something was committed for the gateways, or became free.
    pub(crate) fn wake_collectors(&self) {
        for (queue, taken) in self.seats().iter() {
            if matches!(queue, QueueName::Collect(_)) {
                taken.wake.notify_one();
            }
        }
    }

    /// Ends the listener of a device that is no more.
    pub(crate) fn dismiss(&self, device: HolderId) {
        if let Some(taken) = self.seats().remove(&QueueName::Device(device)) {
            let _ = taken.end.send(RelayError::DeviceUnknown);
        }
    }

    fn seats(&self) -> MutexGuard<'_, HashMap<QueueName, Taken>> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A listener's place; it is free again when this is dropped.
pub(crate) struct Seat {
    hub: Arc<Hub>,
    queue: QueueName,
    wake: Arc<Notify>,
    ended: oneshot::Receiver<RelayError>,
}

impl Seat {
    /// The wake, which remembers one that came while nobody waited, and the end.
    pub(crate) fn parts(&mut self) -> (&Notify, &mut oneshot::Receiver<RelayError>) {
        (&self.wake, &mut self.ended)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seats = self.hub.seats();
        // A newer listener's seat is not ours to free.
        if seats
            .get(&self.queue)
            .is_some_and(|taken| Arc::ptr_eq(&taken.wake, &self.wake))
        {
            seats.remove(&self.queue);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const DEVICE: HolderId = HolderId(1);

    #[tokio::test]
    async fn a_newer_listener_ends_the_older_and_keeps_its_seat_when_the_older_leaves() {
        let hub = Arc::new(Hub::default());
        let mut old = hub.sit(QueueName::Device(DEVICE));
        let mut new = hub.sit(QueueName::Device(DEVICE));
        assert!(matches!(
            old.parts().1.await,
            Ok(RelayError::StreamReplaced)
        ));
        drop(old);
        hub.wake_devices([DEVICE]);
        new.parts().0.notified().await;
        drop(new);
        assert!(hub.seats().is_empty());
    }

    #[tokio::test]
    async fn a_wake_before_the_wait_is_not_lost() {
        let hub = Arc::new(Hub::default());
        let mut seat = hub.sit(QueueName::Device(DEVICE));
        hub.wake_devices([DEVICE, HolderId(2), DEVICE]);
        seat.parts().0.notified().await;
    }

    #[tokio::test]
    async fn every_collector_hears_of_what_came_and_no_device_does() {
        let hub = Arc::new(Hub::default());
        let collector = |name| QueueName::Collect(CollectorName::parse(name).unwrap());
        let (mut one, mut two) = (hub.sit(collector("a")), hub.sit(collector("b")));
        let mut device = hub.sit(QueueName::Device(DEVICE));
        hub.wake_collectors();
        one.parts().0.notified().await;
        two.parts().0.notified().await;
        hub.wake_devices([DEVICE]);
        device.parts().0.notified().await;
        let again = tokio::time::timeout(
            std::time::Duration::from_millis(10),
            device.parts().0.notified(),
        );
        assert!(again.await.is_err());
    }

    #[tokio::test]
    async fn a_dismissed_device_hears_that_it_is_unknown() {
        let hub = Arc::new(Hub::default());
        let mut seat = hub.sit(QueueName::Device(DEVICE));
        hub.dismiss(DEVICE);
        assert!(matches!(
            seat.parts().1.await,
            Ok(RelayError::DeviceUnknown)
        ));
    }
}
