//! Making prekeys: at provisioning, and whenever the relay runs low.

use std::sync::Arc;

use sealpost_database::Tx;
use sealpost_envelope::OsEntropy;
use sealpost_proto::{
    signal::v1::PrekeyUpload,
    vault::v1::{ReplenishPrekeysRequest, ReplenishPrekeysResponse},
};

use super::{Vault, blocking, rng};
use crate::{
    VaultError,
    datastore::{self, KemPrekeyRow, Serials},
    number::Number,
    prekey_shelf::{self, KEM_TABLE, LAST_RESORT_ID, ONE_TIME_TABLE, SIGNED_TABLE},
    signal::{KemPrekeyPair, OneTimePrekeyPair, SignedPrekeyPair},
};

/// One-time prekeys of each kind that one call makes at most.
const MAX_MADE: u32 = 200;
/// Unused one-time prekeys of each kind that are kept; the oldest go, long handed out and never used.
const MAX_KEPT: u64 = 10_000;
/// The first signed prekey's id.
const FIRST_SIGNED_ID: u32 = 1;

/// New prekeys: public halves, and sealed rows.
#[derive(Clone, Default)]
pub(super) struct Made {
    pub(super) upload: PrekeyUpload,
    signed: Option<Vec<u8>>,
    one_time: Vec<(u32, u64, Vec<u8>)>,
    kem: Vec<(u64, KemPrekeyRow)>,
}

impl Vault {
    /// Makes one-time prekeys for upload to the relay.
    ///
    /// # Errors
    /// [`VaultError::Malformed`], [`VaultError::NumberUnknown`], or what failed.
    pub async fn replenish_prekeys(
        &self,
        request: ReplenishPrekeysRequest,
    ) -> Result<ReplenishPrekeysResponse, VaultError> {
        let ReplenishPrekeysRequest {
            phone_number_id,
            one_time_prekeys,
            kem_prekeys,
        } = request;
        if one_time_prekeys > MAX_MADE || kem_prekeys > MAX_MADE {
            return Err(VaultError::malformed(
                "one_time_prekeys, kem_prekeys",
                "more than 200",
            ));
        }
        let number = self.number(&phone_number_id).await?;
        let wanted = Serials {
            hpke: 0,
            one_time: one_time_prekeys.into(),
            kem: kem_prekeys.into(),
        };
        let id = number.id.clone();
        let first = self
            .0
            .database
            .run_tx("prekey_serials", move |tx| {
                let id = id.clone();
                Box::pin(async move {
                    let taken = datastore::number_serials_take(tx, id.as_str(), wanted).await?;
                    taken.ok_or(VaultError::NumberUnknown)
                })
            })
            .await?;
        let now_ms = self.0.time.now()?.unix_millis().0;
        let maker = number.clone();
        let made = Arc::new(blocking(move || Made::make(&maker, first, wanted, now_ms)).await??);
        let kept = made.clone();
        self.0
            .database
            .run_tx("prekeys_keep", move |tx| {
                let (number, made) = (number.clone(), kept.clone());
                Box::pin(async move { made.keep(tx, number.id.as_str(), now_ms).await })
            })
            .await?;
        Ok(ReplenishPrekeysResponse {
            upload: Some(made.upload.clone()),
        })
    }
}

