//! What is past its time, in every table that has an end.

use sealpost_database::{
    Connection, DatabaseError, Tx,
    sqlx::{query, query_scalar},
};

/// Each table's statements: delete at most $2 rows that are over at $1, and count at most $2 of them.
const TABLES: [(&str, &str); 6] = [
    (
        "DELETE FROM device_queue WHERE queue_id IN (
             SELECT queue_id FROM device_queue WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2)",
        "SELECT count(*) FROM (SELECT 1 FROM device_queue WHERE expires_at <= $1 LIMIT $2) AS found",
    ),
    (
        "DELETE FROM inbound WHERE queue_id IN (
             SELECT queue_id FROM inbound WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2)",
        "SELECT count(*) FROM (SELECT 1 FROM inbound WHERE expires_at <= $1 LIMIT $2) AS found",
    ),
    (
        "DELETE FROM submissions WHERE (phone_number_id, peer, message_id, holder_id, attempt) IN (
             SELECT phone_number_id, peer, message_id, holder_id, attempt FROM submissions
             WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2)",
        "SELECT count(*) FROM (SELECT 1 FROM submissions WHERE expires_at <= $1 LIMIT $2) AS found",
    ),
    (
        "DELETE FROM envelopes WHERE (holder_id, envelope_id) IN (
             SELECT holder_id, envelope_id FROM envelopes
             WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2)",
        "SELECT count(*) FROM (SELECT 1 FROM envelopes WHERE expires_at <= $1 LIMIT $2) AS found",
    ),
    (
        "DELETE FROM codes WHERE phone_number IN (
             SELECT phone_number FROM codes WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2)",
        "SELECT count(*) FROM (SELECT 1 FROM codes WHERE expires_at <= $1 LIMIT $2) AS found",
    ),
    (
        "DELETE FROM spent_prekeys WHERE (holder_id, kind, prekey_id) IN (
             SELECT holder_id, kind, prekey_id FROM spent_prekeys
             WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2)",
        "SELECT count(*) FROM (SELECT 1 FROM spent_prekeys WHERE expires_at <= $1 LIMIT $2) AS found",
    ),
];

/// Counts at most `limit` rows; and whether there are more.
pub(super) async fn expired_count(
    db: &mut Connection,
    limit: u32,
    now: i64,
) -> Result<(u64, bool), DatabaseError> {
    let limit = u64::from(limit);
    let mut rows = 0;
    for (_, count) in TABLES {
        // One more than may go tells whether some stay.
        let found: i64 = query_scalar(count)
            .bind(now)
            .bind(i64::try_from(limit + 1 - rows).unwrap_or(i64::MAX))
            .fetch_one(&mut *db)
            .await?;
        rows += found.unsigned_abs();
        if rows > limit {
            return Ok((limit, true));
        }
    }
    Ok((rows, false))
}

/// Deletes at most `limit` rows; and whether more may be left.
pub(super) async fn expired_delete(
    tx: &mut Tx,
    limit: u32,
    now: i64,
) -> Result<(u64, bool), DatabaseError> {
    let limit = u64::from(limit);
    let mut rows = 0;
    for (delete, _) in TABLES {
        let done = query(delete)
            .bind(now)
            .bind(i64::try_from(limit - rows).unwrap_or(i64::MAX))
            .execute(&mut **tx)
            .await?;
        rows += done.rows_affected();
        if rows == limit {
            let (left, _) = expired_count(tx, 1, now).await?;
            return Ok((rows, left > 0));
        }
    }
    Ok((rows, false))
}
