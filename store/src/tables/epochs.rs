//! `epochs`: the state of each epoch as the vault last said, and whether a destroyed one's rows are gone.

use sealpost_database::{
    Connection, DatabaseError, Tx,
    sqlx::{query, query_scalar},
};
use sealpost_runtime::Timestamp;

use super::{column, epoch_at, time_column};
use crate::epoch::{Epoch, EpochState};

pub(crate) const FIND: &str =
    "SELECT state FROM epochs WHERE retention_seconds = $1 AND epoch_start = $2";

/// A state never goes back.
pub(crate) const SET: &str = "INSERT INTO epochs (retention_seconds, epoch_start, state, state_at) VALUES ($1, $2, $3, $4) \
     ON CONFLICT (retention_seconds, epoch_start) DO UPDATE \
     SET state = excluded.state, state_at = excluded.state_at WHERE excluded.state > epochs.state";

pub(crate) const TO_PURGE: &str = "SELECT retention_seconds, epoch_start FROM epochs \
     WHERE state = 3 AND rows_gone_at IS NULL ORDER BY state_at LIMIT $1";

pub(crate) const PURGED: &str = "UPDATE epochs SET rows_gone_at = $3 WHERE retention_seconds = $1 AND epoch_start = $2 AND state = 3";

/// Bounded by nature: a class has at most a few hundred epochs that live.
const NOT_DESTROYED: &str = "SELECT retention_seconds, epoch_start FROM epochs WHERE state <> 3";

const FORGET: &str = "DELETE FROM epochs WHERE (retention_seconds, epoch_start) IN \
     (SELECT retention_seconds, epoch_start FROM epochs WHERE state = 3 AND rows_gone_at IS NOT NULL \
      AND (epoch_start + retention_seconds) * 1000 < $1 LIMIT $2)";

pub(crate) async fn epoch_find(
    db: &mut Connection,
    epoch: Epoch,
) -> Result<Option<EpochState>, DatabaseError> {
    let state: Option<i64> = query_scalar(FIND)
        .bind(i64::from(epoch.retention_seconds))
        .bind(column(epoch.start_seconds))
        .fetch_optional(db)
        .await?;
    Ok(state.and_then(EpochState::from_column))
}

/// Moves the state forward; answers whether it moved.
pub(crate) async fn epoch_set(
    tx: &mut Tx,
    epoch: Epoch,
    state: EpochState,
    now: Timestamp,
) -> Result<bool, DatabaseError> {
    let done = query(SET)
        .bind(i64::from(epoch.retention_seconds))
        .bind(column(epoch.start_seconds))
        .bind(state.column())
        .bind(time_column(now))
        .execute(&mut **tx)
        .await?;
    Ok(done.rows_affected() == 1)
}

/// Destroyed epochs whose rows may still be there.
pub(crate) async fn epochs_to_purge(
    db: &mut Connection,
    limit: u64,
) -> Result<Vec<Epoch>, DatabaseError> {
    let rows = query(TO_PURGE).bind(column(limit)).fetch_all(db).await?;
    let epochs: Result<_, sealpost_database::sqlx::Error> = rows.iter().map(epoch_at).collect();
    Ok(epochs?)
}

/// The rows of a destroyed epoch are gone; none can follow, since appends to it are refused.
pub(crate) async fn epoch_purged(
    tx: &mut Tx,
    epoch: Epoch,
    now: Timestamp,
) -> Result<(), DatabaseError> {
    query(PURGED)
        .bind(i64::from(epoch.retention_seconds))
        .bind(column(epoch.start_seconds))
        .bind(time_column(now))
        .execute(&mut **tx)
        .await?;
    Ok(())
}

pub(crate) async fn epochs_not_destroyed(db: &mut Connection) -> Result<Vec<Epoch>, DatabaseError> {
    let rows = query(NOT_DESTROYED).fetch_all(db).await?;
    let epochs: Result<_, sealpost_database::sqlx::Error> = rows.iter().map(epoch_at).collect();
    Ok(epochs?)
}

/// Forgets purged epochs whose time ended before `ended_before`: the clock alone refuses them from then on.
pub(crate) async fn epochs_forget(
    tx: &mut Tx,
    ended_before: Timestamp,
    limit: u64,
) -> Result<u64, DatabaseError> {
    let done = query(FORGET)
        .bind(time_column(ended_before))
        .bind(column(limit))
        .execute(&mut **tx)
        .await?;
    Ok(done.rows_affected())
}
