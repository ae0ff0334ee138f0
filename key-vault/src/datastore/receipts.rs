//! `receipts`: signed words of what was destroyed, by a serial that grows.

use sealpost_database::{
    Connection, DatabaseError, Tx,
    sqlx::{query, query_as, query_scalar},
};

use super::{int, uint};

/// A receipt to keep.
#[derive(Clone)]
pub(crate) struct ReceiptRow {
    /// The number, when its removal is what it tells of.
    pub(crate) number: Option<String>,
    pub(crate) statement: Vec<u8>,
    pub(crate) signature: Vec<u8>,
}

/// Keeps a receipt; a repeat changes nothing.
pub(crate) async fn receipt_keep(
    tx: &mut Tx,
    row: &ReceiptRow,
    now_ms: u64,
) -> Result<(), DatabaseError> {
    let last: Option<i64> = query_scalar("SELECT MAX(serial) FROM receipts")
        .fetch_one(&mut **tx)
        .await?;
    let serial = int(now_ms).max(last.unwrap_or(0) + 1);
    query(
        "INSERT INTO receipts (serial, number, created_at_ms, statement, signature) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (statement) DO NOTHING",
    )
    .bind(serial)
    .bind(&row.number)
    .bind(int(now_ms))
    .bind(&row.statement)
    .bind(&row.signature)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Serials, statements and signatures after a serial, in their order.
pub(crate) async fn receipts_list(
    db: &mut Connection,
    after: u64,
    limit: u32,
) -> Result<Vec<(u64, Vec<u8>, Vec<u8>)>, DatabaseError> {
    let rows: Vec<(i64, Vec<u8>, Vec<u8>)> = query_as(
        "SELECT serial, statement, signature FROM receipts WHERE serial > $1 ORDER BY serial LIMIT $2",
    )
    .bind(int(after))
    .bind(i64::from(limit))
    .fetch_all(db)
    .await?;
    let row = |(serial, statement, signature)| (uint(serial), statement, signature);
    Ok(rows.into_iter().map(row).collect())
}

/// The newest receipt of a number's removal.
pub(crate) async fn receipt_of_number(
    db: &mut Connection,
    number: &str,
) -> Result<Option<(Vec<u8>, Vec<u8>)>, DatabaseError> {
    Ok(query_as(
        "SELECT statement, signature FROM receipts WHERE number = $1 ORDER BY serial DESC LIMIT 1",
    )
    .bind(number)
    .fetch_optional(db)
    .await?)
}

/// Deletes those of `latest_ms` and before, a thousand at most.
pub(crate) async fn receipts_forget(tx: &mut Tx, latest_ms: u64) -> Result<(), DatabaseError> {
    query(
        "DELETE FROM receipts WHERE serial IN
             (SELECT serial FROM receipts WHERE created_at_ms <= $1 ORDER BY created_at_ms LIMIT 1000)",
    )
    .bind(int(latest_ms))
    .execute(&mut **tx)
    .await?;
    Ok(())
}
