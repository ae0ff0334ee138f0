//! The one mapping from the relay's errors to gRPC.

use std::{error::Error, time::Duration};

use sealpost_runtime::status::{
    bad_request, internal, quota, reason_status, retry_after, unavailable,
};
use tonic::{Code, Status};

use crate::RelayError;

impl From<RelayError> for Status {
    fn from(error: RelayError) -> Self {
        use RelayError as E;
        match error {
            E::Malformed { field, problem } => bad_request(field, problem),
            E::DeviceUnknown => reason_status(
                Code::Unauthenticated,
                "DEVICE_UNKNOWN",
                "a device token is needed",
            ),
            E::CodeRefused => reason_status(
                Code::PermissionDenied,
                "CODE_REFUSED",
                "the code is refused",
            ),
            E::CodeNotSent(error) => {
                tracing::warn!(error = &error as &dyn Error, "a code could not be sent");
                unavailable("CODE_NOT_SENT")
            }
            E::NumberIsBusiness => reason_status(
                Code::PermissionDenied,
                "NUMBER_IS_BUSINESS",
                "the phone number is a business's",
            ),
            E::NumberIsConsumer => reason_status(
                Code::AlreadyExists,
                "NUMBER_IS_CONSUMER",
                "the phone number is a consumer's",
            ),
            E::PhoneNumberTaken => reason_status(
                Code::AlreadyExists,
                "PHONE_NUMBER_TAKEN",
                "another number has this phone number",
            ),
            E::NumberUnknown => {
                reason_status(Code::NotFound, "NUMBER_UNKNOWN", "no such business number")
            }
            E::PeerUnknown => reason_status(Code::NotFound, "UNKNOWN_PEER", "no such consumer"),
            E::MessageUnknown => reason_status(
                Code::NotFound,
                "MESSAGE_UNKNOWN",
                "this device was not sent that message",
            ),
            E::IdentityDiffers => reason_status(
                Code::FailedPrecondition,
                "IDENTITY_DIFFERS",
                "identity key or registration id is not the registered one",
            ),
            E::PrekeysFull => quota(
                "PREKEYS_FULL",
                "prekeys",
                "1,000 of a kind are kept at most",
                Duration::ZERO,
            ),
            E::QueueFull => quota(
                "QUEUE_FULL",
                "queue",
                "too much waits for that number",
                Duration::from_secs(5),
            ),
            E::TooMany { subject, wait } => quota("RATE_LIMITED", subject, "too many calls", wait),
            E::StreamReplaced => reason_status(
                Code::Aborted,
                "STREAM_REPLACED",
                "a newer stream of the same caller took over",
            ),
            E::LeaseLapsed => reason_status(
                Code::Aborted,
                "LEASE_LAPSED",
                "no sign of life came in time: collect anew",
            ),
            E::Together(error) => failed(&error),
            E::Lost => unavailable("OUTCOME_UNKNOWN"),
            error @ (E::Database(_) | E::Randomness) => failed(&error),
        }
    }
}

/// A failure of ours, which several calls may share.
fn failed(error: &RelayError) -> Status {
    match error {
        RelayError::Database(error) if error.is_conflict() => {
            retry_after("DATABASE_BUSY", Duration::from_millis(100))
        }
        RelayError::Database(error) if error.is_unknown_outcome() => unavailable("OUTCOME_UNKNOWN"),
        error => {
            // The database's errors name tables and columns at most, never a bound value.
            tracing::error!(error = error as &dyn Error, "call failed");
            internal()
        }
    }
}
