//! `outbound`: what businesses sent, by number and message id.

use sealpost_database::{Connection, DatabaseError, Row, Tx, sqlx, sqlx::Row as _, sqlx::query};
use sealpost_runtime::Timestamp;

use super::{Erasure, column, epoch_at, number_at, record_at, tag_at, time_at, time_column, whole};
use crate::{
    epoch::Epoch,
    ids::{ContentDigest, MessageId, PhoneNumberId, Tag},
    progress::Status,
    record::{Direction, Record},
};

pub(crate) const ERASURE: Erasure = Erasure {
    table: "outbound",
    epoch_delete: "DELETE FROM outbound WHERE (phone_number_id, message_id) IN \
         (SELECT phone_number_id, message_id FROM outbound WHERE retention_seconds = $1 AND epoch_start = $2 LIMIT $3)",
    epoch_count: "SELECT count(*) FROM \
         (SELECT 1 FROM outbound WHERE retention_seconds = $1 AND epoch_start = $2 LIMIT $3) AS found",
    tag_delete: "DELETE FROM outbound WHERE (phone_number_id, message_id) IN \
         (SELECT phone_number_id, message_id FROM outbound WHERE phone_number_id = $1 AND tag = $2 LIMIT $3)",
};

pub(crate) const FIND: &str = "SELECT tag, retention_seconds, epoch_start, digest, appended_at, status, attempt \
     FROM outbound WHERE phone_number_id = $1 AND message_id = $2";

pub(crate) const LOAD: &str = "SELECT phone_number_id, tag, message_id, retention_seconds, epoch_start, sequence, \
     status, status_at, error_code, attempt, sealed FROM outbound WHERE phone_number_id = $1 AND message_id = $2";

/// A page of a person's records. It sorts them, which are one person's and seldom asked for; an index for it would draw the
/// planner off the one for dispatching.
const OF_PERSON: &str = "SELECT phone_number_id, tag, message_id, retention_seconds, epoch_start, sequence, \
     status, appended_at, sealed FROM outbound WHERE phone_number_id = $1 AND tag = $2 AND message_id > $3 \
     ORDER BY message_id LIMIT $4";

const INSERT: &str = "INSERT INTO outbound (phone_number_id, message_id, tag, retention_seconds, epoch_start, sequence, \
     digest, appended_at, status, status_at, error_code, attempt, lease_owner, lease_until, sealed) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 1, $8, 0, 0, $9, $10, $11)";

pub(crate) const ADVANCE: &str = "UPDATE outbound SET status = $3, status_at = $4, error_code = $5, lease_owner = '', \
     lease_until = 0 WHERE phone_number_id = $1 AND message_id = $2";

pub(crate) const RAISE_ATTEMPT: &str =
    "UPDATE outbound SET attempt = $3 WHERE phone_number_id = $1 AND message_id = $2";

pub(crate) const DELETE: &str =
    "DELETE FROM outbound WHERE phone_number_id = $1 AND message_id = $2";

/// What is known of a kept record without its sealed part.
pub(crate) struct Kept {
    pub(crate) tag: Tag,
    pub(crate) epoch: Epoch,
    pub(crate) digest: ContentDigest,
    pub(crate) appended_at: Timestamp,
    pub(crate) status: Status,
    pub(crate) attempt: u32,
}

/// A kept record and how far it is.
#[derive(Clone, Debug)]
pub struct OutboundRecord {
    /// The record.
    pub record: Record,
    /// Its status.
    pub status: Status,
    /// When that was reached.
    pub status_at: Timestamp,
    /// With `Failed`: the code that the business is shown, else 0.
    pub error_code: u32,
    /// The retry attempt under way.
    pub attempt: u32,
}

pub(crate) async fn outbound_find(
    db: &mut Connection,
    number: &PhoneNumberId,
    message_id: MessageId,
) -> Result<Option<Kept>, DatabaseError> {
    let row = query(FIND)
        .bind(number.as_str())
        .bind(message_id.as_slice())
        .fetch_optional(db)
        .await?;
    Ok(row.as_ref().map(kept_at).transpose()?)
}

