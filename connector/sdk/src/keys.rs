//! The business's own keys, and which vault it trusts.

use std::{collections::BTreeMap, path::PathBuf};

use sealpost_envelope::{
    EnvelopeError, Fingerprint, HpkeSecretKey, MessageIdKey, NumberId, Secret, SigningKey,
};

use crate::{
    SdkError,
    files::{read_or_make_secret, read_secret},
};

/// The fingerprint of each number's vault signing key, as the operator gave it by another way than the gateway.
pub type Pins = BTreeMap<NumberId, Fingerprint>;

/// Files of 32 raw bytes each, readable by their owner only.
#[derive(Clone, Debug)]
pub struct KeyFiles {
    /// Seed of the X-Wing key that events are sealed to.
    pub hpke_key: PathBuf,
    /// Seed of the Ed25519 key that wraps are signed with.
    pub signing_key: PathBuf,
    /// Key of the message ids. Made when it is not there.
    pub message_id_key: PathBuf,
}

/// The private keys of a business.
pub struct BusinessKeys {
    pub(crate) hpke: HpkeSecretKey,
    pub(crate) signing: SigningKey,
    pub(crate) message_id: MessageIdKey,
}

impl BusinessKeys {
    /// From the two seeds and the key of the message ids.
    ///
    /// # Errors
    /// [`EnvelopeError::InvalidKey`], which no seed is known to give.
    pub fn new(
        hpke_seed: &Secret<32>,
        signing_seed: &Secret<32>,
        message_id_key: Secret<32>,
    ) -> Result<Self, EnvelopeError> {
        Ok(Self {
            hpke: HpkeSecretKey::from_seed(hpke_seed)?,
            signing: SigningKey::from_seed(signing_seed),
            message_id: MessageIdKey::new(message_id_key),
        })
    }

    /// From files.
    ///
    /// # Errors
    /// When one cannot be used.
    pub fn read(files: &KeyFiles) -> Result<Self, SdkError> {
        let hpke = read_secret(&files.hpke_key)?;
        let signing = read_secret(&files.signing_key)?;
        let message_id = read_or_make_secret(&files.message_id_key)?;
        Ok(Self::new(&hpke, &signing, message_id)?)
    }

    /// What an operator registers with the vault as the business's HPKE key: 1,216 bytes.
    #[must_use]
    pub fn hpke_public_key(&self) -> Vec<u8> {
        self.hpke.public_key().to_bytes()
    }

    /// What an operator registers with the vault as the business's signing key.
    #[must_use]
    pub fn signing_public_key(&self) -> [u8; 32] {
        *self.signing.verifying_key().as_bytes()
    }
}

impl std::fmt::Debug for BusinessKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BusinessKeys(…)")
    }
}
