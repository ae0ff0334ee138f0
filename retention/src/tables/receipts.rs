//! `receipts`: the vault's signed words, and how far their rows are gone.

use std::time::Duration;

use sealpost_database::{
    Connection, DatabaseError, Row, Tx,
    sqlx::{self, Row as _, query, query_as, query_scalar},
};
use sealpost_proto::vault::v1::Receipt;
use sealpost_runtime::Timestamp;

use super::{column, number_at, time_column, whole};
use crate::receipt::{Destroyed, Epoch, Subject, Verified, receipt};

/// How long after a person's erasure a record that was under way may still reach a store: the longest epoch, the store's grace
/// for appends, and some more.
pub const SETTLING: Duration = Duration::from_secs(90 * 60);

/// In the tag's place: not a person, but the number with all persons.
const WHOLE_NUMBER: &[u8] = b"";

const INSERT: &str = "INSERT INTO receipts (statement, signature, verification_key, retention_seconds, epoch_start, \
     phone_number_id, tag, destroyed_at, received_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) \
     ON CONFLICT (statement) DO NOTHING";
/// As if nothing had been deleted of what was destroyed since.
const REOPEN: &str =
    "UPDATE receipts SET rows_deleted_at = NULL, settled_at = NULL WHERE destroyed_at > $1";
const FIND: &str = "SELECT receipt_id FROM receipts WHERE statement = $1";

/// Receipts with rows to delete: for the first time, or once more when nothing can follow any more.
pub(crate) const OPEN: &str = "SELECT receipt_id, retention_seconds, epoch_start, phone_number_id, tag FROM receipts \
     WHERE settled_at IS NULL AND receipt_id > $1 AND (rows_deleted_at IS NULL OR destroyed_at <= $2) \
     ORDER BY receipt_id LIMIT $3";

/// An epoch settles with its first deletion, since stores refuse a destroyed one; a person after the settling time.
pub(crate) const DELETED: &str = "UPDATE receipts SET rows_deleted_at = COALESCE(rows_deleted_at, $2), \
     settled_at = CASE WHEN epoch_start IS NOT NULL OR destroyed_at <= $3 THEN $2 END WHERE receipt_id = $1";

pub(crate) const LIST: &str = "SELECT receipt_id, statement, signature, verification_key, rows_deleted_at FROM receipts \
     WHERE receipt_id < $1 ORDER BY receipt_id DESC LIMIT $2";

pub(crate) const FORGET: &str = "DELETE FROM receipts WHERE receipt_id IN \
     (SELECT receipt_id FROM receipts WHERE received_at < $1 AND settled_at IS NOT NULL LIMIT $2)";

/// How many, and when the first of the epochs among them ended, in seconds.
const BACKLOG: &str = "SELECT count(*), MIN(epoch_start + retention_seconds) FROM receipts \
     WHERE settled_at IS NULL AND rows_deleted_at IS NULL";

/// A receipt with rows to delete.
#[derive(Clone, Debug)]
pub(crate) struct Open {
    pub(crate) receipt_id: i64,
    pub(crate) destroyed: Destroyed,
}

/// A kept receipt.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Grows.
    pub receipt_id: u64,
    /// As the vault signed it.
    pub receipt: Receipt,
    /// When the rows were gone from every store as well.
    pub rows_deleted_at: Option<Timestamp>,
}

/// Keeps a receipt; answers its id, the same for a repeat.
pub(crate) async fn receipt_keep(
    tx: &mut Tx,
    verified: &Verified,
    now: Timestamp,
) -> Result<i64, DatabaseError> {
    let (epoch, number, tag) = match verified.destroyed() {
        Destroyed::Epoch(epoch) => (Some(*epoch), None, None),
        Destroyed::Subject(subject) => {
            (None, Some(&subject.phone_number_id), Some(&subject.tag[..]))
        }
        Destroyed::Number(number) => (None, Some(number), Some(WHOLE_NUMBER)),
    };
    let receipt = verified.receipt();
    query(INSERT)
        .bind(&receipt.statement[..])
        .bind(&receipt.signature[..])
        .bind(&receipt.verification_key[..])
        .bind(epoch.map(|epoch| i64::from(epoch.retention_seconds)))
        .bind(epoch.map(|epoch| column(epoch.start_seconds)))
        .bind(number)
        .bind(tag)
        .bind(time_column(verified.at()))
        .bind(time_column(now))
        .execute(&mut **tx)
        .await?;
    let id = query_scalar(FIND).bind(&receipt.statement[..]);
    Ok(id.fetch_one(&mut **tx).await?)
}

