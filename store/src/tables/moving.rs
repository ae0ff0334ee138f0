//! Every table that has rows of a number, as rows travel from one store to another.
//!
//! A row travels as its columns, in the order of its shape. Leases stay behind, so that a record that waits is free where it
//! arrives; so do the counts by which one store's replicas hear of changes. Invariant: every table with a `phone_number_id` stands here with every column (a test reads the schema).

use sealpost_database::{
    Connection, DatabaseError, Row, Tx,
    sqlx::{Row as _, query},
};

use super::column;
use crate::{epoch::Epoch, ids::PhoneNumberId};

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Number,
    Text,
    Bytes,
}

/// A value of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Number(i64),
    Text(String),
    Bytes(Vec<u8>),
}

/// How the rows of a number leave one table and enter another store's.
pub(crate) struct Moving {
    /// Its number on the wire.
    pub(crate) id: u32,
    /// Binds the number, the key after which the page begins, and a limit.
    pub(crate) page: &'static str,
    /// Binds a row. A row that is there stays, but for counters, which only grow.
    pub(crate) insert: &'static str,
    /// Binds the number and a limit.
    pub(crate) delete: &'static str,
    /// The columns of a row.
    pub(crate) shape: &'static [(&'static str, Kind)],
    /// The places of its key, beside the number.
    pub(crate) key: &'static [usize],
    /// The places of its epoch, where it has one.
    pub(crate) epoch: Option<(usize, usize)>,
}

use Kind::{Bytes, Number, Text};

/// Records before what refers to them; heads and cursors last.
pub(crate) const MOVING: [Moving; 6] = [
    Moving {
        id: 1,
        page: "SELECT phone_number_id, message_id, tag, retention_seconds, epoch_start, sequence, digest, appended_at, status, \
             status_at, error_code, attempt, sealed FROM outbound WHERE phone_number_id = $1 AND message_id > $2 \
             ORDER BY message_id LIMIT $3",
        insert: "INSERT INTO outbound (phone_number_id, message_id, tag, retention_seconds, epoch_start, sequence, digest, \
             appended_at, status, status_at, error_code, attempt, sealed, lease_owner, lease_until) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, '', 0) \
             ON CONFLICT (phone_number_id, message_id) DO NOTHING",
        delete: "DELETE FROM outbound WHERE (phone_number_id, message_id) IN \
             (SELECT phone_number_id, message_id FROM outbound WHERE phone_number_id = $1 LIMIT $2)",
        shape: &[
            ("phone_number_id", Text),
            ("message_id", Bytes),
            ("tag", Bytes),
            ("retention_seconds", Number),
            ("epoch_start", Number),
            ("sequence", Number),
            ("digest", Bytes),
            ("appended_at", Number),
            ("status", Number),
            ("status_at", Number),
            ("error_code", Number),
            ("attempt", Number),
            ("sealed", Bytes),
        ],
        key: &[1],
        epoch: Some((3, 4)),
    },
    Moving {
        id: 2,
        page: "SELECT phone_number_id, message_id, tag, retention_seconds, epoch_start, sequence, appended_at, sealed \
             FROM inbound WHERE phone_number_id = $1 AND (message_id, tag) > ($2, $3) ORDER BY message_id, tag LIMIT $4",
        insert: "INSERT INTO inbound (phone_number_id, message_id, tag, retention_seconds, epoch_start, sequence, appended_at, \
             sealed) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (phone_number_id, message_id, tag) DO NOTHING",
        delete: "DELETE FROM inbound WHERE (phone_number_id, message_id, tag) IN \
             (SELECT phone_number_id, message_id, tag FROM inbound WHERE phone_number_id = $1 LIMIT $2)",
        shape: &[
            ("phone_number_id", Text),
            ("message_id", Bytes),
            ("tag", Bytes),
            ("retention_seconds", Number),
            ("epoch_start", Number),
            ("sequence", Number),
            ("appended_at", Number),
            ("sealed", Bytes),
        ],
        key: &[1, 2],
        epoch: Some((3, 4)),
    },
    Moving {
        id: 3,
        page: "SELECT phone_number_id, ciphertext_sha256, tag, retention_seconds, epoch_start, appended_at FROM envelopes \
             WHERE phone_number_id = $1 AND ciphertext_sha256 > $2 ORDER BY ciphertext_sha256 LIMIT $3",
        insert: "INSERT INTO envelopes (phone_number_id, ciphertext_sha256, tag, retention_seconds, epoch_start, appended_at) \
             VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (phone_number_id, ciphertext_sha256) DO NOTHING",
        delete: "DELETE FROM envelopes WHERE (phone_number_id, ciphertext_sha256) IN \
             (SELECT phone_number_id, ciphertext_sha256 FROM envelopes WHERE phone_number_id = $1 LIMIT $2)",
        shape: &[
            ("phone_number_id", Text),
            ("ciphertext_sha256", Bytes),
            ("tag", Bytes),
            ("retention_seconds", Number),
            ("epoch_start", Number),
            ("appended_at", Number),
        ],
        key: &[1],
        epoch: Some((3, 4)),
    },
    Moving {
        id: 4,
        page: "SELECT phone_number_id, cursor, kind, direction, message_id, tag, retention_seconds, epoch_start, status, \
             error_code, happened_at FROM events WHERE phone_number_id = $1 AND cursor > $2 ORDER BY cursor LIMIT $3",
        insert: "INSERT INTO events (phone_number_id, cursor, kind, direction, message_id, tag, retention_seconds, epoch_start, \
             status, error_code, happened_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) \
             ON CONFLICT (phone_number_id, cursor) DO NOTHING",
        delete: "DELETE FROM events WHERE (phone_number_id, cursor) IN \
             (SELECT phone_number_id, cursor FROM events WHERE phone_number_id = $1 LIMIT $2)",
        shape: &[
            ("phone_number_id", Text),
            ("cursor", Number),
            ("kind", Number),
            ("direction", Number),
            ("message_id", Bytes),
            ("tag", Bytes),
            ("retention_seconds", Number),
            ("epoch_start", Number),
            ("status", Number),
            ("error_code", Number),
            ("happened_at", Number),
        ],
        key: &[1],
        epoch: Some((6, 7)),
    },
    Moving {
        id: 5,
        page: "SELECT phone_number_id, cursor FROM event_heads WHERE phone_number_id = $1 AND cursor > $2 LIMIT $3",
        insert: "INSERT INTO event_heads (phone_number_id, cursor) VALUES ($1, $2) ON CONFLICT (phone_number_id) \
             DO UPDATE SET cursor = excluded.cursor WHERE excluded.cursor > event_heads.cursor",
        delete: "DELETE FROM event_heads WHERE phone_number_id IN \
             (SELECT phone_number_id FROM event_heads WHERE phone_number_id = $1 LIMIT $2)",
        shape: &[("phone_number_id", Text), ("cursor", Number)],
        key: &[1],
        epoch: None,
    },
    Moving {
        id: 6,
        page: "SELECT phone_number_id, subscription, cursor, updated_at FROM cursors \
             WHERE phone_number_id = $1 AND subscription > $2 ORDER BY subscription LIMIT $3",
        insert: "INSERT INTO cursors (phone_number_id, subscription, cursor, updated_at) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (subscription, phone_number_id) DO UPDATE SET cursor = excluded.cursor, \
             updated_at = excluded.updated_at WHERE excluded.cursor > cursors.cursor",
        delete: "DELETE FROM cursors WHERE (subscription, phone_number_id) IN \
             (SELECT subscription, phone_number_id FROM cursors WHERE phone_number_id = $1 LIMIT $2)",
        shape: &[
            ("phone_number_id", Text),
            ("subscription", Text),
            ("cursor", Number),
            ("updated_at", Number),
        ],
        key: &[1],
        epoch: None,
    },
];

