//! X-Wing keys and single-shot HPKE (RFC 9180): base mode, X-Wing, HKDF-SHA256, AES-256-GCM, empty AAD.
//!
//! Owns every touch of the HPKE library. A private key is a 32-byte seed that SHAKE256 expands, as
//! draft-connolly-cfrg-xwing-kem says; DeriveKeyPair is never used, because implementations differ in it.

use std::convert::Infallible;
use std::fmt;

use hpke::aead::AesGcm256;
use hpke::kdf::HkdfSha256;
use hpke::kem::XWing;
use hpke::rand_core::{TryCryptoRng, TryRng};
use hpke::{Deserializable, Kem, OpModeR, OpModeS, Serializable};
use zeroize::Zeroizing;

use crate::kdf::short_sha256;
use crate::low_order::has_low_order_x25519;
use crate::{Entropy, EnvelopeError, KeyId, Secret};

/// Bytes of a public key: ML-KEM-768 1184 ‖ X25519 32.
pub const HPKE_PUBLIC_KEY_LEN: usize = 1216;
/// Bytes of `enc`: ML-KEM-768 1088 ‖ X25519 32.
pub(crate) const ENC_LEN: usize = 1120;
/// Bytes of a wrapped 32-byte key with its tag.
pub(crate) const CT_LEN: usize = 48;
/// KEM, KDF and AEAD of the suite, as registered with IANA.
pub(crate) const SUITE: [u8; 6] = [0x64, 0x7a, 0x00, 0x01, 0x00, 0x02];

/// Randomness of one encapsulation: ML-KEM's message 32 ‖ X25519's ephemeral key 32.
const ENCAPSULATION_LEN: usize = 64;

/// An X-Wing private key. The library's own can be cloned; this one cannot.
pub struct HpkeSecretKey {
    key: <XWing as Kem>::PrivateKey,
    public: HpkePublicKey,
}

impl HpkeSecretKey {
    /// The key of a 32-byte seed.
    ///
    /// # Errors
    /// [`EnvelopeError::InvalidKey`], which no seed is known to give.
    pub fn from_seed(seed: &Secret<32>) -> Result<Self, EnvelopeError> {
        let key = <XWing as Kem>::PrivateKey::from_bytes(seed.expose())
            .map_err(|_| EnvelopeError::InvalidKey)?;
        let public = HpkePublicKey::from_bytes(&XWing::sk_to_pk(&key).to_bytes())?;
        Ok(Self { key, public })
    }

    /// A fresh key.
    ///
    /// # Errors
    /// [`EnvelopeError::NoRandomness`].
    pub fn generate(entropy: &mut dyn Entropy) -> Result<Self, EnvelopeError> {
        Self::from_seed(&Secret::generate(entropy)?)
    }

    /// The seed, to be stored sealed.
    #[must_use]
    pub fn seed(&self) -> Secret<32> {
        let mut seed = Zeroizing::new([0; 32]);
        self.key.write_exact(seed.as_mut_slice());
        Secret::from_bytes(*seed)
    }

    /// The public half.
    #[must_use]
    pub fn public_key(&self) -> &HpkePublicKey {
        &self.public
    }

    /// The name of the public half.
    #[must_use]
    pub fn key_id(&self) -> KeyId {
        self.public.id
    }

    /// Unwraps a 32-byte key.
    pub(crate) fn open(
        &self,
        info: &[u8],
        enc: &[u8],
        ct: &[u8],
    ) -> Result<Secret<32>, EnvelopeError> {
        if has_low_order_x25519(enc) {
            return Err(EnvelopeError::Undecryptable);
        }
        let enc = <XWing as Kem>::EncappedKey::from_bytes(enc)
            .map_err(|_| EnvelopeError::Undecryptable)?;
        let plaintext = hpke::single_shot_open::<AesGcm256, HkdfSha256, XWing>(
            &OpModeR::Base,
            &self.key,
            &enc,
            info,
            ct,
            b"",
        )
        .map(Zeroizing::new)
        .map_err(|_| EnvelopeError::Undecryptable)?;
        Secret::from_slice(&plaintext).map_err(|_| EnvelopeError::Undecryptable)
    }
}

/// An X-Wing public key: ML-KEM coefficients in range (FIPS 203, 7.2), X25519 half not of low order.
#[derive(Clone, PartialEq, Eq)]
pub struct HpkePublicKey {
    key: <XWing as Kem>::PublicKey,
    id: KeyId,
}

