//! Leasing records to dispatchers, whole conversations at a time.
//!
//! A live lease is not renewed: a record that its owner lost sight of (an append whose answer never came) comes back to it when
//! the lease ends, and an owner that still has it in hand skips it.

use std::time::Duration;

use sealpost_database::{DatabaseError, Tx};
use sealpost_runtime::Timestamp;

use super::Datastore;
use crate::{
    budget::Budget,
    error::StoreError,
    ids::Owner,
    tables::{
        departures::departures,
        outbound_leases::{
            Leased, conversation_take, conversations_free, leases_release, leases_set,
        },
    },
};

/// Leases freed in one transaction.
const RELEASE_BATCH: u64 = 2_000;

impl Datastore {
    /// Leases to `owner`, for `lease`, at most `limit` free records, by conversation and in order.
    ///
    /// A conversation that another owner has a live lease in is left alone. With `takeover` the owner first gives up what it
    /// had before, so that a gateway that starts anew gets its old records back at once.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn lease_dispatch(
        &self,
        owner: Owner,
        limit: u64,
        lease: Duration,
        takeover: bool,
        now: Timestamp,
    ) -> Result<Vec<Leased>, StoreError> {
        if takeover {
            self.release_all(&owner, now).await?;
        }
        self.database
            .run_tx("lease_dispatch", move |tx| {
                let owner = owner.clone();
                Box::pin(async move { Ok(lease_free(tx, &owner, limit, lease, now).await?) })
            })
            .await
    }

    async fn release_all(&self, owner: &Owner, now: Timestamp) -> Result<(), StoreError> {
        loop {
            let owner = owner.clone();
            let released: Result<u64, StoreError> = self
                .database
                .run_tx("lease_release", move |tx| {
                    let owner = owner.clone();
                    Box::pin(
                        async move { Ok(leases_release(tx, &owner, now, RELEASE_BATCH).await?) },
                    )
                })
                .await;
            if released? < RELEASE_BATCH {
                return Ok(());
            }
        }
    }
}

async fn lease_free(
    tx: &mut Tx,
    owner: &Owner,
    limit: u64,
    lease: Duration,
    now: Timestamp,
) -> Result<Vec<Leased>, DatabaseError> {
    let until = now + lease;
    let mut budget = Budget::page();
    let mut leased = Vec::new();
    let departed = departures(tx).await?;
    for (number, tag) in conversations_free(tx, owner, now, limit).await? {
        if departed.contains(number.as_str()) {
            continue;
        }
        let left = limit.saturating_sub(leased.len() as u64);
        if left == 0 || budget.is_used_up() {
            break;
        }
        let taken = conversation_take(tx, &number, tag, now, left, &mut budget).await?;
        leased.extend(taken);
    }
    leases_set(tx, &leased, owner, until).await?;
    Ok(leased)
}
