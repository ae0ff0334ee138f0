//! A store in memory: statuses that move forward, leases, events, cursors; its append lane can be broken after it kept a batch.

use std::{
    collections::{BTreeMap, HashMap},
    pin::Pin,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::Stream;
use sealpost_proto::{
    record::v1::{Direction, Record},
    store::v1::{
        store_service_server::{StoreService, StoreServiceServer},
        *,
    },
};
use sealpost_runtime::{batch::serve_batches, status::reason_status};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Response, Status, Streaming, transport::Channel};

use super::{lock, serve};

#[derive(Clone)]
pub struct Store {
    pub state: Arc<Mutex<State>>,
    changed: watch::Sender<u64>,
}

#[derive(Default)]
pub struct State {
    /// By message id; one number is enough here.
    pub outbound: BTreeMap<Bytes, Outbound>,
    pub inbound: HashMap<Bytes, Record>,
    pub events: Vec<StoredEvent>,
    pub cursors: HashMap<(String, String), u64>,
    /// The newest opening of each subscription on a number, and all of them in their order.
    openings: HashMap<(String, String), u64>,
    opened: Vec<SubscriptionOpening>,
    /// Watches that begin now hear of no opening.
    pub hides_openings: bool,
    /// The next append is kept and its stream broken.
    pub break_append: bool,
    /// The number's records are kept elsewhere.
    pub departed: bool,
}

pub struct Outbound {
    pub record: Record,
    digest: Bytes,
    pub status: MessageStatus,
    pub error_code: u32,
    pub attempt: u32,
    leased: Option<(String, Instant)>,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            state: Arc::default(),
            changed: watch::Sender::new(0),
        }
    }
}

impl Store {
    pub async fn serve(&self) -> Channel {
        serve(StoreServiceServer::new(self.clone())).await
    }

    pub fn status(&self, message_id: &[u8]) -> Option<(MessageStatus, u32)> {
        let state = lock(&self.state);
        let kept = state.outbound.get(message_id)?;
        Some((kept.status, kept.error_code))
    }

    /// Adds a consumer's message as if it had been kept.
    pub fn add_event(&self, kind: EventKind, record: Option<Record>) {
        lock(&self.state).event(kind, record, MessageStatus::Unspecified);
        self.tell();
    }

    fn tell(&self) {
        let newest = lock(&self.state).events.len() as u64;
        self.changed.send_replace(newest);
    }
}

impl State {
    fn append(&mut self, item: AppendOutboundItem) -> AppendOutboundOutcome {
        use append_outbound_outcome::Outcome;
        if self.departed {
            return AppendOutboundOutcome {
                outcome: Some(Outcome::NumberDeparted(NumberDeparted {})),
            };
        }
        let record = item.record.unwrap_or_default();
        let outcome = match self.outbound.get(&record.message_id) {
            Some(kept) if kept.digest == item.digest => Outcome::Repeated(Appended {
                appended_at_ms: 1,
                status: kept.status.into(),
                in_other_hands: false,
            }),
            Some(_) => Outcome::Conflict(AppendConflict {}),
            None => {
                let kept = Outbound {
                    record: record.clone(),
                    digest: item.digest,
                    status: MessageStatus::Accepted,
                    error_code: 0,
                    attempt: 0,
                    leased: Some((item.lease_owner, Instant::now() + Duration::from_secs(60))),
                };
                self.outbound.insert(record.message_id, kept);
                Outcome::Appended(Appended {
                    appended_at_ms: 1,
                    status: MessageStatus::Accepted.into(),
                    in_other_hands: false,
                })
            }
        };
        AppendOutboundOutcome {
            outcome: Some(outcome),
        }
    }

    fn append_inbound(&mut self, item: AppendInboundItem) -> AppendInboundOutcome {
        if self.departed {
            return AppendInboundOutcome {
                outcome: Some(append_inbound_outcome::Outcome::NumberDeparted(
                    NumberDeparted {},
                )),
            };
        }
        let record = item.record.unwrap_or_default();
        if self
            .inbound
            .insert(item.ciphertext_sha256, record.clone())
            .is_none()
        {
            self.event(EventKind::Message, Some(record), MessageStatus::Unspecified);
        }
        AppendInboundOutcome {
            outcome: Some(append_inbound_outcome::Outcome::Appended(
                Appended::default(),
            )),
        }
    }

    fn advance(&mut self, item: &AdvanceStatusItem) -> AdvanceStatusOutcome {
        if self.departed {
            return AdvanceStatusOutcome {
                moved: false,
                number_departed: true,
            };
        }
        let status = item.status();
        let Some(kept) = self.outbound.get_mut(&item.message_id) else {
            return AdvanceStatusOutcome::default();
        };
        kept.attempt = kept.attempt.max(item.attempt);
        let moved =
            kept.status != MessageStatus::Failed && i32::from(status) > i32::from(kept.status);
        if moved {
            kept.status = status;
            kept.error_code = item.error_code;
            let record = kept.record.clone();
            self.event(EventKind::Status, Some(record), status);
        }
        AdvanceStatusOutcome {
            moved,
            number_departed: false,
        }
    }

