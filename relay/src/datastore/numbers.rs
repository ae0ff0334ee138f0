//! The table `numbers`: business numbers that consumers can reach.

use sealpost_database::{
    Connection, DatabaseError, Row, Tx,
    sqlx::{Row as _, query, query_scalar},
};

use super::damaged;
use crate::{
    RelayError,
    ids::{HolderId, PhoneNumber, PhoneNumberId},
};

/// One business number.
#[derive(Clone, Debug)]
pub(super) struct Number {
    pub(super) id: PhoneNumberId,
    pub(super) display_name: String,
    pub(super) holder: HolderId,
    /// When its vault was last asked for prekeys; `None` since an upload.
    pub(super) prekeys_low_at: Option<i64>,
    /// Items that wait for the gateway.
    pub(super) queued: u64,
}

pub(super) async fn number_find(
    db: &mut Connection,
    id: &PhoneNumberId,
) -> Result<Option<Number>, DatabaseError> {
    let row = query(
        "SELECT phone_number_id, display_name, holder_id, prekeys_low_at, queued
         FROM numbers WHERE phone_number_id = $1",
    )
    .bind(id.as_str())
    .fetch_optional(db)
    .await?;
    row.as_ref().map(from_row).transpose()
}

pub(super) async fn number_by_phone(
    db: &mut Connection,
    phone_number: &PhoneNumber,
) -> Result<Option<Number>, DatabaseError> {
    let row = query(
        "SELECT phone_number_id, display_name, holder_id, prekeys_low_at, queued
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
) -> Result<(), DatabaseError> {
    query(
        "INSERT INTO numbers (phone_number_id, phone_number, display_name, holder_id)
         VALUES ($1, $2, $3, $4)
         ON CONFLICT (phone_number_id) DO UPDATE SET phone_number = excluded.phone_number,
             display_name = excluded.display_name, holder_id = excluded.holder_id",
    )
    .bind(id.as_str())
    .bind(phone_number.as_str())
    .bind(display_name)
    .bind(holder.0)
    .execute(&mut **tx)
    .await?;
    Ok(())
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
    })
}
