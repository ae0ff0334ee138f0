//! `destructions`: epoch keys whose destruction was begun, and those that are gone.

use sealpost_database::{
    Connection, DatabaseError, Tx,
    sqlx::{query, query_as},
};

use super::{int, small, uint};
use crate::epoch::EpochId;

/// Epochs that one reading lists at most.
const LIMIT: i64 = 10_000;

/// Notes that an epoch's key is about to be destroyed.
pub(crate) async fn destruction_begin(tx: &mut Tx, epoch: EpochId) -> Result<(), DatabaseError> {
    query(
        "INSERT INTO destructions (retention_seconds, start_seconds) VALUES ($1, $2)
         ON CONFLICT (retention_seconds, start_seconds) DO NOTHING",
    )
    .bind(i64::from(epoch.retention().seconds()))
    .bind(int(epoch.start_seconds()))
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Destructions that were begun and, for all we know, not finished.
pub(crate) async fn destructions_begun(db: &mut Connection) -> Result<Vec<EpochId>, DatabaseError> {
    let rows: Vec<(i64, i64)> = query_as(
        "SELECT retention_seconds, start_seconds FROM destructions WHERE destroyed_at_ms IS NULL
         ORDER BY retention_seconds, start_seconds LIMIT $1",
    )
    .bind(LIMIT)
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().filter_map(epoch).collect())
}

/// Notes that a key is gone.
pub(crate) async fn destruction_finish(
    tx: &mut Tx,
    epoch: EpochId,
    destroyed_at_ms: u64,
) -> Result<(), DatabaseError> {
    query("UPDATE destructions SET destroyed_at_ms = $3 WHERE retention_seconds = $1 AND start_seconds = $2")
        .bind(i64::from(epoch.retention().seconds()))
        .bind(int(epoch.start_seconds()))
        .bind(int(destroyed_at_ms))
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Epochs whose keys are gone, the latest first.
pub(crate) async fn destructions_done(db: &mut Connection) -> Result<Vec<EpochId>, DatabaseError> {
    let rows: Vec<(i64, i64)> = query_as(
        "SELECT retention_seconds, start_seconds FROM destructions WHERE destroyed_at_ms IS NOT NULL
         ORDER BY destroyed_at_ms DESC LIMIT $1",
    )
    .bind(LIMIT)
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().filter_map(epoch).collect())
}

/// Forgets those of `latest_ms` and before, a thousand at most.
pub(crate) async fn destructions_forget(tx: &mut Tx, latest_ms: u64) -> Result<(), DatabaseError> {
    query(
        "DELETE FROM destructions WHERE (retention_seconds, start_seconds) IN
             (SELECT retention_seconds, start_seconds FROM destructions WHERE destroyed_at_ms <= $1
              ORDER BY destroyed_at_ms LIMIT 1000)",
    )
    .bind(int(latest_ms))
    .execute(&mut **tx)
    .await?;
    Ok(())
}

fn epoch((retention, start): (i64, i64)) -> Option<EpochId> {
    EpochId::from_parts(small(retention), uint(start))
}
