//! What can go wrong with a database, sorted by what a caller can do about it.
//!
//! Owns the reading of the dialects' error codes. Never repeats a bound value: texts here are fixed,
//! and the sources name statements' tables and columns at most.

use std::error::Error;

use sqlx::migrate::MigrateError;

/// SQLite's primary result codes (<https://sqlite.org/rescode.html>); the low byte of every extended one.
mod sqlite_code {
    pub(super) const BUSY: i32 = 5;
    pub(super) const LOCKED: i32 = 6;
    pub(super) const CONSTRAINT: i32 = 19;
}

/// A failure of the database, or of its use.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DatabaseError {
    /// The database's folder or file could not be made private and durable.
    #[error("the database's file could not be prepared")]
    File(#[source] std::io::Error),
    /// The database cannot be opened.
    #[error("the database could not be opened")]
    Open(#[source] sqlx::Error),
    /// A setting that durability or erasure rests on did not take hold.
    #[error("the database refused the setting {name}: {found} instead of {wanted}")]
    Setting {
        /// The pragma.
        name: &'static str,
        /// What this crate asked for.
        wanted: i64,
        /// What the database reads back.
        found: i64,
    },
    /// `PRAGMA quick_check` found damage.
    #[error("the database is damaged; restore it from a backup")]
    Damaged,
    /// The binary's own list of migrations is out of order or names a version twice.
    #[error("migration {version} does not ascend from the one before it")]
    MigrationOrder {
        /// The offending version.
        version: i64,
    },
    /// A migration was applied that this binary does not know, and it is later than all it knows.
    #[error("the database is at migration {found}, newer than this binary's {known}")]
    NewerDatabase {
        /// The database's last migration.
        found: i64,
        /// The binary's last migration, 0 when it has none.
        known: i64,
    },
    /// A migration that was applied differs from the binary's, or lies before one that was applied.
    #[error("migration {version} was changed, removed or inserted after the database was migrated")]
    MigrationChanged {
        /// The offending version.
        version: i64,
    },
    /// A migration failed and was rolled back.
    #[error("the database could not be migrated")]
    Migrate(#[source] MigrateError),
    /// The database stayed locked, or the work in front of ours took too long. Nothing was written.
    #[error("the database is busy")]
    Busy(#[source] sqlx::Error),
    /// The database was closed. Nothing was written.
    #[error("the database is closed")]
    Closed,
    /// A statement failed. Nothing was written.
    #[error("a database statement failed")]
    Statement(#[source] sqlx::Error),
    /// The commit was asked for and nobody knows whether it took hold: whatever the transaction
    /// produced must be discarded, and what it may have written must be read anew.
    #[error("the outcome of a database commit is unknown")]
    UnknownOutcome(#[source] Option<sqlx::Error>),
}

impl DatabaseError {
    /// Whether nothing was written and the same work may succeed when it is tried again.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Busy(_))
    }

    /// Whether the transaction may or may not have been committed.
    #[must_use]
    pub fn is_unknown_outcome(&self) -> bool {
        matches!(self, Self::UnknownOutcome(_))
    }

    /// Sorts what `COMMIT` answered.
    ///
    /// A refused commit leaves the transaction open, so it is known to have failed. Everything else,
    /// a failed fsync above all, may leave the frames in the log for a recovery to find.
    pub(crate) fn from_commit(error: sqlx::Error) -> Self {
        match sqlite_code(&error) {
            Some(sqlite_code::BUSY | sqlite_code::LOCKED) => Self::Busy(error),
            Some(sqlite_code::CONSTRAINT) => Self::Statement(error),
            _ => Self::UnknownOutcome(Some(error)),
        }
    }

    pub(crate) fn from_migrate(error: MigrateError, known: i64) -> Self {
        match error {
            MigrateError::VersionMissing(found) if found > known => {
                Self::NewerDatabase { found, known }
            }
            MigrateError::VersionMissing(version) | MigrateError::VersionMismatch(version) => {
                Self::MigrationChanged { version }
            }
            other => Self::Migrate(other),
        }
    }
}

impl From<sqlx::Error> for DatabaseError {
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::PoolClosed => Self::Closed,
            sqlx::Error::PoolTimedOut => Self::Busy(error),
            _ if is_contention(&error) => Self::Busy(error),
            _ => Self::Statement(error),
        }
    }
}

/// Whether a unit of work failed, at whatever depth of its own error, because of contention that a
/// second try may get past. A pool that timed out is not tried again: its queue is the trouble.
pub(crate) fn caused_by_contention(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        match error.downcast_ref() {
            Some(DatabaseError::Busy(source)) => return is_contention(source),
            Some(_) => return false,
            None => {}
        }
        // A transparent wrapper hides the `DatabaseError` itself but not its source.
        if let Some(error) = error.downcast_ref() {
            return is_contention(error);
        }
        cause = error.source();
    }
    false
}

fn is_contention(error: &sqlx::Error) -> bool {
    matches!(
        sqlite_code(error),
        Some(sqlite_code::BUSY | sqlite_code::LOCKED)
    )
}

/// SQLite's primary result code, if that is what failed.
pub(crate) fn sqlite_code(error: &sqlx::Error) -> Option<i32> {
    let code: i32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(code & 0xff)
}
