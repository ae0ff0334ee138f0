//! The relay's device face, in memory, with faults on demand.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use futures::Stream;
use sealpost_consumer::Relay;
use sealpost_proto::{
    relay::v1::{device_service_server::*, *},
    signal::v1::PrekeyUpload,
};
use tokio::{
    net::TcpListener,
    sync::{Notify, mpsc},
};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_util::sync::CancellationToken;
use tonic::{
    Request, Response, Status, Streaming,
    transport::{Channel, Endpoint, Server},
};

use super::{BUSINESS, CODE, NUMBER};

const TOKEN: &str = "token-of-the-device";

type OnAck = Box<dyn FnMut() + Send>;

#[derive(Default)]
pub struct Inner {
    pub upload: Option<PrekeyUpload>,
    pub refills: Vec<PrekeyUpload>,
    pub queue: BTreeMap<u64, DeviceEnvelope>,
    pub acknowledged: Vec<u64>,
    pub inbound: VecDeque<DeviceMessage>,
    /// By envelope id and attempt.
    pub envelopes: HashMap<(Vec<u8>, u32), DeviceMessage>,
    /// Envelopes that the business has taken.
    pub taken: HashSet<Vec<u8>>,
    /// Requests for messages, by queue id.
    pub requests: BTreeMap<u64, EnvelopeRequest>,
    pub submitted: usize,
    pub receipts: Vec<DeviceReceipt>,
    pub retries: Vec<RequestRetryRequest>,
    pub bundles: VecDeque<FetchBusinessBundleResponse>,
    /// Acknowledgements are lost on the way.
    pub deaf: bool,
    /// So many submissions are kept, but their answers get lost.
    pub lose_answers: usize,
    /// Every call but Receive fails.
    pub down: bool,
    /// The device's token is no longer good.
    pub refuse: bool,
    /// So many messages find no room.
    pub full: usize,
    /// No business has this number any more.
    pub vanished: bool,
    /// First bytes of messages that the relay has forgotten: a receipt for one spoils its whole call.
    pub forgotten: Vec<u8>,
    /// Whether receipts may be said on the stream, and how many were.
    pub takes_receipts: bool,
    pub said_on_stream: usize,
    /// Receipts on the stream are not heard: their outcome never comes.
    pub deaf_to_receipts: bool,
    pub on_ack: Option<OnAck>,
    next: u64,
    streams: CancellationToken,
}

#[derive(Clone)]
pub struct RelayDouble {
    inner: Arc<Mutex<Inner>>,
    changed: Arc<Notify>,
    channel: Channel,
}

impl RelayDouble {
    pub async fn start(bundles: Vec<FetchBusinessBundleResponse>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let channel = Endpoint::from_shared(format!("http://{address}"))
            .unwrap()
            .connect_lazy();
        let inner = Inner {
            bundles: bundles.into(),
            ..Inner::default()
        };
        let double = Self {
            inner: Arc::new(Mutex::new(inner)),
            changed: Arc::new(Notify::new()),
            channel,
        };
        let service = DeviceServiceServer::new(double.clone());
        tokio::spawn(
            Server::builder()
                .add_service(service)
                .serve_with_incoming(TcpListenerStream::new(listener)),
        );
        double
    }

    pub fn way(&self) -> Relay {
        Relay::over(self.channel.clone())
    }

    pub fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    pub fn enqueue(&self, mut envelope: DeviceEnvelope) {
        let mut inner = self.inner();
        inner.next += 1;
        envelope.queue_id = inner.next;
        let queue_id = envelope.queue_id;
        inner.queue.insert(queue_id, envelope);
        drop(inner);
        self.changed.notify_waiters();
    }

    /// The business asks for a message again.
    pub fn ask_again(&self, message: &DeviceMessage) {
        let mut inner = self.inner();
        inner.next += 1;
        let request = EnvelopeRequest {
            queue_id: inner.next,
            phone_number_id: NUMBER.into(),
            envelope_id: message.envelope_id.clone(),
            failed_attempt: message.attempt,
        };
        inner.requests.insert(request.queue_id, request);
        drop(inner);
        self.changed.notify_waiters();
    }

    /// Ends every stream: devices come back and are sent again what they did not acknowledge.
    pub fn kick(&self) {
        let mut inner = self.inner();
        inner.streams.cancel();
        inner.streams = CancellationToken::new();
    }

