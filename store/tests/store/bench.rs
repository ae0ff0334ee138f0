//! A store on a temporary database, served on loopback, with a clock that the test moves.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use sealpost_database::{
    Database, DatabaseError, Dialect, Kind, PoolOptions,
    sqlx::{self, AssertSqlSafe, query_scalar},
    testing::TestDatabase,
};
use sealpost_proto::{
    record::v1::{Direction, EpochId, Record},
    store::v1::{
        AdvanceStatusItem, AdvanceStatusRequest, AppendInboundItem, AppendInboundRequest,
        AppendOutboundItem, AppendOutboundRequest, LeaseDispatchRequest, LeasedRecord,
        ListEventsRequest, MessageStatus, StoredEvent, append_inbound_outcome,
        append_outbound_outcome, store_service_client::StoreServiceClient,
    },
};
use sealpost_runtime::{Clock, Timestamp};
use sealpost_store::{MIGRATIONS, announce, datastore::Datastore, service::Store};
use tokio::{net::TcpListener, sync::Notify};
use tokio_stream::{once, wrappers::TcpListenerStream};
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::{
    Status,
    transport::{Channel, Endpoint, Server},
};

pub(crate) const NUMBER: &str = "100000000000001";
pub(crate) const MONTH: u32 = 2_592_000;

/// A multiple of an hour.
pub(crate) const START: u64 = 1_699_999_200;

pub(crate) struct Bench {
    pub(crate) client: StoreServiceClient<Channel>,
    pub(crate) datastore: Datastore,
    pub(crate) clock: Clock,
    place: TestDatabase,
    _stop: DropGuard,
}

impl Bench {
    /// Ten minutes into the epoch that starts at `START`.
    pub(crate) async fn new() -> Self {
        Self::on(TestDatabase::chosen().await).await
    }

    pub(crate) async fn on(place: TestDatabase) -> Self {
        let clock = Clock::manual(Timestamp::from_secs(START + 600));
        let datastore = Datastore::open(place.config()).await.unwrap();
        let stop = CancellationToken::new();
        announce::start(&datastore, &stop).await.unwrap();
        let store = Store::new(
            datastore.clone(),
            clock.clone(),
            Arc::new(Notify::new()),
            "eu".to_owned(),
        );

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = Server::builder().add_service(store.into_server());
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
        let client = StoreServiceClient::new(endpoint.connect_lazy());
        Self {
            client,
            datastore,
            clock,
            place,
            _stop: stop.drop_guard(),
        }
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.clock.now().as_millis()
    }

    pub(crate) fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    pub(crate) async fn try_append(
        &self,
        items: Vec<AppendOutboundItem>,
    ) -> Result<Vec<append_outbound_outcome::Outcome>, Status> {
        let request = AppendOutboundRequest { batch_id: 7, items };
        let mut client = self.client.clone();
        let mut answers = client.append_outbound(once(request)).await?.into_inner();
        let answer = answers.message().await?.unwrap();
        assert_eq!(answer.batch_id, 7);
        assert!(answers.message().await?.is_none());
        let outcomes = answer.outcomes.into_iter().map(|one| one.outcome.unwrap());
        Ok(outcomes.collect())
    }

    pub(crate) async fn append(
        &self,
        items: Vec<AppendOutboundItem>,
    ) -> Vec<append_outbound_outcome::Outcome> {
        self.try_append(items).await.unwrap()
    }

    pub(crate) async fn append_inbound(
        &self,
        items: Vec<AppendInboundItem>,
    ) -> Vec<append_inbound_outcome::Outcome> {
        let request = AppendInboundRequest { batch_id: 8, items };
        let mut client = self.client.clone();
        let answers = client.append_inbound(once(request)).await;
        let answer = answers.unwrap().into_inner().message().await;
        let outcomes = answer.unwrap().unwrap().outcomes.into_iter();
        outcomes.map(|one| one.outcome.unwrap()).collect()
    }

    pub(crate) async fn move_to(&self, message: u8, status: MessageStatus) -> bool {
        self.advance_item(status_item(message, status, self.now_ms()))
            .await
    }

