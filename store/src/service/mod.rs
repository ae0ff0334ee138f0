//! The store's gRPC face: reads requests, calls the datastore, writes answers. It decides nothing.

mod moving;
mod requests;
mod responses;
mod watch;

use std::{sync::Arc, time::Duration};

use sealpost_proto::store::v1::{
    AdvanceCursorRequest, AdvanceCursorResponse, AdvanceStatusRequest, AdvanceStatusResponse,
    AppendInboundRequest, AppendInboundResponse, AppendOutboundRequest, AppendOutboundResponse,
    DeleteEpochsRequest, DeleteEpochsResponse, DeleteNumberRequest, DeleteNumberResponse,
    DeleteSubjectRequest, DeleteSubjectResponse, DeleteSubscriptionRequest,
    DeleteSubscriptionResponse, DescribeStoreRequest, DescribeStoreResponse, ExportNumberRequest,
    ExportNumberResponse, GetCursorRequest, GetCursorResponse, GetRecordRequest, GetRecordResponse,
    HasEnvelopeRequest, HasEnvelopeResponse, ImportNumberRequest, ImportNumberResponse,
    LeaseDispatchRequest, LeaseDispatchResponse, ListEventsRequest, ListEventsResponse,
    ListSubjectRequest, ListSubjectResponse, ListSubscriptionsRequest, ListSubscriptionsResponse,
    MarkNumberRequest, MarkNumberResponse, OpenCursorRequest, OpenCursorResponse,
    WatchEventsRequest, WatchEventsResponse,
    store_service_server::{StoreService, StoreServiceServer},
};
use sealpost_runtime::{
    Clock, MAX_MESSAGE_BYTES,
    batch::{BatchAnswers, serve_batches},
    server::draining,
};
use tokio::sync::Notify;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::{
    datastore::Datastore,
    error::StoreError,
    record::{Direction, parse_message_id, parse_number, parse_tag},
};

use requests::{bounded, parse_all};

/// The service over an open datastore.
#[derive(Clone, Debug)]
pub struct Store {
    datastore: Datastore,
    clock: Clock,
    /// Wakes the upkeep when rows were deleted.
    wake: Arc<Notify>,
    /// Which region it is for; empty: every one.
    region: String,
}

impl Store {
    /// Serves `datastore` for `region`; `wake` rouses the upkeep.
    #[must_use]
    pub fn new(datastore: Datastore, clock: Clock, wake: Arc<Notify>, region: String) -> Self {
        Self {
            datastore,
            clock,
            wake,
            region,
        }
    }

    /// As tonic serves it, with our bound on requests.
    #[must_use]
    pub fn into_server(self) -> StoreServiceServer<Self> {
        StoreServiceServer::new(self).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    async fn append_outbound_batch(
        &self,
        batch: AppendOutboundRequest,
    ) -> Result<AppendOutboundResponse, StoreError> {
        let now = self.clock.now();
        let items = parse_all(batch.items, |item| requests::outbound(item, now))?;
        let outcomes = self.datastore.append_outbound(items, now).await?;
        Ok(responses::outbound(batch.batch_id, outcomes))
    }

    async fn append_inbound_batch(
        &self,
        batch: AppendInboundRequest,
    ) -> Result<AppendInboundResponse, StoreError> {
        let now = self.clock.now();
        let items = parse_all(batch.items, |item| requests::inbound(item, now))?;
        let outcomes = self.datastore.append_inbound(items, now).await?;
        Ok(responses::inbound(batch.batch_id, outcomes))
    }

    async fn advance_status_batch(
        &self,
        batch: AdvanceStatusRequest,
    ) -> Result<AdvanceStatusResponse, StoreError> {
        let items = parse_all(batch.items, |item| requests::progress(&item))?;
        let moved = self.datastore.advance_status(items).await?;
        Ok(responses::progress(batch.batch_id, moved))
    }
}

#[tonic::async_trait]
impl StoreService for Store {
    type AppendOutboundStream = BatchAnswers<AppendOutboundResponse>;
    type AppendInboundStream = BatchAnswers<AppendInboundResponse>;
    type AdvanceStatusStream = BatchAnswers<AdvanceStatusResponse>;
    type WatchEventsStream = ReceiverStream<Result<WatchEventsResponse, Status>>;

    async fn append_outbound(
        &self,
        request: Request<Streaming<AppendOutboundRequest>>,
    ) -> Result<Response<Self::AppendOutboundStream>, Status> {
        let (stop, store) = (draining(&request), self.clone());
        let answers = serve_batches(request.into_inner(), stop, move |batch| {
            let store = store.clone();
            async move { Ok(store.append_outbound_batch(batch).await?) }
        });
        Ok(Response::new(answers))
    }

    async fn append_inbound(
        &self,
        request: Request<Streaming<AppendInboundRequest>>,
    ) -> Result<Response<Self::AppendInboundStream>, Status> {
        let (stop, store) = (draining(&request), self.clone());
        let answers = serve_batches(request.into_inner(), stop, move |batch| {
            let store = store.clone();
            async move { Ok(store.append_inbound_batch(batch).await?) }
        });
        Ok(Response::new(answers))
    }

