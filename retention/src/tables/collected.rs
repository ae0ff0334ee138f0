//! `collected`: how far the vault's receipts have been fetched.

use sealpost_database::{
    Connection, DatabaseError, Tx,
    sqlx::{query, query_scalar},
};

use super::column;

const FIND: &str = "SELECT serial FROM collected WHERE name = 'vault receipts'";
/// Never back.
const ADVANCE: &str = "INSERT INTO collected (name, serial) VALUES ('vault receipts', $1) \
     ON CONFLICT (name) DO UPDATE SET serial = excluded.serial WHERE excluded.serial > collected.serial";

/// The serial of the last receipt that was kept.
pub(crate) async fn collected_find(db: &mut Connection) -> Result<u64, DatabaseError> {
    let serial: Option<i64> = query_scalar(FIND).fetch_optional(db).await?;
    Ok(serial.unwrap_or(0).unsigned_abs())
}

pub(crate) async fn collected_advance(tx: &mut Tx, serial: u64) -> Result<(), DatabaseError> {
    query(ADVANCE)
        .bind(column(serial))
        .execute(&mut **tx)
        .await?;
    Ok(())
}