impl Moving {
    /// The table with that number.
    pub(crate) fn of(id: u32) -> Option<&'static Self> {
        MOVING.iter().find(|table| table.id == id)
    }

    /// What is before every key.
    pub(crate) fn before_all(&self) -> Vec<Value> {
        let least = |at: &usize| match self.shape[*at].1 {
            Number => Value::Number(0),
            Text => Value::Text(String::new()),
            Bytes => Value::Bytes(Vec::new()),
        };
        self.key.iter().map(least).collect()
    }

    /// Whether these values are a key of it.
    pub(crate) fn is_key(&self, values: &[Value]) -> bool {
        values.len() == self.key.len()
            && values
                .iter()
                .zip(self.key)
                .all(|(value, at)| value.kind() == self.shape[*at].1)
    }

    /// Whether these values are a row of `number` in it.
    pub(crate) fn is_row_of(&self, values: &[Value], number: &PhoneNumberId) -> bool {
        let fits = |(value, (_, kind)): (&Value, &(&str, Kind))| value.kind() == *kind;
        values.len() == self.shape.len()
            && values.iter().zip(self.shape).all(fits)
            && matches!(&values[0], Value::Text(text) if text == number.as_str())
    }

    pub(crate) fn key_of(&self, row: &[Value]) -> Vec<Value> {
        self.key.iter().map(|at| row[*at].clone()).collect()
    }

    /// The epoch of a row; `Err` when its columns hold none.
    pub(crate) fn epoch_of(&self, row: &[Value]) -> Result<Option<Epoch>, OutOfRange> {
        let Some((retention, start)) = self.epoch else {
            return Ok(None);
        };
        let number = |at: usize| match &row[at] {
            Value::Number(number) => u64::try_from(*number).map_err(|_| OutOfRange),
            _ => Err(OutOfRange),
        };
        Ok(Some(Epoch {
            retention_seconds: u32::try_from(number(retention)?).map_err(|_| OutOfRange)?,
            start_seconds: number(start)?,
        }))
    }

    /// Rows of `number` after `key`, by key.
    pub(crate) async fn page(
        &self,
        db: &mut Connection,
        number: &PhoneNumberId,
        key: &[Value],
        limit: u64,
    ) -> Result<Vec<Vec<Value>>, DatabaseError> {
        let mut statement = query(self.page).bind(number.as_str().to_owned());
        for value in key {
            statement = match value.clone() {
                Value::Number(number) => statement.bind(number),
                Value::Text(text) => statement.bind(text),
                Value::Bytes(bytes) => statement.bind(bytes),
            };
        }
        let rows = statement.bind(column(limit)).fetch_all(db).await?;
        rows.iter().map(|row| self.read(row)).collect()
    }

    fn read(&self, row: &Row) -> Result<Vec<Value>, DatabaseError> {
        let value = |(name, kind): &(&str, Kind)| {
            Ok(match kind {
                Number => Value::Number(row.try_get(*name)?),
                Text => Value::Text(row.try_get(*name)?),
                Bytes => Value::Bytes(row.try_get(*name)?),
            })
        };
        self.shape.iter().map(value).collect()
    }

    /// Keeps a row; whether that changed anything.
    pub(crate) async fn insert(&self, tx: &mut Tx, row: Vec<Value>) -> Result<bool, DatabaseError> {
        let mut statement = query(self.insert);
        for value in row {
            statement = match value {
                Value::Number(number) => statement.bind(number),
                Value::Text(text) => statement.bind(text),
                Value::Bytes(bytes) => statement.bind(bytes),
            };
        }
        Ok(statement.execute(&mut **tx).await?.rows_affected() > 0)
    }

    /// Deletes at most `limit` rows of `number`; answers how many.
    pub(crate) async fn delete(
        &self,
        tx: &mut Tx,
        number: &PhoneNumberId,
        limit: u64,
    ) -> Result<u64, DatabaseError> {
        let done = query(self.delete)
            .bind(number.as_str())
            .bind(column(limit))
            .execute(&mut **tx)
            .await?;
        Ok(done.rows_affected())
    }
}

