//! The stream that messages travel on, and which wraps have travelled on it.

use std::{
    collections::HashSet,
    sync::Arc,
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use prost::Message;
use sealpost_envelope::ContentKeyId;
use sealpost_proto::gateway::v1::{
    OutboundMessage, SendOutcome, SendStreamRequest, SendStreamResponse,
};
use sealpost_runtime::batch::Hop;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use crate::{gateway::Gateway, sealing::Sealed};

/// Content keys whose wrap went over the present stream.
#[derive(Default)]
pub(super) struct Wrapped(Mutex<HashSet<ContentKeyId>>);

impl Wrapped {
    /// The vault does not know the key: its wrap goes with the next message under it.
    pub(super) fn forget(&self, key: ContentKeyId) {
        self.lock().remove(&key);
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<ContentKeyId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) struct SendHop {
    gateway: Gateway,
    wrapped: Arc<Wrapped>,
}

impl SendHop {
    pub(super) fn new(gateway: Gateway, wrapped: Arc<Wrapped>) -> Self {
        Self { gateway, wrapped }
    }
}

impl Hop for SendHop {
    type Item = Sealed;
    type Outcome = SendOutcome;
    type Request = SendStreamRequest;
    type Response = SendStreamResponse;

    async fn open(
        &self,
        requests: ReceiverStream<SendStreamRequest>,
    ) -> Result<Streaming<SendStreamResponse>, Status> {
        self.wrapped.lock().clear();
        let answer = self.gateway.clone().send_stream(requests).await?;
        Ok(answer.into_inner())
    }

    fn request(&self, batch_id: u64, items: Vec<Sealed>) -> SendStreamRequest {
        let mut wrapped = self.wrapped.lock();
        let items = items
            .into_iter()
            .map(|item| OutboundMessage {
                phone_number_id: item.number.as_str().to_owned(),
                message: Some(item.message),
                wrap: if wrapped.insert(item.content_key) {
                    item.wrap
                } else {
                    Bytes::new()
                },
            })
            .collect();
        SendStreamRequest { batch_id, items }
    }

    fn answer(&self, response: SendStreamResponse) -> (u64, Vec<SendOutcome>) {
        (response.batch_id, response.outcomes)
    }

    fn size(&self, item: &Sealed) -> usize {
        // With the wrap, whether or not it will be needed: a bound is all that is asked for.
        item.message.encoded_len() + item.wrap.len() + 64
    }
}
