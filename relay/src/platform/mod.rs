//! The platform face: what the gateway, the operator and retention call.

mod collect;

use std::sync::Arc;

use futures::StreamExt;
use sealpost_proto::relay::v1 as wire;
use sealpost_runtime::{
    batch::{BatchAnswers, serve_batches},
    server::draining,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use wire::platform_service_server::PlatformService;

use crate::{
    Relay, RelayError,
    datastore::Prekeys,
    hub::QueueName,
    upload::{FullUpload, Upload},
    validate,
};

/// Rows that one call of `DeleteExpired` may delete.
const MAX_EXPIRED: u32 = 10_000;

/// The service.
#[derive(Clone)]
pub struct PlatformFace {
    relay: Arc<Relay>,
}

impl PlatformFace {
    /// One of the faces of `relay`.
    #[must_use]
    pub fn new(relay: Arc<Relay>) -> Self {
        Self { relay }
    }
}

#[tonic::async_trait]
impl PlatformService for PlatformFace {
    async fn register_number(
        &self,
        request: Request<wire::RegisterNumberRequest>,
    ) -> Result<Response<wire::RegisterNumberResponse>, Status> {
        let request = request.into_inner();
        let id = validate::phone_number_id("phone_number_id", &request.phone_number_id)?;
        let phone_number = validate::phone_number("phone_number", &request.phone_number)?;
        let display_name = validate::display_name(request.display_name)?;
        let keys = FullUpload::read(request.upload)?;
        let datastore = &self.relay.datastore;
        datastore
            .register_number(id, phone_number, display_name, keys)
            .await?;
        Ok(Response::new(wire::RegisterNumberResponse {}))
    }

    async fn upload_number_prekeys(
        &self,
        request: Request<wire::UploadNumberPrekeysRequest>,
    ) -> Result<Response<wire::UploadNumberPrekeysResponse>, Status> {
        let request = request.into_inner();
        let id = validate::phone_number_id("phone_number_id", &request.phone_number_id)?;
        let upload = Upload::refill(request.upload)?;
        self.relay.datastore.upload_for_number(id, upload).await?;
        Ok(Response::new(wire::UploadNumberPrekeysResponse {}))
    }

    async fn fetch_bundle(
        &self,
        request: Request<wire::FetchBundleRequest>,
    ) -> Result<Response<wire::FetchBundleResponse>, Status> {
        let request = request.into_inner();
        let requester = validate::phone_number_id("phone_number_id", &request.phone_number_id)?;
        let peer = validate::phone_number("peer", &request.peer)?;
        validate::known_devices(&request.known_devices)?;
        let relay = &self.relay;
        let keys = relay
            .datastore
            .peer_keys(
                requester.clone(),
                peer.clone(),
                if request.without_prekeys {
                    Prekeys::None
                } else {
                    Prekeys::Unless(request.known_devices)
                },
                relay.now(),
            )
            .await?;
        let bundle = relay
            .key
            .sign(requester.as_str(), peer.as_str(), keys, relay.clock.now());
        Ok(Response::new(wire::FetchBundleResponse {
            bundle: Some(bundle),
        }))
    }

    type SubmitStream = BatchAnswers<wire::SubmitResponse>;

    async fn submit(
        &self,
        request: Request<Streaming<wire::SubmitRequest>>,
    ) -> Result<Response<Self::SubmitStream>, Status> {
        let stop = draining(&request);
        let relay = self.relay.clone();
        let answers = serve_batches(request.into_inner(), stop, move |batch| {
            let relay = relay.clone();
            async move { Ok(relay.submit(batch).await?) }
        });
        Ok(Response::new(answers))
    }

    type CollectStream = ReceiverStream<Result<wire::CollectResponse, Status>>;

    async fn collect(
        &self,
        request: Request<Streaming<wire::CollectRequest>>,
    ) -> Result<Response<Self::CollectStream>, Status> {
        let stop = draining(&request);
        let said = request
            .into_inner()
            .map(|said| said.map(|said| said.acknowledge));
        Ok(Response::new(collect::start(
            self.relay.clone(),
            said,
            stop,
        )))
    }

    async fn request_envelope(
        &self,
        request: Request<wire::RequestEnvelopeRequest>,
    ) -> Result<Response<wire::RequestEnvelopeResponse>, Status> {
        let wanted = validate::envelope_request(request.get_ref())?;
        let relay = &self.relay;
        let asked = relay
            .datastore
            .request_envelope(wanted, relay.now())
            .await?;
        if let Some(device) = asked.wake {
            relay.hub.wake(QueueName::Device(device));
            metrics::counter!("sealpost_relay_envelopes_requested_total").increment(1);
        }
        Ok(Response::new(wire::RequestEnvelopeResponse {
            given_up: asked.given_up,
        }))
    }

    async fn delete_expired(
        &self,
        request: Request<wire::DeleteExpiredRequest>,
    ) -> Result<Response<wire::DeleteExpiredResponse>, Status> {
        let wire::DeleteExpiredRequest { limit, dry_run } = request.into_inner();
        if !(1..=MAX_EXPIRED).contains(&limit) {
            return Err(RelayError::malformed("limit", "must be 1 to 10,000").into());
        }
        let now = self.relay.now();
        let (deleted, more) = self.relay.datastore.expire(limit, dry_run, now).await?;
        Ok(Response::new(wire::DeleteExpiredResponse { deleted, more }))
    }

    async fn erase_peer(
        &self,
        request: Request<wire::ErasePeerRequest>,
    ) -> Result<Response<wire::ErasePeerResponse>, Status> {
        let request = request.into_inner();
        let number = validate::phone_number_id("phone_number_id", &request.phone_number_id)?;
        let peer = validate::phone_number("peer", &request.peer)?;
        let deleted = self.relay.datastore.erase_peer(number, peer).await?;
        Ok(Response::new(wire::ErasePeerResponse { deleted }))
    }
}

#[cfg(test)]
mod tests;
