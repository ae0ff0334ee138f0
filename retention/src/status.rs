//! The one mapping of retention's errors to gRPC.

use std::time::Duration;

use sealpost_runtime::status::{bad_request, internal, reason_status, retry_after, unavailable};
use tonic::{Code, Status};

use crate::{error::RetentionError, receipt::ReceiptError};

/// When a busy database is worth another try.
const BUSY_DELAY: Duration = Duration::from_millis(200);

impl From<RetentionError> for Status {
    fn from(error: RetentionError) -> Self {
        match error {
            RetentionError::Malformed(field, description) => bad_request(field, description),
            RetentionError::Receipt(ReceiptError::Statement) => {
                bad_request("receipt.statement", "cannot be read")
            }
            RetentionError::Receipt(ReceiptError::Key) => reason_status(
                Code::FailedPrecondition,
                "RECEIPT_KEY_UNKNOWN",
                "the receipt names another key than the vault's",
            ),
            RetentionError::Receipt(ReceiptError::Signature) => reason_status(
                Code::InvalidArgument,
                "RECEIPT_INVALID",
                "the receipt's signature does not hold",
            ),
            RetentionError::StoreUnavailable => unavailable("STORE_UNAVAILABLE"),
            RetentionError::Database(database) if database.is_conflict() => {
                retry_after("DATABASE_BUSY", BUSY_DELAY)
            }
            RetentionError::Database(database) if database.is_unknown_outcome() => {
                unavailable("OUTCOME_UNKNOWN")
            }
            RetentionError::Database(database) => {
                tracing::error!(error = %database, "the database failed");
                internal()
            }
            RetentionError::Lost => internal(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use sealpost_database::{DatabaseError, sqlx};
    use sealpost_runtime::status::reason_of;

    use super::*;

    #[test]
    fn each_error_has_its_code_and_reason() {
        for (error, code, reason) in [
            (
                RetentionError::Malformed("page_size", "is out of range"),
                Code::InvalidArgument,
                "MALFORMED",
            ),
            (
                ReceiptError::Statement.into(),
                Code::InvalidArgument,
                "MALFORMED",
            ),
            (
                ReceiptError::Key.into(),
                Code::FailedPrecondition,
                "RECEIPT_KEY_UNKNOWN",
            ),
            (
                ReceiptError::Signature.into(),
                Code::InvalidArgument,
                "RECEIPT_INVALID",
            ),
            (
                RetentionError::StoreUnavailable,
                Code::Unavailable,
                "STORE_UNAVAILABLE",
            ),
            (
                DatabaseError::Busy(sqlx::Error::PoolTimedOut).into(),
                Code::Aborted,
                "DATABASE_BUSY",
            ),
            (
                DatabaseError::UnknownOutcome(None).into(),
                Code::Unavailable,
                "OUTCOME_UNKNOWN",
            ),
            (DatabaseError::Closed.into(), Code::Internal, "INTERNAL"),
            (RetentionError::Lost, Code::Internal, "INTERNAL"),
        ] {
            let status = Status::from(error);
            assert_eq!(status.code(), code);
            assert_eq!(reason_of(&status).as_deref(), Some(reason));
        }
    }
}
