//! `envelopes`: the Signal ciphertexts that inbound records were made of. One record may have several, when a consumer sent
//! the same message again.

use std::collections::HashMap;

use sealpost_database::{
    Connection, DatabaseError, Many, Row, Tx,
    sqlx::{self, Row as _},
};
use sealpost_runtime::Timestamp;

use super::{Erasure, column, phone_number_id_at, time_at, time_column, whole};
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

pub(crate) const FIND: Many = Many::new(
    "SELECT e.phone_number_id, e.ciphertext_sha256, e.appended_at FROM (VALUES {rows}) AS v CROSS JOIN envelopes AS e \
     WHERE e.phone_number_id = v.column1 AND e.ciphertext_sha256 = v.column2",
);

const INSERT: Many = Many::new(
    "INSERT INTO envelopes (phone_number_id, ciphertext_sha256, tag, retention_seconds, epoch_start, appended_at) \
     SELECT v.column1, v.column2, v.column3, v.column4, v.column5, $1 FROM (VALUES {rows}) AS v",
);

/// When those of the envelopes that are kept were first kept.
pub(crate) async fn envelopes_find(
    db: &mut Connection,
    keys: &[(&PhoneNumberId, CiphertextDigest)],
) -> Result<HashMap<(PhoneNumberId, CiphertextDigest), Timestamp>, DatabaseError> {
    let rows = FIND
        .fetch(db, &[], keys, |(number, ciphertext)| {
            [number.as_str().into(), ciphertext.as_slice().into()]
        })
        .await?;
    let kept = |row: &Row| {
        let ciphertext: &[u8] = row.try_get("ciphertext_sha256")?;
        let ciphertext = whole(
            CiphertextDigest::from_slice(ciphertext),
            "ciphertext_sha256",
        )?;
        Ok((
            (phone_number_id_at(row)?, ciphertext),
            time_at(row, "appended_at")?,
        ))
    };
    let found: Result<_, sqlx::Error> = rows.iter().map(kept).collect();
    Ok(found?)
}

/// Keeps the envelopes that records came in, at `now`.
pub(crate) async fn envelopes_insert(
    tx: &mut Tx,
    envelopes: &[(&Record, &CiphertextDigest)],
    now: Timestamp,
) -> Result<(), DatabaseError> {
    INSERT
        .execute(
            tx,
            &[time_column(now).into()],
            envelopes,
            |(record, ciphertext)| {
                [
                    record.number.as_str().into(),
                    ciphertext.as_slice().into(),
                    record.tag.as_slice().into(),
                    i64::from(record.epoch.retention_seconds).into(),
                    column(record.epoch.start_seconds).into(),
                ]
            },
        )
        .await?;
    Ok(())
}
