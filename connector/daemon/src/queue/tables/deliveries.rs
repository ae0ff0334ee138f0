//! `deliveries`: events on their way to the app. `due_at` is NULL for all but the oldest of a conversation.

use sealpost_database::{
    Connection, DatabaseError, Tx,
    sqlx::{Row as _, query, query_scalar},
};
use sealpost_runtime::Timestamp;

use super::column;
use crate::queue::Digest;

const INSERT: &str = "INSERT INTO deliveries (id, sequence, conversation, queued_at, attempts, due_at, sealed) \
     SELECT $1, COALESCE((SELECT MAX(sequence) FROM deliveries), 0) + 1, $2, $3, 0, \
     CASE WHEN EXISTS (SELECT 1 FROM deliveries WHERE conversation = $2) THEN NULL ELSE $3 END, $4";

const DUE: &str = "SELECT id, queued_at, attempts, sealed FROM deliveries \
     WHERE due_at IS NOT NULL AND due_at <= $1 ORDER BY due_at, sequence LIMIT $2";

const NEXT_DUE: &str =
    "SELECT MIN(due_at) FROM deliveries WHERE due_at IS NOT NULL AND due_at > $1";

const FINISH: &str = "DELETE FROM deliveries WHERE id = $1 RETURNING conversation";

const PROMOTE: &str = "UPDATE deliveries SET due_at = $2 WHERE due_at IS NULL AND sequence = \
     (SELECT MIN(sequence) FROM deliveries WHERE conversation = $1)";

const PUT_OFF: &str = "UPDATE deliveries SET attempts = attempts + 1, due_at = $2 WHERE id = $1";

/// A delivery whose time has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// Its id.
    pub id: Vec<u8>,
    /// When the event came.
    pub queued_at: Timestamp,
    /// Attempts that failed.
    pub attempts: u32,
    /// Its body, sealed.
    pub sealed: Vec<u8>,
}

pub(crate) async fn delivery_insert(
    tx: &mut Tx,
    id: &[u8; 16],
    conversation: &Digest,
    sealed: &[u8],
    now: Timestamp,
) -> Result<(), DatabaseError> {
    query(INSERT)
        .bind(id.as_slice())
        .bind(conversation.as_slice())
        .bind(column(now))
        .bind(sealed)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

pub(crate) async fn deliveries_due(
    db: &mut Connection,
    most: usize,
    now: Timestamp,
) -> Result<Vec<Due>, DatabaseError> {
    let rows = query(DUE)
        .bind(column(now))
        .bind(i64::try_from(most).unwrap_or(i64::MAX))
        .fetch_all(db)
        .await?;
    rows.iter()
        .map(|row| {
            let queued_at: i64 = row.try_get("queued_at")?;
            let attempts: i64 = row.try_get("attempts")?;
            Ok(Due {
                id: row.try_get("id")?,
                queued_at: Timestamp::from_millis(queued_at.unsigned_abs()),
                attempts: u32::try_from(attempts).unwrap_or(u32::MAX),
                sealed: row.try_get("sealed")?,
            })
        })
        .collect()
}

pub(crate) async fn next_due(
    db: &mut Connection,
    now: Timestamp,
) -> Result<Option<Timestamp>, DatabaseError> {
    let next: Option<i64> = query_scalar(NEXT_DUE)
        .bind(column(now))
        .fetch_one(db)
        .await?;
    Ok(next.map(|at| Timestamp::from_millis(at.unsigned_abs())))
}

/// Deletes a delivery and makes the next of its conversation due.
pub(crate) async fn delivery_finish(
    tx: &mut Tx,
    id: &[u8],
    now: Timestamp,
) -> Result<(), DatabaseError> {
    let conversation: Option<Vec<u8>> = query_scalar(FINISH)
        .bind(id)
        .fetch_optional(&mut **tx)
        .await?;
    if let Some(conversation) = conversation {
        query(PROMOTE)
            .bind(conversation)
            .bind(column(now))
            .execute(&mut **tx)
            .await?;
    }
    Ok(())
}

pub(crate) async fn delivery_put_off(
    tx: &mut Tx,
    id: &[u8],
    at: Timestamp,
) -> Result<(), DatabaseError> {
    query(PUT_OFF)
        .bind(id)
        .bind(column(at))
        .execute(&mut **tx)
        .await?;
    Ok(())
}

pub(crate) async fn deliveries_count(db: &mut Connection) -> Result<u64, DatabaseError> {
    let count: i64 = query_scalar("SELECT COUNT(*) FROM deliveries")
        .fetch_one(db)
        .await?;
    Ok(count.unsigned_abs())
}