fn kept_at(row: &Row) -> Result<Kept, sqlx::Error> {
    let digest: &[u8] = row.try_get("digest")?;
    Ok(Kept {
        tag: tag_at(row)?,
        epoch: epoch_at(row)?,
        digest: whole(ContentDigest::from_slice(digest), "digest")?,
        appended_at: time_at(row, "appended_at")?,
        status: status_at(row)?,
        attempt: small_at(row, "attempt")?,
    })
}

pub(crate) async fn outbound_load(
    db: &mut Connection,
    number: &PhoneNumberId,
    message_id: MessageId,
) -> Result<Option<OutboundRecord>, DatabaseError> {
    let row = query(LOAD)
        .bind(number.as_str())
        .bind(message_id.as_slice())
        .fetch_optional(db)
        .await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(OutboundRecord {
        record: record_at(&row, Direction::Outbound)?,
        status: status_at(&row)?,
        status_at: time_at(&row, "status_at")?,
        error_code: small_at(&row, "error_code")?,
        attempt: small_at(&row, "attempt")?,
    }))
}

/// A person's records after a message id, with status and the time when they were kept.
pub(crate) async fn outbound_of_person(
    db: &mut Connection,
    number: &PhoneNumberId,
    tag: Tag,
    after: &[u8],
    limit: u64,
) -> Result<Vec<(Record, Status, Timestamp)>, DatabaseError> {
    let rows = query(OF_PERSON)
        .bind(number.as_str())
        .bind(tag.as_slice())
        .bind(after)
        .bind(column(limit))
        .fetch_all(db)
        .await?;
    let found: Result<_, sqlx::Error> = rows
        .iter()
        .map(|row| {
            let record = record_at(row, Direction::Outbound)?;
            Ok((record, status_at(row)?, time_at(row, "appended_at")?))
        })
        .collect();
    Ok(found?)
}

/// Keeps a record as accepted at `now` and leased to `owner`, which may be nobody, until `lease_until`.
pub(crate) async fn outbound_insert(
    tx: &mut Tx,
    record: &Record,
    digest: ContentDigest,
    owner: &str,
    lease_until: Timestamp,
    now: Timestamp,
) -> Result<(), DatabaseError> {
    query(INSERT)
        .bind(record.number.as_str())
        .bind(record.message_id.as_slice())
        .bind(record.tag.as_slice())
        .bind(i64::from(record.epoch.retention_seconds))
        .bind(column(record.epoch.start_seconds))
        .bind(column(record.sequence))
        .bind(digest.as_slice())
        .bind(time_column(now))
        .bind(owner)
        .bind(time_column(lease_until))
        .bind(&record.sealed[..])
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Moves the status and lets the lease go: what has left `Accepted` is dispatched by nobody.
pub(crate) async fn outbound_advance(
    tx: &mut Tx,
    number: &PhoneNumberId,
    message_id: MessageId,
    status: Status,
    at: Timestamp,
    error_code: u32,
) -> Result<(), DatabaseError> {
    query(ADVANCE)
        .bind(number.as_str())
        .bind(message_id.as_slice())
        .bind(status.column())
        .bind(time_column(at))
        .bind(i64::from(error_code))
        .execute(&mut **tx)
        .await?;
    Ok(())
}

pub(crate) async fn outbound_raise_attempt(
    tx: &mut Tx,
    number: &PhoneNumberId,
    message_id: MessageId,
    attempt: u32,
) -> Result<(), DatabaseError> {
    query(RAISE_ATTEMPT)
        .bind(number.as_str())
        .bind(message_id.as_slice())
        .bind(i64::from(attempt))
        .execute(&mut **tx)
        .await?;
    Ok(())
}

pub(crate) async fn outbound_delete(
    tx: &mut Tx,
    number: &PhoneNumberId,
    message_id: MessageId,
) -> Result<(), DatabaseError> {
    query(DELETE)
        .bind(number.as_str())
        .bind(message_id.as_slice())
        .execute(&mut **tx)
        .await?;
    Ok(())
}

fn status_at(row: &Row) -> Result<Status, sqlx::Error> {
    whole(Status::from_column(row.try_get("status")?), "status")
}

pub(crate) fn small_at(row: &Row, name: &'static str) -> Result<u32, sqlx::Error> {
    whole(u32::try_from(number_at(row, name)?).ok(), name)
}