/// A number that no such column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OutOfRange;

impl Value {
    fn kind(&self) -> Kind {
        match self {
            Self::Number(_) => Number,
            Self::Text(_) => Text,
            Self::Bytes(_) => Bytes,
        }
    }

    /// About how many bytes it takes.
    pub(crate) fn weight(&self) -> usize {
        match self {
            Self::Number(_) => 8,
            Self::Text(text) => text.len(),
            Self::Bytes(bytes) => bytes.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::BTreeMap;

    use sealpost_database::{Database, PoolOptions, sqlx::query_as, testing::TestDatabase};

    use super::*;
    use crate::tables::MIGRATIONS;

    /// What of a number stays in its store: who has a record in hand, what only that store counts, and that the number is
    /// gone.
    const STAYS: [&str; 6] = [
        "outbound.lease_owner",
        "outbound.lease_until",
        "event_heads.changed",
        "cursors.opening",
        "departures.phone_number_id",
        "departures.departed_at",
    ];

    #[tokio::test]
    async fn every_column_of_every_table_of_a_number_travels() {
        let place = TestDatabase::sqlite();
        let database = Database::open(place.config(), MIGRATIONS, PoolOptions::default())
            .await
            .unwrap();
        let columns: Result<Vec<(String, String)>, DatabaseError> = database
            .read("columns", |db| {
                Box::pin(async move {
                    let columns = query_as(
                        "SELECT t.name, c.name FROM sqlite_schema AS t, pragma_table_info(t.name) AS c \
                         WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite%' AND t.name NOT LIKE '\\_%' ESCAPE '\\'",
                    );
                    Ok(columns.fetch_all(&mut **db).await?)
                })
            })
            .await;
        let mut tables: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (table, column) in columns.unwrap() {
            tables.entry(table).or_default().push(column);
        }
        let mut named = 0;
        for (table, columns) in tables {
            if !columns.iter().any(|column| column == "phone_number_id") {
                continue;
            }
            let from = format!(" FROM {table} ");
            let moving = MOVING.iter().find(|one| one.page.contains(&from));
            for column in columns {
                let full = format!("{table}.{column}");
                let travels = moving.is_some_and(|one| {
                    one.shape.iter().any(|(name, _)| *name == column)
                        && one.insert.contains(&format!("{table} "))
                });
                assert_ne!(travels, STAYS.contains(&full.as_str()), "{full}");
                named += usize::from(travels);
            }
        }
        let shapes: usize = MOVING.iter().map(|one| one.shape.len()).sum();
        assert_eq!(named, shapes);
    }
}
