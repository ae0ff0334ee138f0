//! What waits for one device, on its stream.

use std::{sync::Arc, time::Duration};

use futures::Stream;
use sealpost_proto::relay::v1::{DeviceEnvelope, EnvelopeRequest, ReceiveResponse};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::{
    Relay, RelayError,
    datastore::Waiting,
    delivery::{Queue, deliver},
    hub::QueueName,
    ids::{DeviceIdentity, HolderId},
};

/// Serves the queue of `device`.
///
/// A newer stream of the device ends this one when both are in this process. Elsewhere both get what waits until the older
/// connection is found dead: a device drops what it has had before.
///
/// # Errors
/// `DeviceUnknown` when it was replaced meanwhile.
pub(super) async fn start(
    relay: Arc<Relay>,
    device: DeviceIdentity,
    acknowledgements: impl Stream<Item = Result<Vec<u64>, Status>> + Send + Unpin + 'static,
    stop: CancellationToken,
) -> Result<ReceiverStream<Result<ReceiveResponse, Status>>, RelayError> {
    let holder = device.holder;
    // First the seat, then the look: a registration that comes between them is seen by the one or by the other.
    let seat = relay.hub.sit(QueueName::Device(holder));
    relay.datastore.check_device(holder).await?;
    Ok(deliver(
        DeviceQueue {
            relay,
            holder,
            sent: 0,
        },
        seat,
        acknowledgements,
        stop,
    ))
}

pub(super) struct DeviceQueue {
    relay: Arc<Relay>,
    holder: HolderId,
    /// The last queue id that was sent; ids only grow, in the order of commits.
    sent: i64,
}

impl Queue for DeviceQueue {
    type Page = ReceiveResponse;

    /// A device that another replica replaced hears of it so late, though it gets nothing any more.
    const EVERY: Duration = Duration::from_secs(15);

    async fn page(&mut self, room: usize) -> Result<(Vec<i64>, ReceiveResponse), RelayError> {
        let now = self.relay.now();
        let waiting = self
            .relay
            .datastore
            .waiting(self.holder, self.sent, room, now)
            .await?;
        let ids: Vec<_> = waiting.iter().map(|waiting| waiting.queue_id).collect();
        self.sent = ids.last().copied().unwrap_or(self.sent);
        let (requests, envelopes): (Vec<_>, Vec<_>) =
            waiting.into_iter().partition(Waiting::is_request);
        let page = ReceiveResponse {
            envelopes: envelopes.into_iter().map(Into::into).collect(),
            requests: requests.into_iter().map(Into::into).collect(),
        };
        Ok((ids, page))
    }

    async fn acknowledge(&mut self, ids: Vec<i64>) -> Result<(), RelayError> {
        self.relay.datastore.forget_waiting(self.holder, ids).await
    }

    async fn keep(&mut self) -> Result<(), RelayError> {
        self.relay.datastore.check_device(self.holder).await
    }

    async fn leave(self) {}
}

impl From<Waiting> for DeviceEnvelope {
    fn from(waiting: Waiting) -> Self {
        Self {
            queue_id: waiting.queue_id.unsigned_abs(),
            phone_number_id: waiting.number.as_str().to_owned(),
            message_id: waiting.message.as_bytes().to_vec().into(),
            attempt: waiting.attempt,
            r#type: waiting.kind,
            ciphertext: waiting.ciphertext,
            received_at_ms: waiting.received_at.unsigned_abs(),
            category: waiting.category,
        }
    }
}

impl From<Waiting> for EnvelopeRequest {
    fn from(waiting: Waiting) -> Self {
        Self {
            queue_id: waiting.queue_id.unsigned_abs(),
            phone_number_id: waiting.number.as_str().to_owned(),
            envelope_id: waiting.message.as_bytes().to_vec().into(),
            failed_attempt: waiting.attempt,
        }
    }
}
