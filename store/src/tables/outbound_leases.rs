//! `outbound` as a queue: which conversations wait for a dispatcher, and who has them.
//!
//! A record waits while its status is accepted. Statements name `status = 1` literally, so that the partial indexes serve them.
//! Nothing is leased after its epoch's last call, [`Epoch::last_call`], which the statements reckon by themselves (a test compares).

use std::collections::HashSet;

use futures::TryStreamExt;
use sealpost_database::{
    Connection, DatabaseError, Many, Row, Tx, sqlx, sqlx::Row as _, sqlx::query,
};
use sealpost_runtime::Timestamp;

use super::{
    column, message_id_at, outbound::small_at, phone_number_id_at, record_at, tag_at, time_at,
    time_column, whole,
};
use crate::{
    budget::Budget,
    epoch::Epoch,
    ids::{MessageId, Owner, PhoneNumberId, Tag},
    record::{Direction, Record},
};

/// Conversations with a free record that no other owner has a live lease on, longest free first; one row a record.
pub(crate) const FREE: &str = "SELECT o.phone_number_id, o.tag FROM outbound AS o \
     WHERE o.status = 1 AND o.lease_until <= $1 AND (o.epoch_start + o.retention_seconds) * 1000 > $1 + 120000 \
     AND (o.epoch_start + o.retention_seconds) * 1000 - o.retention_seconds * 1000 / 720 > $1 \
     AND NOT EXISTS (SELECT 1 FROM epochs AS e WHERE e.retention_seconds = o.retention_seconds \
         AND e.epoch_start = o.epoch_start AND e.state = 3) \
     AND NOT EXISTS (SELECT 1 FROM outbound AS held WHERE held.status = 1 \
         AND held.phone_number_id = o.phone_number_id AND held.tag = o.tag \
         AND held.lease_until > $1 AND held.lease_owner <> $2) \
     ORDER BY o.lease_until LIMIT $3";

/// The free records of one conversation, in order.
pub(crate) const TAKE: &str = "SELECT o.phone_number_id, o.tag, o.message_id, o.retention_seconds, o.epoch_start, \
     o.sequence, o.appended_at, o.attempt, o.sealed FROM outbound AS o \
     WHERE o.status = 1 AND o.phone_number_id = $1 AND o.tag = $2 \
     AND o.lease_until <= $3 AND (o.epoch_start + o.retention_seconds) * 1000 > $3 + 120000 \
     AND (o.epoch_start + o.retention_seconds) * 1000 - o.retention_seconds * 1000 / 720 > $3 \
     AND NOT EXISTS (SELECT 1 FROM epochs AS e WHERE e.retention_seconds = o.retention_seconds \
         AND e.epoch_start = o.epoch_start AND e.state = 3) \
     ORDER BY o.sequence LIMIT $4";

/// Which conversations have something that waits and is not of one owner.
pub(crate) const ELSEWHERE: Many = Many::new(
    "SELECT v.column4 AS place FROM (VALUES {rows}) AS v WHERE EXISTS (SELECT 1 FROM outbound AS o \
     WHERE o.status = 1 AND o.phone_number_id = v.column1 AND o.tag = v.column2 AND o.lease_owner <> v.column3)",
);

pub(crate) const LEASE: Many = Many::new(
    "UPDATE outbound SET lease_owner = $1, lease_until = $2 FROM (VALUES {rows}) AS v \
     WHERE outbound.phone_number_id = v.column1 AND outbound.message_id = v.column2",
);

pub(crate) const RELEASE: &str = "UPDATE outbound SET lease_until = 0 WHERE (phone_number_id, message_id) IN \
     (SELECT phone_number_id, message_id FROM outbound \
      WHERE status = 1 AND lease_owner = $1 AND lease_until > $2 LIMIT $3)";

/// Records of an epoch that wait and that nobody has a live lease on; those of a departed number wait elsewhere.
pub(crate) const UNSENT: &str = "SELECT o.phone_number_id, o.message_id FROM outbound AS o \
     WHERE o.status = 1 AND o.retention_seconds = $1 AND o.epoch_start = $2 AND o.lease_until <= $3 \
     AND NOT EXISTS (SELECT 1 FROM departures AS d WHERE d.phone_number_id = o.phone_number_id) LIMIT $4";

/// A record to dispatch.
#[derive(Clone, Debug)]
pub struct Leased {
    /// The record.
    pub record: Record,
    /// The retry attempt under way.
    pub attempt: u32,
    /// When it was accepted.
    pub appended_at: Timestamp,
}

