//! What can go wrong in the store. Nothing that a caller sent comes back in a text.

use sealpost_database::DatabaseError;

/// A field of a request that is not in shape.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} {description}")]
pub struct Malformed {
    /// Its path in the request.
    pub field: String,
    /// What is wrong with it.
    pub description: &'static str,
}

impl Malformed {
    /// `field` is wrong as `description` says.
    #[must_use]
    pub fn new(field: &str, description: &'static str) -> Self {
        Self {
            field: field.to_owned(),
            description,
        }
    }

    /// The same, where the field lies in `outer`.
    #[must_use]
    pub fn within(self, outer: &str) -> Self {
        Self {
            field: format!("{outer}.{}", self.field),
            ..self
        }
    }
}

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The request is malformed.
    #[error("the request is malformed")]
    Malformed(#[from] Malformed),
    /// No such record.
    #[error("no such record")]
    RecordUnknown,
    /// The record's epoch is over: nobody can open it any more.
    #[error("the record's epoch is over")]
    EpochExpired,
    /// The number's records are kept by another store.
    #[error("the number has departed")]
    NumberDeparted,
    /// The number's records are kept here.
    #[error("the number has not departed")]
    NumberPresent,
    /// The subscription was opened anew since.
    #[error("the subscription was opened anew")]
    SubscriptionReplaced,
    /// The database failed.
    #[error("the database failed")]
    Database(#[from] DatabaseError),
}

impl From<sealpost_database::sqlx::Error> for StoreError {
    fn from(error: sealpost_database::sqlx::Error) -> Self {
        Self::Database(error.into())
    }
}