    /// The device's keys with one-time prekeys that nobody had before.
    pub fn take_bundle(&self) -> PrekeyUpload {
        let mut inner = self.inner();
        let upload = inner.upload.as_mut().unwrap();
        let taken = upload.clone();
        upload.one_time_prekeys.remove(0);
        upload.kem_prekeys.remove(0);
        taken
    }

    pub async fn take_inbound(&self, count: usize) -> Vec<DeviceMessage> {
        self.until(|inner| inner.inbound.len() >= count).await;
        self.inner().inbound.drain(..count).collect()
    }

    /// Waits until the relay is as the test wants it.
    pub async fn until(&self, wanted: impl Fn(&Inner) -> bool) {
        super::soon(async {
            while !wanted(&self.inner()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }

    fn authorised<T>(&self, request: &Request<T>) -> Result<(), Status> {
        let expected = format!("Bearer {TOKEN}");
        let token = request
            .metadata()
            .get("authorization")
            .and_then(|value| value.to_str().ok());
        if token == Some(&expected) && !self.inner().refuse {
            Ok(())
        } else {
            Err(Status::unauthenticated("no"))
        }
    }

    fn up<T>(&self, request: &Request<T>) -> Result<(), Status> {
        self.authorised(request)?;
        if self.inner().down {
            Err(Status::unavailable("down"))
        } else {
            Ok(())
        }
    }
}

#[tonic::async_trait]
impl DeviceService for RelayDouble {
    async fn request_code(
        &self,
        _: Request<RequestCodeRequest>,
    ) -> Result<Response<RequestCodeResponse>, Status> {
        Ok(Response::new(RequestCodeResponse {
            expires_at_ms: 1_700_000_600_000,
        }))
    }

    async fn register(
        &self,
        request: Request<RegisterRequest>,
    ) -> Result<Response<RegisterResponse>, Status> {
        let request = request.into_inner();
        if request.code != CODE {
            return Err(Status::permission_denied("code"));
        }
        self.inner().upload = request.upload;
        Ok(Response::new(RegisterResponse {
            device_id: 1,
            device_token: TOKEN.into(),
        }))
    }

    async fn upload_prekeys(
        &self,
        request: Request<UploadPrekeysRequest>,
    ) -> Result<Response<UploadPrekeysResponse>, Status> {
        self.up(&request)?;
        let upload = request.into_inner().upload.unwrap();
        let mut inner = self.inner();
        let kept = inner.upload.as_mut().unwrap();
        kept.one_time_prekeys
            .extend(upload.one_time_prekeys.clone());
        kept.kem_prekeys.extend(upload.kem_prekeys.clone());
        inner.refills.push(upload);
        Ok(Response::new(UploadPrekeysResponse {}))
    }

    async fn get_prekey_count(
        &self,
        request: Request<GetPrekeyCountRequest>,
    ) -> Result<Response<GetPrekeyCountResponse>, Status> {
        self.up(&request)?;
        let inner = self.inner();
        let upload = inner.upload.as_ref().unwrap();
        Ok(Response::new(GetPrekeyCountResponse {
            one_time_prekeys: upload.one_time_prekeys.len() as u32,
            kem_prekeys: upload.kem_prekeys.len() as u32,
        }))
    }

    async fn fetch_business_bundle(
        &self,
        request: Request<FetchBusinessBundleRequest>,
    ) -> Result<Response<FetchBusinessBundleResponse>, Status> {
        self.up(&request)?;
        let request = request.into_inner();
        if request.phone_number != BUSINESS {
            return Err(Status::not_found("nobody"));
        }
        let mut inner = self.inner();
        let bundle = if request.without_prekeys {
            inner.bundles.front().cloned()
        } else {
            inner.bundles.pop_front()
        };
        bundle
            .map(Response::new)
            .ok_or_else(|| Status::unavailable("no bundle left"))
    }

    async fn submit_messages(
        &self,
        request: Request<SubmitMessagesRequest>,
    ) -> Result<Response<SubmitMessagesResponse>, Status> {
        self.up(&request)?;
        let mut inner = self.inner();
        inner.submitted += 1;
        let mut outcomes = Vec::new();
        for message in request.into_inner().messages {
            if message.phone_number_id != NUMBER || inner.vanished {
                outcomes.push(SubmitMessageOutcome::NumberUnknown.into());
                continue;
            }
            if inner.full > 0 {
                inner.full -= 1;
                outcomes.push(SubmitMessageOutcome::QueueFull.into());
                continue;
            }
            let before = inner.envelopes.insert(
                (message.envelope_id.to_vec(), message.attempt),
                message.clone(),
            );
            match before {
                Some(before) => assert_eq!(before, message, "a retry sends the same bytes"),
                None => inner.inbound.push_back(message),
            }
            outcomes.push(SubmitMessageOutcome::Accepted.into());
        }
        if inner.lose_answers > 0 {
            inner.lose_answers -= 1;
            return Err(Status::unavailable("the answer got lost"));
        }
        Ok(Response::new(SubmitMessagesResponse { outcomes }))
    }

    type ReceiveStream = Pin<Box<dyn Stream<Item = Result<ReceiveResponse, Status>> + Send>>;

    async fn receive(
        &self,
        request: Request<Streaming<ReceiveRequest>>,
    ) -> Result<Response<Self::ReceiveStream>, Status> {
        self.authorised(&request)?;
        let mut acks = request.into_inner();
        let (out, stream) = mpsc::channel(4);
        let double = self.clone();
        let over = self.inner().streams.clone();
        tokio::spawn(async move {
            let (mut sent, mut outcomes) = (0, Vec::new());
            loop {
                let changed = double.changed.notified();
                let (page, last) = {
                    let inner = double.inner();
                    let page = ReceiveResponse {
                        envelopes: inner
                            .queue
                            .range(sent + 1..)
                            .map(|(_, one)| one.clone())
                            .collect(),
                        requests: inner
                            .requests
                            .range(sent + 1..)
                            .map(|(_, one)| one.clone())
                            .collect(),
                        receipts: std::mem::take(&mut outcomes),
                        takes_receipts: inner.takes_receipts
                            && inner.queue.range(sent + 1..).next().is_some(),
                    };
                    (page, inner.next)
                };
                sent = last;
                if page != ReceiveResponse::default() {
                    let _ = out.send(Ok(page)).await;
                }
                tokio::select! {
                    () = changed => {}
                    () = over.cancelled() => return,
                    ack = acks.message() => match ack {
                        Ok(Some(request)) => {
                            let mut inner = double.inner();
                            if inner.deaf {
                                continue;
                            }
                            if !request.acknowledge.is_empty() && let Some(on_ack) = &mut inner.on_ack {
                                on_ack();
                            }
                            for receipt in request.receipts {
                                if inner.deaf_to_receipts {
                                    continue;
                                }
                                assert!(inner.takes_receipts, "a relay that takes none here");
                                let unknown = inner.forgotten.contains(&receipt.message_id[0]);
                                outcomes.push(if unknown { 2 } else { 1 });
                                if !unknown {
                                    inner.said_on_stream += 1;
                                    inner.receipts.push(receipt);
                                }
                            }
                            for id in request.acknowledge {
                                inner.queue.remove(&id);
                                inner.requests.remove(&id);
                                inner.acknowledged.push(id);
                            }
                        }
                        _ => return,
                    },
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }

    async fn send_receipts(
        &self,
        request: Request<SendReceiptsRequest>,
    ) -> Result<Response<SendReceiptsResponse>, Status> {
        self.up(&request)?;
        let receipts = request.into_inner().receipts;
        let mut inner = self.inner();
        if receipts
            .iter()
            .any(|receipt| inner.forgotten.contains(&receipt.message_id[0]))
        {
            return Err(Status::not_found("forgotten"));
        }
        inner.receipts.extend(receipts);
        Ok(Response::new(SendReceiptsResponse {}))
    }

    async fn unregister(
        &self,
        _: Request<UnregisterRequest>,
    ) -> Result<Response<UnregisterResponse>, Status> {
        Err(Status::unimplemented("not in this double"))
    }

    async fn request_retry(
        &self,
        request: Request<RequestRetryRequest>,
    ) -> Result<Response<RequestRetryResponse>, Status> {
        self.up(&request)?;
        self.inner().retries.push(request.into_inner());
        Ok(Response::new(RequestRetryResponse {}))
    }

    async fn check_envelopes(
        &self,
        request: Request<CheckEnvelopesRequest>,
    ) -> Result<Response<CheckEnvelopesResponse>, Status> {
        self.up(&request)?;
        let inner = self.inner();
        let state = |id: &bytes::Bytes| {
            if inner.taken.contains(&id[..]) {
                EnvelopeState::Taken
            } else {
                EnvelopeState::Waiting
            }
        };
        let ids = request.into_inner().envelope_ids;
        let states = ids.iter().map(|id| state(id).into()).collect();
        Ok(Response::new(CheckEnvelopesResponse { states }))
    }
}
