//! What can go wrong, sorted by what a caller can do about it. Texts never carry content, numbers, tokens or keys.

use std::time::Duration;

use sealpost_envelope::EnvelopeError;
use sealpost_runtime::tls::TlsError;
use thiserror::Error;
use tonic::{Code, Status};

use crate::{ContentError, KeyFileError, TrustError};

/// A failure of the SDK.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SdkError {
    /// A key or token file cannot be used.
    #[error(transparent)]
    File(#[from] KeyFileError),
    /// The gateway's address or authority cannot be used.
    #[error("the gateway cannot be addressed")]
    Tls(#[from] TlsError),
    /// The token cannot stand in a header.
    #[error("the token is not visible ASCII")]
    Token,
    /// Sealing failed.
    #[error("sealing failed: {0}")]
    Envelope(#[from] EnvelopeError),
    /// The content is out of its limits. Do not retry.
    #[error("the content cannot be sent: {0}")]
    Content(#[from] ContentError),
    /// An idempotency key is empty or longer than 512 bytes.
    #[error("an idempotency key has 1 to 512 bytes")]
    IdempotencyKey,
    /// A subscription's name is not 1 to 64 of `[a-z0-9._-]`, or it names no number.
    #[error("the subscription is malformed")]
    Subscription,
    /// No vault fingerprint is pinned for the number.
    #[error("no vault fingerprint is pinned for this number")]
    UnknownNumber,
    /// The gateway presented a vault key that the pinned fingerprint does not vouch for: an attack, or a pin that is out of date.
    #[error("the vault's key is not to be trusted: {0}")]
    Untrusted(#[from] TrustError),
    /// The gateway does not know the token.
    #[error("the gateway refused the token")]
    Unauthenticated,
    /// The token may not do this with this number.
    #[error("the token may not do this with this number")]
    NotAllowed,
    /// The number has no business keys registered with the vault.
    #[error("the number is not provisioned")]
    NotProvisioned,
    /// Another content was accepted under this idempotency key.
    #[error("another message was accepted under this idempotency key")]
    Conflict,
    /// The vault could not open what was sealed: the registered business keys are others.
    #[error("the vault cannot open what this business seals")]
    Undecryptable,
    /// The gateway does not understand what was sent.
    #[error("the gateway refused the message as malformed")]
    Malformed,
    /// Still over the number's rate when the time was up. Nothing was accepted.
    #[error("the number sends more than it may")]
    RateLimited {
        /// When it may go on.
        retry_after: Duration,
    },
    /// More messages wait, here or at the gateway, than it takes. Nothing was accepted.
    #[error("more messages wait than the gateway takes")]
    Overloaded {
        /// When it is worth another try.
        retry_after: Duration,
    },
    /// The time was up.
    #[error("not accepted in time")]
    Deadline {
        /// Whether it may have been accepted all the same: retry under the same idempotency key.
        is_outcome_unknown: bool,
    },
    /// The gateway does not know it.
    #[error("not found")]
    NotFound,
    /// What was asked about is past its time.
    #[error("past its time")]
    Expired,
    /// The gateway cannot be reached or cannot answer now.
    #[error("the gateway is not available: {}", .0.description())]
    Unavailable(Code),
    /// The client is being dropped.
    #[error("the client is closed")]
    Closed,
}

impl SdkError {
    /// What the status of a failed call means.
    pub(crate) fn from_status(status: &Status) -> Self {
        let reason = sealpost_runtime::status::reason_of(status);
        match (status.code(), reason.as_deref()) {
            (_, Some("EXPIRED")) => Self::Expired,
            (_, Some("NOT_PROVISIONED")) => Self::NotProvisioned,
            (Code::Unauthenticated, _) => Self::Unauthenticated,
            (Code::PermissionDenied, _) => Self::NotAllowed,
            (Code::NotFound, _) => Self::NotFound,
            (Code::InvalidArgument, _) => Self::Malformed,
            (code, _) => Self::Unavailable(code),
        }
    }

    /// Whether the same call may succeed later without anybody changing anything.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::RateLimited { .. }
            | Self::Overloaded { .. }
            | Self::Deadline { .. }
            | Self::Unavailable(_) => true,
            Self::Untrusted(error) => error.is_transient(),
            _ => false,
        }
    }
}
