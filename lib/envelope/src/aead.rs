//! AES-256-GCM (NIST SP 800-38D) under typed keys. Owns every touch of ring's AEAD; knows nothing of formats beyond
//! `nonce ‖ ciphertext ‖ tag`.
//!
//! ring's own key object holds the expanded AES key and does not wipe it on drop. So none outlives the call that needs
//! it: [`AeadKey`] keeps the raw key in a [`Secret`] and expands it anew each time (about a hundred nanoseconds).

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use zeroize::{Zeroize, Zeroizing};

use crate::entropy::draw;
use crate::{Entropy, EnvelopeError, Secret};

/// Bytes of a nonce.
pub const NONCE_LEN: usize = 12;
/// Bytes of an authentication tag.
pub const TAG_LEN: usize = 16;

/// An AES-256-GCM key.
pub struct AeadKey(Secret<32>);

impl AeadKey {
    /// The key of these bytes.
    #[must_use]
    pub fn new(secret: Secret<32>) -> Self {
        Self(secret)
    }

    /// A fresh random key.
    ///
    /// # Errors
    /// [`EnvelopeError::NoRandomness`].
    pub fn generate(entropy: &mut dyn Entropy) -> Result<Self, EnvelopeError> {
        Secret::generate(entropy).map(Self)
    }

    /// The raw key, to be sealed under another.
    #[must_use]
    pub fn secret(&self) -> &Secret<32> {
        &self.0
    }

    /// `nonce ‖ ciphertext ‖ tag` under a random nonce. One key serves at most 2^32 calls (SP 800-38D, 8.3).
    ///
    /// # Errors
    /// [`EnvelopeError::NoRandomness`]; [`EnvelopeError::ContentTooLong`] past GCM's 64 GiB.
    pub fn seal(
        &self,
        entropy: &mut dyn Entropy,
        aad: &[u8],
        plaintext: &[u8],
    ) -> Result<Vec<u8>, EnvelopeError> {
        let nonce = draw::<NONCE_LEN>(entropy)?;
        // Sized once: growing would leave a copy of the plaintext in freed memory.
        let mut sealed = Vec::with_capacity(NONCE_LEN + plaintext.len() + TAG_LEN);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(plaintext);
        match seal_in_place(&self.0, &nonce, aad, &mut sealed[NONCE_LEN..]) {
            Ok(tag) => {
                sealed.extend_from_slice(&tag);
                Ok(sealed)
            }
            Err(error) => {
                sealed.zeroize();
                Err(error)
            }
        }
    }

    /// Opens what [`AeadKey::seal`] made.
    ///
    /// # Errors
    /// [`EnvelopeError::Undecryptable`], whatever the cause.
    pub fn open(&self, aad: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, EnvelopeError> {
        let (nonce, ciphertext) = sealed
            .split_first_chunk::<NONCE_LEN>()
            .ok_or(EnvelopeError::Undecryptable)?;
        let mut buffer = Zeroizing::new(ciphertext.to_vec());
        let len = open_in_place(&self.0, nonce, aad, &mut buffer)?.len();
        buffer.truncate(len);
        Ok(buffer)
    }
}

/// Encrypts `buffer` where it lies and returns the tag. A nonce must never serve one key twice.
///
/// # Errors
/// [`EnvelopeError::ContentTooLong`] past GCM's 64 GiB.
pub fn seal_in_place(
    key: &Secret<32>,
    nonce: &[u8; NONCE_LEN],
    aad: &[u8],
    buffer: &mut [u8],
) -> Result<[u8; TAG_LEN], EnvelopeError> {
    let tag = expand(key)?
        .seal_in_place_separate_tag(Nonce::assume_unique_for_key(*nonce), Aad::from(aad), buffer)
        .map_err(|_| EnvelopeError::ContentTooLong)?;
    let mut bytes = [0; TAG_LEN];
    bytes.copy_from_slice(tag.as_ref());
    Ok(bytes)
}

/// Decrypts `ciphertext ‖ tag` where it lies and returns the part of the buffer that is now plaintext.
///
/// # Errors
/// [`EnvelopeError::Undecryptable`], whatever the cause; the buffer's contents are then meaningless.
pub fn open_in_place<'a>(
    key: &Secret<32>,
    nonce: &[u8; NONCE_LEN],
    aad: &[u8],
    buffer: &'a mut [u8],
) -> Result<&'a mut [u8], EnvelopeError> {
    expand(key)?
        .open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(aad), buffer)
        .map_err(|_| EnvelopeError::Undecryptable)
}

/// ring's expanded key: lives for one call, see above.
fn expand(key: &Secret<32>) -> Result<LessSafeKey, EnvelopeError> {
    UnboundKey::new(&AES_256_GCM, key.expose())
        .map(LessSafeKey::new)
        .map_err(|_| EnvelopeError::Undecryptable)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::OsEntropy;

    #[test]
    fn a_sealed_text_opens_and_any_flipped_bit_is_refused() {
        let key = AeadKey::generate(&mut OsEntropy).unwrap();
        let sealed = key.seal(&mut OsEntropy, b"aad", b"content").unwrap();
        assert_eq!(key.open(b"aad", &sealed).unwrap().as_slice(), b"content");
        for bit in 0..sealed.len() * 8 {
            let mut bad = sealed.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(
                key.open(b"aad", &bad).unwrap_err(),
                EnvelopeError::Undecryptable
            );
        }
        assert!(key.open(b"AAD", &sealed).is_err());
        assert!(
            key.open(b"aad", &sealed[..NONCE_LEN + TAG_LEN - 1])
                .is_err()
        );
    }

    #[test]
    fn it_is_the_gcm_of_the_specification() {
        // McGrew and Viega, test case 14: zero key, zero nonce, one zero block.
        let key = Secret::from_bytes([0; 32]);
        let mut block = [0; 16];
        let tag = seal_in_place(&key, &[0; NONCE_LEN], b"", &mut block).unwrap();
        assert_eq!(hex::encode(block), "cea7403d4d606b6e074ec5d3baf39d18");
        assert_eq!(hex::encode(tag), "d0d1c8a799996bf0265b98b5d48ab919");
    }
}
