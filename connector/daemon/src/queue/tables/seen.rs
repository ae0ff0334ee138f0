//! `seen`: digests of events that were queued.

use sealpost_database::{DatabaseError, Tx, sqlx::query};
use sealpost_runtime::Timestamp;

use super::column;
use crate::queue::Digest;

/// Answers whether it is new.
pub(crate) async fn seen_insert(
    tx: &mut Tx,
    digest: &Digest,
    now: Timestamp,
) -> Result<bool, DatabaseError> {
    let done =
        query("INSERT INTO seen (digest, seen_at) VALUES ($1, $2) ON CONFLICT (digest) DO NOTHING")
            .bind(digest.as_slice())
            .bind(column(now))
            .execute(&mut **tx)
            .await?;
    Ok(done.rows_affected() == 1)
}

/// Answers how many are gone.
pub(crate) async fn seen_forget(
    tx: &mut Tx,
    before: Timestamp,
    most: i64,
) -> Result<u64, DatabaseError> {
    let done = query(
        "DELETE FROM seen WHERE digest IN (SELECT digest FROM seen WHERE seen_at < $1 ORDER BY seen_at LIMIT $2)",
    )
    .bind(column(before))
    .bind(most)
    .execute(&mut **tx)
    .await?;
    Ok(done.rows_affected())
}
