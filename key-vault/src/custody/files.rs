//! Private files that survive a power cut, and files that are really gone.
//!
//! Knows nothing of what the bytes mean.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use sealpost_envelope::{Entropy, OsEntropy};
use sealpost_failpoints::failpoint;

/// How the extension of a file under way begins.
const TEMPORARY: &str = "new-";

/// Makes the folder, readable by its owner only.
pub(super) fn create_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    check_private(folder)
}

/// Refuses a file or folder that anyone but its owner may touch, or whose owner is not us.
pub(super) fn check_private(path: &Path) -> io::Result<()> {
    let found = fs::symlink_metadata(path)?;
    let ours = found.uid() == rustix::process::geteuid().as_raw();
    if found.mode() & 0o077 != 0 || !ours || found.is_symlink() {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "must be its owner's alone (chmod go-rwx)",
        ));
    }
    Ok(())
}

/// Reads a file of at most `most` bytes; neither a pipe nor a device is waited for.
pub(super) fn read_small(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let nonblocking = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(nonblocking)
        .open(path)?;
    let found = file.metadata()?;
    let mut bytes = Vec::new();
    if found.is_file() {
        file.take(most + 1).read_to_end(&mut bytes)?;
    }
    if !found.is_file() || bytes.len() as u64 > most {
        let problem = format!("must be a file of at most {most} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
    }
    Ok(bytes)
}

/// Writes a file that must not exist yet. Its entry is durable when this returns.
///
/// A link, unlike a rename, never replaces a file that another process made meanwhile.
pub(super) fn create(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = folder_of(path);
    let temporary = temporary(path)?;
    let written = write_new(&temporary, bytes).and_then(|()| fs::hard_link(&temporary, path));
    failpoint!("file.linked");
    let removed = remove(&temporary);
    written?;
    removed?;
    sync_folder(folder)
}

/// Writes a file, in place of the one that is there. At any moment the old or the new one stands.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = temporary(path)?;
    write_new(&temporary, bytes)?;
    fs::rename(&temporary, path)?;
    failpoint!("file.replaced");
    sync_folder(folder_of(path))
}

/// Overwrites and deletes a file, by whatever names a crash in [`create`] left it; fine when it is not there. It is gone from the
/// folder, durably, when this returns.
///
/// Overwriting is a courtesy to plain disks: copy-on-write and flash keep old blocks, which is why what lies here is
/// sealed under a key that can itself be replaced.
pub(super) fn destroy(path: &Path) -> io::Result<()> {
    overwrite(path)?;
    failpoint!("file.overwritten");
    for leftover in leftovers(path)? {
        overwrite(&leftover)?;
        remove(&leftover)?;
    }
    remove(path)?;
    failpoint!("file.removed");
    sync_folder(folder_of(path))?;
    failpoint!("file.gone");
    if fs::exists(path)? {
        Err(io::Error::other("still there after its removal"))
    } else {
        Ok(())
    }
}

/// Holds off every other process that does the same with this folder, until it is dropped.
pub(super) fn lock(folder: &Path) -> io::Result<File> {
    let folder = File::open(folder)?;
    folder.lock()?;
    Ok(folder)
}

fn overwrite(path: &Path) -> io::Result<()> {
    match OpenOptions::new().write(true).open(path) {
        Ok(mut file) => {
            let len = usize::try_from(file.metadata()?.len())
                .unwrap_or(usize::MAX)
                .min(4096);
            file.write_all(&vec![0; len])?;
            file.sync_all()
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// A name beside `path` that no other process, in whatever container, has.
fn temporary(path: &Path) -> io::Result<PathBuf> {
    let mut random = [0; 8];
    OsEntropy.fill(&mut random).map_err(io::Error::other)?;
    Ok(path.with_extension(format!("{TEMPORARY}{}", hex::encode(random))))
}

/// Names that [`temporary`] gave beside `path` and a crash left.
fn leftovers(path: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder_of(path))? {
        let other = entry?.path();
        let is_temporary = other
            .extension()
            .and_then(|extension| extension.to_str())
            .is_some_and(|extension| extension.starts_with(TEMPORARY));
        if is_temporary && other.file_stem() == path.file_stem() {
            found.push(other);
        }
    }
    Ok(found)
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)?;
    failpoint!("file.written");
    file.sync_all()?;
    failpoint!("file.synced");
    Ok(())
}

pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

pub(super) fn folder_of(path: &Path) -> &Path {
    path.parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_created_file_is_private_and_never_replaces_another() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.key");
        create(&path, b"one").unwrap();
        check_private(&path).unwrap();
        assert_eq!(
            create(&path, b"two").unwrap_err().kind(),
            io::ErrorKind::AlreadyExists
        );
        assert_eq!(fs::read(&path).unwrap(), b"one");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_destroyed_file_is_gone_and_destroying_it_again_is_fine() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.key");
        create(&path, b"one").unwrap();
        destroy(&path).unwrap();
        assert!(!path.exists());
        destroy(&path).unwrap();
    }

    #[test]
    fn a_destroyed_file_is_gone_by_the_name_too_that_a_crash_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("3600-7200.epoch");
        create(&path, b"one").unwrap();
        // As a crash between link and removal leaves it, and one before the link.
        fs::hard_link(&path, temporary(&path).unwrap()).unwrap();
        write_new(&temporary(&path).unwrap(), b"two").unwrap();
        let other = folder.path().join("3600-7500.epoch");
        write_new(&temporary(&other).unwrap(), b"three").unwrap();
        destroy(&path).unwrap();
        let left: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
        assert_eq!(left.len(), 1, "{left:?}");
    }

    #[test]
    fn a_file_that_others_may_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.key");
        replace(&path, b"one").unwrap();
        for mode in [0o640, 0o604, 0o601, 0o620] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(
                check_private(&path).unwrap_err().kind(),
                io::ErrorKind::PermissionDenied
            );
        }
    }
}
