//! `hpke_keys`: the keys that connectors wrap content keys to, while they live.

use sealpost_database::{
    Connection, DatabaseError, Tx,
    sqlx::{query, query_as},
};

use super::{int, uint};

/// One key of a number.
#[derive(Clone)]
pub(crate) struct HpkeKeyRow {
    pub(crate) sequence: u64,
    pub(crate) key_id: [u8; 16],
    pub(crate) not_before_ms: u64,
    pub(crate) not_after_ms: u64,
    pub(crate) sealed_seed: Vec<u8>,
}

impl HpkeKeyRow {
    /// What its seed is sealed for: so its life cannot be lengthened in the table.
    pub(crate) fn place(&self) -> [u8; 24] {
        let mut place = [0; 24];
        let parts = [self.sequence, self.not_before_ms, self.not_after_ms];
        for (into, part) in place.as_chunks_mut::<8>().0.iter_mut().zip(parts) {
            *into = part.to_be_bytes();
        }
        place
    }
}

type Columns = (i64, Vec<u8>, i64, i64, Vec<u8>);

fn row((sequence, key_id, not_before, not_after, sealed_seed): Columns) -> HpkeKeyRow {
    HpkeKeyRow {
        sequence: uint(sequence),
        key_id: key_id.try_into().unwrap_or_default(),
        not_before_ms: uint(not_before),
        not_after_ms: uint(not_after),
        sealed_seed,
    }
}

pub(crate) async fn hpke_key_newest(
    db: &mut Connection,
    number: &str,
) -> Result<Option<HpkeKeyRow>, DatabaseError> {
    let found: Option<Columns> = query_as(
        "SELECT sequence, key_id, not_before_ms, not_after_ms, sealed_seed FROM hpke_keys
         WHERE number = $1 ORDER BY sequence DESC LIMIT 1",
    )
    .bind(number)
    .fetch_optional(db)
    .await?;
    Ok(found.map(row))
}

pub(crate) async fn hpke_key_by_id(
    db: &mut Connection,
    number: &str,
    key_id: &[u8],
) -> Result<Option<HpkeKeyRow>, DatabaseError> {
    let found: Option<Columns> = query_as(
        "SELECT sequence, key_id, not_before_ms, not_after_ms, sealed_seed FROM hpke_keys
         WHERE number = $1 AND key_id = $2",
    )
    .bind(number)
    .bind(key_id)
    .fetch_optional(db)
    .await?;
    Ok(found.map(row))
}

pub(crate) async fn hpke_key_insert(
    tx: &mut Tx,
    number: &str,
    row: &HpkeKeyRow,
) -> Result<(), DatabaseError> {
    query(
        "INSERT INTO hpke_keys (number, sequence, key_id, not_before_ms, not_after_ms, sealed_seed)
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(number)
    .bind(int(row.sequence))
    .bind(&row.key_id[..])
    .bind(int(row.not_before_ms))
    .bind(int(row.not_after_ms))
    .bind(&row.sealed_seed)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Deletes keys whose time is over, a thousand at most; answers how many.
pub(crate) async fn hpke_keys_delete_ended(tx: &mut Tx, now_ms: u64) -> Result<u64, DatabaseError> {
    let done = query(
        "DELETE FROM hpke_keys WHERE (number, sequence) IN
             (SELECT number, sequence FROM hpke_keys WHERE not_after_ms <= $1 LIMIT 1000)",
    )
    .bind(int(now_ms))
    .execute(&mut **tx)
    .await?;
    Ok(done.rows_affected())
}
