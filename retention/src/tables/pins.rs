//! `pins`: the vault's receipt key, as first seen.

use sealpost_database::{
    DatabaseError, Tx,
    sqlx::{query, query_scalar},
};
use sealpost_runtime::Timestamp;

use super::{time_column, whole};
use crate::receipt::ReceiptKey;

const KEEP: &str = "INSERT INTO pins (name, key, pinned_at) VALUES ('vault receipts', $1, $2) ON CONFLICT (name) DO NOTHING";
const FIND: &str = "SELECT key FROM pins WHERE name = 'vault receipts'";

/// Pins `seen` unless a key is pinned already; answers the pinned one.
pub(crate) async fn pin_keep(
    tx: &mut Tx,
    seen: ReceiptKey,
    now: Timestamp,
) -> Result<ReceiptKey, DatabaseError> {
    query(KEEP)
        .bind(seen.as_slice())
        .bind(time_column(now))
        .execute(&mut **tx)
        .await?;
    let key: Vec<u8> = query_scalar(FIND).fetch_one(&mut **tx).await?;
    Ok(whole(ReceiptKey::from_slice(&key), "key")?)
}
