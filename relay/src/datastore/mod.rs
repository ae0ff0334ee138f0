//! The relay's tables behind units of work.
//!
//! Owns which statements stand in one transaction; each table's file owns its statements. Times are milliseconds since
//! the Unix epoch.

mod codes;
mod collecting;
mod collectors;
mod conversations;
mod device_queue;
mod devices;
mod envelopes;
mod erasure;
mod expiry;
mod handover;
mod holders;
mod inbound;
mod keys;
mod numbers;
mod prekeys;
mod registration;
mod reports;
mod requests;
mod statistics;
mod submissions;
mod submit;

use sealpost_database::{
    Database, DatabaseConfig, DatabaseError, Migration, Notices, PoolOptions, Row, sqlx::Row as _,
};

use crate::{
    RelayError,
    auth::TokenDigest,
    ids::{DeviceIdentity, HolderId},
};

#[cfg(test)]
pub(crate) use collecting::{CHUNK, LEASE_MS};
pub(crate) use device_queue::Waiting;
pub(crate) use erasure::Uncollected;
pub(crate) use handover::{Called, Handing};
pub(crate) use inbound::{Collected, Offered};
pub(crate) use keys::Prekeys;
pub(crate) use reports::Said;
pub(crate) use submit::Queued;

/// The relay's schema. Append only.
pub const MIGRATIONS: &[Migration] = &[
    Migration::new(
        1,
        "relay",
        include_str!("../../migrations/sqlite/0001_relay.sql"),
        include_str!("../../migrations/postgres/0001_relay.sql"),
    ),
    Migration::new(
        2,
        "envelope_requests",
        include_str!("../../migrations/sqlite/0002_envelope_requests.sql"),
        include_str!("../../migrations/postgres/0002_envelope_requests.sql"),
    ),
    Migration::new(
        3,
        "replicas",
        include_str!("../../migrations/sqlite/0003_replicas.sql"),
        include_str!("../../migrations/postgres/0003_replicas.sql"),
    ),
    Migration::new(
        4,
        "counts",
        include_str!("../../migrations/sqlite/0004_counts.sql"),
        include_str!("../../migrations/postgres/0004_counts.sql"),
    ),
];

/// Notices that something came for the gateways, or became free.
pub(crate) const INBOUND: &str = "inbound";

/// Notices that something came for devices.
pub(crate) const DEVICE_QUEUE: &str = "device_queue";

/// Bytes of ciphertext in one page of a stream; one item more may follow.
pub(crate) const PAGE_BYTES: usize = 512 * 1024;

/// The relay's database. Clones share it.
#[derive(Clone, Debug)]
pub struct Datastore {
    database: Database,
}

impl Datastore {
    /// Opens the `database` and brings it to this binary's schema.
    ///
    /// # Errors
    /// When it cannot be opened or was made by a newer binary.
    pub async fn open(database: DatabaseConfig) -> Result<Self, RelayError> {
        let database = Database::open(database, MIGRATIONS, PoolOptions::default()).await?;
        Ok(Self { database })
    }

    /// Waits for what has begun and closes.
    ///
    /// # Errors
    /// When the log could not be emptied.
    pub async fn close(&self) -> Result<(), RelayError> {
        Ok(self.database.close().await?)
    }

    /// # Errors
    /// `DeviceUnknown` when no device has this token.
    pub(crate) async fn device_by_token(
        &self,
        token: TokenDigest,
    ) -> Result<DeviceIdentity, RelayError> {
        self.database
            .read("authenticate_device", move |db| {
                Box::pin(async move {
                    devices::device_by_token(db, token)
                        .await?
                        .ok_or(RelayError::DeviceUnknown)
                })
            })
            .await
    }

    /// # Errors
    /// `DeviceUnknown` when the device was replaced.
    pub(crate) async fn check_device(&self, holder: HolderId) -> Result<(), RelayError> {
        let exists = self
            .database
            .read("check_device", move |db| {
                Box::pin(
                    async move { Ok::<_, RelayError>(devices::device_exists(db, holder).await?) },
                )
            })
            .await?;
        if exists {
            Ok(())
        } else {
            Err(RelayError::DeviceUnknown)
        }
    }

