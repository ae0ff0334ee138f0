//! What waits for the gateway, on its stream.
//!
//! One stream at a time gets everything, of every number, in the order of arrival; a new one takes over.

use std::sync::Arc;

use futures::Stream;
use sealpost_proto::relay::v1::{CollectResponse, Inbound};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::{
    Relay, RelayError,
    delivery::{Queue, deliver},
    hub::QueueName,
};

/// Serves the gateway's queue.
pub(super) fn start(
    relay: Arc<Relay>,
    acknowledgements: impl Stream<Item = Result<Vec<u64>, Status>> + Send + Unpin + 'static,
    stop: CancellationToken,
) -> ReceiverStream<Result<CollectResponse, Status>> {
    let seat = relay.hub.sit(QueueName::Collect);
    deliver(CollectQueue { relay }, seat, acknowledgements, stop)
}

struct CollectQueue {
    relay: Arc<Relay>,
}

impl Queue for CollectQueue {
    type Page = CollectResponse;

    async fn page(
        &self,
        after: i64,
        limit: usize,
    ) -> Result<(Vec<i64>, CollectResponse), RelayError> {
        let now = self.relay.now();
        let collected = self.relay.datastore.collected(after, limit, now).await?;
        let ids = collected
            .iter()
            .map(|collected| collected.queue_id)
            .collect();
        let with_id = |(id, inbound): (i64, Inbound)| Inbound {
            queue_id: id.unsigned_abs(),
            ..inbound
        };
        let items = collected
            .into_iter()
            .map(|one| (one.queue_id, one.inbound))
            .map(with_id);
        Ok((
            ids,
            CollectResponse {
                items: items.collect(),
            },
        ))
    }

    async fn acknowledge(&self, ids: Vec<i64>) -> Result<(), RelayError> {
        self.relay.datastore.forget_collected(ids).await
    }
}
