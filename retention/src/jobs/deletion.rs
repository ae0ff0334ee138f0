//! Deleting in one place, batch by batch, until nothing is left or the place does not answer.

use bytes::Bytes;
use sealpost_proto::{
    relay::v1::DeleteExpiredRequest,
    store::v1::{DeleteEpochsRequest, DeleteSubjectRequest},
};
use tonic::Status;

use crate::{
    peers::{RelayPeer, StorePeer},
    receipt::{Epoch, Subject},
};

/// The most that one call counts.
const COUNT_LIMIT: u32 = 10_000;

/// What was deleted in one place.
#[derive(Debug, Default)]
pub(super) struct Deleted {
    /// Rows that are gone.
    pub(super) rows: u64,
    /// What the place said instead of deleting the rest.
    pub(super) refused: Option<Status>,
}

impl Deleted {
    /// Adds one call's answer; answers whether to call again.
    fn add(&mut self, answer: Result<(u64, bool), Status>) -> bool {
        match answer {
            // A place that deletes nothing and says that more is left would keep us forever.
            Ok((0, true)) => {
                self.refused = Some(Status::internal("nothing was deleted and more is left"));
                false
            }
            Ok((rows, more)) => {
                self.rows += rows;
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
            let answer = store.delete_epochs(request).await;
            if !deleted.add(answer.map(|answer| (answer.deleted, answer.more))) {
                return deleted;
            }
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
            if !deleted.add(answer.map(|answer| (answer.deleted, answer.more))) {
                return deleted;
            }
        }
    }

    pub(super) async fn expired(self, relay: &RelayPeer) -> Deleted {
        let mut deleted = Deleted::default();
        loop {
            let request = DeleteExpiredRequest {
                limit: self.limit,
                dry_run: false,
            };
            let answer = relay.delete_expired(request).await;
            if !deleted.add(answer.map(|answer| (answer.deleted, answer.more))) {
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
            counted.add(answer.map(|answer| (answer.deleted, answer.more)));
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
        counted.add(answer.map(|answer| (answer.deleted, answer.more)));
        counted
    }
}
