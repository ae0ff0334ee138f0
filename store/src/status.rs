//! The one mapping of the store's errors to gRPC.

use std::time::Duration;

use sealpost_runtime::status::{bad_request, internal, reason_status, retry_after, unavailable};
use tonic::{Code, Status};

use crate::error::{Malformed, StoreError};

/// When a busy database is worth another try.
const BUSY_DELAY: Duration = Duration::from_millis(200);

impl From<Malformed> for Status {
    fn from(error: Malformed) -> Self {
        bad_request(error.field, error.description)
    }
}

impl From<StoreError> for Status {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Malformed(malformed) => malformed.into(),
            StoreError::RecordUnknown => {
                reason_status(Code::NotFound, "RECORD_UNKNOWN", "no such record")
            }
            StoreError::EpochExpired => reason_status(
                Code::FailedPrecondition,
                "EPOCH_EXPIRED",
                "the record's epoch is over",
            ),
            StoreError::NumberDeparted => reason_status(
                Code::FailedPrecondition,
                "NUMBER_DEPARTED",
                "the number's records are kept elsewhere",
            ),
            StoreError::NumberPresent => reason_status(
                Code::FailedPrecondition,
                "NUMBER_PRESENT",
                "the number's records are kept here",
            ),
            StoreError::SubscriptionReplaced => reason_status(
                Code::Aborted,
                "SUBSCRIPTION_REPLACED",
                "the subscription was opened anew",
            ),
            StoreError::Database(database) if database.is_conflict() => {
                retry_after("DATABASE_BUSY", BUSY_DELAY)
            }
            // Every write here is idempotent, so the caller finds out by asking again.
            StoreError::Database(database) if database.is_unknown_outcome() => {
                unavailable("OUTCOME_UNKNOWN")
            }
            StoreError::Database(database) => {
                tracing::error!(error = %database, "the database failed");
                internal()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use sealpost_database::{DatabaseError, sqlx};
    use sealpost_runtime::status::{reason_of, retry_delay_of};

    use super::*;

    #[test]
    fn each_error_has_its_code_and_reason() {
        for (error, code, reason) in [
            (
                Malformed::new("limit", "is zero").into(),
                Code::InvalidArgument,
                "MALFORMED",
            ),
            (StoreError::RecordUnknown, Code::NotFound, "RECORD_UNKNOWN"),
            (
                StoreError::EpochExpired,
                Code::FailedPrecondition,
                "EPOCH_EXPIRED",
            ),
            (
                StoreError::NumberDeparted,
                Code::FailedPrecondition,
                "NUMBER_DEPARTED",
            ),
            (
                StoreError::NumberPresent,
                Code::FailedPrecondition,
                "NUMBER_PRESENT",
            ),
            (
                StoreError::SubscriptionReplaced,
                Code::Aborted,
                "SUBSCRIPTION_REPLACED",
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
        ] {
            let status = Status::from(error);
            assert_eq!(status.code(), code);
            assert_eq!(reason_of(&status).as_deref(), Some(reason));
        }
    }

    #[test]
    fn contention_says_when_to_come_back() {
        let status = Status::from(StoreError::from(DatabaseError::Busy(
            sqlx::Error::PoolTimedOut,
        )));
        assert_eq!(retry_delay_of(&status), Some(BUSY_DELAY));
    }
}
