//! The tables, one file each: statements and the reading of rows, no decisions.

pub(crate) mod collected;
pub(crate) mod pins;
pub(crate) mod receipts;
pub(crate) mod runs;

use sealpost_database::{
    Migration, Row,
    sqlx::{self, Row as _},
};
use sealpost_runtime::Timestamp;

/// Retention's schema. Append only.
pub const MIGRATIONS: &[Migration] = &[
    Migration::new(
        1,
        "retention",
        include_str!("../../migrations/sqlite/0001_retention.sql"),
        include_str!("../../migrations/postgres/0001_retention.sql"),
    ),
    Migration::new(
        2,
        "collected",
        include_str!("../../migrations/sqlite/0002_collected.sql"),
        include_str!("../../migrations/postgres/0002_collected.sql"),
    ),
];

/// For binding.
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

/// A value that reads back in shape; anything else means that something but retention wrote it.
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
