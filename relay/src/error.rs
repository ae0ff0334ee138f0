//! What can go wrong in the relay. No text here repeats what a caller sent.

use std::{sync::Arc, time::Duration};

use sealpost_database::DatabaseError;

use crate::code_sender::CodeSenderError;

/// A failure of one call.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RelayError {
    /// A field of the request is malformed.
    #[error("{field} {problem}")]
    Malformed {
        /// The field's path in the request.
        field: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// No token, or one that names no device.
    #[error("no such device")]
    DeviceUnknown,
    /// The code is wrong, ended, used up, or was never sent: one answer for all.
    #[error("the code is refused")]
    CodeRefused,
    /// The code could not be sent.
    #[error("the code could not be sent")]
    CodeNotSent(#[source] CodeSenderError),
    /// The phone number is a business's.
    #[error("the phone number is a business's")]
    NumberIsBusiness,
    /// The phone number is a consumer's.
    #[error("the phone number is a consumer's")]
    NumberIsConsumer,
    /// Another number has this phone number.
    #[error("the phone number is taken")]
    PhoneNumberTaken,
    /// There is no such business number.
    #[error("no such business number")]
    NumberUnknown,
    /// There is no such consumer.
    #[error("no such consumer")]
    PeerUnknown,
    /// This device was not sent that message.
    #[error("no such message")]
    MessageUnknown,
    /// The upload is for another identity or registration than the registered one.
    #[error("not the registered identity")]
    IdentityDiffers,
    /// As many prekeys as may be are kept already.
    #[error("too many prekeys")]
    PrekeysFull,
    /// Too much waits for that number.
    #[error("too much waits")]
    QueueFull,
    /// Too many calls of one kind.
    #[error("over the limit on {subject}")]
    TooMany {
        /// What the limit is on.
        subject: &'static str,
        /// When the next call may succeed.
        wait: Duration,
    },
    /// A newer stream took over.
    #[error("a newer stream took over")]
    StreamReplaced,
    /// A collector gave no sign of life in time, or acknowledged nothing, and others may have what it had.
    #[error("the lease lapsed")]
    LeaseLapsed,
    /// The system gave no random bytes.
    #[error("no randomness")]
    Randomness,
    /// The database failed.
    #[error("the database failed")]
    Database(#[from] DatabaseError),
    /// What befell the transaction that many calls shared.
    #[error("the calls of one transaction failed")]
    Together(#[source] Arc<RelayError>),
    /// A bug stopped the work that this call was part of; what became of it is not known.
    #[error("what became of the call is not known")]
    Lost,
}

impl RelayError {
    /// Whether a commit may or may not have taken hold.
    pub(crate) fn is_unknown_outcome(&self) -> bool {
        matches!(self, Self::Database(error) if error.is_unknown_outcome())
    }

    pub(crate) fn malformed(field: impl Into<String>, problem: &'static str) -> Self {
        Self::Malformed {
            field: field.into(),
            problem,
        }
    }
}
