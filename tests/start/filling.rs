//! Rows as 100,000 persons leave them, made by SQLite itself.

use std::path::Path;

use anyhow::bail;
use sealpost_database::Connection;
use sealpost_database::sqlx::{AssertSqlSafe, raw_sql};

/// Persons, each with a session, an outbound record and a device.
pub const ROWS: usize = 100_000;

/// Fills the database file of a stopped service.
pub async fn fill(service: &str, file: &Path, number: &str) -> anyhow::Result<()> {
    let statements = match service {
        "key-vault" => vault(number),
        "store" => store(number),
        "relay" => relay(),
        other => bail!("{other} is not filled"),
    };
    let mut connection = Connection::connect(&format!("sqlite://{}", file.display())).await?;
    let each = format!(
        "BEGIN; CREATE TEMP TABLE each AS WITH RECURSIVE counted (i) AS
             (SELECT 1 UNION ALL SELECT i + 1 FROM counted WHERE i < {ROWS}) SELECT i FROM counted;
         {statements} DROP TABLE each; COMMIT; PRAGMA wal_checkpoint(TRUNCATE);"
    );
    raw_sql(AssertSqlSafe(each))
        .execute(&mut connection)
        .await?;
    Ok(connection.close().await?)
}

/// Sealed bytes of a subject and of a session that has both said and heard: as `cargo bench -p sealpost-key-vault` shows them.
const SUBJECT: usize = 151;
const SESSION: usize = 4_321;

fn vault(number: &str) -> String {
    format!(
        "INSERT INTO subjects (number, subject_id, tag, row_version, sealed, last_day)
             SELECT '{number}', randomblob(16), randomblob(16), 1, randomblob({SUBJECT}), unixepoch() / 86400 FROM each;
         INSERT INTO sessions (number, subject_id, device_id, row_version, sealed)
             SELECT number, subject_id, 2, 1, randomblob({SESSION}) FROM subjects;"
    )
}

/// Records of 1 KB, read, in an epoch that stays open while this runs, and their events.
fn store(number: &str) -> String {
    format!(
        "INSERT INTO outbound SELECT '{number}', randomblob(16), randomblob(16), 2592000,
             unixepoch() / 3600 * 3600, i, randomblob(32), unixepoch() * 1000, 4, unixepoch() * 1000, 0, 1, '', 0,
             randomblob(1125) FROM each;
         INSERT INTO events SELECT phone_number_id, 1000000 + sequence, 2, 1, message_id, tag, retention_seconds, epoch_start, 4, 0,
             status_at FROM outbound WHERE length(sealed) = 1125;"
    )
}

/// Devices with the keys that they upload.
fn relay() -> String {
    "INSERT INTO holders (holder_id, identity_key, registration_id, signed_prekey_id, signed_prekey, signed_prekey_signature,
             last_resort_id, last_resort, last_resort_signature)
         SELECT 1000000 + i, randomblob(33), 1 + i % 16000, 1, randomblob(33), randomblob(64), 1, randomblob(1569), randomblob(64)
         FROM each;
     INSERT INTO devices (holder_id, phone_number, device_id, token_sha256, registered_at)
         SELECT 1000000 + i, '49' || (1500000000 + i), 1, randomblob(32), unixepoch() * 1000 FROM each;
     INSERT INTO device_queue (holder_id, phone_number_id, message_id, attempt, category, type, ciphertext, received_at, expires_at)
         SELECT 1000000 + i, '1', randomblob(16), 1, 1, 2, randomblob(1400), unixepoch() * 1000, (unixepoch() + 86400) * 1000
         FROM each;"
        .to_owned()
}
