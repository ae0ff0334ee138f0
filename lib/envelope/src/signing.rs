//! Ed25519 (RFC 8032) signing and verification keys. Knows no statement; every signed text begins with its own domain.

use std::fmt;
use std::str::FromStr;

use ed25519_dalek::Signer;

use crate::kdf::{sha256, short_sha256};
use crate::{Entropy, EnvelopeError, KeyId, Secret};

/// Bytes of a signature.
pub const SIGNATURE_LEN: usize = 64;

/// An Ed25519 private key; wiped on drop by the library beneath.
pub struct SigningKey(ed25519_dalek::SigningKey);

impl SigningKey {
    /// The key of a 32-byte seed (RFC 8032, 5.1.5).
    #[must_use]
    pub fn from_seed(seed: &Secret<32>) -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(seed.expose()))
    }

    /// A fresh key.
    ///
    /// # Errors
    /// [`EnvelopeError::NoRandomness`].
    pub fn generate(entropy: &mut dyn Entropy) -> Result<Self, EnvelopeError> {
        Secret::generate(entropy).map(|seed| Self::from_seed(&seed))
    }

    /// The seed, to be stored sealed.
    #[must_use]
    pub fn seed(&self) -> Secret<32> {
        Secret::from_bytes(self.0.to_bytes())
    }

    /// The public half.
    #[must_use]
    pub fn verifying_key(&self) -> VerifyingKey {
        VerifyingKey(self.0.verifying_key())
    }

    /// The name of the public half.
    #[must_use]
    pub fn key_id(&self) -> KeyId {
        self.verifying_key().key_id()
    }

    /// Signs `message`, whose first bytes must be a domain of its own.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; SIGNATURE_LEN] {
        self.0.sign(message).to_bytes()
    }
}

/// An Ed25519 public key: canonical, on the curve, not of low order.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct VerifyingKey(ed25519_dalek::VerifyingKey);

impl VerifyingKey {
    /// # Errors
    /// [`EnvelopeError::InvalidKey`].
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, EnvelopeError> {
        let key = ed25519_dalek::VerifyingKey::from_bytes(bytes)
            .map_err(|_| EnvelopeError::InvalidKey)?;
        if key.is_weak() || !is_canonical(bytes) {
            return Err(EnvelopeError::InvalidKey);
        }
        Ok(Self(key))
    }

    /// The raw 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// The name of this key on the wire.
    #[must_use]
    pub fn key_id(&self) -> KeyId {
        KeyId::from_bytes(short_sha256(&[self.as_bytes()]))
    }

    /// What people compare out of band.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint(sha256(&[self.as_bytes()]))
    }

    /// Strict verification: canonical scalar, no low-order R.
    ///
    /// # Errors
    /// [`EnvelopeError::BadSignature`].
    pub fn verify(
        &self,
        message: &[u8],
        signature: &[u8; SIGNATURE_LEN],
    ) -> Result<(), EnvelopeError> {
        self.0
            .verify_strict(message, &ed25519_dalek::Signature::from_bytes(signature))
            .map_err(|_| EnvelopeError::BadSignature)
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifyingKey({})", self.key_id())
    }
}

/// y < 2^255 − 19, as RFC 8032, 5.1.3 demands; the library also takes larger ones, which would give a key two names.
fn is_canonical(bytes: &[u8; 32]) -> bool {
    bytes[31] & 0x7f != 0x7f || bytes[1..31].iter().any(|byte| *byte != 0xff) || bytes[0] < 0xed
}

/// SHA-256 of a verification key, shown as 64 lowercase hex digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

impl FromStr for Fingerprint {
    type Err = EnvelopeError;

    fn from_str(text: &str) -> Result<Self, EnvelopeError> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes)
            .map_err(|_| EnvelopeError::Malformed("fingerprint"))?;
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::OsEntropy;

    #[test]
    fn a_signature_verifies_and_any_flipped_bit_is_refused() {
        let key = SigningKey::generate(&mut OsEntropy).unwrap();
        let public = VerifyingKey::from_bytes(key.verifying_key().as_bytes()).unwrap();
        let signature = key.sign(b"text");
        public.verify(b"text", &signature).unwrap();
        assert!(public.verify(b"texu", &signature).is_err());
        for bit in 0..SIGNATURE_LEN * 8 {
            let mut bad = signature;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(
                public.verify(b"text", &bad),
                Err(EnvelopeError::BadSignature)
            );
        }
    }

    #[test]
    fn it_is_the_ed25519_of_rfc_8032_test_1() {
        let seed = hex::decode("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
            .unwrap();
        let key = SigningKey::from_seed(&Secret::from_slice(&seed).unwrap());
        let public = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
        assert_eq!(hex::encode(key.verifying_key().as_bytes()), public);
        assert!(hex::encode(key.sign(b"")).starts_with("e5564300c360ac729086e2cc806e828a"));
        assert!(key.seed().ct_eq(&Secret::from_slice(&seed).unwrap()));
    }

    #[test]
    fn weak_and_non_canonical_keys_are_refused() {
        let mut identity = [0; 32];
        identity[0] = 1;
        let mut negative_zero = identity;
        negative_zero[31] = 0x80;
        let mut above_p = [0xff; 32];
        above_p[31] = 0x7f;
        for first in 0xed..=0xff {
            above_p[0] = first;
            assert_eq!(
                VerifyingKey::from_bytes(&above_p),
                Err(EnvelopeError::InvalidKey)
            );
        }
        for bad in [[0; 32], identity, negative_zero] {
            assert_eq!(
                VerifyingKey::from_bytes(&bad),
                Err(EnvelopeError::InvalidKey)
            );
        }
    }

    #[test]
    fn a_fingerprint_reads_back() {
        let print = SigningKey::generate(&mut OsEntropy)
            .unwrap()
            .verifying_key()
            .fingerprint();
        assert_eq!(print.to_string().parse::<Fingerprint>().unwrap(), print);
        assert_eq!(print.to_string().len(), 64);
    }
}
