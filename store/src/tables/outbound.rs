//! `outbound`: what businesses sent, by number and message id.

use std::collections::HashMap;

use sealpost_database::{
    Connection, DatabaseError, Many, Row, Tx, sqlx, sqlx::Row as _, sqlx::query,
};
use sealpost_runtime::Timestamp;

use super::{
    Erasure, column, epoch_at, message_id_at, number_at, phone_number_id_at, record_at, tag_at,
    time_at, time_column, whole,
};
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

pub(crate) const FIND: Many = Many::new(
    "SELECT o.phone_number_id, o.message_id, o.tag, o.retention_seconds, o.epoch_start, o.digest, o.appended_at, o.status, \
     o.attempt FROM (VALUES {rows}) AS v CROSS JOIN outbound AS o \
     WHERE o.phone_number_id = v.column1 AND o.message_id = v.column2",
);

pub(crate) const LOAD: &str = "SELECT phone_number_id, tag, message_id, retention_seconds, epoch_start, sequence, \
     status, status_at, error_code, attempt, sealed FROM outbound WHERE phone_number_id = $1 AND message_id = $2";

/// A page of a person's records. It sorts them, which are one person's and seldom asked for; an index for it would draw the
/// planner off the one for dispatching.
const OF_PERSON: &str = "SELECT phone_number_id, tag, message_id, retention_seconds, epoch_start, sequence, \
     status, appended_at, sealed FROM outbound WHERE phone_number_id = $1 AND tag = $2 AND message_id > $3 \
     ORDER BY message_id LIMIT $4";

const INSERT: Many = Many::new(
    "INSERT INTO outbound (phone_number_id, message_id, tag, retention_seconds, epoch_start, sequence, \
     digest, appended_at, status, status_at, error_code, attempt, lease_owner, lease_until, sealed) \
     SELECT v.column1, v.column2, v.column3, v.column4, v.column5, v.column6, v.column7, $1, 1, $1, 0, 0, v.column8, \
     v.column9, v.column10 FROM (VALUES {rows}) AS v",
);

pub(crate) const ADVANCE: Many = Many::new(
    "UPDATE outbound SET status = v.column3, status_at = v.column4, error_code = v.column5, attempt = v.column6, \
     lease_owner = '', lease_until = 0 FROM (VALUES {rows}) AS v \
     WHERE outbound.phone_number_id = v.column1 AND outbound.message_id = v.column2",
);

pub(crate) const RAISE_ATTEMPT: Many = Many::new(
    "UPDATE outbound SET attempt = v.column3 FROM (VALUES {rows}) AS v \
     WHERE outbound.phone_number_id = v.column1 AND outbound.message_id = v.column2",
);

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

/// Those of the records that are kept.
pub(crate) async fn outbound_find(
    db: &mut Connection,
    keys: &[(&PhoneNumberId, MessageId)],
) -> Result<HashMap<(PhoneNumberId, MessageId), Kept>, DatabaseError> {
    let rows = FIND
        .fetch(db, &[], keys, |(number, id)| {
            [number.as_str().into(), id.as_slice().into()]
        })
        .await?;
    let kept = |row: &Row| {
        Ok((
            (phone_number_id_at(row)?, message_id_at(row)?),
            kept_at(row)?,
        ))
    };
    let found: Result<_, sqlx::Error> = rows.iter().map(kept).collect();
    Ok(found?)
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

/// A record to keep, leased to `owner`, which may be nobody.
pub(crate) struct NewOutbound<'a> {
    pub(crate) record: &'a Record,
    pub(crate) digest: &'a ContentDigest,
    pub(crate) owner: &'a str,
    pub(crate) lease_until: Timestamp,
}

/// Keeps records as accepted at `now`.
pub(crate) async fn outbound_insert(
    tx: &mut Tx,
    records: &[NewOutbound<'_>],
    now: Timestamp,
) -> Result<(), DatabaseError> {
    INSERT
        .execute(tx, &[time_column(now).into()], records, |new| {
            let record = new.record;
            [
                record.number.as_str().into(),
                record.message_id.as_slice().into(),
                record.tag.as_slice().into(),
                i64::from(record.epoch.retention_seconds).into(),
                column(record.epoch.start_seconds).into(),
                column(record.sequence).into(),
                new.digest.as_slice().into(),
                new.owner.into(),
                time_column(new.lease_until).into(),
                record.sealed[..].into(),
            ]
        })
        .await?;
    Ok(())
}

/// How far a record is now.
pub(crate) struct Moved<'a> {
    pub(crate) number: &'a PhoneNumberId,
    pub(crate) message_id: &'a MessageId,
    pub(crate) status: Status,
    pub(crate) at: Timestamp,
    pub(crate) error_code: u32,
    pub(crate) attempt: u32,
}

/// Moves statuses and lets the leases go: what has left `Accepted` is dispatched by nobody.
pub(crate) async fn outbound_advance(
    tx: &mut Tx,
    moved: &[Moved<'_>],
) -> Result<(), DatabaseError> {
    ADVANCE
        .execute(tx, &[], moved, |moved| {
            [
                moved.number.as_str().into(),
                moved.message_id.as_slice().into(),
                moved.status.column().into(),
                time_column(moved.at).into(),
                i64::from(moved.error_code).into(),
                i64::from(moved.attempt).into(),
            ]
        })
        .await?;
    Ok(())
}

/// Sets the attempts under way.
pub(crate) async fn outbound_raise_attempt(
    tx: &mut Tx,
    raised: &[(&PhoneNumberId, &MessageId, u32)],
) -> Result<(), DatabaseError> {
    RAISE_ATTEMPT
        .execute(tx, &[], raised, |(number, id, attempt)| {
            [
                number.as_str().into(),
                id.as_slice().into(),
                i64::from(*attempt).into(),
            ]
        })
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
