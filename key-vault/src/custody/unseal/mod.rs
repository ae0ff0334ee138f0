//! Unseal providers: what the root key is sealed with where it lies on disk.
//!
//! A file ([`SealedRoot`]) says which provider sealed the root key and holds the result; it is no secret. The provider's own
//! secret is elsewhere: in a file, in a person's head, in several persons' hands, in a token. Invariant: a root key that opens is
//! the one that was sealed, by that provider, with those parameters: all of them are associated data.
//!
//! | provider | its secret | unseals by itself |
//! | --- | --- | --- |
//! | `key-file` | 32 bytes in a file of mode 0600 | yes |
//! | `pkcs11` | an AES-256 key that never leaves its token | yes |
//! | `passphrase` | a person's; Argon2id makes a key of it | no |
//! | `shamir` | as many of n shares as the threshold says | no |
//! | `development` | none: for `development = true` alone | yes |

mod key_file;
mod passphrase;
mod pkcs11;
mod shamir;

use std::{
    io,
    path::{Path, PathBuf},
};

use sealpost_envelope::{EnvelopeError, OsEntropy, Secret, aead::AeadKey};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use zeroize::Zeroizing;

use super::{RootKey, files};

pub use pkcs11::Pkcs11Config;
pub use shamir::Share;

use self::{passphrase::Argon2id, pkcs11::TokenKey, shamir::Sharing};

const DOMAIN: &[u8] = b"sealpost/root-key/v1";
/// Longer than any of ours.
const MAX_FILE: u64 = 64 * 1024;

/// Where the providers of this vault are. Which of them sealed the root key stands in its file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct UnsealConfig {
    /// A key in a file.
    pub key_file: Option<KeyFileConfig>,
    /// A key in a token.
    pub pkcs11: Option<Pkcs11Config>,
}

impl UnsealConfig {
    /// Whether a provider is configured that unseals without a person.
    #[must_use]
    pub fn is_automatic(&self) -> bool {
        self.key_file.is_some() || self.pkcs11.is_some()
    }
}

/// Where a key file is.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyFileConfig {
    /// 32 bytes, mode 0600; made when the root key is first sealed with it.
    pub file: PathBuf,
}

/// Which provider is to seal a root key, with what it needs beside the configuration.
pub enum NewSeal {
    /// The key file of the configuration.
    KeyFile,
    /// The token of the configuration.
    Pkcs11,
    /// A passphrase of a person's.
    Passphrase(Zeroizing<String>),
    /// Shares for so many persons, so many of which unseal.
    Shamir {
        /// How many are made.
        shares: u8,
        /// How many are needed.
        threshold: u8,
    },
    /// No secret at all.
    Development,
}

impl NewSeal {
    /// The provider's name in configuration and contract.
    #[must_use]
    pub fn provider(&self) -> &'static str {
        match self {
            Self::KeyFile => "key-file",
            Self::Pkcs11 => "pkcs11",
            Self::Passphrase(_) => "passphrase",
            Self::Shamir { .. } => "shamir",
            Self::Development => "development",
        }
    }
}

