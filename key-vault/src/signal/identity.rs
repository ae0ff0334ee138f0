//! A number's own Signal identity.

use libsignal_protocol::{IdentityKeyPair, PrivateKey};
use rand::{CryptoRng, Rng};
use sealpost_envelope::Secret;
use zeroize::Zeroizing;

use super::{SignalError, keys};
use crate::subject::PUBLIC_KEY_LEN;

/// Registration ids are 14 bits and not zero.
const MAX_REGISTRATION_ID: u32 = 0x3fff;

/// The identity key pair of a number, and its registration id. The private half is libsignal's only inside a step.
pub(crate) struct LocalIdentity {
    private: Secret<32>,
    public: [u8; PUBLIC_KEY_LEN],
    registration_id: u32,
}

impl LocalIdentity {
    /// A new identity.
    ///
    /// # Errors
    /// None that libsignal's own keys can give.
    pub(crate) fn generate(rng: &mut (impl Rng + CryptoRng)) -> Result<Self, SignalError> {
        let pair = IdentityKeyPair::generate(rng);
        let private = Zeroizing::new(pair.private_key().serialize());
        Self::from_parts(
            &private,
            &pair.public_key().serialize(),
            rng.random_range(1..=MAX_REGISTRATION_ID),
        )
    }

    /// The identity of stored parts.
    ///
    /// # Errors
    /// [`SignalError::State`] when they are not whole.
    pub(crate) fn from_parts(
        private: &[u8],
        public: &[u8],
        registration_id: u32,
    ) -> Result<Self, SignalError> {
        keys::identity_key(public).map_err(|_| SignalError::State)?;
        Ok(Self {
            private: Secret::from_slice(private).map_err(|_| SignalError::State)?,
            public: public.try_into().map_err(|_| SignalError::State)?,
            registration_id,
        })
    }

    pub(crate) fn private(&self) -> &Secret<32> {
        &self.private
    }

    /// The public half, as libsignal serialises it.
    pub(crate) fn public(&self) -> &[u8; PUBLIC_KEY_LEN] {
        &self.public
    }

    pub(crate) fn registration_id(&self) -> u32 {
        self.registration_id
    }

    /// For one step.
    pub(super) fn key_pair(&self) -> Result<IdentityKeyPair, SignalError> {
        let public = keys::pinned_identity_key(&self.public)?;
        Ok(IdentityKeyPair::new(public, self.private_key()?))
    }

    /// For one signature.
    pub(super) fn private_key(&self) -> Result<PrivateKey, SignalError> {
        PrivateKey::deserialize(self.private.expose()).map_err(|_| SignalError::State)
    }
}
