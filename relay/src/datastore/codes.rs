//! The table `codes`: one verification code for a phone number, the last.

use sealpost_database::{
    Connection, DatabaseError, Tx,
    sqlx::{Row as _, query},
};

use crate::ids::PhoneNumber;

/// A code that was sent.
pub(super) struct Sent {
    pub(super) digest: Vec<u8>,
    /// Wrong guesses that are left.
    pub(super) attempts_left: i64,
    pub(super) expires_at: i64,
}

pub(super) async fn code_put(
    tx: &mut Tx,
    number: &PhoneNumber,
    sent: &Sent,
) -> Result<(), DatabaseError> {
    query(
        "INSERT INTO codes (phone_number, digest, attempts_left, expires_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (phone_number) DO UPDATE SET digest = excluded.digest,
             attempts_left = excluded.attempts_left, expires_at = excluded.expires_at",
    )
    .bind(number.as_str())
    .bind(&sent.digest)
    .bind(sent.attempts_left)
    .bind(sent.expires_at)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

pub(super) async fn code_find(
    db: &mut Connection,
    number: &PhoneNumber,
) -> Result<Option<Sent>, DatabaseError> {
    let row = query("SELECT digest, attempts_left, expires_at FROM codes WHERE phone_number = $1")
        .bind(number.as_str())
        .fetch_optional(db)
        .await?;
    let sent = row.map(|row| {
        Ok::<_, DatabaseError>(Sent {
            digest: row.try_get("digest")?,
            attempts_left: row.try_get("attempts_left")?,
            expires_at: row.try_get("expires_at")?,
        })
    });
    sent.transpose()
}

/// Counts a wrong guess; the last one ends the code.
pub(super) async fn code_count_guess(
    tx: &mut Tx,
    number: &PhoneNumber,
    attempts_left: i64,
) -> Result<(), DatabaseError> {
    if attempts_left <= 1 {
        return code_delete(tx, number).await;
    }
    query("UPDATE codes SET attempts_left = $2 WHERE phone_number = $1")
        .bind(number.as_str())
        .bind(attempts_left - 1)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

pub(super) async fn code_delete(tx: &mut Tx, number: &PhoneNumber) -> Result<(), DatabaseError> {
    query("DELETE FROM codes WHERE phone_number = $1")
        .bind(number.as_str())
        .execute(&mut **tx)
        .await?;
    Ok(())
}
