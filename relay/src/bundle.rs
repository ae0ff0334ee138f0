//! The relay's word about who has which keys.
//!
//! Owns the bundle key and the signed statement. The key is an Ed25519 seed in a file of its own, readable by its owner
//! only; the vault and consumers know its public half from the operator. Invariant: a statement names whom it is for,
//! whom it describes and when it ends.

use std::{
    fmt, fs,
    io::{self, Read, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use ed25519_dalek::{Signer, SigningKey};
use prost::Message;
use ring::hmac;
use sealpost_proto::signal::v1::{BundleStatement, DeviceBundle, SignedBundle};
use sealpost_runtime::Timestamp;
use zeroize::Zeroizing;

use crate::ids::random;

const DOMAIN: &str = "sealpost/prekey-bundle/v1";
const LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// The key that signs bundles. It cannot be cloned or printed, and wipes itself.
pub struct BundleKey(SigningKey);

impl BundleKey {
    /// Reads the key at `path`.
    ///
    /// # Errors
    /// When the file is absent, not 32 bytes, or readable by others than its owner.
    pub fn load(path: &Path) -> Result<Self, KeyFileError> {
        let refuse = |problem| KeyFileError {
            path: path.to_owned(),
            problem,
        };
        let mut file = fs::File::open(path).map_err(|error| refuse(error.into()))?;
        let metadata = file.metadata().map_err(|error| refuse(error.into()))?;
        if metadata.permissions().mode() & 0o077 != 0 {
            return Err(refuse(KeyFileProblem::NotPrivate));
        }
        if metadata.len() != 32 {
            return Err(refuse(KeyFileProblem::Length));
        }
        let mut seed = Zeroizing::new([0; 32]);
        file.read_exact(seed.as_mut())
            .map_err(|error| refuse(error.into()))?;
        Ok(Self(SigningKey::from_bytes(&seed)))
    }

    /// Reads the key at `path`, made first when absent, and writes its public half in hexadecimal beside it, with
    /// `.pub` added to the name.
    ///
    /// # Errors
    /// As [`Self::load`], or when a file cannot be written.
    pub fn init(path: &Path) -> Result<Self, KeyFileError> {
        let refuse = |problem| KeyFileError {
            path: path.to_owned(),
            problem,
        };
        if !path.try_exists().map_err(|error| refuse(error.into()))? {
            let seed =
                Zeroizing::new(random::<32>().map_err(|_| refuse(KeyFileProblem::Randomness))?);
            write_durably(path, seed.as_ref()).map_err(|error| refuse(error.into()))?;
        }
        let key = Self::load(path)?;
        let mut public = path.as_os_str().to_owned();
        public.push(".pub");
        let text = format!("{}\n", hex::encode(key.public_key()));
        fs::write(PathBuf::from(public), text).map_err(|error| refuse(error.into()))?;
        Ok(key)
    }

    /// What the operator gives to the vault and to consumers.
    #[must_use]
    pub fn public_key(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }

    /// A key for the digests of verification codes. HMAC separates it from the signing key, which is SHA-512 of the
    /// same seed (RFC 8032, section 5.1.5).
    pub(crate) fn code_key(&self) -> hmac::Key {
        let seed = Zeroizing::new(self.0.to_bytes());
        let derived = hmac::sign(
            &hmac::Key::new(hmac::HMAC_SHA256, seed.as_ref()),
            b"sealpost/relay/code-key/v1",
        );
        hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref())
    }

    /// States to `requester` what `peer`'s keys are.
    pub(crate) fn sign(
        &self,
        requester: &str,
        peer: &str,
        keys: PeerKeys,
        now: Timestamp,
    ) -> SignedBundle {
        let statement = BundleStatement {
            domain: DOMAIN.to_owned(),
            requester: requester.to_owned(),
            peer: peer.to_owned(),
            identity_key: keys.identity_key,
            devices: keys.devices,
            issued_at_ms: now.as_millis(),
            expires_at_ms: (now + LIFETIME).as_millis(),
        }
        .encode_to_vec();
        let signature = self.0.sign(&statement).to_bytes().to_vec();
        SignedBundle {
            statement: statement.into(),
            signature: signature.into(),
        }
    }
}

impl fmt::Debug for BundleKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BundleKey(..)")
    }
}

/// The public keys of a peer: all its devices, by device id, under one identity key.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PeerKeys {
    pub(crate) identity_key: Bytes,
    pub(crate) devices: Vec<DeviceBundle>,
}

/// Why the bundle key's file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("bundle key {path}: {problem}", path = path.display())]
pub struct KeyFileError {
    path: PathBuf,
    #[source]
    problem: KeyFileProblem,
}

#[derive(Debug, thiserror::Error)]
enum KeyFileProblem {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("must be readable by its owner only")]
    NotPrivate,
    #[error("must be 32 bytes")]
    Length,
    #[error("no randomness")]
    Randomness,
}

/// Makes a private file that survives a power cut, its name included. Never writes over one.
fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use ed25519_dalek::{Signature, VerifyingKey};

    use super::*;

    #[test]
    fn a_statement_is_signed_byte_for_byte_and_names_both_sides_and_its_end() {
        let key = BundleKey(SigningKey::from_bytes(&[7; 32]));
        let keys = PeerKeys {
            identity_key: vec![5; 33].into(),
            devices: Vec::new(),
        };
        let now = Timestamp::from_secs(1_800_000_000);
        let bundle = key.sign("106540352242922", "4915112345678", keys, now);

        let public = VerifyingKey::from_bytes(&key.public_key()).unwrap();
        let signature = Signature::from_slice(&bundle.signature).unwrap();
        public.verify_strict(&bundle.statement, &signature).unwrap();

        let said = BundleStatement::decode(bundle.statement).unwrap();
        assert_eq!(said.domain, "sealpost/prekey-bundle/v1");
        assert_eq!(
            (said.requester.as_str(), said.peer.as_str()),
            ("106540352242922", "4915112345678")
        );
        assert_eq!(said.issued_at_ms, now.as_millis());
        assert_eq!(said.expires_at_ms - said.issued_at_ms, 24 * 3600 * 1000);
    }

    #[test]
    fn init_makes_a_private_key_once_and_says_its_public_half() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bundle.key");
        let made = BundleKey::init(&path).unwrap().public_key();
        assert_eq!(BundleKey::init(&path).unwrap().public_key(), made);
        assert_eq!(BundleKey::load(&path).unwrap().public_key(), made);
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let public = fs::read_to_string(folder.path().join("bundle.key.pub")).unwrap();
        assert_eq!(public, format!("{}\n", hex::encode(made)));
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bundle.key");
        BundleKey::init(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(
            BundleKey::load(&path)
                .unwrap_err()
                .to_string()
                .contains("owner only")
        );
    }

    #[test]
    fn a_file_of_another_length_is_no_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bundle.key");
        write_durably(&path, &[1; 31]).unwrap();
        assert!(BundleKey::load(&path).is_err());
    }
}
