//! A key made of a passphrase by Argon2id (RFC 9106).

use argon2::{Algorithm, Argon2, Block, Params, Version};
use sealpost_envelope::{Entropy, OsEntropy, Secret, aead::AeadKey};
use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

use super::UnsealError;

/// RFC 9106, section 4, the second recommended option: 64 MiB, three passes, four lanes.
const MEMORY_KIB: u32 = 64 * 1024;
const PASSES: u32 = 3;
const LANES: u32 = 4;

/// Shorter ones are guessed; longer ones are a mistake.
const LENGTHS: std::ops::RangeInclusive<usize> = 12..=1024;

/// The public parameters of one key.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(super) struct Argon2id {
    #[serde(with = "hex::serde")]
    salt: [u8; 16],
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

impl Argon2id {
    /// For a passphrase that is new.
    ///
    /// # Errors
    /// When it is too short or too long.
    pub(super) fn fresh(passphrase: &str) -> Result<Self, UnsealError> {
        if !LENGTHS.contains(&passphrase.len()) {
            return Err(UnsealError::Unfit("a passphrase has 12 to 1,024 bytes"));
        }
        let mut salt = [0; 16];
        OsEntropy.fill(&mut salt)?;
        Ok(Self {
            salt,
            memory_kib: MEMORY_KIB,
            passes: PASSES,
            lanes: LANES,
        })
    }

    /// The key.
    ///
    /// # Errors
    /// [`UnsealError::Refused`] when somebody wrote parameters that we never chose: they would cost what he likes.
    pub(super) fn key(&self, passphrase: &str) -> Result<AeadKey, UnsealError> {
        let ours = (self.memory_kib, self.passes, self.lanes) == (MEMORY_KIB, PASSES, LANES);
        if !ours || passphrase.len() > *LENGTHS.end() {
            return Err(UnsealError::Refused);
        }
        let params = Params::new(self.memory_kib, self.passes, self.lanes, Some(32))
            .map_err(|_| UnsealError::Refused)?;
        let mut memory = vec![Block::default(); params.block_count()];
        let mut key = [0; 32];
        let made = Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into_with_memory(
                passphrase.as_bytes(),
                &self.salt,
                &mut key,
                &mut memory,
            );
        memory.iter_mut().for_each(Zeroize::zeroize);
        let secret = Secret::from_bytes(key);
        key.zeroize();
        made.map_err(|_| UnsealError::Refused)?;
        Ok(AeadKey::new(secret))
    }
}
