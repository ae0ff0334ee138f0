//! The dialects' error codes: SQLite's result codes and PostgreSQL's SQLSTATEs.
//!
//! Owns what a code proves. Invariant: a failed `COMMIT` is only called rolled back when its code says so; and of a server's
//! error nothing is kept but its code and the names of table and constraint, since its texts can repeat values.

use std::{borrow::Cow, error::Error, fmt};

use sqlx::{
    error::{DatabaseError as DriverError, ErrorKind},
    postgres::PgDatabaseError,
};

use crate::sqlite::SqliteError;

/// What a failure before `COMMIT` was sent means. In every case nothing was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Another transaction was in the way.
    Contention,
    /// The connection or the server is of no use just now.
    Unavailable,
    /// The same statement would fail again.
    Final,
}

/// What a failed `COMMIT` means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Rolled back because another transaction was in the way.
    Contention,
    /// Rolled back.
    RolledBack,
    /// It may have taken hold.
    Unknown,
}

/// SQLite's primary result codes (<https://sqlite.org/rescode.html>); the low byte of every extended one.
mod sqlite {
    pub(super) const BUSY: i32 = 5;
    pub(super) const LOCKED: i32 = 6;
    pub(super) const CONSTRAINT: i32 = 19;
}

/// A server's error without its texts.
#[derive(Debug)]
pub(crate) struct ServerError {
    sqlstate: String,
    table: Option<String>,
    constraint: Option<String>,
}

/// Strips a server's error of what could repeat a value or a name from the URL.
pub(crate) fn discreet(error: sqlx::Error) -> sqlx::Error {
    let sqlx::Error::Database(error) = error else {
        return error;
    };
    let Some(server) = error.try_downcast_ref::<PgDatabaseError>() else {
        return sqlx::Error::Database(error);
    };
    sqlx::Error::Database(Box::new(ServerError {
        sqlstate: server.code().to_owned(),
        table: server.table().map(str::to_owned),
        constraint: server.constraint().map(str::to_owned),
    }))
}

pub(crate) fn failure(error: &sqlx::Error) -> Failure {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::BeginFailed => {
            Failure::Unavailable
        }
        _ => match Code::of(error) {
            Some(Code::Sqlite(sqlite::BUSY | sqlite::LOCKED)) => Failure::Contention,
            Some(Code::Server(sqlstate)) => match &*sqlstate {
                // Serialisation, deadlock, a lock that was not to be had in time.
                "40001" | "40P01" | "55P03" => Failure::Contention,
                // Stopped, crashed, starting; idle for too long; full; a standby or about to be one.
                "57P01" | "57P02" | "57P03" | "57P05" | "25P03" | "53300" | "25006" => {
                    Failure::Unavailable
                }
                code if code.starts_with("08") => Failure::Unavailable,
                _ => Failure::Final,
            },
            _ => Failure::Final,
        },
    }
}

/// On SQLite a refused commit leaves the transaction open, so it is known to have failed; everything else, a failed fsync above
/// all, may leave the frames in the log for a recovery to find. On PostgreSQL the codes named here are raised before the commit
/// record is written; everything else, a lost connection above all, may have come after it.
pub(crate) fn ending(error: &sqlx::Error) -> Ending {
    match Code::of(error) {
        Some(Code::Sqlite(sqlite::BUSY | sqlite::LOCKED)) => Ending::Contention,
        Some(Code::Sqlite(sqlite::CONSTRAINT)) => Ending::RolledBack,
        Some(Code::Server(sqlstate)) => match &*sqlstate {
            "40001" | "40P01" => Ending::Contention,
            // An earlier statement had failed, so that there was nothing to commit.
            "25P02" => Ending::RolledBack,
            // Deferred constraints.
            code if code.starts_with("23") => Ending::RolledBack,
            _ => Ending::Unknown,
        },
        _ => Ending::Unknown,
    }
}

/// What an operator should look at when a database does not open.
pub(crate) fn advice(error: &sqlx::Error) -> &'static str {
    match error {
        sqlx::Error::Io(_) => "no server answers; check that it runs, and the URL's host and port",
        sqlx::Error::Tls(_) => {
            "TLS failed; check that the server speaks it, that sslrootcert is its CA, and that its certificate names the URL's host"
        }
        sqlx::Error::PoolTimedOut => "no usable server was found in time",
        _ => match Code::of(error) {
            Some(Code::Server(sqlstate)) => match &*sqlstate {
                "28000" | "28P01" => {
                    "the server refuses the login; check user, password (PGPASSFILE) and the server's pg_hba.conf"
                }
                "3D000" => "the server has no database of this name; create it first",
                "53300" => "the server's max_connections are in use",
                "57P03" => "the server is still starting, or stopping",
                "42501" => "the role lacks the right to connect or to read the list of migrations",
                _ => "the server refused; its log says why",
            },
            _ => "see the cause",
        },
    }
}

