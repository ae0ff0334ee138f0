//! `events`: what a business should learn, by number and cursor.

use futures::TryStreamExt;
use sealpost_database::{
    Connection, DatabaseError, Many, Row, Tx, sqlx, sqlx::Row as _, sqlx::query,
};
use sealpost_runtime::Timestamp;

use super::{
    Erasure, column, epoch_at, message_id_at, number_at, outbound::small_at, record_at, time_at,
    time_column, whole,
};
use crate::{
    budget::Budget,
    epoch::{Epoch, EpochState},
    ids::{MessageId, PhoneNumberId, Tag},
    progress::Status,
    record::{Direction, Record},
};

pub(crate) const ERASURE: Erasure = Erasure {
    table: "events",
    epoch_delete: "DELETE FROM events WHERE (phone_number_id, cursor) IN \
         (SELECT phone_number_id, cursor FROM events WHERE retention_seconds = $1 AND epoch_start = $2 LIMIT $3)",
    epoch_count: "SELECT count(*) FROM \
         (SELECT 1 FROM events WHERE retention_seconds = $1 AND epoch_start = $2 LIMIT $3) AS found",
    // Epoch by epoch, of which a few hundred live: every row's epoch is known. The join keeps its order on SQLite.
    tag_delete: "DELETE FROM events WHERE (phone_number_id, cursor) IN \
         (SELECT e.phone_number_id, e.cursor FROM epochs AS s CROSS JOIN events AS e \
          WHERE e.retention_seconds = s.retention_seconds AND e.epoch_start = s.epoch_start \
          AND e.phone_number_id = $1 AND e.tag = $2 LIMIT $3)",
};

const INSERT: Many = Many::new(
    "INSERT INTO events (phone_number_id, cursor, kind, direction, message_id, tag, retention_seconds, epoch_start, status, \
     error_code, happened_at) VALUES {rows}",
);

/// Each event with its record, where that is there yet, and the state of its epoch.
pub(crate) const LIST: &str = "SELECT e.phone_number_id, e.cursor, e.kind, e.direction, e.message_id, e.tag, \
     e.retention_seconds, e.epoch_start, e.status, e.error_code, e.happened_at, s.state, \
     COALESCE(o.sequence, i.sequence) AS sequence, COALESCE(o.sealed, i.sealed) AS sealed \
     FROM events AS e \
     LEFT JOIN epochs AS s ON s.retention_seconds = e.retention_seconds AND s.epoch_start = e.epoch_start \
     LEFT JOIN outbound AS o ON e.direction = 1 AND o.phone_number_id = e.phone_number_id \
         AND o.message_id = e.message_id AND o.tag = e.tag \
     LEFT JOIN inbound AS i ON e.direction = 2 AND i.phone_number_id = e.phone_number_id \
         AND i.message_id = e.message_id AND i.tag = e.tag \
     WHERE e.phone_number_id = $1 AND e.cursor > $2 ORDER BY e.cursor LIMIT $3";

/// The same without the records.
pub(crate) const LIST_BARE: &str = "SELECT e.phone_number_id, e.cursor, e.kind, e.direction, e.message_id, e.tag, \
     e.retention_seconds, e.epoch_start, e.status, e.error_code, e.happened_at, s.state \
     FROM events AS e \
     LEFT JOIN epochs AS s ON s.retention_seconds = e.retention_seconds AND s.epoch_start = e.epoch_start \
     WHERE e.phone_number_id = $1 AND e.cursor > $2 ORDER BY e.cursor LIMIT $3";

/// The planner would walk the number's events for a plain condition; the inner query has the index to itself.
pub(crate) const DELETE_RECORD: &str = "DELETE FROM events WHERE (phone_number_id, cursor) IN \
     (SELECT phone_number_id, cursor FROM events \
      WHERE retention_seconds = $1 AND epoch_start = $2 AND phone_number_id = $3 AND tag = $4 AND message_id = $5 \
      AND direction = $6)";

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// A consumer's message was kept.
    Message,
    /// An outbound message's status moved there; with `Failed`, the code that the business is shown.
    Status(Status, u32),
    /// A consumer's identity key changed.
    IdentityChanged,
}

impl EventKind {
    /// The table's columns: kind, status, error code.
    fn columns(self) -> (i64, i64, i64) {
        match self {
            Self::Message => (1, 0, 0),
            Self::Status(status, error_code) => (2, status.column(), i64::from(error_code)),
            Self::IdentityChanged => (3, 0, 0),
        }
    }