impl HpkePublicKey {
    /// # Errors
    /// [`EnvelopeError::InvalidKey`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        let key =
            <XWing as Kem>::PublicKey::from_bytes(bytes).map_err(|_| EnvelopeError::InvalidKey)?;
        if has_low_order_x25519(bytes) {
            return Err(EnvelopeError::InvalidKey);
        }
        Ok(Self {
            key,
            id: KeyId::from_bytes(short_sha256(&[bytes])),
        })
    }

    /// The raw 1216 bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.key.to_bytes().to_vec()
    }

    /// The name of this key on the wire.
    #[must_use]
    pub fn key_id(&self) -> KeyId {
        self.id
    }

    /// Wraps a 32-byte key: `enc ‖ ct`.
    pub(crate) fn seal(
        &self,
        info: &[u8],
        plaintext: &Secret<32>,
        entropy: &mut dyn Entropy,
    ) -> Result<Vec<u8>, EnvelopeError> {
        let mut draw = Encapsulation::draw(entropy)?;
        let (enc, ct) = hpke::single_shot_seal_with_rng::<AesGcm256, HkdfSha256, XWing>(
            &OpModeS::Base,
            &self.key,
            info,
            plaintext.expose(),
            b"",
            &mut draw,
        )
        .map_err(|_| EnvelopeError::InvalidKey)?;
        if draw.overdrawn {
            return Err(EnvelopeError::NoRandomness);
        }
        let mut sealed = Vec::with_capacity(ENC_LEN + CT_LEN);
        sealed.extend_from_slice(&enc.to_bytes());
        sealed.extend_from_slice(&ct);
        Ok(sealed)
    }
}

impl fmt::Debug for HpkePublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HpkePublicKey({})", self.id)
    }
}

/// One encapsulation's randomness, drawn beforehand because the library's trait cannot fail. A second draw is marked,
/// and the result thrown away, rather than ever repeating a byte.
struct Encapsulation {
    bytes: Zeroizing<[u8; ENCAPSULATION_LEN]>,
    used: usize,
    overdrawn: bool,
}

impl Encapsulation {
    fn draw(entropy: &mut dyn Entropy) -> Result<Self, EnvelopeError> {
        let mut bytes = Zeroizing::new([0; ENCAPSULATION_LEN]);
        entropy.fill(bytes.as_mut_slice())?;
        Ok(Self {
            bytes,
            used: 0,
            overdrawn: false,
        })
    }
}

impl TryRng for Encapsulation {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        match self.bytes.get(self.used..self.used + out.len()) {
            Some(bytes) => out.copy_from_slice(bytes),
            None => self.overdrawn = true,
        }
        self.used += out.len();
        Ok(())
    }
}

impl TryCryptoRng for Encapsulation {}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::OsEntropy;

    #[test]
    fn a_wrapped_key_opens_only_with_the_same_info() {
        let recipient = HpkeSecretKey::generate(&mut OsEntropy).unwrap();
        let key = Secret::from_bytes([9; 32]);
        let sealed = recipient
            .public_key()
            .seal(b"info", &key, &mut OsEntropy)
            .unwrap();
        let (enc, ct) = sealed.split_at(ENC_LEN);
        assert_eq!(ct.len(), CT_LEN);
        assert!(recipient.open(b"info", enc, ct).unwrap().ct_eq(&key));
        assert_eq!(
            recipient.open(b"onfi", enc, ct).err(),
            Some(EnvelopeError::Undecryptable)
        );
    }

    #[test]
    fn a_key_comes_back_from_its_seed() {
        let key = HpkeSecretKey::generate(&mut OsEntropy).unwrap();
        let again = HpkeSecretKey::from_seed(&key.seed()).unwrap();
        assert_eq!(again.public_key(), key.public_key());
        assert_eq!(
            HpkePublicKey::from_bytes(&key.public_key().to_bytes()).unwrap(),
            *key.public_key()
        );
    }

    #[test]
    fn the_seed_expands_as_the_x_wing_draft_says() {
        // First test vector of draft-connolly-cfrg-xwing-kem, appendix C.
        let seed = hex::decode("7f9c2ba4e88f827d616045507605853ed73b8093f6efbc88eb1a6eacfa66ef26")
            .unwrap();
        let key = HpkeSecretKey::from_seed(&Secret::from_slice(&seed).unwrap()).unwrap();
        let public = hex::encode(key.public_key().to_bytes());
        assert!(
            public.starts_with("e2236b35a8c24b39b10aa1323a96a919a2ced88400633a7b07131713fc14b2b5"),
            "{public}"
        );
    }

    #[test]
    fn keys_out_of_range_or_of_low_order_are_refused() {
        let good = HpkeSecretKey::generate(&mut OsEntropy)
            .unwrap()
            .public_key()
            .to_bytes();
        let mut low_order = good.clone();
        low_order[1184..].fill(0);
        let mut out_of_range = good.clone();
        out_of_range[..3].fill(0xff);
        for bad in [&low_order[..], &out_of_range, &good[1..], b""] {
            assert_eq!(
                HpkePublicKey::from_bytes(bad).err(),
                Some(EnvelopeError::InvalidKey)
            );
        }
    }

    #[test]
    fn an_enc_of_low_order_is_undecryptable() {
        let recipient = HpkeSecretKey::generate(&mut OsEntropy).unwrap();
        assert!(recipient.open(b"", &[0; ENC_LEN], &[0; CT_LEN]).is_err());
    }
}
