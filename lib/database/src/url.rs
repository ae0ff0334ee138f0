//! Where a database is.
//!
//! Owns the reading of database URLs. Never shows one: a URL may carry a password once a server
//! stands behind it. Invariant: a `DatabaseUrl` names a dialect that this build has.

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use serde::Deserialize;

/// A database's address: `sqlite:///absolute/path.db`, `sqlite:path.db`, or the path alone.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct DatabaseUrl {
    file: PathBuf,
}

/// Why text is no database URL. Repeats nothing of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DatabaseUrlError {
    /// A PostgreSQL URL.
    #[error("PostgreSQL is not built into this version; use sqlite:///path/to/file.db")]
    PostgresNotBuiltIn,
    /// A scheme other than `sqlite`.
    #[error("the database URL's scheme is unknown; use sqlite:///path/to/file.db")]
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
}

impl DatabaseUrl {
    /// The database's file, when the database is a file.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        Some(&self.file)
    }

    pub(crate) fn into_file(self) -> PathBuf {
        self.file
    }
}

impl FromStr for DatabaseUrl {
    type Err = DatabaseUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let file = match text.split_once(':') {
            Some(("sqlite", rest)) => rest.strip_prefix("//").unwrap_or(rest),
            Some(("postgres" | "postgresql", _)) => {
                return Err(DatabaseUrlError::PostgresNotBuiltIn);
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
        Ok(Self {
            file: PathBuf::from(file),
        })
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
        f.write_str("DatabaseUrl(sqlite, redacted)")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn file(text: &str) -> PathBuf {
        text.parse::<DatabaseUrl>().unwrap().into_file()
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
            (
                "postgres://u:p@host/db",
                DatabaseUrlError::PostgresNotBuiltIn,
            ),
            ("postgresql://host/db", DatabaseUrlError::PostgresNotBuiltIn),
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
        let url: DatabaseUrl = "sqlite:///var/hunter2.db".parse().unwrap();
        assert!(!format!("{url:?}").contains("hunter2"));
        let error = "postgres://u:hunter2@host/db"
            .parse::<DatabaseUrl>()
            .unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"));
        assert!(error.to_string().contains("not built into this version"));
    }
}
