//! What can go wrong in the directory. No text here repeats what a caller sent.

use sealpost_database::DatabaseError;

/// A failure of one call.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DirectoryError {
    /// A field of the request is malformed.
    #[error("{field} {problem}")]
    Malformed {
        /// The field's path in the request.
        field: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// There is no such business.
    #[error("no such business")]
    BusinessUnknown,
    /// There is no such number, or it is another business's.
    #[error("no such number")]
    NumberUnknown,
    /// There is no such token, or it no longer works.
    #[error("no such token")]
    TokenUnknown,
    /// Another number has this phone number.
    #[error("the phone number is taken")]
    PhoneNumberTaken,
    /// Another number has this id.
    #[error("the phone_number_id is taken")]
    NumberIdTaken,
    /// The business still has numbers.
    #[error("the business has numbers")]
    BusinessHasNumbers,
    /// The business has as many numbers as it may have.
    #[error("the business has too many numbers")]
    TooManyNumbers,
    /// The number is on its way to another region.
    #[error("the number is moving")]
    NumberMoving,
    /// There is no such move.
    #[error("no such move")]
    MoveUnknown,
    /// The system gave no random bytes.
    #[error("no randomness")]
    Randomness,
    /// The database failed.
    #[error("the database failed")]
    Database(#[from] DatabaseError),
}

impl DirectoryError {
    pub(crate) fn malformed(field: impl Into<String>, problem: &'static str) -> Self {
        Self::Malformed {
            field: field.into(),
            problem,
        }
    }
}