/// The role may not do what it tried.
pub(crate) fn is_insufficient_privilege(error: &sqlx::Error) -> bool {
    matches!(Code::of(error), Some(Code::Server(sqlstate)) if sqlstate == "42501")
}

enum Code<'e> {
    Sqlite(i32),
    Server(Cow<'e, str>),
}

impl<'e> Code<'e> {
    fn of(error: &'e sqlx::Error) -> Option<Self> {
        let error = error.as_database_error()?;
        match error.try_downcast_ref::<SqliteError>() {
            Some(error) => Some(Self::Sqlite(error.primary())),
            None => error.code().map(Self::Server),
        }
    }
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the server answered SQLSTATE {}", self.sqlstate)?;
        if let Some(constraint) = &self.constraint {
            write!(f, " for the constraint {constraint}")?;
        } else if let Some(table) = &self.table {
            write!(f, " for the table {table}")?;
        }
        Ok(())
    }
}

impl Error for ServerError {}

impl DriverError for ServerError {
    fn message(&self) -> &str {
        "the database server refused"
    }

    fn code(&self) -> Option<Cow<'_, str>> {
        Some(Cow::Borrowed(&self.sqlstate))
    }

    fn as_error(&self) -> &(dyn Error + Send + Sync + 'static) {
        self
    }

    fn as_error_mut(&mut self) -> &mut (dyn Error + Send + Sync + 'static) {
        self
    }

    fn into_error(self: Box<Self>) -> Box<dyn Error + Send + Sync + 'static> {
        self
    }

    fn constraint(&self) -> Option<&str> {
        self.constraint.as_deref()
    }

    fn table(&self) -> Option<&str> {
        self.table.as_deref()
    }

    fn kind(&self) -> ErrorKind {
        match self.sqlstate.as_str() {
            "23505" => ErrorKind::UniqueViolation,
            "23503" => ErrorKind::ForeignKeyViolation,
            "23502" => ErrorKind::NotNullViolation,
            "23514" => ErrorKind::CheckViolation,
            _ => ErrorKind::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(sqlstate: &str) -> sqlx::Error {
        sqlx::Error::Database(Box::new(ServerError {
            sqlstate: sqlstate.to_owned(),
            table: None,
            constraint: None,
        }))
    }

    #[test]
    fn a_server_that_went_away_before_the_commit_wrote_nothing_and_may_come_back() {
        for sqlstate in [
            "57P01", "57P02", "57P03", "08006", "08P01", "53300", "25006", "25P03",
        ] {
            assert_eq!(
                failure(&server(sqlstate)),
                Failure::Unavailable,
                "{sqlstate}"
            );
        }
        for sqlstate in ["40001", "40P01", "55P03"] {
            assert_eq!(
                failure(&server(sqlstate)),
                Failure::Contention,
                "{sqlstate}"
            );
        }
        for sqlstate in ["23505", "42P01", "42501", "25P02", "22P02"] {
            assert_eq!(failure(&server(sqlstate)), Failure::Final, "{sqlstate}");
        }
    }

    #[test]
    fn a_failed_commit_is_unknown_unless_its_code_proves_a_rollback() {
        for sqlstate in ["23505", "23503", "25P02"] {
            assert_eq!(ending(&server(sqlstate)), Ending::RolledBack, "{sqlstate}");
        }
        for sqlstate in ["40001", "40P01"] {
            assert_eq!(ending(&server(sqlstate)), Ending::Contention, "{sqlstate}");
        }
        for sqlstate in [
            "57P01", "57P02", "08006", "53100", "58030", "XX000", "57014",
        ] {
            assert_eq!(ending(&server(sqlstate)), Ending::Unknown, "{sqlstate}");
        }
        assert_eq!(ending(&sqlx::Error::WorkerCrashed), Ending::Unknown);
    }

    #[test]
    fn a_sqlstate_is_never_read_as_a_code_of_sqlite() {
        // 00005 would be SQLITE_BUSY.
        assert_eq!(failure(&server("00005")), Failure::Final);
        assert_eq!(ending(&server("00005")), Ending::Unknown);
    }
}
