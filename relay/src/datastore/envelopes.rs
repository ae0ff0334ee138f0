//! The table `envelopes`: which messages devices handed over.

use sealpost_database::{
    Connection, DatabaseError, Tx,
    sqlx::{Row as _, query, query_scalar},
};
use sealpost_proto::relay::v1::EnvelopeState;

use super::{damaged, small};
use crate::{
    ids::{DeviceIdentity, HolderId, MessageId, PhoneNumber, PhoneNumberId},
    validate::FromDevice,
};

/// A message that a device handed over.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub(super) number: PhoneNumberId,
    /// The latest that was handed over.
    pub(super) attempt: u32,
    /// The gateway asked for another one after it.
    pub(super) retry_asked: bool,
    /// Milliseconds since the Unix epoch.
    pub(super) expires_at: i64,
}

pub(super) async fn envelope_find(
    db: &mut Connection,
    holder: HolderId,
    id: MessageId,
    now: i64,
) -> Result<Option<Kept>, DatabaseError> {
    let row = query(
        "SELECT phone_number_id, attempt, retry_asked, expires_at FROM envelopes
         WHERE holder_id = $1 AND envelope_id = $2 AND expires_at > $3",
    )
    .bind(holder.0)
    .bind(id.as_bytes())
    .bind(now)
    .fetch_optional(db)
    .await?;
    let kept = row.map(|row| {
        Ok::<_, DatabaseError>(Kept {
            number: damaged(PhoneNumberId::parse(row.try_get("phone_number_id")?))?,
            attempt: small(row.try_get("attempt")?)?,
            retry_asked: row.try_get::<i64, _>("retry_asked")? != 0,
            expires_at: row.try_get("expires_at")?,
        })
    });
    kept.transpose()
}

/// What became of a message: the row of `inbound` goes when the gateway keeps the message, or could make nothing of it and
/// has asked for it again.
pub(super) async fn envelope_state(
    db: &mut Connection,
    holder: HolderId,
    id: MessageId,
    now: i64,
) -> Result<EnvelopeState, DatabaseError> {
    let waits: Option<i64> = query_scalar(
        "SELECT retry_asked + (SELECT count(*) FROM inbound WHERE inbound.queue_id = envelopes.queue_id)
         FROM envelopes WHERE holder_id = $1 AND envelope_id = $2 AND expires_at > $3",
    )
    .bind(holder.0)
    .bind(id.as_bytes())
    .bind(now)
    .fetch_optional(db)
    .await?;
    Ok(match waits {
        None => EnvelopeState::Unknown,
        Some(0) => EnvelopeState::Taken,
        Some(_) => EnvelopeState::Waiting,
    })
}

/// In the place of one that is over, if there is one.
pub(super) async fn envelope_insert(
    tx: &mut Tx,
    device: &DeviceIdentity,
    message: &FromDevice,
    queue_id: i64,
    expires_at: i64,
) -> Result<(), DatabaseError> {
    query(
        "INSERT INTO envelopes (holder_id, envelope_id, phone_number_id, peer, attempt, queue_id, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7)
         ON CONFLICT (holder_id, envelope_id) DO UPDATE SET phone_number_id = excluded.phone_number_id,
             peer = excluded.peer, attempt = excluded.attempt, retry_asked = 0,
             queue_id = excluded.queue_id, expires_at = excluded.expires_at",
    )
    .bind(device.holder.0)
    .bind(message.envelope_id.as_bytes())
    .bind(message.number.as_str())
    .bind(device.phone_number.as_str())
    .bind(i64::from(message.attempt))
    .bind(queue_id)
    .bind(expires_at)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Notes that a device handed a message over again.
pub(super) async fn envelope_raise(
    tx: &mut Tx,
    holder: HolderId,
    message: &FromDevice,
    queue_id: i64,
) -> Result<(), DatabaseError> {
    query(
        "UPDATE envelopes SET attempt = $3, retry_asked = 0, queue_id = $4
         WHERE holder_id = $1 AND envelope_id = $2",
    )
    .bind(holder.0)
    .bind(message.envelope_id.as_bytes())
    .bind(i64::from(message.attempt))
    .bind(queue_id)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Notes that the gateway asked for another attempt.
pub(super) async fn envelope_mark_asked(
    tx: &mut Tx,
    holder: HolderId,
    id: MessageId,
) -> Result<(), DatabaseError> {
    query("UPDATE envelopes SET retry_asked = 1 WHERE holder_id = $1 AND envelope_id = $2")
        .bind(holder.0)
        .bind(id.as_bytes())
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