/// The places, among `conversations`, of those of which another owner than the one named, or nobody yet, has something to
/// dispatch.
pub(crate) async fn conversations_elsewhere(
    db: &mut Connection,
    conversations: &[(&PhoneNumberId, &Tag, &Owner)],
) -> Result<HashSet<usize>, DatabaseError> {
    let numbered: Vec<_> = (0..).zip(conversations).collect();
    let rows = ELSEWHERE
        .fetch(db, &[], &numbered, |(place, (number, tag, owner))| {
            [
                number.as_str().into(),
                tag.as_slice().into(),
                owner.as_str().into(),
                i64::from(*place).into(),
            ]
        })
        .await?;
    let place = |row: &Row| {
        let place: i64 = row.try_get("place")?;
        whole(usize::try_from(place).ok(), "place")
    };
    let places: Result<_, sqlx::Error> = rows.iter().map(place).collect();
    Ok(places?)
}

pub(crate) async fn conversations_free(
    db: &mut Connection,
    owner: &Owner,
    now: Timestamp,
    limit: u64,
) -> Result<Vec<(PhoneNumberId, Tag)>, DatabaseError> {
    let rows = query(FREE)
        .bind(time_column(now))
        .bind(owner.as_str())
        .bind(column(limit))
        .fetch_all(db)
        .await?;
    let mut conversations: Vec<(PhoneNumberId, Tag)> = Vec::new();
    let mut seen = HashSet::new();
    for row in &rows {
        let conversation = (phone_number_id_at(row)?, tag_at(row)?);
        if seen.insert(conversation.clone()) {
            conversations.push(conversation);
        }
    }
    Ok(conversations)
}

/// The free records of a conversation in order, at most `limit`, until `bytes` is used up (the first one always fits).
pub(crate) async fn conversation_take(
    db: &mut Connection,
    number: &PhoneNumberId,
    tag: Tag,
    now: Timestamp,
    limit: u64,
    bytes: &mut Budget,
) -> Result<Vec<Leased>, DatabaseError> {
    let mut rows = query(TAKE)
        .bind(number.as_str())
        .bind(tag.as_slice())
        .bind(time_column(now))
        .bind(column(limit))
        .fetch(db);
    let mut taken = Vec::new();
    while let Some(row) = rows.try_next().await? {
        let leased = leased_at(&row)?;
        if !bytes.spend(leased.record.sealed.len()) {
            break;
        }
        taken.push(leased);
    }
    Ok(taken)
}

fn leased_at(row: &Row) -> Result<Leased, sqlx::Error> {
    Ok(Leased {
        record: record_at(row, Direction::Outbound)?,
        attempt: small_at(row, "attempt")?,
        appended_at: time_at(row, "appended_at")?,
    })
}

/// Leases `records` to `owner`.
pub(crate) async fn leases_set(
    tx: &mut Tx,
    records: &[Leased],
    owner: &Owner,
    until: Timestamp,
) -> Result<(), DatabaseError> {
    let shared = [owner.as_str().into(), time_column(until).into()];
    LEASE
        .execute(tx, &shared, records, |leased| {
            let Record {
                number, message_id, ..
            } = &leased.record;
            [number.as_str().into(), message_id.as_slice().into()]
        })
        .await?;
    Ok(())
}

/// Frees at most `limit` live leases of `owner`; answers how many.
pub(crate) async fn leases_release(
    tx: &mut Tx,
    owner: &Owner,
    now: Timestamp,
    limit: u64,
) -> Result<u64, DatabaseError> {
    let done = query(RELEASE)
        .bind(owner.as_str())
        .bind(time_column(now))
        .bind(column(limit))
        .execute(&mut **tx)
        .await?;
    Ok(done.rows_affected())
}

/// At most `limit` records of `epoch` that wait and that no owner has at `now`.
pub(crate) async fn outbound_unsent(
    db: &mut Connection,
    epoch: Epoch,
    now: Timestamp,
    limit: u64,
) -> Result<Vec<(PhoneNumberId, MessageId)>, DatabaseError> {
    let rows = query(UNSENT)
        .bind(i64::from(epoch.retention_seconds))
        .bind(column(epoch.start_seconds))
        .bind(time_column(now))
        .bind(column(limit))
        .fetch_all(db)
        .await?;
    let unsent: Result<_, sqlx::Error> = rows
        .iter()
        .map(|row| Ok((phone_number_id_at(row)?, message_id_at(row)?)))
        .collect();
    Ok(unsent?)
}
