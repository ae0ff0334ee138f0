//! A business's own keys: an X-Wing key that content is sealed to, an Ed25519 key that it signs with.

use std::path::{Path, PathBuf};

use anyhow::Context;
use sealpost_envelope::{HpkeSecretKey, OsEntropy, Secret, SigningKey};
use zeroize::Zeroizing;

use crate::files::{self, Readers};

/// The public halves of a business's keys, and where they are: `hpke.pub` (1,216 bytes) and `signing.pub` (32 bytes), beside the
/// private `hpke.key` and `signing.key` (32 bytes each, 0600).
pub struct BusinessKeys {
    /// X-Wing public key.
    pub hpke_public: Vec<u8>,
    /// Ed25519 public key.
    pub signing_public: Vec<u8>,
    /// File of `hpke_public`.
    pub hpke_public_file: PathBuf,
    /// File of `signing_public`.
    pub signing_public_file: PathBuf,
}

impl BusinessKeys {
    /// Reads the keys of a folder, or makes them there.
    pub fn load_or_make(folder: &Path) -> anyhow::Result<Self> {
        files::create_folder(folder)?;
        let hpke = HpkeSecretKey::from_seed(&seed(&folder.join("hpke.key"))?)?;
        let signing = SigningKey::from_seed(&seed(&folder.join("signing.key"))?);
        let keys = Self {
            hpke_public: hpke.public_key().to_bytes(),
            signing_public: signing.verifying_key().as_bytes().to_vec(),
            hpke_public_file: folder.join("hpke.pub"),
            signing_public_file: folder.join("signing.pub"),
        };
        files::write(
            &keys.hpke_public_file,
            &keys.hpke_public,
            Readers::Everybody,
        )?;
        files::write(
            &keys.signing_public_file,
            &keys.signing_public,
            Readers::Everybody,
        )?;
        Ok(keys)
    }
}

fn seed(path: &Path) -> anyhow::Result<Secret<32>> {
    if !path.exists() {
        let fresh = Secret::<32>::generate(&mut OsEntropy)?;
        files::write(path, fresh.expose(), Readers::Owner)?;
    }
    let bytes = Zeroizing::new(std::fs::read(path)?);
    Secret::from_slice(&bytes).with_context(|| format!("{} must hold 32 bytes", path.display()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn keys_are_made_once_and_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let made = BusinessKeys::load_or_make(folder.path()).unwrap();
        let read = BusinessKeys::load_or_make(folder.path()).unwrap();
        assert_eq!(made.hpke_public, read.hpke_public);
        assert_eq!(made.signing_public, read.signing_public);
        assert_eq!(
            (made.hpke_public.len(), made.signing_public.len()),
            (1216, 32)
        );
    }

    #[test]
    fn a_damaged_key_is_refused_and_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("hpke.key"), b"short").unwrap();
        assert!(BusinessKeys::load_or_make(folder.path()).is_err());
        assert_eq!(
            std::fs::read(folder.path().join("hpke.key")).unwrap(),
            b"short"
        );
    }
}