/// What unseals, beside the configuration.
pub enum Secrets<'a> {
    /// Nothing: the provider has it.
    Automatic,
    /// The passphrase.
    Passphrase(&'a str),
    /// As many shares as are needed.
    Shares(&'a [Share]),
}

/// Why a root key could not be sealed or unsealed.
#[derive(Debug, Error)]
pub enum UnsealError {
    /// The root key's file, or a key file.
    #[error("{0}: {1}")]
    File(PathBuf, #[source] io::Error),
    /// The root key's file is none of ours.
    #[error("{0} is not a sealed root key: {1}")]
    Malformed(PathBuf, String),
    /// The secret is wrong, or the file was changed.
    #[error("the secret does not unseal the root key")]
    Refused,
    /// The provider wants something else.
    #[error("the root key was sealed by the provider {0}")]
    OtherProvider(&'static str),
    /// The configuration does not say where the provider is.
    #[error("there is no [unseal.{0}] in the configuration")]
    NotConfigured(&'static str),
    /// Words of the request that cannot be.
    #[error("{0}")]
    Unfit(&'static str),
    /// The token.
    #[error("the PKCS#11 token: {0}")]
    Token(String),
    /// Somebody else sealed the root key anew meanwhile.
    #[error("the root key was sealed anew meanwhile")]
    Changed,
    /// The system gave no randomness.
    #[error("no randomness")]
    NoRandomness,
}

impl From<EnvelopeError> for UnsealError {
    fn from(error: EnvelopeError) -> Self {
        match error {
            EnvelopeError::NoRandomness => Self::NoRandomness,
            _ => Self::Refused,
        }
    }
}

/// What a provider does, once its secret is at hand.
trait Wrapping {
    fn seal(&self, associated: &[u8], root: &Secret<32>) -> Result<Vec<u8>, UnsealError>;
    fn open(&self, associated: &[u8], sealed: &[u8]) -> Result<Secret<32>, UnsealError>;
}

/// A key in this process's memory, for as long as one sealing takes.
impl Wrapping for AeadKey {
    fn seal(&self, associated: &[u8], root: &Secret<32>) -> Result<Vec<u8>, UnsealError> {
        Ok(Self::seal(self, &mut OsEntropy, associated, root.expose())?)
    }

    fn open(&self, associated: &[u8], sealed: &[u8]) -> Result<Secret<32>, UnsealError> {
        Ok(Secret::from_slice(&Self::open(self, associated, sealed)?)?)
    }
}

/// Which provider sealed a root key, with its public parameters.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(tag = "provider", rename_all = "kebab-case")]
enum Method {
    KeyFile,
    Pkcs11(TokenKey),
    Passphrase(Argon2id),
    Shamir(Sharing),
    Development,
}

impl Method {
    fn name(&self) -> &'static str {
        match self {
            Self::KeyFile => "key-file",
            Self::Pkcs11(_) => "pkcs11",
            Self::Passphrase(_) => "passphrase",
            Self::Shamir(_) => "shamir",
            Self::Development => "development",
        }
    }

    /// Everything that is bound to the sealed key.
    fn associated(&self) -> Result<Vec<u8>, UnsealError> {
        let method = serde_json::to_vec(self).map_err(|_| UnsealError::Refused)?;
        Ok([DOMAIN, &[0], &method].concat())
    }
}

/// A sealed root key, as its file has it.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct SealedRoot {
    version: u32,
    method: Method,
    #[serde(with = "hex::serde")]
    sealed: Vec<u8>,
}

impl SealedRoot {
    /// Reads the file; none: there is no such file.
    ///
    /// # Errors
    /// When it cannot be read or is no sealed root key.
    pub fn read(path: &Path) -> Result<Option<Self>, UnsealError> {
        let bytes = match files::read_small(path, MAX_FILE) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(UnsealError::File(path.to_owned(), error)),
        };
        let malformed = |problem: String| UnsealError::Malformed(path.to_owned(), problem);
        let root: Self =
            serde_json::from_slice(&bytes).map_err(|error| malformed(error.to_string()))?;
        if root.version != 1 {
            return Err(malformed(format!("its version is {}", root.version)));
        }
        Ok(Some(root))
    }

    /// Makes the file, which must not exist.
    ///
    /// # Errors
    /// When it cannot.
    pub(crate) fn create(&self, path: &Path) -> Result<(), UnsealError> {
        files::create(path, &self.bytes()?)
            .map_err(|error| UnsealError::File(path.to_owned(), error))
    }

    /// Puts it in place of `before`: at any moment the old or the new one stands.
    ///
    /// # Errors
    /// [`UnsealError::Changed`] when another one is there, made by whatever process; else when it cannot.
    pub(crate) fn replace(&self, before: &Self, path: &Path) -> Result<(), UnsealError> {
        let file = |error| UnsealError::File(path.to_owned(), error);
        let _alone = files::lock(files::folder_of(path)).map_err(file)?;
        if Self::read(path)?.as_ref() != Some(before) {
            return Err(UnsealError::Changed);
        }
        files::replace(path, &self.bytes()?).map_err(file)
    }

    fn bytes(&self) -> Result<Vec<u8>, UnsealError> {
        let mut bytes = serde_json::to_vec_pretty(self).map_err(|_| UnsealError::Refused)?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// The provider's name in configuration and contract.
    #[must_use]
    pub fn provider(&self) -> &'static str {
        self.method.name()
    }

    /// Whether the vault unseals without a person.
    #[must_use]
    pub fn is_automatic(&self) -> bool {
        !matches!(self.method, Method::Passphrase(_) | Method::Shamir(_))
    }

    /// How many shares there are and how many are needed; none for other providers.
    #[must_use]
    pub fn sharing(&self) -> Option<(u8, u8)> {
        match &self.method {
            Method::Shamir(sharing) => Some(sharing.counts()),
            _ => None,
        }
    }

    /// Whether a share is one of this root key's.
    #[must_use]
    pub fn takes(&self, share: &Share) -> bool {
        matches!(&self.method, Method::Shamir(sharing) if sharing.has(share))
    }
}

/// Seals a root key. Answers the shares too, when there are any: they are nowhere else.
///
/// # Errors
/// When the provider is not configured, its parameters are unfit, or it fails.
pub(crate) fn seal(
    root: &RootKey,
    new: &NewSeal,
    config: &UnsealConfig,
) -> Result<(SealedRoot, Vec<Share>), UnsealError> {
    let mut shares = Vec::new();
    let (method, wrapping): (Method, Box<dyn Wrapping>) = match new {
        NewSeal::KeyFile => (
            Method::KeyFile,
            Box::new(key_file::load_or_create(key_file_of(config)?)?),
        ),
        NewSeal::Pkcs11 => {
            let (key, token) = token_of(config)?.make()?;
            (Method::Pkcs11(key), Box::new(token))
        }
        NewSeal::Passphrase(passphrase) => {
            let argon = Argon2id::fresh(passphrase)?;
            let key = argon.key(passphrase)?;
            (Method::Passphrase(argon), Box::new(key))
        }
        NewSeal::Shamir {
            shares: count,
            threshold,
        } => {
            let (sharing, key, made) = Sharing::split(*count, *threshold)?;
            // What the shares make, not what they were made of.
            drop(key);
            let key = sharing.combine(&made[made.len() - usize::from(*threshold)..])?;
            shares = made;
            (Method::Shamir(sharing), Box::new(key))
        }
        NewSeal::Development => (Method::Development, Box::new(development_key())),
    };
    let associated = method.associated()?;
    let secret = root.copied()?;
    let sealed = wrapping.seal(&associated, &secret)?;
    // What cannot be unsealed must not stand in place of what could.
    if !wrapping.open(&associated, &sealed)?.ct_eq(&secret) {
        return Err(UnsealError::Refused);
    }
    let sealed = SealedRoot {
        version: 1,
        method,
        sealed,
    };
    Ok((sealed, shares))
}

/// Unseals a root key.
///
/// # Errors
/// [`UnsealError::Refused`] when the secret is wrong; else when the provider is not configured, wants another secret, or fails.
pub(crate) fn open(
    sealed: &SealedRoot,
    secrets: &Secrets<'_>,
    config: &UnsealConfig,
) -> Result<RootKey, UnsealError> {
    let other = || UnsealError::OtherProvider(sealed.provider());
    let wrapping: Box<dyn Wrapping> = match (&sealed.method, secrets) {
        (Method::KeyFile, Secrets::Automatic) => Box::new(key_file::load(key_file_of(config)?)?),
        (Method::Pkcs11(key), Secrets::Automatic) => Box::new(token_of(config)?.with(key)?),
        (Method::Development, Secrets::Automatic) => Box::new(development_key()),
        (Method::Passphrase(argon), Secrets::Passphrase(passphrase)) => {
            Box::new(argon.key(passphrase)?)
        }
        (Method::Shamir(sharing), Secrets::Shares(shares)) => Box::new(sharing.combine(shares)?),
        _ => return Err(other()),
    };
    wrapping
        .open(&sealed.method.associated()?, &sealed.sealed)
        .map(RootKey::new)
}

fn key_file_of(config: &UnsealConfig) -> Result<&Path, UnsealError> {
    match &config.key_file {
        Some(config) => Ok(&config.file),
        None => Err(UnsealError::NotConfigured("key-file")),
    }
}

fn token_of(config: &UnsealConfig) -> Result<&Pkcs11Config, UnsealError> {
    config
        .pkcs11
        .as_ref()
        .ok_or(UnsealError::NotConfigured("pkcs11"))
}

/// Everybody has this key.
fn development_key() -> AeadKey {
    AeadKey::new(Secret::from_bytes(*b"sealpost development: no secret!"))
}

#[cfg(test)]
mod tests;
