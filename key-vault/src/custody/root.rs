//! The root key: 32 random bytes under which everything else of the vault's is sealed, directly or through a number's key.
//!
//! On disk it lies sealed by an unseal provider alone ([`super::unseal`]); in memory it is here and nowhere else.

use std::sync::{PoisonError, RwLock};

use sealpost_envelope::{Entropy, EnvelopeError, Secret};
use zeroize::Zeroizing;

use super::{Place, SealingKey};

/// The root key, in memory until it is wiped.
pub(crate) struct RootKey(RwLock<Option<SealingKey>>);

impl RootKey {
    pub(crate) fn new(secret: Secret<32>) -> Self {
        Self(RwLock::new(Some(SealingKey::new(secret))))
    }

    /// A fresh key.
    ///
    /// # Errors
    /// [`EnvelopeError::NoRandomness`].
    pub(crate) fn generate(entropy: &mut dyn Entropy) -> Result<Self, EnvelopeError> {
        Secret::generate(entropy).map(Self::new)
    }

    /// Seals `plaintext` for `place`.
    ///
    /// # Errors
    /// [`EnvelopeError::NoRandomness`]; [`EnvelopeError::Undecryptable`] when it was wiped.
    pub(crate) fn seal(
        &self,
        place: &Place<'_>,
        plaintext: &[u8],
        entropy: &mut dyn Entropy,
    ) -> Result<Vec<u8>, EnvelopeError> {
        self.with(|key| key.seal(place, plaintext, entropy))?
    }

    /// Opens what was sealed for `place`.
    ///
    /// # Errors
    /// [`EnvelopeError::Undecryptable`].
    pub(crate) fn open(
        &self,
        place: &Place<'_>,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, EnvelopeError> {
        self.with(|key| key.open(place, sealed))?
    }

    /// A copy of the key itself, to be sealed by a provider: that may take long, and must not hold off a wipe.
    ///
    /// # Errors
    /// [`EnvelopeError::Undecryptable`] when it was wiped.
    pub(crate) fn copied(&self) -> Result<Secret<32>, EnvelopeError> {
        self.with(|key| Secret::from_bytes(*key.secret().expose()))
    }

    /// Whether what does not open may be whole: the key is gone.
    pub(crate) fn is_wiped(&self) -> bool {
        self.with(|_| ()).is_err()
    }

    /// Forgets the key: from here on nothing is sealed or opened.
    pub(crate) fn wipe(&self) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn with<T>(&self, step: impl FnOnce(&SealingKey) -> T) -> Result<T, EnvelopeError> {
        let key = self.0.read().unwrap_or_else(PoisonError::into_inner);
        key.as_ref().map(step).ok_or(EnvelopeError::Undecryptable)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use sealpost_envelope::OsEntropy;

    use super::*;

    const PLACE: Place<'static> = Place {
        table: "numbers",
        column: "key",
        row: b"1",
        number: "1",
        key_version: 1,
        row_version: 1,
    };

    #[test]
    fn a_wiped_root_key_opens_and_seals_nothing() {
        let root = RootKey::generate(&mut OsEntropy).unwrap();
        let sealed = root.seal(&PLACE, b"key", &mut OsEntropy).unwrap();
        assert_eq!(root.open(&PLACE, &sealed).unwrap().as_slice(), b"key");
        root.wipe();
        assert!(root.open(&PLACE, &sealed).is_err());
        assert!(root.seal(&PLACE, b"key", &mut OsEntropy).is_err());
        assert!(root.copied().is_err() && root.is_wiped());
    }
}
