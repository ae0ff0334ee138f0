//! `vault_keys`: the vault's own keys, sealed under the root key.

use sealpost_database::{
    Connection, DatabaseError, Tx,
    sqlx::{query, query_scalar},
};

/// The name of the receipt key.
pub(crate) const RECEIPT_KEY: &str = "receipt";

/// Keeps a key, unless one of that name is there.
pub(crate) async fn vault_key_insert(
    tx: &mut Tx,
    name: &str,
    sealed: &[u8],
) -> Result<(), DatabaseError> {
    query("INSERT INTO vault_keys (name, sealed) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING")
        .bind(name)
        .bind(sealed)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

pub(crate) async fn vault_key_find(
    db: &mut Connection,
    name: &str,
) -> Result<Option<Vec<u8>>, DatabaseError> {
    Ok(
        query_scalar("SELECT sealed FROM vault_keys WHERE name = $1")
            .bind(name)
            .fetch_optional(db)
            .await?,
    )
}
