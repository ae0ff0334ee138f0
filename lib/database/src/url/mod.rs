//! Where a database is, and what its operator allows of it.
//!
//! Owns the reading of database URLs and of the `database` setting. Never shows one: a URL may carry a password.
//! Invariant: a `DatabaseUrl` names a dialect that this crate speaks, and a server beyond this machine is only named
//! together with TLS that verifies it.

mod config;
mod postgres;

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use serde::Deserialize;

pub use config::DatabaseConfig;
pub(crate) use postgres::PostgresUrl;

/// A database's address: `sqlite:///absolute/path.db`, `sqlite:path.db` or the path alone, or
/// `postgres://user[:password]@host[:port]/database[?parameters]`.
///
/// PostgreSQL's parameters are `sslmode`, `sslrootcert`, `sslcert`, `sslkey` and `host=/folder` of a Unix socket. Without a
/// password in the URL, `PGPASSWORD` and the file that `PGPASSFILE` names are asked.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct DatabaseUrl(Place);

#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Place {
    Sqlite(PathBuf),
    Postgres(PostgresUrl),
}

/// Why text is no database URL. Repeats nothing of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DatabaseUrlError {
    /// A scheme other than `sqlite` and `postgres`.
    #[error(
        "the database URL's scheme is unknown; use sqlite:///path/to/file.db or postgres://user@host/database"
    )]
    UnknownScheme,
    /// `sqlite:` with nothing behind it.
    #[error("the database URL names no file")]
    NoFile,
    /// `:memory:`, or SQLite's own `file:` form, which could turn off what we rely on.
    #[error("the database must be a plain file: neither :memory: nor a file: URI")]
    NotPlainFile,
    /// `?mode=…` and the like.
    #[error("a SQLite database URL takes no parameters")]
    Parameters,
    /// A PostgreSQL URL that is no URL.
    #[error(
        "the database URL cannot be read; use postgres://user@host:port/database, with special characters percent-encoded"
    )]
    Malformed,
    /// A PostgreSQL URL without a user.
    #[error("the database URL names no user; use postgres://user@host:port/database")]
    NoUser,
    /// A PostgreSQL URL without a database.
    #[error("the database URL names no database; use postgres://user@host:port/database")]
    NoDatabase,
    /// A parameter that is unknown, empty or stands there twice.
    #[error(
        "the database URL's parameters are sslmode, sslrootcert, sslcert, sslkey and host (of a Unix socket's folder), each at most once"
    )]
    UnknownParameter,
    /// A server on another host, over a connection that anybody on the way could read or answer.
    #[error(
        "the database server is on another host: add sslmode=verify-full (and sslrootcert=/path/to/ca.pem for a CA of your own) to its URL"
    )]
    VerifyFull,
}

impl DatabaseUrl {
    /// The database's file, when the database is a file.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        match &self.0 {
            Place::Sqlite(file) => Some(file),
            Place::Postgres(_) => None,
        }
    }

    /// The same server for another role and another of its databases; `None` when the database is a file. The text may hold a
    /// password.
    #[must_use]
    pub fn for_role(&self, role: &str, password: Option<&str>, database: &str) -> Option<String> {
        match &self.0 {
            Place::Sqlite(_) => None,
            Place::Postgres(url) => url.for_role(role, password, database),
        }
    }

    /// The TCP port of the database's server; none, when it is a file or on a Unix socket.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        match &self.0 {
            Place::Sqlite(_) => None,
            Place::Postgres(url) => url.port(),
        }
    }

    /// Certificates and keys that a connection reads.
    #[must_use]
    pub fn read_files(&self) -> Vec<PathBuf> {
        match &self.0 {
            Place::Sqlite(_) => Vec::new(),
            Place::Postgres(url) => url.read_files(),
        }
    }

    pub(crate) fn place(&self) -> &Place {
        &self.0
    }
}

impl FromStr for DatabaseUrl {
    type Err = DatabaseUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let file = match text.split_once(':') {
            Some(("sqlite", rest)) => rest.strip_prefix("//").unwrap_or(rest),
            Some(("postgres" | "postgresql", rest)) => {
                let rest = rest.strip_prefix("//").ok_or(DatabaseUrlError::Malformed)?;
                return PostgresUrl::parse(rest).map(|url| Self(Place::Postgres(url)));
            }
            Some(("file" | "", _)) => return Err(DatabaseUrlError::NotPlainFile),
            Some((_, rest)) if rest.starts_with("//") => {
                return Err(DatabaseUrlError::UnknownScheme);
            }
            _ => text,
        };
        if file.is_empty() || file.ends_with('/') {
            return Err(DatabaseUrlError::NoFile);
        }
        if file.starts_with("file:") || file.starts_with(':') {
            return Err(DatabaseUrlError::NotPlainFile);
        }
        if file.contains('?') {
            return Err(DatabaseUrlError::Parameters);
        }
        Ok(Self(Place::Sqlite(PathBuf::from(file))))
    }
}

impl TryFrom<String> for DatabaseUrl {
    type Error = DatabaseUrlError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Place::Sqlite(_) => "DatabaseUrl(sqlite, redacted)",
            Place::Postgres(_) => "DatabaseUrl(postgres, redacted)",
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn file(text: &str) -> PathBuf {
        text.parse::<DatabaseUrl>()
            .unwrap()
            .file()
            .unwrap()
            .to_owned()
    }

    #[test]
    fn the_three_spellings_name_a_file() {
        assert_eq!(file("sqlite:///var/vault.db"), Path::new("/var/vault.db"));
        assert_eq!(file("sqlite://vault.db"), Path::new("vault.db"));
        assert_eq!(file("sqlite:state/vault.db"), Path::new("state/vault.db"));
        assert_eq!(file("/var/vault.db"), Path::new("/var/vault.db"));
    }

    #[test]
    fn what_is_not_a_plain_file_is_refused_with_its_reason() {
        for (text, reason) in [
            ("mysql://host/db", DatabaseUrlError::UnknownScheme),
            ("", DatabaseUrlError::NoFile),
            ("sqlite:", DatabaseUrlError::NoFile),
            ("sqlite:///var/", DatabaseUrlError::NoFile),
            ("sqlite::memory:", DatabaseUrlError::NotPlainFile),
            (":memory:", DatabaseUrlError::NotPlainFile),
            ("file:vault.db?psow=0", DatabaseUrlError::NotPlainFile),
            ("sqlite:file:vault.db", DatabaseUrlError::NotPlainFile),
            ("sqlite:///vault.db?mode=ro", DatabaseUrlError::Parameters),
        ] {
            assert_eq!(text.parse::<DatabaseUrl>(), Err(reason), "{text}");
        }
    }

    #[test]
    fn neither_debug_nor_the_error_repeats_the_url() {
        for text in [
            "sqlite:///var/hunter2.db",
            "postgres://hunter2:hunter2@localhost/hunter2",
        ] {
            let url: DatabaseUrl = text.parse().unwrap();
            assert!(!format!("{url:?}").contains("hunter2"));
        }
        let error = "postgres://u:hunter2@host/db"
            .parse::<DatabaseUrl>()
            .unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"));
        assert!(error.to_string().contains("verify-full"));
    }
}
