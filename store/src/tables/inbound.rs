//! `inbound`: what consumers sent, by number, message id and tag.

use std::collections::HashMap;

use sealpost_database::{Connection, DatabaseError, Many, Row, Tx, sqlx, sqlx::query};
use sealpost_runtime::Timestamp;

use super::{
    Erasure, column, epoch_at, message_id_at, phone_number_id_at, record_at, tag_at, time_at,
    time_column,
};
use crate::{
    epoch::Epoch,
    ids::{MessageId, PhoneNumberId, Tag},
    record::{Direction, Record},
};

pub(crate) const ERASURE: Erasure = Erasure {
    table: "inbound",
    epoch_delete: "DELETE FROM inbound WHERE (phone_number_id, message_id, tag) IN \
         (SELECT phone_number_id, message_id, tag FROM inbound WHERE retention_seconds = $1 AND epoch_start = $2 LIMIT $3)",
    epoch_count: "SELECT count(*) FROM \
         (SELECT 1 FROM inbound WHERE retention_seconds = $1 AND epoch_start = $2 LIMIT $3) AS found",
    tag_delete: "DELETE FROM inbound WHERE (phone_number_id, message_id, tag) IN \
         (SELECT phone_number_id, message_id, tag FROM inbound WHERE phone_number_id = $1 AND tag = $2 LIMIT $3)",
};

pub(crate) const FIND: Many = Many::new(
    "SELECT i.phone_number_id, i.message_id, i.tag, i.retention_seconds, i.epoch_start, i.appended_at \
     FROM (VALUES {rows}) AS v CROSS JOIN inbound AS i \
     WHERE i.phone_number_id = v.column1 AND i.message_id = v.column2 AND i.tag = v.column3",
);

/// Of several consumers that chose the same message id, the first one's.
pub(crate) const LOAD: &str = "SELECT phone_number_id, tag, message_id, retention_seconds, epoch_start, sequence, sealed \
     FROM inbound WHERE phone_number_id = $1 AND message_id = $2 ORDER BY appended_at, tag LIMIT 1";

/// A page of a person's records.
pub(crate) const OF_PERSON: &str = "SELECT phone_number_id, tag, message_id, retention_seconds, epoch_start, sequence, \
     appended_at, sealed FROM inbound WHERE phone_number_id = $1 AND tag = $2 AND message_id > $3 \
     ORDER BY message_id LIMIT $4";

const INSERT: Many = Many::new(
    "INSERT INTO inbound (phone_number_id, message_id, tag, retention_seconds, epoch_start, sequence, appended_at, sealed) \
     SELECT v.column1, v.column2, v.column3, v.column4, v.column5, v.column6, $1, v.column7 FROM (VALUES {rows}) AS v",
);

pub(crate) const DELETE: &str =
    "DELETE FROM inbound WHERE phone_number_id = $1 AND message_id = $2 AND tag = $3";

/// What names an inbound record.
pub(crate) type InboundKey = (PhoneNumberId, MessageId, Tag);

/// The epochs and times of those of the records that are kept.
pub(crate) async fn inbound_find(
    db: &mut Connection,
    records: &[&Record],
) -> Result<HashMap<InboundKey, (Epoch, Timestamp)>, DatabaseError> {
    let rows = FIND
        .fetch(db, &[], records, |record| {
            [
                record.number.as_str().into(),
                record.message_id.as_slice().into(),
                record.tag.as_slice().into(),
            ]
        })
        .await?;
    let kept = |row: &Row| {
        let key = (phone_number_id_at(row)?, message_id_at(row)?, tag_at(row)?);
        Ok((key, (epoch_at(row)?, time_at(row, "appended_at")?)))
    };
    let found: Result<_, sqlx::Error> = rows.iter().map(kept).collect();
    Ok(found?)
}

pub(crate) async fn inbound_load(
    db: &mut Connection,
    number: &PhoneNumberId,
    message_id: MessageId,
) -> Result<Option<Record>, DatabaseError> {
    let row = query(LOAD)
        .bind(number.as_str())
        .bind(message_id.as_slice())
        .fetch_optional(db)
        .await?;
    Ok(row
        .map(|row| record_at(&row, Direction::Inbound))
        .transpose()?)
}

/// A person's records after a message id, with the time when they were kept.
pub(crate) async fn inbound_of_person(
    db: &mut Connection,
    number: &PhoneNumberId,
    tag: Tag,
    after: &[u8],
    limit: u64,
) -> Result<Vec<(Record, Timestamp)>, DatabaseError> {
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
            Ok((
                record_at(row, Direction::Inbound)?,
                time_at(row, "appended_at")?,
            ))
        })
        .collect();
    Ok(found?)
}

/// Keeps records at `now`.
pub(crate) async fn inbound_insert(
    tx: &mut Tx,
    records: &[&Record],
    now: Timestamp,
) -> Result<(), DatabaseError> {
    INSERT
        .execute(tx, &[time_column(now).into()], records, |record| {
            [
                record.number.as_str().into(),
                record.message_id.as_slice().into(),
                record.tag.as_slice().into(),
                i64::from(record.epoch.retention_seconds).into(),
                column(record.epoch.start_seconds).into(),
                column(record.sequence).into(),
                record.sealed[..].into(),
            ]
        })
        .await?;
    Ok(())
}

pub(crate) async fn inbound_delete(
    tx: &mut Tx,
    number: &PhoneNumberId,
    message_id: MessageId,
    tag: Tag,
) -> Result<(), DatabaseError> {
    query(DELETE)
        .bind(number.as_str())
        .bind(message_id.as_slice())
        .bind(tag.as_slice())
        .execute(&mut **tx)
        .await?;
    Ok(())
}
