//! Errors as the Cloud API's clients know them: code, HTTP status and JSON. Texts are fixed and repeat nothing of a request.

use std::time::Duration;

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderValue, StatusCode, header::RETRY_AFTER};
use sealpost_connector_sdk::{SdkError, Secret};
use sealpost_envelope::OsEntropy;
use serde_json::json;

use crate::queue::QueueError;

/// An error answer.
#[derive(Debug)]
pub struct CloudError {
    status: StatusCode,
    code: u32,
    title: &'static str,
    details: String,
    retry_after: Option<Duration>,
}

impl CloudError {
    fn new(status: StatusCode, code: u32, title: &'static str, details: impl Into<String>) -> Self {
        Self {
            status,
            code,
            title,
            details: details.into(),
            retry_after: None,
        }
    }

    /// The Cloud API's code.
    #[must_use]
    pub fn code(&self) -> u32 {
        self.code
    }

    pub(super) fn invalid_parameter(details: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, 100, "Invalid parameter", details)
    }

    pub(super) fn missing(parameter: &str) -> Self {
        let details = format!("The parameter {parameter} is required.");
        Self::new(
            StatusCode::BAD_REQUEST,
            131_008,
            "Required parameter is missing",
            details,
        )
    }

    pub(super) fn invalid_value(details: impl Into<String>) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            131_009,
            "Parameter value is not valid",
            details,
        )
    }

    pub(super) fn unsupported_type() -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            131_051,
            "Unsupported message type",
            "This connector sends the types text, reaction, location and contacts, and read and typing marks.",
        )
    }

    pub(super) fn no_token() -> Self {
        let details = "Send the header Authorization: Bearer <token>.";
        Self::new(
            StatusCode::UNAUTHORIZED,
            190,
            "Access token is missing",
            details,
        )
    }

    pub(super) fn wrong_token() -> Self {
        let details = "The token is not that of this connector.";
        Self::new(
            StatusCode::UNAUTHORIZED,
            190,
            "Access token is not valid",
            details,
        )
    }

    pub(super) fn unknown_number() -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            100,
            "Unsupported post request",
            "The phone number id in the path is not one of this connector's numbers.",
        )
    }

    pub(super) fn no_such_path() -> Self {
        let details = "Post to /{phone_number_id}/messages, with or without a version before it.";
        Self::new(StatusCode::NOT_FOUND, 100, "Unknown path", details)
    }

    pub(super) fn wrong_method() -> Self {
        let details = "Messages are sent with POST.";
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            100,
            "Unsupported method",
            details,
        )
    }

    pub(super) fn body(status: StatusCode) -> Self {
        let details = "The body cannot be read or is too large.";
        Self::new(status, 100, "Invalid parameter", details)
    }

    fn unknown(details: &'static str) -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            131_000,
            "Something went wrong",
            details,
        )
    }

    fn unavailable(details: &'static str) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            131_016,
            "Service unavailable",
            details,
        )
    }
}

impl From<SdkError> for CloudError {
    fn from(error: SdkError) -> Self {
        match error {
            SdkError::Content(error) => {
                Self::invalid_value(format!("{} {}.", error.field, error.problem))
            }
            SdkError::IdempotencyKey => {
                Self::invalid_parameter("Idempotency-Key has 1 to 255 visible characters.")
            }
            SdkError::UnknownNumber => Self::unknown_number(),
            SdkError::RateLimited { retry_after } => Self {
                retry_after: Some(retry_after),
                ..Self::new(
                    StatusCode::TOO_MANY_REQUESTS,
                    130_429,
                    "Rate limit hit",
                    "The number sends more messages than it may. The message was not accepted.",
                )
            },
            SdkError::Overloaded { retry_after } => Self {
                retry_after: Some(retry_after),
                ..Self::new(
                    StatusCode::TOO_MANY_REQUESTS,
                    130_429,
                    "Rate limit hit",
                    "More messages wait than the gateway takes. The message was not accepted.",
                )
            },
            SdkError::Deadline { .. } => Self::unavailable(
                "The message was not confirmed in time and may yet be accepted. Send it again with the same Idempotency-Key.",
            ),
            SdkError::Unavailable(_) | SdkError::Closed => Self::unavailable(
                "The gateway is not available. Send it again with the same Idempotency-Key.",
            ),
            SdkError::NotAllowed => Self::new(
                StatusCode::FORBIDDEN,
                131_005,
                "Access denied",
                "The connector's token may not send from this number.",
            ),
            SdkError::NotProvisioned => Self::new(
                StatusCode::BAD_REQUEST,
                133_010,
                "Phone number not registered",
                "The number has no business keys registered with the vault.",
            ),
            SdkError::Conflict => Self::new(
                StatusCode::CONFLICT,
                100,
                "Invalid parameter",
                "The Idempotency-Key was used for another message.",
            ),
            SdkError::Malformed => {
                Self::invalid_value("The gateway refused the message as malformed.")
            }
            SdkError::Unauthenticated => {
                Self::unknown("The gateway refused the connector's own token.")
            }
            SdkError::Untrusted(_) => Self::unknown(
                "The vault's key does not match the pinned fingerprint. Nothing was sent.",
            ),
            SdkError::Undecryptable => Self::unknown(
                "The vault cannot open what this connector seals. Check the registered keys.",
            ),
            _ => Self::unknown("The connector's log says more."),
        }
    }
}

impl From<QueueError> for CloudError {
    fn from(error: QueueError) -> Self {
        tracing::error!(%error, "the queue's database failed a request");
        Self::unavailable("The connector's database does not answer.")
    }
}

impl IntoResponse for CloudError {
    fn into_response(self) -> Response {
        let body = json!({
            "error": {
                "message": format!("(#{}) {}", self.code, self.title),
                "type": "OAuthException",
                "code": self.code,
                "error_data": { "messaging_product": "whatsapp", "details": self.details },
                "fbtrace_id": trace_id(),
            },
        });
        let mut response = (self.status, Json(body)).into_response();
        if let Some(wait) = self.retry_after {
            let seconds = wait.as_millis().div_ceil(1000).max(1).to_string();
            if let Ok(seconds) = HeaderValue::from_str(&seconds) {
                response.headers_mut().insert(RETRY_AFTER, seconds);
            }
        }
        response
    }
}

/// Something to quote; it names nothing.
fn trace_id() -> String {
    let random = Secret::<9>::generate(&mut OsEntropy);
    random.map_or_else(
        |_| String::new(),
        |random| URL_SAFE_NO_PAD.encode(random.expose()),
    )
}