    fn event(&mut self, kind: EventKind, record: Option<Record>, status: MessageStatus) {
        self.events.push(StoredEvent {
            cursor: self.events.len() as u64 + 1,
            kind: kind.into(),
            message_id: record
                .as_ref()
                .map_or_else(Bytes::new, |record| record.message_id.clone()),
            record,
            status: status.into(),
            time_ms: 1,
            error_code: 0,
        });
    }

    fn lease(&mut self, request: &LeaseDispatchRequest) -> Vec<LeasedRecord> {
        let now = Instant::now();
        if request.takeover {
            for kept in self.outbound.values_mut() {
                kept.leased.take_if(|(owner, _)| *owner == request.owner);
            }
        }
        let free = |kept: &&mut Outbound| {
            kept.status == MessageStatus::Accepted
                && kept.leased.as_ref().is_none_or(|(_, until)| *until <= now)
        };
        let mut records: Vec<&mut Outbound> = self.outbound.values_mut().filter(free).collect();
        records.sort_by_key(|kept| (kept.record.tag.clone(), kept.record.sequence));
        let lease = now + Duration::from_millis(request.lease_ms.into());
        let records = records
            .into_iter()
            .take(request.limit as usize)
            .map(|kept| {
                kept.leased = Some((request.owner.clone(), lease));
                LeasedRecord {
                    record: Some(kept.record.clone()),
                    attempt: kept.attempt,
                    appended_at_ms: 1,
                }
            });
        records.collect()
    }
}

type Answer<T> = Result<Response<T>, Status>;
type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

macro_rules! lane {
    ($self:ident, $request:ident, $take:expr, $response:ident, $breaks:expr) => {{
        let store = $self.clone();
        let answers = serve_batches(
            $request.into_inner(),
            CancellationToken::new(),
            move |batch| {
                let mut state = lock(&store.state);
                let broken = $breaks(&mut *state);
                let take = |item| $take(&mut *state, item);
                let outcomes = batch.items.into_iter().map(take).collect();
                drop(state);
                store.tell();
                let answer = $response {
                    batch_id: batch.batch_id,
                    outcomes,
                };
                async move {
                    if broken {
                        return Err(Status::unavailable("broken"));
                    }
                    Ok(answer)
                }
            },
        );
        Ok(Response::new(Box::pin(answers)))
    }};
}

#[tonic::async_trait]
impl StoreService for Store {
    type AppendOutboundStream = Answers<AppendOutboundResponse>;
    type AppendInboundStream = Answers<AppendInboundResponse>;
    type AdvanceStatusStream = Answers<AdvanceStatusResponse>;
    type WatchEventsStream = Answers<WatchEventsResponse>;

    async fn append_outbound(
        &self,
        request: Request<Streaming<AppendOutboundRequest>>,
    ) -> Answer<Self::AppendOutboundStream> {
        let breaks = |state: &mut State| std::mem::take(&mut state.break_append);
        lane!(self, request, State::append, AppendOutboundResponse, breaks)
    }
    async fn append_inbound(
        &self,
        request: Request<Streaming<AppendInboundRequest>>,
    ) -> Answer<Self::AppendInboundStream> {
        lane!(
            self,
            request,
            State::append_inbound,
            AppendInboundResponse,
            |_: &mut State| false
        )
    }
    async fn advance_status(
        &self,
        request: Request<Streaming<AdvanceStatusRequest>>,
    ) -> Answer<Self::AdvanceStatusStream> {
        lane!(
            self,
            request,
            |state: &mut State, item| state.advance(&item),
            AdvanceStatusResponse,
            |_: &mut State| false
        )
    }

