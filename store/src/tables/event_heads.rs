//! `event_heads`: the newest cursor that each number ever had. It outlives the events, so that cursors never start again.

use sealpost_database::{
    Connection, DatabaseError, Tx,
    sqlx::{query, query_scalar},
};

use super::{column, number_at, phone_number_id_at};
use crate::ids::PhoneNumberId;

pub(crate) const NEXT: &str = "INSERT INTO event_heads (phone_number_id, cursor) VALUES ($1, 1) \
     ON CONFLICT (phone_number_id) DO UPDATE SET cursor = event_heads.cursor + 1 RETURNING cursor";

pub(crate) const LIST: &str = "SELECT phone_number_id, cursor FROM event_heads \
     WHERE phone_number_id > $1 ORDER BY phone_number_id LIMIT $2";

/// The number's next cursor.
pub(crate) async fn event_head_next(
    tx: &mut Tx,
    number: &PhoneNumberId,
) -> Result<u64, DatabaseError> {
    let cursor: i64 = query_scalar(NEXT)
        .bind(number.as_str())
        .fetch_one(&mut **tx)
        .await?;
    Ok(cursor.unsigned_abs())
}

/// A page of heads, by number, after `after`.
pub(crate) async fn event_heads_list(
    db: &mut Connection,
    after: Option<&PhoneNumberId>,
    limit: u64,
) -> Result<Vec<(PhoneNumberId, u64)>, DatabaseError> {
    let rows = query(LIST)
        .bind(after.map_or("", PhoneNumberId::as_str))
        .bind(column(limit))
        .fetch_all(db)
        .await?;
    let heads: Result<_, _> = rows
        .iter()
        .map(|row| Ok((phone_number_id_at(row)?, number_at(row, "cursor")?)))
        .collect();
    heads.map_err(|error: sealpost_database::sqlx::Error| error.into())
}
