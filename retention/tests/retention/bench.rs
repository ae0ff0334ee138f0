//! Retention on a temporary database among a vault, two stores and a relay, with a clock that the test moves.

use std::time::Duration;

use sealpost_database::testing::TestDatabase;
use sealpost_proto::{
    record::v1::EpochId,
    retention::v1::{
        ListReceiptsRequest, ListRunsRequest, Run, RunNowRequest, StoredReceipt,
        retention_service_client::RetentionServiceClient,
    },
};
use sealpost_retention::{
    datastore::Datastore, jobs::Jobs, peers::Peers, receipt::ReceiptKey, service::Retention,
};
use sealpost_runtime::{Clock, Timestamp};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Channel, Endpoint, Server};

use crate::doubles::{Double, Relay, Store, Vault};

pub(crate) const NUMBER: &str = "100000000000001";
pub(crate) const BATCH: u32 = 10;
const NOW: u64 = 1_700_000_000;

pub(crate) struct Bench {
    pub(crate) client: RetentionServiceClient<Channel>,
    pub(crate) jobs: Jobs,
    pub(crate) datastore: Datastore,
    pub(crate) clock: Clock,
    pub(crate) vault: Double<Vault>,
    pub(crate) stores: [Double<Store>; 2],
    pub(crate) relay: Double<Relay>,
    _place: TestDatabase,
}

impl Bench {
    pub(crate) async fn new(vault: Vault, stores: [Store; 2], relay: Relay) -> Self {
        Self::with_key(vault, stores, relay, None).await
    }

    pub(crate) async fn with_key(
        vault: Vault,
        [first, second]: [Store; 2],
        relay: Relay,
        key: Option<ReceiptKey>,
    ) -> Self {
        let clock = Clock::manual(Timestamp::from_secs(NOW));
        let (vault, to_vault) = Double::start(vault).await;
        vault.state().now_ms = clock.now().as_millis();
        let (first, to_first) = Double::start(first).await;
        let (second, to_second) = Double::start(second).await;
        let (relay, to_relay) = Double::start(relay).await;

        let place = TestDatabase::chosen().await;
        let datastore = Datastore::open(place.config(), key).await.unwrap();
        let peers = Peers::new(to_vault, vec![to_first, to_second], vec![to_relay]);
        let jobs = Jobs::new(datastore.clone(), peers, clock.clone(), BATCH);

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let retention = Retention::new(jobs.clone(), datastore.clone());
        let server = Server::builder().add_service(retention.into_server());
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
        Self {
            client: RetentionServiceClient::new(endpoint.connect_lazy()),
            jobs,
            datastore,
            clock,
            vault,
            stores: [first, second],
            relay,
            _place: place,
        }
    }

    pub(crate) fn advance(&self, duration: Duration) {
        self.clock.advance(duration);
        self.vault.state().now_ms = self.clock.now().as_millis();
    }

    pub(crate) async fn run(&self, dry_run: bool) -> Run {
        let answer = self
            .client
            .clone()
            .run_now(RunNowRequest {
                dry_run,
                again: false,
            })
            .await;
        answer.unwrap().into_inner().run.unwrap()
    }

    pub(crate) async fn runs(&self, page_size: u32, before: u64) -> Vec<Run> {
        let request = ListRunsRequest { page_size, before };
        let answer = self.client.clone().list_runs(request).await;
        answer.unwrap().into_inner().runs
    }

    pub(crate) async fn receipts(&self) -> Vec<StoredReceipt> {
        let request = ListReceiptsRequest::default();
        let answer = self.client.clone().list_receipts(request).await;
        answer.unwrap().into_inner().receipts
    }

    /// How many receipts there are, page by page.
    pub(crate) async fn receipts_paged(&self) -> usize {
        let (mut found, mut before) = (0, 0);
        loop {
            let request = ListReceiptsRequest {
                page_size: 200,
                before,
            };
            let answer = self.client.clone().list_receipts(request).await;
            let page = answer.unwrap().into_inner().receipts;
            let Some(last) = page.last() else {
                return found;
            };
            found += page.len();
            before = last.receipt_id;
        }
    }

    /// What a dry run counts, by service and table.
    pub(crate) async fn counted(&self) -> Vec<(String, String, u64)> {
        let request = RunNowRequest {
            dry_run: true,
            again: false,
        };
        let answer = self.client.clone().run_now(request).await;
        let rows = answer.unwrap().into_inner().rows.into_iter();
        rows.map(|rows| (rows.service, rows.table, rows.rows))
            .collect()
    }

    pub(crate) fn rows(&self) -> [usize; 2] {
        [0, 1].map(|store| self.stores[store].state().rows.len())
    }
}

pub(crate) fn epoch(start_seconds: u64) -> EpochId {
    EpochId {
        retention_seconds: 3_600,
        start_seconds,
    }
}