    async fn advance_status(
        &self,
        request: Request<Streaming<AdvanceStatusRequest>>,
    ) -> Result<Response<Self::AdvanceStatusStream>, Status> {
        let (stop, store) = (draining(&request), self.clone());
        let answers = serve_batches(request.into_inner(), stop, move |batch| {
            let store = store.clone();
            async move { Ok(store.advance_status_batch(batch).await?) }
        });
        Ok(Response::new(answers))
    }

    async fn lease_dispatch(
        &self,
        request: Request<LeaseDispatchRequest>,
    ) -> Result<Response<LeaseDispatchResponse>, Status> {
        let request = request.into_inner();
        let owner = requests::owner("owner", &request.owner)?;
        let limit = bounded("limit", request.limit, 1_024)?;
        let lease_ms = bounded("lease_ms", request.lease_ms, 3_600_000)?;
        let (lease, now) = (Duration::from_millis(lease_ms), self.clock.now());
        let leased = self
            .datastore
            .lease_dispatch(owner, limit, lease, request.takeover, now)
            .await?;
        Ok(Response::new(responses::leased(leased)))
    }

    async fn get_record(
        &self,
        request: Request<GetRecordRequest>,
    ) -> Result<Response<GetRecordResponse>, Status> {
        let request = request.into_inner();
        let number = parse_number(&request.phone_number_id)?;
        let message_id = parse_message_id(&request.message_id)?;
        let now = self.clock.now();
        let answer = match Direction::parse(request.direction)? {
            Direction::Outbound => {
                let found = self.datastore.outbound_record(number, message_id, now);
                responses::outbound_record(found.await?)
            }
            Direction::Inbound => {
                let found = self.datastore.inbound_record(number, message_id, now);
                responses::inbound_record(found.await?)
            }
        };
        Ok(Response::new(answer))
    }

    async fn has_envelope(
        &self,
        request: Request<HasEnvelopeRequest>,
    ) -> Result<Response<HasEnvelopeResponse>, Status> {
        let request = request.into_inner();
        let number = parse_number(&request.phone_number_id)?;
        let ciphertext = requests::ciphertext(&request.ciphertext_sha256)?;
        let kept = self.datastore.has_envelope(number, ciphertext).await?;
        Ok(Response::new(HasEnvelopeResponse { kept }))
    }

    async fn list_events(
        &self,
        request: Request<ListEventsRequest>,
    ) -> Result<Response<ListEventsResponse>, Status> {
        let request = request.into_inner();
        let number = parse_number(&request.phone_number_id)?;
        let limit = bounded("limit", request.limit, 256)?;
        let events = self
            .datastore
            .list_events(
                number,
                request.after,
                limit,
                !request.without_records,
                self.clock.now(),
            )
            .await?;
        Ok(Response::new(responses::events(events)))
    }

    async fn watch_events(
        &self,
        request: Request<WatchEventsRequest>,
    ) -> Result<Response<Self::WatchEventsStream>, Status> {
        let stop = draining(&request);
        Ok(Response::new(watch::start(self.datastore.clone(), stop)))
    }

    async fn get_cursor(
        &self,
        request: Request<GetCursorRequest>,
    ) -> Result<Response<GetCursorResponse>, Status> {
        let request = request.into_inner();
        let subscription = requests::subscription(&request.subscription)?;
        let number = parse_number(&request.phone_number_id)?;
        let cursor = self.datastore.cursor(subscription, number).await?;
        Ok(Response::new(GetCursorResponse { cursor }))
    }

    async fn advance_cursor(
        &self,
        request: Request<AdvanceCursorRequest>,
    ) -> Result<Response<AdvanceCursorResponse>, Status> {
        let request = request.into_inner();
        let subscription = requests::subscription(&request.subscription)?;
        let number = parse_number(&request.phone_number_id)?;
        let now = self.clock.now();
        self.datastore
            .advance_cursor(subscription, number, request.cursor, request.opening, now)
            .await?;
        Ok(Response::new(AdvanceCursorResponse {}))
    }

    async fn open_cursor(
        &self,
        request: Request<OpenCursorRequest>,
    ) -> Result<Response<OpenCursorResponse>, Status> {
        let request = request.into_inner();
        let subscription = requests::subscription(&request.subscription)?;
        let number = parse_number(&request.phone_number_id)?;
        let now = self.clock.now();
        let opened = self.datastore.open_cursor(subscription, number, now);
        let (cursor, opening) = opened.await?;
        Ok(Response::new(OpenCursorResponse { cursor, opening }))
    }

    async fn list_subscriptions(
        &self,
        request: Request<ListSubscriptionsRequest>,
    ) -> Result<Response<ListSubscriptionsResponse>, Status> {
        let request = request.into_inner();
        let limit = bounded("page_size", request.page_size, 1_000)?;
        let after = match (
            &*request.after_subscription,
            &*request.after_phone_number_id,
        ) {
            ("", "") => None,
            (subscription, number) => {
                Some((requests::subscription(subscription)?, parse_number(number)?))
            }
        };
        let listed = self.datastore.list_subscriptions(after, limit).await?;
        Ok(Response::new(responses::subscriptions(listed)))
    }

