//! The table `envelopes`: which messages devices handed over.

use std::collections::HashMap;

use sealpost_database::{
    Connection, DatabaseError, Many, Tx,
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
    Ok(envelopes_find(db, &[(holder, id)], now)
        .await?
        .remove(&(holder, id)))
}

/// Those that there are and that are not over.
pub(super) async fn envelopes_find(
    db: &mut Connection,
    named: &[(HolderId, MessageId)],
    now: i64,
) -> Result<HashMap<(HolderId, MessageId), Kept>, DatabaseError> {
    const FIND: Many = Many::new(
        "SELECT e.holder_id, e.envelope_id, e.phone_number_id, e.attempt, e.retry_asked, e.expires_at
         FROM (VALUES {rows}) AS v CROSS JOIN envelopes AS e
         WHERE e.holder_id = v.column1 AND e.envelope_id = v.column2 AND e.expires_at > $1",
    );
    let rows = FIND
        .fetch(db, &[now.into()], named, |(holder, id)| {
            [holder.0.into(), id.as_bytes().into()]
        })
        .await?;
    let mut found = HashMap::with_capacity(rows.len());
    for row in rows {
        let name = (
            HolderId(row.try_get("holder_id")?),
            damaged(MessageId::from_slice(row.try_get("envelope_id")?))?,
        );
        let kept = Kept {
            number: damaged(PhoneNumberId::parse(row.try_get("phone_number_id")?))?,
            attempt: small(row.try_get("attempt")?)?,
            retry_asked: row.try_get::<i64, _>("retry_asked")? != 0,
            expires_at: row.try_get("expires_at")?,
        };
        found.insert(name, kept);
    }
    Ok(found)
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

/// A message as it was handed over.
pub(super) struct HandedOver<'h> {
    pub(super) device: &'h DeviceIdentity,
    pub(super) message: &'h FromDevice,
    pub(super) queue_id: i64,
    pub(super) expires_at: i64,
}

/// Keeps messages, each once: in the place of those that are over, or of an earlier attempt.
pub(super) async fn envelopes_put(
    tx: &mut Tx,
    handed: &[HandedOver<'_>],
) -> Result<(), DatabaseError> {
    const PUT: Many = Many::new(
        "INSERT INTO envelopes (holder_id, envelope_id, phone_number_id, peer, attempt, queue_id, expires_at)
         VALUES {rows}
         ON CONFLICT (holder_id, envelope_id) DO UPDATE SET phone_number_id = excluded.phone_number_id,
             peer = excluded.peer, attempt = excluded.attempt, retry_asked = 0,
             queue_id = excluded.queue_id, expires_at = excluded.expires_at",
    );
    PUT.execute(tx, &[], handed, |one| {
        [
            one.device.holder.0.into(),
            one.message.envelope_id.as_bytes().into(),
            one.message.number.as_str().into(),
            one.device.phone_number.as_str().into(),
            i64::from(one.message.attempt).into(),
            one.queue_id.into(),
            one.expires_at.into(),
        ]
    })
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