/// A page of receipts with rows to delete, after `after`.
pub(crate) async fn receipts_open(
    db: &mut Connection,
    after: i64,
    now: Timestamp,
    limit: u64,
) -> Result<Vec<Open>, DatabaseError> {
    let rows = query(OPEN)
        .bind(after)
        .bind(time_column(now - SETTLING))
        .bind(column(limit))
        .fetch_all(db)
        .await?;
    let open: Result<_, sqlx::Error> = rows.iter().map(open_at).collect();
    Ok(open?)
}

fn open_at(row: &Row) -> Result<Open, sqlx::Error> {
    let epoch_start: Option<i64> = row.try_get("epoch_start")?;
    let destroyed = if epoch_start.is_some() {
        let retention = u32::try_from(number_at(row, "retention_seconds")?).ok();
        Destroyed::Epoch(Epoch {
            retention_seconds: whole(retention, "retention_seconds")?,
            start_seconds: number_at(row, "epoch_start")?,
        })
    } else {
        let tag: &[u8] = row.try_get("tag")?;
        let number = row.try_get("phone_number_id")?;
        match tag {
            WHOLE_NUMBER => Destroyed::Number(number),
            tag => Destroyed::Subject(Subject {
                phone_number_id: number,
                tag: whole(tag.try_into().ok(), "tag")?,
            }),
        }
    };
    Ok(Open {
        receipt_id: row.try_get("receipt_id")?,
        destroyed,
    })
}

/// The rows of a receipt are gone from every store.
pub(crate) async fn receipt_deleted(
    tx: &mut Tx,
    receipt_id: i64,
    now: Timestamp,
) -> Result<(), DatabaseError> {
    query(DELETED)
        .bind(receipt_id)
        .bind(time_column(now))
        .bind(time_column(now - SETTLING))
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Takes up again every receipt of what was destroyed after `since`.
pub(crate) async fn receipts_reopen(tx: &mut Tx, since: Timestamp) -> Result<(), DatabaseError> {
    query(REOPEN)
        .bind(time_column(since))
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Receipts before `before`, newest first.
pub(crate) async fn receipts_list(
    db: &mut Connection,
    before: u64,
    limit: u64,
) -> Result<Vec<Kept>, DatabaseError> {
    let rows = query(LIST)
        .bind(column(before))
        .bind(column(limit))
        .fetch_all(db)
        .await?;
    let kept: Result<_, sqlx::Error> = rows.iter().map(kept_at).collect();
    Ok(kept?)
}

fn kept_at(row: &Row) -> Result<Kept, sqlx::Error> {
    let deleted: Option<i64> = row.try_get("rows_deleted_at")?;
    Ok(Kept {
        receipt_id: number_at(row, "receipt_id")?,
        receipt: receipt(
            row.try_get("statement")?,
            row.try_get("signature")?,
            row.try_get("verification_key")?,
        ),
        rows_deleted_at: deleted.map(|at| Timestamp::from_millis(at.unsigned_abs())),
    })
}

/// Deletes at most `limit` settled receipts that came before `before`; answers how many.
pub(crate) async fn receipts_forget(
    tx: &mut Tx,
    before: Timestamp,
    limit: u64,
) -> Result<u64, DatabaseError> {
    let done = query(FORGET)
        .bind(time_column(before))
        .bind(column(limit))
        .execute(&mut **tx)
        .await?;
    Ok(done.rows_affected())
}

/// How many receipts have rows left somewhere, and when the oldest epoch among them ended.
pub(crate) async fn receipts_backlog(
    db: &mut Connection,
) -> Result<(u64, Option<Timestamp>), DatabaseError> {
    let (count, ended): (i64, Option<i64>) = query_as(BACKLOG).fetch_one(db).await?;
    let ended = ended.map(|seconds| Timestamp::from_secs(seconds.unsigned_abs()));
    Ok((count.unsigned_abs(), ended))
}
