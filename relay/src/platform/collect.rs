//! What waits for the gateways, on their streams.
//!
//! Each conversation is in one collector's hands at a time; the streams share the load. Order is per conversation. A collector
//! that lives and acknowledges nothing does not keep what it has from the others for ever.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::Stream;
use sealpost_proto::relay::v1::{CollectResponse, Inbound, inbound::Item};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::{
    Relay, RelayError,
    datastore::Collected,
    delivery::{Accepted, Looked, Queue, deliver},
    hub::Handed,
    ids::{CollectorName, Conversation, StreamToken},
};

/// How long a collector may have something in hand and acknowledge nothing: longer than any of a gateway's own deadlines.
const PATIENCE: Duration = Duration::from_secs(30);

/// Serves what waits for the gateways to `collector`.
///
/// # Errors
/// When the database fails.
pub(super) async fn start(
    relay: Arc<Relay>,
    collector: CollectorName,
    said: impl Stream<Item = Result<Vec<u64>, Status>> + Send + Unpin + 'static,
    stop: CancellationToken,
) -> Result<ReceiverStream<Result<CollectResponse, Status>>, RelayError> {
    let stream = StreamToken::random()?;
    let seat = relay.hub.sit_collector(collector.clone(), stream);
    let now = relay.now();
    let opened = relay
        .datastore
        .collector_open(collector.clone(), stream, now);
    opened.await?;
    let queue = CollectQueue {
        relay,
        collector,
        stream,
        given: HashMap::new(),
        left: HashMap::new(),
        moved_at: Instant::now(),
    };
    Ok(deliver(queue, seat, said, stop))
}

struct CollectQueue {
    relay: Arc<Relay>,
    collector: CollectorName,
    stream: StreamToken,
    /// Of which conversation each item is that was given and not acknowledged.
    given: HashMap<i64, Conversation>,
    /// How many such items each conversation in hand has.
    left: HashMap<Conversation, usize>,
    /// When it was last given something with nothing in hand, or acknowledged something.
    moved_at: Instant,
}

impl CollectQueue {
    fn give(&mut self, one: Collected) -> Inbound {
        *self.left.entry(one.conversation.clone()).or_default() += 1;
        self.given.insert(one.queue_id, one.conversation);
        Inbound {
            queue_id: one.queue_id.unsigned_abs(),
            ..one.inbound
        }
    }

    fn give_all(&mut self, collected: Vec<Collected>) -> (Vec<i64>, CollectResponse) {
        let ids = collected.iter().map(|one| one.queue_id).collect();
        let items = collected.into_iter().map(|one| self.give(one)).collect();
        (ids, CollectResponse { items })
    }

    fn look(&mut self, (collected, more): (Vec<Collected>, bool)) -> Looked<CollectResponse> {
        let (ids, page) = self.give_all(collected);
        Looked { ids, page, more }
    }

    /// Notes what is done; the conversations of which nothing is left in hand.
    fn done(&mut self, ids: &[i64]) -> Vec<Conversation> {
        let mut done = Vec::new();
        for conversation in ids.iter().filter_map(|id| self.given.remove(id)) {
            let left = self.left.entry(conversation.clone()).or_default();
            *left = left.saturating_sub(1);
            if *left == 0 {
                self.left.remove(&conversation);
                done.push(conversation);
            }
        }
        done
    }
}

impl Queue for CollectQueue {
    type Page = CollectResponse;
    type Handed = Collected;
    type Said = Vec<u64>;

    /// Well within a lease.
    const EVERY: Duration = Duration::from_secs(3);

    /// All of it is in this stream's hands, and its room was reserved.
    fn accept(&mut self, handed: Vec<Collected>, room: usize) -> Accepted<CollectResponse> {
        if self.given.is_empty() {
            self.moved_at = Instant::now();
        }
        let (ids, page) = self.give_all(handed);
        Accepted {
            page: (!ids.is_empty()).then_some(page),
            ids,
            room,
            look: false,
        }
    }

    async fn page(&mut self, room: usize) -> Result<Looked<CollectResponse>, RelayError> {
        if self.given.is_empty() {
            self.moved_at = Instant::now();
        }
        let now = self.relay.now();
        let collector = self.collector.clone();
        let datastore = &self.relay.datastore;
        let collected = datastore.collect(collector, self.stream, room, now).await?;
        Ok(self.look(collected))
    }

    fn kept(said: &mut Vec<u64>) -> Vec<u64> {
        std::mem::take(said)
    }

    async fn hear(
        &mut self,
        kept: Vec<i64>,
        _: Vec<Vec<u64>>,
        room: usize,
    ) -> Result<Option<Looked<CollectResponse>>, RelayError> {
        if kept.is_empty() {
            return Ok(None);
        }
        self.moved_at = Instant::now();
        let done = self.done(&kept);
        let (collector, now) = (self.collector.clone(), self.relay.now());
        let next =
            self.relay
                .datastore
                .forget_collected(kept, done, collector, self.stream, room, now);
        Ok(next.await?.map(|collected| self.look(collected)))
    }

    async fn keep(&mut self) -> Result<(), RelayError> {
        if !self.given.is_empty() && self.moved_at.elapsed() > PATIENCE {
            return Err(RelayError::LeaseLapsed);
        }
        let (collector, now) = (self.collector.clone(), self.relay.now());
        self.relay
            .datastore
            .collector_keep(collector, self.stream, now)
            .await
    }

    async fn leave(self) {
        let closed = self
            .relay
            .datastore
            .collector_close(self.collector, self.stream);
        if let Err(error) = closed.await {
            // Its lease ends all the same.
            let error = &error as &dyn std::error::Error;
            tracing::warn!(
                error,
                "a collector's stream could not be closed in the database"
            );
        }
    }
}

impl Handed for Collected {
    fn ciphertext(&mut self) -> Option<&mut Bytes> {
        match &mut self.inbound.item {
            Some(Item::Envelope(envelope)) => Some(&mut envelope.ciphertext),
            _ => None,
        }
    }
}
