//! What can go wrong in retention.

use sealpost_database::DatabaseError;

use crate::receipt::ReceiptError;

/// Why a call has no answer, or a step of a run failed.
#[derive(Debug, thiserror::Error)]
pub enum RetentionError {
    /// A field is not in shape: its path, and what is wrong with it.
    #[error("{0} {1}")]
    Malformed(&'static str, &'static str),
    /// A receipt is not believed.
    #[error("the receipt is not believed")]
    Receipt(#[from] ReceiptError),
    /// A store does not answer, or refuses. What it still has is taken up again by the next run.
    #[error("a store is not available")]
    StoreUnavailable,
    /// The database failed.
    #[error("the database failed")]
    Database(#[from] DatabaseError),
    /// The work ended without an answer.
    #[error("the work ended without an answer")]
    Lost,
}
