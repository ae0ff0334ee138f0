//! What waits for one device, on its stream.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::Stream;
use sealpost_proto::relay::v1::{
    DeviceEnvelope, EnvelopeRequest, ReceiptOutcome, ReceiveRequest, ReceiveResponse,
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::{
    Relay, RelayError,
    datastore::{PAGE_BYTES, Queued, Said, Waiting},
    delivery::{Accepted, Looked, Queue, deliver},
    hub::Handed,
    ids::DeviceIdentity,
    validate,
};

/// Outcomes that may wait for a device to read them; one that says more ends its stream.
const MOST_OUTCOMES: usize = 16 * validate::MAX_ITEMS + validate::MAX_ITEMS;

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
    said: impl Stream<Item = Result<ReceiveRequest, Status>> + Send + Unpin + 'static,
    stop: CancellationToken,
) -> Result<ReceiverStream<Result<ReceiveResponse, Status>>, RelayError> {
    // First the seat, then the look: a registration that comes between them is seen by the one or by the other.
    let seat = relay.hub.sit_device(device.holder);
    relay.datastore.check_device(device.holder).await?;
    let queue = DeviceQueue {
        relay,
        device,
        sent: 0,
        outcomes: Vec::new(),
    };
    Ok(deliver(queue, seat, said, stop))
}

pub(super) struct DeviceQueue {
    relay: Arc<Relay>,
    device: DeviceIdentity,
    /// The last queue id that was sent; ids only grow, in the order of commits.
    sent: i64,
    /// What became of receipts, to be told with the next answer.
    outcomes: Vec<ReceiptOutcome>,
}

impl DeviceQueue {
    /// An answer that tells of receipts too.
    fn answer(&mut self, waiting: Vec<Waiting>) -> ReceiveResponse {
        let (requests, envelopes): (Vec<_>, Vec<_>) =
            waiting.into_iter().partition(Waiting::is_request);
        let outcomes = std::mem::take(&mut self.outcomes);
        ReceiveResponse {
            takes_receipts: !envelopes.is_empty(),
            envelopes: envelopes.into_iter().map(Into::into).collect(),
            requests: requests.into_iter().map(Into::into).collect(),
            receipts: outcomes.into_iter().map(Into::into).collect(),
        }
    }
}

impl Queue for DeviceQueue {
    type Page = ReceiveResponse;
    type Handed = Queued;
    type Said = ReceiveRequest;

    /// A device that another replica replaced hears of it so late, though it gets nothing any more.
    const EVERY: Duration = Duration::from_secs(15);

    /// What comes right after what was sent is sent; behind a gap, the tables are looked at.
    fn accept(&mut self, mut handed: Vec<Queued>, room: usize) -> Accepted<ReceiveResponse> {
        handed.sort_by_key(|one| one.waiting.queue_id);
        let (mut next, mut look) = (Vec::with_capacity(handed.len()), false);
        for one in handed {
            if one.waiting.queue_id <= self.sent {
                continue;
            }
            look = self.sent < one.after || next.len() == room;
            if look {
                break;
            }
            self.sent = one.waiting.queue_id;
            next.push(one.waiting);
        }
        let ids: Vec<_> = next.iter().map(|waiting| waiting.queue_id).collect();
        let any = !ids.is_empty() || !self.outcomes.is_empty();
        Accepted {
            room: room - ids.len(),
            page: any.then(|| self.answer(next)),
            ids,
            look,
        }
    }

    async fn page(&mut self, room: usize) -> Result<Looked<ReceiveResponse>, RelayError> {
        let now = self.relay.now();
        let holder = self.device.holder;
        let waiting = self.relay.datastore.waiting(holder, self.sent, room, now);
        let waiting = waiting.await?;
        let ids: Vec<_> = waiting.iter().map(|waiting| waiting.queue_id).collect();
        self.sent = ids.last().copied().unwrap_or(self.sent);
        let bytes: usize = waiting.iter().map(|one| one.ciphertext.len()).sum();
        Ok(Looked {
            more: ids.len() == room || bytes >= PAGE_BYTES,
            ids,
            page: self.answer(waiting),
        })
    }

    fn kept(said: &mut ReceiveRequest) -> Vec<u64> {
        std::mem::take(&mut said.acknowledge)
    }

    async fn hear(
        &mut self,
        kept: Vec<i64>,
        said: Vec<ReceiveRequest>,
        _: usize,
    ) -> Result<Option<Looked<ReceiveResponse>>, RelayError> {
        let mut receipts = Vec::new();
        for said in said {
            receipts.extend(validate::receipts(&said.receipts)?);
        }
        if self.outcomes.len() + receipts.len() > MOST_OUTCOMES {
            return Err(RelayError::malformed("receipts", "are not to be told of"));
        }
        if !kept.is_empty() || !receipts.is_empty() {
            let said = Said::on_stream(self.device.clone(), kept, receipts);
            self.outcomes.extend(self.relay.hear(said).await?);
        }
        Ok(None)
    }

    async fn keep(&mut self) -> Result<(), RelayError> {
        self.relay.datastore.check_device(self.device.holder).await
    }

    async fn leave(self) {}
}

impl Handed for Queued {
    fn ciphertext(&mut self) -> Option<&mut Bytes> {
        Some(&mut self.waiting.ciphertext)
    }
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
