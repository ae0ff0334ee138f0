//! What the crate promises its callers, on real files and a real server. Owns the fixture: pairs of rows that only a
//! whole transaction writes.

#![allow(clippy::unwrap_used)]

mod detached;
mod files;
mod grouped;
mod measured;
mod notices;
mod reading;
mod roles;
mod server;
mod server_lost;
mod tenancy;
mod writing;

use std::{collections::BTreeSet, path::PathBuf};

use sealpost_database::{
    Checkpoint, Connection, Database, DatabaseConfig, DatabaseError, Kind, Migration, PoolOptions,
    Tx,
    sqlx::{query, query_scalar},
    testing::TestDatabase,
};
use tempfile::TempDir;

const MIGRATIONS: &[Migration] = &[Migration::new(
    1,
    "pairs",
    "CREATE TABLE lefts (id INTEGER NOT NULL PRIMARY KEY, content BLOB NOT NULL) STRICT;
     CREATE TABLE rights (id INTEGER NOT NULL PRIMARY KEY REFERENCES lefts (id)
         DEFERRABLE INITIALLY DEFERRED) STRICT;",
    "CREATE TABLE lefts (id BIGINT NOT NULL PRIMARY KEY, content BYTEA NOT NULL);
     CREATE TABLE rights (id BIGINT NOT NULL PRIMARY KEY REFERENCES lefts (id)
         DEFERRABLE INITIALLY DEFERRED);",
)];

#[derive(Debug, thiserror::Error)]
enum WorkError {
    #[error(transparent)]
    Database(#[from] DatabaseError),
    #[error("the work gave up")]
    GaveUp,
}

struct Fixture {
    folder: TempDir,
    database: Database,
    /// Goes with the test, when it is not in the folder.
    _place: Option<TestDatabase>,
}

impl Fixture {
    /// On a file whose folder is not there yet.
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let database = open(&folder, PoolOptions::default()).await.unwrap();
        Self {
            folder,
            database,
            _place: None,
        }
    }

    async fn on(place: TestDatabase) -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            database: open_at(&place).await,
            _place: Some(place),
        }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("state/pairs.db")
    }
}

async fn open(folder: &TempDir, options: PoolOptions) -> Result<Database, DatabaseError> {
    let file = folder.path().join("state/pairs.db");
    let config: DatabaseConfig = format!("sqlite://{}", file.display()).parse().unwrap();
    Database::open(config, MIGRATIONS, options).await
}

async fn open_at(place: &TestDatabase) -> Database {
    Database::open(place.config(), MIGRATIONS, PoolOptions::default())
        .await
        .unwrap()
}

/// Two statements with a pause between, so that a half-done transaction would show.
async fn pair_insert(tx: &mut Tx, id: i64) -> Result<(), DatabaseError> {
    query("INSERT INTO lefts (id, content) VALUES ($1, $2)")
        .bind(id)
        .bind(vec![1_u8])
        .execute(&mut **tx)
        .await?;
    tokio::task::yield_now().await;
    query("INSERT INTO rights (id) VALUES ($1)")
        .bind(id)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

async fn insert(database: &Database, id: i64) -> Result<(), DatabaseError> {
    database
        .run_tx("pair_insert", move |tx| Box::pin(pair_insert(tx, id)))
        .await
}

async fn left_ids(connection: &mut Connection) -> Result<BTreeSet<i64>, DatabaseError> {
    let ids: Vec<i64> = query_scalar("SELECT id FROM lefts")
        .fetch_all(connection)
        .await?;
    Ok(ids.into_iter().collect())
}

async fn right_ids(connection: &mut Connection) -> Result<BTreeSet<i64>, DatabaseError> {
    let ids: Vec<i64> = query_scalar("SELECT id FROM rights")
        .fetch_all(connection)
        .await?;
    Ok(ids.into_iter().collect())
}

async fn ids(database: &Database) -> (BTreeSet<i64>, BTreeSet<i64>) {
    let both = database.read("pair_list", |reader| {
        Box::pin(async move {
            Ok::<_, DatabaseError>((left_ids(reader).await?, right_ids(reader).await?))
        })
    });
    both.await.unwrap()
}

/// Every connection of the pools is used again, and asked whether the row of the one before is there. On SQLite a `BEGIN`
/// inside a transaction is an error besides; on a server the writers' lock would be held.
async fn assert_no_transaction_is_open(database: &Database) {
    for round in 0..16 {
        insert(database, 1_000_000 + round).await.unwrap();
        assert!(ids(database).await.0.contains(&(1_000_000 + round)));
    }
    let wanted = match database.kind() {
        Kind::Sqlite => Checkpoint::Complete,
        _ => Checkpoint::NotOurs,
    };
    assert_eq!(database.checkpoint().await.unwrap(), wanted);
}
