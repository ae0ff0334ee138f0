//! The root key: 32 random bytes in a file of their own, mode 0600, that the owner alone may read.
//!
//! Everything else of the vault's is sealed under it, directly or through a number's key.

use std::{fs, io, path::Path};

use sealpost_envelope::{Entropy, Secret};
use thiserror::Error;
use zeroize::Zeroizing;

use super::{SealingKey, files};

const LEN: usize = 32;

/// The root key, in memory while the process lives.
pub(crate) struct RootKey(SealingKey);

/// Why there is no root key.
#[derive(Debug, Error)]
pub enum RootKeyError {
    /// The file cannot be read or written, or others may read it.
    #[error("the root key file: {0}")]
    File(#[source] io::Error),
    /// The file does not hold 32 bytes.
    #[error("the root key file does not hold 32 bytes")]
    Length,
    /// The system gave no randomness.
    #[error("no randomness for a root key")]
    NoRandomness,
}

impl RootKey {
    /// Reads the key.
    ///
    /// # Errors
    /// When the file is missing, not 32 bytes, or open to anyone but its owner.
    pub(crate) fn load(path: &Path) -> Result<Self, RootKeyError> {
        files::check_private(path).map_err(RootKeyError::File)?;
        let bytes = Zeroizing::new(fs::read(path).map_err(RootKeyError::File)?);
        let secret = Secret::<LEN>::from_slice(&bytes).map_err(|_| RootKeyError::Length)?;
        Ok(Self(SealingKey::new(secret)))
    }

    /// Makes a key and its file, which must not exist.
    ///
    /// # Errors
    /// When it cannot.
    pub(crate) fn create(path: &Path, entropy: &mut dyn Entropy) -> Result<Self, RootKeyError> {
        let secret = Secret::<LEN>::generate(entropy).map_err(|_| RootKeyError::NoRandomness)?;
        files::create(path, secret.expose()).map_err(RootKeyError::File)?;
        Ok(Self(SealingKey::new(secret)))
    }

    /// What it seals with.
    pub(crate) fn sealing(&self) -> &SealingKey {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::PermissionsExt;

    use sealpost_envelope::OsEntropy;

    use super::*;

    #[test]
    fn a_root_key_is_made_once_and_refused_when_others_may_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("root.key");
        assert!(matches!(RootKey::load(&path), Err(RootKeyError::File(_))));
        RootKey::create(&path, &mut OsEntropy).map(drop).unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        RootKey::load(&path).map(drop).unwrap();
        assert!(RootKey::create(&path, &mut OsEntropy).is_err());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(RootKey::load(&path), Err(RootKeyError::File(_))));
    }

    #[test]
    fn a_file_of_another_length_is_no_root_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("root.key");
        files::create(&path, &[0; 31]).unwrap();
        assert!(matches!(RootKey::load(&path), Err(RootKeyError::Length)));
    }
}
