//! The erasure journal: whom and what the vault erased, in a file of the keyring's folder and so outside every database and its
//! backups. A vault whose database was restored erases all of it again.
//!
//! Knows numbers, tags and times; never a phone number, nor what leads to one. Entries have one length and are sealed under the
//! root key, so the folder tells nobody who was erased. Invariants: an entry is durable before its erasure is answered; replicas
//! append one after the other; what a power cut left of an entry that nobody was told of is dropped, and anything else that does
//! not open stops the vault.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use sealpost_envelope::{
    OsEntropy,
    aead::{NONCE_LEN, TAG_LEN},
};
use sealpost_runtime::Timestamp;

use super::{KeyringError, Place, RootKey, files};
use crate::{
    layout::{Reader, put_field8},
    subject::Tag,
};

const FILE: &str = "erasures.journal";
/// How long an entry is kept: no backup of the database may be older than this.
pub(crate) const MEMORY: Duration = Duration::from_secs(400 * 86_400);

const VERSION: u8 = 1;
const MAX_NUMBER: usize = 32;
/// Version, kind, number, name, time.
const ENTRY_LEN: usize = 1 + 1 + (1 + MAX_NUMBER) + 16 + 8;
const SEALED_LEN: usize = NONCE_LEN + ENTRY_LEN + TAG_LEN;

/// What was erased.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Erased {
    /// A person: the tag, which no later subject of the same person has.
    Subject(Tag),
    /// A number with all it had: the first 16 bytes of its signing key's fingerprint, which no later number of that id has.
    Number([u8; 16]),
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) number: String,
    pub(crate) erased: Erased,
    pub(crate) at: Timestamp,
}

/// The journal of one keyring.
pub(crate) struct Journal {
    folder: PathBuf,
    root: Arc<RootKey>,
    seen: Mutex<Seen>,
}

/// What the file was when it was read last, and how far its older entries were looked at.
#[derive(Default)]
struct Seen {
    file: Option<(u64, SystemTime)>,
    entries: Vec<Entry>,
    next: usize,
}

impl Journal {
    /// The journal in a keyring's folder. Its file is made by the first entry.
    pub(crate) fn new(folder: &Path, root: Arc<RootKey>) -> Self {
        Self {
            folder: folder.to_owned(),
            root,
            seen: Mutex::default(),
        }
    }

    /// Adds an entry. It is on the disk when this returns.
    ///
    /// # Errors
    /// When the files fail: then the erasure must not be answered.
    pub(crate) fn append(&self, entry: &Entry) -> Result<(), KeyringError> {
        let sealed = self.root.seal(&PLACE, &encode(entry), &mut OsEntropy)?;
        let _alone = files::lock(&self.folder)?;
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(self.path())?;
        let end = self.end(&mut file)?;
        file.set_len(end)?;
        file.seek(SeekFrom::Start(end))?;
        file.write_all(&sealed)?;
        file.sync_all()?;
        // Also when it was there: whoever made it may have died before this.
        Ok(File::open(&self.folder)?.sync_all()?)
    }

    /// Every entry, the oldest first. They are on the disk when this returns, also those whose writer died before that.
    ///
    /// # Errors
    /// When the file cannot be read, others may touch it, or an entry does not open.
    pub(crate) fn entries(&self) -> Result<Vec<Entry>, KeyringError> {
        let _alone = files::lock(&self.folder)?;
        let bytes = self.read()?;
        if !bytes.is_empty() {
            File::open(self.path())?.sync_all()?;
            File::open(&self.folder)?.sync_all()?;
        }
        self.whole(&bytes)
    }

    /// The same, after those older than [`MEMORY`] were dropped.
    ///
    /// # Errors
    /// As [`Journal::entries`].
    pub(crate) fn trimmed(&self, now: Timestamp) -> Result<Vec<Entry>, KeyringError> {
        let entries = self.entries()?;
        // Each entry costs its opening: mostly none is too old, and they are read once.
        match entries.first() {
            Some(first) if first.at < now - MEMORY => {
                self.trim(now)?;
                self.entries()
            }
            _ => Ok(entries),
        }
    }

