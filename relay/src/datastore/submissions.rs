//! The table `submissions`: which messages were handed over for which devices.
//!
//! A row outlives the message in the queue, up to the message's own end: repeats, receipts and retry requests refer to it.

use sealpost_database::{
    Connection, DatabaseError, Tx,
    sqlx::{query, query_scalar},
};

use crate::{
    ids::{HolderId, MessageId, PhoneNumber, PhoneNumberId},
    validate::ForPeer,
};

/// Remembers one attempt for one device, until `expires_at`; false when it was there already and not over.
pub(super) async fn submission_insert(
    tx: &mut Tx,
    item: &ForPeer,
    holder: HolderId,
    expires_at: i64,
    now: i64,
) -> Result<bool, DatabaseError> {
    let done = query(
        "INSERT INTO submissions (phone_number_id, peer, message_id, holder_id, attempt, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (phone_number_id, peer, message_id, holder_id, attempt) DO UPDATE
         SET receipt = 0, retry_asked = 0, expires_at = excluded.expires_at
         WHERE submissions.expires_at <= $7",
    )
    .bind(item.number.as_str())
    .bind(item.peer.as_str())
    .bind(item.message.as_bytes())
    .bind(holder.0)
    .bind(i64::from(item.attempt))
    .bind(expires_at)
    .bind(now)
    .execute(&mut **tx)
    .await?;
    Ok(done.rows_affected() == 1)
}

pub(super) async fn submission_exists(
    db: &mut Connection,
    item: &ForPeer,
    holder: HolderId,
    now: i64,
) -> Result<bool, DatabaseError> {
    let found: Option<i64> = query_scalar(
        "SELECT 1 FROM submissions WHERE phone_number_id = $1 AND peer = $2 AND message_id = $3
         AND holder_id = $4 AND attempt = $5 AND expires_at > $6",
    )
    .bind(item.number.as_str())
    .bind(item.peer.as_str())
    .bind(item.message.as_bytes())
    .bind(holder.0)
    .bind(i64::from(item.attempt))
    .bind(now)
    .fetch_optional(db)
    .await?;
    Ok(found.is_some())
}

/// Whether the message was handed over before, in any attempt, for any device.
pub(super) async fn submission_is_known(
    db: &mut Connection,
    item: &ForPeer,
    now: i64,
) -> Result<bool, DatabaseError> {
    let found: Option<i64> = query_scalar(
        "SELECT 1 FROM submissions WHERE phone_number_id = $1 AND peer = $2 AND message_id = $3
         AND expires_at > $4 LIMIT 1",
    )
    .bind(item.number.as_str())
    .bind(item.peer.as_str())
    .bind(item.message.as_bytes())
    .bind(now)
    .fetch_optional(db)
    .await?;
    Ok(found.is_some())
}

/// The furthest receipt that this device gave for a message; `None` when it was not sent the message.
pub(super) async fn submission_receipt(
    db: &mut Connection,
    number: &PhoneNumberId,
    peer: &PhoneNumber,
    message: MessageId,
    holder: HolderId,
    now: i64,
) -> Result<Option<i64>, DatabaseError> {
    let furthest = query_scalar(
        "SELECT max(receipt) FROM submissions WHERE phone_number_id = $1 AND peer = $2
         AND message_id = $3 AND holder_id = $4 AND expires_at > $5",
    )
    .bind(number.as_str())
    .bind(peer.as_str())
    .bind(message.as_bytes())
    .bind(holder.0)
    .bind(now)
    .fetch_one(db)
    .await?;
    Ok(furthest)
}

pub(super) async fn submission_set_receipt(
    tx: &mut Tx,
    number: &PhoneNumberId,
    peer: &PhoneNumber,
    message: MessageId,
    holder: HolderId,
    receipt: i64,
) -> Result<(), DatabaseError> {
    query(
        "UPDATE submissions SET receipt = $5 WHERE phone_number_id = $1 AND peer = $2
         AND message_id = $3 AND holder_id = $4",
    )
    .bind(number.as_str())
    .bind(peer.as_str())
    .bind(message.as_bytes())
    .bind(holder.0)
    .bind(receipt)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Notes that a device asked for another attempt: true the first time, false again, `None` when it was not sent that attempt.
pub(super) async fn submission_ask_retry(
    tx: &mut Tx,
    number: &PhoneNumberId,
    peer: &PhoneNumber,
    message: MessageId,
    holder: HolderId,
    attempt: u32,
    now: i64,
) -> Result<Option<bool>, DatabaseError> {
    let asked: Option<i64> = query_scalar(
        "SELECT retry_asked FROM submissions WHERE phone_number_id = $1 AND peer = $2
         AND message_id = $3 AND holder_id = $4 AND attempt = $5 AND expires_at > $6",
    )
    .bind(number.as_str())
    .bind(peer.as_str())
    .bind(message.as_bytes())
    .bind(holder.0)
    .bind(i64::from(attempt))
    .bind(now)
    .fetch_optional(&mut **tx)
    .await?;
    if asked == Some(0) {
        query(
            "UPDATE submissions SET retry_asked = 1 WHERE phone_number_id = $1 AND peer = $2
             AND message_id = $3 AND holder_id = $4 AND attempt = $5",
        )
        .bind(number.as_str())
        .bind(peer.as_str())
        .bind(message.as_bytes())
        .bind(holder.0)
        .bind(i64::from(attempt))
        .execute(&mut **tx)
        .await?;
    }
    Ok(asked.map(|asked| asked == 0))
}

/// Forgets what a number sent to a consumer; rows deleted.
pub(super) async fn submission_erase(
    tx: &mut Tx,
    number: &PhoneNumberId,
    peer: &PhoneNumber,
) -> Result<u64, DatabaseError> {
    let done = query("DELETE FROM submissions WHERE phone_number_id = $1 AND peer = $2")
        .bind(number.as_str())
        .bind(peer.as_str())
        .execute(&mut **tx)
        .await?;
    Ok(done.rows_affected())
}
