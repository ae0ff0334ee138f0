//! Deleting in one place, batch by batch, until nothing is left or the place does not answer.

use bytes::Bytes;
use sealpost_proto::{
    relay::v1::DeleteExpiredRequest,
    store::v1::{DeleteEpochsRequest, DeleteNumberRequest, DeleteSubjectRequest, TableRows},
};
use tokio::time::{Instant, sleep};
use tonic::Status;

use crate::{
    peers::{RelayPeer, StorePeer},
    receipt::{Epoch, Subject},
};

/// The most that one call counts.
const COUNT_LIMIT: u32 = 10_000;
/// After so many calls in one place, a line in the log says how far it is.
const PROGRESS: u32 = 20;
/// The store has so many times as long for others as a batch took.
const REST: u32 = 3;

/// What was deleted in one place.
#[derive(Debug, Default)]
pub(super) struct Deleted {
    /// Rows that are gone.
    pub(super) rows: u64,
    /// The same by table, where the place says so.
    pub(super) tables: Vec<TableRows>,
    /// What the place said instead of deleting the rest.
    pub(super) refused: Option<Status>,
    calls: u32,
}

/// One call's answer.
type Answer = Result<(u64, bool, Vec<TableRows>), Status>;

impl Deleted {
    /// Adds one call's answer; answers whether to call again.
    fn add(&mut self, answer: Answer) -> bool {
        match answer {
            // A place that deletes nothing and says that more is left would keep us forever.
            Ok((0, true, _)) => {
                self.refused = Some(Status::internal("nothing was deleted and more is left"));
                false
            }
            Ok((rows, more, tables)) => {
                self.rows += rows;
                self.tables.extend(tables);
                self.calls += 1;
                if more && self.calls.is_multiple_of(PROGRESS) {
                    tracing::info!(count = self.rows, "rows are being deleted in one place");
                }
                more
            }
            Err(status) => {
                self.refused = Some(status);
                false
            }
        }
    }
}

/// How much goes at a time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deletion {
    limit: u32,
}

impl Deletion {
    pub(super) fn new(limit: u32) -> Self {
        Self { limit }
    }

    pub(super) async fn epochs(self, store: &StorePeer, epochs: &[Epoch]) -> Deleted {
        let mut deleted = Deleted::default();
        loop {
            let request = DeleteEpochsRequest {
                epochs: epochs.iter().map(|epoch| epoch.to_wire()).collect(),
                limit: self.limit,
                dry_run: false,
            };
            let begun = Instant::now();
            let answer = store.delete_epochs(request).await;
            if !deleted.add(answer.map(|answer| (answer.deleted, answer.more, answer.tables))) {
                return deleted;
            }
            // An epoch can have millions of rows, whose key is gone already: traffic comes first.
            sleep(begun.elapsed() * REST).await;
        }
    }

    pub(super) async fn subject(self, store: &StorePeer, subject: &Subject) -> Deleted {
        let mut deleted = Deleted::default();
        loop {
            let request = DeleteSubjectRequest {
                phone_number_id: subject.phone_number_id.clone(),
                tag: Bytes::copy_from_slice(&subject.tag),
                limit: self.limit,
            };
            let answer = store.delete_subject(request).await;
            if !deleted.add(answer.map(|answer| (answer.deleted, answer.more, answer.tables))) {
                return deleted;
            }
        }
    }

    /// As departed it takes no writes meanwhile; then the mark goes, for a later number of the same id.
    pub(super) async fn number(self, store: &StorePeer, number: &str) -> Deleted {
        let mut deleted = Deleted {
            refused: store.mark_number(number, true).await.err(),
            ..Deleted::default()
        };
        while deleted.refused.is_none() {
            let request = DeleteNumberRequest {
                phone_number_id: number.to_owned(),
                limit: self.limit,
            };
            let answer = store.delete_number(request).await;
            let answer = answer.map(|answer| (answer.deleted, answer.more, Vec::new()));
            if !deleted.add(answer) && deleted.refused.is_none() {
                deleted.refused = store.mark_number(number, false).await.err();
                break;
            }
        }
        deleted
    }

    pub(super) async fn expired(self, relay: &RelayPeer) -> Deleted {
        let mut deleted = Deleted::default();
        loop {
            let request = DeleteExpiredRequest {
                limit: self.limit,
                dry_run: false,
            };
            let answer = relay.delete_expired(request).await;
            if !deleted.add(answer.map(|answer| (answer.deleted, answer.more, Vec::new()))) {
                return deleted;
            }
        }
    }

    /// Counts epoch by epoch, since a count is bounded a call.
    pub(super) async fn count_epochs(self, store: &StorePeer, epochs: &[Epoch]) -> Deleted {
        let mut counted = Deleted::default();
        for epoch in epochs {
            let request = DeleteEpochsRequest {
                epochs: vec![epoch.to_wire()],
                limit: COUNT_LIMIT,
                dry_run: true,
            };
            let answer = store.delete_epochs(request).await;
            counted.add(answer.map(|answer| (answer.deleted, answer.more, answer.tables)));
            if counted.refused.is_some() {
                break;
            }
        }
        counted
    }

    pub(super) async fn count_expired(self, relay: &RelayPeer) -> Deleted {
        let request = DeleteExpiredRequest {
            limit: COUNT_LIMIT,
            dry_run: true,
        };
        let mut counted = Deleted::default();
        let answer = relay.delete_expired(request).await;
        counted.add(answer.map(|answer| (answer.deleted, answer.more, Vec::new())));
        counted
    }
}
