//! `envelopes`: the Signal ciphertexts that inbound records were made of. One record may have several, when a consumer sent
//! the same message again.

use sealpost_database::{Connection, DatabaseError, Tx, sqlx::query};
use sealpost_runtime::Timestamp;

use super::{Erasure, column, time_at, time_column};
use crate::{
    ids::{CiphertextDigest, PhoneNumberId},
    record::Record,
};

pub(crate) const ERASURE: Erasure = Erasure {
    table: "envelopes",
    epoch_delete: "DELETE FROM envelopes WHERE (phone_number_id, ciphertext_sha256) IN \
         (SELECT phone_number_id, ciphertext_sha256 FROM envelopes WHERE retention_seconds = $1 AND epoch_start = $2 LIMIT $3)",
    epoch_count: "SELECT count(*) FROM \
         (SELECT 1 FROM envelopes WHERE retention_seconds = $1 AND epoch_start = $2 LIMIT $3) AS found",
    tag_delete: "DELETE FROM envelopes WHERE (phone_number_id, ciphertext_sha256) IN \
         (SELECT phone_number_id, ciphertext_sha256 FROM envelopes WHERE phone_number_id = $1 AND tag = $2 LIMIT $3)",
};

pub(crate) const FIND: &str =
    "SELECT appended_at FROM envelopes WHERE phone_number_id = $1 AND ciphertext_sha256 = $2";

const INSERT: &str = "INSERT INTO envelopes (phone_number_id, ciphertext_sha256, tag, retention_seconds, epoch_start, \
     appended_at) VALUES ($1, $2, $3, $4, $5, $6)";

/// When the envelope was first kept, if it was.
pub(crate) async fn envelope_find(
    db: &mut Connection,
    number: &PhoneNumberId,
    ciphertext: CiphertextDigest,
) -> Result<Option<Timestamp>, DatabaseError> {
    let row = query(FIND)
        .bind(number.as_str())
        .bind(ciphertext.as_slice())
        .fetch_optional(db)
        .await?;
    Ok(row.map(|row| time_at(&row, "appended_at")).transpose()?)
}

pub(crate) async fn envelope_insert(
    tx: &mut Tx,
    record: &Record,
    ciphertext: CiphertextDigest,
    now: Timestamp,
) -> Result<(), DatabaseError> {
    query(INSERT)
        .bind(record.number.as_str())
        .bind(ciphertext.as_slice())
        .bind(record.tag.as_slice())
        .bind(i64::from(record.epoch.retention_seconds))
        .bind(column(record.epoch.start_seconds))
        .bind(time_column(now))
        .execute(&mut **tx)
        .await?;
    Ok(())
}