    /// What waits for a device after `after`, in order.
    pub(crate) async fn waiting(
        &self,
        holder: HolderId,
        after: i64,
        limit: usize,
        now: i64,
    ) -> Result<Vec<Waiting>, RelayError> {
        self.database
            .read("receive", move |db| {
                Box::pin(async move {
                    Ok(device_queue::waiting_page(db, holder, after, limit, now).await?)
                })
            })
            .await
    }

    /// The newest place in any device's queue; 0 when nothing waits.
    pub(crate) async fn newest_waiting(&self) -> Result<i64, RelayError> {
        self.database
            .read("newest_waiting", move |db| {
                Box::pin(async move { Ok(device_queue::waiting_newest(db).await?) })
            })
            .await
    }

    /// Places in devices' queues after `after` and whose they are, in order.
    pub(crate) async fn waiting_since(
        &self,
        after: i64,
        limit: usize,
    ) -> Result<Vec<(i64, HolderId)>, RelayError> {
        self.database
            .read("waiting_since", move |db| {
                Box::pin(async move { Ok(device_queue::waiting_since(db, after, limit).await?) })
            })
            .await
    }

    /// Hears of what any replica commits from now on to [`INBOUND`] or [`DEVICE_QUEUE`].
    pub(crate) fn notices(&self, topic: &'static str) -> Notices {
        self.database.notices(topic)
    }

    /// Deletes, or only counts, at most `limit` rows that are over at `now`; and whether more are left.
    pub(crate) async fn expire(
        &self,
        limit: u32,
        dry_run: bool,
        now: i64,
    ) -> Result<(u64, bool), RelayError> {
        if dry_run {
            let counted = self.database.read("count_expired", move |db| {
                Box::pin(async move { Ok(expiry::expired_count(db, limit, now).await?) })
            });
            return counted.await;
        }
        let (rows, more) = self
            .database
            .run_tx("delete_expired", move |tx| {
                Box::pin(async move {
                    Ok::<_, RelayError>(expiry::expired_delete(tx, limit, now).await?)
                })
            })
            .await?;
        if rows > 0 {
            metrics::counter!("sealpost_relay_rows_expired_total").increment(rows);
            if !more {
                self.empty_log().await;
            }
        }
        Ok((rows, more))
    }

    /// So that deleted rows leave the disk. A reader in the way only delays it to the next time.
    async fn empty_log(&self) {
        if let Err(error) = self.database.checkpoint().await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the log could not be emptied"
            );
        }
    }
}

/// A stored value that does not fit its type: only a damaged database has one.
fn damaged<T>(value: Option<T>) -> Result<T, DatabaseError> {
    value.ok_or(DatabaseError::Damaged)
}

/// The queue ids that an insertion of many rows returned, in the order of the rows: they grow with it, and only the order in
/// which they are returned is open.
fn places(rows: &[Row]) -> Result<Vec<i64>, DatabaseError> {
    let mut places = rows
        .iter()
        .map(|row| row.try_get("queue_id"))
        .collect::<Result<Vec<_>, _>>()?;
    places.sort_unstable();
    Ok(places)
}

/// An id, length or count of the contract, as it was stored.
fn small(value: i64) -> Result<u32, DatabaseError> {
    damaged(u32::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    impl Datastore {
        /// Forgets what a device keeps.
        pub(crate) async fn forget_waiting(&self, device: &DeviceIdentity, ids: Vec<i64>) {
            let said = Said::on_stream(device.clone(), ids, Vec::new());
            self.hear_devices(vec![said], None, 0, 0).await.unwrap();
        }
    }

    #[tokio::test]
    async fn both_dialects_make_the_same_tables() {
        sealpost_database::testing::assert_same_schema(MIGRATIONS).await;
    }
}
