//! Errors on the wire: which refusal becomes which status, with a stable reason. Nothing else in this crate picks a code.

use std::{collections::HashMap, time::Duration};

use sealpost_proto::{
    gateway::v1::{Refused, SendError},
    vault::v1::Refusal,
};
use sealpost_runtime::status::{
    ERROR_DOMAIN, bad_request, internal, quota, reason_status, unavailable,
};
use thiserror::Error;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// How long a caller should wait when something behind the gateway does not answer.
pub const UNAVAILABLE_DELAY: Duration = Duration::from_secs(1);

/// Why a call is refused or broken off.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Error {
    /// No token, or one that is unknown, ended or revoked.
    #[error("the token is not valid")]
    Unauthenticated,
    /// The token's scopes do not hold this call.
    #[error("the token may not make this call")]
    ScopeMissing,
    /// The token does not hold this number.
    #[error("the token may not act for this number")]
    NumberNotAllowed,
    /// A field is not of its shape.
    #[error("{0} {1}")]
    Malformed(&'static str, &'static str),
    /// Nothing stands under that name.
    #[error("there is no such message")]
    NoSuchMessage,
    /// Its epoch is over: what was kept of it goes, and nothing of it is told any more.
    #[error("the message is past its retention")]
    Expired,
    /// The number has no keys.
    #[error("the number is not provisioned")]
    NotProvisioned,
    /// Something behind the gateway does not answer.
    #[error("the {0} does not answer")]
    Unreachable(&'static str),
    /// More calls than the gateway serves at one time.
    #[error("too many calls")]
    Overloaded,
    /// The call took too long.
    #[error("the call took too long")]
    Deadline,
    /// The process stops.
    #[error("the gateway stops")]
    Stopping,
    /// Another stream took over this subscription.
    #[error("another stream took over this subscription")]
    SubscriptionReplaced,
    /// A bug of ours or of a peer.
    #[error("internal error")]
    Internal,
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        match error {
            Error::Unauthenticated => reason_status(
                Code::Unauthenticated,
                "TOKEN_INVALID",
                "a valid access token is needed",
            ),
            Error::ScopeMissing => reason_status(
                Code::PermissionDenied,
                "SCOPE_MISSING",
                "the token may not make this call",
            ),
            Error::NumberNotAllowed => reason_status(
                Code::PermissionDenied,
                "NOT_ALLOWED",
                "the token may not act for this number",
            ),
            Error::Malformed(field, description) => bad_request(field, description),
            Error::NoSuchMessage => reason_status(
                Code::NotFound,
                "NO_SUCH_MESSAGE",
                "there is no such message",
            ),
            Error::Expired => reason_status(
                Code::FailedPrecondition,
                "EXPIRED",
                "the message is past its retention",
            ),
            Error::NotProvisioned => not_provisioned(),
            Error::Unreachable(_) => with_retry(
                Code::Unavailable,
                "UNAVAILABLE",
                "not available now",
                UNAVAILABLE_DELAY,
            ),
            Error::Overloaded => with_retry(
                Code::ResourceExhausted,
                "OVERLOADED",
                "too many calls at one time",
                UNAVAILABLE_DELAY,
            ),
            Error::Deadline => reason_status(
                Code::DeadlineExceeded,
                "DEADLINE_EXCEEDED",
                "the call took too long",
            ),
            Error::Stopping => unavailable("STOPPING"),
            Error::SubscriptionReplaced => reason_status(
                Code::Aborted,
                "SUBSCRIPTION_REPLACED",
                "another stream took over this subscription",
            ),
            Error::Internal => internal(),
        }
    }
}

