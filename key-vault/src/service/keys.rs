//! GetPublishedKey: the number's HPKE key for connectors, new each hour, destroyed after two.

use std::sync::Arc;

use bytes::Bytes;
use sealpost_envelope::{
    EnvelopeError, HpkeSecretKey, OsEntropy, Secret, UnixMillis, Validity, VaultKeyStatement,
};
use sealpost_proto::{
    envelope::v1::PublishedVaultKey,
    vault::v1::{GetPublishedKeyRequest, GetPublishedKeyResponse},
};

use super::{Vault, blocking};
use crate::{
    VaultError,
    custody::Now,
    datastore::{self, HpkeKeyRow, Serials},
    number::Number,
};

pub(super) const HPKE_TABLE: &str = "hpke_keys";
/// A key is published for this long, in milliseconds.
const PUBLISHED_MS: u64 = 3_600_000;
/// And lives for that long.
const LIFE_MS: u64 = 2 * PUBLISHED_MS;

impl Vault {
    /// The key that connectors wrap content keys to now.
    ///
    /// # Errors
    /// [`VaultError::NumberUnknown`], [`VaultError::ClockUnconfirmed`], or what failed.
    pub async fn published_key(
        &self,
        request: GetPublishedKeyRequest,
    ) -> Result<GetPublishedKeyResponse, VaultError> {
        let number = self.number(&request.phone_number_id).await?;
        let now = self.0.time.now()?;
        let id = number.id.clone();
        let newest = self
            .0
            .database
            .read("hpke_key_newest", move |db| {
                Box::pin(async move { datastore::hpke_key_newest(db, id.as_str()).await })
            })
            .await
            .map_err(VaultError::Database)?;
        let row = match newest.filter(|row| is_published(row, now)) {
            Some(row) => row,
            None => self.make_hpke_key(number.clone(), now).await?,
        };
        let key = blocking(move || publish(&number, &row)).await??;
        Ok(GetPublishedKeyResponse { key: Some(key) })
    }

    /// Deletes the private halves of keys that have lived their two hours.
    ///
    /// # Errors
    /// When the database fails.
    pub(super) async fn delete_ended_hpke_keys(&self, now: Now) -> Result<(), VaultError> {
        let now_ms = now.unix_millis().0;
        let deleted: u64 = self
            .0
            .database
            .run_tx("hpke_keys_delete", move |tx| {
                Box::pin(async move { datastore::hpke_keys_delete_ended(tx, now_ms).await })
            })
            .await
            .map_err(VaultError::Database)?;
        if deleted > 0 {
            let _ = self.0.database.checkpoint().await?;
        }
        Ok(())
    }

    async fn make_hpke_key(&self, number: Arc<Number>, now: Now) -> Result<HpkeKeyRow, VaultError> {
        self.0
            .database
            .run_tx("hpke_key_make", move |tx| {
                let number = number.clone();
                Box::pin(async move {
                    let id = number.id.as_str();
                    // Another call may have made it meanwhile.
                    let newest = datastore::hpke_key_newest(tx, id).await?;
                    if let Some(row) = newest.filter(|row| is_published(row, now)) {
                        return Ok(row);
                    }
                    let taken = datastore::number_serials_take(
                        tx,
                        id,
                        Serials {
                            hpke: 1,
                            ..Serials::default()
                        },
                    );
                    let sequence = taken.await?.ok_or(VaultError::NumberUnknown)?.hpke;
                    let maker = number.clone();
                    let row = blocking(move || make(&maker, sequence, now)).await??;
                    datastore::hpke_key_insert(tx, id, &row).await?;
                    Ok(row)
                })
            })
            .await
    }
}

/// Whether a key is still handed out; one from the future of a clock set back is not.
fn is_published(row: &HpkeKeyRow, now: Now) -> bool {
    let now = now.unix_millis().0;
    row.not_before_ms <= now && now - row.not_before_ms < PUBLISHED_MS
}

fn make(number: &Number, sequence: u64, now: Now) -> Result<HpkeKeyRow, EnvelopeError> {
    let key = HpkeSecretKey::generate(&mut OsEntropy)?;
    let now_ms = now.unix_millis().0;
    let mut row = HpkeKeyRow {
        sequence,
        key_id: *key.key_id().as_bytes(),
        not_before_ms: now_ms,
        not_after_ms: now_ms.saturating_add(LIFE_MS),
        sealed_seed: Vec::new(),
    };
    let seed = key.seed();
    let place = row.place();
    row.sealed_seed = number.seal_row(HPKE_TABLE, &place, 1, seed.expose(), &mut OsEntropy)?;
    Ok(row)
}

fn publish(number: &Number, row: &HpkeKeyRow) -> Result<PublishedVaultKey, EnvelopeError> {
    let seed = number.open_row(HPKE_TABLE, &row.place(), 1, &row.sealed_seed)?;
    let key = HpkeSecretKey::from_seed(&Secret::from_slice(&seed)?)?;
    let statement = VaultKeyStatement {
        number: number.id.clone(),
        sequence: row.sequence,
        validity: Validity::new(UnixMillis(row.not_before_ms), UnixMillis(row.not_after_ms))?,
        public_key: key.public_key().clone(),
    };
    Ok(PublishedVaultKey {
        statement: statement.sign(&number.signing).into(),
        signing_key_rotations: Vec::new(),
        signing_key: Bytes::copy_from_slice(number.signing.verifying_key().as_bytes()),
    })
}
