//! Why a whole call failed. What happens to one item of a batch is a `Refusal` in its outcome.
//!
//! Nothing here carries a byte of what was handled.

use sealpost_database::DatabaseError;
use sealpost_envelope::EnvelopeError;

use crate::{
    custody::{ClockUnconfirmed, KeyringError, init::InitError, unseal::UnsealError},
    number::NumberCorrupt,
    signal::SignalError,
};

/// A failed call.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// A field of the request.
    #[error("malformed {field}: {problem}")]
    Malformed {
        /// Its path in the request.
        field: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// There is no such number.
    #[error("no such number")]
    NumberUnknown,
    /// A number of that id was removed not long ago, and what was under way to it may still be.
    #[error("the number was removed")]
    NumberRemoved,
    /// No business keys are registered for the number.
    #[error("the number has no business keys")]
    BusinessKeysMissing,
    /// The clock jumped ahead and no operator has confirmed it.
    #[error("the clock needs an operator's confirmation")]
    ClockUnconfirmed,
    /// The operator's clock and ours disagree.
    #[error("the given time is more than a minute from the vault's")]
    ClockDisagrees,
    /// Another writer was faster; the same call may succeed.
    #[error("another writer was faster")]
    Contention,
    /// The database.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The keyring.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    /// The root key, or its provider.
    #[error(transparent)]
    Unseal(#[from] UnsealError),
    /// The first start.
    #[error(transparent)]
    Init(#[from] InitError),
    /// The keys are on disk alone.
    #[error("the vault is sealed")]
    Sealed,
    /// Sealing, or randomness.
    #[error("sealing failed")]
    Sealing(#[from] EnvelopeError),
    /// A number's rows.
    #[error(transparent)]
    Number(#[from] NumberCorrupt),
    /// Making Signal keys.
    #[error("a Signal key could not be made")]
    Signal,
    /// The vault was not made yet, or its files are elsewhere.
    #[error(
        "there is no vault here; run sealpost-key-vault --init, or sealpost admin vault init, first"
    )]
    NotInitialised,
    /// A step panicked, or the process ends.
    #[error("a step did not finish")]
    Stopped,
}

impl VaultError {
    /// A malformed field.
    pub(crate) fn malformed(field: &'static str, problem: &'static str) -> Self {
        Self::Malformed { field, problem }
    }

    /// Whether nothing that the call produced may be used, and the same call may succeed later.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Contention => true,
            Self::Database(error) => error.is_conflict() || error.is_unknown_outcome(),
            _ => false,
        }
    }
}

impl From<ClockUnconfirmed> for VaultError {
    fn from(_: ClockUnconfirmed) -> Self {
        Self::ClockUnconfirmed
    }
}

impl From<SignalError> for VaultError {
    fn from(_: SignalError) -> Self {
        Self::Signal
    }
}
