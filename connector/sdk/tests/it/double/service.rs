//! The contract, served.

use std::{pin::Pin, sync::Arc};

use futures::Stream;
use sealpost_envelope::UnixMillis;
use sealpost_proto::gateway::v1::{
    self as pb, gateway_service_server::GatewayService, send_outcome::Outcome,
    subscribe_events_request::Request as Asked,
};
use sealpost_runtime::status::reason_status;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Response, Status, Streaming};

use super::{NUMBER, State, TOKEN};

pub struct Service {
    state: Arc<State>,
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl Service {
    pub fn new(state: Arc<State>) -> Self {
        Self { state }
    }
}

fn check<T>(request: &Request<T>) -> Result<(), Status> {
    let token = request.metadata().get("authorization");
    if token.is_some_and(|token| token.as_bytes() == format!("Bearer {TOKEN}").as_bytes()) {
        Ok(())
    } else {
        Err(reason_status(
            Code::Unauthenticated,
            "UNAUTHENTICATED",
            "no",
        ))
    }
}

impl State {
    fn now(&self) -> UnixMillis {
        UnixMillis(self.clock.now().as_millis())
    }

    fn admit(&self, item: &pb::OutboundMessage) -> pb::SendOutcome {
        let now = self.now();
        let mut inner = self.lock();
        if !item.wrap.is_empty() {
            inner.wraps_received += 1;
        }
        let outcome = match inner.refusals.pop_front() {
            Some((error, retry_after_ms)) => Err((error, retry_after_ms)),
            None => match inner.vaults.get_mut(&item.phone_number_id) {
                Some(vault) => vault.open(item, now).map_err(|error| (error, 0)),
                None => Err((pb::SendError::NotAllowed, 0)),
            },
        };
        let outcome = match outcome {
            Ok(mut opened) => {
                let first = inner
                    .accepted
                    .iter()
                    .find(|other| other.message_id == opened.message_id);
                match first {
                    Some(first) if first.content != opened.content => {
                        refused(pb::SendError::Conflict, 0)
                    }
                    first => {
                        opened.repeated = first.is_some();
                        let accepted = pb::Accepted {
                            message_id: opened.message_id.as_bytes().to_vec().into(),
                            accepted_at_ms: now.0,
                            repeated: opened.repeated,
                            status: pb::Status::Accepted.into(),
                        };
                        if !opened.repeated {
                            inner.accepted.push(opened);
                        }
                        Outcome::Accepted(accepted)
                    }
                }
            }
            Err((error, after)) => refused(error, after),
        };
        pb::SendOutcome {
            outcome: Some(outcome),
        }
    }
}

fn refused(error: pb::SendError, retry_after_ms: u32) -> Outcome {
    Outcome::Refused(pb::Refused {
        error: error.into(),
        retry_after_ms,
    })
}

#[tonic::async_trait]
impl GatewayService for Service {
    type SendStreamStream = Answers<pb::SendStreamResponse>;
    type SubscribeEventsStream = Answers<pb::SubscribeEventsResponse>;

    async fn send(
        &self,
        _: Request<pb::SendRequest>,
    ) -> Result<Response<pb::SendResponse>, Status> {
        Err(Status::unimplemented("the SDK streams"))
    }