    /// Entries to look for in the database now: the newest each time, and the older ones a page each time in turn. The file is
    /// read again when it has changed.
    ///
    /// # Errors
    /// As [`Journal::entries`].
    pub(crate) fn page(&self, most: usize) -> Result<Vec<Entry>, KeyringError> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let file = match fs::metadata(self.path()) {
            Ok(found) => Some((found.len(), found.modified()?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error.into()),
        };
        if seen.file != file {
            seen.entries = self.entries()?;
            seen.file = file;
        }
        let (older, newest) = seen
            .entries
            .split_at(seen.entries.len().saturating_sub(most));
        let begin = if seen.next < older.len() {
            seen.next
        } else {
            0
        };
        let end = older.len().min(begin + most);
        let page = [newest, &older[begin..end]].concat();
        seen.next = end;
        Ok(page)
    }

    /// Drops entries older than [`MEMORY`]; answers how many are left.
    ///
    /// # Errors
    /// When the files fail.
    pub(crate) fn trim(&self, now: Timestamp) -> Result<usize, KeyringError> {
        let _alone = files::lock(&self.folder)?;
        let bytes = self.read()?;
        let entries = self.whole(&bytes)?;
        let oldest = now - MEMORY;
        let old = entries.iter().take_while(|entry| entry.at < oldest).count();
        if old > 0 {
            let left = &bytes[old * SEALED_LEN..entries.len() * SEALED_LEN];
            files::replace(&self.path(), left)?;
        }
        Ok(entries.len() - old)
    }

    /// Where the last whole entry ends.
    fn end(&self, file: &mut File) -> Result<u64, KeyringError> {
        let step = SEALED_LEN as u64;
        let entries = file.metadata()?.len() / step;
        let Some(last) = entries.checked_sub(1) else {
            return Ok(0);
        };
        let mut sealed = [0; SEALED_LEN];
        file.seek(SeekFrom::Start(last * step))?;
        file.read_exact(&mut sealed)?;
        let whole = if self.open(&sealed)?.is_some() {
            entries
        } else {
            last
        };
        Ok(whole * step)
    }

    fn read(&self) -> Result<Vec<u8>, KeyringError> {
        match fs::read(self.path()) {
            Ok(bytes) => {
                files::check_private(&self.path())?;
                Ok(bytes)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error.into()),
        }
    }

    /// The entries that were written to their end.
    fn whole(&self, bytes: &[u8]) -> Result<Vec<Entry>, KeyringError> {
        let sealed = bytes.chunks_exact(SEALED_LEN);
        let last = sealed.len().saturating_sub(1);
        let mut entries = Vec::with_capacity(sealed.len());
        for (at, sealed) in sealed.enumerate() {
            match self.open(sealed)? {
                Some(entry) => entries.push(entry),
                // A power cut may leave the length of the last one without its bytes. Nobody was told of it.
                None if at == last => break,
                None => return Err(KeyringError::Sealed),
            }
        }
        Ok(entries)
    }

    /// None: it was not written to its end.
    ///
    /// # Errors
    /// When the root key was wiped: a whole entry must not pass for a torn one.
    fn open(&self, sealed: &[u8]) -> Result<Option<Entry>, KeyringError> {
        match self.root.open(&PLACE, sealed) {
            Ok(entry) => Ok(decode(&entry)),
            Err(_) if self.root.is_wiped() => Err(KeyringError::Wiped),
            Err(_) => Ok(None),
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.join(FILE)
    }
}

const PLACE: Place<'static> = Place {
    table: "keyring",
    column: "erased",
    row: FILE.as_bytes(),
    number: "",
    key_version: 1,
    row_version: 1,
};

fn encode(entry: &Entry) -> Vec<u8> {
    let (kind, name) = match entry.erased {
        Erased::Subject(tag) => (1, tag.0),
        Erased::Number(fingerprint) => (2, fingerprint),
    };
    let mut out = Vec::with_capacity(ENTRY_LEN);
    out.extend_from_slice(&[VERSION, kind]);
    out.extend_from_slice(&name);
    out.extend_from_slice(&entry.at.as_millis().to_be_bytes());
    put_field8(&mut out, entry.number.as_bytes());
    out.resize(ENTRY_LEN, 0);
    out
}

fn decode(bytes: &[u8]) -> Option<Entry> {
    let mut reader = Reader::new(bytes);
    if reader.byte()? != VERSION {
        return None;
    }
    let (kind, name) = (reader.byte()?, reader.array()?);
    let at = Timestamp::from_millis(reader.u64()?);
    let number = std::str::from_utf8(reader.field8()?).ok()?.to_owned();
    let erased = match kind {
        1 => Erased::Subject(Tag(name)),
        2 => Erased::Number(name),
        _ => return None,
    };
    Some(Entry { number, erased, at })
}

#[cfg(test)]
mod tests;
