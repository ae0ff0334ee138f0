//! `departures`: numbers whose records another store keeps. Such a number takes no writes here.

use std::collections::HashSet;

use sealpost_database::{
    Connection, DatabaseError, Tx,
    sqlx::{query, query_scalar},
};
use sealpost_runtime::Timestamp;

use super::{column, time_column};
use crate::ids::PhoneNumberId;

/// Numbers that may have departed from one store.
const MOST: u64 = 100_000;

const LIST: &str = "SELECT phone_number_id FROM departures LIMIT $1";
pub(crate) const FIND: &str = "SELECT 1 FROM departures WHERE phone_number_id = $1";
const INSERT: &str = "INSERT INTO departures (phone_number_id, departed_at) VALUES ($1, $2) \
     ON CONFLICT (phone_number_id) DO NOTHING";
const DELETE: &str = "DELETE FROM departures WHERE phone_number_id = $1";

/// All of them: read once a batch, and mostly none.
pub(crate) async fn departures(db: &mut Connection) -> Result<HashSet<String>, DatabaseError> {
    let numbers: Vec<String> = query_scalar(LIST).bind(column(MOST)).fetch_all(db).await?;
    Ok(numbers.into_iter().collect())
}

pub(crate) async fn has_departed(
    db: &mut Connection,
    number: &PhoneNumberId,
) -> Result<bool, DatabaseError> {
    let found: Option<i64> = query_scalar(FIND)
        .bind(number.as_str())
        .fetch_optional(db)
        .await?;
    Ok(found.is_some())
}

pub(crate) async fn departure_insert(
    tx: &mut Tx,
    number: &PhoneNumberId,
    now: Timestamp,
) -> Result<(), DatabaseError> {
    query(INSERT)
        .bind(number.as_str())
        .bind(time_column(now))
        .execute(&mut **tx)
        .await?;
    Ok(())
}

pub(crate) async fn departure_delete(
    tx: &mut Tx,
    number: &PhoneNumberId,
) -> Result<(), DatabaseError> {
    query(DELETE)
        .bind(number.as_str())
        .execute(&mut **tx)
        .await?;
    Ok(())
}