    async fn send_stream(
        &self,
        request: Request<Streaming<pb::SendStreamRequest>>,
    ) -> Result<Response<Self::SendStreamStream>, Status> {
        check(&request)?;
        let state = self.state.clone();
        state.lock().send_streams += 1;
        // A new stream knows no wraps, as with the real one.
        for vault in state.lock().vaults.values_mut() {
            vault.forget();
        }
        let breaker = state.breaker();
        let mut requests = request.into_inner();
        let (answers, stream) = mpsc::channel(1);
        tokio::spawn(async move {
            loop {
                let batch = tokio::select! {
                    () = breaker.cancelled() => {
                        let _ = answers.send(Err(Status::unavailable("cut"))).await;
                        return;
                    }
                    batch = requests.message() => batch,
                };
                let Ok(Some(batch)) = batch else { return };
                let outcomes = batch.items.iter().map(|item| state.admit(item)).collect();
                let breaks = state.lock().break_after.take().is_some();
                let answer = if breaks {
                    Err(Status::unavailable("cut after accepting"))
                } else {
                    Ok(pb::SendStreamResponse {
                        batch_id: batch.batch_id,
                        outcomes,
                    })
                };
                if answers.send(answer).await.is_err() || breaks {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }

    async fn subscribe_events(
        &self,
        request: Request<Streaming<pb::SubscribeEventsRequest>>,
    ) -> Result<Response<Self::SubscribeEventsStream>, Status> {
        check(&request)?;
        let state = self.state.clone();
        let mut requests = request.into_inner();
        let breaker = state.breaker();
        let (answers, stream) = mpsc::channel(64);
        tokio::spawn(async move {
            let Ok(Some(pb::SubscribeEventsRequest {
                request: Some(Asked::Open(opened)),
            })) = requests.message().await
            else {
                return;
            };
            state.lock().subscriptions.push(opened);
            let mut fed = state.fed.subscribe();
            let mut next = 0;
            loop {
                let fresh = {
                    let inner = state.lock();
                    let mut fresh = inner.feed[next..].to_vec();
                    next = inner.feed.len();
                    for response in &mut fresh {
                        response.events.retain(|event| {
                            let acknowledged = inner.acknowledged.get(&event.phone_number_id);
                            acknowledged.is_none_or(|cursor| event.cursor > *cursor)
                        });
                    }
                    fresh
                };
                for response in fresh {
                    if answers.send(Ok(response)).await.is_err() {
                        return;
                    }
                }
                tokio::select! {
                    () = breaker.cancelled() => {
                        let farewell = state.lock().farewell.clone();
                        let farewell = farewell.unwrap_or_else(|| Status::unavailable("cut"));
                        let _ = answers.send(Err(farewell)).await;
                        return;
                    }
                    changed = fed.changed() => if changed.is_err() { return },
                    request = requests.message() => match request {
                        Ok(Some(pb::SubscribeEventsRequest { request: Some(Asked::Acknowledge(ack)) })) => {
                            let mut inner = state.lock();
                            inner.acknowledgements.push((ack.phone_number_id.clone(), ack.cursor));
                            let cursor = inner.acknowledged.entry(ack.phone_number_id).or_default();
                            *cursor = ack.cursor.max(*cursor);
                        }
                        _ => return,
                    },
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }

    async fn get_message_status(
        &self,
        request: Request<pb::GetMessageStatusRequest>,
    ) -> Result<Response<pb::GetMessageStatusResponse>, Status> {
        check(&request)?;
        let id = request.into_inner().message_id;
        let inner = self.state.lock();
        let known = inner
            .accepted
            .iter()
            .any(|message| message.message_id.as_bytes().as_slice() == id.as_ref());
        if !known {
            return Err(reason_status(
                Code::NotFound,
                "NOT_FOUND",
                "no such message",
            ));
        }
        Ok(Response::new(pb::GetMessageStatusResponse {
            status: pb::Status::Sent.into(),
            time_ms: 5,
            error_code: 0,
        }))
    }

    async fn list_numbers(
        &self,
        request: Request<pb::ListNumbersRequest>,
    ) -> Result<Response<pb::ListNumbersResponse>, Status> {
        check(&request)?;
        Ok(Response::new(pb::ListNumbersResponse {
            numbers: vec![pb::NumberInfo {
                phone_number_id: NUMBER.to_owned(),
                phone_number: "15550783881".to_owned(),
                display_name: "Lamps".to_owned(),
                region: "eu".to_owned(),
            }],
        }))
    }

    async fn get_vault_key(
        &self,
        request: Request<pb::GetVaultKeyRequest>,
    ) -> Result<Response<pb::GetVaultKeyResponse>, Status> {
        check(&request)?;
        let now = self.state.now();
        let number = request.into_inner().phone_number_id;
        let mut inner = self.state.lock();
        inner.key_fetches += 1;
        let key = match (&inner.forged_key, inner.vaults.get(&number)) {
            (Some(forged), _) => forged.clone(),
            (None, Some(vault)) => vault.publish(now),
            (None, None) => {
                return Err(reason_status(Code::NotFound, "NOT_FOUND", "no such number"));
            }
        };
        Ok(Response::new(pb::GetVaultKeyResponse { key: Some(key) }))
    }
}
