//! SQLite: its file and its settings.
//!
//! Owns what makes a committed row survive a power cut and a deleted one disappear. Has no knowledge
//! of transactions' contents. Invariant: a connection is only used after its settings read back as set.

mod error;
mod pool;
mod session;

use std::{
    fs::{DirBuilder, File, OpenOptions, Permissions},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use sqlx::{AssertSqlSafe, query_scalar};

pub(crate) use error::SqliteError;
pub(crate) use pool::{FilePool, Loan};
pub(crate) use session::{Answer, Session};

use crate::{Connection, DatabaseError, source::Purpose};

/// The order matters: a connection waits for others' locks before it asks for one, and `auto_vacuum` only takes before the log
/// and the first table. Setting it takes the write lock, so the writer alone does. Milliseconds.
///
/// The writer keeps 16 MB of pages, so that a batch that touches a thousand of them reads and writes each once. The log grows to
/// 4,000 pages (16 MB) before its pages go into the file: a page that changes with every batch is then written there once for many.
const SETTLE_WRITER: &str = "\
    PRAGMA busy_timeout = 10000; \
    PRAGMA auto_vacuum = INCREMENTAL; \
    PRAGMA cache_size = -16384; \
    PRAGMA wal_autocheckpoint = 4000";
const SETTLE_READER: &str = "PRAGMA busy_timeout = 10000; PRAGMA query_only = ON";

/// The size is in bytes.
const SETTLE: &str = "\
    PRAGMA journal_mode = WAL; \
    PRAGMA synchronous = FULL; \
    PRAGMA foreign_keys = ON; \
    PRAGMA secure_delete = ON; \
    PRAGMA temp_store = MEMORY; \
    PRAGMA mmap_size = 0; \
    PRAGMA trusted_schema = OFF; \
    PRAGMA journal_size_limit = 67108864";

/// Pragmas that must read back as wanted, or the connection is not used.
const SETTINGS: &[(&str, i64)] = &[
    ("synchronous", 2),   // FULL: a commit is on the disk before it is answered.
    ("secure_delete", 1), // Deleted content is overwritten with zeros.
    ("foreign_keys", 1),
    ("auto_vacuum", 2), // INCREMENTAL: freed pages can be given back without a rebuild.
    ("temp_store", 2),  // MEMORY: no content in temporary files.
    ("trusted_schema", 0),
];

/// Bytes of a file that are looked over at a start after an unclean end: some hundred milliseconds, disk included.
const LOOKED_OVER: u64 = 32 * 1024 * 1024;

/// A file whose last process did not close it: it left its log.
///
/// SQLite mends such a file from the log by itself, whatever died; what it cannot see is a disk that lost what it had confirmed, or
/// files that were copied while they were written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unclean {
    bytes: u64,
}

impl Unclean {
    /// Looks for damage, when that takes a short time.
    ///
    /// # Errors
    /// [`DatabaseError::Damaged`].
    pub(crate) async fn look_over(self, connection: &mut Connection) -> Result<(), DatabaseError> {
        if self.bytes <= LOOKED_OVER {
            return look_over(connection, Thoroughness::Quick).await;
        }
        tracing::warn!(
            reason = "UNCLEAN_END",
            "the database was not closed in order and is too large to be looked over now; the command `check` does it"
        );
        Ok(())
    }
}

/// Makes sure that the file and its folder exist, private to this user; answers whether it was not closed in order.
///
/// SQLite gives its log and shared-memory files the permissions of the database's file.
pub(crate) async fn prepare_file(file: PathBuf) -> Result<Option<Unclean>, DatabaseError> {
    let prepare = move || {
        prepare_file_blocking(&file)?;
        unclean(&file)
    };
    match tokio::task::spawn_blocking(prepare).await {
        Ok(prepared) => prepared.map_err(DatabaseError::File),
        Err(stopped) => Err(DatabaseError::File(io::Error::other(stopped))),
    }
}

