//! Private files that survive a power cut, and files that are really gone.
//!
//! Knows nothing of what the bytes mean.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::Path,
};

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

/// Writes a file that must not exist yet. Its entry is durable when this returns.
///
/// A link, unlike a rename, never replaces a file that another process made meanwhile.
pub(super) fn create(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = folder_of(path);
    let temporary = path.with_extension(format!("new-{}", std::process::id()));
    let written = write_new(&temporary, bytes).and_then(|()| fs::hard_link(&temporary, path));
    let removed = fs::remove_file(&temporary);
    written?;
    removed?;
    sync_folder(folder)
}

/// Writes a file, in place of the one that is there. At any moment the old or the new one stands.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension(format!("new-{}", std::process::id()));
    write_new(&temporary, bytes)?;
    fs::rename(&temporary, path)?;
    sync_folder(folder_of(path))
}

/// Overwrites and deletes a file; fine when it is not there. It is gone from the folder, durably, when this returns.
///
/// Overwriting is a courtesy to plain disks: copy-on-write and flash keep old blocks, which is why what lies here is
/// sealed under a key that can itself be replaced.
pub(super) fn destroy(path: &Path) -> io::Result<()> {
    match OpenOptions::new().write(true).open(path) {
        Ok(mut file) => {
            let len = usize::try_from(file.metadata()?.len())
                .unwrap_or(usize::MAX)
                .min(4096);
            file.write_all(&vec![0; len])?;
            file.sync_all()?;
            fs::remove_file(path)?;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    sync_folder(folder_of(path))?;
    if fs::exists(path)? {
        Err(io::Error::other("still there after its removal"))
    } else {
        Ok(())
    }
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // What a crash of an earlier process of the same id left is nobody's.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn folder_of(path: &Path) -> &Path {
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
