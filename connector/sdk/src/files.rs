//! Secrets in files that only their owner may read.
//!
//! Owns the reading and making of such files; never says what was in one.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use sealpost_envelope::{OsEntropy, Secret};
use thiserror::Error;
use zeroize::Zeroizing;

const KEY_LEN: usize = 32;
/// No token or secret text is longer.
const MAX_TEXT_LEN: u64 = 4096;

/// Why a file of a secret cannot be used.
#[derive(Debug, Error)]
pub enum KeyFileError {
    /// It cannot be read or written.
    #[error("cannot use {path}: {error}", path = path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        error: io::Error,
    },
    /// Others than its owner may read it.
    #[error("{path} must be readable by its owner only (chmod 600)", path = .0.display())]
    Open(PathBuf),
    /// It does not hold what it should.
    #[error("{path} {message}", path = path.display())]
    Content {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        message: &'static str,
    },
}

/// Reads a file of 32 raw bytes.
///
/// # Errors
/// When it cannot be read, others may read it, or it has another length.
pub fn read_secret(path: &Path) -> Result<Secret<32>, KeyFileError> {
    let bytes = read_private(path, KEY_LEN as u64 + 1)?;
    Secret::from_slice(&bytes).map_err(|_| KeyFileError::Content {
        path: path.to_owned(),
        message: "must hold exactly 32 bytes",
    })
}

/// Reads a file of 32 raw bytes, or makes it with random ones. A file that stands is never overwritten, and one that
/// appears is whole.
///
/// # Errors
/// As [`read_secret`], or when it cannot be made.
pub fn read_or_make_secret(path: &Path) -> Result<Secret<32>, KeyFileError> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            make(path).map_err(|error| KeyFileError::Io {
                path: path.to_owned(),
                error,
            })?;
        }
        _ => {}
    }
    read_secret(path)
}

/// Reads a secret text, such as a token; white space around it does not count.
///
/// # Errors
/// When it cannot be read, others may read it, or it is empty, too long or not visible ASCII.
pub fn read_text(path: &Path) -> Result<Zeroizing<String>, KeyFileError> {
    let refuse = |message| KeyFileError::Content {
        path: path.to_owned(),
        message,
    };
    let bytes = read_private(path, MAX_TEXT_LEN + 1)?;
    if bytes.len() as u64 > MAX_TEXT_LEN {
        return Err(refuse("is too long"));
    }
    let text = bytes.trim_ascii();
    if text.is_empty() {
        return Err(refuse("is empty"));
    }
    if !text.iter().all(u8::is_ascii_graphic) {
        return Err(refuse("must be visible ASCII without spaces"));
    }
    match std::str::from_utf8(text) {
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(_) => Err(refuse("must be visible ASCII without spaces")),
    }
}

fn read_private(path: &Path, limit: u64) -> Result<Zeroizing<Vec<u8>>, KeyFileError> {
    let failed = |error| KeyFileError::Io {
        path: path.to_owned(),
        error,
    };
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if metadata.permissions().mode() & 0o077 != 0 {
        return Err(KeyFileError::Open(path.to_owned()));
    }
    // Sized once: growing would leave a copy in freed memory.
    let mut bytes = Zeroizing::new(Vec::with_capacity(limit.min(MAX_TEXT_LEN + 1) as usize));
    file.take(limit).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

fn make(path: &Path) -> io::Result<()> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let mut draft = path.as_os_str().to_owned();
    draft.push(".new");
    let secret = Secret::<KEY_LEN>::generate(&mut OsEntropy)
        .map_err(|error| io::Error::other(error.reason()))?;
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&draft)?;
    file.write_all(secret.expose())?;
    file.sync_all()?;
    // Unlike a rename, a link never replaces what another process made meanwhile.
    let linked = match fs::hard_link(&draft, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    };
    fs::remove_file(&draft)?;
    linked?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn folder_with(name: &str, bytes: &[u8], mode: u32) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        (folder, path)
    }

    #[test]
    fn a_key_that_others_may_read_is_refused() {
        let (_folder, path) = folder_with("key", &[7; 32], 0o640);
        assert!(matches!(read_secret(&path), Err(KeyFileError::Open(_))));
    }

    #[test]
    fn a_key_of_another_length_is_refused() {
        for len in [0, 31, 33, 64] {
            let (_folder, path) = folder_with("key", &vec![7; len], 0o600);
            assert!(matches!(
                read_secret(&path),
                Err(KeyFileError::Content { .. })
            ));
        }
    }

    #[test]
    fn a_key_is_made_once_and_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let made = read_or_make_secret(&path).unwrap();
        let read = read_or_make_secret(&path).unwrap();
        assert!(made.ct_eq(&read));
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn an_empty_key_file_is_not_filled() {
        let (_folder, path) = folder_with("key", b"", 0o600);
        assert!(read_or_make_secret(&path).is_err());
        assert!(fs::read(&path).unwrap().is_empty());
    }

    #[test]
    fn a_text_loses_the_line_end_and_nothing_else() {
        let (_folder, path) = folder_with("token", b"abc.DEF\n", 0o600);
        assert_eq!(read_text(&path).unwrap().as_str(), "abc.DEF");
        let (_folder, path) = folder_with("token", b"abc def", 0o600);
        assert!(read_text(&path).is_err());
        let (_folder, path) = folder_with("token", b" \n", 0o600);
        assert!(read_text(&path).is_err());
    }
}
