//! The device face: what consumers' devices call.
//!
//! Every method but the two of registration acts for the device that the token layer found, and for no other.

mod receive;

use std::sync::Arc;

use sealpost_proto::relay::v1 as wire;
use sealpost_runtime::server::{Connection, draining};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use wire::device_service_server::DeviceService;

use crate::{
    Relay, RelayError,
    auth::device_of,
    codes::Code,
    datastore::Said,
    rate::Source,
    upload::{FullUpload, Upload},
    validate,
};

/// The service.
#[derive(Clone)]
pub struct DeviceFace {
    relay: Arc<Relay>,
}

impl DeviceFace {
    /// One of the faces of `relay`.
    #[must_use]
    pub fn new(relay: Arc<Relay>) -> Self {
        Self { relay }
    }
}

#[tonic::async_trait]
impl DeviceService for DeviceFace {
    async fn request_code(
        &self,
        request: Request<wire::RequestCodeRequest>,
    ) -> Result<Response<wire::RequestCodeResponse>, Status> {
        let number = validate::phone_number("phone_number", &request.get_ref().phone_number)?;
        let expires_at_ms = self.relay.send_code(number, source_of(&request)).await?;
        Ok(Response::new(wire::RequestCodeResponse { expires_at_ms }))
    }

    async fn register(
        &self,
        request: Request<wire::RegisterRequest>,
    ) -> Result<Response<wire::RegisterResponse>, Status> {
        let source = source_of(&request);
        let request = request.into_inner();
        // All of it is read before the code is spent or a guess counted.
        let number = validate::phone_number("phone_number", &request.phone_number)?;
        let code = Code::parse(&request.code)
            .ok_or_else(|| RelayError::malformed("code", "must be six digits"))?;
        let keys = FullUpload::read(request.upload)?;
        let (device_id, token) = self
            .relay
            .register_device(number, code, keys, source)
            .await?;
        Ok(Response::new(wire::RegisterResponse {
            device_id,
            device_token: token.reveal(),
        }))
    }

    async fn unregister(
        &self,
        request: Request<wire::UnregisterRequest>,
    ) -> Result<Response<wire::UnregisterResponse>, Status> {
        let device = device_of(&request)?;
        self.relay.unregister(device).await?;
        Ok(Response::new(wire::UnregisterResponse {}))
    }

    async fn upload_prekeys(
        &self,
        request: Request<wire::UploadPrekeysRequest>,
    ) -> Result<Response<wire::UploadPrekeysResponse>, Status> {
        let device = device_of(&request)?;
        let upload = Upload::refill(request.into_inner().upload)?;
        self.relay
            .datastore
            .upload_for_device(device.holder, upload)
            .await?;
        Ok(Response::new(wire::UploadPrekeysResponse {}))
    }

    async fn get_prekey_count(
        &self,
        request: Request<wire::GetPrekeyCountRequest>,
    ) -> Result<Response<wire::GetPrekeyCountResponse>, Status> {
        let device = device_of(&request)?;
        let (one_time_prekeys, kem_prekeys) =
            self.relay.datastore.prekey_counts(device.holder).await?;
        Ok(Response::new(wire::GetPrekeyCountResponse {
            one_time_prekeys,
            kem_prekeys,
        }))
    }

    async fn fetch_business_bundle(
        &self,
        request: Request<wire::FetchBusinessBundleRequest>,
    ) -> Result<Response<wire::FetchBusinessBundleResponse>, Status> {
        let device = device_of(&request)?;
        let request = request.into_inner();
        let number = validate::phone_number("phone_number", &request.phone_number)?;
        let with_prekeys = !request.without_prekeys;
        let now = self.relay.clock.now();
        if with_prekeys {
            let taken = self.relay.bundles_per_device.take(device.holder, now);
            taken.map_err(|wait| RelayError::TooMany {
                subject: "bundles for one device",
                wait,
            })?;
        }
        let datastore = &self.relay.datastore;
        let business = datastore
            .business_keys(number, with_prekeys, self.relay.now())
            .await?;
        let (requester, peer) = (device.phone_number.as_str(), business.number.as_str());
        let bundle = self.relay.key.sign(requester, peer, business.keys, now);
        Ok(Response::new(wire::FetchBusinessBundleResponse {
            bundle: Some(bundle),
            phone_number_id: peer.to_owned(),
            display_name: business.display_name,
        }))
    }

    async fn submit_messages(
        &self,
        request: Request<wire::SubmitMessagesRequest>,
    ) -> Result<Response<wire::SubmitMessagesResponse>, Status> {
        let device = device_of(&request)?;
        let messages = request.into_inner().messages;
        validate::at_most("messages", messages.len())?;
        let messages = messages
            .into_iter()
            .enumerate()
            .map(|(index, message)| validate::device_message(index, message))
            .collect::<Result<Vec<_>, _>>()?;
        let outcomes = self.relay.hand_over(device, messages).await?;
        for outcome in &outcomes {
            let name = outcome.as_str_name();
            metrics::counter!("sealpost_relay_handed_over_total", "outcome" => name).increment(1);
        }
        Ok(Response::new(wire::SubmitMessagesResponse {
            outcomes: outcomes.into_iter().map(Into::into).collect(),
        }))
    }

    type ReceiveStream = ReceiverStream<Result<wire::ReceiveResponse, Status>>;

    async fn receive(
        &self,
        request: Request<Streaming<wire::ReceiveRequest>>,
    ) -> Result<Response<Self::ReceiveStream>, Status> {
        let (device, stop) = (device_of(&request)?, draining(&request));
        let said = request.into_inner();
        Ok(Response::new(
            receive::start(self.relay.clone(), device, said, stop).await?,
        ))
    }

    async fn send_receipts(
        &self,
        request: Request<wire::SendReceiptsRequest>,
    ) -> Result<Response<wire::SendReceiptsResponse>, Status> {
        let device = device_of(&request)?;
        let receipts = validate::receipts(&request.get_ref().receipts)?;
        self.relay.hear(Said::receipts(device, receipts)).await?;
        Ok(Response::new(wire::SendReceiptsResponse {}))
    }

    async fn request_retry(
        &self,
        request: Request<wire::RequestRetryRequest>,
    ) -> Result<Response<wire::RequestRetryResponse>, Status> {
        let device = device_of(&request)?;
        let retry = validate::retry(request.get_ref())?;
        let relay = &self.relay;
        let depth = relay.limits.number_queue;
        relay
            .datastore
            .ask_retry(device, retry, depth, relay.now())
            .await?;
        Ok(Response::new(wire::RequestRetryResponse {}))
    }

    async fn check_envelopes(
        &self,
        request: Request<wire::CheckEnvelopesRequest>,
    ) -> Result<Response<wire::CheckEnvelopesResponse>, Status> {
        let device = device_of(&request)?;
        let ids = validate::envelope_ids(&request.get_ref().envelope_ids)?;
        let datastore = &self.relay.datastore;
        let states = datastore
            .envelope_states(device.holder, ids, self.relay.now())
            .await?;
        Ok(Response::new(wire::CheckEnvelopesResponse {
            states: states.into_iter().map(Into::into).collect(),
        }))
    }
}

/// Where a call comes from; unknown only where there is no connection, as in tests.
fn source_of<T>(request: &Request<T>) -> Option<Source> {
    let connection = request.extensions().get::<Connection>()?;
    Some(Source::of(connection.remote.ip()))
}

#[cfg(test)]
mod tests;
