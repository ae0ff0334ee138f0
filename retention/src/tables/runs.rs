//! `runs`: what was done, and when.

use sealpost_database::{
    Connection, DatabaseError, Row, Tx,
    sqlx::{self, Row as _, query, query_scalar},
};
use sealpost_runtime::Timestamp;

use super::{column, number_at, time_column};

/// A run that never came to its end has this failure.
const BEGIN: &str = "INSERT INTO runs (started_at, finished_at, epochs_destroyed, store_rows_deleted, relay_rows_deleted, \
     failure, dry_run) VALUES ($1, 0, 0, 0, 0, 'INTERRUPTED', $2) RETURNING run_id";
const FINISH: &str = "UPDATE runs SET finished_at = $2, epochs_destroyed = $3, store_rows_deleted = $4, \
     relay_rows_deleted = $5, failure = $6 WHERE run_id = $1";
pub(crate) const LIST: &str = "SELECT run_id, started_at, finished_at, epochs_destroyed, store_rows_deleted, \
     relay_rows_deleted, failure, dry_run FROM runs WHERE run_id < $1 ORDER BY run_id DESC LIMIT $2";
pub(crate) const FORGET: &str =
    "DELETE FROM runs WHERE run_id IN (SELECT run_id FROM runs WHERE started_at < $1 LIMIT $2)";

/// One run of the jobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Grows.
    pub run_id: u64,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Timestamp,
    /// Epoch keys destroyed in the vault.
    pub epochs_destroyed: u64,
    /// Rows deleted in stores.
    pub store_rows_deleted: u64,
    /// Rows deleted in relays.
    pub relay_rows_deleted: u64,
    /// What went wrong first, a fixed code; empty when nothing did.
    pub failure: String,
    /// Whether it only counted.
    pub dry_run: bool,
}

pub(crate) async fn run_begin(
    tx: &mut Tx,
    now: Timestamp,
    dry_run: bool,
) -> Result<u64, DatabaseError> {
    let id: i64 = query_scalar(BEGIN)
        .bind(time_column(now))
        .bind(i64::from(dry_run))
        .fetch_one(&mut **tx)
        .await?;
    Ok(id.unsigned_abs())
}

pub(crate) async fn run_finish(tx: &mut Tx, run: &Run) -> Result<(), DatabaseError> {
    query(FINISH)
        .bind(column(run.run_id))
        .bind(time_column(run.finished_at))
        .bind(column(run.epochs_destroyed))
        .bind(column(run.store_rows_deleted))
        .bind(column(run.relay_rows_deleted))
        .bind(run.failure.as_str())
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Runs before `before`, newest first.
pub(crate) async fn runs_list(
    db: &mut Connection,
    before: u64,
    limit: u64,
) -> Result<Vec<Run>, DatabaseError> {
    let rows = query(LIST)
        .bind(column(before))
        .bind(column(limit))
        .fetch_all(db)
        .await?;
    let runs: Result<_, sqlx::Error> = rows.iter().map(run_at).collect();
    Ok(runs?)
}

fn run_at(row: &Row) -> Result<Run, sqlx::Error> {
    Ok(Run {
        run_id: number_at(row, "run_id")?,
        started_at: Timestamp::from_millis(number_at(row, "started_at")?),
        finished_at: Timestamp::from_millis(number_at(row, "finished_at")?),
        epochs_destroyed: number_at(row, "epochs_destroyed")?,
        store_rows_deleted: number_at(row, "store_rows_deleted")?,
        relay_rows_deleted: number_at(row, "relay_rows_deleted")?,
        failure: row.try_get("failure")?,
        dry_run: number_at(row, "dry_run")? != 0,
    })
}

/// Deletes at most `limit` runs that began before `before`; answers how many.
pub(crate) async fn runs_forget(
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