/// Before the first connection, which takes the log in. A process beside this one has a log, too: that costs a look too many.
fn unclean(file: &Path) -> io::Result<Option<Unclean>> {
    let mut log = file.as_os_str().to_owned();
    log.push("-wal");
    match std::fs::metadata(log) {
        Ok(log) if log.len() > 0 => Ok(Some(Unclean {
            bytes: file.metadata()?.len() + log.len(),
        })),
        Ok(_) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn prepare_file_blocking(file: &Path) -> io::Result<()> {
    let folder = file
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    match OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)
    {
        // The entry itself must outlive a power cut, else a whole committed database may vanish.
        Ok(created) => {
            created.sync_all()?;
            File::open(folder)?.sync_all()
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            std::fs::set_permissions(file, Permissions::from_mode(0o600))
        }
        Err(error) => Err(error),
    }
}

/// Opens a file, makes the connection's settings and reads them back.
pub(crate) fn open(file: &Path, purpose: Purpose) -> Result<Session, DatabaseError> {
    let mut session = Session::open(file).map_err(DatabaseError::from_open)?;
    let first = match purpose {
        Purpose::Write => SETTLE_WRITER,
        Purpose::Read => SETTLE_READER,
    };
    for settings in [first, SETTLE] {
        session
            .run_all(settings)
            .map_err(DatabaseError::from_open)?;
    }
    verify_settings(&mut session)?;
    Ok(session)
}

/// Reads the settings back.
///
/// # Errors
/// `Setting` for the first that did not take hold, as on a file system that cannot keep a log.
fn verify_settings(session: &mut Session) -> Result<(), DatabaseError> {
    if session.setting::<String>("journal_mode")? != "wal" {
        return Err(DatabaseError::Setting {
            name: "journal_mode = wal",
            wanted: 1,
            found: 0,
        });
    }
    for &(name, wanted) in SETTINGS {
        let found = session.setting(name)?;
        if found != wanted {
            return Err(DatabaseError::Setting {
                name,
                wanted,
                found,
            });
        }
    }
    Ok(())
}

/// One of our own pragmas, which no parameter can name.
pub(crate) async fn pragma(
    connection: &mut Connection,
    name: &'static str,
) -> Result<i64, sqlx::Error> {
    query_scalar(AssertSqlSafe(format!("PRAGMA {name}")))
        .fetch_one(connection)
        .await
}

/// How a file is looked over; either takes time in proportion to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Thoroughness {
    /// The structure alone.
    Quick,
    /// Every index is compared with its table, too.
    Full,
}

/// Looks for damage.
///
/// # Errors
/// [`DatabaseError::Damaged`].
pub(crate) async fn look_over(
    connection: &mut Connection,
    thoroughness: Thoroughness,
) -> Result<(), DatabaseError> {
    let pragma = match thoroughness {
        Thoroughness::Quick => "PRAGMA quick_check(1)",
        Thoroughness::Full => "PRAGMA integrity_check(1)",
    };
    let answer: String = query_scalar(pragma).fetch_one(connection).await?;
    if answer == "ok" {
        Ok(())
    } else {
        Err(DatabaseError::Damaged)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn prepared(name: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(name);
        prepare_file_blocking(&file).unwrap();
        (folder, file)
    }

    #[test]
    fn a_setting_that_does_not_take_hold_is_refused() {
        let (_folder, file) = prepared("rows.db");
        let mut session = open(&file, Purpose::Write).unwrap();
        session.run_all("PRAGMA synchronous = NORMAL").unwrap();
        let error = verify_settings(&mut session).unwrap_err();
        assert!(
            matches!(
                error,
                DatabaseError::Setting {
                    name: "synchronous",
                    ..
                }
            ),
            "{error:?}"
        );
    }

    #[test]
    fn a_path_may_hold_any_character() {
        let (_folder, file) = prepared("50% of #1?ä and more.db");
        let mut session = open(&file, Purpose::Write).unwrap();
        session
            .run_all("CREATE TABLE rows (a INTEGER) STRICT")
            .unwrap();
        session.close().unwrap();
        assert!(file.metadata().unwrap().len() > 0);
    }
}
