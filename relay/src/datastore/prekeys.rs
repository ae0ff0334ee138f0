//! The tables `prekeys` and `spent_prekeys`.
//!
//! Invariant: a one-time prekey is handed out once. Handing out deletes it and remembers its id, in one transaction, so
//! that an upload that is repeated afterwards does not bring it back.

use bytes::Bytes;
use sealpost_database::{
    Connection, DatabaseError, Tx,
    sqlx::{Row as _, query, query_scalar},
};

use super::small;
use crate::{
    RelayError,
    ids::{HolderId, Retention},
    upload::Upload,
};

/// Prekeys of a kind that a holder may have here.
const MAX_KEPT: i64 = 1000;

/// What a one-time prekey is of; the numbers are stored.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Curve = 1,
    Kem = 2,
}

/// A one-time prekey, handed out.
pub(super) struct Prekey {
    pub(super) id: u32,
    pub(super) public_key: Bytes,
    /// Of KEM prekeys only.
    pub(super) signature: Option<Bytes>,
}

/// Adds the one-time prekeys of `upload` but those that were handed out before.
///
/// # Errors
/// `PrekeysFull` when more than a thousand of a kind would be kept.
pub(super) async fn prekeys_add(
    tx: &mut Tx,
    holder: HolderId,
    upload: &Upload,
) -> Result<(), RelayError> {
    for prekey in &upload.one_time {
        prekey_put(tx, holder, Kind::Curve, prekey.id, &prekey.public_key, None).await?;
    }
    for prekey in &upload.kem {
        let signature = Some(prekey.signature.as_ref());
        prekey_put(
            tx,
            holder,
            Kind::Kem,
            prekey.id,
            &prekey.public_key,
            signature,
        )
        .await?;
    }
    for kind in [Kind::Curve, Kind::Kem] {
        if i64::from(prekey_count(tx, holder, kind).await?) > MAX_KEPT {
            return Err(RelayError::PrekeysFull);
        }
    }
    Ok(())
}

async fn prekey_put(
    tx: &mut Tx,
    holder: HolderId,
    kind: Kind,
    id: u32,
    public_key: &[u8],
    signature: Option<&[u8]>,
) -> Result<(), DatabaseError> {
    query(
        "INSERT INTO prekeys (holder_id, kind, prekey_id, public_key, signature)
         SELECT $1, $2, $3, $4, $5 WHERE NOT EXISTS (
             SELECT 1 FROM spent_prekeys WHERE holder_id = $1 AND kind = $2 AND prekey_id = $3)
         ON CONFLICT (holder_id, kind, prekey_id) DO UPDATE
             SET public_key = excluded.public_key, signature = excluded.signature",
    )
    .bind(holder.0)
    .bind(kind as i64)
    .bind(i64::from(id))
    .bind(public_key)
    .bind(signature)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Hands out the one-time prekey with the lowest id.
pub(super) async fn prekey_take(
    tx: &mut Tx,
    holder: HolderId,
    kind: Kind,
    now: i64,
) -> Result<Option<Prekey>, DatabaseError> {
    let row = query(
        "DELETE FROM prekeys WHERE holder_id = $1 AND kind = $2 AND prekey_id = (
             SELECT min(prekey_id) FROM prekeys WHERE holder_id = $1 AND kind = $2)
         RETURNING prekey_id, public_key, signature",
    )
    .bind(holder.0)
    .bind(kind as i64)
    .fetch_optional(&mut **tx)
    .await?;
    let Some(row) = row else {
        return Ok(None);
    };
    let id: i64 = row.try_get("prekey_id")?;
    query(
        "INSERT INTO spent_prekeys (holder_id, kind, prekey_id, expires_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (holder_id, kind, prekey_id) DO UPDATE SET expires_at = excluded.expires_at",
    )
    .bind(holder.0)
    .bind(kind as i64)
    .bind(id)
    .bind(Retention::LONGEST.ends(now))
    .execute(&mut **tx)
    .await?;
    Ok(Some(Prekey {
        id: small(id)?,
        public_key: row.try_get::<Vec<u8>, _>("public_key")?.into(),
        signature: row
            .try_get::<Option<Vec<u8>>, _>("signature")?
            .map(Bytes::from),
    }))
}

pub(super) async fn prekey_count(
    db: &mut Connection,
    holder: HolderId,
    kind: Kind,
) -> Result<u32, DatabaseError> {
    let count = query_scalar("SELECT count(*) FROM prekeys WHERE holder_id = $1 AND kind = $2")
        .bind(holder.0)
        .bind(kind as i64)
        .fetch_one(db)
        .await?;
    small(count)
}

/// Deletes what was not handed out.
pub(super) async fn prekeys_clear(tx: &mut Tx, holder: HolderId) -> Result<(), DatabaseError> {
    query("DELETE FROM prekeys WHERE holder_id = $1")
        .bind(holder.0)
        .execute(&mut **tx)
        .await?;
    Ok(())
}
