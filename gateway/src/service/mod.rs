//! The face that businesses call: each RPC of the contract, over the rooms behind it.
//!
//! Checks scope and number of every call; knows nothing of how the work is done.

mod lookups;

use std::{pin::Pin, sync::Arc};

use futures::{Stream, StreamExt};
use sealpost_proto::{
    directory::v1::Scope,
    gateway::v1::{
        GetMessageStatusRequest, GetMessageStatusResponse, GetVaultKeyRequest, GetVaultKeyResponse,
        ListNumbersRequest, ListNumbersResponse, SendRequest, SendResponse, SendStreamRequest,
        SendStreamResponse, SubscribeEventsRequest, SubscribeEventsResponse,
        gateway_service_server::GatewayService, send_outcome::Outcome,
    },
};
use sealpost_runtime::server::draining;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{Request, Response, Status, Streaming};

use crate::{
    authentication::session_of,
    events::Events,
    outbound::{Admission, send_stream},
    status::{Error, refused_status},
};

pub use lookups::Lookups;

/// The service.
pub struct Service {
    /// The way out.
    pub admission: Arc<Admission>,
    /// The way to the business.
    pub events: Events,
    /// Questions with one answer.
    pub lookups: Lookups,
    /// Waits for messages on their way in at the end.
    pub tasks: TaskTracker,
    /// Ends long streams.
    pub stop: CancellationToken,
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl GatewayService for Service {
    type SendStreamStream = Answers<SendStreamResponse>;
    type SubscribeEventsStream = Answers<SubscribeEventsResponse>;

    async fn send(&self, request: Request<SendRequest>) -> Result<Response<SendResponse>, Status> {
        let caller = session_of(&request)?.caller();
        caller.must_have(Scope::Send)?;
        let message = request
            .into_inner()
            .message
            .ok_or(Error::Malformed("message", "is missing"))?;
        caller.number(&message.phone_number_id)?;
        let admission = self.admission.clone();
        // On its own: a caller that hangs up does not stop a message half-way.
        let sending = self
            .tasks
            .spawn(async move { admission.send(&caller, message).await });
        let outcome = sending.await.map_err(|_| Error::Internal)?;
        match outcome.outcome.ok_or(Error::Internal)? {
            Outcome::Accepted(accepted) => Ok(Response::new(SendResponse {
                accepted: Some(accepted),
            })),
            Outcome::Refused(refused) => Err(refused_status(&refused)),
        }
    }

    async fn send_stream(
        &self,
        request: Request<Streaming<SendStreamRequest>>,
    ) -> Result<Response<Self::SendStreamStream>, Status> {
        let session = session_of(&request)?;
        session.caller().must_have(Scope::Send)?;
        let stop = self.either_stop(&request);
        let (answers, work) =
            send_stream(self.admission.clone(), session, request.into_inner(), stop);
        self.tasks.spawn(work);
        Ok(Response::new(answers.boxed()))
    }

    async fn subscribe_events(
        &self,
        request: Request<Streaming<SubscribeEventsRequest>>,
    ) -> Result<Response<Self::SubscribeEventsStream>, Status> {
        let session = session_of(&request)?;
        session.caller().must_have(Scope::Receive)?;
        let stop = self.either_stop(&request);
        let answers = self.events.subscribe(session, request.into_inner(), stop);
        Ok(Response::new(answers.boxed()))
    }

    async fn get_message_status(
        &self,
        request: Request<GetMessageStatusRequest>,
    ) -> Result<Response<GetMessageStatusResponse>, Status> {
        let caller = session_of(&request)?.caller();
        caller.must_have(Scope::Send)?;
        let answer = self
            .lookups
            .message_status(&caller, request.into_inner())
            .await?;
        Ok(Response::new(answer))
    }

    async fn list_numbers(
        &self,
        request: Request<ListNumbersRequest>,
    ) -> Result<Response<ListNumbersResponse>, Status> {
        let caller = session_of(&request)?.caller();
        caller.must_have(Scope::ReadNumbers)?;
        Ok(Response::new(Lookups::numbers(&caller)))
    }

    async fn get_vault_key(
        &self,
        request: Request<GetVaultKeyRequest>,
    ) -> Result<Response<GetVaultKeyResponse>, Status> {
        let caller = session_of(&request)?.caller();
        caller.must_have(Scope::ReadNumbers)?;
        let answer = self
            .lookups
            .vault_key(&caller, &request.into_inner())
            .await?;
        Ok(Response::new(answer))
    }
}

impl Service {
    /// Cancelled when the process stops or the connection will end soon.
    fn either_stop<T>(&self, request: &Request<T>) -> CancellationToken {
        let either = self.stop.child_token();
        let (draining, both) = (draining(request), either.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = draining.cancelled() => both.cancel(),
                () = both.cancelled() => {}
            }
        });
        either
    }
}
