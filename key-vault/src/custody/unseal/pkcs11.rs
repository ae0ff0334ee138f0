//! An AES-256 key in a PKCS#11 token, which it never leaves: the token itself seals and opens (AES-GCM, v2.40 section 2.12.3).
//!
//! Sealing is plain encryption: not every token wraps keys under GCM. The library is loaded, used and finalised for one operation
//! at a time, on a thread of its own; tokens disagree on what several threads may do.

use std::{
    fs,
    path::PathBuf,
    sync::{Mutex, PoisonError},
    thread,
};

use cryptoki::{
    context::{CInitializeArgs, CInitializeFlags, Pkcs11},
    error::{Error, RvError},
    mechanism::{Mechanism, aead::GcmParams},
    object::{Attribute, KeyType, ObjectClass, ObjectHandle},
    session::{Session, UserType},
    types::AuthPin,
};
use sealpost_envelope::{Entropy, OsEntropy, Secret};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::{UnsealError, Wrapping, files};

const IV: usize = 12;
const TAG_BITS: u64 = 128;

/// One library in use at a time: initialising and finalising are the process's.
static LIBRARY: Mutex<()> = Mutex::new(());

/// Where the token and its key are.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pkcs11Config {
    /// The vendor's library.
    pub module: PathBuf,
    /// The token's label.
    pub token: String,
    /// The key's label.
    #[serde(default = "usual_key")]
    pub key: String,
    /// A file with the user PIN, mode 0600.
    pub pin_file: PathBuf,
}

fn usual_key() -> String {
    "sealpost-root".to_owned()
}

/// Whether the token may make the key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    MayBeMade,
    MustBeThere,
}

/// A token whose key is there.
pub(super) struct Token(Pkcs11Config);

impl Pkcs11Config {
    /// Looks for the key, and makes it if it may.
    ///
    /// # Errors
    /// When the token cannot be used or has no such key.
    pub(super) fn open(&self, key: Key) -> Result<Token, UnsealError> {
        let making = key == Key::MayBeMade;
        self.in_session(move |config, session| match find(session, &config.key)? {
            Some(_) => Ok(()),
            None if making => make(session, &config.key),
            None => Err(UnsealError::Token(format!(
                "it has no AES key {:?}",
                config.key
            ))),
        })?;
        Ok(Token(self.clone()))
    }

    /// Runs `step` logged in, on a thread of its own.
    fn in_session<T: Send>(
        &self,
        step: impl FnOnce(&Self, &Session) -> Result<T, UnsealError> + Send,
    ) -> Result<T, UnsealError> {
        let _alone = LIBRARY.lock().unwrap_or_else(PoisonError::into_inner);
        let run = || {
            let library = Pkcs11::new(&self.module)?;
            library.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK))?;
            let done = self
                .session(&library)
                .and_then(|session| step(self, &session));
            library.finalize()?;
            done
        };
        thread::scope(|scope| scope.spawn(run).join())
            .unwrap_or_else(|_| Err(UnsealError::Token("the library panicked".to_owned())))
    }

    fn session(&self, library: &Pkcs11) -> Result<Session, UnsealError> {
        let pin_file = |error| UnsealError::File(self.pin_file.clone(), error);
        files::check_private(&self.pin_file).map_err(pin_file)?;
        let pin = Zeroizing::new(fs::read_to_string(&self.pin_file).map_err(pin_file)?);
        for slot in library.get_slots_with_token()? {
            if library.get_token_info(slot)?.label() != self.token {
                continue;
            }
            let session = library.open_rw_session(slot)?;
            let pin = AuthPin::new(pin.trim_end_matches('\n').into());
            return match session.login(UserType::User, Some(&pin)) {
                Ok(()) => Ok(session),
                Err(Error::Pkcs11(RvError::PinIncorrect | RvError::PinLocked, _)) => {
                    Err(UnsealError::Refused)
                }
                Err(error) => Err(error.into()),
            };
        }
        Err(UnsealError::Token(format!(
            "no token is labelled {:?}",
            self.token
        )))
    }
}

impl Token {
    fn with_key<T: Send>(
        &self,
        step: impl FnOnce(&Session, ObjectHandle) -> Result<T, UnsealError> + Send,
    ) -> Result<T, UnsealError> {
        self.0.in_session(|config, session| {
            let key = find(session, &config.key)?
                .ok_or_else(|| UnsealError::Token("its key is gone".to_owned()))?;
            step(session, key)
        })
    }
}

impl Wrapping for Token {
    fn seal(&self, associated: &[u8], root: &Secret<32>) -> Result<Vec<u8>, UnsealError> {
        let mut iv = [0; IV];
        OsEntropy.fill(&mut iv)?;
        let mut sealed = iv.to_vec();
        let ciphertext = self.with_key(|session, key| {
            let params = GcmParams::new(&mut iv, associated, TAG_BITS.into())?;
            Ok(session.encrypt(&Mechanism::AesGcm(params), key, root.expose())?)
        })?;
        sealed.extend(ciphertext);
        Ok(sealed)
    }

    fn open(&self, associated: &[u8], sealed: &[u8]) -> Result<Secret<32>, UnsealError> {
        let Some((iv, ciphertext)) = sealed.split_first_chunk::<IV>() else {
            return Err(UnsealError::Refused);
        };
        let mut iv = *iv;
        let root = self.with_key(|session, key| {
            let params = GcmParams::new(&mut iv, associated, TAG_BITS.into())?;
            // Tokens name a tag that does not fit by several errors.
            session
                .decrypt(&Mechanism::AesGcm(params), key, ciphertext)
                .map(Zeroizing::new)
                .map_err(|_| UnsealError::Refused)
        })?;
        Ok(Secret::from_slice(&root)?)
    }
}

fn find(session: &Session, label: &str) -> Result<Option<ObjectHandle>, UnsealError> {
    let found = session.find_objects(&[
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(KeyType::AES),
        Attribute::Label(label.as_bytes().to_vec()),
    ])?;
    match found.as_slice() {
        [] => Ok(None),
        [key] => Ok(Some(*key)),
        several => Err(UnsealError::Token(format!(
            "{} keys are labelled {label:?}",
            several.len()
        ))),
    }
}

fn make(session: &Session, label: &str) -> Result<(), UnsealError> {
    session.generate_key(
        &Mechanism::AesKeyGen,
        &[
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::KeyType(KeyType::AES),
            Attribute::ValueLen(32_u64.into()),
            Attribute::Label(label.as_bytes().to_vec()),
            Attribute::Token(true),
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Encrypt(true),
            Attribute::Decrypt(true),
        ],
    )?;
    Ok(())
}

impl From<Error> for UnsealError {
    fn from(error: Error) -> Self {
        Self::Token(error.to_string())
    }
}
