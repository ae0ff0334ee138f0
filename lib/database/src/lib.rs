//! Pools, detached transactions and migrations: the one door to SQL.
//!
//! Owns how a database is opened, written, read, migrated and closed. Has no knowledge of any
//! service's tables and keeps none of its own but sqlx's list of applied migrations. Invariant: a
//! unit of work that was started runs to its commit or rollback whatever becomes of its caller, and
//! no connection is lent while a transaction is open on it.
//!
//! Services reach sqlx through [`sqlx`] here and never name it in their own manifest, so that
//! dialect, TLS provider and features are decided once. Beneath its queries a server is reached by sqlx's
//! driver and a file by rusqlite.
//!
//! # Conventions
//! - Time is `INTEGER` (`BIGINT`), milliseconds since the Unix epoch. It is a parameter, never `CURRENT_TIMESTAMP`.
//! - Ids, tags, digests and sealed bytes are `BLOB` (`BYTEA`); enums and booleans are small integers with fixed numbers.
//! - SQLite's tables are `STRICT`. Bind and read only `i64`, text, bytes and `Option`s of these: a `bool` is an integer here.
//! - Placeholders are `$1`, `$2`, …: both dialects read them. `ON CONFLICT` and `RETURNING` are shared too; `INSERT OR REPLACE`,
//!   `rowid` and `last_insert_rowid` are not. PostgreSQL wants a name for a subquery in `FROM` and `CAST(SUM(x) AS BIGINT)`.
//! - A failed statement ends the transaction: avoid it by `ON CONFLICT`, never catch it and go on.
//! - One writer at a time, on SQLite by its file, on PostgreSQL by a lock that every `run_tx` takes first, over all replicas:
//!   `docs/decisions/0011`. What a transaction reads stays true until it commits, and ids grow in the order of commits.
//! - Every statement is bounded: by key, or by `LIMIT`.
//! - Statements are literals; values are bound. No macro of sqlx is used, nothing is checked at build.
//! - Migrations are append-only files, one for each dialect. One that has shipped is never edited: its checksum is kept.
//!
//! # Adding a table
//! One file per table. Functions are called `noun_verb`. Writers take [`&mut Tx`](Tx), which proves
//! that a transaction is open; readers take [`&mut Connection`](Connection), to which `Tx` and
//! [`Reader`] both coerce, so that one function serves inside and outside a transaction.
//!
//! ```
//! use sealpost_database::{Connection, Database, DatabaseConfig, DatabaseError, Migration, PoolOptions, Tx};
//! use sealpost_database::sqlx::query_scalar;
//!
//! // A service keeps these in `migrations/sqlite/0001_lamps.sql` and `migrations/postgres/0001_lamps.sql`, and names them with
//! // `include_str!`.
//! const MIGRATIONS: &[Migration] = &[Migration::new(
//!     1,
//!     "lamps",
//!     "CREATE TABLE lamps (id BLOB NOT NULL PRIMARY KEY, lit_at INTEGER NOT NULL) STRICT;",
//!     "CREATE TABLE lamps (id BYTEA NOT NULL PRIMARY KEY, lit_at BIGINT NOT NULL);",
//! )];
//!
//! // The table's file, `lamps.rs`.
//! async fn lamp_insert(tx: &mut Tx, id: &[u8], now: i64) -> Result<bool, DatabaseError> {
//!     let done = sealpost_database::sqlx::query(
//!         "INSERT INTO lamps (id, lit_at) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING",
//!     )
//!     .bind(id)
//!     .bind(now)
//!     .execute(&mut **tx)
//!     .await?;
//!     Ok(done.rows_affected() == 1)
//! }
//!
//! async fn lamp_lit_at(db: &mut Connection, id: &[u8]) -> Result<Option<i64>, DatabaseError> {
//!     let lit_at = query_scalar("SELECT lit_at FROM lamps WHERE id = $1").bind(id).fetch_optional(db);
//!     Ok(lit_at.await?)
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let config: DatabaseConfig = format!("sqlite://{}/lamps.db", folder.path().display()).parse()?;
//! let database = Database::open(config, MIGRATIONS, PoolOptions::default()).await?;
//!
//! // A unit of work owns what it needs, and may run more than once: clone inside the closure.
//! let id = vec![7_u8; 16];
//! let key = id.clone();
//! let fresh = database
//!     .run_tx("lamp_light", move |tx| {
//!         let key = key.clone();
//!         Box::pin(async move { lamp_insert(tx, &key, 1_700_000_000_000).await })
//!     })
//!     .await?;
//! assert!(fresh);
//!
//! let lit_at = database
//!     .read("lamp_show", move |reader| Box::pin(async move { lamp_lit_at(reader, &id).await }))
//!     .await?;
//! assert_eq!(lit_at, Some(1_700_000_000_000));
//! database.close().await?;
//! # Ok(())
//! # }
//! ```

mod codes;
mod command;
mod connection;
mod database;
mod error;
mod grants;
mod lending;
mod many;
mod measure;
mod migration;
mod notices;
mod password;
mod postgres;
mod retry;
mod source;
mod sqlite;
mod tenancy;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod transaction;
mod url;
mod writing;

pub use command::{CheckCommand, DatabaseCommand, DatabaseCommandError, MigrateCommand};
pub use connection::Connection;
pub use database::{Checkpoint, Database, PoolOptions};
pub use error::DatabaseError;
pub use many::{Many, Value};
pub use migration::Migration;
pub use notices::Notices;
pub use postgres::Unfit;
pub use source::Kind;
pub use tenancy::{Role, Server, Tenancy};
pub use transaction::{BoxFuture, Dialect, Reader, Row, Tx};
pub use url::{DatabaseConfig, DatabaseUrl, DatabaseUrlError};

pub use sqlx;
