//! Collects from the relay, over one stream that is opened anew when it breaks, and runs what it brought.
//!
//! Gateways side by side share what waits: the relay gives each conversation to one of them at a time. Where it gives one anew
//! because a stream broke, two may work on the same item; each ends it before it begins the next, so the order holds.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sealpost_failpoints::failpoint;
use sealpost_proto::{
    relay::v1::{CollectRequest, CollectResponse, Inbound, inbound::Item},
    vault::v1::ConfirmItem,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::sleep,
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{Status, Streaming};

use super::{Context, Handled, acknowledgements::Acknowledgements, handle, kind_of};
use crate::{
    backoff::{Backoff, Patience},
    conversations::{Added, Conversations, Turn},
    ids::{Peer, PhoneNumberId},
    meters,
};

/// A number, and a consumer of it; no consumer for what is about the number itself.
type Correspondent = (PhoneNumberId, Option<Peer>);

type Queues = Conversations<Correspondent, u64, Waiting>;

/// Something from the relay, not yet done.
struct Waiting {
    item: Item,
    _place: OwnedSemaphorePermit,
}

/// The collector; clones share it.
#[derive(Clone)]
pub struct Collector {
    inner: Arc<Inner>,
}

struct Inner {
    context: Context,
    /// What the relay calls this gateway.
    name: String,
    queues: Mutex<Queues>,
    acknowledgements: Acknowledgements,
    places: Arc<Semaphore>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Collector {
    /// As `name`, with at most `places` items in memory; `tasks` waits for those under way at the end.
    #[must_use]
    pub fn new(
        context: Context,
        name: &str,
        places: usize,
        tasks: TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                context,
                name: name.to_owned(),
                queues: Mutex::default(),
                acknowledgements: Acknowledgements::default(),
                places: Arc::new(Semaphore::new(places.min(Semaphore::MAX_PERMITS))),
                tasks,
                stop,
            }),
        }
    }

    /// Collects until stopped.
    pub async fn run(self) {
        let mut patience = Patience::new(Backoff::LINK);
        loop {
            let collected = tokio::select! {
                () = self.inner.stop.cancelled() => return,
                collected = self.collect(&mut patience) => collected,
            };
            if let Err(status) = collected {
                let code = status.code().description();
                tracing::warn!(code, "collecting from the relay broke off");
            }
            tokio::select! {
                () = self.inner.stop.cancelled() => return,
                () = sleep(patience.next_delay()) => {}
            }
        }
    }

    /// One stream, to its end.
    async fn collect(&self, patience: &mut Patience) -> Result<(), Status> {
        let (requests, stream) = mpsc::channel(4);
        let opening = CollectRequest {
            collector: self.inner.name.clone(),
            acknowledge: Vec::new(),
        };
        // There is room for it.
        let _ = requests.send(opening).await;
        let mut relay = self.inner.context.peers.relay.client.clone();
        let answers = relay
            .collect(ReceiverStream::new(stream))
            .await?
            .into_inner();
        tokio::select! {
            ended = self.read(answers, patience) => ended,
            () = self.acknowledge(requests) => Ok(()),
        }
    }

    async fn read(
        &self,
        mut answers: Streaming<CollectResponse>,
        patience: &mut Patience,
    ) -> Result<(), Status> {
        while let Some(answer) = answers.message().await? {
            patience.reset();
            for item in answer.items {
                // No place: the relay waits, and so do the consumers' devices.
                let Ok(place) = self.inner.places.clone().acquire_owned().await else {
                    return Ok(());
                };
                self.take(item, place);
            }
        }
        Ok(())
    }

    async fn acknowledge(&self, requests: mpsc::Sender<CollectRequest>) {
        loop {
            // An id that a broken stream loses comes again with its item, which is then a repeat.
            let acknowledge = self.inner.acknowledgements.next().await;
            let said = CollectRequest {
                acknowledge,
                collector: String::new(),
            };
            if requests.send(said).await.is_err() {
                return;
            }
            failpoint!("collect.acknowledged");
        }
    }

    fn take(&self, inbound: Inbound, place: OwnedSemaphorePermit) {
        let queue_id = inbound.queue_id;
        let Some((correspondent, item)) = read(inbound) else {
            tracing::warn!(
                reason = "INBOUND_MALFORMED",
                "the relay sent what cannot be read"
            );
            meters::inbound("malformed", "dropped");
            self.inner.acknowledgements.add(queue_id);
            return;
        };
        let waiting = Waiting {
            item,
            _place: place,
        };
        let added = self
            .queues()
            .add(correspondent, queue_id, queue_id, waiting);
        if let Added::Starts(turn) = added {
            self.inner.tasks.spawn(self.clone().converse(turn));
        }
    }

    /// Runs one consumer's items, one after another.
    async fn converse(self, mut turn: Turn<Correspondent, u64, Waiting>) {
        loop {
            let Some(confirm) = self.carry(&turn).await else {
                return;
            };
            self.inner.acknowledgements.add(turn.id);
            if let Some(item) = confirm {
                // A confirmation that does not arrive is made up for by the sweep of pending records.
                let _ = self.inner.context.peers.vault.confirm.call(item).await;
                failpoint!("inbound.confirmed");
            }
            let next = self.queues().finish(&turn.key, &turn.id);
            match next {
                Some(next) if !self.inner.stop.is_cancelled() => turn = next,
                _ => return,
            }
        }
    }

    /// Tries until it is done, and answers what the vault may forget. None: the gateway stops first, and the relay still
    /// has the item.
    async fn carry(&self, turn: &Turn<Correspondent, u64, Waiting>) -> Option<Option<ConfirmItem>> {
        let mut patience = Patience::new(Backoff::CONVERSATION);
        let (number, _) = &turn.key;
        let kind = kind_of(&turn.item.item);
        loop {
            match handle(&self.inner.context, number, &turn.item.item).await {
                Handled::Done(outcome) => {
                    meters::inbound(kind, outcome);
                    return Some(None);
                }
                Handled::Kept(confirm) => {
                    meters::inbound(kind, "kept");
                    return Some(Some(confirm));
                }
                Handled::Again(cause) => meters::inbound_retried(cause),
            }
            tokio::select! {
                () = self.inner.stop.cancelled() => return None,
                () = sleep(patience.next_delay()) => {}
            }
        }
    }

    fn queues(&self) -> MutexGuard<'_, Queues> {
        self.inner
            .queues
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whom an item is about, when its names are of their shape.
fn read(inbound: Inbound) -> Option<(Correspondent, Item)> {
    let number = PhoneNumberId::parse(&inbound.phone_number_id).ok()?;
    let item = inbound.item?;
    let (peer, device_id) = match &item {
        Item::Envelope(envelope) => (&envelope.peer, Some(envelope.device_id)),
        Item::Receipt(receipt) => (&receipt.peer, None),
        Item::Retry(retry) => (&retry.peer, Some(retry.device_id)),
        Item::PrekeysLow(_) => return Some(((number, None), item)),
    };
    if device_id.is_some_and(|id| !(1..=127).contains(&id)) {
        return None;
    }
    let peer = Peer::parse(peer).ok()?;
    Some(((number, Some(peer)), item))
}
