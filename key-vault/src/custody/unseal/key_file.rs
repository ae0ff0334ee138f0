//! A key in a file of its own, mode 0600, that the owner alone may read.

use std::{fs, io, path::Path};

use sealpost_envelope::{OsEntropy, Secret, aead::AeadKey};
use zeroize::Zeroizing;

use super::{UnsealError, files};

/// Reads the key.
///
/// # Errors
/// When the file is missing, not 32 bytes, or open to anyone but its owner.
pub(super) fn load(path: &Path) -> Result<AeadKey, UnsealError> {
    let file = |error| UnsealError::File(path.to_owned(), error);
    files::check_private(path).map_err(file)?;
    let bytes = Zeroizing::new(files::read_small(path, 32).map_err(file)?);
    let secret = Secret::from_slice(&bytes).map_err(|_| {
        let problem = io::Error::new(io::ErrorKind::InvalidData, "must hold 32 bytes");
        file(problem)
    })?;
    Ok(AeadKey::new(secret))
}

/// Reads the key, and makes it when there is no file.
///
/// # Errors
/// When neither can be.
pub(super) fn load_or_create(path: &Path) -> Result<AeadKey, UnsealError> {
    let there = fs::exists(path).map_err(|error| UnsealError::File(path.to_owned(), error))?;
    if !there {
        let file = |error| UnsealError::File(path.to_owned(), error);
        let secret = Secret::<32>::generate(&mut OsEntropy)?;
        let folder = files::folder_of(path);
        if !folder.exists() {
            files::create_folder(folder).map_err(file)?;
        }
        files::create(path, secret.expose()).map_err(file)?;
    }
    load(path)
}
