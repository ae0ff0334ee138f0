//! The table `numbers`.

use sealpost_database::{
    Connection, DatabaseError, Row, Tx,
    sqlx::{Row as _, query, query_scalar},
};

use super::damaged;
use crate::{
    DirectoryError,
    ids::{PhoneNumber, PhoneNumberId, Region, Uuid},
    validate::NewNumber,
};

/// One business number.
#[derive(Clone, Debug)]
pub(crate) struct Number {
    pub(crate) phone_number_id: PhoneNumberId,
    pub(crate) phone_number: PhoneNumber,
    pub(crate) business_id: Uuid,
    pub(crate) region: Region,
    /// Where its records are on their way to.
    pub(crate) moving_to: Option<Region>,
    pub(crate) display_name: String,
    pub(crate) messages_per_second: u32,
    /// Milliseconds since the Unix epoch.
    pub(crate) created_at: i64,
}

impl Number {
    pub(super) fn made(wish: NewNumber, chosen: PhoneNumberId, now: i64) -> Self {
        Self {
            phone_number_id: wish.phone_number_id.unwrap_or(chosen),
            phone_number: wish.phone_number,
            business_id: wish.business_id,
            region: wish.region,
            moving_to: None,
            display_name: wish.display_name,
            messages_per_second: wish.messages_per_second,
            created_at: now,
        }
    }

    /// Whether `wish` asks for what this number already is.
    pub(super) fn is_as_wished(&self, wish: &NewNumber) -> bool {
        self.phone_number == wish.phone_number
            && self.business_id == wish.business_id
            && self.region == wish.region
            && self.display_name == wish.display_name
            && self.messages_per_second == wish.messages_per_second
    }
}

pub(super) async fn number_find(
    db: &mut Connection,
    id: &PhoneNumberId,
) -> Result<Option<Number>, DatabaseError> {
    let row = query(
        "SELECT phone_number_id, phone_number, business_id, region, display_name,
                messages_per_second, created_at, moving_to
         FROM numbers WHERE phone_number_id = $1",
    )
    .bind(id.as_str())
    .fetch_optional(db)
    .await?;
    row.as_ref().map(from_row).transpose()
}

/// Numbers of `business`, at most one more than it may have.
pub(super) async fn number_count(
    db: &mut Connection,
    business: Uuid,
) -> Result<u32, DatabaseError> {
    let count: i64 = query_scalar(
        "SELECT count(*) FROM (SELECT 1 FROM numbers WHERE business_id = $1 LIMIT $2) AS found",
    )
    .bind(business.as_bytes())
    .bind(i64::from(super::MAX_NUMBERS) + 1)
    .fetch_one(db)
    .await?;
    Ok(u32::try_from(count).unwrap_or(u32::MAX))
}

/// # Errors
/// `PhoneNumberTaken` or `NumberIdTaken` when another number has it.
pub(super) async fn number_insert(tx: &mut Tx, number: &Number) -> Result<(), DirectoryError> {
    let taken: Option<i64> = query_scalar("SELECT 1 FROM numbers WHERE phone_number = $1")
        .bind(number.phone_number.as_str())
        .fetch_optional(&mut **tx)
        .await
        .map_err(DatabaseError::from)?;
    if taken.is_some() {
        return Err(DirectoryError::PhoneNumberTaken);
    }
    let done = query(
        "INSERT INTO numbers (phone_number_id, phone_number, business_id, region, display_name,
                              messages_per_second, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (phone_number_id) DO NOTHING",
    )
    .bind(number.phone_number_id.as_str())
    .bind(number.phone_number.as_str())
    .bind(number.business_id.as_bytes())
    .bind(number.region.as_str())
    .bind(&number.display_name)
    .bind(i64::from(number.messages_per_second))
    .bind(number.created_at)
    .execute(&mut **tx)
    .await
    .map_err(DatabaseError::from)?;
    if done.rows_affected() == 0 {
        return Err(DirectoryError::NumberIdTaken);
    }
    Ok(())
}

/// Notes where a number's records are on their way to, or that they are not.
pub(super) async fn number_set_moving(
    tx: &mut Tx,
    id: &PhoneNumberId,
    to: Option<&Region>,
) -> Result<(), DatabaseError> {
    query("UPDATE numbers SET moving_to = $2 WHERE phone_number_id = $1")
        .bind(id.as_str())
        .bind(to.map(Region::as_str))
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// A number's records have arrived.
pub(super) async fn number_set_region(
    tx: &mut Tx,
    id: &PhoneNumberId,
    region: &Region,
) -> Result<(), DatabaseError> {
    query("UPDATE numbers SET region = $2, moving_to = NULL WHERE phone_number_id = $1")
        .bind(id.as_str())
        .bind(region.as_str())
        .execute(&mut **tx)
        .await?;
    Ok(())
}

pub(super) async fn number_page(
    db: &mut Connection,
    business: Option<Uuid>,
    after: Option<&PhoneNumberId>,
    limit: u32,
) -> Result<Vec<Number>, DirectoryError> {
    let after = after.map_or("", PhoneNumberId::as_str);
    let rows = match &business {
        Some(business) => query(
            "SELECT phone_number_id, phone_number, business_id, region, display_name,
                    messages_per_second, created_at, moving_to
             FROM numbers WHERE business_id = $3 AND phone_number_id > $1
             ORDER BY phone_number_id LIMIT $2",
        )
        .bind(after)
        .bind(i64::from(limit))
        .bind(business.as_bytes()),
        None => query(
            "SELECT phone_number_id, phone_number, business_id, region, display_name,
                    messages_per_second, created_at, moving_to
             FROM numbers WHERE phone_number_id > $1 ORDER BY phone_number_id LIMIT $2",
        )
        .bind(after)
        .bind(i64::from(limit)),
    };
    let rows = rows.fetch_all(db).await.map_err(DatabaseError::from)?;
    Ok(rows.iter().map(from_row).collect::<Result<_, _>>()?)
}

pub(super) fn from_row(row: &Row) -> Result<Number, DatabaseError> {
    let rate: i64 = row.try_get("messages_per_second")?;
    let moving_to: Option<String> = row.try_get("moving_to")?;
    Ok(Number {
        phone_number_id: damaged(PhoneNumberId::parse(row.try_get("phone_number_id")?))?,
        phone_number: damaged(PhoneNumber::parse(row.try_get("phone_number")?))?,
        business_id: damaged(Uuid::from_slice(row.try_get("business_id")?))?,
        region: damaged(Region::parse(row.try_get("region")?))?,
        moving_to: moving_to
            .map(|region| damaged(Region::parse(&region)))
            .transpose()?,
        display_name: row.try_get("display_name")?,
        messages_per_second: damaged(u32::try_from(rate).ok())?,
        created_at: row.try_get("created_at")?,
    })
}
