//! Rows that fill tables and indices while the services are stopped: copies of a row that real traffic left, with random bytes of the
//! same lengths for whatever is sealed or names something.
//!
//! Nobody opens them. The database makes the bytes itself: millions of rows need not travel.

use anyhow::{Context, ensure};
use sealpost_database::Connection;
use sealpost_database::sqlx::{AssertSqlSafe, query, query_as, query_scalar, raw_sql};
use sealpost_tests::database::connect;
use sealpost_tests::progress;

/// Rows of one transaction.
const BATCH: u64 = 50_000;
/// Between two lines about how far it is.
const LINE: u64 = 1_000_000;

/// A dialect's own words.
struct Dialect {
    is_postgres: bool,
}

impl Dialect {
    /// As many random bytes as that expression has, another for each row.
    fn bytes_like(&self, column: &str) -> String {
        if self.is_postgres {
            // Of `n.i` so that it is made anew for each row; hashes, so that nothing of it compresses.
            format!(
                "(SELECT substring(string_agg(sha512(uuid_send(gen_random_uuid())), CAST('' AS BYTEA)) FROM 1 FOR length(t.{column})) \
                 FROM generate_series(0 * n.i, length(t.{column}) / 64))"
            )
        } else {
            format!("randomblob(length(t.{column}))")
        }
    }
}

/// A table, and what of a copied row is another in each.
struct Copies {
    table: &'static str,
    /// Columns that stay as they are.
    same: &'static [&'static str],
    /// Columns of other bytes.
    other: &'static [&'static str],
    /// A column that counts down from what the table has, below whatever is real.
    below: Option<&'static str>,
}

const SUBJECTS: Copies = Copies {
    table: "subjects",
    same: &["number", "row_version", "last_day"],
    other: &["subject_id", "tag", "sealed"],
    below: None,
};
const SESSIONS: Copies = Copies {
    table: "sessions",
    same: &["number", "device_id", "row_version"],
    other: &["subject_id", "sealed"],
    below: None,
};
const OUTBOUND: Copies = Copies {
    table: "outbound",
    same: &[
        "phone_number_id",
        "retention_seconds",
        "epoch_start",
        "sequence",
        "appended_at",
        "status",
        "status_at",
        "error_code",
        "attempt",
        "lease_owner",
        "lease_until",
    ],
    other: &["message_id", "tag", "digest", "sealed"],
    below: None,
};
const EVENTS: Copies = Copies {
    table: "events",
    same: &[
        "phone_number_id",
        "kind",
        "direction",
        "retention_seconds",
        "epoch_start",
        "status",
        "error_code",
        "happened_at",
    ],
    other: &["message_id", "tag"],
    // No subscription begins below 1: nobody is told of it.
    below: Some("cursor"),
};

/// A service's database, opened while the service is stopped.
pub struct Filling {
    connection: Connection,
    dialect: Dialect,
}

impl Filling {
    /// Opens it.
    pub async fn open(url: &str) -> anyhow::Result<Self> {
        let mut connection = connect(url).await?;
        let is_postgres = !url.starts_with("sqlite:");
        let fast = if is_postgres {
            "SET synchronous_commit = off"
        } else {
            "PRAGMA synchronous = OFF; PRAGMA cache_size = -262144"
        };
        raw_sql(fast).execute(&mut connection).await?;
        Ok(Self {
            connection,
            dialect: Dialect { is_postgres },
        })
    }

    /// Consumers of the vault up to `count`, each with a session.
    pub async fn sessions(&mut self, count: u64) -> anyhow::Result<()> {
        self.up_to(&SUBJECTS, count, "row_version > 0").await?;
        self.up_to(&SESSIONS, count, "row_version > 0").await
    }

    /// Delivered records of the store up to `count`, each with the events of its statuses.
    pub async fn records(&mut self, count: u64) -> anyhow::Result<()> {
        self.up_to(&OUTBOUND, count, "status = 3").await?;
        self.up_to(&EVENTS, 2 * count, "kind = 2").await
    }

    /// So many records more, of an epoch whose key is destroyed.
    pub async fn expired(&mut self, count: u64, epoch: (i64, i64)) -> anyhow::Result<()> {
        let epoch = Some(epoch);
        self.copies(&OUTBOUND, count, "status = 3", epoch).await?;
        self.copies(&EVENTS, 2 * count, "kind = 2", epoch).await
    }

    /// How many records and events an epoch has.
    pub async fn of_epoch(&mut self, (retention, start): (i64, i64)) -> anyhow::Result<i64> {
        let mut sum = 0;
        for table in [OUTBOUND.table, EVENTS.table] {
            let sql = format!(
                "SELECT count(*) FROM {table} WHERE retention_seconds = $1 AND epoch_start = $2"
            );
            let count: i64 = query_scalar(AssertSqlSafe(sql))
                .bind(retention)
                .bind(start)
                .fetch_one(&mut self.connection)
                .await?;
            sum += count;
        }
        Ok(sum)
    }

