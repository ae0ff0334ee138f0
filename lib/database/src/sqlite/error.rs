//! What SQLite answers, as sqlx names it.

use std::{borrow::Cow, error::Error, fmt};

use rusqlite::ffi;
use sqlx::error::{DatabaseError, ErrorKind};

/// A failure by SQLite's extended result code (<https://sqlite.org/rescode.html>). Its text names tables and columns, never values.
#[derive(Debug)]
pub(crate) struct SqliteError {
    code: i32,
    text: String,
}

impl SqliteError {
    /// The low byte of the code.
    pub(crate) fn primary(&self) -> i32 {
        self.code & 0xff
    }
}

/// Sorts a failure; the statement's own text is left out.
pub(super) fn driver_error(error: rusqlite::Error) -> sqlx::Error {
    let (code, text) = match error {
        rusqlite::Error::SqliteFailure(error, text) => (error.extended_code, text),
        rusqlite::Error::SqlInputError { error, msg, .. } => (error.extended_code, Some(msg)),
        other => return sqlx::Error::Decode(Box::new(other)),
    };
    let text = text.unwrap_or_else(|| ffi::code_to_str(code).to_owned());
    sqlx::Error::Database(Box::new(SqliteError { code, text }))
}

impl fmt::Display for SqliteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "(code: {}) {}", self.code, self.text)
    }
}

impl Error for SqliteError {}

impl DatabaseError for SqliteError {
    fn message(&self) -> &str {
        &self.text
    }

    fn code(&self) -> Option<Cow<'_, str>> {
        Some(Cow::Owned(self.code.to_string()))
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

    fn kind(&self) -> ErrorKind {
        match self.code {
            ffi::SQLITE_CONSTRAINT_UNIQUE | ffi::SQLITE_CONSTRAINT_PRIMARYKEY => {
                ErrorKind::UniqueViolation
            }
            ffi::SQLITE_CONSTRAINT_FOREIGNKEY => ErrorKind::ForeignKeyViolation,
            ffi::SQLITE_CONSTRAINT_NOTNULL => ErrorKind::NotNullViolation,
            ffi::SQLITE_CONSTRAINT_CHECK => ErrorKind::CheckViolation,
            _ => ErrorKind::Other,
        }
    }
}
