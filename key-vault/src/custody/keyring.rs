//! The keyring: one file per epoch in a folder that no backup and no database log ever sees.
//!
//! Owns the files' life. A key is durable before anything is sealed under it; destroyed, it is overwritten, deleted and
//! seen to be gone. Replicas share the folder. Invariant: no key is given out for an epoch past its time, whatever files
//! somebody put back.

use std::{
    collections::{BTreeSet, HashMap},
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use sealpost_envelope::{Entropy, EnvelopeError, OsEntropy, Secret};
use sealpost_runtime::Timestamp;
use thiserror::Error;

use super::{Now, Place, RootKey, files};
use crate::epoch::EpochId;

const EXTENSION: &str = "epoch";
const MARK: &str = "time.mark";

/// An epoch's key: half of what its records are sealed under.
pub(crate) struct EpochKey(Secret<32>);

impl EpochKey {
    pub(crate) fn expose(&self) -> &[u8; 32] {
        self.0.expose()
    }

    #[cfg(any(test, feature = "measured"))]
    pub(crate) fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Secret::from_bytes(bytes))
    }
}

/// Why the keyring failed.
#[derive(Debug, Error)]
pub enum KeyringError {
    /// The folder or a file in it.
    #[error("the keyring's files: {0}")]
    File(#[from] io::Error),
    /// A file does not open under this root key, or is not what its name says.
    #[error("a keyring file does not open")]
    Sealed,
    /// The root key was wiped meanwhile: nothing can be said of any file.
    #[error("the vault was sealed meanwhile")]
    Wiped,
    /// The system gave no randomness.
    #[error("no randomness for an epoch key")]
    NoRandomness,
}

impl From<EnvelopeError> for KeyringError {
    fn from(error: EnvelopeError) -> Self {
        match error {
            EnvelopeError::NoRandomness => Self::NoRandomness,
            _ => Self::Sealed,
        }
    }
}

/// The open keyring.
pub(crate) struct Keyring {
    folder: PathBuf,
    root: Arc<RootKey>,
    keys: Mutex<HashMap<EpochId, Arc<EpochKey>>>,
}

impl Keyring {
    /// Makes an empty keyring whose time mark is `now`.
    ///
    /// # Errors
    /// When it cannot, or one is there.
    pub(crate) fn create(
        folder: &Path,
        root: &RootKey,
        now: Timestamp,
    ) -> Result<(), KeyringError> {
        files::create_folder(folder)?;
        files::create(&folder.join(MARK), &seal_mark(root, now)?)?;
        Ok(())
    }

    /// Whether a keyring was made here.
    pub(crate) fn exists(folder: &Path) -> bool {
        folder.join(MARK).exists()
    }

    /// Whether epoch keys lie here, with or without a time mark.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub(crate) fn has_epochs(folder: &Path) -> Result<bool, KeyringError> {
        match epochs_in(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            found => Ok(!found?.is_empty()),
        }
    }

    /// Opens the keyring.
    ///
    /// # Errors
    /// When its folder is open to others or its mark does not open: without the mark a clock set back would go unseen.
    pub(crate) fn open(folder: PathBuf, root: Arc<RootKey>) -> Result<Self, KeyringError> {
        files::check_private(&folder)?;
        let keyring = Self {
            folder,
            root,
            keys: Mutex::default(),
        };
        keyring.mark()?;
        Ok(keyring)
    }

    /// The key of an epoch, when it is in memory.
    pub(crate) fn at_hand(&self, epoch: EpochId) -> Option<Arc<EpochKey>> {
        self.cache().get(&epoch).cloned()
    }

    /// The key of an epoch that takes new records, made when it is not there.
    ///
    /// # Errors
    /// When the files fail.
    pub(crate) fn for_sealing(&self, epoch: EpochId) -> Result<Arc<EpochKey>, KeyringError> {
        if let Some(key) = self.at_hand(epoch) {
            return Ok(key);
        }
        if let Some(key) = self.load(epoch)? {
            // Another process made it, perhaps a moment ago: nothing is sealed under a key that a power cut could take.
            files::sync_folder(&self.folder)?;
            return Ok(key);
        }
        let secret = Secret::<32>::generate(&mut OsEntropy)?;
        let sealed = self
            .root
            .seal(&place(&row(epoch)), secret.expose(), &mut OsEntropy)?;
        match files::create(&self.path(epoch), &sealed) {
            Ok(()) => {}
            // Another thread or process was faster: its key is the key.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error.into()),
        }
        self.load(epoch)?.ok_or(KeyringError::Sealed)
    }

    /// The key of an epoch whose records may still be opened at `now`.
    ///
    /// # Errors
    /// When the files fail.
    pub(crate) fn for_opening(
        &self,
        epoch: EpochId,
        now: Now,
    ) -> Result<Option<Arc<EpochKey>>, KeyringError> {
        if epoch.is_expired(now.timestamp()) {
            self.forget(epoch);
            return Ok(None);
        }
        self.load(epoch)
    }

