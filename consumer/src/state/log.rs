//! The state file on disk: a snapshot, then one sealed record for each commit.
//!
//! Invariants: one process at a time, by a lock file; a record is durable before [`StateLog::append`] returns; after a failed
//! write nothing more is written, because what the disk holds is not known; a snapshot replaces the file whole, by rename.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{Read, Seek, SeekFrom, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use ring::rand::{SecureRandom, SystemRandom};

use super::sealing::{self, HEADER_LEN, Record, RootKey, Sealing};
use crate::StateError;

/// A log shorter than this is not compacted.
const COMPACT_LEAST: u64 = 1024 * 1024;
/// A log is compacted when it has grown to this many times its snapshot.
const COMPACT_FACTOR: u64 = 4;

/// An open state file.
pub(super) struct StateLog {
    path: PathBuf,
    root: RootKey,
    file: File,
    sealing: Sealing,
    next: u64,
    length: u64,
    snapshot_length: u64,
    poisoned: bool,
    /// Held for as long as this lives; the system releases it when the process ends.
    _lock: File,
}

impl StateLog {
    /// Opens the file at `path`, making it and its key file when there is none. Answers its records, snapshot first.
    pub(super) fn open(path: &Path) -> Result<(Self, Vec<Record>), StateError> {
        let lock = lock(&beside(path, "lock"))?;
        let exists = path.try_exists().map_err(StateError::io("look for"))?;
        let root = root_key(&beside(path, "key"), !exists)?;
        discard(&beside(path, "new"))?;
        if !exists {
            let (file, sealing, length) = write_beside(path, &root, &[])?;
            fs::rename(beside(path, "new"), path).map_err(StateError::io("create"))?;
            sync_folder(path)?;
            let log = Self {
                path: path.to_owned(),
                root,
                file,
                sealing,
                next: 1,
                length,
                snapshot_length: length,
                poisoned: false,
                _lock: lock,
            };
            return Ok((log, Vec::new()));
        }

        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .map_err(StateError::io("open"))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)
            .map_err(StateError::io("read"))?;
        let contents = sealing::read(&root, &bytes)?;
        let length = contents.length as u64;
        if contents.length < bytes.len() {
            // A crash cut the last record short; nobody acted on it.
            file.set_len(length).map_err(StateError::io("shorten"))?;
            file.sync_data().map_err(StateError::io("shorten"))?;
        }
        file.seek(SeekFrom::Start(length))
            .map_err(StateError::io("read"))?;
        let log = Self {
            path: path.to_owned(),
            root,
            file,
            sealing: contents.sealing,
            next: contents.records.len() as u64,
            length,
            snapshot_length: contents.snapshot_length as u64,
            poisoned: false,
            _lock: lock,
        };
        Ok((log, contents.records))
    }

    /// Writes one record and waits until it is durable.
    pub(super) fn append(&mut self, plain: &[u8]) -> Result<(), StateError> {
        if self.poisoned {
            return Err(StateError::Poisoned);
        }
        let record = self.sealing.record(self.next, plain)?;
        self.poisoned = true;
        self.file
            .write_all(&record)
            .map_err(StateError::io("write"))?;
        self.file.sync_data().map_err(StateError::io("write"))?;
        self.poisoned = false;
        self.next += 1;
        self.length += record.len() as u64;
        Ok(())
    }

    /// Whether the log has grown enough to be replaced by a snapshot.
    pub(super) fn wants_compaction(&self) -> bool {
        self.length > COMPACT_LEAST && self.length / COMPACT_FACTOR > self.snapshot_length
    }

    /// Puts a file with nothing but this snapshot in place of the log. Until the rename a failure leaves the log as it was;
    /// after it, nothing more is written, since a power cut could bring the old file back.
    pub(super) fn compact(&mut self, snapshot: &[u8]) -> Result<(), StateError> {
        if self.poisoned {
            return Err(StateError::Poisoned);
        }
        let (file, sealing, length) = write_beside(&self.path, &self.root, snapshot)?;
        fs::rename(beside(&self.path, "new"), &self.path).map_err(StateError::io("replace"))?;
        self.file = file;
        self.sealing = sealing;
        self.next = 1;
        self.length = length;
        self.snapshot_length = length;
        self.poisoned = true;
        sync_folder(&self.path)?;
        self.poisoned = false;
        Ok(())
    }
}

/// Makes a durable file with one record beside `path`, to be renamed. The handle stands at its end.
fn write_beside(
    path: &Path,
    root: &RootKey,
    snapshot: &[u8],
) -> Result<(File, Sealing, u64), StateError> {
    let sealing = Sealing::fresh(root)?;
    let record = sealing.record(0, snapshot)?;
    let temporary = beside(path, "new");
    discard(&temporary)?;
    let mut file = private(&temporary)?;
    file.write_all(&sealing.header())
        .map_err(StateError::io("write"))?;
    file.write_all(&record).map_err(StateError::io("write"))?;
    file.sync_all().map_err(StateError::io("write"))?;
    Ok((file, sealing, (HEADER_LEN + record.len()) as u64))
}

fn root_key(path: &Path, may_create: bool) -> Result<RootKey, StateError> {
    let mut key = RootKey::new([0; 32]);
    match File::open(path) {
        Ok(mut file) => {
            let metadata = file.metadata().map_err(StateError::io("read the key of"))?;
            if metadata.mode() & 0o077 != 0 {
                return Err(StateError::KeyFile("must be readable by its owner alone"));
            }
            if metadata.len() != 32 {
                return Err(StateError::KeyFile("must hold 32 bytes"));
            }
            file.read_exact(&mut *key)
                .map_err(StateError::io("read the key of"))?;
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && may_create => {
            SystemRandom::new()
                .fill(&mut *key)
                .map_err(|_| StateError::KeyFile("cannot be made without randomness"))?;
            let temporary = beside(path, "new");
            discard(&temporary)?;
            let mut file = private(&temporary)?;
            file.write_all(&*key)
                .map_err(StateError::io("write the key of"))?;
            file.sync_all()
                .map_err(StateError::io("write the key of"))?;
            fs::rename(&temporary, path).map_err(StateError::io("write the key of"))?;
            sync_folder(path)?;
        }
        Err(error) => return Err(StateError::io("read the key of")(error)),
    }
    Ok(key)
}

fn lock(path: &Path) -> Result<File, StateError> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)
        .map_err(StateError::io("lock"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(StateError::Locked),
        Err(fs::TryLockError::Error(error)) => Err(StateError::io("lock")(error)),
    }
}

fn private(path: &Path) -> Result<File, StateError> {
    OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(path)
        .map_err(StateError::io("create"))
}

fn discard(path: &Path) -> Result<(), StateError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(StateError::io("tidy")(error))
        }
        _ => Ok(()),
    }
}

fn sync_folder(path: &Path) -> Result<(), StateError> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(StateError::io("keep"))
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(path.as_os_str());
    name.push(".");
    name.push(ending);
    PathBuf::from(name)
}