    async fn delete_subscription(
        &self,
        request: Request<DeleteSubscriptionRequest>,
    ) -> Result<Response<DeleteSubscriptionResponse>, Status> {
        let request = request.into_inner();
        let subscription = requests::subscription(&request.subscription)?;
        let number = match &*request.phone_number_id {
            "" => None,
            number => Some(parse_number(number)?),
        };
        let limit = bounded("limit", request.limit, 10_000)?;
        let deleted = self
            .datastore
            .delete_subscription(subscription, number, limit);
        let erased = deleted.await?;
        Ok(Response::new(DeleteSubscriptionResponse {
            deleted: erased.rows(),
            more: erased.more,
        }))
    }

    async fn delete_epochs(
        &self,
        request: Request<DeleteEpochsRequest>,
    ) -> Result<Response<DeleteEpochsResponse>, Status> {
        let request = request.into_inner();
        let limit = bounded("limit", request.limit, 10_000)?;
        let epochs = requests::epochs(&request.epochs)?;
        let erased = if request.dry_run {
            self.datastore.count_epochs(epochs, limit).await?
        } else {
            let erased = self
                .datastore
                .delete_epochs(epochs, limit, self.clock.now());
            let erased = erased.await?;
            self.wake.notify_one();
            erased
        };
        Ok(Response::new(DeleteEpochsResponse {
            deleted: erased.rows(),
            more: erased.more,
            tables: responses::tables(&erased),
        }))
    }

    async fn delete_subject(
        &self,
        request: Request<DeleteSubjectRequest>,
    ) -> Result<Response<DeleteSubjectResponse>, Status> {
        let request = request.into_inner();
        let number = parse_number(&request.phone_number_id)?;
        let tag = parse_tag(&request.tag)?;
        let limit = bounded("limit", request.limit, 10_000)?;
        let erased = self.datastore.delete_subject(number, tag, limit).await?;
        self.wake.notify_one();
        Ok(Response::new(DeleteSubjectResponse {
            deleted: erased.rows(),
            more: erased.more,
            tables: responses::tables(&erased),
        }))
    }

    async fn describe_store(
        &self,
        _: Request<DescribeStoreRequest>,
    ) -> Result<Response<DescribeStoreResponse>, Status> {
        Ok(Response::new(DescribeStoreResponse {
            region: self.region.clone(),
        }))
    }

    async fn mark_number(
        &self,
        request: Request<MarkNumberRequest>,
    ) -> Result<Response<MarkNumberResponse>, Status> {
        let request = request.into_inner();
        let number = parse_number(&request.phone_number_id)?;
        let now = self.clock.now();
        self.datastore
            .mark_number(number, request.departed, now)
            .await?;
        Ok(Response::new(MarkNumberResponse {}))
    }

    async fn export_number(
        &self,
        request: Request<ExportNumberRequest>,
    ) -> Result<Response<ExportNumberResponse>, Status> {
        let request = request.into_inner();
        let number = parse_number(&request.phone_number_id)?;
        let limit = bounded("limit", request.limit, moving::MOST)?;
        let place = moving::place(&request.after)?;
        let (rows, next) = self.datastore.export_number(number, place, limit).await?;
        Ok(Response::new(moving::exported(rows, next)))
    }

    async fn import_number(
        &self,
        request: Request<ImportNumberRequest>,
    ) -> Result<Response<ImportNumberResponse>, Status> {
        let request = request.into_inner();
        let number = parse_number(&request.phone_number_id)?;
        let rows = moving::rows(request.rows, &number)?;
        let now = self.clock.now();
        let added = self.datastore.import_number(number, rows, now).await?;
        Ok(Response::new(ImportNumberResponse { added }))
    }

    async fn delete_number(
        &self,
        request: Request<DeleteNumberRequest>,
    ) -> Result<Response<DeleteNumberResponse>, Status> {
        let request = request.into_inner();
        let number = parse_number(&request.phone_number_id)?;
        let limit = bounded("limit", request.limit, 10_000)?;
        let erased = self.datastore.delete_number(number, limit).await?;
        self.wake.notify_one();
        Ok(Response::new(DeleteNumberResponse {
            deleted: erased.rows(),
            more: erased.more,
        }))
    }

    async fn list_subject(
        &self,
        request: Request<ListSubjectRequest>,
    ) -> Result<Response<ListSubjectResponse>, Status> {
        let request = request.into_inner();
        let number = parse_number(&request.phone_number_id)?;
        let tag = parse_tag(&request.tag)?;
        let direction = Direction::parse(request.direction)?;
        let after = match &request.after[..] {
            [] => None,
            after => Some(requests::after(after)?),
        };
        let limit = bounded("limit", request.limit, 256)?;
        let found = self
            .datastore
            .person_records(number, tag, direction, after, limit)
            .await?;
        Ok(Response::new(responses::person(found)))
    }
}
