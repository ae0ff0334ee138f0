//! What can go wrong with a database, sorted by what a caller can do about it.
//!
//! Owns the sorting; the dialects' codes are read in [`crate::codes`]. Never repeats a bound value or a URL: texts here are
//! fixed, and the sources name statements' tables and columns at most.

use std::{error::Error, time::Duration};

use sqlx::migrate::MigrateError;

use crate::{
    codes::{self, Ending, Failure},
    postgres::Unfit,
};

/// A failure of the database, or of its use.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DatabaseError {
    /// The database's folder or file could not be made private and durable.
    #[error("the database's file could not be prepared")]
    File(#[source] std::io::Error),
    /// The database cannot be opened.
    #[error("the database could not be opened: {advice}")]
    Open {
        /// What an operator should look at.
        advice: &'static str,
        /// What failed.
        #[source]
        source: sqlx::Error,
    },
    /// The PostgreSQL server could lose what it calls committed, or is not the one to write to.
    #[error("the database server is refused")]
    Unfit(#[source] Unfit),
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
    /// The file was found damaged.
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
    /// The database lacks migrations, and the role that opened it may not apply them.
    #[error(
        "the database lacks migration {version} and this role may not apply it; run `{program} migrate --database <URL of the owner>`"
    )]
    MigrationNotAllowed {
        /// The first that is missing.
        version: i64,
        /// This program.
        program: String,
    },
    /// A migration failed and was rolled back.
    #[error("the database could not be migrated")]
    Migrate(#[source] MigrateError),
    /// The database stayed locked, or the work in front of ours took too long. Nothing was written.
    #[error("the database is busy")]
    Busy(#[source] sqlx::Error),
    /// The server went away, is starting, stopping, full, or no longer the one to write to. Nothing was written.
    #[error("the database is not available")]
    Unavailable(#[source] sqlx::Error),
    /// The unit of work took too long and its connection was closed. Nothing was written.
    #[error("the database work was not done within {} s and was given up", limit.as_secs())]
    TooLong {
        /// The limit.
        limit: Duration,
    },
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
        matches!(
            self,
            Self::Busy(_) | Self::Unavailable(_) | Self::TooLong { .. }
        )
    }

    /// Whether the transaction may or may not have been committed.
    #[must_use]
    pub fn is_unknown_outcome(&self) -> bool {
        matches!(self, Self::UnknownOutcome(_))
    }

    /// Sorts what `COMMIT` answered.
    pub(crate) fn from_commit(error: sqlx::Error) -> Self {
        let error = codes::discreet(error);
        match codes::ending(&error) {
            Ending::Contention => Self::Busy(error),
            Ending::RolledBack => Self::Statement(error),
            Ending::Unknown => Self::UnknownOutcome(Some(error)),
        }
    }

    /// Sorts a failure to open.
    pub(crate) fn from_open(error: sqlx::Error) -> Self {
        let source = codes::discreet(error);
        Self::Open {
            advice: codes::advice(&source),
            source,
        }
    }

    pub(crate) fn from_migrate(error: MigrateError) -> Self {
        Self::Migrate(match error {
            MigrateError::Execute(error) => MigrateError::Execute(codes::discreet(error)),
            MigrateError::ExecuteMigration(error, version) => {
                MigrateError::ExecuteMigration(codes::discreet(error), version)
            }
            other => other,
        })
    }
}

impl From<sqlx::Error> for DatabaseError {
    fn from(error: sqlx::Error) -> Self {
        let error = codes::discreet(error);
        match error {
            sqlx::Error::PoolClosed => Self::Closed,
            sqlx::Error::PoolTimedOut => Self::Busy(error),
            _ => match codes::failure(&error) {
                Failure::Contention => Self::Busy(error),
                Failure::Unavailable => Self::Unavailable(error),
                Failure::Final => Self::Statement(error),
            },
        }
    }
}

/// Whether a unit of work failed, at whatever depth of its own error, in a way that a second try may get past: contention or a
/// server that went away. A pool that timed out is not tried again: its queue is the trouble.
pub(crate) fn may_succeed_again(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        match error.downcast_ref() {
            Some(DatabaseError::Busy(source) | DatabaseError::Unavailable(source)) => {
                return codes::failure(source) != Failure::Final;
            }
            Some(_) => return false,
            None => {}
        }
        // A transparent wrapper hides the `DatabaseError` itself but not its source.
        if let Some(error) = error.downcast_ref() {
            return codes::failure(error) != Failure::Final;
        }
        cause = error.source();
    }
    false
}
