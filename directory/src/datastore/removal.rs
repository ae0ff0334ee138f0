//! How numbers, businesses and tokens that work no more leave the directory.

use sealpost_database::{
    Connection, DatabaseError, Tx,
    sqlx::{query, query_scalar},
};

use crate::ids::{PhoneNumberId, Uuid};

/// Whether a number's records are on their way to another region.
pub(super) async fn number_is_moving(
    db: &mut Connection,
    id: &PhoneNumberId,
) -> Result<bool, DatabaseError> {
    let open: Option<i64> = query_scalar(
        "SELECT asked_at FROM number_moves WHERE phone_number_id = $1 AND finished_at IS NULL LIMIT 1",
    )
    .bind(id.as_str())
    .fetch_optional(db)
    .await?;
    Ok(open.is_some())
}

/// Deletes a number, its place in tokens and its moves; answers whether it was there. A token that named it alone may then act for none.
pub(super) async fn number_delete(tx: &mut Tx, id: &PhoneNumberId) -> Result<bool, DatabaseError> {
    for statement in [
        "DELETE FROM token_numbers WHERE phone_number_id = $1",
        "DELETE FROM number_moves WHERE phone_number_id = $1",
    ] {
        query(statement)
            .bind(id.as_str())
            .execute(&mut **tx)
            .await?;
    }
    let done = query("DELETE FROM numbers WHERE phone_number_id = $1")
        .bind(id.as_str())
        .execute(&mut **tx)
        .await?;
    Ok(done.rows_affected() == 1)
}

/// Whether a business has a number.
pub(super) async fn business_has_numbers(
    db: &mut Connection,
    id: Uuid,
) -> Result<bool, DatabaseError> {
    let found: Option<String> =
        query_scalar("SELECT phone_number_id FROM numbers WHERE business_id = $1 LIMIT 1")
            .bind(id.as_bytes())
            .fetch_optional(db)
            .await?;
    Ok(found.is_some())
}

/// Deletes a business without numbers, and its tokens; answers whether it was there.
pub(super) async fn business_delete(tx: &mut Tx, id: Uuid) -> Result<bool, DatabaseError> {
    query("DELETE FROM tokens WHERE business_id = $1")
        .bind(id.as_bytes())
        .execute(&mut **tx)
        .await?;
    let done = query("DELETE FROM businesses WHERE business_id = $1")
        .bind(id.as_bytes())
        .execute(&mut **tx)
        .await?;
    Ok(done.rows_affected() == 1)
}

/// Tokens that were revoked or ended at `latest` or before, at most `limit` for either reason.
pub(super) async fn tokens_over(
    db: &mut Connection,
    latest: i64,
    limit: u32,
) -> Result<Vec<Vec<u8>>, DatabaseError> {
    let mut over: Vec<Vec<u8>> = Vec::new();
    for statement in [
        "SELECT token_id FROM tokens WHERE revoked_at <= $1 LIMIT $2",
        "SELECT token_id FROM tokens WHERE expires_at <= $1 LIMIT $2",
    ] {
        let found = query_scalar(statement).bind(latest).bind(i64::from(limit));
        over.extend(found.fetch_all(&mut *db).await?);
    }
    Ok(over)
}

/// Deletes a token and the numbers it names.
pub(super) async fn token_delete(tx: &mut Tx, id: &[u8]) -> Result<(), DatabaseError> {
    for statement in [
        "DELETE FROM token_numbers WHERE token_id = $1",
        "DELETE FROM tokens WHERE token_id = $1",
    ] {
        query(statement).bind(id).execute(&mut **tx).await?;
    }
    Ok(())
}
