//! `signed_prekeys`, `one_time_prekeys`, `kem_prekeys` and `kem_used`: private halves, and what was used up.

use sealpost_database::{
    Connection, DatabaseError, Tx,
    sqlx::{query, query_as, query_scalar},
};

use super::{COUNT_LIMIT, int, small, uint};

/// A sealed KEM prekey.
#[derive(Clone)]
pub(crate) struct KemPrekeyRow {
    pub(crate) id: u32,
    pub(crate) last_resort: bool,
    pub(crate) sealed: Vec<u8>,
}

pub(crate) async fn signed_prekey_insert(
    tx: &mut Tx,
    number: &str,
    id: u32,
    created_at_ms: u64,
    sealed: &[u8],
) -> Result<(), DatabaseError> {
    query("INSERT INTO signed_prekeys (number, id, created_at_ms, sealed) VALUES ($1, $2, $3, $4)")
        .bind(number)
        .bind(i64::from(id))
        .bind(int(created_at_ms))
        .bind(sealed)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

pub(crate) async fn signed_prekey_find(
    db: &mut Connection,
    number: &str,
    id: u32,
) -> Result<Option<Vec<u8>>, DatabaseError> {
    let found = query_scalar("SELECT sealed FROM signed_prekeys WHERE number = $1 AND id = $2");
    Ok(found
        .bind(number)
        .bind(i64::from(id))
        .fetch_optional(db)
        .await?)
}

pub(crate) async fn signed_prekey_newest(
    db: &mut Connection,
    number: &str,
) -> Result<Option<(u32, Vec<u8>)>, DatabaseError> {
    let found: Option<(i64, Vec<u8>)> =
        query_as("SELECT id, sealed FROM signed_prekeys WHERE number = $1 ORDER BY created_at_ms DESC, id DESC LIMIT 1")
            .bind(number)
            .fetch_optional(db)
            .await?;
    Ok(found.map(|(id, sealed)| (small(id), sealed)))
}

pub(crate) async fn one_time_prekey_insert(
    tx: &mut Tx,
    number: &str,
    id: u32,
    serial: u64,
    sealed: &[u8],
) -> Result<(), DatabaseError> {
    query("INSERT INTO one_time_prekeys (number, id, serial, sealed) VALUES ($1, $2, $3, $4)")
        .bind(number)
        .bind(i64::from(id))
        .bind(int(serial))
        .bind(sealed)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

pub(crate) async fn one_time_prekey_find(
    db: &mut Connection,
    number: &str,
    id: u32,
) -> Result<Option<Vec<u8>>, DatabaseError> {
    let found = query_scalar("SELECT sealed FROM one_time_prekeys WHERE number = $1 AND id = $2");
    Ok(found
        .bind(number)
        .bind(i64::from(id))
        .fetch_optional(db)
        .await?)
}

/// Answers whether it was there: a prekey that another used meanwhile must not be used again.
pub(crate) async fn one_time_prekey_delete(
    tx: &mut Tx,
    number: &str,
    id: u32,
) -> Result<bool, DatabaseError> {
    let done = query("DELETE FROM one_time_prekeys WHERE number = $1 AND id = $2")
        .bind(number)
        .bind(i64::from(id))
        .execute(&mut **tx)
        .await?;
    Ok(done.rows_affected() == 1)
}

/// Deletes those made before `serial`: long handed out, never used.
pub(crate) async fn one_time_prekeys_trim(
    tx: &mut Tx,
    number: &str,
    serial: u64,
) -> Result<(), DatabaseError> {
    query(
        "DELETE FROM one_time_prekeys WHERE number = $1 AND serial IN
             (SELECT serial FROM one_time_prekeys WHERE number = $1 AND serial < $2 ORDER BY serial LIMIT 1000)",
    )
    .bind(number)
    .bind(int(serial))
    .execute(&mut **tx)
    .await?;
    Ok(())
}

pub(crate) async fn one_time_prekeys_count(
    db: &mut Connection,
    number: &str,
) -> Result<u64, DatabaseError> {
    let count: i64 = query_scalar(
        "SELECT count(*) FROM (SELECT 1 FROM one_time_prekeys WHERE number = $1 LIMIT $2) AS found",
    )
    .bind(number)
    .bind(COUNT_LIMIT)
    .fetch_one(db)
    .await?;
    Ok(uint(count))
}

pub(crate) async fn kem_prekey_insert(
    tx: &mut Tx,
    number: &str,
    serial: u64,
    row: &KemPrekeyRow,
) -> Result<(), DatabaseError> {
    query("INSERT INTO kem_prekeys (number, id, serial, last_resort, sealed) VALUES ($1, $2, $3, $4, $5)")
        .bind(number)
        .bind(i64::from(row.id))
        .bind(int(serial))
        .bind(i64::from(row.last_resort))
        .bind(&row.sealed)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

pub(crate) async fn kem_prekey_find(
    db: &mut Connection,
    number: &str,
    id: u32,
) -> Result<Option<KemPrekeyRow>, DatabaseError> {
    let found: Option<(i64, Vec<u8>)> =
        query_as("SELECT last_resort, sealed FROM kem_prekeys WHERE number = $1 AND id = $2")
            .bind(number)
            .bind(i64::from(id))
            .fetch_optional(db)
            .await?;
    Ok(found.map(|(last_resort, sealed)| KemPrekeyRow {
        id,
        last_resort: last_resort != 0,
        sealed,
    }))
}

/// The newest last-resort KEM prekey.
pub(crate) async fn kem_last_resort(
    db: &mut Connection,
    number: &str,
) -> Result<Option<KemPrekeyRow>, DatabaseError> {
    let found: Option<(i64, Vec<u8>)> = query_as(
        "SELECT id, sealed FROM kem_prekeys WHERE number = $1 AND last_resort = 1 ORDER BY serial DESC LIMIT 1",
    )
    .bind(number)
    .fetch_optional(db)
    .await?;
    Ok(found.map(|(id, sealed)| KemPrekeyRow {
        id: small(id),
        last_resort: true,
        sealed,
    }))
}

/// Answers whether it was there. Never deletes a last-resort one.
pub(crate) async fn kem_prekey_delete(
    tx: &mut Tx,
    number: &str,
    id: u32,
) -> Result<bool, DatabaseError> {
    let done = query("DELETE FROM kem_prekeys WHERE number = $1 AND id = $2 AND last_resort = 0")
        .bind(number)
        .bind(i64::from(id))
        .execute(&mut **tx)
        .await?;
    Ok(done.rows_affected() == 1)
}

/// Deletes one-time ones made before `serial`: long handed out, never used.
pub(crate) async fn kem_prekeys_trim(
    tx: &mut Tx,
    number: &str,
    serial: u64,
) -> Result<(), DatabaseError> {
    query(
        "DELETE FROM kem_prekeys WHERE number = $1 AND last_resort = 0 AND serial IN
             (SELECT serial FROM kem_prekeys WHERE number = $1 AND last_resort = 0 AND serial < $2
              ORDER BY serial LIMIT 1000)",
    )
    .bind(number)
    .bind(int(serial))
    .execute(&mut **tx)
    .await?;
    Ok(())
}

pub(crate) async fn kem_prekeys_count(
    db: &mut Connection,
    number: &str,
) -> Result<u64, DatabaseError> {
    let count: i64 = query_scalar(
        "SELECT count(*) FROM (SELECT 1 FROM kem_prekeys WHERE number = $1 AND last_resort = 0 LIMIT $2) AS found",
    )
    .bind(number)
    .bind(COUNT_LIMIT)
    .fetch_one(db)
    .await?;
    Ok(uint(count))
}

pub(crate) async fn kem_used_exists(
    db: &mut Connection,
    number: &str,
    kem_id: u32,
    signed_id: u32,
    base_key: &[u8],
) -> Result<bool, DatabaseError> {
    let found: Option<i64> = query_scalar(
        "SELECT 1 FROM kem_used WHERE number = $1 AND kem_id = $2 AND signed_id = $3 AND base_key = $4",
    )
    .bind(number)
    .bind(i64::from(kem_id))
    .bind(i64::from(signed_id))
    .bind(base_key)
    .fetch_optional(db)
    .await?;
    Ok(found.is_some())
}

/// Answers whether the mark is new.
pub(crate) async fn kem_used_insert(
    tx: &mut Tx,
    number: &str,
    kem_id: u32,
    signed_id: u32,
    base_key: &[u8],
) -> Result<bool, DatabaseError> {
    let done = query(
        "INSERT INTO kem_used (number, kem_id, signed_id, base_key) VALUES ($1, $2, $3, $4)
         ON CONFLICT (number, kem_id, signed_id, base_key) DO NOTHING",
    )
    .bind(number)
    .bind(i64::from(kem_id))
    .bind(i64::from(signed_id))
    .bind(base_key)
    .execute(&mut **tx)
    .await?;
    Ok(done.rows_affected() == 1)
}