impl Made {
    /// Makes one-time prekeys from the given serials on.
    ///
    /// # Errors
    /// When there is no randomness.
    pub(super) fn make(
        number: &Number,
        first: Serials,
        wanted: Serials,
        now_ms: u64,
    ) -> Result<Self, VaultError> {
        let mut made = Self {
            upload: PrekeyUpload {
                identity_key: number.identity.public().to_vec().into(),
                registration_id: number.identity.registration_id(),
                ..PrekeyUpload::default()
            },
            ..Self::default()
        };
        for serial in first.one_time..first.one_time + wanted.one_time {
            let id = id_of(serial);
            let pair = OneTimePrekeyPair::generate(id, &mut rng())?;
            let sealed =
                prekey_shelf::seal(number, ONE_TIME_TABLE, id, &pair.record, &mut OsEntropy)?;
            made.one_time.push((id, serial, sealed));
            made.upload.one_time_prekeys.push(pair.public);
        }
        for serial in first.kem..first.kem + wanted.kem {
            let id = id_of(serial);
            let pair = KemPrekeyPair::generate(id, &number.identity, now_ms, &mut rng())?;
            made.kem.push((serial, kem_row(number, &pair, id, false)?));
            made.upload.kem_prekeys.push(pair.public);
        }
        Ok(made)
    }

    /// Adds what a number has once: its signed prekey and its last-resort KEM prekey.
    ///
    /// # Errors
    /// When there is no randomness.
    pub(super) fn with_lasting(mut self, number: &Number, now_ms: u64) -> Result<Self, VaultError> {
        let signed =
            SignedPrekeyPair::generate(FIRST_SIGNED_ID, &number.identity, now_ms, &mut rng())?;
        let sealed = prekey_shelf::seal(
            number,
            SIGNED_TABLE,
            FIRST_SIGNED_ID,
            &signed.record,
            &mut OsEntropy,
        )?;
        self.signed = Some(sealed);
        self.upload.signed_prekey = Some(signed.public);

        let kem = KemPrekeyPair::generate(LAST_RESORT_ID, &number.identity, now_ms, &mut rng())?;
        self.kem
            .push((0, kem_row(number, &kem, LAST_RESORT_ID, true)?));
        self.upload.last_resort_kem_prekey = Some(kem.public);
        Ok(self)
    }

    /// Writes the private halves.
    ///
    /// # Errors
    /// When the database fails.
    pub(super) async fn keep(
        &self,
        tx: &mut Tx,
        number: &str,
        now_ms: u64,
    ) -> Result<(), VaultError> {
        if let Some(sealed) = &self.signed {
            datastore::signed_prekey_insert(tx, number, FIRST_SIGNED_ID, now_ms, sealed).await?;
        }
        for (id, serial, sealed) in &self.one_time {
            datastore::one_time_prekey_insert(tx, number, *id, *serial, sealed).await?;
        }
        for (serial, row) in &self.kem {
            datastore::kem_prekey_insert(tx, number, *serial, row).await?;
        }
        if let Some((_, serial, _)) = self.one_time.last() {
            datastore::one_time_prekeys_trim(tx, number, serial.saturating_sub(MAX_KEPT)).await?;
        }
        if let Some((serial, _)) = self.kem.last() {
            datastore::kem_prekeys_trim(tx, number, serial.saturating_sub(MAX_KEPT)).await?;
        }
        Ok(())
    }
}

fn kem_row(
    number: &Number,
    pair: &KemPrekeyPair,
    id: u32,
    last_resort: bool,
) -> Result<KemPrekeyRow, VaultError> {
    let sealed = prekey_shelf::seal(number, KEM_TABLE, id, &pair.record, &mut OsEntropy)?;
    Ok(KemPrekeyRow {
        id,
        last_resort,
        sealed,
    })
}

/// Ids below the last-resort one's, round and round; by the time one comes again its predecessor was used or trimmed.
fn id_of(serial: u64) -> u32 {
    let round = u64::from(LAST_RESORT_ID) - 1;
    u32::try_from(serial.saturating_sub(1) % round).unwrap_or(0) + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_count_from_one_go_round_and_never_meet_the_last_resort() {
        assert_eq!([1, 2, 3].map(id_of), [1, 2, 3]);
        assert_eq!(id_of(0xff_fffe), 0xff_fffe);
        assert_eq!(id_of(0xff_ffff), 1);
        assert!((0..100).all(|n| id_of(0xff_fff0 + n) != LAST_RESORT_ID));
    }
}
