//! How a number's rows go: its keys first, at once; then all else, in pieces; its own row last.
//!
//! Invariant: a number whose keys are gone is found by nobody, and its id is free again only when nothing of it is left.

use sealpost_database::{
    Connection, DatabaseError, Tx,
    sqlx::{query, query_scalar},
};

use super::int;

/// What one call deletes at most of each table.
const PIECE: i64 = 1_000;

/// Every table with rows of numbers, and the key of its rows.
const DELETES: [&str; 9] = [
    "DELETE FROM hpke_keys WHERE (number, sequence) IN
         (SELECT number, sequence FROM hpke_keys WHERE number = $1 LIMIT $2)",
    "DELETE FROM signed_prekeys WHERE (number, id) IN (SELECT number, id FROM signed_prekeys WHERE number = $1 LIMIT $2)",
    "DELETE FROM one_time_prekeys WHERE (number, id) IN
         (SELECT number, id FROM one_time_prekeys WHERE number = $1 LIMIT $2)",
    "DELETE FROM kem_prekeys WHERE (number, id) IN (SELECT number, id FROM kem_prekeys WHERE number = $1 LIMIT $2)",
    "DELETE FROM kem_used WHERE (number, kem_id, signed_id, base_key) IN
         (SELECT number, kem_id, signed_id, base_key FROM kem_used WHERE number = $1 LIMIT $2)",
    "DELETE FROM sessions WHERE (number, subject_id, device_id) IN
         (SELECT number, subject_id, device_id FROM sessions WHERE number = $1 LIMIT $2)",
    "DELETE FROM subjects WHERE (number, subject_id) IN
         (SELECT number, subject_id FROM subjects WHERE number = $1 LIMIT $2)",
    "DELETE FROM pending WHERE ciphertext_sha256 IN (SELECT ciphertext_sha256 FROM pending WHERE number = $1 LIMIT $2)",
    "DELETE FROM erased WHERE (number, tag) IN (SELECT number, tag FROM erased WHERE number = $1 LIMIT $2)",
];

/// Empties what a number's keys are sealed in. Answers whether they were still these.
pub(crate) async fn number_keys_delete(
    tx: &mut Tx,
    number: &str,
    sealed_key: &[u8],
    now_ms: u64,
) -> Result<bool, DatabaseError> {
    let nothing: &[u8] = &[];
    let done = query(
        "UPDATE numbers SET sealed_key = $3, sealed_secrets = $3, sealed_facts = $3, removed_at_ms = $4
         WHERE number = $1 AND sealed_key = $2 AND removed_at_ms IS NULL",
    )
    .bind(number)
    .bind(sealed_key)
    .bind(nothing)
    .bind(int(now_ms))
    .execute(&mut **tx)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Deletes a piece of what a removed number still has; answers whether more may be left.
pub(crate) async fn number_rows_delete(tx: &mut Tx, number: &str) -> Result<bool, DatabaseError> {
    let removed: Option<i64> = query_scalar(
        "SELECT removed_at_ms FROM numbers WHERE number = $1 AND removed_at_ms IS NOT NULL",
    )
    .bind(number)
    .fetch_optional(&mut **tx)
    .await?;
    if removed.is_none() {
        return Ok(false);
    }
    let mut deleted = 0;
    for statement in DELETES {
        let done = query(statement).bind(number).bind(PIECE);
        deleted += done.execute(&mut **tx).await?.rows_affected();
    }
    if deleted == 0 {
        query("DELETE FROM numbers WHERE number = $1 AND removed_at_ms IS NOT NULL")
            .bind(number)
            .execute(&mut **tx)
            .await?;
    }
    Ok(deleted > 0)
}

/// Numbers whose keys are gone and whose rows are not yet.
pub(crate) async fn numbers_removed(db: &mut Connection) -> Result<Vec<String>, DatabaseError> {
    Ok(query_scalar(
        "SELECT number FROM numbers WHERE removed_at_ms IS NOT NULL ORDER BY number LIMIT 100",
    )
    .fetch_all(db)
    .await?)
}
