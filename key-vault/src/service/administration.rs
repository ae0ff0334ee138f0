//! What an operator does with a number: provision, register keys, set retention, look.

use sealpost_envelope::OsEntropy;
use sealpost_proto::{
    signal::v1::PrekeyUpload,
    vault::v1::{
        GetNumberRequest, GetNumberResponse, ProvisionNumberRequest, ProvisionNumberResponse,
        RegisterBusinessKeysRequest, RegisterBusinessKeysResponse, SetRetentionRequest,
        SetRetentionResponse,
    },
};

use super::{Vault, blocking, prekeys::Made, records::number_id, rng};
use crate::{
    VaultError,
    datastore::{self, Serials},
    epoch::{MAX_RETENTION, Retention},
    number::Number,
    number_facts::{BusinessKeys, Facts},
    prekey_shelf::{KEM_TABLE, SIGNED_TABLE},
    signal::{KemPrekeyPair, SignedPrekeyPair},
};

/// One-time prekeys of each kind that a new number gets.
const FIRST_PREKEYS: u64 = 100;
/// What a new number's serials begin at, and how many it takes.
const FIRST: Serials = Serials {
    hpke: 1,
    one_time: 1,
    kem: 1,
};
const TAKEN: Serials = Serials {
    hpke: 0,
    one_time: FIRST_PREKEYS,
    kem: FIRST_PREKEYS,
};

impl Vault {
    /// Makes a number's keys. A known number answers its present public half, without one-time prekeys: those were given
    /// out before.
    ///
    /// # Errors
    /// [`VaultError::Malformed`], [`VaultError::NumberRemoved`], or what failed.
    pub async fn provision_number(
        &self,
        request: ProvisionNumberRequest,
    ) -> Result<ProvisionNumberResponse, VaultError> {
        let id = number_id(&request.phone_number_id)?;
        let retention = match request.retention_seconds {
            0 => retention(MAX_RETENTION)?,
            seconds => retention(seconds)?,
        };
        let keys = business_keys(
            &request.business_hpke_public_key,
            &request.business_signing_public_key,
        )?;
        match self.number(id.as_str()).await {
            Ok(number) => return self.present(&number).await,
            Err(VaultError::NumberUnknown) => {}
            Err(error) => return Err(error),
        }
        let now_ms = self.0.time.now()?.unix_millis().0;
        let root = self.0.root.clone();
        let new = blocking(move || -> Result<_, VaultError> {
            let facts = Facts {
                retention,
                business: Some(keys),
            };
            let number = Number::generate(id, facts, &mut rng(), &mut OsEntropy)?;
            let made = Made::make(&number, FIRST, TAKEN, now_ms)?.with_lasting(&number, now_ms)?;
            let row = number.seal(&root, &mut OsEntropy)?;
            Ok((number, row, made))
        });
        let (number, row, made) = new.await??;
        let upload = made.upload.clone();
        let is_new = self
            .0
            .database
            .run_tx("provision_number", move |tx| {
                let (row, made) = (row.clone(), made.clone());
                Box::pin(async move {
                    if datastore::receipt_of_number(tx, &row.number)
                        .await?
                        .is_some()
                    {
                        return Err(VaultError::NumberRemoved);
                    }
                    if !datastore::number_insert(tx, &row).await? {
                        return Ok(false);
                    }
                    datastore::number_serials_take(tx, &row.number, TAKEN).await?;
                    made.keep(tx, &row.number, now_ms).await?;
                    Ok::<_, VaultError>(true)
                })
            })
            .await?;
        if is_new {
            return Ok(answer(&number, upload));
        }
        // Another call was faster: its number is the number.
        let number = self.number(number.id.as_str()).await?;
        self.present(&number).await
    }

    /// Replaces the business's public keys at once.
    ///
    /// # Errors
    /// [`VaultError::Malformed`], [`VaultError::NumberUnknown`], or what failed.
    pub async fn register_business_keys(
        &self,
        request: RegisterBusinessKeysRequest,
    ) -> Result<RegisterBusinessKeysResponse, VaultError> {
        let keys = business_keys(
            &request.business_hpke_public_key,
            &request.business_signing_public_key,
        )?;
        let change = move |facts: &Facts| Facts {
            business: Some(keys.clone()),
            ..facts.clone()
        };
        self.change_facts(&request.phone_number_id, change).await?;
        Ok(RegisterBusinessKeysResponse {})
    }

    /// Sets the retention class of what is accepted from now on.
    ///
    /// # Errors
    /// [`VaultError::Malformed`], [`VaultError::NumberUnknown`], or what failed.
    pub async fn set_retention(
        &self,
        request: SetRetentionRequest,
    ) -> Result<SetRetentionResponse, VaultError> {
        let retention = retention(request.retention_seconds)?;
        let change = move |facts: &Facts| Facts {
            retention,
            ..facts.clone()
        };
        self.change_facts(&request.phone_number_id, change).await?;
        Ok(SetRetentionResponse {})
    }

