//! The one mapping from the directory's errors to gRPC.

use std::time::Duration;

use sealpost_runtime::status::{
    bad_request, internal, quota, reason_status, retry_after, unavailable,
};
use tonic::{Code, Status};

use crate::DirectoryError;

impl From<DirectoryError> for Status {
    fn from(error: DirectoryError) -> Self {
        use DirectoryError as E;
        match error {
            E::Malformed { field, problem } => bad_request(field, problem),
            E::BusinessUnknown => {
                reason_status(Code::NotFound, "BUSINESS_UNKNOWN", "no such business")
            }
            E::NumberUnknown => reason_status(Code::NotFound, "NUMBER_UNKNOWN", "no such number"),
            E::TokenUnknown => reason_status(Code::NotFound, "TOKEN_UNKNOWN", "no such token"),
            E::NumberMoving => reason_status(
                Code::FailedPrecondition,
                "NUMBER_MOVING",
                "the number is on its way to another region",
            ),
            E::MoveUnknown => reason_status(Code::NotFound, "MOVE_UNKNOWN", "no such move"),
            E::PhoneNumberTaken => reason_status(
                Code::AlreadyExists,
                "PHONE_NUMBER_TAKEN",
                "another number has this phone number",
            ),
            E::NumberIdTaken => reason_status(
                Code::AlreadyExists,
                "PHONE_NUMBER_ID_TAKEN",
                "another number has this id",
            ),
            E::BusinessHasNumbers => reason_status(
                Code::FailedPrecondition,
                "BUSINESS_HAS_NUMBERS",
                "the business still has numbers; remove them first",
            ),
            E::TooManyNumbers => quota(
                "TOO_MANY_NUMBERS",
                "numbers of a business",
                "a business may have 10,000 numbers",
                Duration::ZERO,
            ),
            E::Database(error) if error.is_conflict() => {
                retry_after("DATABASE_BUSY", Duration::from_millis(100))
            }
            E::Database(error) if error.is_unknown_outcome() => unavailable("OUTCOME_UNKNOWN"),
            error @ (E::Database(_) | E::Randomness) => {
                // The database's errors name tables and columns at most, never a bound value.
                tracing::error!(error = &error as &dyn std::error::Error, "call failed");
                internal()
            }
        }
    }
}
