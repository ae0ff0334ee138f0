//! An AES-256 key in a PKCS#11 token, which it never leaves: the token itself seals and opens (AES-GCM, v2.40 section 2.12.3).
//!
//! Sealing is plain encryption: not every token wraps keys under GCM. The library is loaded, used and finalised for one operation
//! at a time, on a thread of its own; tokens disagree on what several threads may do.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
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
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{UnsealError, Wrapping, files};

const IV: usize = 12;
const TAG_BITS: u64 = 128;
const MAX_PIN: u64 = 1024;

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
    /// What keys are labelled that are made there.
    #[serde(default = "usual_key")]
    pub key: String,
    /// A file with the user PIN, mode 0600.
    pub pin_file: PathBuf,
}

fn usual_key() -> String {
    "sealpost-root".to_owned()
}

/// Which of the token's keys sealed a root key: each sealing has one of its own, so that two vaults never share or mistake one.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(super) struct TokenKey {
    #[serde(with = "hex::serde")]
    id: [u8; 16],
}

/// A token, and which key of it.
pub(super) struct Token {
    config: Pkcs11Config,
    key: TokenKey,
}

impl Pkcs11Config {
    /// Makes a key in the token.
    ///
    /// # Errors
    /// When the token cannot be used.
    pub(super) fn make(&self) -> Result<(TokenKey, Token), UnsealError> {
        let mut id = [0; 16];
        OsEntropy.fill(&mut id)?;
        let key = TokenKey { id };
        self.in_session(|config, session| make(session, &config.key, &key))?;
        Ok((key.clone(), self.with(&key)?))
    }

    /// The token with that key.
    ///
    /// # Errors
    /// When the token cannot be used or has no such key.
    pub(super) fn with(&self, key: &TokenKey) -> Result<Token, UnsealError> {
        self.in_session(|_, session| find(session, key).map(drop))?;
        Ok(Token {
            config: self.clone(),
            key: key.clone(),
        })
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
            // A step that panics must leave the library to the next one.
            let done = catch_unwind(AssertUnwindSafe(|| {
                let session = self.session(&library)?;
                step(self, &session)
            }));
            if let Err(error) = library.finalize() {
                tracing::warn!(error = %error, "the PKCS#11 library did not finalise");
            }
            done.unwrap_or_else(|_| Err(UnsealError::Token("the library panicked".to_owned())))
        };
        thread::scope(|scope| scope.spawn(run).join())
            .unwrap_or_else(|_| Err(UnsealError::Token("the library panicked".to_owned())))
    }

    fn session(&self, library: &Pkcs11) -> Result<Session, UnsealError> {
        let pin_file = |error| UnsealError::File(self.pin_file.clone(), error);
        files::check_private(&self.pin_file).map_err(pin_file)?;
        let pin = Zeroizing::new(files::read_small(&self.pin_file, MAX_PIN).map_err(pin_file)?);
        let pin = Zeroizing::new(String::from_utf8_lossy(&pin).into_owned());
        for slot in library.get_slots_with_token()? {
            let token = library.get_token_info(slot)?;
            if token.label() != self.token {
                continue;
            }
            // A vault that starts again and again must not be what locks the token.
            if token.user_pin_final_try() {
                return Err(UnsealError::Token(
                    "one more wrong PIN locks it; log in once with its own tool".to_owned(),
                ));
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
        self.config
            .in_session(|_, session| step(session, find(session, &self.key)?))
    }
}

impl Wrapping for Token {
    fn seal(&self, associated: &[u8], root: &Secret<32>) -> Result<Vec<u8>, UnsealError> {
        let mut iv = [0; IV];
        OsEntropy.fill(&mut iv)?;
        let ciphertext = self.with_key(|session, key| {
            let params = GcmParams::new(&mut iv, associated, TAG_BITS.into())?;
            Ok(session.encrypt(&Mechanism::AesGcm(params), key, root.expose())?)
        })?;
        // Only now: some tokens choose the IV themselves, and write it where ours was.
        Ok([iv.as_slice(), &ciphertext].concat())
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

fn find(session: &Session, key: &TokenKey) -> Result<ObjectHandle, UnsealError> {
    let found = session.find_objects(&[
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(KeyType::AES),
        Attribute::Id(key.id.to_vec()),
    ])?;
    match found.as_slice() {
        [key] => Ok(*key),
        others => Err(UnsealError::Token(format!(
            "it has {} AES keys with the id {}",
            others.len(),
            hex::encode(key.id)
        ))),
    }
}

fn make(session: &Session, label: &str, key: &TokenKey) -> Result<(), UnsealError> {
    session.generate_key(
        &Mechanism::AesKeyGen,
        &[
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::KeyType(KeyType::AES),
            Attribute::ValueLen(32_u64.into()),
            Attribute::Label(label.as_bytes().to_vec()),
            Attribute::Id(key.id.to_vec()),
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
