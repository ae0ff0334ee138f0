//! The hot hops: one lane for each stream of batches to vault, store and relay.
//!
//! Owns how each stream is opened and what its batches look like; order, queues and broken streams are the runtime's.

use std::time::Instant;

use prost::Message;
use sealpost_proto::{
    relay::v1::{
        SubmitItem, SubmitRequest, SubmitResponse, platform_service_client::PlatformServiceClient,
    },
    store::v1::{
        AdvanceStatusItem, AdvanceStatusOutcome, AdvanceStatusRequest, AdvanceStatusResponse,
        AppendInboundItem, AppendInboundOutcome, AppendInboundRequest, AppendInboundResponse,
        AppendOutboundItem, AppendOutboundOutcome, AppendOutboundRequest, AppendOutboundResponse,
        store_service_client::StoreServiceClient,
    },
    vault::v1::{
        AdmitItem, AdmitOutcome, AdmitRequest, AdmitResponse, ConfirmItem, ConfirmOutcome,
        ConfirmRequest, ConfirmResponse, DecryptItem, DecryptOutcome, DecryptRequest,
        DecryptResponse, DeliverItem, DeliverOutcome, DeliverRequest, DeliverResponse, EncryptItem,
        EncryptOutcome, EncryptRequest, EncryptResponse,
        key_vault_service_client::KeyVaultServiceClient,
    },
};
use sealpost_runtime::batch::{BatchLane, Hop, LaneError, LaneSettings, Reply};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming, transport::Channel};

use crate::meters;

/// A lane that measures its round trips.
pub struct Lane<H: Hop> {
    lane: BatchLane<H>,
    name: &'static str,
}

impl<H: Hop> Clone for Lane<H> {
    fn clone(&self) -> Self {
        Self {
            lane: self.lane.clone(),
            name: self.name,
        }
    }
}

impl<H: Hop> Lane<H> {
    /// Starts the lane; it ends after the batch in flight once `stop` is cancelled.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[must_use]
    pub fn start(hop: H, settings: LaneSettings, stop: CancellationToken) -> Self {
        Self {
            lane: BatchLane::start(hop, settings, stop),
            name: settings.name,
        }
    }

    /// Queues `item` and waits for its outcome.
    ///
    /// # Errors
    /// When it has none.
    pub async fn call(&self, item: H::Item) -> Result<H::Outcome, LaneError> {
        self.send(item).await?.outcome().await
    }

    /// Queues `item`. Items sent one after another keep that order.
    ///
    /// # Errors
    /// When the lane is closed.
    pub async fn send(&self, item: H::Item) -> Result<Ticket<H>, LaneError> {
        let started = Instant::now();
        let reply = self.lane.send(item).await?;
        Ok(Ticket {
            reply,
            name: self.name,
            started,
        })
    }
}

/// The outcome to come of a queued item.
#[must_use = "an item whose ticket is dropped may never be sent"]
pub struct Ticket<H: Hop> {
    reply: Reply<H>,
    name: &'static str,
    started: Instant,
}

impl<H: Hop> Ticket<H> {
    /// Waits for the outcome.
    ///
    /// # Errors
    /// When there is none.
    pub async fn outcome(self) -> Result<H::Outcome, LaneError> {
        let outcome = self.reply.outcome().await;
        meters::lane(self.name, self.started.elapsed());
        outcome
    }
}

/// Answers to Admit and Encrypt are many times as large as their items: a ciphertext for each device.
const GROWING_BATCH_BYTES: usize = 256 * 1024;

/// Bounds of a lane whose answers are about as large as its items.
#[must_use]
pub fn settings(name: &'static str) -> LaneSettings {
    LaneSettings::new(name)
}

/// Bounds of a lane whose answers grow with the devices of a consumer.
#[must_use]
pub fn growing(name: &'static str) -> LaneSettings {
    LaneSettings {
        max_bytes: GROWING_BATCH_BYTES,
        ..LaneSettings::new(name)
    }
}

macro_rules! hop {
    ($hop:ident: $client:ident.$method:ident, $item:ty => $outcome:ty, $request:ident => $response:ident) => {
        #[doc = concat!("`", stringify!($client), "::", stringify!($method), "`")]
        pub struct $hop(pub $client<Channel>);

        impl Hop for $hop {
            type Item = $item;
            type Outcome = $outcome;
            type Request = $request;
            type Response = $response;

            async fn open(
                &self,
                requests: ReceiverStream<$request>,
            ) -> Result<Streaming<$response>, Status> {
                Ok(self.0.clone().$method(requests).await?.into_inner())
            }

            fn request(&self, batch_id: u64, items: Vec<$item>) -> $request {
                $request { batch_id, items }
            }

            fn answer(&self, response: $response) -> (u64, Vec<$outcome>) {
                (response.batch_id, response.outcomes)
            }

            fn size(&self, item: &$item) -> usize {
                item.encoded_len()
            }
        }
    };
}

hop!(AdmitHop: KeyVaultServiceClient.admit, AdmitItem => AdmitOutcome, AdmitRequest => AdmitResponse);
hop!(EncryptHop: KeyVaultServiceClient.encrypt, EncryptItem => EncryptOutcome, EncryptRequest => EncryptResponse);
hop!(DecryptHop: KeyVaultServiceClient.decrypt, DecryptItem => DecryptOutcome, DecryptRequest => DecryptResponse);
hop!(ConfirmHop: KeyVaultServiceClient.confirm, ConfirmItem => ConfirmOutcome, ConfirmRequest => ConfirmResponse);
hop!(DeliverHop: KeyVaultServiceClient.deliver, DeliverItem => DeliverOutcome, DeliverRequest => DeliverResponse);
hop!(
    AppendOutboundHop: StoreServiceClient.append_outbound,
    AppendOutboundItem => AppendOutboundOutcome, AppendOutboundRequest => AppendOutboundResponse
);
hop!(
    AppendInboundHop: StoreServiceClient.append_inbound,
    AppendInboundItem => AppendInboundOutcome, AppendInboundRequest => AppendInboundResponse
);
hop!(
    AdvanceStatusHop: StoreServiceClient.advance_status,
    AdvanceStatusItem => AdvanceStatusOutcome, AdvanceStatusRequest => AdvanceStatusResponse
);
// An outcome is a number of the enum `SubmitOutcome`.
hop!(SubmitHop: PlatformServiceClient.submit, SubmitItem => i32, SubmitRequest => SubmitResponse);
