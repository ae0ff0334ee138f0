//! The table `numbers`: business numbers that consumers can reach.

use std::collections::{HashMap, HashSet};

use sealpost_database::{
    Connection, DatabaseError, Many, Row, Tx,
    sqlx::{Row as _, query, query_scalar},
};

use super::{damaged, small};
use crate::{
    RelayError,
    ids::{HolderId, PhoneNumber, PhoneNumberId, Retention},
};

/// One business number.
#[derive(Clone, Debug)]
pub(super) struct Number {
    pub(super) id: PhoneNumberId,
    pub(super) display_name: String,
    pub(super) holder: HolderId,
    /// When its vault was last asked for prekeys; `None` since an upload.
    pub(super) prekeys_low_at: Option<i64>,
    /// Items that wait for the gateways.
    pub(super) queued: u64,
    pub(super) retention: Retention,
}

pub(super) async fn number_find(
    db: &mut Connection,
    id: &PhoneNumberId,
) -> Result<Option<Number>, DatabaseError> {
    Ok(numbers_find(db, [id]).await?.remove(id))
}

/// Those of `ids` that there are; an id may be named more than once.
pub(super) async fn numbers_find<'i>(
    db: &mut Connection,
    ids: impl IntoIterator<Item = &'i PhoneNumberId>,
) -> Result<HashMap<PhoneNumberId, Number>, DatabaseError> {
    const FIND: Many = Many::new(
        "SELECT phone_number_id, display_name, holder_id, prekeys_low_at, queued, retention_seconds
         FROM numbers WHERE phone_number_id IN (VALUES {rows})",
    );
    let ids: HashSet<_> = ids.into_iter().collect();
    let ids: Vec<_> = ids.into_iter().collect();
    let rows = FIND.fetch(db, &[], &ids, |id| [id.as_str().into()]);
    let numbers = rows.await?;
    let number = |row| {
        let number = from_row(row)?;
        Ok((number.id.clone(), number))
    };
    numbers.iter().map(number).collect()
}

pub(super) async fn number_by_phone(
    db: &mut Connection,
    phone_number: &PhoneNumber,
) -> Result<Option<Number>, DatabaseError> {
    let row = query(
        "SELECT phone_number_id, display_name, holder_id, prekeys_low_at, queued, retention_seconds
         FROM numbers WHERE phone_number = $1",
    )
    .bind(phone_number.as_str())
    .fetch_optional(db)
    .await?;
    row.as_ref().map(from_row).transpose()
}

/// Whether a consumer's `phone_number` is a business's phone number or id: a statement names either in the same field, so one must not
/// pass for the other.
///
/// # Errors
/// `NumberIsBusiness` when it is.
pub(super) async fn number_is_none(
    db: &mut Connection,
    phone_number: &PhoneNumber,
) -> Result<(), RelayError> {
    let found: Option<i64> = query_scalar(
        "SELECT 1 FROM numbers WHERE phone_number = $1 OR phone_number_id = $1 LIMIT 1",
    )
    .bind(phone_number.as_str())
    .fetch_optional(db)
    .await
    .map_err(DatabaseError::from)?;
    if found.is_some() {
        Err(RelayError::NumberIsBusiness)
    } else {
        Ok(())
    }
}

/// Makes the number or changes what it is called, reached by and held by.
pub(super) async fn number_put(
    tx: &mut Tx,
    id: &PhoneNumberId,
    phone_number: &PhoneNumber,
    display_name: &str,
    holder: HolderId,
    retention: Retention,
) -> Result<(), DatabaseError> {
    query(
        "INSERT INTO numbers (phone_number_id, phone_number, display_name, holder_id, retention_seconds)
         VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (phone_number_id) DO UPDATE SET phone_number = excluded.phone_number,
             display_name = excluded.display_name, holder_id = excluded.holder_id,
             retention_seconds = excluded.retention_seconds",
    )
    .bind(id.as_str())
    .bind(phone_number.as_str())
    .bind(display_name)
    .bind(holder.0)
    .bind(i64::from(retention.seconds()))
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Whether there is such a number.
pub(super) async fn number_set_retention(
    tx: &mut Tx,
    id: &PhoneNumberId,
    retention: Retention,
) -> Result<bool, DatabaseError> {
    let done = query("UPDATE numbers SET retention_seconds = $2 WHERE phone_number_id = $1")
        .bind(id.as_str())
        .bind(i64::from(retention.seconds()))
        .execute(&mut **tx)
        .await?;
    Ok(done.rows_affected() == 1)
}

pub(super) async fn number_delete(tx: &mut Tx, id: &PhoneNumberId) -> Result<(), DatabaseError> {
    query("DELETE FROM numbers WHERE phone_number_id = $1")
        .bind(id.as_str())
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// A page of numbers after `after`, by id.
pub(super) async fn numbers_list(
    db: &mut Connection,
    after: Option<&PhoneNumberId>,
    limit: i64,
) -> Result<Vec<PhoneNumberId>, DatabaseError> {
    let ids: Vec<String> = query_scalar(
        "SELECT phone_number_id FROM numbers WHERE phone_number_id > $1
         ORDER BY phone_number_id LIMIT $2",
    )
    .bind(after.map_or("", PhoneNumberId::as_str))
    .bind(limit)
    .fetch_all(db)
    .await?;
    ids.iter()
        .map(|id| damaged(PhoneNumberId::parse(id)))
        .collect()
}

pub(super) async fn number_set_prekeys_low(
    tx: &mut Tx,
    id: &PhoneNumberId,
    at: Option<i64>,
) -> Result<(), DatabaseError> {
    query("UPDATE numbers SET prekeys_low_at = $2 WHERE phone_number_id = $1")
        .bind(id.as_str())
        .bind(at)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

fn from_row(row: &Row) -> Result<Number, DatabaseError> {
    Ok(Number {
        id: damaged(PhoneNumberId::parse(row.try_get("phone_number_id")?))?,
        display_name: row.try_get("display_name")?,
        holder: HolderId(row.try_get("holder_id")?),
        prekeys_low_at: row.try_get("prekeys_low_at")?,
        queued: damaged(u64::try_from(row.try_get::<i64, _>("queued")?).ok())?,
        retention: damaged(Retention::from_seconds(small(
            row.try_get("retention_seconds")?,
        )?))?,
    })
}
