//! From the gateway into the queue.
//!
//! Invariant: an event is acknowledged only after the transaction that keeps it, and that it came, was committed. A crash before
//! brings it again, and it is then recognised.

use std::{sync::Arc, time::Duration};

use sealpost_connector_sdk::{Delivery, EventStream, Incoming};
use sealpost_failpoints::failpoint;
use sealpost_runtime::Clock;
use tokio::{sync::Notify, time::sleep};
use tokio_util::sync::CancellationToken;

use crate::{
    queue::{Arrival, Queue},
    webhook::Account,
};

/// Events in one transaction.
const BATCH: usize = 256;
/// After trouble with the database.
const TROUBLE: Duration = Duration::from_secs(1);

/// The task between gateway and queue.
pub struct Intake {
    /// The events.
    pub events: EventStream,
    /// Where they go.
    pub queue: Queue,
    /// What webhooks say of the business.
    pub account: Account,
    /// What time it is.
    pub clock: Clock,
    /// Notified when something was queued.
    pub wake: Arc<Notify>,
}

impl Intake {
    /// Takes events until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            let batch = tokio::select! {
                () = stop.cancelled() => return,
                batch = self.events.next_batch(BATCH) => batch,
            };
            if batch.is_empty() {
                return;
            }
            let kept = tokio::select! {
                () = stop.cancelled() => false,
                () = self.keep(&batch) => true,
            };
            if !kept {
                return;
            }
            for delivery in batch {
                delivery.ack.done();
            }
            failpoint!("events.acknowledged");
            self.wake.notify_one();
        }
    }

    /// Tries until it is kept: there is nothing better to do with an event.
    async fn keep(&self, batch: &[Delivery]) {
        loop {
            let arrivals = batch
                .iter()
                .filter_map(|delivery| self.arrival(&delivery.incoming))
                .collect();
            match self.queue.keep(arrivals, self.clock.now()).await {
                Ok(fresh) => {
                    metrics::counter!("sealpost_connector_events_total").increment(fresh as u64);
                    return;
                }
                Err(error) => tracing::error!(%error, "events cannot be queued"),
            }
            sleep(TROUBLE).await;
        }
    }

    fn arrival(&self, incoming: &Incoming) -> Option<Arrival> {
        let key = self.queue.key();
        match incoming {
            Incoming::Message(message) => {
                let (number, id) = (&message.phone_number_id, message.message_id);
                Some(Arrival {
                    once: Some(key.message(&message.replay_key())),
                    sender: Some((key.sender(number, id), message.peer.clone())),
                    callback: None,
                    conversation: key.conversation(number, Some(&message.peer), None),
                    body: self.account.message(message),
                })
            }
            Incoming::Status(update) => {
                let (number, id) = (&update.phone_number_id, update.message_id);
                Some(Arrival {
                    once: Some(key.status(number, id, update.status)),
                    sender: None,
                    callback: Some(key.callback(number, id)),
                    conversation: key.conversation(number, update.peer.as_ref(), Some(id)),
                    body: self.account.status(update),
                })
            }
            Incoming::IdentityChange(change) => Some(Arrival {
                once: None,
                sender: None,
                callback: None,
                conversation: key.conversation(
                    &change.phone_number_id,
                    change.peer.as_ref(),
                    change.message_id,
                ),
                body: self.account.identity_change(change),
            }),
            // The SDK has said so in the log and the metrics; there is nothing to tell the app.
            Incoming::Warning(_) => None,
        }
    }
}
