//! Sealing of what is stored: rows under the root key or a number's key, keyring files under the root key.
//!
//! Invariant: sealed bytes open only in the very place they were sealed for. A place's key is derived from the sealing key,
//! so no AES key meets more than one place and random nonces stay far below GCM's limit (SP 800-38D, 8.3).

use sealpost_envelope::{Entropy, EnvelopeError, Secret, aead::AeadKey, kdf::hkdf_sha256};
use zeroize::Zeroizing;

use crate::layout::put_field8;

const DOMAIN: &[u8] = b"sealpost/vault-row/v1";

/// Where sealed bytes lie.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    pub(crate) table: &'static str,
    pub(crate) column: &'static str,
    /// The row's key.
    pub(crate) row: &'a [u8],
    /// The number it belongs to; empty for the vault's own.
    pub(crate) number: &'a str,
    /// Which version of the sealing key.
    pub(crate) key_version: u32,
    /// Which version of the row.
    pub(crate) row_version: u64,
}

impl Place<'_> {
    fn associated(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(128);
        put_field8(&mut out, DOMAIN);
        put_field8(&mut out, self.table.as_bytes());
        put_field8(&mut out, self.column.as_bytes());
        put_field8(&mut out, self.row);
        put_field8(&mut out, self.number.as_bytes());
        out.extend_from_slice(&self.key_version.to_be_bytes());
        out.extend_from_slice(&self.row_version.to_be_bytes());
        out
    }
}

/// A key that seals what is stored.
pub(crate) struct SealingKey(Secret<32>);

impl SealingKey {
    pub(crate) fn new(secret: Secret<32>) -> Self {
        Self(secret)
    }

    /// A fresh key.
    ///
    /// # Errors
    /// [`EnvelopeError::NoRandomness`].
    pub(crate) fn generate(entropy: &mut dyn Entropy) -> Result<Self, EnvelopeError> {
        Secret::generate(entropy).map(Self)
    }

    /// The key itself, to be sealed under another.
    pub(crate) fn secret(&self) -> &Secret<32> {
        &self.0
    }

    /// Seals `plaintext` for `place`.
    ///
    /// # Errors
    /// [`EnvelopeError::NoRandomness`].
    pub(crate) fn seal(
        &self,
        place: &Place<'_>,
        plaintext: &[u8],
        entropy: &mut dyn Entropy,
    ) -> Result<Vec<u8>, EnvelopeError> {
        let associated = place.associated();
        self.place_key(&associated)?
            .seal(entropy, &associated, plaintext)
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
        let associated = place.associated();
        self.place_key(&associated)?.open(&associated, sealed)
    }

    fn place_key(&self, associated: &[u8]) -> Result<AeadKey, EnvelopeError> {
        hkdf_sha256(b"", self.0.expose(), &[associated]).map(AeadKey::new)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use sealpost_envelope::OsEntropy;

    use super::*;

    const HERE: Place<'static> = Place {
        table: "sessions",
        column: "sealed",
        row: b"row",
        number: "12",
        key_version: 1,
        row_version: 7,
    };

    #[test]
    fn sealed_bytes_open_in_their_place_and_in_no_other() {
        let key = SealingKey::generate(&mut OsEntropy).unwrap();
        let sealed = key.seal(&HERE, b"secret", &mut OsEntropy).unwrap();
        assert_eq!(key.open(&HERE, &sealed).unwrap().as_slice(), b"secret");
        for elsewhere in [
            Place {
                table: "subjects",
                ..HERE
            },
            Place {
                column: "other",
                ..HERE
            },
            Place {
                row: b"raw",
                ..HERE
            },
            Place { row: b"", ..HERE },
            Place {
                number: "13",
                ..HERE
            },
            Place {
                key_version: 2,
                ..HERE
            },
            Place {
                row_version: 6,
                ..HERE
            },
        ] {
            assert_eq!(
                key.open(&elsewhere, &sealed).err(),
                Some(EnvelopeError::Undecryptable),
                "{elsewhere:?}"
            );
        }
        let other = SealingKey::generate(&mut OsEntropy).unwrap();
        assert!(other.open(&HERE, &sealed).is_err());
    }
}
