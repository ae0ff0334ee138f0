//! `notes`: sealed facts about messages, by digest.

use sealpost_database::{
    Connection, DatabaseError, Tx,
    sqlx::{query, query_scalar},
};
use sealpost_runtime::Timestamp;

use super::column;
use crate::queue::Digest;

/// The first note stays: another consumer may choose the same message id.
pub(crate) async fn note_insert(
    tx: &mut Tx,
    digest: &Digest,
    sealed: &[u8],
    now: Timestamp,
) -> Result<(), DatabaseError> {
    query("INSERT INTO notes (digest, kept_at, sealed) VALUES ($1, $2, $3) ON CONFLICT (digest) DO NOTHING")
        .bind(digest.as_slice())
        .bind(column(now))
        .bind(sealed)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// The last note stays.
pub(crate) async fn note_replace(
    tx: &mut Tx,
    digest: &Digest,
    sealed: &[u8],
    now: Timestamp,
) -> Result<(), DatabaseError> {
    query(
        "INSERT INTO notes (digest, kept_at, sealed) VALUES ($1, $2, $3) \
         ON CONFLICT (digest) DO UPDATE SET kept_at = excluded.kept_at, sealed = excluded.sealed",
    )
    .bind(digest.as_slice())
    .bind(column(now))
    .bind(sealed)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

pub(crate) async fn note_find(
    db: &mut Connection,
    digest: &Digest,
) -> Result<Option<Vec<u8>>, DatabaseError> {
    let sealed = query_scalar("SELECT sealed FROM notes WHERE digest = $1")
        .bind(digest.as_slice())
        .fetch_optional(db)
        .await?;
    Ok(sealed)
}

/// Answers how many are gone.
pub(crate) async fn notes_forget(
    tx: &mut Tx,
    before: Timestamp,
    most: i64,
) -> Result<u64, DatabaseError> {
    let done = query(
        "DELETE FROM notes WHERE digest IN (SELECT digest FROM notes WHERE kept_at < $1 ORDER BY kept_at LIMIT $2)",
    )
    .bind(column(before))
    .bind(most)
    .execute(&mut **tx)
    .await?;
    Ok(done.rows_affected())
}