    async fn lease_dispatch(
        &self,
        request: Request<LeaseDispatchRequest>,
    ) -> Answer<LeaseDispatchResponse> {
        let records = lock(&self.state).lease(&request.into_inner());
        Ok(Response::new(LeaseDispatchResponse { records }))
    }
    async fn get_record(&self, request: Request<GetRecordRequest>) -> Answer<GetRecordResponse> {
        let request = request.into_inner();
        assert_eq!(request.direction(), Direction::Outbound);
        let state = lock(&self.state);
        let kept = state
            .outbound
            .get(&request.message_id)
            .ok_or(Status::not_found("no such record"))?;
        Ok(Response::new(GetRecordResponse {
            record: Some(kept.record.clone()),
            status: kept.status.into(),
            status_at_ms: 1,
            error_code: kept.error_code,
            attempt: kept.attempt,
        }))
    }
    async fn has_envelope(
        &self,
        request: Request<HasEnvelopeRequest>,
    ) -> Answer<HasEnvelopeResponse> {
        let kept = lock(&self.state)
            .inbound
            .contains_key(&request.into_inner().ciphertext_sha256);
        Ok(Response::new(HasEnvelopeResponse { kept }))
    }
    async fn list_events(&self, request: Request<ListEventsRequest>) -> Answer<ListEventsResponse> {
        let request = request.into_inner();
        let state = lock(&self.state);
        let events = state
            .events
            .iter()
            .filter(|event| event.cursor > request.after);
        Ok(Response::new(ListEventsResponse {
            events: events.take(request.limit as usize).cloned().collect(),
        }))
    }
    async fn watch_events(
        &self,
        _: Request<WatchEventsRequest>,
    ) -> Answer<Self::WatchEventsStream> {
        let mut changed = self.changed.subscribe();
        let (state, tells) = (self.state.clone(), !lock(&self.state).hides_openings);
        let (news, stream) = mpsc::channel(1);
        tokio::spawn(async move {
            loop {
                let cursor = *changed.borrow_and_update();
                let openings = if tells {
                    lock(&state).opened.clone()
                } else {
                    Vec::new()
                };
                let answer = WatchEventsResponse {
                    cursors: vec![NumberCursor {
                        phone_number_id: super::super::harness::NUMBER.into(),
                        cursor,
                    }],
                    openings,
                };
                if news.send(Ok(answer)).await.is_err() || changed.changed().await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }
    async fn get_cursor(&self, request: Request<GetCursorRequest>) -> Answer<GetCursorResponse> {
        let request = request.into_inner();
        let key = (request.subscription, request.phone_number_id);
        let cursor = lock(&self.state).cursors.get(&key).copied().unwrap_or(0);
        Ok(Response::new(GetCursorResponse { cursor }))
    }
    async fn advance_cursor(
        &self,
        request: Request<AdvanceCursorRequest>,
    ) -> Answer<AdvanceCursorResponse> {
        let request = request.into_inner();
        let key = (request.subscription, request.phone_number_id);
        let mut state = lock(&self.state);
        let replaced = state.openings.get(&key) > Some(&request.opening);
        let cursor = state.cursors.entry(key).or_default();
        *cursor = request.cursor.max(*cursor);
        if replaced {
            let (code, reason) = (Code::Aborted, "SUBSCRIPTION_REPLACED");
            return Err(reason_status(code, reason, "opened anew"));
        }
        Ok(Response::new(AdvanceCursorResponse {}))
    }
    async fn open_cursor(&self, request: Request<OpenCursorRequest>) -> Answer<OpenCursorResponse> {
        let request = request.into_inner();
        let mut state = lock(&self.state);
        let opening = state.opened.len() as u64 + 1;
        state.opened.push(SubscriptionOpening {
            subscription: request.subscription.clone(),
            phone_number_id: request.phone_number_id.clone(),
            opening,
        });
        let key = (request.subscription, request.phone_number_id);
        let cursor = state.cursors.get(&key).copied().unwrap_or(0);
        state.openings.insert(key, opening);
        drop(state);
        self.tell();
        Ok(Response::new(OpenCursorResponse { cursor, opening }))
    }
    async fn list_subscriptions(
        &self,
        _: Request<ListSubscriptionsRequest>,
    ) -> Answer<ListSubscriptionsResponse> {
        Err(Status::unimplemented("not in this double"))
    }
    async fn delete_subscription(
        &self,
        _: Request<DeleteSubscriptionRequest>,
    ) -> Answer<DeleteSubscriptionResponse> {
        Err(Status::unimplemented("not in this double"))
    }
    async fn delete_epochs(&self, _: Request<DeleteEpochsRequest>) -> Answer<DeleteEpochsResponse> {
        Err(Status::unimplemented("not in this double"))
    }
    async fn delete_subject(
        &self,
        _: Request<DeleteSubjectRequest>,
    ) -> Answer<DeleteSubjectResponse> {
        Err(Status::unimplemented("not in this double"))
    }
    async fn describe_store(
        &self,
        _: Request<DescribeStoreRequest>,
    ) -> Answer<DescribeStoreResponse> {
        Err(Status::unimplemented("not in this double"))
    }
    async fn mark_number(&self, _: Request<MarkNumberRequest>) -> Answer<MarkNumberResponse> {
        Err(Status::unimplemented("not in this double"))
    }
    async fn export_number(&self, _: Request<ExportNumberRequest>) -> Answer<ExportNumberResponse> {
        Err(Status::unimplemented("not in this double"))
    }
    async fn import_number(&self, _: Request<ImportNumberRequest>) -> Answer<ImportNumberResponse> {
        Err(Status::unimplemented("not in this double"))
    }
    async fn delete_number(&self, _: Request<DeleteNumberRequest>) -> Answer<DeleteNumberResponse> {
        Err(Status::unimplemented("not in this double"))
    }
    async fn list_subject(&self, _: Request<ListSubjectRequest>) -> Answer<ListSubjectResponse> {
        Err(Status::unimplemented("not in this double"))
    }
}
