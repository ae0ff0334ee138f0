//! What the crate promises its callers, on real files. Owns the fixture: pairs of rows that only a
//! whole transaction writes.

#![allow(clippy::unwrap_used)]

mod detached;
mod files;
mod measured;
mod reading;
mod writing;

use std::{collections::BTreeSet, path::PathBuf};

use sealpost_database::{
    Checkpoint, Connection, Database, DatabaseError, DatabaseUrl, Migration, PoolOptions, Tx,
    sqlx::{query, query_scalar},
};
use tempfile::TempDir;

const MIGRATIONS: &[Migration] = &[Migration::new(
    1,
    "pairs",
    "CREATE TABLE lefts (id INTEGER NOT NULL PRIMARY KEY, content BLOB NOT NULL) STRICT;
     CREATE TABLE rights (id INTEGER NOT NULL PRIMARY KEY REFERENCES lefts (id)
         DEFERRABLE INITIALLY DEFERRED) STRICT;",
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
}

impl Fixture {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let database = open(&folder, PoolOptions::default()).await.unwrap();
        Self { folder, database }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("state/pairs.db")
    }
}

async fn open(folder: &TempDir, options: PoolOptions) -> Result<Database, DatabaseError> {
    let file = folder.path().join("state/pairs.db");
    let url: DatabaseUrl = format!("sqlite://{}", file.display()).parse().unwrap();
    Database::open(url, MIGRATIONS, options).await
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

/// Asks SQLite itself: a `BEGIN` inside a transaction is an error, so it succeeding proves there was none.
async fn assert_no_transaction_is_open(database: &Database) {
    for round in 0..16 {
        insert(database, 1_000_000 + round).await.unwrap();
        ids(database).await;
    }
    assert_eq!(database.checkpoint().await.unwrap(), Checkpoint::Complete);
}
