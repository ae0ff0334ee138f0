//! The tables, one file each: statements and the reading of rows, no decisions.
//!
//! Invariant: every statement is bounded by a key or a limit and finds its rows by an index (a test asks the planner).

pub(crate) mod changes;
pub(crate) mod cursors;
pub(crate) mod departures;
pub(crate) mod envelopes;
pub(crate) mod epochs;
pub(crate) mod event_heads;
pub(crate) mod events;
pub(crate) mod inbound;
pub(crate) mod moving;
pub(crate) mod outbound;
pub(crate) mod outbound_leases;
#[cfg(test)]
mod plans;

use sealpost_database::{
    Connection, DatabaseError, Migration, Row, Tx,
    sqlx::{self, Row as _, query, query_scalar},
};
use sealpost_runtime::Timestamp;

use crate::{
    epoch::Epoch,
    ids::{MessageId, PhoneNumberId, Tag},
    record::{Direction, Record},
};

/// The store's schema. Append only.
pub const MIGRATIONS: &[Migration] = &[
    Migration::new(
        1,
        "store",
        include_str!("../../migrations/sqlite/0001_store.sql"),
        include_str!("../../migrations/postgres/0001_store.sql"),
    ),
    Migration::new(
        2,
        "departures",
        include_str!("../../migrations/sqlite/0002_departures.sql"),
        include_str!("../../migrations/postgres/0002_departures.sql"),
    ),
    Migration::new(
        3,
        "replicas",
        include_str!("../../migrations/sqlite/0003_replicas.sql"),
        include_str!("../../migrations/postgres/0003_replicas.sql"),
    ),
    Migration::new(
        4,
        "last_call",
        include_str!("../../migrations/sqlite/0004_last_call.sql"),
        include_str!("../../migrations/postgres/0004_last_call.sql"),
    ),
    Migration::new(
        5,
        "fewer_indexes",
        include_str!("../../migrations/sqlite/0005_fewer_indexes.sql"),
        include_str!("../../migrations/postgres/0005_fewer_indexes.sql"),
    ),
];

/// How the rows of an epoch or a person leave one table. Epochs bind (retention, start, limit), persons (number, tag, limit).
pub(crate) struct Erasure {
    pub(crate) table: &'static str,
    pub(crate) epoch_delete: &'static str,
    pub(crate) epoch_count: &'static str,
    pub(crate) tag_delete: &'static str,
}

/// Every table that has rows of epochs and persons. Events go first, so that none stands without its record.
pub(crate) const ERASURES: [Erasure; 4] = [
    events::ERASURE,
    envelopes::ERASURE,
    inbound::ERASURE,
    outbound::ERASURE,
];

impl Erasure {
    /// Deletes at most `limit` rows of `epoch`; answers how many.
    pub(crate) async fn epoch_delete(
        &self,
        tx: &mut Tx,
        epoch: Epoch,
        limit: u64,
    ) -> Result<u64, DatabaseError> {
        let done = query(self.epoch_delete)
            .bind(i64::from(epoch.retention_seconds))
            .bind(column(epoch.start_seconds))
            .bind(column(limit))
            .execute(&mut **tx)
            .await?;
        Ok(done.rows_affected())
    }

    /// Counts the rows of `epoch`, up to `limit`.
    pub(crate) async fn epoch_count(
        &self,
        db: &mut Connection,
        epoch: Epoch,
        limit: u64,
    ) -> Result<u64, DatabaseError> {
        let count: i64 = query_scalar(self.epoch_count)
            .bind(i64::from(epoch.retention_seconds))
            .bind(column(epoch.start_seconds))
            .bind(column(limit))
            .fetch_one(db)
            .await?;
        Ok(count.unsigned_abs())
    }

    /// Deletes at most `limit` rows of a person; answers how many.
    pub(crate) async fn tag_delete(
        &self,
        tx: &mut Tx,
        number: &PhoneNumberId,
        tag: Tag,
        limit: u64,
    ) -> Result<u64, DatabaseError> {
        let done = query(self.tag_delete)
            .bind(number.as_str())
            .bind(tag.as_slice())
            .bind(column(limit))
            .execute(&mut **tx)
            .await?;
        Ok(done.rows_affected())
    }
}

/// For binding. The edge refuses what does not fit.
pub(crate) fn column(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// For binding, in milliseconds.
pub(crate) fn time_column(time: Timestamp) -> i64 {
    column(time.as_millis())
}

/// A column that holds a number that was never negative.
pub(crate) fn number_at(row: &Row, name: &'static str) -> Result<u64, sqlx::Error> {
    let value: i64 = row.try_get(name)?;
    whole(u64::try_from(value).ok(), name)
}

/// A column that holds milliseconds.
pub(crate) fn time_at(row: &Row, name: &'static str) -> Result<Timestamp, sqlx::Error> {
    number_at(row, name).map(Timestamp::from_millis)
}

pub(crate) fn phone_number_id_at(row: &Row) -> Result<PhoneNumberId, sqlx::Error> {
    let text: &str = row.try_get("phone_number_id")?;
    whole(PhoneNumberId::parse(text), "phone_number_id")
}

pub(crate) fn tag_at(row: &Row) -> Result<Tag, sqlx::Error> {
    let bytes: &[u8] = row.try_get("tag")?;
    whole(Tag::from_slice(bytes), "tag")
}

pub(crate) fn message_id_at(row: &Row) -> Result<MessageId, sqlx::Error> {
    let bytes: &[u8] = row.try_get("message_id")?;
    whole(MessageId::from_slice(bytes), "message_id")
}

pub(crate) fn epoch_at(row: &Row) -> Result<Epoch, sqlx::Error> {
    let retention = number_at(row, "retention_seconds")?;
    Ok(Epoch {
        retention_seconds: whole(u32::try_from(retention).ok(), "retention_seconds")?,
        start_seconds: number_at(row, "epoch_start")?,
    })
}

/// A row with all the columns of a record.
pub(crate) fn record_at(row: &Row, direction: Direction) -> Result<Record, sqlx::Error> {
    let sealed: Vec<u8> = row.try_get("sealed")?;
    Ok(Record {
        number: phone_number_id_at(row)?,
        tag: tag_at(row)?,
        message_id: message_id_at(row)?,
        direction,
        epoch: epoch_at(row)?,
        sequence: number_at(row, "sequence")?,
        sealed: sealed.into(),
    })
}

/// A value that reads back in shape; anything else means that something but the store wrote it.
pub(crate) fn whole<T>(value: Option<T>, name: &'static str) -> Result<T, sqlx::Error> {
    value.ok_or_else(|| sqlx::Error::ColumnDecode {
        index: name.to_owned(),
        source: "the value is out of range".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn both_dialects_make_the_same_tables() {
        sealpost_database::testing::assert_same_schema(MIGRATIONS).await;
    }
}
