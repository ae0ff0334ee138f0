//! The platform face: what the gateway, the operator and retention call.

mod collect;

use std::{sync::Arc, time::Duration};

use futures::{StreamExt, future::ready, stream};
use sealpost_proto::relay::v1 as wire;
use sealpost_runtime::{
    batch::{BatchAnswers, serve_batches},
    server::draining,
};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use wire::platform_service_server::PlatformService;

use crate::{
    Relay, RelayError,
    datastore::Prekeys,
    upload::{FullUpload, Upload},
    validate,
};

/// The most that one call deletes.
const MAX_DELETED: u32 = 10_000;

/// How long a collector may take to say its name.
const OPENING: Duration = Duration::from_secs(10);

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
        let retention = match request.retention_seconds {
            0 => None,
            seconds => Some(validate::retention("retention_seconds", seconds)?),
        };
        let keys = FullUpload::read(request.upload)?;
        let datastore = &self.relay.datastore;
        datastore
            .register_number(id, phone_number, display_name, retention, keys)
            .await?;
        Ok(Response::new(wire::RegisterNumberResponse {}))
    }

    async fn set_number_retention(
        &self,
        request: Request<wire::SetNumberRetentionRequest>,
    ) -> Result<Response<wire::SetNumberRetentionResponse>, Status> {
        let request = request.into_inner();
        let id = validate::phone_number_id("phone_number_id", &request.phone_number_id)?;
        let retention = validate::retention("retention_seconds", request.retention_seconds)?;
        self.relay.datastore.set_retention(id, retention).await?;
        Ok(Response::new(wire::SetNumberRetentionResponse {}))
    }

    async fn get_number(
        &self,
        request: Request<wire::GetNumberRequest>,
    ) -> Result<Response<wire::GetNumberResponse>, Status> {
        let id = validate::phone_number_id("phone_number_id", &request.get_ref().phone_number_id)?;
        let retention = self.relay.datastore.retention(id).await?;
        Ok(Response::new(wire::GetNumberResponse {
            retention_seconds: retention.seconds(),
        }))
    }

    async fn remove_number(
        &self,
        request: Request<wire::RemoveNumberRequest>,
    ) -> Result<Response<wire::RemoveNumberResponse>, Status> {
        let request = request.into_inner();
        let id = validate::phone_number_id("phone_number_id", &request.phone_number_id)?;
        let limit = bounded(request.limit)?;
        let (deleted, more) = self.relay.datastore.remove_number(id, limit).await?;
        Ok(Response::new(wire::RemoveNumberResponse { deleted, more }))
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
        let mut said = request.into_inner();
        let first = tokio::select! {
            first = timeout(OPENING, said.message()) => first.ok().transpose()?.flatten(),
            () = stop.cancelled() => None,
        };
        let first = first.unwrap_or_default();
        let collector = validate::collector(&first.collector)?;
        let said = said.map(|said| said.map(|said| said.acknowledge));
        let said = stream::once(ready(Ok(first.acknowledge))).chain(said);
        let relay = self.relay.clone();
        Ok(Response::new(
            collect::start(relay, collector, said, stop).await?,
        ))
    }

    async fn request_envelope(
        &self,
        request: Request<wire::RequestEnvelopeRequest>,
    ) -> Result<Response<wire::RequestEnvelopeResponse>, Status> {
        let wanted = validate::envelope_request(request.get_ref())?;
        let relay = &self.relay;
        let given_up = relay
            .datastore
            .request_envelope(wanted, relay.now())
            .await?;
        Ok(Response::new(wire::RequestEnvelopeResponse { given_up }))
    }

    async fn delete_expired(
        &self,
        request: Request<wire::DeleteExpiredRequest>,
    ) -> Result<Response<wire::DeleteExpiredResponse>, Status> {
        let wire::DeleteExpiredRequest { limit, dry_run } = request.into_inner();
        let limit = bounded(limit)?;
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
        let datastore = &self.relay.datastore;
        let deleted = if request.dry_run {
            datastore.count_peer(number, peer).await?
        } else {
            datastore.erase_peer(number, peer).await?
        };
        Ok(Response::new(wire::ErasePeerResponse { deleted }))
    }

    async fn remove_consumer(
        &self,
        request: Request<wire::RemoveConsumerRequest>,
    ) -> Result<Response<wire::RemoveConsumerResponse>, Status> {
        let peer = validate::phone_number("peer", &request.get_ref().peer)?;
        let deleted = self.relay.remove_consumer(peer).await?;
        Ok(Response::new(wire::RemoveConsumerResponse { deleted }))
    }
}

/// Rows that one call may delete.
fn bounded(limit: u32) -> Result<u32, RelayError> {
    if (1..=MAX_DELETED).contains(&limit) {
        Ok(limit)
    } else {
        Err(RelayError::malformed("limit", "must be 1 to 10,000"))
    }
}

#[cfg(test)]
mod tests;
