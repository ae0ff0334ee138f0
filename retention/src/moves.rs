//! Numbers on their way from one region's store to another's.
//!
//! Owns the order of the steps. The directory remembers how far a move is, and every step may be done again, so a process that
//! dies goes on where it was. Invariants: nothing of the number is written anywhere between the first copied row and the switch; the region is switched
//! only when both stores hold the same rows; rows are deleted only after the switch. What the rows hold stays sealed.

use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use ring::digest::{Context, SHA256};
use sealpost_proto::{
    directory::v1::{
        AdvanceNumberMoveRequest, ListNumberMovesRequest, NumberMove, NumberMoveState,
        directory_service_client::DirectoryServiceClient,
    },
    store::v1::{
        DeleteNumberRequest, DescribeStoreRequest, ExportNumberRequest, ExportedRow,
        ImportNumberRequest, MarkNumberRequest, store_service_client::StoreServiceClient,
    },
};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tonic::{Response, Status, transport::Channel};

/// How often the directory is asked for moves.
const INTERVAL: Duration = Duration::from_secs(2);
/// How long one bounded call may take.
const DEADLINE: Duration = Duration::from_secs(30);
/// Rows in one call.
const ROWS: u32 = 256;
/// Rows deleted in one call.
const DELETED: u32 = 1_000;

type Store = StoreServiceClient<Channel>;

/// Whom moves need.
#[derive(Clone, Debug)]
pub struct Moves {
    directory: DirectoryServiceClient<Channel>,
    stores: Vec<Store>,
}

/// Why a step was not done. It is tried again.
#[derive(Debug, thiserror::Error)]
enum NotNow {
    /// A service refused or does not answer.
    #[error("a service does not answer")]
    Unanswered(#[from] Status),
    /// The stores hold different rows: an epoch ended meanwhile, say.
    #[error("the stores hold different rows")]
    Differ,
}

/// What one store holds of a number: how many rows, and a hash over all of them.
#[derive(PartialEq, Eq)]
struct Holding {
    rows: u64,
    digest: Vec<u8>,
}

impl Moves {
    /// Over these channels.
    #[must_use]
    pub fn new(directory: Channel, stores: Vec<Channel>) -> Self {
        Self {
            directory: DirectoryServiceClient::new(directory),
            stores: stores.into_iter().map(StoreServiceClient::new).collect(),
        }
    }

    /// Carries out what operators ask for until `stop`.
    pub async fn keep(self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.look() => {}
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(INTERVAL) => {}
            }
        }
    }

    /// Takes up every move that is under way.
    async fn look(&self) {
        let request = ListNumberMovesRequest {
            open_only: true,
            ..ListNumberMovesRequest::default()
        };
        let mut directory = self.directory.clone();
        let Ok(open) = answer(directory.list_number_moves(request)).await else {
            return;
        };
        for one in open.moves {
            if let Err(error) = self.carry_on(one).await {
                tracing::warn!(error = %error, "a number's move goes on later");
            }
        }
    }

    async fn carry_on(&self, one: NumberMove) -> Result<(), NotNow> {
        let (from, to) = (
            self.store_of(&one.from_region).await?,
            self.store_of(&one.to_region).await?,
        );
        let (Some(from), Some(to)) = (from, to) else {
            return self.advance(&one, NumberMoveState::Failed, 0).await;
        };
        let number = &one.phone_number_id;
        if one.state() == NumberMoveState::Asked {
            // From here on neither takes a write, so that what is copied is what there is.
            mark(&from, number, true).await?;
            mark(&to, number, true).await?;
            copy(&from, &to, number).await?;
            let holding = holding(&from, number).await?;
            if holding != self::holding(&to, number).await? {
                return Err(NotNow::Differ);
            }
            self.advance(&one, NumberMoveState::Switched, holding.rows)
                .await?;
        }
        mark(&to, number, false).await?;
        delete(&from, number).await?;
        self.advance(&one, NumberMoveState::Done, one.rows).await
    }

    /// The store that says it is for that region; none when no store does, and all were asked.
    async fn store_of(&self, region: &str) -> Result<Option<Store>, NotNow> {
        for store in &self.stores {
            let mut store = store.clone();
            let described = answer(store.describe_store(DescribeStoreRequest {})).await?;
            if described.region == region {
                return Ok(Some(store));
            }
        }
        Ok(None)
    }

    async fn advance(
        &self,
        one: &NumberMove,
        state: NumberMoveState,
        rows: u64,
    ) -> Result<(), NotNow> {
        let request = AdvanceNumberMoveRequest {
            move_id: one.move_id.clone(),
            state: state.into(),
            rows,
        };
        let mut directory = self.directory.clone();
        answer(directory.advance_number_move(request)).await?;
        tracing::info!(
            state = state.as_str_name(),
            "a number's move came a step on"
        );
        metrics::counter!("sealpost_retention_moves_total", "state" => state.as_str_name())
            .increment(1);
        Ok(())
    }
}

async fn mark(store: &Store, number: &str, departed: bool) -> Result<(), NotNow> {
    let request = MarkNumberRequest {
        phone_number_id: number.to_owned(),
        departed,
    };
    answer(store.clone().mark_number(request)).await?;
    Ok(())
}

/// A number's rows in one store, page after page.
struct Pages<'a> {
    store: &'a Store,
    number: &'a str,
    /// Where the next page begins; none at the end.
    after: Option<Bytes>,
}

impl<'a> Pages<'a> {
    fn of(store: &'a Store, number: &'a str) -> Self {
        Self {
            store,
            number,
            after: Some(Bytes::new()),
        }
    }

    async fn next(&mut self) -> Result<Option<Vec<ExportedRow>>, NotNow> {
        let Some(after) = self.after.take() else {
            return Ok(None);
        };
        let request = ExportNumberRequest {
            phone_number_id: self.number.to_owned(),
            after,
            limit: ROWS,
        };
        let page = answer(self.store.clone().export_number(request)).await?;
        self.after = Some(page.next).filter(|next| !next.is_empty());
        Ok(Some(page.rows))
    }
}

async fn copy(from: &Store, to: &Store, number: &str) -> Result<(), NotNow> {
    let mut pages = Pages::of(from, number);
    while let Some(rows) = pages.next().await? {
        if rows.is_empty() {
            continue;
        }
        let request = ImportNumberRequest {
            phone_number_id: number.to_owned(),
            rows,
        };
        answer(to.clone().import_number(request)).await?;
    }
    Ok(())
}

async fn holding(store: &Store, number: &str) -> Result<Holding, NotNow> {
    let (mut rows, mut hash) = (0, Context::new(&SHA256));
    let mut pages = Pages::of(store, number);
    while let Some(page) = pages.next().await? {
        for row in page {
            rows += 1;
            hash.update(&row.encode_length_delimited_to_vec());
        }
    }
    Ok(Holding {
        rows,
        digest: hash.finish().as_ref().to_vec(),
    })
}

async fn delete(from: &Store, number: &str) -> Result<(), NotNow> {
    loop {
        let request = DeleteNumberRequest {
            phone_number_id: number.to_owned(),
            limit: DELETED,
        };
        if !answer(from.clone().delete_number(request)).await?.more {
            return Ok(());
        }
    }
}

async fn answer<T>(call: impl Future<Output = Result<Response<T>, Status>>) -> Result<T, Status> {
    match timeout(DEADLINE, call).await {
        Ok(answered) => Ok(answered?.into_inner()),
        Err(_) => Err(Status::deadline_exceeded("no answer in time")),
    }
}