/// A refused message of a batch, as a unary call says it. Reasons are named as in `SendError`.
#[must_use]
pub fn refused_status(refused: &Refused) -> Status {
    let delay = Duration::from_millis(refused.retry_after_ms.into());
    match refused.error() {
        SendError::Malformed => bad_request("message", "is malformed"),
        SendError::NotAllowed => Error::NumberNotAllowed.into(),
        SendError::UnknownContentKey => reason_status(
            Code::FailedPrecondition,
            "UNKNOWN_CONTENT_KEY",
            "send the wrap with the message",
        ),
        SendError::KeyExpired => reason_status(
            Code::FailedPrecondition,
            "KEY_EXPIRED",
            "get the vault key and seal anew",
        ),
        SendError::Undecryptable => reason_status(
            Code::InvalidArgument,
            "UNDECRYPTABLE",
            "the message does not authenticate",
        ),
        SendError::Conflict => reason_status(
            Code::AlreadyExists,
            "CONFLICT",
            "another content was accepted under this message id",
        ),
        SendError::RateLimited => quota(
            "RATE_LIMITED",
            "phone_number_id",
            "more than the number may send",
            delay,
        ),
        SendError::Unavailable => with_retry(
            Code::Unavailable,
            "UNAVAILABLE",
            "send again with the same message id",
            delay,
        ),
        SendError::Overloaded => with_retry(
            Code::ResourceExhausted,
            "OVERLOADED",
            "more messages wait than the gateway takes",
            delay,
        ),
        SendError::NotProvisioned => not_provisioned(),
        SendError::NumberMoving => with_retry(
            Code::Unavailable,
            "NUMBER_MOVING",
            "the number's records are on their way to another region",
            delay,
        ),
        SendError::Unspecified => internal(),
    }
}

/// What the vault's refusal at Admit means to the business.
#[must_use]
pub fn refusal_to_business(refusal: Refusal) -> Refused {
    let error = match refusal {
        Refusal::Malformed => SendError::Malformed,
        Refusal::UnknownContentKey => SendError::UnknownContentKey,
        Refusal::KeyExpired => SendError::KeyExpired,
        Refusal::Undecryptable => SendError::Undecryptable,
        Refusal::NumberUnknown | Refusal::BusinessKeysMissing => SendError::NotProvisioned,
        Refusal::Contention
        | Refusal::ShardElsewhere
        | Refusal::ClockUnconfirmed
        | Refusal::EpochExpired
        | Refusal::SubjectErased
        | Refusal::BundleInvalid
        | Refusal::IdentityUnacknowledged
        | Refusal::Duplicate
        | Refusal::SenderUnverified
        | Refusal::Unspecified => SendError::Unavailable,
    };
    refused(error)
}

/// A refusal, with the usual wait where waiting helps.
#[must_use]
pub fn refused(error: SendError) -> Refused {
    let delay = match error {
        SendError::Unavailable | SendError::Overloaded => UNAVAILABLE_DELAY,
        _ => Duration::ZERO,
    };
    refused_for(error, delay)
}

/// A refusal that may be tried again after `delay`.
#[must_use]
pub fn refused_for(error: SendError, delay: Duration) -> Refused {
    Refused {
        error: error.into(),
        // Rounded up: a caller that waits exactly so long must not come too early.
        retry_after_ms: u32::try_from(delay.as_micros().div_ceil(1000)).unwrap_or(u32::MAX),
    }
}

fn not_provisioned() -> Status {
    reason_status(
        Code::FailedPrecondition,
        "NOT_PROVISIONED",
        "the number has no registered keys",
    )
}

fn with_retry(code: Code, reason: &'static str, text: &'static str, delay: Duration) -> Status {
    let mut details =
        ErrorDetails::with_error_info(reason, ERROR_DOMAIN, HashMap::<String, String>::new());
    details.set_retry_info(Some(delay));
    Status::with_error_details(code, text, details)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use sealpost_runtime::status::{reason_of, retry_delay_of};

    use super::*;

    #[test]
    fn every_refusal_of_a_message_has_a_reason_named_like_itself() {
        for number in 1..=11 {
            let error = SendError::try_from(number).unwrap();
            let status = refused_status(&refused(error));
            let name = error.as_str_name().trim_start_matches("SEND_ERROR_");
            assert_eq!(reason_of(&status).as_deref(), Some(name));
        }
    }

    #[test]
    fn waits_are_rounded_up_and_reach_the_caller() {
        let refused = refused_for(SendError::RateLimited, Duration::from_micros(12_001));
        assert_eq!(refused.retry_after_ms, 13);
        let status = refused_status(&refused);
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert_eq!(retry_delay_of(&status), Some(Duration::from_millis(13)));
    }

    #[test]
    fn a_full_gateway_says_that_it_is_full_and_for_how_long() {
        let status = refused_status(&refused(SendError::Overloaded));
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert_eq!(retry_delay_of(&status), Some(UNAVAILABLE_DELAY));
    }

    #[test]
    fn every_cause_of_failed_opening_is_one_reason() {
        let refused = refusal_to_business(Refusal::Undecryptable);
        assert_eq!(refused.error(), SendError::Undecryptable);
        assert_eq!(refused_status(&refused).code(), Code::InvalidArgument);
    }
}