    pub(crate) async fn advance_item(&self, item: AdvanceStatusItem) -> bool {
        let request = AdvanceStatusRequest {
            batch_id: 9,
            items: vec![item],
        };
        let mut client = self.client.clone();
        let answers = client.advance_status(once(request)).await;
        let answer = answers.unwrap().into_inner().message().await;
        answer.unwrap().unwrap().outcomes[0].moved
    }

    pub(crate) async fn lease(&self, owner: &str, limit: u32, takeover: bool) -> Vec<LeasedRecord> {
        let request = LeaseDispatchRequest {
            owner: owner.into(),
            limit,
            lease_ms: 60_000,
            takeover,
        };
        let answer = self.client.clone().lease_dispatch(request).await.unwrap();
        answer.into_inner().records
    }

    pub(crate) async fn events(&self, after: u64, limit: u32) -> Vec<StoredEvent> {
        let request = ListEventsRequest {
            phone_number_id: NUMBER.into(),
            after,
            limit,
            without_records: false,
        };
        let answer = self.client.clone().list_events(request).await.unwrap();
        answer.into_inner().events
    }

    /// A second look at the database, past the store's own code.
    pub(crate) async fn count(&self, statement: String) -> i64 {
        self.look(statement).await
    }

    pub(crate) async fn text(&self, statement: String) -> String {
        self.look(statement).await
    }

    async fn look<T>(&self, statement: String) -> T
    where
        T: for<'r> sqlx::Decode<'r, Dialect> + sqlx::Type<Dialect> + Send + Unpin + 'static,
    {
        let database = Database::open(self.place.config(), MIGRATIONS, PoolOptions::default())
            .await
            .unwrap();
        let looked: Result<T, DatabaseError> = database
            .read("look", move |db| {
                Box::pin(async move {
                    let seen = query_scalar(AssertSqlSafe(statement)).fetch_one(&mut **db);
                    Ok(seen.await?)
                })
            })
            .await;
        looked.unwrap()
    }

    /// Which dialect the store speaks.
    pub(crate) fn kind(&self) -> Kind {
        self.place.kind()
    }

    /// Every file of the database, with its bytes.
    pub(crate) fn files(&self) -> Vec<(String, Vec<u8>)> {
        let entries = std::fs::read_dir(self.place.folder()).unwrap();
        entries
            .map(|entry| {
                let entry = entry.unwrap();
                let name = entry.file_name().into_string().unwrap();
                (name, std::fs::read(entry.path()).unwrap())
            })
            .collect()
    }
}

pub(crate) fn epoch() -> EpochId {
    EpochId {
        retention_seconds: MONTH,
        start_seconds: START,
    }
}

pub(crate) fn id(byte: u8) -> Bytes {
    Bytes::from(vec![byte; 16])
}

pub(crate) fn digest(byte: u8) -> Bytes {
    Bytes::from(vec![byte; 32])
}

pub(crate) fn record(direction: Direction, message: u8, tag: u8, sequence: u64) -> Record {
    Record {
        phone_number_id: NUMBER.into(),
        tag: id(tag),
        message_id: id(message),
        direction: direction.into(),
        epoch: Some(epoch()),
        sequence,
        sealed: Bytes::from(vec![message; 300]),
    }
}

/// An outbound message of the conversation `tag`, in the hands of gateway `a`.
pub(crate) fn outbound(message: u8, tag: u8, sequence: u64) -> AppendOutboundItem {
    AppendOutboundItem {
        record: Some(record(Direction::Outbound, message, tag, sequence)),
        digest: digest(message),
        lease_owner: "a".into(),
    }
}

/// An inbound message whose envelope is named by the same byte.
pub(crate) fn inbound(message: u8, tag: u8) -> AppendInboundItem {
    AppendInboundItem {
        record: Some(record(Direction::Inbound, message, tag, 1)),
        ciphertext_sha256: digest(message),
        identity_changed: false,
    }
}

pub(crate) fn status_item(message: u8, status: MessageStatus, time_ms: u64) -> AdvanceStatusItem {
    AdvanceStatusItem {
        phone_number_id: NUMBER.into(),
        message_id: id(message),
        status: status.into(),
        time_ms,
        error_code: if status == MessageStatus::Failed {
            131_036
        } else {
            0
        },
        attempt: 0,
    }
}
