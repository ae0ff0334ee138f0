//! Signal's operations, one pure step each: records in memory go in, changed records come out.
//!
//! Owns every call of libsignal. Knows neither rows nor wires. Invariants: a public key that is not of prime order never
//! reaches libsignal, whose version here would compute on with it; a step that fails changes nothing; no error carries
//! libsignal's text, which may name keys and addresses.
//!
//! libsignal's private keys are `Copy` and do not wipe themselves: they are made inside a step, from secrets that do, and
//! live no longer than it.

mod identity;
mod inbound;
mod keys;
mod prekeys;
mod session;
mod store;

pub(crate) use identity::LocalIdentity;
pub(crate) use inbound::InboundMessage;
pub(crate) use keys::{identity_key, kem_key, public_key};
pub(crate) use prekeys::{KemPrekeyPair, OneTimePrekeyPair, SignedPrekeyPair};
pub(crate) use session::{Ends, Session, StepPrekeys, Used};

use libsignal_protocol::{ProtocolAddress, SignalProtocolError};

use crate::subject::SubjectId;

/// Why a step failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SignalError {
    /// The bytes do not parse, or a public key in them is not acceptable.
    #[error("malformed")]
    Malformed,
    /// Authentication or decryption failed, a prekey is gone, or there is no session.
    #[error("undecryptable")]
    Undecryptable,
    /// The message key was used before.
    #[error("duplicate")]
    Duplicate,
    /// A signature in a bundle does not verify.
    #[error("bundle")]
    Bundle,
    /// Our own side of it cannot be right.
    #[error("state")]
    State,
}

/// How libsignal fails on the way in.
fn inbound_error(error: &SignalProtocolError) -> SignalError {
    match error {
        SignalProtocolError::DuplicatedMessage(..) => SignalError::Duplicate,
        _ => SignalError::Undecryptable,
    }
}

/// The remote end's address: the subject, never the phone number.
fn address(subject: SubjectId, device: u8) -> Result<ProtocolAddress, SignalError> {
    let device = libsignal_protocol::DeviceId::new(device).map_err(|_| SignalError::Malformed)?;
    Ok(ProtocolAddress::new(hex::encode(subject.0), device))
}

#[cfg(test)]
pub(crate) use keys::bad_keys;