    /// Every epoch with a key here.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub(crate) fn list(&self) -> Result<BTreeSet<EpochId>, KeyringError> {
        Ok(epochs_in(&self.folder)?)
    }

    /// Destroys an epoch's key; fine when it is gone already.
    ///
    /// # Errors
    /// When the file cannot be removed or is seen after its removal.
    pub(crate) fn destroy(&self, epoch: EpochId) -> Result<(), KeyringError> {
        // With the memory held, so that nobody reads the file before it goes and keeps the key after.
        let mut cache = self.cache();
        cache.remove(&epoch);
        Ok(files::destroy(&self.path(epoch))?)
    }

    /// The latest time that any process with this keyring has seen.
    ///
    /// # Errors
    /// When the mark is missing or does not open.
    pub(crate) fn mark(&self) -> Result<Timestamp, KeyringError> {
        let sealed = fs::read(self.folder.join(MARK))?;
        let millis = self.root.open(&place(MARK.as_bytes()), &sealed)?;
        let millis = millis
            .as_slice()
            .try_into()
            .map_err(|_| KeyringError::Sealed)?;
        Ok(Timestamp::from_millis(u64::from_be_bytes(millis)))
    }

    /// Moves the mark forward to `time`, durably. Never back: answers the mark that stands.
    ///
    /// # Errors
    /// When the files fail.
    pub(crate) fn advance_mark(&self, time: Timestamp) -> Result<Timestamp, KeyringError> {
        let _writing = files::lock(&self.folder)?;
        let mark = self.mark()?;
        if time > mark {
            files::replace(&self.folder.join(MARK), &seal_mark(&self.root, time)?)?;
        }
        Ok(mark.max(time))
    }

    fn load(&self, epoch: EpochId) -> Result<Option<Arc<EpochKey>>, KeyringError> {
        let mut cache = self.cache();
        if let Some(key) = cache.get(&epoch) {
            return Ok(Some(key.clone()));
        }
        let sealed = match fs::read(self.path(epoch)) {
            Ok(sealed) => sealed,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let secret = self.root.open(&place(&row(epoch)), &sealed)?;
        let key = Arc::new(EpochKey(Secret::from_slice(&secret)?));
        cache.insert(epoch, key.clone());
        Ok(Some(key))
    }

    /// Drops a key from memory, where it is wiped once the steps that use it end.
    fn forget(&self, epoch: EpochId) {
        self.cache().remove(&epoch);
    }

    /// Drops every key from memory.
    pub(crate) fn forget_all(&self) {
        self.cache().clear();
    }

    /// Drops every key whose epoch is past its time, so that memory keeps the promise too.
    pub(crate) fn forget_expired(&self, now: Now) {
        self.cache()
            .retain(|epoch, _| !epoch.is_expired(now.timestamp()));
    }

    /// Drops every key whose file is gone: another replica destroyed it, by a clock ahead of ours.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub(crate) fn forget_destroyed(&self) -> Result<(), KeyringError> {
        let here = self.list()?;
        self.cache().retain(|epoch, _| here.contains(epoch));
        Ok(())
    }

    fn cache(&self) -> std::sync::MutexGuard<'_, HashMap<EpochId, Arc<EpochKey>>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, epoch: EpochId) -> PathBuf {
        let (retention, start) = (epoch.retention().seconds(), epoch.start_seconds());
        self.folder.join(format!("{retention}-{start}.{EXTENSION}"))
    }
}

fn epochs_in(folder: &Path) -> io::Result<BTreeSet<EpochId>> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder)? {
        found.extend(epoch_of(&entry?.path()));
    }
    Ok(found)
}

fn epoch_of(path: &Path) -> Option<EpochId> {
    if path.extension()? != EXTENSION {
        return None;
    }
    let (retention, start) = path.file_stem()?.to_str()?.split_once('-')?;
    EpochId::from_parts(retention.parse().ok()?, start.parse().ok()?)
}

fn row(epoch: EpochId) -> Vec<u8> {
    let mut row = epoch.retention().seconds().to_be_bytes().to_vec();
    row.extend_from_slice(&epoch.start_seconds().to_be_bytes());
    row
}

fn seal_mark(root: &RootKey, time: Timestamp) -> Result<Vec<u8>, EnvelopeError> {
    let mut entropy = OsEntropy;
    let entropy: &mut dyn Entropy = &mut entropy;
    root.seal(
        &place(MARK.as_bytes()),
        &time.as_millis().to_be_bytes(),
        entropy,
    )
}

fn place(row: &[u8]) -> Place<'_> {
    Place {
        table: "keyring",
        column: "key",
        row,
        number: "",
        key_version: 1,
        row_version: 1,
    }
}

#[cfg(test)]
mod tests;
