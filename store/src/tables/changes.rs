//! `changes`: counts that only grow, one step for each transaction that changed something of a kind.

use sealpost_database::{Connection, DatabaseError, Tx, sqlx::query_scalar};

use super::column;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Numbers' newest cursors.
    EventHeads = 1,
    /// Openings of subscriptions.
    Openings = 2,
}

pub(crate) const NEXT: &str = "UPDATE changes SET last = CASE WHEN last < $2 THEN $2 ELSE last + 1 END \
     WHERE kind = $1 RETURNING last";

pub(crate) const LAST: &str = "SELECT last FROM changes WHERE kind = $1";

/// The next count, `least` at least.
pub(crate) async fn change_next(
    tx: &mut Tx,
    change: Change,
    least: u64,
) -> Result<u64, DatabaseError> {
    let next: i64 = query_scalar(NEXT)
        .bind(change as i64)
        .bind(column(least))
        .fetch_one(&mut **tx)
        .await?;
    Ok(next.unsigned_abs())
}

/// The newest count.
pub(crate) async fn change_last(db: &mut Connection, change: Change) -> Result<u64, DatabaseError> {
    let last: i64 = query_scalar(LAST).bind(change as i64).fetch_one(db).await?;
    Ok(last.unsigned_abs())
}
