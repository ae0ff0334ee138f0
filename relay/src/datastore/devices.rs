//! The table `devices`: consumers' devices.

use sealpost_database::{
    Connection, DatabaseError, Tx,
    sqlx::{Row as _, query, query_scalar},
};

use super::{damaged, small};
use crate::{
    auth::TokenDigest,
    ids::{DeviceIdentity, HolderId, PhoneNumber},
};

/// A device of a consumer, as senders need it.
#[derive(Clone, Debug)]
pub(super) struct Device {
    pub(super) holder: HolderId,
    pub(super) device_id: u32,
    pub(super) registration_id: u32,
    /// Messages that wait for it.
    pub(super) queued: u64,
}

pub(super) async fn device_insert(
    tx: &mut Tx,
    device: &DeviceIdentity,
    token: TokenDigest,
    now: i64,
) -> Result<(), DatabaseError> {
    query(
        "INSERT INTO devices (holder_id, phone_number, device_id, token_sha256, registered_at)
         VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(device.holder.0)
    .bind(device.phone_number.as_str())
    .bind(i64::from(device.device_id))
    .bind(token.as_bytes())
    .bind(now)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

pub(super) async fn device_by_token(
    db: &mut Connection,
    token: TokenDigest,
) -> Result<Option<DeviceIdentity>, DatabaseError> {
    let row =
        query("SELECT holder_id, phone_number, device_id FROM devices WHERE token_sha256 = $1")
            .bind(token.as_bytes())
            .fetch_optional(db)
            .await?;
    let device = row.map(|row| {
        Ok::<_, DatabaseError>(DeviceIdentity {
            holder: HolderId(row.try_get("holder_id")?),
            phone_number: damaged(PhoneNumber::parse(row.try_get("phone_number")?))?,
            device_id: small(row.try_get("device_id")?)?,
        })
    });
    device.transpose()
}

pub(super) async fn device_exists(
    db: &mut Connection,
    holder: HolderId,
) -> Result<bool, DatabaseError> {
    let found: Option<i64> = query_scalar("SELECT 1 FROM devices WHERE holder_id = $1")
        .bind(holder.0)
        .fetch_optional(db)
        .await?;
    Ok(found.is_some())
}

/// Every device of a consumer, by device id; at most 127, by the range of device ids.
pub(super) async fn devices_of(
    db: &mut Connection,
    number: &PhoneNumber,
) -> Result<Vec<Device>, DatabaseError> {
    let rows = query(
        "SELECT devices.holder_id, device_id, registration_id, queued
         FROM devices JOIN holders ON holders.holder_id = devices.holder_id
         WHERE phone_number = $1 ORDER BY device_id LIMIT 127",
    )
    .bind(number.as_str())
    .fetch_all(db)
    .await?;
    let device = |row: &sealpost_database::Row| {
        Ok(Device {
            holder: HolderId(row.try_get("holder_id")?),
            device_id: small(row.try_get("device_id")?)?,
            registration_id: small(row.try_get("registration_id")?)?,
            queued: damaged(u64::try_from(row.try_get::<i64, _>("queued")?).ok())?,
        })
    };
    rows.iter().map(device).collect()
}
