//! `destructions`: epoch keys whose destruction was begun, and the receipts of those that are gone.

use sealpost_database::{
    Connection, DatabaseError, Tx,
    sqlx::{query, query_as},
};

use super::{int, small, uint};
use crate::epoch::EpochId;

/// Receipts that one collection answers at most, and epochs that one reading lists.
const LIMIT: i64 = 10_000;

/// Notes that an epoch's key is about to be destroyed.
pub(crate) async fn destruction_begin(tx: &mut Tx, epoch: EpochId) -> Result<(), DatabaseError> {
    query(
        "INSERT INTO destructions (retention_seconds, start_seconds, collected) VALUES ($1, $2, 0)
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
        "SELECT retention_seconds, start_seconds FROM destructions WHERE collected = 0 AND destroyed_at_ms IS NULL
         LIMIT $1",
    )
    .bind(LIMIT)
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().filter_map(epoch).collect())
}

/// Keeps the receipt of a key that is gone.
pub(crate) async fn destruction_finish(
    tx: &mut Tx,
    epoch: EpochId,
    destroyed_at_ms: u64,
    statement: &[u8],
    signature: &[u8],
) -> Result<(), DatabaseError> {
    query(
        "UPDATE destructions SET destroyed_at_ms = $3, statement = $4, signature = $5, collected = 0
         WHERE retention_seconds = $1 AND start_seconds = $2",
    )
    .bind(i64::from(epoch.retention().seconds()))
    .bind(int(epoch.start_seconds()))
    .bind(int(destroyed_at_ms))
    .bind(statement)
    .bind(signature)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Statements and signatures that no call has answered yet; they are answered once.
pub(crate) async fn destructions_collect(
    tx: &mut Tx,
) -> Result<Vec<(Vec<u8>, Vec<u8>)>, DatabaseError> {
    Ok(query_as(
        "UPDATE destructions SET collected = 1 WHERE (retention_seconds, start_seconds) IN
             (SELECT retention_seconds, start_seconds FROM destructions
              WHERE collected = 0 AND destroyed_at_ms IS NOT NULL LIMIT $1)
         RETURNING statement, signature",
    )
    .bind(LIMIT)
    .fetch_all(&mut **tx)
    .await?)
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

fn epoch((retention, start): (i64, i64)) -> Option<EpochId> {
    EpochId::from_parts(small(retention), uint(start))
}
