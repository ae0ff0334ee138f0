//! The tables `tokens` and `token_numbers`.

use sealpost_database::{
    Connection, DatabaseError, Tx,
    sqlx::{Row as _, query},
};

use super::{Number, damaged, numbers};
use crate::{
    DirectoryError,
    ids::{PhoneNumberId, Uuid},
    token::{Scopes, TokenDigest},
    validate::NewToken,
};

/// A token that works.
#[derive(Clone, Debug)]
pub(crate) struct Token {
    pub(crate) token_id: Uuid,
    pub(crate) business_id: Uuid,
    /// Also those made after it; otherwise only the listed ones.
    pub(crate) all_numbers: bool,
    pub(crate) scopes: Scopes,
    /// Milliseconds since the Unix epoch; `None` is never.
    pub(crate) expires_at: Option<i64>,
}

pub(super) async fn token_insert(
    tx: &mut Tx,
    id: Uuid,
    digest: TokenDigest,
    wish: &NewToken,
    now: i64,
) -> Result<(), DatabaseError> {
    query(
        "INSERT INTO tokens (token_id, token_sha256, business_id, all_numbers, scopes,
                             description, created_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(id.as_bytes())
    .bind(digest.as_bytes())
    .bind(wish.business_id.as_bytes())
    .bind(i64::from(wish.phone_number_ids.is_empty()))
    .bind(wish.scopes.bits())
    .bind(&wish.description)
    .bind(now)
    .bind(wish.expires_at)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

pub(super) async fn token_add_number(
    tx: &mut Tx,
    id: Uuid,
    number: &PhoneNumberId,
) -> Result<(), DatabaseError> {
    query("INSERT INTO token_numbers (token_id, phone_number_id) VALUES ($1, $2)")
        .bind(id.as_bytes())
        .bind(number.as_str())
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Ends a token; the time of the first revocation stays.
///
/// # Errors
/// `TokenUnknown` when there is no such token.
pub(super) async fn token_revoke(tx: &mut Tx, id: Uuid, now: i64) -> Result<(), DirectoryError> {
    let done = query("UPDATE tokens SET revoked_at = coalesce(revoked_at, $2) WHERE token_id = $1")
        .bind(id.as_bytes())
        .bind(now)
        .execute(&mut **tx)
        .await
        .map_err(DatabaseError::from)?;
    if done.rows_affected() == 0 {
        return Err(DirectoryError::TokenUnknown);
    }
    Ok(())
}

/// # Errors
/// `TokenUnknown` when no token with this digest works at `now`: unknown, ended and revoked are one answer.
pub(super) async fn token_find(
    db: &mut Connection,
    digest: TokenDigest,
    now: i64,
) -> Result<Token, DirectoryError> {
    let row = query(
        "SELECT token_id, business_id, all_numbers, scopes, expires_at FROM tokens
         WHERE token_sha256 = $1 AND revoked_at IS NULL
           AND (expires_at IS NULL OR expires_at > $2)",
    )
    .bind(digest.as_bytes())
    .bind(now)
    .fetch_optional(db)
    .await
    .map_err(DatabaseError::from)?
    .ok_or(DirectoryError::TokenUnknown)?;

    let read = || -> Result<Token, DatabaseError> {
        Ok(Token {
            token_id: damaged(Uuid::from_slice(row.try_get("token_id")?))?,
            business_id: damaged(Uuid::from_slice(row.try_get("business_id")?))?,
            all_numbers: row.try_get::<i64, _>("all_numbers")? != 0,
            scopes: Scopes::from_bits(row.try_get("scopes")?),
            expires_at: row.try_get("expires_at")?,
        })
    };
    Ok(read()?)
}

pub(super) async fn token_numbers(
    db: &mut Connection,
    id: Uuid,
    limit: u32,
) -> Result<Vec<Number>, DirectoryError> {
    let rows = query(
        "SELECT numbers.phone_number_id, phone_number, business_id, region, display_name,
                messages_per_second, created_at, moving_to
         FROM token_numbers JOIN numbers ON numbers.phone_number_id = token_numbers.phone_number_id
         WHERE token_id = $1 ORDER BY numbers.phone_number_id LIMIT $2",
    )
    .bind(id.as_bytes())
    .bind(i64::from(limit))
    .fetch_all(db)
    .await
    .map_err(DatabaseError::from)?;
    Ok(rows
        .iter()
        .map(numbers::from_row)
        .collect::<Result<_, _>>()?)
}
