//! `pending`: inbound records that the store has not confirmed, by the SHA-256 of their ciphertext.

use sealpost_database::{
    Connection, DatabaseError, Many, Row, Tx, Value,
    sqlx::{Row as _, query, query_as},
};

use super::int;
use crate::{epoch::EpochId, subject::Tag};

/// A pending record, encoded as protobuf; its content is sealed under the epoch's key.
#[derive(Clone)]
pub(crate) struct PendingRow {
    pub(crate) ciphertext_sha256: [u8; 32],
    pub(crate) number: String,
    pub(crate) tag: Tag,
    pub(crate) epoch: EpochId,
    pub(crate) created_at_ms: u64,
    pub(crate) identity_changed: bool,
    pub(crate) record: Vec<u8>,
}

const FIND: Many = Many::new(
    "SELECT p.ciphertext_sha256, p.record, p.identity_changed FROM (VALUES {rows}) AS v CROSS JOIN pending AS p
     WHERE p.ciphertext_sha256 = v.column1 AND p.number = v.column2",
);

const INSERT: Many = Many::new(
    "INSERT INTO pending (ciphertext_sha256, number, tag, retention_seconds, start_seconds, created_at_ms,
         identity_changed, record) VALUES {rows}",
);

const DELETE: Many = Many::new(
    "DELETE FROM pending WHERE ciphertext_sha256 IN (SELECT p.ciphertext_sha256 FROM (VALUES {rows}) AS v CROSS JOIN pending AS p
         WHERE p.ciphertext_sha256 = v.column1 AND p.number = v.column2)",
);

/// What a repeat needs: the ciphertext's digest, the record, and whether the identity key changed with it.
pub(crate) type Found = (Vec<u8>, Vec<u8>, bool);

/// Those of these digests and numbers that are there.
pub(crate) async fn pending_find(
    db: &mut Connection,
    names: &[(&[u8], &str)],
) -> Result<Vec<Found>, DatabaseError> {
    let rows = FIND.fetch(db, &[], names, name_values).await?;
    let found = |row: &Row| {
        Ok((
            row.try_get("ciphertext_sha256")?,
            row.try_get("record")?,
            row.try_get::<i64, _>("identity_changed")? != 0,
        ))
    };
    rows.iter().map(found).collect()
}

pub(crate) async fn pending_insert(tx: &mut Tx, rows: &[&PendingRow]) -> Result<(), DatabaseError> {
    INSERT
        .execute(tx, &[], rows, |row| {
            [
                (&row.ciphertext_sha256).into(),
                row.number.as_str().into(),
                (&row.tag.0).into(),
                i64::from(row.epoch.retention().seconds()).into(),
                int(row.epoch.start_seconds()).into(),
                int(row.created_at_ms).into(),
                i64::from(row.identity_changed).into(),
                row.record.as_slice().into(),
            ]
        })
        .await?;
    Ok(())
}

pub(crate) async fn pending_delete(
    tx: &mut Tx,
    names: &[(&[u8], &str)],
) -> Result<(), DatabaseError> {
    DELETE.execute(tx, &[], names, name_values).await?;
    Ok(())
}

fn name_values<'r>((digest, number): &'r (&'r [u8], &'r str)) -> [Value<'r>; 2] {
    [(*digest).into(), (*number).into()]
}

/// Deletes an epoch's pending records, a thousand at most; answers how many.
pub(crate) async fn pending_delete_epoch(
    tx: &mut Tx,
    epoch: EpochId,
) -> Result<u64, DatabaseError> {
    let done = query(
        "DELETE FROM pending WHERE ciphertext_sha256 IN
             (SELECT ciphertext_sha256 FROM pending WHERE retention_seconds = $1 AND start_seconds = $2 LIMIT 1000)",
    )
    .bind(i64::from(epoch.retention().seconds()))
    .bind(int(epoch.start_seconds()))
    .execute(&mut **tx)
    .await?;
    Ok(done.rows_affected())
}

/// Deletes pending records of epochs that are past their time at `now_seconds`, a thousand at most: a restored database has
/// those of epochs whose destruction is not in it.
pub(crate) async fn pending_delete_past(
    tx: &mut Tx,
    now_seconds: u64,
) -> Result<(), DatabaseError> {
    query(
        "DELETE FROM pending WHERE ciphertext_sha256 IN
             (SELECT ciphertext_sha256 FROM pending WHERE start_seconds <= $1 - retention_seconds LIMIT 1000)",
    )
    .bind(int(now_seconds))
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Pending records in the order of their digests, made no later than `latest_ms`.
pub(crate) async fn pending_list(
    db: &mut Connection,
    after: &[u8],
    latest_ms: u64,
    limit: u32,
) -> Result<Vec<(Vec<u8>, Vec<u8>)>, DatabaseError> {
    Ok(query_as(
        "SELECT ciphertext_sha256, record FROM pending WHERE ciphertext_sha256 > $1 AND created_at_ms <= $2
         ORDER BY ciphertext_sha256 LIMIT $3",
    )
    .bind(after)
    .bind(int(latest_ms))
    .bind(i64::from(limit))
    .fetch_all(db)
    .await?)
}
