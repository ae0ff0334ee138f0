//! The table `holders`: the lasting public keys of a device or a number.

use bytes::Bytes;
use sealpost_database::{
    Connection, DatabaseError, Tx,
    sqlx::{Row as _, query, query_scalar},
};
use sealpost_proto::signal::v1::{KemPrekey, SignedPrekey};

use super::small;
use crate::{
    ids::HolderId,
    upload::{FullUpload, Upload},
};

/// Lasting public keys.
#[derive(Clone, Debug)]
pub(super) struct Holder {
    pub(super) identity_key: Bytes,
    pub(super) registration_id: u32,
    pub(super) signed_prekey: SignedPrekey,
    pub(super) last_resort: KemPrekey,
}

impl Holder {
    /// Whether `upload` is of this very identity and registration.
    pub(super) fn made(&self, upload: &Upload) -> bool {
        self.identity_key == upload.identity_key && self.registration_id == upload.registration_id
    }
}

pub(super) async fn holder_insert(
    tx: &mut Tx,
    keys: &FullUpload,
) -> Result<HolderId, DatabaseError> {
    let id = query_scalar(
        "INSERT INTO holders (identity_key, registration_id,
             signed_prekey_id, signed_prekey, signed_prekey_signature,
             last_resort_id, last_resort, last_resort_signature)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8) RETURNING holder_id",
    )
    .bind(keys.upload.identity_key.as_ref())
    .bind(i64::from(keys.upload.registration_id))
    .bind(i64::from(keys.signed_prekey.id))
    .bind(keys.signed_prekey.public_key.as_ref())
    .bind(keys.signed_prekey.signature.as_ref())
    .bind(i64::from(keys.last_resort.id))
    .bind(keys.last_resort.public_key.as_ref())
    .bind(keys.last_resort.signature.as_ref())
    .fetch_one(&mut **tx)
    .await?;
    Ok(HolderId(id))
}

pub(super) async fn holder_find(
    db: &mut Connection,
    id: HolderId,
) -> Result<Option<Holder>, DatabaseError> {
    let row = query(
        "SELECT identity_key, registration_id,
                signed_prekey_id, signed_prekey, signed_prekey_signature,
                last_resort_id, last_resort, last_resort_signature
         FROM holders WHERE holder_id = $1",
    )
    .bind(id.0)
    .fetch_optional(db)
    .await?;
    let Some(row) = row else {
        return Ok(None);
    };
    let bytes = |column| Ok::<_, DatabaseError>(Bytes::from(row.try_get::<Vec<u8>, _>(column)?));
    Ok(Some(Holder {
        identity_key: bytes("identity_key")?,
        registration_id: small(row.try_get("registration_id")?)?,
        signed_prekey: SignedPrekey {
            id: small(row.try_get("signed_prekey_id")?)?,
            public_key: bytes("signed_prekey")?,
            signature: bytes("signed_prekey_signature")?,
        },
        last_resort: KemPrekey {
            id: small(row.try_get("last_resort_id")?)?,
            public_key: bytes("last_resort")?,
            signature: bytes("last_resort_signature")?,
        },
    }))
}

pub(super) async fn holder_set_signed_prekey(
    tx: &mut Tx,
    id: HolderId,
    prekey: &SignedPrekey,
) -> Result<(), DatabaseError> {
    query(
        "UPDATE holders SET signed_prekey_id = $2, signed_prekey = $3, signed_prekey_signature = $4
         WHERE holder_id = $1",
    )
    .bind(id.0)
    .bind(i64::from(prekey.id))
    .bind(prekey.public_key.as_ref())
    .bind(prekey.signature.as_ref())
    .execute(&mut **tx)
    .await?;
    Ok(())
}

pub(super) async fn holder_set_last_resort(
    tx: &mut Tx,
    id: HolderId,
    prekey: &KemPrekey,
) -> Result<(), DatabaseError> {
    query(
        "UPDATE holders SET last_resort_id = $2, last_resort = $3, last_resort_signature = $4
         WHERE holder_id = $1",
    )
    .bind(id.0)
    .bind(i64::from(prekey.id))
    .bind(prekey.public_key.as_ref())
    .bind(prekey.signature.as_ref())
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Deletes a holder and all that hangs on it: its prekeys, its device and what waits for that.
pub(super) async fn holder_delete(tx: &mut Tx, id: HolderId) -> Result<(), DatabaseError> {
    query("DELETE FROM holders WHERE holder_id = $1")
        .bind(id.0)
        .execute(&mut **tx)
        .await?;
    Ok(())
}
