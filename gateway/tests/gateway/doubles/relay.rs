//! A relay with consumers' devices, a log of what it took, and a queue for the gateway.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    pin::Pin,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use futures::{Stream, StreamExt};
use sealpost_proto::{
    relay::v1::{
        platform_service_server::{PlatformService, PlatformServiceServer},
        *,
    },
    signal::v1::SignedBundle,
};
use sealpost_runtime::batch::serve_batches;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming, transport::Channel};

use super::{lock, serve};

#[derive(Clone)]
pub struct Relay {
    pub state: Arc<Mutex<State>>,
    queued: watch::Sender<u64>,
}

#[derive(Default)]
pub struct State {
    pub devices: HashMap<String, Vec<u32>>,
    /// What was taken for the first time, in that order: peer, message id, attempt, devices.
    pub taken: Vec<(String, Bytes, u32, Vec<u32>)>,
    seen: HashSet<(String, Bytes, u32)>,
    /// What the next submissions are answered instead of being looked at.
    pub answers: VecDeque<SubmitOutcome>,
    pub queue: Vec<Inbound>,
    pub acknowledged: HashSet<u64>,
    pub uploads: usize,
    /// Envelopes that were asked for again: id, failed attempt.
    pub requested: Vec<(Bytes, u32)>,
    /// Bundles with prekeys that were handed out.
    pub prekeys_spent: usize,
    /// The names that collectors said, stream by stream.
    pub collectors: Vec<String>,
}

impl Default for Relay {
    fn default() -> Self {
        Self {
            state: Arc::default(),
            queued: watch::Sender::new(0),
        }
    }
}

impl Relay {
    pub async fn serve(&self) -> Channel {
        serve(PlatformServiceServer::new(self.clone())).await
    }

    pub fn set_devices(&self, peer: &str, devices: &[u32]) {
        lock(&self.state)
            .devices
            .insert(peer.to_owned(), devices.to_vec());
    }

    /// Queues something for the gateway, and answers its queue id.
    pub fn queue(&self, item: inbound::Item) -> u64 {
        let mut state = lock(&self.state);
        let queue_id = state.queue.len() as u64 + 1;
        state.queue.push(Inbound {
            queue_id,
            phone_number_id: super::super::harness::NUMBER.into(),
            item: Some(item),
        });
        drop(state);
        self.queued.send_replace(queue_id);
        queue_id
    }

    pub fn has_acknowledgement(&self, queue_id: u64) -> bool {
        lock(&self.state).acknowledged.contains(&queue_id)
    }

    /// Message ids that a consumer's devices got, in order.
    pub fn taken_for(&self, peer: &str) -> Vec<Bytes> {
        let state = lock(&self.state);
        let taken = state.taken.iter().filter(|(to, ..)| to == peer);
        taken
            .map(|(_, message_id, ..)| message_id.clone())
            .collect()
    }
}

impl State {
    fn submit(&mut self, item: SubmitItem) -> i32 {
        if let Some(answer) = self.answers.pop_front() {
            return answer.into();
        }
        let devices: Vec<u32> = item
            .ciphertexts
            .iter()
            .filter_map(|ciphertext| Some(ciphertext.device?.device_id))
            .collect();
        let outcome = match self.devices.get(&item.peer) {
            None => SubmitOutcome::UnknownPeer,
            Some(known) if *known != devices && !item.one_device => SubmitOutcome::StaleDevices,
            Some(_) => {
                let key = (item.peer.clone(), item.message_id.clone(), item.attempt);
                if self.seen.insert(key) {
                    self.taken
                        .push((item.peer, item.message_id, item.attempt, devices));
                }
                SubmitOutcome::Accepted
            }
        };
        outcome.into()
    }
}

