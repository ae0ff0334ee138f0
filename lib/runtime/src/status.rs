//! Errors on the wire: a code, a stable UPPER_SNAKE reason and fixed text.
//!
//! Owns the shape (google.rpc ErrorInfo, BadRequest, RetryInfo, QuotaFailure); each service's own `status.rs` owns which
//! of its errors becomes what. Texts here are `&'static str`, so that nothing a caller sent comes back in one.

use std::{collections::HashMap, time::Duration};

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// The `domain` of every ErrorInfo.
pub const ERROR_DOMAIN: &str = "sealpost";

/// A status whose ErrorInfo carries `reason`.
#[must_use]
pub fn reason_status(code: Code, reason: &'static str, message: &'static str) -> Status {
    Status::with_error_details(code, message, with_reason(reason))
}

/// INVALID_ARGUMENT, reason MALFORMED, naming the field (its path in the request) and what is wrong with it.
#[must_use]
pub fn bad_request(field: impl Into<String>, description: &'static str) -> Status {
    let mut details = with_reason("MALFORMED");
    details.add_bad_request_violation(field, description);
    Status::with_error_details(Code::InvalidArgument, "the request is malformed", details)
}

/// ABORTED by contention: the same call may succeed after `delay`.
#[must_use]
pub fn retry_after(reason: &'static str, delay: Duration) -> Status {
    let mut details = with_reason(reason);
    details.set_retry_info(Some(delay));
    Status::with_error_details(Code::Aborted, "try again", details)
}

/// RESOURCE_EXHAUSTED: `subject` (what the limit is on, never a phone number) is over its limit until `delay` has passed.
#[must_use]
pub fn quota(
    reason: &'static str,
    subject: impl Into<String>,
    description: &'static str,
    delay: Duration,
) -> Status {
    let mut details = with_reason(reason);
    details.add_quota_failure_violation(subject, description);
    details.set_retry_info(Some(delay));
    Status::with_error_details(Code::ResourceExhausted, "over the limit", details)
}

/// INTERNAL with fixed text: the cause goes to the log, never to the caller.
#[must_use]
pub fn internal() -> Status {
    reason_status(Code::Internal, "INTERNAL", "internal error")
}

/// UNAVAILABLE: something this service needs does not answer; the same call may succeed later.
#[must_use]
pub fn unavailable(reason: &'static str) -> Status {
    reason_status(Code::Unavailable, reason, "not available now")
}

/// The reason in a status' ErrorInfo, when it is one of ours.
#[must_use]
pub fn reason_of(status: &Status) -> Option<String> {
    let details = status.get_error_details();
    let info = details.error_info()?;
    (info.domain == ERROR_DOMAIN).then(|| info.reason.clone())
}

/// How long a status asks to wait before the next try.
#[must_use]
pub fn retry_delay_of(status: &Status) -> Option<Duration> {
    status.get_error_details().retry_info()?.retry_delay
}

fn with_reason(reason: &'static str) -> ErrorDetails {
    ErrorDetails::with_error_info(reason, ERROR_DOMAIN, HashMap::<String, String>::new())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_reason_reads_back_from_its_status() {
        let status = reason_status(Code::NotFound, "NO_SUCH_NUMBER", "no such number");
        assert_eq!(reason_of(&status).as_deref(), Some("NO_SUCH_NUMBER"));
        assert_eq!(reason_of(&Status::internal("plain")), None);
    }

    #[test]
    fn a_malformed_request_names_its_field() {
        let status = bad_request("items[0].number", "is empty");
        assert_eq!(status.code(), Code::InvalidArgument);
        let details = status.get_error_details();
        let violations = &details.bad_request().unwrap().field_violations;
        assert_eq!(violations[0].field, "items[0].number");
        assert_eq!(reason_of(&status).as_deref(), Some("MALFORMED"));
    }

    #[test]
    fn contention_and_quota_say_when_to_come_back() {
        let delay = Duration::from_millis(1500);
        assert_eq!(retry_delay_of(&retry_after("BUSY", delay)), Some(delay));
        let status = quota("RATE", "number", "too many messages", delay);
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert_eq!(retry_delay_of(&status), Some(delay));
        assert!(status.get_error_details().quota_failure().is_some());
    }
}
