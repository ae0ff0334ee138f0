//! What can go wrong on a consumer's device.
//!
//! Texts are fixed: no content, phone number, token or key is ever in one, and libsignal's own texts stop here.

use std::io;

use sealpost_runtime::{status, tls::TlsError};
use thiserror::Error;

/// Why a call on this crate failed.
#[derive(Debug, Error)]
pub enum ConsumerError {
    /// An argument is not what it should be.
    #[error("{0}")]
    Malformed(&'static str),
    /// The device's state file.
    #[error(transparent)]
    State(#[from] StateError),
    /// A Signal operation.
    #[error(transparent)]
    Signal(#[from] SignalFault),
    /// The relay refused, or does not answer.
    #[error("the relay answered {code:?}{}", reason.as_deref().map(|reason| format!(" ({reason})")).unwrap_or_default())]
    Relay {
        /// gRPC code.
        code: tonic::Code,
        /// Stable UPPER_SNAKE reason, when the relay gave one.
        reason: Option<String>,
    },
    /// The channel to the relay cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// This state belongs to no registered device.
    #[error("this device is not registered")]
    NotRegistered,
    /// This state belongs to a registered device already.
    #[error("this device is registered already")]
    AlreadyRegistered,
    /// A business that is known by its number's id only, and without a session: its phone number is needed once.
    #[error("the business's phone number is not known")]
    BusinessUnknown,
    /// The client was closed.
    #[error("the client is closed")]
    Closed,
    /// Reading commands or writing events.
    #[error("reading or writing the terminal")]
    Terminal(#[from] io::Error),
}

impl From<tonic::Status> for ConsumerError {
    fn from(status: tonic::Status) -> Self {
        Self::Relay {
            code: status.code(),
            reason: status::reason_of(&status),
        }
    }
}

impl ConsumerError {
    /// Whether the relay no longer accepts this device's token.
    #[must_use]
    pub fn is_unauthenticated(&self) -> bool {
        matches!(
            self,
            Self::Relay {
                code: tonic::Code::Unauthenticated,
                ..
            }
        )
    }
}

/// Why the state file cannot be used.
#[derive(Debug, Error)]
pub enum StateError {
    /// The system refused.
    #[error("cannot {action} the device's state")]
    Io {
        /// What was tried.
        action: &'static str,
        /// What the system said.
        #[source]
        error: io::Error,
    },
    /// The file is not what was written.
    #[error("the device's state is damaged: {0}")]
    Damaged(&'static str),
    /// Another process has it open.
    #[error("the device's state is open in another process")]
    Locked,
    /// The key file is readable by others, or not 32 bytes.
    #[error("the key file of the device's state {0}")]
    KeyFile(&'static str),
    /// A write failed before: what is durable is not known, so the state must be opened anew.
    #[error("an earlier write of the device's state failed")]
    Poisoned,
}

impl StateError {
    pub(crate) fn io(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::Io { action, error }
    }
}

/// Why a Signal operation failed; libsignal's errors, mapped to fixed codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SignalFault {
    /// This message key was used before.
    #[error("this message was decrypted before")]
    Duplicate,
    /// There is no session that fits.
    #[error("no session")]
    NoSession,
    /// The message names a prekey that is not here (any more).
    #[error("unknown prekey")]
    UnknownPrekey,
    /// A public key of low order: the agreement would be known to everybody.
    #[error("public key of low order")]
    LowOrderKey,
    /// A prekey bundle is not acceptable.
    #[error("prekey bundle refused")]
    Bundle,
    /// The frame inside is malformed or speaks of someone else.
    #[error("frame refused")]
    Frame,
    /// Everything else.
    #[error("cannot be decrypted")]
    Undecryptable,
    /// Our own keys or sessions do not read.
    #[error("own key material does not read")]
    OwnKeys,
}
