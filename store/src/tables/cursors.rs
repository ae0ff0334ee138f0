//! `cursors`: how far each subscription has acknowledged a number's events.

use sealpost_database::{
    Connection, DatabaseError, Tx,
    sqlx::{query, query_scalar},
};
use sealpost_runtime::Timestamp;

use super::{column, time_column};
use crate::ids::{PhoneNumberId, Subscription};

pub(crate) const FIND: &str =
    "SELECT cursor FROM cursors WHERE subscription = $1 AND phone_number_id = $2";

/// Moves forward only, and never beyond the newest event: what has not happened cannot be acknowledged.
pub(crate) const ADVANCE: &str = "INSERT INTO cursors (subscription, phone_number_id, cursor, updated_at) \
     SELECT $1, $2, CASE WHEN $3 < h.cursor THEN $3 ELSE h.cursor END, $4 FROM event_heads AS h WHERE h.phone_number_id = $2 \
     ON CONFLICT (subscription, phone_number_id) DO UPDATE \
     SET cursor = excluded.cursor, updated_at = excluded.updated_at WHERE excluded.cursor > cursors.cursor";

pub(crate) async fn cursor_find(
    db: &mut Connection,
    subscription: &Subscription,
    number: &PhoneNumberId,
) -> Result<u64, DatabaseError> {
    let cursor: Option<i64> = query_scalar(FIND)
        .bind(subscription.as_str())
        .bind(number.as_str())
        .fetch_optional(db)
        .await?;
    Ok(cursor.unwrap_or(0).unsigned_abs())
}

pub(crate) async fn cursor_advance(
    tx: &mut Tx,
    subscription: &Subscription,
    number: &PhoneNumberId,
    cursor: u64,
    now: Timestamp,
) -> Result<(), DatabaseError> {
    query(ADVANCE)
        .bind(subscription.as_str())
        .bind(number.as_str())
        .bind(column(cursor))
        .bind(time_column(now))
        .execute(&mut **tx)
        .await?;
    Ok(())
}