    fn from_columns(kind: i64, status: i64, error_code: u32) -> Option<Self> {
        match kind {
            1 => Some(Self::Message),
            2 => Status::from_column(status).map(|status| Self::Status(status, error_code)),
            3 => Some(Self::IdentityChanged),
            _ => None,
        }
    }
}

/// The record that an event is about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct About<'a> {
    pub(crate) number: &'a PhoneNumberId,
    pub(crate) direction: Direction,
    pub(crate) message_id: MessageId,
    pub(crate) tag: Tag,
    pub(crate) epoch: Epoch,
}

impl<'a> From<&'a Record> for About<'a> {
    fn from(record: &'a Record) -> Self {
        Self {
            number: &record.number,
            direction: record.direction,
            message_id: record.message_id,
            tag: record.tag,
            epoch: record.epoch,
        }
    }
}

/// Something that the business should learn.
#[derive(Clone, Debug)]
pub struct Event {
    /// Place among the number's events.
    pub cursor: u64,
    /// What happened.
    pub kind: EventKind,
    /// The record that it is about; none when that is gone, its epoch is over, or records were left out.
    pub record: Option<Record>,
    /// The id of the record that it is about; none when its epoch is over.
    pub message_id: Option<MessageId>,
    /// When it happened.
    pub happened_at: Timestamp,
}

/// An event to keep.
pub(crate) struct NewEvent<'a> {
    pub(crate) about: About<'a>,
    pub(crate) kind: EventKind,
    pub(crate) happened_at: Timestamp,
}

/// Keeps each event under its cursor.
pub(crate) async fn events_insert(
    tx: &mut Tx,
    events: &[(u64, &NewEvent<'_>)],
) -> Result<(), DatabaseError> {
    INSERT
        .execute(tx, &[], events, |(cursor, event)| {
            let (kind, status, error_code) = event.kind.columns();
            [
                event.about.number.as_str().into(),
                column(*cursor).into(),
                kind.into(),
                event.about.direction.column().into(),
                event.about.message_id.as_slice().into(),
                event.about.tag.as_slice().into(),
                i64::from(event.about.epoch.retention_seconds).into(),
                column(event.about.epoch.start_seconds).into(),
                status.into(),
                error_code.into(),
                time_column(event.happened_at).into(),
            ]
        })
        .await?;
    Ok(())
}

/// The events of a number after a cursor: at most `limit`, and no more than a page.
pub(crate) async fn events_list(
    db: &mut Connection,
    number: &PhoneNumberId,
    after: u64,
    limit: u64,
    with_records: bool,
    now: Timestamp,
) -> Result<Vec<Event>, DatabaseError> {
    let mut budget = Budget::page();
    let statement = if with_records { LIST } else { LIST_BARE };
    let mut rows = query(statement)
        .bind(number.as_str())
        .bind(column(after))
        .bind(column(limit))
        .fetch(db);
    let mut events = Vec::new();
    while let Some(row) = rows.try_next().await? {
        let event = event_at(&row, with_records, now)?;
        let sealed = event
            .record
            .as_ref()
            .map_or(0, |record| record.sealed.len());
        if !budget.spend(sealed) {
            break;
        }
        events.push(event);
    }
    Ok(events)
}

fn event_at(row: &Row, with_record: bool, now: Timestamp) -> Result<Event, sqlx::Error> {
    let kind = EventKind::from_columns(
        row.try_get("kind")?,
        row.try_get("status")?,
        small_at(row, "error_code")?,
    );
    let direction = Direction::from_column(row.try_get("direction")?);
    let direction = whole(direction, "direction")?;
    let state: Option<i64> = row.try_get("state")?;
    let over = epoch_at(row)?.is_over(state.and_then(EpochState::from_column), now);
    let record = if with_record && !over {
        let kept: Option<i64> = row.try_get("sequence")?;
        kept.map(|_| record_at(row, direction)).transpose()?
    } else {
        None
    };
    let message_id = (!over).then(|| message_id_at(row)).transpose()?;
    Ok(Event {
        cursor: number_at(row, "cursor")?,
        kind: whole(kind, "kind")?,
        record,
        message_id,
        happened_at: time_at(row, "happened_at")?,
    })
}

/// Deletes the few events of one record that is about to be replaced.
pub(crate) async fn events_delete_record(
    tx: &mut Tx,
    about: About<'_>,
) -> Result<(), DatabaseError> {
    query(DELETE_RECORD)
        .bind(i64::from(about.epoch.retention_seconds))
        .bind(column(about.epoch.start_seconds))
        .bind(about.number.as_str())
        .bind(about.tag.as_slice())
        .bind(about.message_id.as_slice())
        .bind(about.direction.column())
        .execute(&mut **tx)
        .await?;
    Ok(())
}