    /// Brings the statistics up to date and gives the connection back.
    pub async fn close(mut self) -> anyhow::Result<()> {
        let tidy = if self.dialect.is_postgres {
            "VACUUM ANALYZE"
        } else {
            "PRAGMA wal_checkpoint(TRUNCATE)"
        };
        raw_sql(tidy).execute(&mut self.connection).await?;
        Ok(self.connection.close().await?)
    }

    /// Of retention's database: the last epoch that there is a receipt for, its class and its start in seconds.
    pub async fn destroyed_epoch(&mut self) -> anyhow::Result<(i64, i64)> {
        let sql = "SELECT retention_seconds, epoch_start FROM receipts \
             WHERE epoch_start IS NOT NULL ORDER BY receipt_id DESC LIMIT 1";
        let found = query_as(sql).fetch_optional(&mut self.connection).await?;
        found.context("there is no receipt of an epoch")
    }

    async fn up_to(&mut self, copies: &Copies, count: u64, of: &str) -> anyhow::Result<()> {
        let sql = format!("SELECT count(*) FROM {}", copies.table);
        let there: i64 = query_scalar(AssertSqlSafe(sql))
            .fetch_one(&mut self.connection)
            .await?;
        let missing = count.saturating_sub(there.unsigned_abs());
        self.copies(copies, missing, of, None).await
    }

    /// So many copies of a row that `of` picks; with `epoch` of another epoch.
    async fn copies(
        &mut self,
        copies: &Copies,
        count: u64,
        of: &str,
        epoch: Option<(i64, i64)>,
    ) -> anyhow::Result<()> {
        if count == 0 {
            return Ok(());
        }
        let table = copies.table;
        let sql = format!("SELECT count(*) FROM (SELECT 1 FROM {table} WHERE {of} LIMIT 1) AS one");
        let found: i64 = query_scalar(AssertSqlSafe(sql))
            .fetch_one(&mut self.connection)
            .await?;
        ensure!(found > 0, "real traffic has left no row of {table} to copy");
        let mut lowest = match copies.below {
            Some(column) => self.lowest(table, column).await?,
            None => 0,
        };
        let mut left = count;
        while left > 0 {
            let batch = left.min(BATCH);
            query(AssertSqlSafe(self.insert(copies, of, epoch, lowest)))
                .bind(i64::try_from(batch)?)
                .execute(&mut self.connection)
                .await?;
            lowest -= i64::try_from(batch)?;
            left -= batch;
            if left % LINE < batch {
                progress(&format!("{} of {count} rows of {table}", count - left));
            }
        }
        Ok(())
    }

    async fn lowest(&mut self, table: &str, column: &str) -> anyhow::Result<i64> {
        let sql = format!("SELECT COALESCE(MIN({column}), 0) FROM {table}");
        let lowest: i64 = query_scalar(AssertSqlSafe(sql))
            .fetch_one(&mut self.connection)
            .await?;
        Ok(lowest.min(0))
    }

    /// `$1` rows, counted down from `lowest`.
    fn insert(&self, copies: &Copies, of: &str, epoch: Option<(i64, i64)>, lowest: i64) -> String {
        let is_of_epoch = |column: &&str| {
            epoch.is_some() && ["retention_seconds", "epoch_start"].contains(column)
        };
        let mut columns: Vec<&str> = Vec::new();
        let mut values: Vec<String> = Vec::new();
        for column in copies.same.iter().filter(|column| !is_of_epoch(column)) {
            columns.push(column);
            values.push(format!("t.{column}"));
        }
        for column in copies.other {
            columns.push(column);
            values.push(self.dialect.bytes_like(column));
        }
        if let Some((retention, start)) = epoch {
            columns.extend(["retention_seconds", "epoch_start"]);
            values.extend([retention.to_string(), start.to_string()]);
        }
        if let Some(column) = copies.below {
            columns.push(column);
            values.push(format!("{lowest} - n.i"));
        }
        format!(
            "INSERT INTO {table} ({columns}) \
             WITH RECURSIVE n (i) AS (SELECT CAST(1 AS BIGINT) UNION ALL SELECT n.i + 1 FROM n WHERE n.i < CAST($1 AS BIGINT)) \
             SELECT {values} FROM (SELECT * FROM {table} WHERE {of} LIMIT 1) AS t CROSS JOIN n",
            table = copies.table,
            columns = columns.join(", "),
            values = values.join(", "),
        )
    }
}