type Answer<T> = Result<Response<T>, Status>;
type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl PlatformService for Relay {
    type SubmitStream = Answers<SubmitResponse>;
    type CollectStream = Answers<CollectResponse>;

    async fn fetch_bundle(
        &self,
        request: Request<FetchBundleRequest>,
    ) -> Answer<FetchBundleResponse> {
        let mut state = lock(&self.state);
        let request = request.into_inner();
        if !request.without_prekeys {
            state.prekeys_spent += 1;
        }
        let devices = state
            .devices
            .get(&request.peer)
            .ok_or(Status::not_found("no such consumer"))?;
        let statement: Vec<u8> = devices
            .iter()
            .map(|id| u8::try_from(*id).unwrap())
            .collect();
        Ok(Response::new(FetchBundleResponse {
            bundle: Some(SignedBundle {
                statement: statement.into(),
                signature: Bytes::new(),
            }),
        }))
    }

    async fn submit(
        &self,
        request: Request<Streaming<SubmitRequest>>,
    ) -> Answer<Self::SubmitStream> {
        let state = self.state.clone();
        let answers = serve_batches(
            request.into_inner(),
            CancellationToken::new(),
            move |batch| {
                let mut state = lock(&state);
                let answer = SubmitResponse {
                    batch_id: batch.batch_id,
                    outcomes: batch
                        .items
                        .into_iter()
                        .map(|item| state.submit(item))
                        .collect(),
                };
                async move { Ok(answer) }
            },
        );
        Ok(Response::new(Box::pin(answers)))
    }

    async fn collect(
        &self,
        request: Request<Streaming<CollectRequest>>,
    ) -> Answer<Self::CollectStream> {
        let (items, stream) = mpsc::channel(1);
        let state = self.state.clone();
        let mut requests = request.into_inner();
        tokio::spawn(async move {
            while let Some(Ok(request)) = requests.next().await {
                let mut state = lock(&state);
                state.acknowledged.extend(request.acknowledge);
                if !request.collector.is_empty() {
                    state.collectors.push(request.collector);
                }
            }
        });
        let (state, mut queued) = (self.state.clone(), self.queued.subscribe());
        tokio::spawn(async move {
            let mut sent = 0;
            loop {
                let waiting: Vec<Inbound> = lock(&state).queue[sent..].to_vec();
                sent += waiting.len();
                let answer = CollectResponse { items: waiting };
                if items.send(Ok(answer)).await.is_err() || queued.changed().await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }

    async fn upload_number_prekeys(
        &self,
        _: Request<UploadNumberPrekeysRequest>,
    ) -> Answer<UploadNumberPrekeysResponse> {
        lock(&self.state).uploads += 1;
        Ok(Response::new(UploadNumberPrekeysResponse {}))
    }
    async fn request_envelope(
        &self,
        request: Request<RequestEnvelopeRequest>,
    ) -> Answer<RequestEnvelopeResponse> {
        let request = request.into_inner();
        let mut state = lock(&self.state);
        let handed_over = state.queue.iter().any(|queued| match &queued.item {
            Some(inbound::Item::Envelope(envelope)) => {
                envelope.peer == request.peer && envelope.envelope_id == request.envelope_id
            }
            _ => false,
        });
        if !handed_over || request.envelope_id.is_empty() {
            return Err(Status::not_found("no such message"));
        }
        let failed = request.failed_attempt;
        state.requested.push((request.envelope_id, failed));
        Ok(Response::new(RequestEnvelopeResponse {
            given_up: failed == 5,
        }))
    }
    async fn register_number(
        &self,
        _: Request<RegisterNumberRequest>,
    ) -> Answer<RegisterNumberResponse> {
        Err(Status::unimplemented("not in this double"))
    }
    async fn delete_expired(
        &self,
        _: Request<DeleteExpiredRequest>,
    ) -> Answer<DeleteExpiredResponse> {
        Err(Status::unimplemented("not in this double"))
    }
    async fn erase_peer(&self, _: Request<ErasePeerRequest>) -> Answer<ErasePeerResponse> {
        Err(Status::unimplemented("not in this double"))
    }
    async fn set_number_retention(
        &self,
        _: Request<SetNumberRetentionRequest>,
    ) -> Answer<SetNumberRetentionResponse> {
        Err(Status::unimplemented("not in this double"))
    }
    async fn get_number(&self, _: Request<GetNumberRequest>) -> Answer<GetNumberResponse> {
        Err(Status::unimplemented("not in this double"))
    }
    async fn remove_number(&self, _: Request<RemoveNumberRequest>) -> Answer<RemoveNumberResponse> {
        Err(Status::unimplemented("not in this double"))
    }
    async fn remove_consumer(
        &self,
        _: Request<RemoveConsumerRequest>,
    ) -> Answer<RemoveConsumerResponse> {
        Err(Status::unimplemented("not in this double"))
    }
}
