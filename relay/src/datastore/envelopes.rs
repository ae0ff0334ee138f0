//! The table `envelopes`: which messages devices handed over.

use sealpost_database::{
    Connection, DatabaseError, Tx,
    sqlx::{query, query_scalar},
};

use crate::{
    ids::{DeviceIdentity, HolderId, MessageId, PhoneNumber, PhoneNumberId},
    validate::{FromDevice, MAX_LIFE_MS},
};

pub(super) async fn envelope_exists(
    db: &mut Connection,
    holder: HolderId,
    id: MessageId,
) -> Result<bool, DatabaseError> {
    let found: Option<i64> =
        query_scalar("SELECT 1 FROM envelopes WHERE holder_id = $1 AND envelope_id = $2")
            .bind(holder.0)
            .bind(id.as_bytes())
            .fetch_optional(db)
            .await?;
    Ok(found.is_some())
}

pub(super) async fn envelope_insert(
    tx: &mut Tx,
    device: &DeviceIdentity,
    message: &FromDevice,
    now: i64,
) -> Result<(), DatabaseError> {
    query(
        "INSERT INTO envelopes (holder_id, envelope_id, phone_number_id, peer, expires_at)
         VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(device.holder.0)
    .bind(message.envelope_id.as_bytes())
    .bind(message.number.as_str())
    .bind(device.phone_number.as_str())
    .bind(now + MAX_LIFE_MS)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Forgets what a consumer sent to one number; rows deleted.
pub(super) async fn envelope_erase(
    tx: &mut Tx,
    number: &PhoneNumberId,
    peer: &PhoneNumber,
) -> Result<u64, DatabaseError> {
    let done = query("DELETE FROM envelopes WHERE phone_number_id = $1 AND peer = $2")
        .bind(number.as_str())
        .bind(peer.as_str())
        .execute(&mut **tx)
        .await?;
    Ok(done.rows_affected())
}
