//! The table `devices`: consumers' devices.

use std::collections::HashMap;

use sealpost_database::{
    Connection, DatabaseError, Many, Row, Tx,
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
    /// The newest place in its queue; 0 when nothing waits.
    pub(super) newest: i64,
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
    let mut found = devices_of_many(db, &[number]).await?;
    Ok(found.remove(number).unwrap_or_default())
}

/// The same of many consumers; none for whom nobody knows.
pub(super) async fn devices_of_many(
    db: &mut Connection,
    numbers: &[&PhoneNumber],
) -> Result<HashMap<PhoneNumber, Vec<Device>>, DatabaseError> {
    const FIND: Many = Many::new(
        "SELECT d.phone_number, d.holder_id, d.device_id, h.registration_id, d.queued,
             COALESCE((SELECT max(q.queue_id) FROM device_queue AS q WHERE q.holder_id = d.holder_id), 0) AS newest
         FROM (VALUES {rows}) AS v CROSS JOIN devices AS d CROSS JOIN holders AS h
         WHERE d.phone_number = v.column1 AND h.holder_id = d.holder_id",
    );
    let rows = FIND.fetch(db, &[], numbers, |number| [number.as_str().into()]);
    let mut found: HashMap<PhoneNumber, Vec<Device>> = HashMap::with_capacity(numbers.len());
    for row in rows.await? {
        let number = damaged(PhoneNumber::parse(row.try_get("phone_number")?))?;
        found.entry(number).or_default().push(from_row(&row)?);
    }
    for devices in found.values_mut() {
        devices.sort_by_key(|device| device.device_id);
    }
    Ok(found)
}

/// Those of `holders` that are no devices, or no more.
pub(super) async fn devices_gone(
    db: &mut Connection,
    holders: &[HolderId],
) -> Result<Vec<HolderId>, DatabaseError> {
    const FIND: Many =
        Many::new("SELECT holder_id FROM devices WHERE holder_id IN (VALUES {rows})");
    let rows = FIND.fetch(db, &[], holders, |holder| [holder.0.into()]);
    let mut there = Vec::with_capacity(holders.len());
    for row in rows.await? {
        there.push(HolderId(row.try_get("holder_id")?));
    }
    let gone = holders.iter().filter(|holder| !there.contains(holder));
    Ok(gone.copied().collect())
}

fn from_row(row: &Row) -> Result<Device, DatabaseError> {
    Ok(Device {
        holder: HolderId(row.try_get("holder_id")?),
        device_id: small(row.try_get("device_id")?)?,
        registration_id: small(row.try_get("registration_id")?)?,
        queued: damaged(u64::try_from(row.try_get::<i64, _>("queued")?).ok())?,
        newest: row.try_get("newest")?,
    })
}