    /// A number's public facts.
    ///
    /// # Errors
    /// [`VaultError::NumberUnknown`], or what failed.
    pub async fn get_number(
        &self,
        request: GetNumberRequest,
    ) -> Result<GetNumberResponse, VaultError> {
        let number = self.number(&request.phone_number_id).await?;
        let id = number.id.clone();
        let counts = self
            .0
            .database
            .read("number_counts", move |db| {
                Box::pin(async move {
                    let id = id.as_str();
                    Ok::<_, VaultError>([
                        datastore::subjects_count(db, id).await?,
                        datastore::sessions_count(db, id).await?,
                        datastore::one_time_prekeys_count(db, id).await?,
                        datastore::kem_prekeys_count(db, id).await?,
                    ])
                })
            })
            .await?;
        let [subjects, sessions, one_time_prekeys, kem_prekeys] = counts;
        let ids = number.business_key_ids();
        let (hpke, signing) = match &ids {
            Some((hpke, signing)) => (hpke.as_bytes().to_vec(), signing.as_bytes().to_vec()),
            None => Default::default(),
        };
        Ok(GetNumberResponse {
            retention_seconds: number.facts.retention.seconds(),
            vault_fingerprint: number.signing.verifying_key().fingerprint().to_string(),
            identity_key: number.identity.public().to_vec().into(),
            business_hpke_key_id: hpke.into(),
            business_signing_key_id: signing.into(),
            subjects,
            sessions,
            one_time_prekeys,
            kem_prekeys,
        })
    }

    async fn change_facts(
        &self,
        id: &str,
        change: impl Fn(&Facts) -> Facts + Send + Sync + Clone + 'static,
    ) -> Result<(), VaultError> {
        let id = number_id(id)?;
        let (root, changed) = (self.0.root.clone(), id.clone());
        self.0
            .database
            .run_tx("number_facts", move |tx| {
                let (id, root, change) = (id.clone(), root.clone(), change.clone());
                Box::pin(async move {
                    let row = datastore::number_find(tx, id.as_str())
                        .await?
                        .ok_or(VaultError::NumberUnknown)?;
                    let number = Number::open(&root, &row)?;
                    let (version, sealed) =
                        number.next_facts(&change(&number.facts), &mut OsEntropy)?;
                    if datastore::number_facts_update(tx, id.as_str(), version, &sealed).await? {
                        Ok(())
                    } else {
                        Err(VaultError::Contention)
                    }
                })
            })
            .await?;
        // Work with what it was would be refused; a key for its old class is not even made.
        self.0.numbers.forget(&changed);
        Ok(())
    }

    /// The lasting public half of a known number.
    async fn present(&self, number: &Number) -> Result<ProvisionNumberResponse, VaultError> {
        let id = number.id.clone();
        let (signed, kem) = self
            .0
            .database
            .read("number_present", move |db| {
                Box::pin(async move {
                    let signed = datastore::signed_prekey_newest(db, id.as_str()).await?;
                    let kem = datastore::kem_last_resort(db, id.as_str()).await?;
                    Ok::<_, VaultError>((signed, kem))
                })
            })
            .await?;
        let signed = match signed {
            Some((id, sealed)) => {
                let record = number.open_row(SIGNED_TABLE, &id.to_be_bytes(), 1, &sealed)?;
                Some(SignedPrekeyPair::public_of(&record)?)
            }
            None => None,
        };
        let kem = match kem {
            Some(row) => {
                let record = number.open_row(KEM_TABLE, &row.id.to_be_bytes(), 1, &row.sealed)?;
                Some(KemPrekeyPair::public_of(&record)?)
            }
            None => None,
        };
        let upload = PrekeyUpload {
            identity_key: number.identity.public().to_vec().into(),
            registration_id: number.identity.registration_id(),
            signed_prekey: signed,
            last_resort_kem_prekey: kem,
            ..PrekeyUpload::default()
        };
        Ok(answer(number, upload))
    }
}

fn answer(number: &Number, upload: PrekeyUpload) -> ProvisionNumberResponse {
    let signing = number.signing.verifying_key();
    ProvisionNumberResponse {
        upload: Some(upload),
        vault_signing_public_key: signing.as_bytes().to_vec().into(),
        vault_fingerprint: signing.fingerprint().to_string(),
    }
}

fn retention(seconds: u32) -> Result<Retention, VaultError> {
    Retention::new(seconds).ok_or(VaultError::malformed(
        "retention_seconds",
        "not 3,600 to 2,592,000",
    ))
}

fn business_keys(hpke: &[u8], signing: &[u8]) -> Result<BusinessKeys, VaultError> {
    BusinessKeys::from_bytes(hpke, signing).map_err(|_| {
        VaultError::malformed(
            "business_hpke_public_key, business_signing_public_key",
            "not acceptable public keys",
        )
    })
}
